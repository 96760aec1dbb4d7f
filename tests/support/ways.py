"""Three ways to send the same request, and what comes back.

As a plugin (`pytest_plugins = ["support.ways"]`) this brings the fixtures `way`, one after the
other, and `servers`, which starts `chalice local` once for each configuration that is asked for.
PYTEST_DONT_REWRITE: it asserts nothing, and a test module that names it as a plugin imports it too.
"""

import base64
import json
import os
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from chalice.test import Client

from app import app
from chalicelib.routes import INPUT
from support.project import PROJECT

Way = Callable[["Sent"], "Got"]


@dataclass(frozen=True)
class Sent:
    """A request, and the stage it meets."""

    body: bytes = b""
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    variables: Mapping[str, str] | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    seconds: int = 15  # the function's timeout

    @property
    def path(self) -> str:
        return INPUT + (f"?{urlencode(self.query)}" if self.query else "")


@dataclass(frozen=True)
class Got:
    """An answer; header names are in lower case."""

    status: int
    raw: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


class Context:
    """What Lambda hands a function besides the event."""

    aws_request_id = "6bc28136-xmpl-4365-b021-0ce6b2e64ab0"

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return round((self._end - time.monotonic()) * 1000)


# --- an event of API Gateway


def event(sent: Sent, *, is_base64: bool = True) -> dict[str, Any]:
    """What API Gateway's REST API gives a function: null wherever there is nothing."""
    query: dict[str, list[str]] = {}
    for name, value in sent.query:
        query.setdefault(name, []).append(value)
    body = base64.b64encode(sent.body) if is_base64 else sent.body
    return {
        "resource": INPUT,
        "path": INPUT,
        "httpMethod": sent.method,
        "headers": dict(sent.headers) or None,
        "multiValueHeaders": {name: [value] for name, value in sent.headers.items()} or None,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": None,
        "stageVariables": sent.variables,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghij",
            "extendedRequestId": "JKJaXmPLvHcESHA=",
            "httpMethod": sent.method,
            "identity": {"sourceIp": "192.0.2.1", "userAgent": None, "accessKey": None},
            "path": f"/api{INPUT}",
            "protocol": "HTTP/1.1",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "requestTimeEpoch": 1_763_690_000_000,
            "resourceId": "fghij1",
            "resourcePath": INPUT,
            "stage": "api",
        },
        "body": body.decode() if body else None,
        "isBase64Encoded": is_base64 and bool(body),
    }


def invoke(event: Mapping[str, Any], sent: Sent, context: Any = None) -> Got:
    """Run the function on an event, as Lambda does, and read its answer, as API Gateway does."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in sent.environ.items():
            patch.setenv(name, value)
        answer = app(event, context or Context(sent.seconds))
    # Base64 would reach a sender as it stands, unless its Accept was to API Gateway's liking.
    assert answer["isBase64Encoded"] is False
    return Got(answer["statusCode"], answer["body"].encode(), _lower(answer["headers"]))


def by_event(sent: Sent) -> Got:
    return invoke(event(sent), sent)


# --- Chalice's test client


class WithStageVariables:
    """The app with stage variables, which the test client has no way to give."""

    def __init__(self, variables: Mapping[str, str] | None) -> None:
        self._variables = variables

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        return app({**event, "stageVariables": self._variables}, context)

    def __getattr__(self, name: str) -> Any:
        return getattr(app, name)


def by_client(sent: Sent, project: Path) -> Got:
    """The client sets the environment of the project's `.chalice/config.json`."""
    client = Client(WithStageVariables(sent.variables), "local", str(project))
    got = client.http.request(sent.method, sent.path, dict(sent.headers), sent.body)
    return Got(got.status_code, got.body, _lower(got.headers))


# --- HTTP to `chalice local`


class Server:
    """A running `chalice local`."""

    def __init__(self, project: Path) -> None:
        self._log = project / "log"
        chalice = Path(sysconfig.get_path("scripts")) / "chalice"
        self.port = _free_port()
        local = ["local", "--stage", "local", "--no-autoreload", "--host", "127.0.0.1", "--port"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [chalice, *local, str(self.port)],
                cwd=project,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def log(self) -> str:
        """All it has printed: a request's lines are there before its answer is."""
        return self._log.read_text()

    def is_up(self) -> bool:
        """Wait until it listens; False if it could not, as when another took its port."""
        while self._process.poll() is None:
            if f"Serving on http://127.0.0.1:{self.port}" in self.log():
                return True
            time.sleep(0.02)
        return False

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._process.kill()
        self._process.wait()

    def send(self, sent: Sent) -> Got:
        """Send nothing but what was asked for: no Accept, no Content-Type, no User-Agent."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(sent.method, sent.path, skip_accept_encoding=True)
            for name, value in {**sent.headers, "Content-Length": str(len(sent.body))}.items():
                connection.putheader(name, value)
            connection.endheaders(sent.body)
            answer = connection.getresponse()
            return Got(answer.status, answer.read(), _lower(dict(answer.getheaders())))
        finally:
            connection.close()

    def send_raw(self, request: bytes) -> bytes:
        """Send these bytes, and nothing after them; return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as stream:
                return stream.read()


class Servers:
    """One project and one server for each configuration, made when first asked for."""

    def __init__(self, new_folder: Callable[[], Path]) -> None:
        self._new_folder = new_folder
        self._projects: dict[str, Path] = {}
        self._servers: dict[Path, Server] = {}

    def project(self, sent: Sent) -> Path:
        config = {
            "version": "2.0",
            "app_name": "hookshelf",
            "lambda_functions": {"api_handler": {"lambda_timeout": sent.seconds}},
            "stages": {"local": {"environment_variables": _local_environ(sent)}},
        }
        text = json.dumps(config, sort_keys=True)
        if text not in self._projects:
            self._projects[text] = _make_project(self._new_folder(), text)
        return self._projects[text]

    def server(self, sent: Sent) -> Server:
        project = self.project(sent)
        if project not in self._servers:
            self._servers[project] = start(project)
        return self._servers[project]

    def stop(self) -> None:
        for server in self._servers.values():
            server.stop()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(lambda: tmp_path_factory.mktemp("project"))
    yield servers
    servers.stop()


@pytest.fixture
def ways(servers: Servers) -> dict[str, Way]:
    return {
        "test client": lambda sent: by_client(sent, servers.project(sent)),
        "event": by_event,
        "http": lambda sent: servers.server(sent).send(sent),
    }


WAYS = ["test client", "event", "http"]


def in_every_way(cases: Mapping[str, Any], *, quick: str) -> list[Any]:
    """Each stage in each way, for `way` and one parameter more.

    By HTTP each needs a server of its own: that is slow, but for the one that is `quick`.
    """
    return [
        pytest.param(
            way,
            case,
            id=f"{way}-{name}",
            marks=[pytest.mark.slow] * (way == "http" and name != quick),
        )
        for way in WAYS
        for name, case in cases.items()
    ]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, ways: dict[str, Way]) -> Way:
    return ways[request.param]


def _local_environ(sent: Sent) -> dict[str, str]:
    variables = {f"STAGE_VAR_{name}": value for name, value in (sent.variables or {}).items()}
    return {**sent.environ, **variables}


def _make_project(folder: Path, config: str) -> Path:
    (folder / ".chalice").mkdir()
    (folder / ".chalice" / "config.json").write_text(config)
    for name in ("app.py", "chalicelib"):
        (folder / name).symlink_to(PROJECT / name)
    return folder


def start(project: Path) -> Server:
    """Serve a project on a port that is free; stop it when done."""
    for _ in range(5):  # a port that was free a moment ago may be taken by now
        server = Server(project)
        if server.is_up():
            return server
        server.stop()
    raise AssertionError(f"chalice local does not start:\n{server.log()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _lower(headers: Mapping[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
