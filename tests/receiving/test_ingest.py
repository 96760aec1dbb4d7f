"""The one pipeline: what it decides, by when, and that both ways in share it."""

import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.lambda_runtime import needs_linux
from support.project import CREDENTIALS, PROJECT, post

from chalicelib import ingest, responses
from chalicelib.apps import App
from chalicelib.deadline import TO_PUT, TO_RESPOND, Deadline
from chalicelib.delivery import Delivery
from chalicelib.direct import NotDelivered, deliver
from chalicelib.keys import RejectedKey, parse_key
from chalicelib.secrets import LOOKUP_TIMEOUT, UnresolvedSecret, resolve
from chalicelib.settings import BucketPath
from chalicelib.sources import Keys, source_named
from chalicelib.store._retry import ATTEMPT_TIMEOUT

ARRIVED = datetime(2026, 11, 20, 23, 50, 1, 123456, tzinfo=UTC)
EVENTS = BucketPath("events", "in")
MIB = 1024 * 1024


def delivery(body: bytes = b"{}", **headers: str) -> Delivery:
    named = {"content-type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return Delivery("shop", named, body, ARRIVED)


GENERIC = App(source=source_named("generic"))
SIGNED = App(source=source_named("github"), keys=Keys(secrets=(b"secret",)), signature="require")


# --- what is decided


def test_what_is_accepted_is_put_and_answered_by_its_key() -> None:
    decision = ingest.decide(delivery(), GENERIC, EVENTS)

    assert decision.obj
    assert decision.obj.key.startswith("in/shop/")
    assert decision.response == responses.stored("events", decision.obj.key)
    assert decision.verdict == "unchecked"


@pytest.mark.parametrize(
    ("app", "body", "refusal", "verdict"),
    [
        (GENERIC, b"{", responses.NOT_JSON, "unchecked"),
        (SIGNED, b"{}", responses.INVALID_SIGNATURE, "unsigned"),
        (SIGNED, b"{", responses.INVALID_SIGNATURE, "unsigned"),
    ],
    ids=["not JSON", "not signed", "neither"],
)
def test_what_can_never_be_accepted_is_put_too_and_says_where(
    app: App, body: bytes, refusal: responses.Response, verdict: str
) -> None:
    decision = ingest.decide(delivery(body), app, EVENTS)

    assert decision.obj
    assert isinstance(parse_key(decision.obj.key), RejectedKey)
    assert decision.obj.body == body
    assert decision.response == responses.kept(refusal, decision.obj.key)
    assert (decision.response.status, decision.response.reason) == (refusal.status, refusal.reason)
    assert decision.verdict == verdict


def test_what_is_too_large_is_put_nowhere() -> None:
    body = b"1" * (responses.MAX_BODY + 1)

    assert ingest.decide(delivery(body), GENERIC, EVENTS) == (responses.TOO_LARGE, None, None)
    assert ingest.decide(delivery(body[1:]), GENERIC, EVENTS).response.status == 200


# --- both ways in


@pytest.fixture
def environ(folder_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in folder_environ.items():
        monkeypatch.setenv(name, value)
    return folder_environ


def test_a_name_that_a_folder_cannot_keep_is_told_to_both(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    post(b"{}", app="shop")
    status, _, said = post(b"{}", app="Shop")
    with pytest.raises(NotDelivered) as refused:
        deliver({"app": "Shop", "body": 1}, None, environ=environ, arrived=ARRIVED)

    assert (status, said["reason"]) == (400, responses.NAME_TAKEN.reason)
    assert str(refused.value) == responses.NAME_TAKEN.reason


def test_a_fault_says_in_the_log_of_both_where_it_was_raised(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    post(b"{}", context=object())  # no Lambda context has no clock
    with pytest.raises(NotDelivered):
        deliver({"app": "shop", "body": 1}, object(), environ=environ, arrived=ARRIVED)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    assert [line["why"] for line in lines] == ["AttributeError"] * 2
    assert [line["at"].partition(":")[0] for line in lines] == ["deadline.py"] * 2
    assert [line["status"] for line in lines] == [503, 500]


# --- by when


class Context:
    """Lambda's, with so many seconds left when it is made."""

    aws_request_id = "r-1"

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return round((self._end - time.monotonic()) * 1000)


class Clock:
    """One that only the test moves on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Fixed:
    """A Lambda context that is asked once."""

    def get_remaining_time_in_millis(self) -> int:
        return 15_000


def test_what_was_slow_is_taken_off_what_is_left() -> None:
    clock = Clock()
    deadline = Deadline(Fixed(), clock)
    before = deadline.left()
    clock.now += 9

    assert before == 15 - TO_RESPOND
    assert deadline.left() == before - 9
    assert deadline.left_before_put() == before - 9 - TO_PUT
    assert TO_PUT >= ATTEMPT_TIMEOUT


def test_where_nothing_ends_a_request_there_is_no_deadline() -> None:
    assert Deadline().left() == float("inf")


@contextmanager
def silent_server() -> Iterator[str]:
    """One that takes connections, and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AWS, and S3 with it, takes requests and answers none."""
    with silent_server() as url:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        yield


@pytest.mark.usefixtures("silent")
def test_a_secret_is_looked_up_only_while_the_put_has_time_left() -> None:
    clock = Clock()
    deadline = Deadline(Fixed(), clock)
    clock.now += 15 - TO_RESPOND - TO_PUT
    with pytest.raises(UnresolvedSecret, match="no time is left"):
        resolve("ssm:/hookshelf/secret", os.environ, deadline)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("client", ["obstore", "boto3"])
def test_slow_secrets_and_a_hung_s3_leave_time_to_say_so(
    client: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the secrets took is not there for the put, and the other way round."""
    took: list[float] = []

    def slow(kind: str, name: str, deadline: Deadline) -> str:
        took.append(deadline.left())
        time.sleep(0.5)
        return "secret"

    monkeypatch.setattr("chalicelib.secrets._look_up", slow)
    entry = {"source": "github", "secrets": [f"ssm:/{client}/{n}" for n in range(5)]}
    (tmp_path / "apps.json").write_text(json.dumps({"shop": entry}))
    monkeypatch.setenv("APPS_FILE", str(tmp_path / "apps.json"))
    monkeypatch.setenv("ARCHIVE_BUCKETS", "events")
    monkeypatch.setenv("ARCHIVE_CLIENT", client)
    context = Context(6.5)
    status, _, said = post(b"{}", context)
    line = json.loads(capsys.readouterr().err.splitlines()[-1])

    assert (status, said["reason"]) == (503, responses.NOT_STORED.reason)
    assert len(took) == 5
    # 6.5 s, less 1 to respond and 2.5 for secrets, is one attempt of 2 s; a second would not fit.
    assert line["attempts"] == 1


def test_a_look_up_is_bounded_however_slowly_aws_trickles(monkeypatch: pytest.MonkeyPatch) -> None:
    with trickling_server() as url:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UnresolvedSecret, match="TimeoutError"):
            resolve("ssm:/hookshelf/secret", os.environ)
    assert LOOKUP_TIMEOUT <= 3


class Trickle(socketserver.BaseRequestHandler):
    """Sends a byte of a header every tenth of a second, until nobody reads it."""

    def handle(self) -> None:
        self.request.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        with suppress(OSError):
            for _ in range(100):
                self.request.sendall(b"x")
                time.sleep(0.1)


@contextmanager
def trickling_server() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Trickle) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


# --- in how much memory

SHAPES: dict[str, Callable[[], bytes]] = {
    "arrays 480 deep": lambda: b"[" + b",".join([b"[" * 480 + b"]" * 480] * 4360) + b"]",
    "empty arrays": lambda: b"[" + b",".join([b"[]"] * (MIB + MIB // 3)) + b"]",
    "empty objects": lambda: b"[" + b",".join([b"{}"] * (MIB + MIB // 3)) + b"]",
    "objects 480 deep": lambda: b"[" + b",".join([b'{"":' * 480 + b"0" + b"}" * 480] * 1740) + b"]",
    "numbers": lambda: b"[" + b",".join([b"0"] * (2 * MIB - 1)) + b"]",
    "names": lambda: b"{" + b",".join(b'"%06d":0' % n for n in range(380_000)) + b"}",
    "one string": lambda: b'"' + b"x" * (4 * MIB - 2) + b'"',
    "no JSON": lambda: b"\xff" * 4 * MIB,
}
PEAK = """
import sys
from base64 import b64encode
from pathlib import Path
from app import app
body = sys.stdin.buffer.read()
event = {
    "requestContext": {"httpMethod": "POST", "resourcePath": "/input"},
    "headers": {"content-type": "text/plain"},
    "multiValueQueryStringParameters": {"token": ["local-token"], "app": ["shop"]},
    "stageVariables": {"validToken": "local-token"},
    "body": b64encode(body).decode(),
    "isBase64Encoded": True,
}
del body
assert app(event, None)["statusCode"] == 200
# Not getrusage, whose peak is that of the process which started this one.
[peak] = [line for line in Path("/proc/self/status").open() if line.startswith("VmHWM:")]
print(int(peak.split()[1]) * 1024)
"""


WORST = {"arrays 480 deep", "names", "one string"}  # the others are for make test-all


@needs_linux
@pytest.mark.parametrize(
    "shape",
    [pytest.param(name, marks=[] if name in WORST else pytest.mark.slow) for name in SHAPES],
)
def test_no_body_takes_more_memory_than_the_function_has_to_spare(
    shape: str, folder_environ: dict[str, str]
) -> None:
    body = SHAPES[shape]()
    assert 0.95 * responses.MAX_BODY < len(body) <= responses.MAX_BODY
    done = subprocess.run(
        [sys.executable, "-c", PEAK],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), **folder_environ},
        input=body,
        capture_output=True,
        check=True,
    )

    assert int(done.stdout.splitlines()[-1]) < 300 * MIB
