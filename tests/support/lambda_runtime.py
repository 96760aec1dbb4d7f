"""Lambda's runtime API, and a function that runs against it as it does in Lambda.

    with running(folder, "app.deliver", environ) as function:
        kind, said = function.invoke({"app": "shop", "body": 1})

The function is a process of Lambda's own runtime client, awslambdaric, which polls for invokes.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import os
import platform
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import findpython
import pytest

from hookshelf.deploy.package import filled_once, with_chalice
from support.project import PROJECT

SECONDS = 60  # for a process to start, on a machine busy with other tests

needs_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="Lambda's runtime client runs on Linux alone"
)
needs_x86_64 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="this machine cannot run the zip for x86_64"
)


def runtime_of(python: Path, *libraries: str) -> Path:
    """A folder of build/ with Lambda's runtime client, for a Python, and more that is there."""
    version = findpython.PythonVersion(python)
    names = ["awslambdaric", *libraries]
    home = PROJECT / "build" / f"python{version.major}.{version.minor}-{'-'.join(names)}"

    def install(new: Path) -> None:
        command = [with_chalice(python), "-m", "pip", "install", "--quiet", "--target", new]
        subprocess.run([*command, *names], check=True, stderr=subprocess.DEVNULL)

    return filled_once(home, install)


@dataclass
class Invoke:
    """One event, and the room for what comes of it."""

    event: bytes
    seconds: float = SECONDS  # until the deadline that the function is told
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    outcome: "queue.Queue[tuple[str, Any]]" = field(default_factory=queue.Queue)


class Runtime(ThreadingHTTPServer):
    """Hands out invokes, one after the other, and hears what came of them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.waiting: queue.Queue[Invoke | None] = queue.Queue()
        self.running: dict[str, Invoke] = {}

    def stop(self) -> None:
        """End, once the process that asked for invokes has ended."""
        self.waiting.put(None)  # for the client that waits no more
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """The two paths that matter: the next invoke, and what came of one."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: Runtime

    def do_GET(self) -> None:
        invoke = self.server.waiting.get()
        if invoke is None:
            return
        self.server.running[invoke.id] = invoke
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(invoke.event)))
        self.send_header("Lambda-Runtime-Aws-Request-Id", invoke.id)
        self.send_header(
            "Lambda-Runtime-Deadline-Ms", f"{(time.time() + invoke.seconds) * 1000:.0f}"
        )
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:1:f:x")
        self.end_headers()
        self.wfile.write(invoke.event)

    def do_POST(self) -> None:
        said = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        *_, name, kind = self.path.split("/")  # …/invocation/<id>/response, or …/init/error
        invoke = self.server.running.pop(name, None)
        if invoke:
            invoke.outcome.put((kind, json.loads(said)))

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass
class Function:
    """A function that runs."""

    runtime: Runtime
    process: "subprocess.Popen[bytes]"
    output: Path  # what it has printed: its log

    def invoke(self, event: object, seconds: float = SECONDS) -> tuple[str, Any]:
        """`response` or `error`, and what was said. Fails where the function is gone.

        `seconds` are until the deadline that it is told; nobody ends it there.
        """
        invoke = Invoke(json.dumps(event).encode(), seconds)
        self.runtime.waiting.put(invoke)
        end = time.monotonic() + max(SECONDS, seconds)
        while time.monotonic() < end:
            try:
                return invoke.outcome.get(timeout=0.2)
            except queue.Empty:
                if self.process.poll() is not None:
                    break
        raise AssertionError(f"The function does not answer:\n{self.output.read_text()}")

    def result(self, event: object, seconds: float = SECONDS) -> Any:
        """What it returns; raises where it raises."""
        kind, said = self.invoke(event, seconds)
        if kind != "response":
            raise RuntimeError(said)
        return said


@contextmanager
def running(
    folder: Path,
    handler: str,
    environ: Mapping[str, str],
    output: Path,
    python: Sequence[str | Path] = (sys.executable,),
) -> Iterator[Function]:
    """Run a function whose code is in a folder; `python` runs an interpreter with awslambdaric.

    Of this shell's environment it gets nothing but where to find programs.
    """
    runtime = Runtime()
    threading.Thread(target=runtime.serve_forever, args=[0.05], daemon=True).start()
    given = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_port}",
        "AWS_LAMBDA_FUNCTION_NAME": "hookshelf-dev",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "LAMBDA_TASK_ROOT": str(folder),
        "NO_PROXY": "127.0.0.1",
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",  # /var/task is read-only
    }
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*python, "-m", "awslambdaric", handler],
            cwd=folder,
            env=given | dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Function(runtime, process, output)
    finally:
        process.terminate()
        process.wait()
        runtime.stop()
