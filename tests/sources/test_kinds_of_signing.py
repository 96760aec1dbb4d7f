"""What a source may look like: signed in the body or over the URL, or asking us to prove a key."""

import hashlib
import hmac
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest
from support.project import TOKEN

from app import app
from chalicelib import sources
from chalicelib.apps import App
from chalicelib.delivery import Delivery
from chalicelib.events import dig, json_text, parse_json
from chalicelib.signatures import from_hex, is_hmac_sha256, verdict
from chalicelib.sources import (
    HandshakeRequest,
    HandshakeResponse,
    Keys,
    Source,
    json_response,
    text_secret,
)

ARRIVED = datetime(2026, 11, 20, 23, 50, tzinfo=UTC)
SECRET = "the secret that this sender signs with"


def mac(message: bytes) -> str:
    return hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest()


# Signs in the body, like Mailgun: there is no header that could be missing.


def in_body(delivery: Delivery, keys: Keys) -> bool:
    value = parse_json(json_text(delivery.body))
    message = str(dig(value, "timestamp")).encode()
    return is_hmac_sha256(keys.secrets, message, [from_hex(str(dig(value, "signature")))])


# Signs the URL and the body, like Square.


def with_url(delivery: Delivery, keys: Keys) -> bool:
    signature = from_hex(delivery.headers.get("x-signature", ""))
    return is_hmac_sha256(keys.secrets, delivery.url.encode() + delivery.body, [signature])


# Asks for a proof that we know the secret, in JSON, like Zoom.


def proof(request: HandshakeRequest, keys: Keys) -> HandshakeResponse | None:
    plain = dig(parse_json(json_text(request.body)), "plainToken")
    if not isinstance(plain, str) or not keys.secrets:
        return None
    encrypted = hmac.new(keys.secrets[0], plain.encode(), hashlib.sha256).hexdigest()
    return json_response({"plainToken": plain, "encryptedToken": encrypted})


IN_BODY = Source(name="in-body", secret=text_secret, verify=in_body)
WITH_URL = Source(
    name="with-url",
    signature_headers=("x-signature",),
    secret=text_secret,
    verify=with_url,
    signs_url=True,
)
PROVING = Source(name="proving", secret=text_secret, handshake=proof)


def judge(source: Source, body: bytes, url: str = "", **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    configured = App(source=source, keys=Keys(secrets=(SECRET.encode(),)), signature="record")
    return verdict(Delivery("app", named, body, ARRIVED, "", url), configured)


def test_a_signature_in_the_body_is_never_unsigned_for_want_of_a_header() -> None:
    signed = json.dumps({"timestamp": 1, "signature": mac(b"1")}).encode()
    forged = json.dumps({"timestamp": 2, "signature": mac(b"1")}).encode()

    assert judge(IN_BODY, signed) == "verified"
    assert judge(IN_BODY, forged) == "bad"
    assert judge(IN_BODY, b"{}") == "bad"


def test_a_signature_over_the_url_needs_the_url() -> None:
    url = "https://example.com/api/input?app=with-url"
    signature = mac(url.encode() + b"{}")

    assert judge(WITH_URL, b"{}", url, x_signature=signature) == "verified"
    assert judge(WITH_URL, b"{}", url + "&x=1", x_signature=signature) == "bad"
    assert judge(WITH_URL, b"{}", url) == "unsigned"
    # From an archive: its URL held a token, and was not kept.
    assert judge(WITH_URL, b"{}", x_signature=signature) == "unchecked"


@pytest.fixture
def post(
    folder_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> Iterator[Any]:
    """Post to an app whose source is one of these, as if its module were in the folder."""
    for source in (IN_BODY, WITH_URL, PROVING):
        module = ModuleType(source.name)
        module.SOURCE = source  # type: ignore[attr-defined]
        name = f"chalicelib.sources.{source.name.replace('-', '_')}"
        monkeypatch.setitem(sys.modules, name, module)
    names = sources.source_names() | {"in-body", "with-url", "proving"}
    for module in ("chalicelib.sources", "chalicelib.apps", "chalicelib.metrics"):
        monkeypatch.setattr(f"{module}.source_names", lambda: names)
    apps = {name: {"secrets": [SECRET]} for name in ("in-body", "with-url", "proving")}
    (tmp_path / "apps.json").write_text(json.dumps(apps))
    for name, value in {**folder_environ, "APPS_FILE": str(tmp_path / "apps.json")}.items():
        monkeypatch.setenv(name, value)

    def post(name: str, body: bytes, **headers: str) -> dict[str, Any]:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        event = {
            "requestContext": {
                "httpMethod": "POST",
                "resourcePath": "/input",
                "path": "/api/input",
            },
            "headers": {"Host": "example.com", "content-type": "application/json", **named},
            "multiValueQueryStringParameters": {"token": [TOKEN], "app": [name]},
            "stageVariables": {"validToken": TOKEN},
            "body": body.decode(),
        }
        response: dict[str, Any] = app(event, None)
        return response

    yield post
    sources.source_named.cache_clear()


def test_on_arrival_the_url_is_there_and_is_not_kept(
    post: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"https://example.com/api/input?token={TOKEN}&app=with-url"
    response = post("with-url", b"{}", x_signature=mac(url.encode() + b"{}"))
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    kept = "".join(path.read_text() for path in tmp_path.rglob("*.meta"))

    assert (response["statusCode"], line["verdict"]) == (200, "verified")
    assert TOKEN not in kept
    assert "example.com" not in kept


def test_a_handshake_may_answer_json_that_a_key_proves_and_is_archived(post: Any) -> None:
    response = post("proving", b'{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}')

    assert response["statusCode"] == 200
    assert response["headers"]["Content-Type"] == "application/json"
    assert json.loads(response["body"]) == {
        "plainToken": "qgg8vlvZRS6UYooatFL8Aw",
        "encryptedToken": mac(b"qgg8vlvZRS6UYooatFL8Aw"),
    }
    assert json.loads(post("proving", b"{}")["body"])["result"] == "success"
