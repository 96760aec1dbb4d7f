"""Slack: the Events API (JSON), and slash commands and interactions (forms), signed with HMAC.

`X-Slack-Signature: v0=<hex>` over `v0:<timestamp>:<body>`. Before Slack sends events it posts a
signed `url_verification`, whose challenge is to be sent back within 3 seconds.
https://docs.slack.dev/authentication/verifying-requests-from-slack
https://docs.slack.dev/reference/events/url_verification
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from chalicelib.delivery import Delivery
from chalicelib.events import Event, dig, event, form_field, json_text, parse_json
from chalicelib.signatures import from_hex, hmac_sha256, is_hmac_sha256, raw, unix_seconds
from chalicelib.sources import HandshakeRequest, HandshakeResponse, Keys, Source, echo, text_secret
from chalicelib.types import Headers

SIGNATURE = "x-slack-signature"
TIMESTAMP = "x-slack-request-timestamp"


def verify(delivery: Delivery, keys: Keys) -> bool:
    """Whether Slack signed these bytes at the time it says."""
    headers, body = delivery.headers, delivery.body
    version, _, digest = headers.get(SIGNATURE, "").partition("=")
    is_signed = is_hmac_sha256(keys.secrets, message(headers, body), [from_hex(digest)])
    return is_signed and version == "v0" and unix_seconds(headers.get(TIMESTAMP)) is not None


def message(headers: Headers, body: bytes) -> bytes:
    """What Slack signs."""
    return b"v0:" + raw(headers.get(TIMESTAMP, "")) + b":" + body


def handshake(request: HandshakeRequest, keys: Keys) -> HandshakeResponse | None:
    """Echo the challenge of a `url_verification`."""
    if request.method != "POST" or b"url_verification" not in request.body:
        return None
    value = parse_json(json_text(request.body))
    if dig(value, "type") != "url_verification":
        return None
    return echo(dig(value, "challenge"))


def events(delivery: Delivery) -> Iterator[Event]:
    """One event; of a slash command, its fields as JSON."""
    exact = _json(json_text(delivery.body))
    value = parse_json(exact)
    if value is not None:
        inner = dig(value, "event")
        yield event(
            delivery,
            exact,
            id=dig(value, "event_id") or dig(value, "trigger_id"),
            type=dig(inner, "type") or dig(value, "command") or dig(value, "type"),
            subject=_user(inner) or dig(value, "user_id") or dig(value, "user", "id"),
            time=dig(value, "event_time"),
            correlation=dig(inner, "channel")
            or dig(inner, "item", "channel")
            or dig(value, "channel_id"),
        )


def example(n: int, at: int) -> bytes:
    """A message in a channel."""
    message = {"type": "message", "user": f"U{n:08}", "channel": "C00000001", "text": f"hello {n}"}
    body = {
        "team_id": "T00000001",
        "type": "event_callback",
        "event": message | {"ts": f"{at}.{n:06}"},
        "event_id": f"Ev{at}{n:04}",
        "event_time": at,
    }
    return json.dumps(body, separators=(",", ":")).encode()


def sign(body: bytes, secret: str, at: int) -> dict[str, str]:
    """The headers Slack would send."""
    headers = {TIMESTAMP: str(at)}
    digest = hmac_sha256(text_secret(secret), message(headers, body)).hex()
    return headers | {SIGNATURE: f"v0={digest}"}


def _user(inner: object) -> object:
    user = dig(inner, "user")  # an id, or in team_join a whole user
    return dig(user, "id") if isinstance(user, dict) else user


def _json(text: str) -> str:
    """The JSON of a body, of a form's `payload`, or else of a form's fields."""
    from urllib.parse import parse_qsl  # as in events.form_field

    text = text.strip(" \t\r\n")
    if parse_json(text) is not None:
        return text
    if payload := form_field(text, "payload"):
        return payload
    fields = dict(parse_qsl(text, keep_blank_values=True)) if "=" in text else {}
    return json.dumps(fields) if "command" in fields else ""


SOURCE = Source(
    name="slack",
    signature_headers=(SIGNATURE, TIMESTAMP),
    other_headers=("x-slack-retry-num", "x-slack-retry-reason"),
    secret=text_secret,
    verify=verify,
    signed_at=lambda delivery: unix_seconds(delivery.headers.get(TIMESTAMP)),
    handshake=handshake,
    events=events,
    example=example,
    sign=sign,
)
