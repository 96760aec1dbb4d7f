"""Lambda's Runtime API, and one function that runs against it and is timed.

Times are from `time.perf_counter`, CPU from the kernel's clock of the whole process, threads that
ended included. https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

SECONDS = 60.0  # for anything that is waited for
TIMEOUT = 15  # seconds that a function believes it has
REQUEST_ID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"


class FunctionFailed(Exception):
    """A function ended, hung, raised, or did not respond 200. The text ends with its output."""


@dataclass(frozen=True)
class Function:
    """How a function is started, and what it is called."""

    name: str
    command: Sequence[str]
    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """One request of the runtime client: `next`, `response` or `error`."""

    kind: str
    body: bytes
    at: float  # perf_counter, when the last byte had come


class RuntimeApi:
    """One function's Runtime API on a free port of 127.0.0.1. One thread, no framework: it should
    cost as little as it can beside what is measured.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._received: dict[socket.socket, bytearray] = {}
        self._asking: socket.socket | None = None

    @property
    def address(self) -> str:
        """Host and port, as AWS_LAMBDA_RUNTIME_API has them."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def receive(self, is_alive: Callable[[], bool]) -> Request | None:
        """The next request; None where none came in time, or whoever asks is not alive."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for selected, _ in self._selector.select(0.2):
                connection = selected.fileobj
                assert isinstance(connection, socket.socket)
                if connection is self._listener:
                    self._accept()
                elif request := self._read(connection):
                    return request
            if not is_alive():
                return None
        return None

    def send(self, event: bytes) -> float:
        """Give the event to whoever asked for the next one. Returns when (perf_counter)."""
        assert self._asking
        deadline = round((time.time() + TIMEOUT) * 1000)
        head = (
            "HTTP/1.1 200 OK\r\n"
            "Content-Type: application/json\r\n"
            f"Lambda-Runtime-Aws-Request-Id: {REQUEST_ID}\r\n"
            f"Lambda-Runtime-Deadline-Ms: {deadline}\r\n"
            "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:1:function:f\r\n"
            f"Content-Length: {len(event)}\r\n\r\n"
        )
        sent = time.perf_counter()
        self._asking.sendall(head.encode() + event)
        return sent

    def close(self) -> None:
        """Close every socket."""
        for connection in [self._listener, *self._received]:
            connection.close()
        self._selector.close()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received[connection] = bytearray()
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, connection: socket.socket) -> Request | None:
        data = connection.recv(1 << 20)
        if not data:
            self._selector.unregister(connection)
            del self._received[connection]
            connection.close()
            return None
        received = self._received[connection]
        received += data
        parsed = parse_request(received)
        if parsed is None:
            return None
        at = time.perf_counter()
        path, body = parsed
        received.clear()  # a client sends nothing more before it is answered
        kind = path.rsplit("/", 1)[-1]
        if kind == "next":
            self._asking = connection
        else:
            connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        return Request(kind, body, at)


def parse_request(received: bytes | bytearray) -> tuple[str, bytes] | None:
    """Path and body of a whole HTTP/1.1 request; None where some of it has not come yet."""
    head, separator, rest = bytes(received).partition(b"\r\n\r\n")
    if not separator:
        return None
    start, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    path = start.split(" ")[1]
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _dechunked(rest)
        return None if body is None else (path, body)
    length = int(headers.get("content-length", 0))
    return (path, rest[:length]) if len(rest) >= length else None


def _dechunked(rest: bytes) -> bytes | None:
    body = b""
    while True:
        line, separator, rest = rest.partition(b"\r\n")
        if not separator:
            return None
        size = int(line.partition(b";")[0], 16)
        if len(rest) < size + 2:
            return None
        if size == 0:
            return body
        body, rest = body + rest[:size], rest[size + 2 :]


class Running:
    """A function that runs, from its spawn on: `with Running(function) as running`.

    Every method raises FunctionFailed where it ended, hung, or responded with anything but 200.
    """

    def __init__(self, function: Function) -> None:
        self._function = function
        self._api = RuntimeApi()
        self._output = TemporaryFile()  # noqa: SIM115 (closed on exit)
        self._spawned = time.perf_counter()
        self._process = subprocess.Popen(
            function.command,
            cwd=function.folder,
            env={
                "PATH": os.environ["PATH"],
                "AWS_LAMBDA_RUNTIME_API": self._api.address,
                "LAMBDA_TASK_ROOT": str(function.folder),
                **function.environ,
            },
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._api.close()
        self._output.close()

    def start(self) -> float:
        """Wait until it asks for its first event. Returns the milliseconds since the spawn."""
        return (self._expect("next").at - self._spawned) * 1000

    def deliver(self, event: bytes) -> float:
        """Give it an event. Returns the milliseconds until it had responded."""
        sent = self._api.send(event)
        response = self._expect("response")
        status = json.loads(response.body).get("statusCode")
        if status != 200:
            raise self._failed(f"responded {response.body[:500]!r}")
        self._expect("next")
        return (response.at - sent) * 1000

    def cpu_ms(self) -> float:
        """CPU of all its threads so far, those that have ended too."""
        # What clock_getcpuclockid(3) gives; Python has no name for it.
        return time.clock_gettime((~self.pid << 3) | 2) * 1000

    def peak_mb(self) -> float:
        """The most memory it has held, in MB of 1,000,000 bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6

    def _expect(self, kind: str) -> Request:
        request = self._api.receive(lambda: self._process.poll() is None)
        if request is None:
            raise self._failed("ended, or was silent for a minute")
        if request.kind != kind:
            raise self._failed(f"sent {request.kind}: {request.body[:500]!r}")
        return request

    def _failed(self, what: str) -> FunctionFailed:
        self._output.seek(0)
        printed = self._output.read()[-2000:].decode(errors="replace")
        return FunctionFailed(f"{self._function.name} {what}\nIts output ends with:\n{printed}")
