"""Meta (Facebook, Instagram, WhatsApp): batches of changes, signed with HMAC-SHA256.

`X-Hub-Signature-256: sha256=<hex>` with the app secret over the raw body, in which Meta escapes
non-ASCII. A subscription starts with a GET that carries `hub.challenge`, to be echoed as text.
https://developers.facebook.com/docs/graph-api/webhooks/getting-started
Not verified: how long Meta retries (36 hours, it is said).
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from chalicelib.delivery import Delivery
from chalicelib.events import Event, dig, elements, event, json_text, members, parse_json, text
from chalicelib.signatures import SHA256_HEADER, hmac_sha256, is_sha256_header
from chalicelib.sources import HandshakeRequest, HandshakeResponse, Keys, Source, echo, text_secret


def verify(delivery: Delivery, keys: Keys) -> bool:
    """Whether Meta signed these bytes."""
    return is_sha256_header(keys.secrets, delivery.body, delivery.headers.get(SHA256_HEADER, ""))


def handshake(request: HandshakeRequest, keys: Keys) -> HandshakeResponse | None:
    """Echo the challenge of a subscription. Our own token stands in for `hub.verify_token`."""
    if request.method != "GET" or request.query.get("hub.mode") != "subscribe":
        return None
    return echo(request.query.get("hub.challenge"))


def events(delivery: Delivery) -> Iterator[Event]:
    """One event per change or message of each entry; its type is `<object>.<field>`."""
    body = json_text(delivery.body)
    kind = text(dig(parse_json(body), "object"))
    for exact_entry, entry in elements(members(body).get("entry", "")):
        parts = members(exact_entry)
        for part in ("changes", "messaging"):
            for exact, value in elements(parts.get(part, "")):
                # WhatsApp's sent, delivered and read all have their message's id: it is no event's.
                message = dig(value, "value", "messages", "0")
                status = dig(value, "value", "statuses", "0")
                id = dig(value, "message", "mid") or dig(message, "id")
                yield event(
                    delivery,
                    exact,
                    id=id,
                    type=".".join(filter(None, (kind, text(dig(value, "field")) or part))),
                    subject=dig(value, "sender", "id")
                    or dig(message, "from")
                    or dig(status, "recipient_id")
                    or dig(entry, "id"),
                    time=dig(value, "timestamp")
                    or dig(message or status, "timestamp")
                    or dig(entry, "time"),
                    correlation=id or dig(status, "id") or dig(entry, "id"),
                )


def example(n: int, at: int) -> bytes:
    """A change of a page's feed."""
    change = {"field": "feed", "value": {"item": "post", "post_id": f"1_{n}", "verb": "add"}}
    body = {"object": "page", "entry": [{"id": "1", "time": at, "changes": [change]}]}
    return json.dumps(body, separators=(",", ":")).encode()


def sign(body: bytes, secret: str, at: int) -> dict[str, str]:
    """The header Meta would send."""
    return {SHA256_HEADER: "sha256=" + hmac_sha256(text_secret(secret), body).hex()}


SOURCE = Source(
    name="meta",
    signature_headers=(SHA256_HEADER,),
    secret=text_secret,
    verify=verify,
    handshake=handshake,
    events=events,
    example=example,
    sign=sign,
)
