"""The commands of a page, run as a reader would."""

import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from hookshelf.deploy.package import filled_once
from support.local_server import SECONDS, Server, copy_of_project, fresh_shell
from support.project import PROJECT


def installed_copy(to: Path) -> Path:
    """A copy of the project with a .venv of the environment that runs this, instead of by pip."""
    project = copy_of_project(to)
    venv = project / ".venv"
    venv.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.suffix != ".done":  # pip must not run: it would write to where these links lead
            (venv / entry.name).symlink_to(entry)
    for name in ("run.done", "test.done"):
        (venv / name).touch()
    return project


def pip_from_wheels(project: Path) -> dict[str, str]:
    """What makes pip install from wheels, fetched the first time: then it needs no network."""
    python = shutil.which("python3", path=fresh_shell()["PATH"])
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
    files = ("requirements.txt", "requirements-dev.txt", "pyproject.toml")
    wanted = [version.stdout.encode(), *((project / name).read_bytes() for name in files)]
    digest = sha256(b"".join(wanted)).hexdigest()[:12]

    def fetch(new: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--python", python, "wheel", "--quiet", "-w", new]
        for what in (
            ["--require-hashes", "--requirement=requirements.txt"],
            ["--requirement=requirements-dev.txt", "setuptools>=77"],  # it builds hookshelf
        ):
            subprocess.run([*pip, *what], cwd=project, check=True)

    wheels = filled_once(PROJECT / "build" / f"wheels-{digest}", fetch)
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}


def run(command: str, server: Server) -> str:
    """What a command prints that is written for port 8000."""
    command = command.replace(":8000/", f":{server.port}/")
    command = command.replace(" send ", f" send --port {server.port} ")
    command = command.replace(".venv/bin/hookshelf", f"{sys.executable} -m hookshelf")
    done = subprocess.run(
        command, shell=True, cwd=server.project, capture_output=True, text=True, timeout=SECONDS
    )
    return done.stdout


def shape(parts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """A transcript without what differs from run to run: when a delivery arrived."""
    when = re.compile(r"(?:\w+=[\d-]+/)+(\d{8}T\d{6}\.\d{6}Z)?")
    return [(command, when.sub("…", output).removesuffix("\n")) for command, output in parts]
