"""Whatever S3 does, 200 means that the bytes are there, and every answer comes in time."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import repeat
from typing import Any

import obstore
import pytest
from obstore.exceptions import (
    AlreadyExistsError,
    GenericError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from support.faulty_s3 import (
    Fault,
    FaultyS3,
    Stored,
    dropped,
    garbage,
    hang,
    lost_answer,
    never_read,
    no_etag,
    status,
    trickle,
    truncated_body,
    truncated_head,
)
from support.project import CREDENTIALS, Context, post

from chalicelib import responses
from chalicelib.delivery import ArchiveObject
from chalicelib.settings import from_environment
from chalicelib.store import PUT_TIMEOUT, NotStored, open_store
from chalicelib.store._retry import STORED, permanent, retryable
from chalicelib.store.obstore import ObstoreStore, _judge

pytestmark = pytest.mark.spread

SLACK = 15  # seconds a busy machine may add; the servers that stall do so for longer
BODY = b'[{"email": "ada@example.com", "event": "delivered"}]'
OBJ = ArchiveObject("shop/x.json", BODY, "application/json", {"layout": "1"})
SLOW_DOWN = status(503, "SlowDown")
CONFLICT = status(409, "ConditionalRequestConflict")


@pytest.fixture(params=["obstore", "boto3"])
def client(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def serve(client: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FaultyS3]]:
    """Start an S3 server that fails by a script, and archive there."""
    with ExitStack() as servers:

        def start(script: Any = ()) -> FaultyS3:
            s3 = servers.enter_context(FaultyS3(script))
            _archive_at(s3.endpoint, client, monkeypatch)
            return s3

        yield start


def _archive_at(endpoint: str, client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"AWS_ENDPOINT_URL_S3": endpoint, "ARCHIVE_BUCKETS": "events"}
    for name, value in {**CREDENTIALS, **settings, "ARCHIVE_CLIENT": client}.items():
        monkeypatch.setenv(name, value)
    # Here and not within the time a put has: on a busy machine boto3 may need seconds for it.
    open_store(from_environment(os.environ), "events")


@pytest.fixture
def deliver(
    client: str, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> Callable[..., "Outcome"]:
    """Post one body through the whole app, and note what came of it for the summary."""

    def send(
        s3: FaultyS3 | None, fault: str, *, budget: float = PUT_TIMEOUT, body: bytes = BODY
    ) -> Any:
        capsys.readouterr()
        began = time.monotonic()
        answer = post(body, Context(budget + 1) if budget < PUT_TIMEOUT else None)
        seconds = time.monotonic() - began
        logged = json.loads(capsys.readouterr().err.splitlines()[-1])
        outcome = Outcome(answer, logged["attempts"], seconds, s3, body)
        kept = "yes" if outcome.is_there else "no"
        row = (client, fault, outcome.status, outcome.attempts, f"{seconds:.1f}", kept)
        record_property("fault", row)
        return outcome

    return send


class Outcome:
    """What the sender heard, and what is in the store."""

    def __init__(
        self, answer: Any, attempts: int, seconds: float, s3: FaultyS3 | None, body: bytes
    ) -> None:
        self.status, self.headers, self.said = answer
        self.attempts = attempts
        self.seconds = seconds
        self.writes = s3.writes if s3 else []
        self.puts = [request for request in s3.requests if request.method == "PUT"] if s3 else []
        self.is_there = s3 is not None and [o.body for o in s3.objects.values()] == [body]

    def is_stored(self) -> bool:
        """200, and the bytes were written once under the key the sender was told."""
        return (
            (self.status, self.said["result"]) == (200, "success")
            and self.is_there
            and self.writes == [self.said["key"]]
            and {put.key for put in self.puts} == {self.said["key"]}
        )

    def is_refused(self) -> bool:
        """503, come again; and nothing was written."""
        return (
            (self.status, self.headers["Retry-After"]) == (503, str(responses.RETRY_AFTER))
            and self.said == {"result": "fail", "reason": responses.NOT_STORED.reason}
            and self.writes == []
        )


MENDED: dict[str, list[Fault]] = {
    "nothing": [],
    "503 twice, then 200": [SLOW_DOWN, SLOW_DOWN],
    "503 five times, then 200": [SLOW_DOWN] * 5,
    "500, then 200": [status(500, "InternalError")],
    "409 conflict, then 200": [CONFLICT],
    "429, then 200": [status(429, "TooManyRequests")],
    "400 RequestTimeout, then 200": [status(400, "RequestTimeout")],
    "connection dropped, then 200": [dropped],
    "answer lost, then 412": [lost_answer],
    "answer lost, 503, 409, then 412": [lost_answer, SLOW_DOWN, CONFLICT],
    "not HTTP, then 200": [garbage],
}


@pytest.mark.parametrize("fault", MENDED)
def test_a_fault_that_passes_is_not_heard_by_the_sender(fault, serve, deliver):
    s3 = serve(MENDED[fault])

    outcome = deliver(s3, fault)

    assert outcome.is_stored()
    assert outcome.attempts == len(outcome.puts) == len(MENDED[fault]) + 1
    assert outcome.seconds < PUT_TIMEOUT + SLACK


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        ("200 without an ETag", no_etag),
        ("200 truncated in its head", truncated_head),
        ("200 truncated in its body", truncated_body),
    ],
)
def test_a_200_that_is_not_whole_still_leads_to_200(fault, answer, serve, deliver):
    s3 = serve([answer])

    outcome = deliver(s3, fault)

    assert outcome.is_stored()
    assert outcome.attempts == len(outcome.puts) <= 2  # a client may doubt the first answer


REFUSALS: dict[str, Fault] = {
    "403 AccessDenied": status(403, "AccessDenied"),
    "404 NoSuchBucket": status(404, "NoSuchBucket"),
    "400 of another kind": status(400, "InvalidRequest"),
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_a_refusal_is_not_attempted_again(fault, serve, deliver):
    s3 = serve(repeat(REFUSALS[fault]))

    outcome = deliver(s3, fault)

    assert outcome.is_refused()
    assert outcome.attempts == len(outcome.puts) == 1


REDIRECTS = {
    "301 to another server": (301, "PermanentRedirect"),
    "307 to another server": (307, "TemporaryRedirect"),
    "301 that does not say where": (301, "PermanentRedirect"),  # as S3 does in a wrong region
}


@pytest.mark.parametrize("fault", REDIRECTS)
def test_a_redirect_is_not_followed(fault, client, serve, deliver):
    with FaultyS3() as elsewhere:
        where = {"Location": elsewhere.endpoint + "/events/"} if "another" in fault else {}
        answer = status(*REDIRECTS[fault], **where, **{"x-amz-bucket-region": "eu-west-1"})
        s3 = serve(repeat(answer))

        outcome = deliver(s3, fault, budget=3)

    assert elsewhere.requests == []
    assert outcome.is_refused()
    assert outcome.attempts == 1
    # Within one attempt boto3 asks the same server once more, signed for the region it was told.
    assert len(outcome.puts) == (2 if client == "boto3" else 1)
    assert outcome.seconds < 3 + SLACK


LASTING: dict[str, tuple[Fault, float]] = {
    "503 for ever": (SLOW_DOWN, 2.5),
    "hangs for ever": (hang, 3),
    "503 for ever, with all the time there is": (SLOW_DOWN, PUT_TIMEOUT),
    "hangs for ever, with all the time there is": (hang, PUT_TIMEOUT),
    "409 conflict for ever": (CONFLICT, 2.5),
    "not HTTP for ever": (garbage, 2.5),
    "dropped for ever": (dropped, 2.5),
    "answers a byte at a time": (trickle, 3),
}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=[pytest.mark.slow] * (budget == PUT_TIMEOUT))
        for fault, (_, budget) in LASTING.items()
    ],
)
def test_a_fault_that_lasts_is_answered_503_in_time(fault, serve, deliver):
    answer, budget = LASTING[fault]
    s3 = serve(repeat(answer))

    outcome = deliver(s3, fault, budget=budget)

    assert outcome.is_refused()
    assert outcome.attempts == len(outcome.puts) >= 1
    assert outcome.seconds < budget + SLACK


def test_a_server_that_does_not_read_is_answered_503_in_time(serve, deliver):
    s3 = serve(repeat(never_read))

    outcome = deliver(s3, "does not read 4 MiB", budget=3, body=b'"%s"' % (b"x" * 4_194_302))

    assert outcome.is_refused()
    assert outcome.seconds < 3 + SLACK


def test_a_refused_connection_is_answered_503_in_time(client, deliver, monkeypatch):
    with socket.socket() as unheard:  # bound, so that nobody else takes it, and not listening
        unheard.bind(("127.0.0.1", 0))
        _archive_at(f"http://127.0.0.1:{unheard.getsockname()[1]}", client, monkeypatch)

        outcome = deliver(None, "connection refused", budget=5)

    assert outcome.is_refused()
    assert outcome.attempts > 1
    assert outcome.seconds < 5 + SLACK


def test_with_no_time_left_there_is_one_attempt(serve, deliver):
    s3 = serve([SLOW_DOWN])

    outcome = deliver(s3, "503 with no time left", budget=-0.5)

    assert outcome.is_refused()
    assert outcome.attempts == len(outcome.puts) == 1


@pytest.mark.parametrize("fault", [SLOW_DOWN, dropped, lost_answer], ids=["503", "drop", "lost"])
@pytest.mark.parametrize(("seconds_left", "refused"), [(9, 0), (1, 1)], ids=["retries", "no-time"])
def test_whichever_request_fails_every_200_is_true(fault, seconds_left, refused, serve):
    bodies = [b'{"n": 1}', b'{"n": 2}', b'{"n": 2}', b'{"n": 3}']
    for k in range(len(bodies)):
        s3 = serve([None] * k + [fault])
        s3.objects["shop/earlier.json"] = Stored(BODY, {})

        answers = [post(body, Context(seconds_left))[2] for body in bodies]

        told = {
            said["key"]: body
            for said, body in zip(answers, bodies, strict=True)
            if said["result"] == "success"
        }
        kept = {key: stored.body for key, stored in s3.objects.items()}
        assert len(told) == len(bodies) - refused
        assert told.items() <= kept.items()
        assert kept.pop("shop/earlier.json") == BODY
        assert sorted(s3.writes) == sorted(kept)  # each once: nothing was overwritten


# What obstore's exceptions say, on which chalicelib.store.obstore rests.


def _obstore(s3: FaultyS3) -> ObstoreStore:
    environ = {"AWS_ENDPOINT_URL_S3": s3.endpoint, "ARCHIVE_BUCKETS": "events"}
    return ObstoreStore(from_environment({**CREDENTIALS, **environ}), "events")


def _exception(s3: FaultyS3) -> BaseException:
    """What obstore itself raises when an object is put."""
    writer = _obstore(s3)._writer
    try:
        obstore.put(writer, OBJ.key, OBJ.body, mode="create", use_multipart=False)
    except BaseException as error:
        return error
    raise AssertionError("it was stored")


@pytest.mark.parametrize(
    ("code", "name", "kind", "text", "meaning"),
    [
        (412, "PreconditionFailed", AlreadyExistsError, "status code: 412", STORED),
        (409, "ConditionalRequestConflict", AlreadyExistsError, "status code: 409", "again"),
        (404, "NoSuchBucket", FileNotFoundError, "status code: 404", "hopeless"),
        (403, "AccessDenied", PermissionDeniedError, "status code: 403", "hopeless"),
        (401, "Who", UnauthenticatedError, "status code: 401", "hopeless"),
        (400, "RequestTimeout", GenericError, "<Code>RequestTimeout</Code>", "again"),
        (400, "InvalidRequest", GenericError, "<Code>InvalidRequest</Code>", "hopeless"),
        (429, "TooManyRequests", GenericError, "status code: 429", "again"),
        (500, "InternalError", GenericError, "status code: 500", "again"),
        (503, "SlowDown", GenericError, "status code: 503", "again"),
    ],
)
def test_obstore_tells_a_status_only_in_its_text(code, name, kind, text, meaning):
    with FaultyS3([status(code, name)]) as s3:
        error = _exception(s3)

    expected = {"again": retryable(f"{code} {name}"), "hopeless": permanent(f"{code} {name}")}
    assert type(error) is kind
    assert text in str(error)
    assert not hasattr(error, "status")
    assert _judge(error) == expected.get(meaning, meaning)


@pytest.mark.parametrize(
    ("fault", "text", "why"),
    [
        (hang, "kind: Timeout", "timeout"),
        (dropped, "IncompleteMessage", "GenericError"),
        (garbage, "Parse(", "GenericError"),
        (no_etag, "MissingEtag", "GenericError"),
    ],
)
def test_what_obstore_says_without_a_status_is_attempted_again(fault, text, why):
    with FaultyS3([fault]) as s3:
        error = _exception(s3)

    assert text in str(error)
    assert _judge(error) == retryable(why)


def test_the_server_s_own_words_are_not_taken_for_a_status():
    with FaultyS3([status(503, "non-2xx status code: 412 Precondition Failed")]) as s3:
        error = _exception(s3)

    assert "non-2xx status code: 412" in str(error)
    assert _judge(error) == retryable("503")


@pytest.mark.parametrize("where", ["metadata", "content type"])
def test_a_control_character_is_not_stored_and_the_process_lives(where):
    with FaultyS3() as s3:
        store = _obstore(s3)
        bad = {"h-x": "a\nb"} if where == "metadata" else {}
        kind = "text/\x00plain" if where == "content type" else OBJ.content_type

        with pytest.raises(NotStored, match="PanicException"):
            store.put(ArchiveObject(OBJ.key, BODY, kind, bad), seconds=0)

        assert s3.requests == []
        assert store.put(OBJ) == 1
