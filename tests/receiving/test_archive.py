"""Delivery -> ArchiveObject: where a delivery is kept, and as what."""

from datetime import UTC, datetime
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.archive import to_object, to_rejected
from chalicelib.bodies import CONTENT_TYPES, is_json
from chalicelib.delivery import Delivery
from chalicelib.keys import parse_key
from chalicelib.metadata import headers_of
from chalicelib.sources import Source, source_named

GENERIC = source_named("generic")
SIGNING = Source(name="signing", signature_headers=("x-signature",))
ARRIVED = datetime(2026, 11, 20, 23, 50, 1, 123456, tzinfo=UTC)
REASON = "Body is not valid JSON"

bodies = st.binary() | st.sampled_from(
    [
        b"{}",
        b'{"a" : 1.0}\r\n',
        b"\xef\xbb\xbf{}",
        b'{"a":1,"a":2}',
        b'{"b":1e2,"a":"\\u00e9"}',
        b"1" * 5_000,
        b"\r\n",
        b"\0",
        b"\x1f\x8b",
    ]
)
content_types = st.sampled_from([*CONTENT_TYPES.values(), ""]) | st.text(st.characters())


@given(bodies, content_types)
def test_a_body_is_kept_byte_for_byte(body, content_type):
    assert to_object(delivery(body, content_type), GENERIC).body == body
    assert to_rejected(delivery(body, content_type), GENERIC, reason=REASON).body == body


@given(bodies, content_types)
def test_a_key_says_whose_the_body_is_when_it_came_and_what_it_is(body, content_type):
    obj = to_object(delivery(body, content_type), GENERIC, prefix="events/in/")

    key = parse_key(obj.key)
    assert (key.prefix, key.app, key.arrived) == ("events/in/", "shop", ARRIVED)
    assert key.sha256 == sha256(body).hexdigest()
    assert (key.extension == "json") == is_json(body)
    assert obj.content_type == CONTENT_TYPES[key.extension]


@given(bodies, content_types)
def test_a_rejected_key_says_whose_the_body_is_and_which_day_it_came(body, content_type):
    obj = to_rejected(delivery(body, content_type), GENERIC, prefix="events/in/", reason=REASON)

    key = parse_key(obj.key)
    assert (key.prefix, key.app, key.day) == ("events/in/", "shop", ARRIVED.date())
    assert key.sha256 == sha256(body).hexdigest()
    assert obj.content_type == "application/octet-stream"


def test_a_delivery_becomes_this_object():
    obj = to_object(delivery(b"{}", "text/plain"), GENERIC, prefix="in/", verdict="verified")

    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert obj.key == f"in/shop/dt=2026-11-20/hh=23/20261120T235001.123456Z-{digest}.json"
    assert obj.content_type == "application/json"
    assert obj.metadata == {
        "layout": "1",
        "source": "generic",
        "verdict": "verified",
        "arrived": "2026-11-20T23:50:01.123456Z",
        "request-id": "request-1",
        "h-content-type": "text/plain",
    }


def test_a_refused_delivery_becomes_this_object():
    obj = to_rejected(delivery(b"{", ""), GENERIC, prefix="in/", reason=REASON)

    digest = "021fb596db81e6d02bf3d2586ee3981fe519f275c0ac9ca76bbcf2ebb4097d96"
    assert obj.key == f"in/_rejected/shop/dt=2026-11-20/{digest}.bin"
    assert obj.content_type == "application/octet-stream"
    assert obj.metadata["reason"] == REASON


@pytest.mark.parametrize(
    ("body", "content_type", "extension", "kept_as"),
    [
        (b"{}", "application/json", ".json", "application/json"),
        (b"{}", "text/plain; charset=UTF-8", ".json", "application/json"),
        (b"{}", "", ".json", "application/json"),
        (b"a=1", "application/x-www-form-urlencoded", ".form", "application/x-www-form-urlencoded"),
        (b"<a/>", "text/xml", ".xml", "application/xml"),
        (b"hello", "text/html", ".txt", "text/plain"),
        (b"\0", "image/png", ".bin", "application/octet-stream"),
        (b"{", "application/json", ".bin", "application/octet-stream"),
    ],
)
def test_an_object_is_called_what_its_bytes_are(body, content_type, extension, kept_as):
    obj = to_object(delivery(body, content_type), GENERIC)

    assert obj.key.endswith(extension)
    assert obj.content_type == kept_as
    assert headers_of(obj.metadata)["content-type"] == content_type


def test_the_same_bytes_a_microsecond_later_are_another_attempt_with_the_same_digest():
    first = parse_key(to_object(delivery(b"{}"), GENERIC).key)
    later = parse_key(
        to_object(delivery(b"{}", arrived=ARRIVED.replace(microsecond=9)), GENERIC).key
    )

    assert first != later
    assert first.sha256 == later.sha256


def test_the_same_refused_bytes_are_one_object_a_day():
    first = to_rejected(delivery(b"{"), GENERIC, reason=REASON)
    later = to_rejected(delivery(b"{", arrived=ARRIVED.replace(hour=1)), GENERIC, reason=REASON)

    assert first.key == later.key


def test_nothing_verified_is_unchecked():
    assert to_object(delivery(b"{}"), GENERIC).metadata["verdict"] == "unchecked"


def test_the_headers_of_its_source_are_kept_beside_a_delivery():
    sent = delivery(b"{}", headers={"x-signature": "é%", "x-other": "x", "authorization": "y"})

    assert headers_of(to_object(sent, SIGNING).metadata) == {"x-signature": "é%"}
    assert headers_of(to_rejected(sent, SIGNING, reason=REASON).metadata) == {"x-signature": "é%"}


def delivery(body, content_type="application/json", *, headers=None, arrived=ARRIVED):
    headers = {"content-type": content_type} if headers is None else headers
    return Delivery("shop", headers, body, arrived, "request-1")
