"""What every source promises, tried on every sample.

A sample is a folder tests/samples/<source>/<case>/ with the bytes of one delivery as `body.*`, its
request headers as `headers.json`, and `expected.json`: the keys to check with, the verdict and the
events. To get that file, write `{"keys": {...}}` (or `{}`) into it and run this suite: it prints
what to put there once you have read it. A new source needs its module and a sample, no edit here.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.project import PROJECT, SAMPLES

from chalicelib import apps, bodies
from chalicelib.apps import App
from chalicelib.archive import to_object
from chalicelib.delivery import Delivery
from chalicelib.events import Event
from chalicelib.metadata import headers_of
from chalicelib.signatures import verdict
from chalicelib.sources import (
    HandshakeRequest,
    HandshakeResponse,
    Keys,
    Source,
    generic,
    source_named,
    source_names,
)

few = settings(max_examples=settings.default.max_examples // 4)  # of each sample or source

ARRIVED = datetime(2026, 11, 20, 23, 50, 1, 123456, tzinfo=UTC)
SOURCES = sorted(source_names())
CASES = sorted(path.parent for path in SAMPLES.glob("*/*/body.*"))
EXPECTING = [folder for folder in CASES if (folder / "expected.json").exists()]
PAYLOADS = PROJECT.parent / "shared" / "payloads"  # real bodies, where somebody has put some
OTHER_NAMES = {"standard-webhooks": "standard"}


def name_of(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


@dataclass(frozen=True)
class Sample:
    """One delivery as it was on the wire, and what is expected of it."""

    source: Source
    headers: dict[str, str]
    body: bytes
    is_form: bool
    expected: dict[str, Any] | None

    @property
    def app(self) -> App:
        entry = {"source": self.source.name, **(self.expected or {}).get("keys", {})}
        return apps.read_app(self.source.name, entry, str)

    @property
    def delivery(self) -> Delivery:
        return Delivery(self.source.name, self.headers, self.body, ARRIVED)


@cache
def read(folder: Path) -> Sample:
    (body,) = folder.glob("body.*")
    expected = folder / "expected.json"
    return Sample(
        source=source_named(folder.parent.name),
        headers=json.loads((folder / "headers.json").read_bytes()),
        body=body.read_bytes(),
        is_form=body.suffix == ".form",
        expected=json.loads(expected.read_bytes()) if expected.exists() else None,
    )


@pytest.fixture(params=CASES, ids=name_of)
def sample(request: pytest.FixtureRequest) -> Sample:
    return read(request.param)


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest) -> Source:
    return source_named(request.param)


def samples_of(source: str) -> list[Sample]:
    return [read(folder) for folder in CASES if folder.parent.name == source]


def without_a_sample(sources: Iterable[str]) -> list[str]:
    return [name for name in sources if not any(s.expected is not None for s in samples_of(name))]


def outcome(sample: Sample) -> dict[str, Any]:
    """The content of expected.json, as it is now."""
    keys = (sample.expected or {}).get("keys")
    return {
        **({"keys": keys} if keys else {}),
        "verdict": verdict(sample.delivery, sample.app),
        "events": [event._asdict() for event in split(sample.source, sample.delivery)],
    }


def split(source: Source, delivery: Delivery) -> list[Event]:
    return list((source.events or generic.events)(delivery))


def as_archived(sample: Sample) -> Delivery:
    """The delivery as someone reads it out of the bucket: body and kept headers, no more."""
    obj = to_object(sample.delivery, sample.source)
    return sample.delivery._replace(headers=headers_of(obj.metadata), body=obj.body)


def strictly_json(text: str) -> bool:
    return bodies.is_json(text.encode("utf-8", "surrogatepass"))


# Every sample


def test_every_source_has_a_sample() -> None:
    missing = without_a_sample(SOURCES)

    assert not missing, (
        f"Record what {missing[0]} sends: body.*, headers.json and expected.json in a folder "
        f"tests/samples/{missing[0]}/<case>/, see the top of {Path(__file__).name}"
    )


def test_a_forgotten_sample_is_noticed() -> None:
    assert without_a_sample(["sendgrid", "forgotten"]) == ["forgotten"]


def test_every_source_that_verifies_has_a_verified_sample(source: Source) -> None:
    expected = [sample.expected or {} for sample in samples_of(source.name)]

    assert source.verify is None or "verified" in [some.get("verdict") for some in expected]


def test_a_source_that_there_is_not_is_named() -> None:
    with pytest.raises(KeyError, match="nobody"):
        source_named("nobody")


def test_every_sample_is_of_a_source_and_has_one_body() -> None:
    folders = [path for path in SAMPLES.glob("*/*") if path.is_dir()]

    assert {folder.parent.name for folder in folders} <= source_names()
    assert sorted(folders) == CASES


def test_a_sample_has_lower_case_headers(sample: Sample) -> None:
    assert list(sample.headers) == [name.lower() for name in sample.headers]


@pytest.mark.parametrize("folder", EXPECTING, ids=name_of)
def test_verdict_and_events_are_as_expected(folder: Path) -> None:
    now = outcome(read(folder))

    assert now == read(folder).expected, (
        f"{folder}/expected.json differs from what comes out now, which is:\n"
        + json.dumps(now, indent=2, ensure_ascii=False)
    )


def test_the_archived_body_is_byte_identical(sample: Sample) -> None:
    assert to_object(sample.delivery, sample.source).body == sample.body


def test_the_kept_headers_are_enough_to_verify_again(sample: Sample) -> None:
    assert verdict(as_archived(sample), sample.app) == verdict(sample.delivery, sample.app)


def test_the_kept_headers_are_enough_to_tell_the_events_again(sample: Sample) -> None:
    assert split(sample.source, as_archived(sample)) == split(sample.source, sample.delivery)


def test_one_changed_byte_is_not_verified(sample: Sample) -> None:
    delivery = sample.delivery
    changed = delivery._replace(body=delivery.body[:-1] + bytes([delivery.body[-1] ^ 1]))

    assert verdict(changed, sample.app) != "verified"


def test_an_events_data_is_cut_out_of_the_body(sample: Sample) -> None:
    text = sample.body.decode(errors="replace")
    for event in split(sample.source, sample.delivery):
        assert strictly_json(event.data)
        assert sample.is_form or event.data in text


def test_the_json_in_a_form_is_cut_out_of_its_field() -> None:
    for case in ("github/push-as-form", "slack/interaction"):
        form = read(SAMPLES / case)
        (event,) = split(form.source, form.delivery)

        assert event.data == dict(parse_qsl(form.body.decode()))["payload"]
        assert event.data in unquote_plus(form.body.decode())


def test_what_the_samples_hold_is_awkward_enough() -> None:
    everything = b"".join(read(folder).body for folder in CASES)

    assert b"9007199254740993" in everything  # 2**53 + 1
    assert rb"\u00e9" in everything
    assert rb"\/" in everything
    assert b"]\r\n" in everything


def test_apps_may_say_where_a_plain_sender_keeps_things() -> None:
    paths = {"id": "meta.uid", "type": "kind", "subject": "to.0.mail", "time": "meta.at"}
    app = apps.read_app("shop", {"paths": paths}, str)
    body = b'{"id":1,"meta":{"uid":2,"at":1795218600},"kind":"k","to":[{"mail":"a@example.com"}]}'
    (event,) = split(app.source, Delivery("shop", {}, body, ARRIVED))

    assert (event.id, event.type, event.subject) == ("2", "k", "a@example.com")
    assert event.time == "2026-11-20T23:50:00Z"


def test_in_cloudevents_binary_mode_an_empty_array_is_an_event_too() -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "e-1", "ce-type": "nothing.found"}

    for body, ids in [(b"[]", ["e-1"]), (b"{}", ["e-1"]), (b"", [])]:
        events = split(generic.SOURCE, Delivery("shop", headers, body, ARRIVED))
        assert [event.id for event in events] == ids
    assert split(generic.SOURCE, Delivery("shop", {}, b"[]", ARRIVED)) == []


# Handshakes


def test_slack_hears_its_challenge() -> None:
    verification = read(SAMPLES / "slack" / "url-verification")

    assert handshake(verification.source, "POST", verification.body) == (
        "3eZbrw1aB10FEMAGAZd4FyFQexample"
    )


def test_slack_hears_a_challenge_only_to_a_url_verification() -> None:
    slack = source_named("slack")

    assert handshake(slack, "POST", b'{"type":"event_callback","challenge":"c"}') is None
    assert handshake(slack, "GET", b'{"type":"url_verification","challenge":"c"}') is None
    assert handshake(slack, "POST", b'{"type":"url_verification","challenge":7}') is None
    assert handshake(slack, "POST", b'{"url_verification":{"challenge":"c"}}') is None


def test_meta_hears_its_challenge() -> None:
    query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "x"}
    meta = source_named("meta")

    assert handshake(meta, "GET", b"", query) == "1158201444"
    assert handshake(meta, "POST", b"", query) is None
    assert handshake(meta, "GET", b"", query | {"hub.mode": "unsubscribe"}) is None
    assert handshake(meta, "GET", b"", {"hub.mode": "subscribe"}) is None


@pytest.mark.parametrize("challenge", ["", "é", "a\nb", "\x00", "x" * 1001, "\ud800"])
def test_a_challenge_that_is_not_short_plain_text_is_not_echoed(challenge: str) -> None:
    query = {"hub.mode": "subscribe", "hub.challenge": challenge}
    body = json.dumps({"type": "url_verification", "challenge": challenge}).encode()

    assert handshake(source_named("meta"), "GET", b"", query) is None
    assert handshake(source_named("slack"), "POST", body) is None


def handshake(
    source: Source, method: str, body: bytes, query: dict[str, str] | None = None
) -> str | None:
    assert source.handshake
    response = source.handshake(HandshakeRequest(method, query or {}, {}, body), Keys())
    assert response is None or response.content_type == "text/plain"

    return response and response.text


# Nothing a sender writes makes a source raise


def check(source: Source, body: bytes, headers: dict[str, str]) -> list[Event]:
    """Whatever body and headers are, every function answers with what it promises."""
    delivery = Delivery("shop", headers, body, ARRIVED)

    assert to_object(delivery, source).body == body
    assert source.verify is None or isinstance(source.verify(delivery, keys_of(source.name)), bool)
    assert source.signed_at is None or isinstance(source.signed_at(delivery), float | None)
    check_handshake(source, body, headers)
    events = split(source, delivery)
    for event in events:
        check_event(event)
    return events


@cache
def keys_of(source: str) -> Keys:
    return next((s.app.keys for s in samples_of(source) if s.app.keys), Keys())


def check_handshake(source: Source, body: bytes, query: dict[str, str]) -> None:
    for method in ("POST", "GET", "OPTIONS", "HEAD"):
        request = HandshakeRequest(method, query, query, body)
        response = source.handshake(request, keys_of(source.name)) if source.handshake else None

        assert response is None or isinstance(response, HandshakeResponse)


def check_event(event: Event) -> None:
    assert all(isinstance(value, str) for value in event)
    assert strictly_json(event.data)
    assert event.time.endswith("Z")
    assert datetime.fromisoformat(event.time).tzinfo


HOSTILE = {
    "nothing": b"",
    "white space": b" \r\n\t",
    "a NUL": b"\x00",
    "null": b"null",
    "a name that is no text": b"{[]:1}",
    "an entry whose name is no text": b'{"entry":[{{}:1}]}',
    "an element that is no JSON": b'[{"event":NaN},{"event":Infinity}]',
    "semicolons between elements": b'[{"a":1};{"a":2}]',
    "100,000 brackets": b"[" * 100_000,
    "100,000 braces": b'{"a":' * 100_000,
    "100,000 brackets, closed": b"[" * 100_000 + b"]" * 100_000,
    "100,000 brackets in an entry": b'{"entry":[{"changes":' + b"[" * 100_000,
    "a number of 10,000 digits": b'[{"id":%s,"timestamp":%s}]' % (b"1" * 10_000, b"9" * 10_000),
    "4,299 digits": b'{"id":%s}' % (b"1" * 4_299),
    "a fraction beyond a double": b'[{"timestamp":1e999,"created":-1e999}]',
    "a lone surrogate": rb'[{"email":"\ud800","sg_event_id":"\udfff","id":"\ud800"}]',
    "UTF-16": "[{}]".encode("utf-16"),
    "Latin-1": b'[{"email":"\xe9"}]',
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf[]",
    "a form of nothing": b"&&==&;",
    "a form whose payload is broken": b"payload=%7B%22a%22&payload=%FF",
    "a form whose payload is deep": b"payload=" + b"%5B" * 30_000,
    "a form of many fields": b"command=&" * 50_000,
}


def test_a_hostile_body_raises_nothing(source: Source) -> None:
    for name, body in HOSTILE.items():
        print(name)  # shown where it fails
        check(source, body, samples_of(source.name)[0].headers)
        check(source, body, {})


def test_a_truncated_body_raises_nothing_and_alters_no_event(sample: Sample) -> None:
    whole = [event.data for event in split(sample.source, sample.delivery)]
    for length in range(len(sample.body)):
        events = check(sample.source, sample.body[:length], sample.headers)

        assert sample.is_form or [event.data for event in events] == whole[: len(events)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
texts = st.text(st.characters(), max_size=20)  # surrogates too


def headers_for(source: Source) -> st.SearchStrategy[dict[str, str]]:
    """Any text in the headers that a source may look at, most often beside real ones."""
    known = {*source.keep, *(name for s in samples_of(source.name) for name in s.headers)}
    real = st.sampled_from([{}, *(sample.headers for sample in samples_of(source.name))])
    drawn = st.dictionaries(st.sampled_from(sorted(known)), texts | st.sampled_from(SIGNATURES))
    return st.builds(lambda some, others: {**some, **others}, real, drawn)


SIGNATURES = [
    "t=1,v1=",
    "v0=",
    "v1,",
    "v1a,AAAA v1,=",
    "sha256=0",
    "sha256=é",
    ",,,",
    "=",
    " ",
    "9" * 40,
]


@given(st.data())
@few
def test_random_bytes_raise_nothing(source: Source, data: st.DataObject) -> None:
    check(source, data.draw(st.binary()), data.draw(headers_for(source)))


@given(st.data())
@few
def test_random_json_raises_nothing(source: Source, data: st.DataObject) -> None:
    check(source, json.dumps(data.draw(json_values)).encode(), data.draw(headers_for(source)))


@given(st.data())
@few
def test_random_headers_raise_nothing(source: Source, data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from(samples_of(source.name)))
    check(source, sample.body, data.draw(headers_for(source)))


@given(st.data())
@few
def test_one_value_of_a_wrong_type_raises_nothing(sample: Sample, data: st.DataObject) -> None:
    check(sample.source, data.draw(spoiled(sample)), sample.headers)


@st.composite
def spoiled(draw: st.DrawFn, sample: Sample) -> bytes:
    """The sample with any one of its values, or of its form's fields, replaced by any other."""
    if sample.is_form:
        fields = dict(parse_qsl(sample.body.decode(), keep_blank_values=True))
        name = draw(st.sampled_from(sorted(fields)))
        return urlencode(fields | {name: json.dumps(draw(json_values))}).encode()
    if not bodies.is_json(sample.body):
        return json.dumps(draw(json_values)).encode()
    value = json.loads(sample.body.decode("utf-8-sig"))
    place = draw(st.sampled_from(list(places(value))))
    return json.dumps(replaced(value, place, draw(json_values))).encode()


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    inner = enumerate(value) if isinstance(value, list) else getattr(value, "items", tuple)()
    for name, each in inner:
        yield from places(each, (*place, name))


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    inner = list(value) if isinstance(value, list) else dict(value)
    inner[place[0]] = replaced(value[place[0]], place[1:], new)
    return inner


# Real bodies


def real_bodies() -> list[Any]:
    """Every file of a folder that has a source's name; a visible skip where there is none."""
    found = [
        pytest.param(source, path, id=f"{source}/{path.name}")
        for path in sorted(PAYLOADS.glob("*/*"))
        if (source := OTHER_NAMES.get(path.parent.name, path.parent.name)) in source_names()
    ]
    why = pytest.mark.skip(reason=f"there are no real bodies in {PAYLOADS}")
    return found or [pytest.param("", Path(), marks=why, id="absent")]


@pytest.mark.parametrize(("name", "path"), real_bodies())
def test_a_real_body_is_kept_and_split_exactly(name: str, path: Path) -> None:
    source, body = source_named(name), path.read_bytes()
    headers = {"content-type": "application/json"}
    check(source, body, headers)
    events = split(source, Delivery(name, headers, body, ARRIVED))

    assert all(event.data in body.decode() for event in events)
    assert sum(len(event.data) for event in events) <= len(body.decode())


def test_the_events_of_a_real_batch_are_all_of_it() -> None:
    for sample in samples_of("sendgrid"):
        events = split(sample.source, sample.delivery)
        value = json.loads(sample.body)

        assert [json.loads(event.data) for event in events] == (
            value if isinstance(value, list) else []
        )


@pytest.mark.parametrize(
    ("sg_message_id", "smtp_id", "correlation"),
    [
        ("14c5d75ce93.filter0001.16648.5515E0B88.0", "", "14c5d75ce93"),
        ("14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0", "", "14c5d75ce93.dfd.64b469"),
        ("14c5d75ce93.dfd.64b469.recvd-5d8c.1.2.0", "", "14c5d75ce93.dfd.64b469"),
        (
            "14c5d75ce93.dfd.64b469.ismtpd0001.1.0",
            "<14c5d75ce93.dfd.64b469@ismtpd-555>",
            "14c5d75ce93.dfd.64b469",
        ),
        ("14c5d75ce93.ismtpd0001.1.0", "<another@example.com>", "14c5d75ce93"),
        # Without a message part: equal ones would tie messages together that are none of another's.
        ("filter0093p1las1.9128.5515E0B88.0", "", ""),
        ("filter0093p1las1.9128.5515E0B88.0", "<14c5d75ce93.dfd@ismtpd-555>", ""),
        ("", "", ""),
    ],
)
def test_events_of_a_message_of_sendgrids_have_its_own_part_in_common_and_no_hosts(
    sg_message_id: str, smtp_id: str, correlation: str
) -> None:
    sent = {"event": "open", "sg_message_id": sg_message_id, "smtp-id": smtp_id}
    delivery = Delivery("sendgrid", {}, json.dumps([sent]).encode(), ARRIVED)
    [event] = split(source_named("sendgrid"), delivery)

    assert event.correlation == correlation
