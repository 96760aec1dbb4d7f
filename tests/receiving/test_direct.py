"""`app.deliver`: a direct Lambda invoke is archived once, or raises.

What raises is tried again by Lambda, then caught by the dead-letter destination; so nothing that
went wrong may look like a result. Neither what is raised nor what is logged quotes the event.
"""

import base64
import json
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.lambda_runtime import Function, needs_linux, running
from support.loops import for_each
from support.project import PROJECT, SAMPLES

from app import deliver
from chalicelib import responses
from chalicelib.delivery import Delivery
from chalicelib.direct import NotDelivered
from chalicelib.events import Event
from chalicelib.sources import source_named

CANARY = "canary-7c1b"
EVERY_BYTE = bytes(range(256))
LIMIT = responses.MAX_BODY
ORDER: dict[str, Any] = json.loads((SAMPLES / "ours-privacy" / "order" / "body.json").read_bytes())

Deliver = Callable[..., dict[str, str]]


class Context:
    """What Lambda hands a function besides the event."""

    aws_request_id = "6bc28136-xmpl-4365-b021-0ce6b2e64ab0"

    def get_remaining_time_in_millis(self) -> int:
        return 15_000


@pytest.fixture
def archive(
    folder_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """Where this test's deliveries go."""
    for name, value in (folder_environ | {"DIRECT_APP": "orders"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ARCHIVE_BUCKETS", "events,shared/public")
    return tmp_path / "archive"


def stored(archive: Path) -> dict[str, bytes]:
    """All bodies, by `<bucket>/<key>`."""
    files = (path for path in archive.rglob("*") if path.is_file() and path.suffix != ".meta")
    return {str(path.relative_to(archive)): path.read_bytes() for path in files}


def metadata(archive: Path, result: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = json.loads(
        (archive / result["bucket"] / f"{result['key']}.meta").read_text()
    )
    return found


# --- Ours Privacy: {event, visitor, user}


def test_the_documented_shape_is_one_delivery_of_direct_app(archive: Path) -> None:
    result = deliver(ORDER, Context())

    assert set(result) == {"result", "bucket", "key"}
    assert (result["result"], result["bucket"]) == ("success", "events")
    assert result["key"].startswith("orders/")
    assert result["key"].endswith(".json")
    [(name, body)] = stored(archive).items()
    assert name == f"events/{result['key']}"
    assert json.loads(body) == ORDER


def test_it_says_whose_it_is_and_which_invoke_brought_it(archive: Path) -> None:
    found = metadata(archive, deliver(ORDER, Context()))

    assert found["source"] == "ours-privacy"
    assert found["request-id"] == Context.aws_request_id
    assert found["content-type"] == "application/json"


@pytest.mark.parametrize(
    "event",
    [
        {"event": {}},
        {"event": {"event": "Viewed"}, "visitor": {"visitor_id": "v"}},
        {"event": {"event": "Viewed"}, "user": {"external_id": "u"}},
        {"event": {"event": "Viewed"}, "visitor": None, "user": None},
    ],
)
def test_optional_parts_may_be_missing(archive: Path, event: dict[str, Any]) -> None:
    deliver(event, Context())

    assert [json.loads(body) for body in stored(archive).values()] == [event]


def test_extra_parts_are_kept(archive: Path) -> None:
    event = ORDER | {"version": 2, "sent_by": [None, True, {"x": 1.5}], "app": "not-an-envelope"}
    result = deliver(event, Context())

    assert result["key"].startswith("orders/")
    assert [json.loads(body) for body in stored(archive).values()] == [event]


@pytest.mark.parametrize(
    "value",
    [
        "x" * 200_000,
        'Zoë 😀 \u2028 \x00 \x7f " \\ </script>',
        "half a pair \ud83d, and \udc00 alone",
        9007199254740993,
        1e-7,
        [[[[{}]]]],
    ],
    ids=["200 KB", "unicode", "lone surrogates", "a large integer", "a small number", "nesting"],
)
def test_content_is_kept_exactly(archive: Path, value: object) -> None:
    event = ORDER | {"event": {"event": "Odd", "event_properties": {"value": value}}}
    result = deliver(event, Context())

    assert [json.loads(body) for body in stored(archive).values()] == [event]
    assert result["key"].endswith(".json")


def test_text_is_kept_as_utf_8_where_it_can_be(archive: Path) -> None:
    deliver({"event": {"event": "Zoë 😀"}}, Context())

    assert list(stored(archive).values()) == ['{"event":{"event":"Zoë 😀"}}'.encode()]


def test_each_invoke_is_one_delivery_and_a_repeat_has_the_same_hash(archive: Path) -> None:
    keys = {deliver(ORDER, Context())["key"] for _ in range(3)}

    assert {name.removeprefix("events/") for name in stored(archive)} == keys
    assert len(keys) == 3
    assert len({key.rpartition("-")[2] for key in keys}) == 1


def test_in_s3_too_each_invoke_is_one_object(
    s3_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (s3_environ | {"DIRECT_APP": "orders"}).items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=s3_environ["AWS_ENDPOINT_URL_S3"])
    results = [deliver(event, Context()) for event in (ORDER, {"app": "shop", "body": [1]})]
    listed = client.list_objects_v2(Bucket=s3_environ["ARCHIVE_BUCKETS"])["Contents"]

    assert {obj["Key"] for obj in listed} == {result["key"] for result in results}
    assert len(listed) == 2


# --- the envelope: {"app"?, "bucket"?, "body" or "body_base64"}


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (None, b"null"),
        (True, b"true"),
        (0, b"0"),
        (-1.5, b"-1.5"),
        ("text", b'"text"'),
        ("", b'""'),
        ([], b"[]"),
        ([1, [2]], b"[1,[2]]"),
        ({"b": 1, "a": "é"}, '{"b":1,"a":"é"}'.encode()),
        ({"event": {}, "visitor": {}}, b'{"event":{},"visitor":{}}'),
        ({"body": 1, "body_base64": "!"}, b'{"body":1,"body_base64":"!"}'),
    ],
)
def test_a_body_may_be_any_json(archive: Path, body: object, kept: bytes) -> None:
    result = deliver({"app": "shop", "body": body}, Context())

    assert result["key"].startswith("shop/")
    assert result["key"].endswith(".json")
    assert list(stored(archive).values()) == [kept]


@pytest.mark.parametrize(
    ("body", "extension"),
    [
        (EVERY_BYTE, "bin"),
        (b"", "bin"),
        (b'{"a" : 1}\r\n', "json"),
        (b"\xef\xbb\xbf[]", "json"),
        (b"a=1&b=2", "bin"),
        (b"\x00" * LIMIT, "bin"),
    ],
    ids=["every byte", "none", "json", "json with a BOM", "a form", "4 MiB"],
)
def test_body_base64_is_kept_byte_for_byte(archive: Path, body: bytes, extension: str) -> None:
    result = deliver({"app": "shop", "body_base64": base64.b64encode(body).decode()}, Context())

    assert result["key"].endswith(f".{extension}")
    assert list(stored(archive).values()) == [body]


def test_what_lambda_takes_for_json_is_kept_though_it_is_none(archive: Path) -> None:
    result = deliver({"app": "shop", "body": [float("nan")]}, Context())

    assert result["key"].endswith(".bin")
    assert list(stored(archive).values()) == [b"[NaN]"]


def test_who_aws_lets_in_signs_nothing_whatever_the_app_asks_of_senders(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apps = {"shop": {"source": "github", "secrets": ["secret"], "signature": "require"}}
    (tmp_path / "apps.json").write_text(json.dumps(apps))
    monkeypatch.setenv("APPS_FILE", str(tmp_path / "apps.json"))
    result = deliver({"app": "shop", "body": 1}, Context())

    assert result["result"] == "success"
    assert metadata(archive, result)["verdict"] == "unchecked"


@pytest.mark.parametrize(
    ("bucket", "found"),
    [
        ("events", "events/shop/"),
        ("events/team/a", "events/team/a/shop/"),
        ("shared/public", "shared/public/shop/"),
        (None, "events/shop/"),
    ],
)
def test_an_envelope_names_its_bucket(archive: Path, bucket: str | None, found: str) -> None:
    result = deliver({"app": "shop", "bucket": bucket, "body": 1}, Context())
    [name] = stored(archive)

    assert name.startswith(found)
    assert name == f"{result['bucket']}/{result['key']}"


@pytest.mark.parametrize("envelope", [{"body": 1}, {"body": 1, "app": None}])
def test_without_an_app_it_is_direct_apps(archive: Path, envelope: dict[str, Any]) -> None:
    result = deliver(envelope, Context())

    assert result["key"].startswith("orders/")


def test_an_envelope_with_its_own_app_needs_no_direct_app(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DIRECT_APP")

    assert deliver({"app": "shop", "body": 1}, Context())["key"].startswith("shop/")


def test_an_envelope_has_the_source_of_its_app(archive: Path) -> None:
    found = [
        metadata(archive, deliver({"app": app, "body": {}}, Context()))["source"]
        for app in ("shop", "stripe")
    ]

    assert found == ["generic", "stripe"]


# --- what raises

MALFORMED = {
    "null": None,
    "a list": [CANARY],
    "a string": CANARY,
    "a number": 7,
    "true": True,
    "empty": {},
    "neither shape": {"visitor": {"visitor_id": CANARY}, "user": {}},
    "neither shape, with an app": {"app": CANARY, "bucket": "events"},
    "both shapes": ORDER | {"body": CANARY},
    "both shapes in base64": ORDER | {"body_base64": "e30="},
    "both bodies": {"body": CANARY, "body_base64": "e30="},
    "both bodies, one null": {"body": None, "body_base64": "e30="},
    "event is a string": {"event": CANARY},
    "event is null": {"event": None},
    "event is a list": {"event": [{CANARY: 1}]},
    "visitor is a string": {"event": {}, "visitor": CANARY},
    "user is a list": {"event": {}, "user": [CANARY]},
    "an unknown name": {"body": 1, CANARY: 2},
    "app is a number": {"app": 1, "body": CANARY},
    "app is a list": {"app": [CANARY], "body": 1},
    "app is empty": {"app": "", "body": CANARY},
    "app is bad": {"app": f"../{CANARY}", "body": 1},
    "app is ours": {"app": f"_{CANARY}", "body": 1},
    "app is too long": {"app": CANARY * 5, "body": 1},
    "bucket is a number": {"bucket": 1, "body": CANARY},
    "bucket is empty": {"bucket": "", "body": CANARY},
    "bucket is not allowed": {"bucket": CANARY, "body": 1},
    "bucket is above what is allowed": {"bucket": "shared", "body": CANARY},
    "bucket is bad": {"bucket": f"events/../{CANARY}", "body": 1},
    "base64 is null": {"body_base64": None},
    "base64 is a number": {"body_base64": 1},
    "base64 with other letters": {"body_base64": f"{CANARY}!"},
    "base64 cut short": {"body_base64": "e30"},
    "base64 with a line end": {"body_base64": "e30=\n"},
    "base64 for URLs": {"body_base64": "_-_-"},
    "base64 beyond ASCII": {"body_base64": "é" * 4},
    "a byte over 4 MiB": {"body_base64": base64.b64encode(b"x" * (LIMIT + 1)).decode()},
    "a body over 4 MiB": {"body": CANARY + "x" * LIMIT},
    "an event over 4 MiB": {"event": {CANARY: "x" * LIMIT}},
}


@for_each("event", MALFORMED.values())
def test_a_malformed_event_raises_and_nothing_is_stored(
    archive: Path, event: object, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = raised(event)

    assert CANARY not in shown
    assert CANARY not in "".join(capfd.readouterr())
    assert stored(archive) == {}


def raised(event: object) -> str:
    """All that an exception shows, and all that led to it."""
    with pytest.raises(NotDelivered) as error:
        deliver(event, Context())

    assert (error.value.__cause__, error.value.__context__) == (None, None)
    assert str(error.value)
    return "".join(traceback.format_exception(error.value)) + repr(error.value)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (None, "The invoke event is no JSON object"),
        ({}, "Send {event, visitor, user}, or {app, bucket, body or body_base64}"),
        ({"event": {}, "body": 1}, "Send {event, visitor, user}, or {app, bucket, body"),
        ({"body": 1, "body_base64": ""}, "Give body or body_base64, not both"),
        ({"body": 1, "key": 2}, "An envelope holds app, bucket, and body or body_base64"),
        ({"event": {}, "visitor": 1}, "The invoke event has a wrong visitor"),
        ({"body_base64": "?"}, "body_base64 is not base64"),
        ({"body_base64": None}, "The invoke event has a wrong body_base64"),
        ({"app": "", "body": 1}, responses.INVALID_APP.reason),
        ({"bucket": "other", "body": 1}, responses.BUCKET_NOT_ALLOWED.reason),
        ({"body": "x" * LIMIT}, responses.TOO_LARGE.reason),
    ],
)
def test_the_exception_says_what_to_mend(archive: Path, event: object, reason: str) -> None:
    with pytest.raises(NotDelivered) as error:
        deliver(event, Context())

    assert str(error.value).startswith(reason)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DIRECT_APP", None),
        ("DIRECT_APP", " "),
        ("DIRECT_APP", "no/app"),
        ("ARCHIVE_BUCKETS", None),
        ("ARCHIVE_BUCKETS", "events/"),
        ("ARCHIVE_CLIENT", "curl"),
        ("APPS_FILE", "/nowhere/apps.json"),
    ],
)
def test_a_setting_that_is_missing_or_wrong_raises_its_name(
    archive: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    variable: str,
    value: str | None,
) -> None:
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    shown = raised(ORDER)

    assert f"NotDelivered: {responses.wrong_setting(variable).reason}" in shown
    assert f'"setting": "{variable}"' in capfd.readouterr().err
    assert stored(archive) == {}


def test_a_store_that_fails_raises(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    archive.write_bytes(b"a file where a folder should be")
    shown = raised({"body": CANARY})

    assert responses.NOT_STORED.reason in shown
    assert CANARY not in shown + "".join(capfd.readouterr())


def test_a_bucket_that_is_gone_raises(
    s3_environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    environ = s3_environ | {"ARCHIVE_BUCKETS": "nobody-made-this-bucket", "DIRECT_APP": "orders"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    shown = raised({"event": {"event": CANARY}})

    assert responses.NOT_STORED.reason in shown
    assert CANARY not in shown + "".join(capfd.readouterr())


def test_nesting_that_python_cannot_write_raises(archive: Path) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    shown = raised({"body": deep})

    assert "RecursionError" not in shown
    assert stored(archive) == {}


def test_one_line_is_logged_for_each_invoke(
    archive: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = deliver({"body": CANARY}, Context())
    raised(None)
    good, bad = map(json.loads, capfd.readouterr().err.splitlines())

    assert (good["level"], good["reason"], good["key"]) == ("INFO", "stored", result["key"])
    assert (bad["level"], bad["reason"]) == ("ERROR", "The invoke event is no JSON object")
    assert good["request_id"] == bad["request_id"] == Context.aws_request_id
    assert CANARY not in json.dumps(good)


# --- the source: which deliveries tell the same fact


def test_a_repeat_has_the_same_event_id(archive: Path) -> None:
    first, second = (event_of(archive, ORDER) for _ in range(2))

    assert first.id == second.id
    assert first.id.startswith("v-20413:d-7f3a:")


def test_two_facts_of_one_visitor_have_different_ids(archive: Path) -> None:
    others = [
        ORDER | {"event": ORDER["event"] | {"event": "Order Refunded"}},
        ORDER | {"event": ORDER["event"] | {"distinct_id": "d-7f3b"}},
        ORDER | {"event": {"event": "Order Completed"}},
        ORDER | {"user": {}},
    ]
    ids = {event_of(archive, event).id for event in [ORDER, *others]}

    assert len(ids) == 5


@pytest.mark.parametrize(
    ("event", "subject"),
    [
        (ORDER, "zoë@example.org"),
        (ORDER | {"visitor": {"visitor_id": "v"}}, "zoe.work@example.org"),
        ({"event": {}, "visitor": {"visitor_id": "v"}, "user": {"external_id": "u"}}, "u"),
        ({"event": {}, "visitor": {"visitor_id": "v"}}, "v"),
        ({"event": {}}, ""),
    ],
)
def test_you_look_up_an_address_else_an_id(
    archive: Path, event: dict[str, Any], subject: str
) -> None:
    assert event_of(archive, event).subject == subject


def event_of(archive: Path, event: dict[str, Any]) -> Event:
    """The one event in what is archived for an invoke."""
    result = deliver(event, Context())
    body = (archive / result["bucket"] / result["key"]).read_bytes()
    delivery = Delivery("orders", {}, body, datetime(2026, 11, 20, tzinfo=UTC))
    source = source_named("ours-privacy")
    assert source.events
    [found] = source.events(delivery)
    return found


# --- under Lambda's own runtime client


@pytest.fixture
def function(tmp_path: Path, folder_environ: dict[str, str]) -> Iterator[Function]:
    """The function as it runs in Lambda, in this folder's code."""
    environ = folder_environ | {"DIRECT_APP": "orders"}
    with running(PROJECT, "app.deliver", environ, tmp_path / "output") as function:
        yield function


@needs_linux
def test_to_lambda_a_result_is_a_response_and_an_exception_is_an_error(
    function: Function, tmp_path: Path
) -> None:
    good, result = function.invoke(ORDER)
    bad, error = function.invoke({"body": 1, CANARY: CANARY})
    again, _ = function.invoke(
        {"app": "shop", "body_base64": base64.b64encode(EVERY_BYTE).decode()}
    )

    assert (good, result["result"], result["bucket"]) == ("response", "success", "events")
    assert bad == "error"
    assert error["errorType"] == "NotDelivered"
    assert error["errorMessage"].startswith("An envelope holds app, bucket")
    assert CANARY not in json.dumps(error) + function.output.read_text()
    assert again == "response"
    kept = stored(tmp_path / "archive").values()
    assert len(kept) == 2
    assert EVERY_BYTE in kept
    assert ORDER in [json.loads(body) for body in kept if body != EVERY_BYTE]


@needs_linux
def test_to_lambda_a_store_that_fails_is_an_error(function: Function, tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"a file where a folder should be")
    kind, error = function.invoke(ORDER)

    assert (kind, error["errorMessage"]) == ("error", responses.NOT_STORED.reason)
    assert "v-20413" not in json.dumps(error) + function.output.read_text()


def test_the_command_in_the_manual_works(tmp_path: Path) -> None:
    manual = (PROJECT / "docs" / "entry-points.md").read_text()
    [command] = re.findall(r"```sh\n(ARCHIVE_FOLDER=[^`]*)```", manual)
    command = command.replace("./archive", shlex.quote(str(tmp_path / "archive")))
    done = subprocess.run(
        command.replace(".venv/bin/python", shlex.quote(sys.executable)),
        shell=True,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )

    [name] = stored(tmp_path / "archive")
    assert name.startswith("events/ours-privacy/")
    assert name.removeprefix("events/") in done.stdout


# --- bodies of the real thing

BODIES = PROJECT.parent / "shared" / "payloads" / "ours-privacy"


def test_events_of_the_real_thing_are_kept(archive: Path) -> None:
    if not BODIES.is_dir():
        pytest.skip(f"no events in {BODIES}")
    events = [json.loads(path.read_bytes()) for path in sorted(BODIES.glob("*.json"))]
    results = [deliver(event, Context()) for event in events]
    kept = [(archive / "events" / result["key"]).read_bytes() for result in results]

    assert events
    assert [json.loads(body) for body in kept] == events
