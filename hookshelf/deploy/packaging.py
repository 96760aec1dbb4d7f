"""What goes to AWS: the zip and the CloudFormation template of a stage, made by Chalice.

Everything is rendered into build/<stage>/, which git ignores: a copy of the app with the stage's
settings and policies, our merge template, and what Chalice and the SAM transform make of them. No
tracked file is edited. Chalice takes the interpreter it runs under as Lambda's runtime, and a
region to be set.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import findpython

from hookshelf.deploy.deployment import HANDLERS
from hookshelf.deploy.policies import file_name
from hookshelf.project import PROJECT_ROOT

RUNTIMES = ((3, 13), (3, 12))  # the best first
SHIPS = ("app.py", "requirements.txt", "chalicelib", "vendor")
# /var/task is read-only, so Lambda would compile these at every cold start. What `POST /input`
# loads and no more: the zip should stay below 15 MB. `python bench/bytecode.py` has the figures.
PRECOMPILED = (
    "app.py",
    "chalice",
    "chalicelib",
    "cryptography",
    "msgspec",
    "obstore",
    "typing_extensions.py",
)
_1980 = (1980, 1, 1, 0, 0, 0)  # Chalice's own date for what it zips: equal content, equal zip
_CHALICE = "import sys; from chalice.cli import main; sys.exit(main())"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Order:
    """What to package a stage with; unset, the stage's own of .chalice/config.json."""

    stage: str
    environment: Mapping[str, str] = field(default_factory=dict)  # beats the stage's
    policies: Mapping[str, Json] = field(default_factory=dict)  # handler: policy document
    merge: Mapping[str, Any] = field(default_factory=dict)  # our merge template
    architecture: str = "arm64"


@dataclass(frozen=True, slots=True)
class Package:
    """The zip, and the template in CloudFormation's own words: SAM is expanded already."""

    zip: Path
    template: Json


def build(order: Order, into: Path, python: Path | None = None) -> Package:
    """Package a stage in the folder `into`; `python` is the interpreter whose runtime to take.

    Raises click.ClickException with what Chalice said.
    """
    python, into = python or best_python(), into.resolve()
    project, out = into / "project", into / "package"
    _render(order, project)
    _write(into / "merge.json", order.merge)
    shutil.rmtree(out, ignore_errors=True)
    _run_chalice(
        with_chalice(python),
        project,
        ["package", "--stage", order.stage, "--merge-template", str(into / "merge.json"), str(out)],
    )
    precompile(out / "deployment.zip", python)
    sam = json.loads((out / "sam.json").read_text(encoding="utf-8"))
    return Package(out / "deployment.zip", expand(sam))


@cache
def best_python() -> Path:
    """The interpreter of the newest runtime that we deploy to, else the one that runs this.

    Python 3.10 and 3.11 are at their end in Lambda.
    https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
    """
    for runtime in RUNTIMES:
        if sys.version_info[:2] == runtime:
            return Path(sys.executable)
        found = findpython.find(*runtime)
        if found and _makes_environments(found.executable):
            return Path(found.executable)
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    click.echo(
        f"Warning: no Python 3.13 or 3.12 was found, so the functions will run on {running}. "
        "Install one of them and package again",
        err=True,
    )
    return Path(sys.executable)


def _makes_environments(python: Path) -> bool:
    """Debian's Python does not, unless a package more is installed."""
    done = subprocess.run(
        [python, "-c", "import ensurepip, venv"], capture_output=True, check=False
    )
    return done.returncode == 0


def with_chalice(python: Path) -> Path:
    """An interpreter of the same version that has our Chalice: this one, or one of build/."""
    if python == Path(sys.executable):
        return python
    found = findpython.PythonVersion(python)
    chalice = f"chalice=={version('chalice')}"
    home = PROJECT_ROOT / "build" / f"python{found.major}.{found.minor}-{chalice}"
    if not home.exists():
        click.echo(f"Installing {chalice} for Python {found.version} into {home}", err=True)
        # Beside it first: two may do this at once, or one be interrupted.
        new = home.with_name(f"{home.name}-{os.getpid()}")
        try:
            _run("venv", [str(python), "-m", "venv", "--clear", str(new)])
            _run("pip", [str(new / "bin/python"), "-m", "pip", "install", "--quiet", chalice])
            with contextlib.suppress(OSError):  # the other was faster
                new.rename(home)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return home / "bin" / "python"


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


def _render(order: Order, project: Path) -> None:
    """A copy of the app with the stage's settings. Chalice's cache of wheels in it stays."""
    config = json.loads((PROJECT_ROOT / ".chalice" / "config.json").read_text(encoding="utf-8"))
    config["lambda_architecture"] = order.architecture
    stage = config["stages"].setdefault(order.stage, {})
    stage["environment_variables"] = {
        **stage.get("environment_variables", {}),
        **order.environment,
    }
    functions = stage.get("lambda_functions", {})
    stage["lambda_functions"] = {
        handler: functions.get(handler, {}) | {"iam_policy_file": file_name(order.stage, handler)}
        for handler in HANDLERS
    }
    for name in SHIPS:
        _copy(PROJECT_ROOT / name, project / name)
    own = project / ".chalice"
    own.mkdir(exist_ok=True)
    _write(own / "config.json", config)
    for handler in HANDLERS:
        name = file_name(order.stage, handler)
        if handler in order.policies:
            _write(own / name, order.policies[handler])
        else:
            _copy(PROJECT_ROOT / ".chalice" / name, own / name)


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
    environ = {"AWS_DEFAULT_REGION": "us-east-1", **os.environ, "NO_COLOR": "1"}
    command = [str(python), "-c", _CHALICE, *arguments]
    _run("chalice package", command, cwd=project, env=environ)


def _run(name: str, command: list[str], **options: Any) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise click.ClickException(f"Packaging failed. {name} says:\n{said}")
