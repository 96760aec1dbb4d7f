"""Metadata: printable ASCII, never too much of it, and read back exactly as it was sent."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.loops import for_each

from chalicelib import responses
from chalicelib.delivery import Delivery
from chalicelib.metadata import MAX_METADATA, decode, describe, encode, headers_of
from chalicelib.sources import Source, source_named, source_names

ARRIVED = datetime(2026, 11, 20, 23, 50, 1, 123456, tzinfo=UTC)
SIGNING = Source(
    name="signing",
    signature_headers=("x-signature", "x-timestamp"),
    id_headers=("x-event-id",),
    other_headers=("x-event", "x-extra"),
)
REASON = responses.NOT_JSON.reason

texts = st.text(st.characters())  # lone surrogates and control characters too
# What the encoding is about, next to each other more often than chance would have it.
awkward = st.text(st.sampled_from("a %=?\t\n\0é\ud800\udc00😀"))
sizes = st.sampled_from([0, 1, 100, 400, 900, 1_500, 10_000])
values = texts | awkward | st.tuples(st.sampled_from("aé ="), sizes).map(lambda it: it[0] * it[1])
headers = st.fixed_dictionaries({}, optional=dict.fromkeys(SIGNING.keep, values))


@given(texts | awkward)
def test_any_text_survives(text):
    assert decode(encode(text)) == text


@given(texts | awkward)
def test_an_encoded_value_is_what_s3_neither_trims_nor_folds_nor_decodes(text):
    encoded = encode(text)

    assert all(" " <= character <= "~" for character in encoded)
    assert encoded == encoded.strip(" ")
    assert "  " not in encoded
    assert "=?" not in encoded


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("", ""),
        ("application/json; charset=utf-8", "application/json; charset=utf-8"),
        ('t=1,v1="x"', 't=1,v1="x"'),
        ("100%", "100%25"),
        ("%41", "%2541"),
        ("é", "%C3%A9"),
        ("\r\n", "%0D%0A"),
        ("\x7f", "%7F"),
        (" ", "%20"),
        (" a b ", "%20a b%20"),
        ("a   b", "a %20%20b"),
        ("=?UTF-8?B?4oKs?=", "%3D?UTF-8?B?4oKs?="),
        ("==?", "=%3D?"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_a_value_is_encoded_like_this_for_ever(text, encoded):
    assert encode(text) == encoded
    assert decode(encoded) == text


def test_the_facts_of_a_delivery_are_told():
    assert described({"x-signature": "s", "content-type": "text/plain"}) == {
        "layout": "1",
        "source": "signing",
        "verdict": "verified",
        "arrived": "2026-11-20T23:50:01.123456Z",
        "request-id": "request-1",
        "h-x-signature": "s",
        "h-content-type": "text/plain",
    }


def test_a_refused_delivery_says_why():
    assert described({}, reason=REASON)["reason"] == REASON


@pytest.fixture
def far_from_greenwich(monkeypatch):
    """A machine whose own clock is hours away from UTC."""
    monkeypatch.setenv("TZ", "MART9:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_greenwich")
def test_the_arrival_is_told_in_utc():
    there = ARRIVED.astimezone(timezone(timedelta(hours=-9, minutes=-30)))

    for arrived in (ARRIVED, there):
        assert described({}, arrived=arrived)["arrived"] == "2026-11-20T23:50:01.123456Z"


def test_a_header_that_nobody_asked_for_is_not_kept():
    metadata = described({"authorization": "Bearer x", "cookie": "a=b", "x-unknown": "y"})

    assert headers_of(metadata) == {}


@pytest.mark.parametrize("source", sorted(source_names()))
def test_no_source_keeps_credentials_or_secrets(source):
    secrets = {"authorization", "proxy-authorization", "cookie", "x-github-encoded-secret"}

    assert not secrets & set(source_named(source).keep)


@pytest.mark.parametrize("source", sorted(source_names()))
def test_every_source_keeps_lower_case_names_once(source):
    keep = source_named(source).keep

    assert list(keep) == [name.lower() for name in keep]
    assert len(keep) == len(set(keep))


@given(headers)
def test_kept_headers_read_back_as_they_were_sent(sent):
    metadata = described(sent)

    left_out = omitted(metadata) - {"request-id"}
    assert headers_of(metadata) == {n: v for n, v in sent.items() if n not in left_out}
    assert left_out <= set(sent)


@given(headers, st.sampled_from(["", REASON]))
def test_metadata_never_exceeds_its_budget(sent, reason):
    assert size(described(sent, reason=reason)) <= MAX_METADATA


def test_the_budget_is_below_the_2_kb_that_s3_accepts():
    assert MAX_METADATA == 1_900


@for_each("source", sorted(source_names()))
@for_each("letter", ["a", "é", "%"])
def test_10_kb_in_every_header_of_a_source_are_left_out_by_name(source, letter):
    keep = source_named(source).keep
    metadata = described(dict.fromkeys(keep, letter * 10_000), keep=keep)

    assert size(metadata) <= MAX_METADATA
    assert headers_of(metadata) == {}
    assert omitted(metadata) == set(keep)


def test_what_fits_to_the_byte_is_kept_whole():
    room = MAX_METADATA - size(described({"x-extra": ""}))
    metadata = described({"x-extra": "x" * room})

    assert size(metadata) == MAX_METADATA
    assert headers_of(metadata) == {"x-extra": "x" * room}
    assert "omitted" not in metadata


def test_one_byte_more_and_the_id_of_the_request_makes_room():
    room = MAX_METADATA - size(described({"x-extra": ""}))
    metadata = described({"x-extra": "x" * (room + 1)})

    assert headers_of(metadata) == {"x-extra": "x" * (room + 1)}
    assert metadata["omitted"] == "request-id"


def test_a_header_that_does_not_fit_is_left_out_whole():
    metadata = described({"x-extra": "x" * MAX_METADATA})

    assert headers_of(metadata) == {}
    assert metadata["omitted"] == "x-extra"


def test_signatures_are_kept_before_anything_else():
    half = MAX_METADATA // 2
    metadata = described(
        {"user-agent": "u" * half, "x-event-id": "i" * half, "x-signature": "s" * half}
    )

    assert headers_of(metadata) == {"x-signature": "s" * half}
    assert omitted(metadata) == {"x-event-id", "user-agent"}


def test_a_signature_is_the_last_that_is_left_out():
    """Everything else that could go has gone before, the id of the request too."""
    others = {name: "o" * 20 for name in SIGNING.keep if name != "x-signature"}
    facts = described({}, keep=())
    del facts["request-id"]
    facts["omitted"] = ",".join([*others, "request-id"])
    room = MAX_METADATA - size(facts) - len("h-x-signature")
    fits = described(others | {"x-signature": "s" * room})
    does_not = described(others | {"x-signature": "s" * (room + 1)})

    assert headers_of(fits) == {"x-signature": "s" * room}
    assert size(fits) == MAX_METADATA
    assert omitted(fits) == {*others, "request-id"}
    assert headers_of(does_not) == others
    assert omitted(does_not) == {"x-signature"}


def test_ids_are_kept_before_the_rest():
    half = MAX_METADATA // 2
    metadata = described({"x-event": "e" * half, "x-event-id": "i" * half})

    assert headers_of(metadata) == {"x-event-id": "i" * half}


def test_a_header_that_does_not_fit_makes_no_other_go():
    sent = {"x-signature": "s" * 10_000, "x-timestamp": "1", "x-extra": "e"}
    metadata = described(sent)

    assert headers_of(metadata) == {"x-timestamp": "1", "x-extra": "e"}
    assert metadata["omitted"] == "x-signature"


def test_a_percent_encoded_header_counts_as_long_as_it_is_written():
    metadata = described({"user-agent": "😀" * 200})  # 800 bytes of UTF-8, 2,400 written

    assert metadata["omitted"] == "user-agent"


def described(sent, *, reason="", arrived=ARRIVED, keep=SIGNING.keep):
    delivery = Delivery("shop", sent, b"{}", arrived, "request-1")
    return describe(delivery, source="signing", verdict="verified", keep=keep, reason=reason)


def omitted(metadata):
    return set(filter(None, metadata.get("omitted", "").split(",")))


def size(metadata):
    return sum(len(text.encode()) for pair in metadata.items() for text in pair)


@pytest.mark.parametrize(("value", "plain"), [("%FF", "\ufffd"), ("\u00e9%C3", "\u00e9\ufffd")])
def test_of_metadata_that_somebody_else_wrote_as_much_is_read_as_can_be(value, plain):
    assert decode(value) == plain
