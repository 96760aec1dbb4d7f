"""The local server, asked over real sockets: as strict as what stands before Lambda."""

import gzip
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from chalice.config import Config
from support.canary import TOKEN
from support.local_server import copy_of_project, free_port, serving
from support.project import PROJECT

from app import app
from chalicelib.local_server import LocalServer
from chalicelib.responses import MAX_BODY

TARGET = f"/input?token={TOKEN}&app=shop"
NO_SUCH_PATH = {"result": "fail", "reason": "No such path: POST /input?token=…&app=…"}


class Running:
    """The server, in a thread of this process, and the folder it archives into."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._folder = folder

    def stored(self) -> list[bytes]:
        """The bodies that were stored since the last look."""
        files = sorted(path for path in self._folder.rglob("*") if path.is_file())
        bodies = [path.read_bytes() for path in files if path.suffix != ".meta"]
        for path in files:
            path.unlink()
        return bodies

    def raw(self, request: bytes) -> bytes:
        """Send these bytes and nothing after them; all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as stream:
                return stream.read()

    def post(self, body: bytes, target: str = TARGET, method: str = "POST", **headers: str):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, target, body, {"Content-Type": "application/json", **named})
        response = connection.getresponse()
        raw = response.read()
        connection.close()
        return response.status, json.loads(raw) if raw else None, dict(response.getheaders())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("archive")
    variables = {
        "AWS_CHALICE_CLI_MODE": "true",
        "ARCHIVE_BUCKETS": "events",
        "ARCHIVE_FOLDER": str(folder),
        "STAGE_VAR_validToken": TOKEN,
    }
    config = Config("local", config_from_disk={"lambda_timeout": 15, "app_name": "hookshelf"})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        port = free_port()
        local = LocalServer(app, config, "127.0.0.1", port)
        thread = threading.Thread(target=local.serve_forever, daemon=True)
        thread.start()
        yield Running(port, folder)
        local.shutdown()


def test_a_post_is_stored_byte_for_byte(server: Running) -> None:
    body = b'{"n": 12345678901234567890, "e": "\\u00e9"}\r\n\n'

    assert server.post(body)[0] == 200
    assert server.stored() == [body]


START = b"POST %b HTTP/1.1\r\nHost: x\r\n"
MALFORMED = {
    "a blank in the path": b"POST /input x?a HTTP/1.1\r\nHost: x\r\n\r\n",
    "no path": b"POST HTTP/1.1\r\nHost: x\r\n\r\n",
    "no version that is known": b"POST %b HTTP/9.9\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]",
    "no version": b"POST %b\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]",
    "an address that is none": b"POST http://[::1%b HTTP/1.1\r\nHost: x\r\n\r\n",
    "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a length in words": START + b"Content-Length: two\r\n\r\n[]",
    "a length below zero": START + b"Content-Length: -2\r\n\r\n[]",
    "a length with a sign": START + b"Content-Length: +2\r\n\r\n[]",
    "an empty length": START + b"Content-Length: \r\n\r\n[]",
    "two lengths": START + b"Content-Length: 2\r\nContent-Length: 1\r\n\r\n[]",
    "a space before the colon": START + b"Content-Length : 2\r\n\r\n[]",
    "a header without a colon": START + b"nonsense\r\nContent-Length: 2\r\n\r\n[]",
    "a line break in a header": START + b"A: b\rc\r\nContent-Length: 2\r\n\r\n[]",
    "chunks with a length": (
        START + b"Content-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n"
    ),
    "chunks in HTTP/1.0": (
        b"POST %b HTTP/1.0\r\nContent-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\n[]\r\n0\r\n\r\n"
    ),
    "a chunk that is none": (START + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n[]\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("request_", MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_http_is_400_in_json_and_nothing_is_stored(
    server: Running, request_: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    response = server.raw(request_.replace(b"%b", TARGET.encode()))
    head, _, body = response.partition(b"\r\n\r\n")
    printed = capfd.readouterr().err

    assert head.split()[1] == b"400"
    assert json.loads(body) == {"result": "fail", "reason": "Bad Request"}
    assert set(printed.splitlines()) == {"malformed request 400"}
    assert TOKEN.encode() not in response
    assert server.stored() == []


@pytest.mark.parametrize(
    "request_",
    [
        b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n[1, 2]",
        b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n[1, 2]\r\n",
        b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n",
    ],
    ids=["a length", "chunks", "headers"],
)
def test_what_did_not_arrive_whole_is_neither_stored_nor_acknowledged(
    server: Running, request_: bytes
) -> None:
    assert server.raw(request_.replace(b"%b", TARGET.encode())) == b""
    assert server.post(b"{}")[0] == 200
    assert server.stored() == [b"{}"]


def test_chunks_are_put_together_as_api_gateway_does(server: Running) -> None:
    response = server.raw(
        f"POST {TARGET} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "1\r\n[\r\n2\r\n1]\r\n0\r\n\r\n".encode()
    )

    assert response.startswith(b"HTTP/1.1 200 ")
    assert server.stored() == [b"[1]"]


# --- gzip


def test_a_gzip_body_is_archived_unpacked_as_on_aws(server: Running) -> None:
    status, _, _ = server.post(gzip.compress(b'{"a": 1}'), Content_Encoding="gzip")

    assert status == 200
    assert server.stored() == [b'{"a": 1}']


@pytest.mark.parametrize(("size", "status"), [(MAX_BODY, 200), (MAX_BODY + 1, 413)])
def test_the_limit_counts_what_was_unpacked(server: Running, size: int, status: int) -> None:
    body = b'"' + b"a" * (size - 2) + b'"'

    assert server.post(gzip.compress(body), Content_Encoding="GZIP")[0] == status
    assert len(server.stored()) == (status == 200)


def test_a_gzip_bomb_is_unpacked_no_further_than_the_limit(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    read = gzip.GzipFile.read

    def watched(file: gzip.GzipFile, size: int = -1) -> bytes:
        asked.append(size)
        return read(file, size)

    monkeypatch.setattr(gzip.GzipFile, "read", watched)

    assert server.post(gzip.compress(b"0" * 2**25), Content_Encoding="gzip")[0] == 413
    assert asked == [MAX_BODY + 1]
    assert server.stored() == []


@pytest.mark.parametrize(
    "body",
    [b"{}", gzip.compress(b"{}")[:-4], gzip.compress(b"{}")[:12] + b"\xff" * 9],
    ids=["plain", "cut", "broken"],
)
def test_what_is_said_to_be_gzip_and_is_not_is_415(server: Running, body: bytes) -> None:
    status, said, _ = server.post(body, Content_Encoding="gzip")

    assert (status, said["result"]) == (415, "fail")
    assert server.stored() == []


# --- methods and paths


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW", "PROPFIND"])
def test_any_other_method_is_405_and_told_what_is_allowed(server: Running, method: str) -> None:
    status, said, headers = server.post(b"", TARGET, method)

    assert status == 405
    assert headers["Allow"] == "POST"
    assert said == {"result": "fail", "reason": "Method not allowed: send POST"}


@pytest.mark.parametrize("target", ["/", "/inputs", "/input//", "/input&token=x", "/%69nput", "*"])
@pytest.mark.parametrize("method", ["POST", "GET", "BREW"])
def test_any_other_path_is_told_the_right_one(server: Running, target: str, method: str) -> None:
    status, said, _ = server.post(b"{}", target, method)

    assert (status, said) == (404, NO_SUCH_PATH)


def test_a_slash_may_end_the_path(server: Running) -> None:
    assert server.post(b"{}", TARGET.replace("/input", "/input/"))[0] == 200
    assert server.stored() == [b"{}"]


def test_a_whole_address_is_read_as_its_path(server: Running) -> None:
    assert server.post(b"{}", f"http://127.0.0.1{TARGET}")[0] == 200
    assert server.stored() == [b"{}"]


def test_a_log_line_has_method_path_and_status_and_no_other_path(
    server: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    server.post(b"{}")
    server.post(b"{}", f"/elsewhere{TOKEN}?token={TOKEN}")
    printed = capfd.readouterr().err
    server.stored()

    assert '"POST /input" 200\n' in printed
    assert '"POST …" 404\n' in printed
    assert TOKEN not in printed


def test_many_at_once_are_each_answered(server: Running) -> None:
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: statuses.append(server.post(b"[%d]" % n)[0]))
        for n in range(64)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * 64
    assert sorted(server.stored()) == sorted(b"[%d]" % n for n in range(64))


# --- `chalice local`, whoever starts it


CHALICE_LOCAL = f"{Path(sys.executable).parent / 'chalice'} local --no-autoreload --stage local"
POST_LOCALLY = "/input?token=local-token-for-trying-out-only&app=shop"


def test_chalice_local_serves_with_it_too(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path / "project")
    with serving(project, CHALICE_LOCAL + " --port {port}") as run:
        chalice = Running(run.port, project / "archive")
        status, _, headers = chalice.post(b"{}", POST_LOCALLY)

        assert (status, headers["Server"]) == (200, "waitress")
        assert chalice.raw(b"nonsense\r\n\r\n").startswith(b"HTTP/1.0 400 ")


@pytest.mark.slow
def test_without_waitress_chalice_local_serves_by_itself_and_logs_no_token(
    tmp_path: Path,
) -> None:
    project = copy_of_project(tmp_path / "project")
    (project / "waitress.py").write_text("raise ImportError")
    with serving(project, CHALICE_LOCAL + " --port {port}") as run:
        status, _, _ = Running(run.port, project).post(b"{}", POST_LOCALLY)
        run.process.terminate()
        output, errors = run.process.communicate(timeout=60)

    assert status == 200
    assert "local-token" not in output + errors


def test_importing_the_app_elsewhere_loads_no_server() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, app; print('waitress' in sys.modules)"],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "False\n"
