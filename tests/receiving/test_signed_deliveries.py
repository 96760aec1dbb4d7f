"""Signed deliveries come in, and are proved again from the archive alone."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from chalice.test import Client
from click.testing import CliRunner
from support import ways
from support.project import PROJECT, TOKEN

from app import app
from chalicelib import responses
from chalicelib.metadata import headers_of
from chalicelib.sources import source_named
from hookshelf.__main__ import main


@dataclass(frozen=True)
class Vector:
    """A delivery whose signature its sender (or the scheme's own test suite) published."""

    source: str
    body: bytes
    headers: Mapping[str, str]
    keys: Mapping[str, list[str]]  # as APPS_FILE has them
    wrong_keys: Mapping[str, list[str]]
    other_headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def signature_header(self) -> str:
        return source_named(self.source).signature_headers[0]


# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
GITHUB = Vector(
    source="github",
    body=b"Hello, World!",
    headers={
        "x-hub-signature-256": "sha256="
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    },
    keys={"secrets": ["It's a Secret to Everybody"]},
    wrong_keys={"secrets": ["It's a Secret to Nobody"]},
    other_headers={"content-type": "text/plain"},
)
# The test suite of https://github.com/standard-webhooks/standard-webhooks
STANDARD = Vector(
    source="standard",
    body=b'{"test": 2432232314}',
    headers={
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    },
    keys={"secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]},
    wrong_keys={"secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx"]},
)
# The same bytes under older names: https://docs.svix.com/receiving/verifying-payloads/how-manual
SVIX = replace(
    STANDARD,
    source="svix",
    headers={name.replace("webhook-", "svix-"): value for name, value in STANDARD.headers.items()},
)
# tests/slack_sdk/signature/test_signature_verifier.py of https://github.com/slackapi/python-slack-sdk
SLACK = Vector(
    source="slack",
    body=b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
    b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
    b"&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
    b"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
    headers={
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    },
    keys={"secrets": ["8f742231b10e8888abcd99yyyzzz85a5"]},
    wrong_keys={"secrets": ["8f742231b10e8888abcd99yyyzzz85a6"]},
    other_headers={"content-type": "application/x-www-form-urlencoded"},
)
# Stripe publishes none: made with the algorithm of https://docs.stripe.com/webhooks#verify-manually
STRIPE = Vector(
    source="stripe",
    body=b'{"id":"evt_test_webhook","object":"event"}',
    headers={
        "stripe-signature": "t=1614265330,v1="
        "3c5817089d739023dd6190f70a3757e04f7a2fd8b5dab12c2e000f51970dccff",
    },
    keys={"secrets": ["whsec_test_secret"]},
    wrong_keys={"secrets": ["whsec_test_secreT"]},
)
# test/unit/test_eventwebhook.py of https://github.com/sendgrid/sendgrid-python
SENDGRID = Vector(
    source="sendgrid",
    body=b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
    b'"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
    b'"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",'
    b'"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",'
    b'"timestamp":1600112492}]\r\n',
    headers={
        "x-twilio-email-event-webhook-timestamp": "1600112502",
        "x-twilio-email-event-webhook-signature": "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZU"
        "AiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=",
    },
    keys={
        "public_keys": [
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3G"
            "Rqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
        ]
    },
    wrong_keys={
        "public_keys": [
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqTxd43gyp8IOEto2LdIfjRQrIbsd4SXZkLW6jDutdhXSJCWH"
            "w8REntlo7aNDthvj+y7GjUuFDb/R1NGe1OPzpA=="
        ]
    },
)
VECTORS = [GITHUB, STANDARD, SVIX, SLACK, STRIPE, SENDGRID]
TIMED = [STANDARD, SVIX, SLACK, STRIPE, SENDGRID]
SECRET = "whsec_eYandf49KaREYaVI9FYhOqkfJvqG7GXQMOnPYzMuvtw="  # every source can read it


def named(vector: Vector) -> str:
    return vector.source


@dataclass(frozen=True)
class Stored:
    """One object of the archive, read from the disk and not through the project."""

    key: str
    body: bytes
    meta: dict[str, str]


class Stage:
    """A deployed stage whose archive and APPS_FILE are folders of this test."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = folder, patch
        patch.setenv("ARCHIVE_FOLDER", str(folder / "archive"))
        patch.setenv("ARCHIVE_BUCKETS", "events")
        self.configure()

    def configure(self, **apps: Any) -> None:
        """Write APPS_FILE; a new one each time, as a deployment does."""
        file = self.folder / f"apps-{uuid4().hex}.json"
        file.write_text(json.dumps(apps))
        self._patch.setenv("APPS_FILE", str(file))

    def send(self, vector: Vector) -> tuple[int, Any]:
        """Deliver to the app named like the vector's source: the status, and the answer read."""
        headers = {**vector.headers, **vector.other_headers}
        answer = invoke("POST", {"token": TOKEN, "app": vector.source}, headers, vector.body)
        return answer["statusCode"], json.loads(answer["body"])

    def stored(self) -> list[Stored]:
        root = self.folder / "archive" / "events"
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return [
            Stored(
                path.relative_to(root).as_posix(),
                path.read_bytes(),
                json.loads(path.with_name(path.name + ".meta").read_text()),
            )
            for path in files
            if path.suffix != ".meta"
        ]

    def verify(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        """Run `hookshelf verify --json`: its exit code and lines."""
        done = CliRunner().invoke(main, ["verify", "--json", *arguments])
        return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


# --- what is signed well


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_a_published_signature_is_accepted_where_it_is_required_and_verified_years_later(
    stage: Stage, vector: Vector
) -> None:
    stage.configure(**{vector.source: {"signature": "require", **vector.keys}})
    status, answer = stage.send(vector)
    [obj] = stage.stored()

    assert status == 200
    assert obj.key == answer["key"]
    assert obj.body == vector.body
    assert obj.meta["verdict"] == "verified"
    assert headers_of(obj.meta).items() >= vector.headers.items()
    assert stage.verify() == (0, [{"key": obj.key, "verdict": "verified"}])


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_with_keys_and_nothing_else_said_the_verdict_is_recorded(
    stage: Stage, vector: Vector
) -> None:
    stage.configure(**{vector.source: dict(vector.keys)})
    status, _ = stage.send(vector)

    assert status == 200
    assert [obj.meta["verdict"] for obj in stage.stored()] == ["verified"]


def test_an_app_of_any_name_is_checked_as_the_source_its_entry_names(stage: Stage) -> None:
    stage.configure(mail={"source": "sendgrid", "signature": "require", **SENDGRID.keys})
    answer = invoke("POST", {"token": TOKEN, "app": "mail"}, SENDGRID.headers, SENDGRID.body)
    [obj] = stage.stored()

    assert answer["statusCode"] == 200
    assert (obj.meta["source"], obj.meta["verdict"]) == ("sendgrid", "verified")
    assert stage.verify("--app", "mail") == (0, [{"key": obj.key, "verdict": "verified"}])


# --- what is not


def with_changed_body(vector: Vector) -> Vector:
    middle = len(vector.body) // 2
    changed = bytes([vector.body[middle] ^ 1])
    return replace(vector, body=vector.body[:middle] + changed + vector.body[middle + 1 :])


def with_changed_signature(vector: Vector) -> Vector:
    text = vector.headers[vector.signature_header]
    at = len(text) * 3 // 4  # within the digest, whatever is written around it
    spoiled = text[:at] + ("1" if text[at] == "0" else "0") + text[at + 1 :]
    return replace(vector, headers={**vector.headers, vector.signature_header: spoiled})


@pytest.mark.parametrize("change", [with_changed_body, with_changed_signature])
@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_one_changed_byte_is_refused_and_kept_and_judged_the_same_later(
    stage: Stage, vector: Vector, change: Any
) -> None:
    stage.configure(**{vector.source: {"signature": "require", **vector.keys}})
    sent = change(vector)
    status, answer = stage.send(sent)
    [obj] = stage.stored()

    assert (status, answer["reason"]) == (403, responses.INVALID_SIGNATURE.reason)
    assert obj.key == answer["kept"]
    assert obj.key.startswith(f"_rejected/{vector.source}/")
    assert obj.body == sent.body
    assert obj.meta["verdict"] == "bad"
    assert obj.meta["reason"] == responses.INVALID_SIGNATURE.reason
    assert headers_of(obj.meta).items() >= sent.headers.items()
    assert stage.verify() == (1, [])  # there is nothing but what was refused
    assert stage.verify("--rejected") == (1, [{"key": obj.key, "verdict": "bad"}])


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_what_a_sender_with_a_new_key_was_refused_is_verified_once_the_key_is_configured(
    stage: Stage, vector: Vector
) -> None:
    [kind] = vector.keys
    stage.configure(**{vector.source: {"signature": "require", **vector.wrong_keys}})
    status, answer = stage.send(vector)

    assert status == 403
    assert stage.verify("--rejected") == (1, [{"key": answer["kept"], "verdict": "bad"}])

    both = vector.wrong_keys[kind] + vector.keys[kind]
    stage.configure(**{vector.source: {"signature": "require", kind: both}})

    assert stage.verify("--rejected") == (0, [{"key": answer["kept"], "verdict": "verified"}])
    assert stage.send(vector)[0] == 200


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_an_unsigned_delivery_is_refused_where_a_signature_is_required(
    stage: Stage, vector: Vector
) -> None:
    stage.configure(**{vector.source: {"signature": "require", **vector.keys}})
    status, answer = stage.send(replace(vector, headers={}))
    [obj] = stage.stored()

    assert (status, answer["reason"]) == (403, responses.INVALID_SIGNATURE.reason)
    assert (obj.key, obj.meta["verdict"]) == (answer["kept"], "unsigned")
    assert stage.verify("--rejected") == (1, [{"key": obj.key, "verdict": "unsigned"}])


@pytest.mark.parametrize("vector", VECTORS, ids=named)
@pytest.mark.parametrize(
    ("change", "verdict", "exit_code"),
    [
        (with_changed_signature, "bad", 1),
        (lambda vector: replace(vector, headers={}), "unsigned", 0),
    ],
    ids=["bad", "unsigned"],
)
def test_record_stores_what_is_not_signed_well_with_its_verdict(
    stage: Stage, vector: Vector, change: Any, verdict: str, exit_code: int
) -> None:
    stage.configure(**{vector.source: {"signature": "record", **vector.keys}})
    status, answer = stage.send(change(vector))
    [obj] = stage.stored()

    assert status == 200
    assert (obj.key, obj.meta["verdict"]) == (answer["key"], verdict)
    assert stage.verify() == (exit_code, [{"key": obj.key, "verdict": verdict}])


@pytest.mark.parametrize("vector", VECTORS, ids=named)
@pytest.mark.parametrize("is_configured", [True, False], ids=["ignore", "no keys"])
def test_a_signature_is_not_checked_where_it_is_ignored_or_there_are_no_keys(
    stage: Stage, vector: Vector, is_configured: bool
) -> None:
    stage.configure(
        **{vector.source: {"signature": "ignore", **vector.keys}} if is_configured else {}
    )
    status, _ = stage.send(with_changed_signature(vector))
    [obj] = stage.stored()

    assert (status, obj.meta["verdict"]) == (200, "unchecked")
    assert stage.verify() == (0, [{"key": obj.key, "verdict": "unchecked"}])


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_an_app_named_like_a_source_and_not_configured_keeps_what_that_source_signs_with(
    stage: Stage, vector: Vector
) -> None:
    stage.send(vector)
    [obj] = stage.stored()

    assert (obj.meta["source"], obj.meta["verdict"]) == (vector.source, "unchecked")
    assert headers_of(obj.meta).items() >= vector.headers.items()

    stage.configure(**{vector.source: dict(vector.keys)})

    assert stage.verify() == (0, [{"key": obj.key, "verdict": "verified"}])


def test_an_app_of_another_name_and_not_configured_is_generic(stage: Stage) -> None:
    invoke("POST", {"token": TOKEN, "app": "shop"}, GITHUB.headers, b"{}")
    [obj] = stage.stored()

    assert (obj.meta["source"], obj.meta["verdict"]) == ("generic", "unchecked")


# --- age


def signed(source: str, at: float) -> Vector:
    """A delivery signed at that time."""
    found = source_named(source)
    assert found.sign and found.example
    body = found.example(1, int(at))
    if source == "sendgrid":
        from hookshelf.local.tryout import private_key, public_key_of

        pem = private_key()
        keys, headers = {"public_keys": [public_key_of(pem)]}, found.sign(body, pem, int(at))
    else:
        keys, headers = {"secrets": [SECRET]}, found.sign(body, SECRET, int(at))
    return Vector(source, body, headers, keys, {})


@pytest.mark.parametrize("source", [vector.source for vector in TIMED])
@pytest.mark.parametrize("seconds", [-3600, 3600], ids=["old", "of the future"])
def test_a_delivery_older_or_newer_than_max_age_is_stale(
    stage: Stage, source: str, seconds: int
) -> None:
    vector = signed(source, time.time() + seconds)
    stage.configure(**{source: {"signature": "require", "max_age": 300, **vector.keys}})
    status, answer = stage.send(vector)
    [obj] = stage.stored()

    assert (status, answer["reason"]) == (403, responses.INVALID_SIGNATURE.reason)
    assert (obj.key, obj.meta["verdict"]) == (answer["kept"], "stale")
    assert stage.verify("--rejected") == (1, [{"key": obj.key, "verdict": "stale"}])


@pytest.mark.parametrize("source", [vector.source for vector in TIMED])
def test_a_delivery_within_max_age_is_verified_and_stays_so(stage: Stage, source: str) -> None:
    vector = signed(source, time.time())
    stage.configure(**{source: {"signature": "require", "max_age": 300, **vector.keys}})
    status, answer = stage.send(vector)

    assert status == 200
    assert stage.verify() == (0, [{"key": answer["key"], "verdict": "verified"}])


@pytest.mark.parametrize("vector", TIMED, ids=named)
def test_record_stores_a_stale_delivery_with_its_verdict(stage: Stage, vector: Vector) -> None:
    stage.configure(**{vector.source: {"max_age": 300, **vector.keys}})
    status, answer = stage.send(vector)

    assert status == 200
    assert [obj.meta["verdict"] for obj in stage.stored()] == ["stale"]
    assert stage.verify() == (1, [{"key": answer["key"], "verdict": "stale"}])


@pytest.mark.parametrize("vector", TIMED, ids=named)
def test_a_wrong_signature_is_bad_however_old(stage: Stage, vector: Vector) -> None:
    stage.configure(**{vector.source: {"max_age": 300, **vector.keys}})
    stage.send(with_changed_signature(vector))

    assert [obj.meta["verdict"] for obj in stage.stored()] == ["bad"]


@pytest.mark.parametrize("value", [None, {}], ids=["null", "unset"])
def test_without_max_age_a_signature_of_years_ago_is_good(stage: Stage, value: Any) -> None:
    age = {"max_age": None} if value is None else value
    stage.configure(slack={"signature": "require", **age, **SLACK.keys})

    assert stage.send(SLACK)[0] == 200  # signed in July 2018


def test_the_time_that_counts_is_the_one_that_was_signed(stage: Stage) -> None:
    """Svix has two sets of names: a fresh time under one does not freshen the other."""
    stage.configure(svix={"signature": "require", "max_age": 300, **STANDARD.keys})
    headers = {**STANDARD.headers, "svix-timestamp": str(int(time.time()))}
    status, _ = stage.send(replace(STANDARD, source="svix", headers=headers))

    assert status == 403


def test_a_signed_time_that_cannot_be_read_is_not_taken_for_fresh(stage: Stage) -> None:
    """SendGrid signs time and body without a mark between them: the boundary can be moved."""
    name = "x-twilio-email-event-webhook-timestamp"
    moved = replace(
        SENDGRID,
        headers={**SENDGRID.headers, name: SENDGRID.headers[name] + SENDGRID.body[:20].decode()},
        body=SENDGRID.body[20:],
    )
    stage.configure(
        sendgrid={"signature": "require", "max_age": 300, "any_body": True, **SENDGRID.keys}
    )
    status, _ = stage.send(moved)

    assert status == 403


# --- bodies


def test_any_body_accepts_json_that_is_none(stage: Stage) -> None:
    sent = Vector("shop", b'{"a": ', {}, {}, {}, {"content-type": "application/json"})
    refused, _ = stage.send(sent)
    stage.configure(shop={"any_body": True})
    accepted, answer = stage.send(sent)

    assert (refused, accepted) == (400, 200)
    assert [(obj.key, obj.body) for obj in stage.stored() if obj.key == answer["key"]] == [
        (answer["key"], b'{"a": ')
    ]


def test_a_good_signature_does_not_make_a_body_json(stage: Stage) -> None:
    stage.configure(github={"signature": "require", **GITHUB.keys})
    status, answer = stage.send(replace(GITHUB, other_headers={}))
    [obj] = stage.stored()

    assert (status, answer["reason"]) == (400, responses.NOT_JSON.reason)
    assert (obj.key, obj.meta["verdict"]) == (answer["kept"], "verified")


def test_a_rejected_delivery_is_listed_even_where_its_app_is_configured_no_longer(
    stage: Stage,
) -> None:
    stage.configure(github={"signature": "require", **GITHUB.wrong_keys})
    _, answer = stage.send(GITHUB)
    stage.configure()

    assert stage.verify("--rejected") == (0, [{"key": answer["kept"], "verdict": "unchecked"}])


# --- handshakes

CHALLENGE = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"
HOSTILE = {
    "10,000 characters": "a" * 10_000,
    "a control character": "a\x07b",
    "a line end": "a\r\nset-cookie: b",
    "not ASCII": "späte",
    "nothing": "",
}


def hello(challenge: object) -> bytes:
    return json.dumps(
        {"token": "Jhj5dZrVaK7ZwHHjRyZWjbDl", "challenge": challenge, "type": "url_verification"}
    ).encode()


def slack(body: bytes) -> Vector:
    found = source_named("slack")
    assert found.sign
    headers = found.sign(body, SECRET, int(time.time()))
    return Vector("slack", body, headers, {"secrets": [SECRET]}, {})


def subscription(challenge: str = "1158201444", **query: str) -> dict[str, str]:
    asked = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": "meaty"}
    return {"token": TOKEN, "app": "meta"} | asked | query


def test_slacks_url_verification_is_answered_in_plain_text_and_archived(stage: Stage) -> None:
    vector = slack(hello(CHALLENGE))
    stage.configure(slack={"signature": "require", **vector.keys})
    answer = invoke("POST", {"token": TOKEN, "app": "slack"}, vector.headers, vector.body)
    [obj] = stage.stored()

    assert answer["statusCode"] == 200
    assert content_type(answer) == "text/plain"
    assert answer["body"] == CHALLENGE
    assert (obj.body, obj.meta["verdict"]) == (vector.body, "verified")


def test_an_unsigned_url_verification_is_refused_where_signatures_are_required(
    stage: Stage,
) -> None:
    stage.configure(slack={"signature": "require", "secrets": [SECRET]})
    status, answer = stage.send(Vector("slack", hello(CHALLENGE), {}, {}, {}))

    assert (status, answer["reason"]) == (403, responses.INVALID_SIGNATURE.reason)
    assert CHALLENGE not in json.dumps(answer)


def test_a_url_verification_is_not_answered_without_the_token(stage: Stage) -> None:
    answer = invoke("POST", {"token": "wrong", "app": "slack"}, {}, hello(CHALLENGE))

    assert answer["statusCode"] == 403
    assert CHALLENGE not in answer["body"]
    assert stage.stored() == []


@pytest.mark.parametrize("challenge", [*HOSTILE.values(), 7, None, ["a"]])
def test_a_hostile_challenge_in_a_body_is_archived_and_not_echoed(
    stage: Stage, challenge: object
) -> None:
    body = hello(challenge)
    status, answer = stage.send(Vector("slack", body, {}, {}, {}))

    assert (status, set(answer)) == (200, {"result", "bucket", "key"})
    assert [obj.body for obj in stage.stored()] == [body]


def test_metas_subscription_is_answered_in_plain_text_and_not_archived(stage: Stage) -> None:
    answer = invoke("GET", subscription())

    assert answer["statusCode"] == 200
    assert content_type(answer) == "text/plain"
    assert answer["body"] == "1158201444"
    assert stage.stored() == []


def test_what_looks_like_html_is_echoed_as_plain_text_that_no_browser_runs(stage: Stage) -> None:
    answer = invoke("GET", subscription("<script>alert(1)</script>"))

    assert content_type(answer) == "text/plain"
    assert answer["headers"]["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("token", ["wrong", ""])
def test_metas_subscription_needs_the_token(stage: Stage, token: str) -> None:
    answer = invoke("GET", subscription(token=token))

    assert answer["statusCode"] == 403
    assert json.loads(answer["body"])["reason"] == responses.INVALID_TOKEN.reason


def test_metas_subscription_is_503_where_no_token_is_configured(stage: Stage) -> None:
    answer = invoke("GET", subscription(), variables=None)

    assert answer["statusCode"] == 503
    assert answer["headers"]["Retry-After"] == str(responses.RETRY_AFTER)


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("GET", {"token": TOKEN, "app": "meta"}),
        ("GET", subscription(**{"hub.mode": "unsubscribe"})),
        ("GET", {"token": TOKEN, "app": "meta", "hub.mode": "subscribe"}),
        ("GET", subscription(app="slack")),
        ("GET", subscription(app="shop")),
        ("GET", subscription(app="no app")),
        ("HEAD", subscription()),
        ("OPTIONS", subscription()),
        ("PUT", subscription()),
        ("DELETE", subscription()),
    ],
)
def test_a_method_that_is_no_handshake_is_not_allowed(
    stage: Stage, method: str, query: dict[str, str]
) -> None:
    answer = invoke(method, query)

    assert answer["statusCode"] == 405
    assert answer["headers"]["Allow"] == "POST"
    assert stage.stored() == []


@pytest.mark.parametrize("challenge", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_challenge_in_a_query_is_not_echoed(stage: Stage, challenge: str) -> None:
    answer = invoke("GET", subscription(challenge))
    said = answer["body"].encode()

    assert answer["statusCode"] == 405
    assert json.loads(said) == {"result": "fail", "reason": responses.METHOD_NOT_ALLOWED.reason}


def test_the_log_does_not_say_that_a_subscription_was_stored(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke("GET", subscription())
    line = json.loads(capsys.readouterr().err)

    assert (line["status"], line["reason"], line["app"]) == (200, "handshake", "meta")
    assert "key" not in line


@pytest.mark.parametrize("name", ["hub.challenge", "app", "bucket", "of-nobody"])
def test_a_subscription_with_anything_given_twice_is_no_handshake(stage: Stage, name: str) -> None:
    event = api_gateway_event("GET", subscription())
    event["multiValueQueryStringParameters"][name] = ["1", "2"]

    assert app(event, None)["statusCode"] == 405


def test_what_is_no_app_is_not_logged_as_one(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke("GET", subscription(app="no app"))

    assert "app" not in json.loads(capsys.readouterr().err)


class WithStageVariables:
    """The app with a token, which the test client has no way to give."""

    def __call__(self, event: dict[str, Any], context: Any) -> Any:
        return app({**event, "stageVariables": {"validToken": TOKEN}}, context)

    def __getattr__(self, name: str) -> Any:
        return getattr(app, name)


@pytest.fixture
def client(stage: Stage) -> Client:
    config = stage.folder / ".chalice" / "config.json"
    config.parent.mkdir()
    config.write_text('{"version": "2.0", "app_name": "hookshelf", "stages": {"local": {}}}')
    return Client(WithStageVariables(), "local", str(stage.folder))


def test_handshakes_pass_through_chalices_own_client(stage: Stage, client: Client) -> None:
    vector = slack(hello(CHALLENGE))
    stage.configure(slack={"signature": "require", **vector.keys})
    url = "/input?" + urlencode({"token": TOKEN, "app": "slack"})
    said = client.http.post(url, headers=dict(vector.headers), body=vector.body)
    got = client.http.get("/input?" + urlencode(subscription()))

    assert (said.status_code, said.body) == (200, CHALLENGE.encode())
    assert (got.status_code, got.body) == (200, b"1158201444")
    assert [said.headers["Content-Type"], got.headers["Content-Type"]] == ["text/plain"] * 2


def test_a_published_vector_passes_through_chalices_own_client(
    stage: Stage, client: Client
) -> None:
    stage.configure(sendgrid={"signature": "require", **SENDGRID.keys})
    url = "/input?" + urlencode({"token": TOKEN, "app": "sendgrid"})
    got = client.http.post(url, headers=dict(SENDGRID.headers), body=SENDGRID.body)

    assert got.status_code == 200
    assert stage.verify()[1][0]["verdict"] == "verified"


# --- URLs in bodies


@pytest.fixture
def visited() -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and the paths it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", paths
        finally:
            server.shutdown()


@pytest.mark.parametrize("name", ["sns", "slack", "generic", "stripe", "sendgrid"])
def test_a_url_in_a_body_is_never_fetched(
    stage: Stage, visited: tuple[str, list[str]], name: str
) -> None:
    server, paths = visited
    body = json.dumps(
        {
            "Type": "SubscriptionConfirmation",
            "SubscribeURL": f"{server}/subscribe",
            "SigningCertURL": f"{server}/certificate.pem",
            "response_url": f"{server}/response",
            "UnsubscribeURL": f"{server}/unsubscribe",
        }
    ).encode()
    headers = {"content-type": "text/plain; charset=UTF-8"}
    status, answer = stage.send(Vector(name, body, {}, {}, {}, headers))
    exit_code, lines = stage.verify()

    assert (status, exit_code) == (200, 0)
    assert lines == [{"key": answer["key"], "verdict": "unchecked"}]
    assert paths == []

    with urllib.request.urlopen(f"{server}/by-this-test", timeout=60):
        assert paths == ["/by-this-test"]


# --- API Gateway


def invoke(
    method: str,
    query: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    variables: Mapping[str, str] | None = {"validToken": TOKEN},  # noqa: B006  (never changed)
) -> dict[str, Any]:
    """Run the function as Lambda does; what API Gateway is given back."""
    event = api_gateway_event(method, query, headers, body) | {"stageVariables": variables}
    answer: dict[str, Any] = app(event, None)
    return answer


def api_gateway_event(
    method: str,
    query: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> dict[str, Any]:
    """What API Gateway's REST API gives a function on a stage that has a token."""
    return ways.event(
        ways.Sent(body, [*query.items()], headers or {}, method, {"validToken": TOKEN})
    )


def content_type(answer: Mapping[str, Any]) -> str:
    found: str = answer["headers"]["Content-Type"]
    return found


# --- what is imported on the way

IMPORTS = """
import json, sys
from app import app
event = json.loads(sys.argv[1])
status = app(event, None)["statusCode"]
print(json.dumps([status, sorted(name for name in sys.modules if "." not in name)]))
print(json.dumps(sorted(n for n in sys.modules if n.startswith("chalicelib.sources."))))
"""


def imported(stage: Stage, query: Mapping[str, str], vector: Vector) -> tuple[set[str], list[str]]:
    """The modules, and the sources, that a fresh process has after one delivery."""
    event = api_gateway_event("POST", query, vector.headers, vector.body)
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, json.dumps(event)],
        cwd=PROJECT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    first, second = done.stdout.splitlines()
    status, modules = json.loads(first)
    assert status == 200
    return set(modules), json.loads(second)


@pytest.mark.parametrize("name", ["shop", "sendgrid", "stripe"])
def test_an_app_without_signatures_imports_nothing_it_does_not_need(
    stage: Stage, name: str
) -> None:
    vector = Vector(name, b"[]", SENDGRID.headers, {}, {})
    modules, sources = imported(stage, {"token": TOKEN, "app": name}, vector)

    assert not modules & {"cryptography", "boto3", "botocore", "pydantic", "click", "moto"}
    assert sources == [f"chalicelib.sources.{'generic' if name == 'shop' else name}"]


@pytest.mark.parametrize("vector", [GITHUB, STANDARD, STRIPE, SLACK], ids=named)
def test_hmac_signatures_import_no_cryptography(stage: Stage, vector: Vector) -> None:
    stage.configure(**{vector.source: {"signature": "require", **vector.keys}})
    sent = replace(vector, headers={**vector.headers, **vector.other_headers})
    modules, _ = imported(stage, {"token": TOKEN, "app": vector.source}, sent)

    assert not modules & {"cryptography", "boto3", "botocore", "pydantic"}


def test_a_public_key_imports_cryptography_and_no_more(stage: Stage) -> None:
    stage.configure(sendgrid={"signature": "require", **SENDGRID.keys})
    modules, _ = imported(stage, {"token": TOKEN, "app": "sendgrid"}, SENDGRID)

    assert "cryptography" in modules
    assert not modules & {"boto3", "botocore", "pydantic"}
