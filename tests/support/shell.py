"""The commands of a page, run as a reader would."""

import re
import subprocess
import sys
from pathlib import Path

from support.local_server import SECONDS, Server, copy_of_project


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
