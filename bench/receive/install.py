"""What is measured, installed into build/bench/: our zip, and the peers in peers/.

Everything is installed once and then used again, so that a second run needs no network; our zip is
packaged anew each time, from wheels that the first packaging has kept.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.receive import deliveries
from bench.receive.runtime import Function
from hookshelf.deploy import package, plan, template

PEERS = Path(__file__).parent / "peers"
BUILD = Path(__file__).parents[2] / "build" / "bench"

# What Lambda has in its Python runtime: the client, and boto3.
RUNTIME = ("awslambdaric", "boto3")
CONVENTIONAL = ("chalice", "pydantic")
# npm's aws-lambda-ric is compiled where it is installed. What for, and Debian's package of it.
COMPILED_WITH = {
    "autoreconf": "autoconf",
    "aclocal": "automake",
    "libtoolize": "libtool",
    "cmake": "cmake",
    "g++": "g++",
    "make": "make",
    "python3": "python3",
}


class InstallError(Exception):
    """Something could not be installed; the text says what, and ends with why."""


@dataclass(frozen=True)
class Installed:
    """The functions to measure, by name, and what is to be said of how they were installed."""

    functions: Mapping[str, Function]
    zip: Path
    memory_mb: int  # that the package's template gives to the function
    notes: Sequence[str]
    versions: Mapping[str, str]


def install(bucket_url: str, say: Callable[[str], None]) -> Installed:
    """Install what is missing. `say` is told of each step that takes long. Raises InstallError."""
    BUILD.mkdir(parents=True, exist_ok=True)
    python = _runtime(say)
    built, ours = _package(say)
    properties = built.template["Resources"]["APIHandler"]["Properties"]
    peers = _python_peers(python, ours, say)
    node, notes, node_versions = node_peers(say)
    apps_file = ours / "signed.json"  # where only who names it sees it, and in the package
    apps_file.write_text(json.dumps(deliveries.APPS_FILE))
    start = [str(python), "-m", "awslambdaric", properties["Handler"]]
    environ = {
        **properties["Environment"]["Variables"],
        "ARCHIVE_BUCKETS": "bench",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_LOG_LEVEL": "INFO",
    }
    functions = [
        *peers,
        Function("hookshelf", start, ours, environ),
        Function("hookshelf, signed", start, ours, environ | {"APPS_FILE": apps_file.name}),
        *node,
    ]
    return Installed(
        {each.name: _in_lambda(each, bucket_url) for each in functions},
        built.zip,
        properties["MemorySize"],
        notes,
        _versions(python) | node_versions,
    )


def _in_lambda(function: Function, bucket_url: str) -> Function:
    """A function with what Lambda puts into every environment."""
    environ = {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "x" * 40,
        "AWS_SESSION_TOKEN": "t" * 600,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": bucket_url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_EXECUTION_ENV": "AWS_Lambda_x",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "LANG": "en_US.UTF-8",
        "NO_PROXY": "127.0.0.1",
        "PYTHONDONTWRITEBYTECODE": "1",  # /var/task is read-only
        "TZ": ":UTC",
    }
    return Function(
        function.name, function.command, function.folder, environ | dict(function.environ)
    )


def _runtime(say: Callable[[str], None]) -> Path:
    """An interpreter with what Lambda's runtime holds, bytecode included."""
    python = package.best_python()
    home = BUILD / "runtime"

    def make(new: Path) -> None:
        _run("venv", [str(python), "-m", "venv", str(new)])
        _run("pip", [str(new / "bin/python"), "-m", "pip", "install", "--quiet", *RUNTIME])

    once(home, [str(python), *RUNTIME], make, say)
    return home / "bin" / "python"


def _package(say: Callable[[str], None]) -> tuple[package.Package, Path]:
    """Our zip for this machine, by the project's own packaging, and the zip unzipped."""
    say("packaging hookshelf")
    machine = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
    request = plan.package_request(
        {"ARCHIVE_BUCKETS": "my-bucket"}, template.Options("dev"), architecture=machine
    )
    built = package.build(request, BUILD / "package")
    folder = BUILD / "hookshelf"
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(built.zip) as archive:
        archive.extractall(folder)
    return built, folder


def _python_peers(python: Path, ours: Path, say: Callable[[str], None]) -> list[Function]:
    def make(new: Path) -> None:
        # As a Chalice zip ships them: without bytecode, and Lambda's /var/task is read-only.
        target = ["--quiet", "--no-compile", "--target", str(new)]
        _run("pip", [str(python), "-m", "pip", "install", *target, *CONVENTIONAL])

    conventional = BUILD / "conventional"
    once(conventional, CONVENTIONAL, make, say)
    for cache in list(conventional.rglob("__pycache__")):
        shutil.rmtree(cache)
    shutil.copy(PEERS / "conventional" / "app.py", conventional)
    start = [str(python), "-m", "awslambdaric", "app.app"]
    return [
        Function("empty Python", start, PEERS / "empty"),
        Function("bare obstore put", start, PEERS / "put", {"PYTHONPATH": str(ours)}),
        Function("boto3 alone", start, PEERS / "boto3"),
        Function("Chalice, pydantic, boto3", start, conventional),
    ]


def node_peers(say: Callable[[str], None]) -> tuple[list[Function], list[str], dict[str, str]]:
    """The Node original, plain and bundled; nothing where there is no Node."""
    if not (shutil.which("node") and shutil.which("npm")):
        return [], ["There is no Node here (apt-get install nodejs npm): its rows are empty."], {}
    plain, bundled = BUILD / "node", BUILD / "node-bundled"
    wanted = (PEERS / "node" / "package.json").read_text(encoding="utf-8")
    options = ["--bundle", "--minify", "--platform=node", "--log-level=error"]

    def make(new: Path) -> None:
        shutil.copytree(PEERS / "node", new)
        _npm(new, ["install"])

    once(plain, [wanted], make, say)
    shutil.copy(PEERS / "node" / "app.js", plain)
    bundled.mkdir(exist_ok=True)
    esbuild = [str(plain / "node_modules" / ".bin" / "esbuild"), str(plain / "app.js")]
    _run("esbuild", [*esbuild, *options, f"--outfile={bundled / 'app.js'}"])
    client, notes = node_client(say)
    start = ["node", str(client), "app.app"]
    functions = [Function("Node", start, plain), Function("Node, bundled", start, bundled)]
    return functions, notes, _node_versions(plain)


def node_client(say: Callable[[str], None]) -> tuple[Path, list[str]]:
    """Lambda's runtime client for Node, or the loop of ours where it cannot be built."""
    home = BUILD / "aws-lambda-ric"

    def make(new: Path) -> None:
        new.mkdir(parents=True)
        (new / "package.json").write_text('{"private": true}\n')
        _npm(new, ["install", "aws-lambda-ric"])
        if not list(new.glob("node_modules/aws-lambda-ric/dist/*.node")):
            raise InstallError("npm ran no install scripts")

    missing = sorted(
        {debian for program, debian in COMPILED_WITH.items() if not shutil.which(program)}
    )
    why = f"apt-get install {' '.join(missing)}" if missing and not home.exists() else ""
    if not why:
        try:
            once(home, ["aws-lambda-ric"], make, say)
        except InstallError as error:
            why = f"its build says: {str(error).splitlines()[-1]}"
    if not why:
        return home / "node_modules" / "aws-lambda-ric" / "bin" / "index.mjs", []
    loop = "Node runs under a loop of our own, peers/node/loop.mjs"
    return PEERS / "node" / "loop.mjs", [f"{loop}, as aws-lambda-ric could not be built: {why}"]


def once(
    home: Path, recipe: Sequence[str], make: Callable[[Path], None], say: Callable[[str], None]
) -> None:
    """Make a folder unless it is there, made by the same recipe. An interrupted one is not."""
    stamp = home.with_suffix(".recipe")
    if home.exists() and stamp.exists() and stamp.read_text() == repr(list(recipe)):
        return
    say(f"installing {home.name}")
    shutil.rmtree(home, ignore_errors=True)
    stamp.unlink(missing_ok=True)
    make(home)
    stamp.write_text(repr(list(recipe)))


def _npm(folder: Path, arguments: Sequence[str]) -> None:
    options = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    _run("npm", ["npm", *arguments, *options], cwd=folder)


def _run(name: str, command: Sequence[str], cwd: Path | None = None) -> str:
    environ = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environ, cwd=cwd
    )
    if done.returncode:
        why = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise InstallError(f"{name} failed:\n{why}")
    return done.stdout


def _versions(python: Path) -> dict[str, str]:
    names = ["awslambdaric", "boto3"]
    program = (
        "import platform; from importlib.metadata import version as v; "
        f"print(platform.python_version(), *[v(name) for name in {names}])"
    )
    return dict(
        zip(["Python", *names], _run("python", [str(python), "-c", program]).split(), strict=True)
    )


def _node_versions(folder: Path) -> dict[str, str]:
    sdk = folder / "node_modules" / "@aws-sdk" / "client-s3" / "package.json"
    return {
        "Node": _run("node", ["node", "--version"]).strip(),
        "@aws-sdk/client-s3": json.loads(sdk.read_text(encoding="utf-8"))["version"],
    }
