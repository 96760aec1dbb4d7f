"""`hookshelf browse` as a process: what it prints, whom it serves, and what it leaves behind."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.archives import delivered, moment, put
from support.local_server import SECONDS, fresh_shell
from support.project import PROJECT

EVENT = {"email": "jane@example.com", "event": "open", "timestamp": 1, "sg_event_id": "e"}


@contextmanager
def started(environ: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "hookshelf", "browse", "--no-open", *arguments]
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        env=fresh_shell() | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


def asked(address: str, path: str, cookie: str = "") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=SECONDS)
    connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    response = connection.getresponse()
    response.body = response.read()  # type: ignore[attr-defined]
    connection.close()
    return response


def opened(address: str) -> str:
    """The cookie for the printed address."""
    parts = urlsplit(address)
    response = asked(address, f"{parts.path}?{parts.query}")
    assert response.status == 303
    return response.getheader("Set-Cookie", "").partition(";")[0]


@pytest.mark.slow
def test_ctrl_c_ends_it_and_leaves_nothing(folder_environ: dict[str, str], tmp_path: Path) -> None:
    put(folder_environ, delivered([EVENT], moment("2026-05-01")))
    before = sorted(Path(folder_environ["ARCHIVE_FOLDER"]).rglob("*"))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with started(folder_environ | {"TMPDIR": str(temporary)}, "--port", "0") as process:
        assert process.stdout
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        cookie = opened(address)
        page = asked(address, "/p?q=jane%40example.com", cookie)
        assert b"1 event, found by recipient" in page.body  # type: ignore[attr-defined]
        live = http.client.HTTPConnection(urlsplit(address).netloc, timeout=SECONDS)
        live.request("GET", "/live/events", headers={"Cookie": cookie})
        assert live.getresponse().readline() == b"retry: 1000\n"  # it is being followed
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=SECONDS) == 0
        assert process.stderr
        errors = process.stderr.read()
        live.close()

    assert "Traceback" not in errors
    assert sorted(Path(folder_environ["ARCHIVE_FOLDER"]).rglob("*")) == before
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_another_user_of_the_machine_gets_nothing(folder_environ: dict[str, str]) -> None:
    range_of_may = ("--since", "2026-05-01", "--until", "2026-05-31")
    with started(folder_environ, "--port", "0", "--json", *range_of_may) as process:
        assert process.stdout
        address = json.loads(process.stdout.readline())["url"]
        token = urlsplit(address).query
        for path in ("/", "/p?q=x", "/open", f"/?{token}", "/static/page.js"):
            assert asked(address, path).status == 403
        assert asked(address, "/", "hookshelf=1").status == 403
        start = asked(address, f"/open?{token}").getheader("Location", "")
        assert "since=2026-05-01T00%3A00" in start
        assert "until=2026-06-01T00%3A00" in start
        assert asked(address, start, opened(address)).status == 200


@pytest.mark.slow
def test_a_port_that_is_taken_is_an_error_only_where_it_was_asked_for(
    folder_environ: dict[str, str],
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with started(folder_environ, "--port", port) as process:
            assert process.wait(timeout=SECONDS) == 2
            assert process.stderr
            assert "--port" in process.stderr.read()


def test_it_is_served_on_the_usual_port_where_that_is_free() -> None:
    from hookshelf.page.server import USUAL_PORT, free_socket

    sockets = [free_socket("127.0.0.1", None) for _ in range(2)]
    ports: Sequence[int] = [bound.getsockname()[1] for bound in sockets]
    for bound in sockets:
        bound.close()

    assert ports[0] != ports[1]
    assert USUAL_PORT not in ports[1:]


def test_what_it_needs_is_named_where_it_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "flask.py").write_text("raise ModuleNotFoundError('no', name='flask')")
    done = subprocess.run(
        [sys.executable, "-m", "hookshelf", "browse", "--no-open"],
        cwd=PROJECT,
        env=fresh_shell() | {"PYTHONPATH": os.pathsep.join([str(tmp_path)])},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )

    assert done.returncode == 2
    assert "flask is missing: pip install -e '.[cli,page]'" in done.stderr
