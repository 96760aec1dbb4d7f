"""The local server, run as `make run` does, in a copy of the project."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.project import PROJECT

SECONDS = 60  # for a server to start, on a machine busy with other tests


@dataclass
class Server:
    port: int
    project: Path
    welcome: str  # all that was printed before the server itself spoke
    process: subprocess.Popen[str]

    @property
    def curl(self) -> str:
        [line] = re.findall(r"^curl .*$", self.welcome, re.MULTILINE)
        return line


def copy_of_project(to: Path) -> Path:
    """What a checkout has, without what running it leaves behind."""
    left_out = (
        ".git",
        ".venv",
        "archive",
        "build",
        "__pycache__",
        "*.egg-info",
        ".*_cache",
        ".hypothesis",
    )
    return shutil.copytree(PROJECT, to, ignore=shutil.ignore_patterns(*left_out))


@contextmanager
def serving(
    project: Path,
    command: str = f"{sys.executable} -m hookshelf.local.serve --port {{port}}",
    environ: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Serve `project` on a free port until the block ends; `environ` is added to the shell's."""
    port = free_port()
    process = subprocess.Popen(
        f"exec {command.format(port=port)}",
        shell=True,
        cwd=project,
        env={
            **fresh_shell(),
            "PYTHONUNBUFFERED": "1",
            **(environ or {}),
        },  # or "Serving on" would wait in a pipe
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            server = Server(port, project, read_welcome(process), process)
            wait_until_open(server)
            yield server
        finally:
            process.terminate()  # make hands this on, as it could not a kill


def read_welcome(process: subprocess.Popen[str]) -> str:
    """Up to and with the curl line, or whatever there is to read."""
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(("curl ", "Serving on")):
            break
    return "".join(lines)


def wait_until_open(server: Server) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and server.process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", server.port)) == 0:
                return
        time.sleep(0.05)
    server.process.terminate()
    raise AssertionError(f"no server on port {server.port}: {server.process.communicate()}")


def curl(server: Server) -> tuple[int, dict[str, str]]:
    """Run the printed line through the shell, exactly as it was printed."""
    done = subprocess.run(
        server.curl + " --silent --write-out '\\n%{http_code}'",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


def fresh_shell() -> dict[str, str]:
    """The environment outside of `make` and of any virtual environment."""
    inner = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in inner}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
