"""What goes to AWS: the zip and the CloudFormation template of a stage, made by Chalice.

Everything is rendered into build/<stage>/, which git ignores: a copy of the app with the stage's
settings and policies, our merge template, and what Chalice and the SAM transform make of them. No
tracked file is edited. Chalice takes the interpreter it runs under as Lambda's runtime, and a
region to be set.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import findpython

from chalicelib.errors import HookshelfError
from chalicelib.types import Json
from hookshelf.deploy.deployment import COMPACTOR, HANDLERS, LOGICAL_IDS
from hookshelf.deploy.policies import file_name
from hookshelf.deploy.progress import Progress, silent
from hookshelf.project import PROJECT_ROOT

# What functions can run on, the best first: 3.13 and 3.12 are what the tests run the package with.
# 3.11 is supported until 30 June 2027, 3.12 until 31 October 2028, the others until 30 June 2029.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
LEAVING = (3, 11)
RUNTIMES = ((3, 13), (3, 12), (3, 14), LEAVING)
MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}  # as wheels call Lambda's architectures
ARCHITECTURE = "arm64"  # where .chalice/config.json does not say; the cheaper one
SHIPS = ("app.py", "requirements.txt", "chalicelib", "vendor")
COMPACTOR_SHIPS = (  # in the compactor's own zip, with what its requirements name
    "requirements-compactor.txt",
    "chalicelib",
    "hookshelf/__init__.py",
    "hookshelf/project.py",
    "hookshelf/reading",
    "hookshelf/settings.py",
    "hookshelf/terminal.py",
    "hookshelf/wording.py",
)
# /var/task is read-only, so Lambda would compile these at every cold start. What `POST /input`
# loads and no more: the zip should stay below 15 MB. `python bench/bytecode.py` has the figures.
PRECOMPILED = (
    "app.py",
    "chalicelib",
    "cryptography",
    "msgspec",
    "obstore",
    "typing_extensions.py",
)
_1980 = (1980, 1, 1, 0, 0, 0)  # Chalice's own date for what it zips: equal content, equal zip
_CHALICE = "import sys; from chalice.cli import main; sys.exit(main())"


class PackagingFailed(HookshelfError):
    """Chalice, pip or Python could not do their part; the text has what they said."""


@dataclass(frozen=True, slots=True)
class PackageRequest:
    """What to package a stage with; unset, the stage's own of .chalice/config.json."""

    stage: str
    environment: Mapping[str, str] = field(default_factory=dict)  # beats the stage's
    policies: Mapping[str, Json] = field(default_factory=dict)  # handler: policy document
    merge: Mapping[str, Any] = field(default_factory=dict)  # our merge template
    architecture: str | None = None  # arm64 or x86_64
    compactor: Mapping[str, Any] = field(default_factory=dict)  # resources; empty: there is none


@dataclass(frozen=True, slots=True)
class Package:
    """The zips, and the template in CloudFormation's own words: SAM is expanded already."""

    zip: Path
    template: Json
    compactor: Path | None = None  # the zip of the compactor, where there is one

    @property
    def description(self) -> str:
        """Size, runtime and architecture, for people."""
        function = self.template["Resources"][HANDLERS["api_handler"]]["Properties"]
        # SAM leaves the default out.
        architecture = ", ".join(function.get("Architectures", ["x86_64"]))
        sizes = f"{self.zip.stat().st_size / 1e6:.1f} MB"
        if self.compactor:
            sizes += f" and {self.compactor.stat().st_size / 1e6:.1f} MB for the compactor"
        return f"{sizes}, {function['Runtime']}, {architecture}"


def build(
    request: PackageRequest, into: Path, progress: Progress = silent, python: Path | None = None
) -> Package:
    """Package a stage in the folder `into`; `python` is the interpreter whose runtime to take.

    Raises PackagingFailed with what Chalice said.
    """
    python, into = python or best_python(progress), into.resolve()
    project, out = into / "project", into / "package"
    _render(request, project)
    _vendor(project, python)
    _write(into / "merge.json", request.merge)
    shutil.rmtree(out, ignore_errors=True)
    _run_chalice(
        with_chalice(python, progress),
        project,
        [
            "package",
            "--stage",
            request.stage,
            "--merge-template",
            str(into / "merge.json"),
            str(out),
        ],
    )
    precompile(out / "deployment.zip", python)
    sam = json.loads((out / "sam.json").read_text(encoding="utf-8"))
    template = expand(sam)
    if not request.compactor:
        return Package(out / "deployment.zip", template)
    function = template["Resources"][HANDLERS["api_handler"]]["Properties"]
    runs_on = {name: function[name] for name in ("Runtime", "Architectures") if name in function}
    [architecture] = function.get("Architectures", ["x86_64"])
    return Package(
        out / "deployment.zip",
        with_compactor(template, request.compactor, runs_on),
        zip_compactor(out / "compactor.zip", architecture, python),
    )


def with_compactor(template: Json, resources: Mapping[str, Any], runs_on: Json) -> Json:
    """A template with the compactor's resources; `runs_on` are properties of its function."""
    logical_id = LOGICAL_IDS[COMPACTOR]
    function = resources[logical_id]
    code = {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CompactorKey"}}
    properties = {**function["Properties"], **runs_on, "Code": code}
    key = {"Type": "String", "Description": "The key of compactor.zip in the same bucket."}
    return template | {
        "Parameters": template["Parameters"] | {"CompactorKey": key},
        "Resources": {
            **template["Resources"],
            **resources,
            logical_id: {**function, "Properties": properties},
        },
    }


def zip_compactor(target: Path, architecture: str, python: Path) -> Path:
    """Zip what the compactor runs: the reading library and its engine, for a Python. Its path."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in COMPACTOR_SHIPS:
            if name.startswith("requirements"):
                _zip(archive, root := wheels(PROJECT_ROOT / name, architecture, python), root)
            else:
                _zip(archive, PROJECT_ROOT, PROJECT_ROOT / name)
    return target


def _zip(archive: zipfile.ZipFile, root: Path, source: Path) -> None:
    """Add a file or a folder, in order; names count from `root`."""
    for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
        if file.is_file() and "__pycache__" not in file.parts:
            entry = zipfile.ZipInfo(file.relative_to(root).as_posix(), _1980)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)


def best_python(progress: Progress = silent) -> Path:
    """The interpreter of the best runtime that is installed, else the one that runs this."""
    for runtime in RUNTIMES:
        if sys.version_info[:2] == runtime:
            python = Path(sys.executable)
        else:
            installed = findpython.find(*runtime)
            if not installed or not _makes_environments(installed.executable):
                continue
            python = Path(installed.executable)
        if runtime == LEAVING:
            progress("Note: only Python 3.11 was found, which Lambda supports until June 2027")
        return python
    major, minor = sys.version_info[:2]
    progress(
        f"Warning: no Python that Lambda is known to support was found, so the functions will run "
        f"on {major}.{minor}. Install 3.13 and package again"
    )
    return Path(sys.executable)


def _makes_environments(python: Path) -> bool:
    """Debian's Python does not, unless a package more is installed."""
    done = subprocess.run(
        [python, "-c", "import ensurepip, venv"], capture_output=True, check=False
    )
    return done.returncode == 0


def with_chalice(python: Path, progress: Progress = silent) -> Path:
    """An interpreter of the same version that has our Chalice: this one, or one of build/."""
    if python == Path(sys.executable):
        return python
    installed = findpython.PythonVersion(python)
    chalice = f"chalice=={version('chalice')}"
    home = PROJECT_ROOT / "build" / f"python{installed.major}.{installed.minor}-{chalice}"

    def install(new: Path) -> None:
        progress(f"Installing {chalice} for Python {installed.version} into {home}")
        _run("venv", [str(python), "-m", "venv", "--clear", str(new)])
        _run("pip", [str(new / "bin/python"), "-m", "pip", "install", "--quiet", chalice])

    return filled_once(home, install) / "bin" / "python"


def filled_once(home: Path, fill: Callable[[Path], None]) -> Path:
    """A folder that `fill` fills the first time, whole or not at all; from then on as it is."""
    if not home.exists():
        # Beside it first: two may do this at once, or one be interrupted.
        new = home.with_name(f"{home.name}-{os.getpid()}")
        try:
            fill(new)
            with contextlib.suppress(OSError):  # the other was faster
                new.rename(home)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return home


def precompile(package: Path, python: Path) -> None:
    """Put bytecode into the zip for what `POST /input` loads, compiled by the runtime's Python.

    Unchecked hashes: the sources beside it never change, so Python need not look at them.
    https://docs.python.org/3/reference/import.html#pyc-invalidation
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        with zipfile.ZipFile(package) as archive:
            archive.extractall(root)
        places = [str(root / name) for name in PRECOMPILED if (root / name).exists()]
        # What tracebacks will show: where the code lies in Lambda.
        strip = ["-s", str(root), "-p", "/var/task"]
        mode = ["--invalidation-mode", "unchecked-hash"]
        _run("compileall", [str(python), "-I", "-m", "compileall", "-q", *mode, *strip, *places])
        with zipfile.ZipFile(package, "a", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(root.rglob("*.pyc")):
                entry = zipfile.ZipInfo(file.relative_to(root).as_posix(), _1980)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)


def expand(sam: Json) -> Json:
    """A SAM template as the plain CloudFormation it stands for, so that what is shown is made.

    CloudFormation's own expansion would do the same out of sight. The code's bucket and key become
    parameters.
    """
    # It complains at exit that nobody collected its metrics.
    logging.getLogger("samtranslator").addHandler(logging.NullHandler())
    # Loads boto3 and pydantic models of every SAM resource: only where a stage is packaged.
    from boto3.session import Session
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    for resource in sam["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = {"Bucket": "code-bucket", "Key": "code-key"}
    session = Session(region_name="us-east-1")  # nothing in the template depends on it
    template: Json = Translator({}, Parser(), boto_session=session).translate(sam, {})
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Lambda::Function":
            resource["Properties"]["Code"] = {
                "S3Bucket": {"Ref": "CodeBucket"},
                "S3Key": {"Ref": "CodeKey"},
            }
    template["Parameters"] = template.get("Parameters", {}) | {
        "CodeBucket": {"Type": "String", "Description": "The bucket that deployment.zip lies in."},
        "CodeKey": {"Type": "String", "Description": "Its key there."},
    }
    return template


def _render(request: PackageRequest, project: Path) -> None:
    """A copy of the app with the stage's settings. Chalice's cache of wheels in it stays."""
    config = json.loads((PROJECT_ROOT / ".chalice" / "config.json").read_text(encoding="utf-8"))
    config.setdefault("lambda_architecture", ARCHITECTURE)
    config["stages"] = {request.stage: config["stages"].get(request.stage, {})}
    stage = config["stages"][request.stage]
    stage["environment_variables"] = {
        **stage.get("environment_variables", {}),
        **request.environment,
    }
    if request.architecture:
        stage["lambda_architecture"] = request.architecture
    functions = stage.get("lambda_functions", {})
    stage["lambda_functions"] = {
        handler: functions.get(handler, {}) | {"iam_policy_file": file_name(request.stage, handler)}
        for handler in HANDLERS
    }
    shutil.rmtree(project / "vendor", ignore_errors=True)
    (project / "requirements.txt").unlink(missing_ok=True)
    for name in SHIPS:
        _copy(PROJECT_ROOT / name, project / name)
    own = project / ".chalice"
    own.mkdir(exist_ok=True)
    _write(own / "config.json", config)
    for handler in HANDLERS:
        name = file_name(request.stage, handler)
        if handler in request.policies:
            _write(own / name, request.policies[handler])
        else:
            _copy(PROJECT_ROOT / ".chalice" / name, own / name)


def _vendor(project: Path, python: Path) -> None:
    """Install requirements.txt into the copy's vendor/, which Chalice packages as it is.

    Chalice would fetch those of another architecture by name and version alone.
    """
    requirements = project / "requirements.txt"
    if not requirements.exists():
        return
    config = json.loads((project / ".chalice" / "config.json").read_text(encoding="utf-8"))
    [stage] = config["stages"].values()
    architecture = stage.get("lambda_architecture", config["lambda_architecture"])
    installed = wheels(requirements, architecture, python)
    shutil.copytree(installed, project / "vendor", dirs_exist_ok=True)
    requirements.unlink()


def wheels(requirements: Path, architecture: str, python: Path) -> Path:
    """A folder of build/ with what a file of pins names: by hash, as wheels, for that Python.

    Raises PackagingFailed.
    """
    if architecture not in MACHINES:
        raise PackagingFailed(
            f"lambda_architecture is {architecture!r} in .chalice/config.json; Lambda has "
            f"{' and '.join(MACHINES)}"
        )
    installed = findpython.PythonVersion(python)
    what = [
        requirements.read_text(encoding="utf-8"),
        architecture,
        f"{installed.major}.{installed.minor}",
    ]
    digest = hashlib.sha256("\n".join(what).encode()).hexdigest()[:12]

    def install(new: Path) -> None:
        # AL2023 has glibc 2.34, and 3.11 runs on AL2 with 2.26.
        newest = 26 if (installed.major, installed.minor) == LEAVING else 34
        tags = [f"manylinux_2_{minor}" for minor in range(newest, 16, -1)] + ["manylinux2014"]
        platforms = [f"--platform={tag}_{MACHINES[architecture]}" for tag in tags]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps"]
        command += ["--require-hashes", "--only-binary=:all:", "--implementation=cp"]
        command += [f"--python-version={installed.major}.{installed.minor}", *platforms]
        _run("pip", [*command, f"--target={new}", f"--requirement={requirements}"])
        shutil.rmtree(new / "bin", ignore_errors=True)  # commands, which nobody runs there

    return filled_once(PROJECT_ROOT / "build" / f"requirements-{digest}", install)


def _copy(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _run_chalice(python: Path, project: Path, arguments: Iterable[str]) -> None:
    # A region must be there, and plays no part; what the shell says of Lambda or Chalice may not.
    # Bytecode that importing the app leaves behind would be packaged too.
    own = {"NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environ = {"AWS_DEFAULT_REGION": "us-east-1", **os.environ, **own}
    command = [str(python), "-c", _CHALICE, *arguments]
    _run("chalice package", command, cwd=project, env=environ)


def _run(name: str, command: list[str], **options: Any) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        output = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise PackagingFailed(f"Packaging failed. {name} says:\n{output}")
