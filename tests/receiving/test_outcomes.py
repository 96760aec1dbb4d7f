"""Whatever an entry point's work comes to: one response, one line in the log, one count."""

import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib import ingest, log, responses
from chalicelib.apps import App, AppError
from chalicelib.deadline import TO_RESPOND
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.ingest import Arrival
from chalicelib.responses import Refused, Response
from chalicelib.settings import BucketPath, SettingError, Settings
from chalicelib.sources import Keys, source_named
from chalicelib.store import PUT_TIMEOUT, NameTaken, NotStored

ARRIVED = datetime(2026, 11, 20, 23, 50, 1, 123456, tzinfo=UTC)
EVENTS = BucketPath("events", "in")
GENERIC = App(source=source_named("generic"))
GITHUB = App(source=source_named("github"), keys=Keys(secrets=(b"secret",)), signature="require")
COUNTED = {"METRICS_NAMESPACE": "hookshelf/dev"}

Work = Callable[[Arrival], Response]


def arrival(context: Any = None, **more: Any) -> Arrival:
    return Arrival(context, **{"environ": {}, "arrived": ARRIVED, "request_id": "r-1"} | more)


@pytest.fixture
def outcome(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Response, dict[str, Any]]]:
    """Run some work: the response, and the line in the log."""
    log.configure({})

    def outcome(
        work: Work, at: Arrival | None = None, **options: Any
    ) -> tuple[Response, dict[str, Any]]:
        response = ingest.run(at or arrival(), "delivery", work, **options)
        [line] = capsys.readouterr().err.splitlines()
        return response, json.loads(line)

    return outcome


Outcome = Callable[..., tuple[Response, dict[str, Any]]]


def failing(error: Exception) -> Work:
    def work(arrival: Arrival) -> Response:
        raise error

    return work


def giving(response: Response, **fields: object) -> Work:
    def work(arrival: Arrival) -> Response:
        arrival.log_fields |= fields
        return response

    return work


# --- what failed


FAILURES = {
    "refused": (Refused(responses.INVALID_APP), responses.INVALID_APP, {}),
    "a setting": (
        SettingError("ARCHIVE_BUCKETS", "is confidential"),
        responses.wrong_setting("ARCHIVE_BUCKETS"),
        {"setting": "ARCHIVE_BUCKETS"},
    ),
    "a setting of one app": (
        AppError("shop", "secrets[0]", "is confidential"),
        responses.wrong_setting("APPS_FILE"),
        {"setting": "APPS_FILE shop.secrets[0]"},
    ),
    "the store": (
        NotStored("403 AccessDenied", 2),
        responses.NOT_STORED,
        {"attempts": 2, "why": "403 AccessDenied"},
    ),
    "a name": (NameTaken("confidential"), responses.NAME_TAKEN, {}),
    "anything else": (
        KeyError("confidential"),
        responses.INTERNAL_ERROR,
        {"why": "KeyError", "at": f"test_outcomes.py:{failing.__code__.co_firstlineno + 2}"},
    ),
}


@pytest.mark.parametrize(("error", "response", "fields"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_told_in_our_words_and_logged_in_short(
    error: Exception, response: Response, fields: dict[str, Any], outcome: Outcome
) -> None:
    heard, line = outcome(failing(error))
    assert line.pop("milliseconds") >= 0

    assert heard == response
    assert line == fields | {
        "level": "ERROR" if response.status == 503 else "INFO",
        "message": "delivery",
        "request_id": "r-1",
        "status": response.status,
        "reason": response.reason,
    }


# --- what is logged


@pytest.mark.parametrize(
    ("status", "level"),
    [(200, "INFO"), (403, "INFO"), (499, "INFO"), (500, "ERROR"), (503, "ERROR")],
)
def test_what_is_our_fault_is_logged_as_an_error(status: int, level: str, outcome: Outcome) -> None:
    _, line = outcome(giving(responses.fail(status, "A reason")))

    assert line["level"] == level


def test_a_line_tells_what_was_stored_from_a_handshake(outcome: Outcome) -> None:
    stored = responses.stored("events", "shop/x.json")
    handshake = responses.handshake_response("challenge", "text/plain")

    assert outcome(giving(stored, key="shop/x.json"))[1]["reason"] == "stored"
    assert outcome(giving(handshake, key="shop/x.json"))[1]["reason"] == "stored"
    assert outcome(giving(handshake))[1]["reason"] == "handshake"


def test_a_line_says_to_a_tenth_of_a_millisecond_how_long_it_took(
    outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = arrival()
    at.started = 100.0
    monkeypatch.setattr("chalicelib.ingest.time", SimpleNamespace(monotonic=lambda: 102.34567))

    assert outcome(giving(responses.NOT_JSON), at)[1]["milliseconds"] == 2345.7


@pytest.mark.parametrize("request_id", ["r-1", "R_1", "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"])
def test_a_request_id_of_aws_is_logged(request_id: str) -> None:
    known = arrival(request_id=request_id)

    assert known.request_id == request_id
    assert known.log_fields == {"request_id": request_id}


@pytest.mark.parametrize("request_id", [None, "", 1, ["r-1"], "r 1", "r-1\n", "ｒ-1", "r" * 65])
def test_what_only_calls_itself_a_request_id_is_dropped(request_id: object) -> None:
    unknown = arrival(request_id=request_id)

    assert unknown.request_id == ""
    assert unknown.log_fields == {"request_id": ""}


# --- what is heard


def test_a_caller_that_knows_failure_alone_hears_one_status_for_every_failure(
    outcome: Outcome,
) -> None:
    refused, line = outcome(giving(responses.INVALID_APP), failure_status=500)
    stored, _ = outcome(giving(responses.stored("events", "k"), key="k"), failure_status=500)

    assert refused == responses.INVALID_APP._replace(status=500)
    assert (line["status"], line["level"]) == (500, "ERROR")
    assert stored.status == 200
    assert outcome(giving(responses.INVALID_APP))[0].status == 400


def test_work_knows_by_when_it_has_to_be_done(outcome: Outcome) -> None:
    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 15_000

    left: list[float] = []

    def work(arrival: Arrival) -> Response:
        left.append(arrival.deadline.left())
        return responses.NOT_JSON

    outcome(work, arrival(Context()))
    outcome(work, arrival())

    assert left[0] <= 15 - TO_RESPOND
    assert left[1] == float("inf")


# --- what is counted


def test_a_stage_without_a_token_counts_as_unconfigured(outcome: Outcome) -> None:
    """Nobody can deliver, which no sender's answer may be the first to tell the operator."""
    _, line = outcome(failing(Refused(responses.NO_TOKEN)), arrival(environ=COUNTED))

    assert line["Unconfigured"] == 1
    assert "Unconfigured" not in outcome(giving(responses.NOT_JSON), arrival(environ=COUNTED))[1]


def test_a_count_has_the_app_with_a_token_of_its_own_and_the_time_of_arrival(
    outcome: Outcome,
) -> None:
    at = arrival(environ=COUNTED, stage_variables={"validToken_shop": "x"})
    _, line = outcome(giving(responses.stored("events", "k"), app="shop", key="k"), at)

    assert (line["app"], line["App"], line["Status"]) == ("shop", "shop", "200")
    assert line["_aws"]["Timestamp"] == 1_795_218_601_123


# --- what is decided, and put


def delivery(body: bytes = b"{}", **headers: str) -> Delivery:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Delivery("shop", named, body, ARRIVED, "r-1")


@pytest.mark.parametrize(
    ("headers", "app", "status"),
    [
        ({}, GENERIC, 400),  # who says nothing means JSON
        ({"content_type": "application/json"}, GENERIC, 400),
        ({"content_type": "text/plain"}, GENERIC, 200),
        ({}, GENERIC._replace(any_body=True), 200),
        ({"content_type": "application/json"}, GENERIC._replace(any_body=True), 200),
    ],
)
def test_a_body_has_to_be_json_where_it_claims_so_and_the_app_insists(
    headers: dict[str, str], app: App, status: int
) -> None:
    assert ingest.decide(delivery(b"{", **headers), app, EVENTS).response.status == status
    assert ingest.decide(delivery(b"{}", **headers), app, EVENTS).response.status == 200


def test_a_good_signature_is_all_that_is_required() -> None:
    mac = hmac.digest(b"secret", b"{}", "sha256").hex()
    signed = ingest.decide(delivery(x_hub_signature_256=f"sha256={mac}"), GITHUB, EVENTS)

    assert (signed.response.status, signed.verdict) == (200, "verified")


def test_what_is_put_says_what_became_of_it() -> None:
    forged = delivery(x_hub_signature_256="sha256=" + "0" * 64)
    required = ingest.decide(forged, GITHUB, EVENTS)
    recorded = ingest.decide(forged, GITHUB._replace(signature="record"), EVENTS)
    broken = ingest.decide(delivery(b"{"), GENERIC, EVENTS)
    assert required.obj
    assert recorded.obj
    assert broken.obj

    assert required.obj.key.startswith("in/_rejected/shop/")
    assert broken.obj.key.startswith("in/_rejected/shop/")
    assert recorded.obj.key.startswith("in/shop/")
    for decision, verdict, source, reason in [
        (required, "bad", "github", responses.INVALID_SIGNATURE.reason),
        (recorded, "bad", "github", None),
        (broken, "unchecked", "generic", responses.NOT_JSON.reason),
    ]:
        assert decision.obj
        assert decision.verdict == decision.obj.metadata["verdict"] == verdict
        assert decision.obj.metadata["source"] == source
        assert decision.obj.metadata.get("reason") == reason


class Store:
    """Takes what is put, and remembers for how long it might have tried."""

    def __init__(self) -> None:
        self.puts: list[tuple[ArchiveObject, float]] = []

    def put(self, obj: ArchiveObject, *, seconds: float) -> int:
        self.puts.append((obj, seconds))
        return 3


@pytest.fixture
def buckets(monkeypatch: pytest.MonkeyPatch) -> dict[str, Store]:
    """The stores that are opened, by bucket."""
    opened: dict[str, Store] = {}

    def open_store(settings: Settings, bucket: str) -> Store:
        assert settings == SETTINGS
        return opened.setdefault(bucket, Store())

    monkeypatch.setattr(ingest, "open_store", open_store)
    return opened


SETTINGS = Settings(bucket_paths=(EVENTS,))


@pytest.mark.parametrize(
    ("left", "seconds"),
    [(PUT_TIMEOUT - 3, PUT_TIMEOUT - 3), (PUT_TIMEOUT + 3, PUT_TIMEOUT), (-1, -1)],
)
def test_a_put_has_what_is_left_of_the_request_and_never_more_than_its_own_limit(
    left: float, seconds: float, buckets: dict[str, Store]
) -> None:
    at = arrival()
    at.deadline = SimpleNamespace(left=lambda: left)  # type: ignore[assignment]
    response = ingest.store(at, SETTINGS, delivery(b"[1]"), GENERIC, EVENTS)
    [(obj, limit)] = buckets["events"].puts

    assert limit == seconds
    assert obj.body == b"[1]"
    assert response == responses.stored("events", obj.key)
    assert at.log_fields == {
        "request_id": "r-1",
        "bytes": 3,
        "verdict": "unchecked",
        "attempts": 3,
        "key": obj.key,
    }


def test_what_is_put_nowhere_opens_no_store(buckets: dict[str, Store]) -> None:
    too_large = delivery(b"1" * (responses.MAX_BODY + 1))

    assert ingest.store(arrival(), SETTINGS, too_large, GENERIC, EVENTS) is responses.TOO_LARGE
    assert buckets == {}
