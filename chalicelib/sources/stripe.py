"""Stripe: one JSON event, signed with HMAC-SHA256.

`Stripe-Signature: t=<Unix seconds>,v1=<hex>[,v1=…][,v0=…]` over `<t>.<body>`. The secret is used as
it stands, `whsec_` included: unlike Standard Webhooks it is not base64. `v0` is for test events
and worth nothing.
https://docs.stripe.com/webhooks#verify-manually
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from chalicelib.delivery import Delivery
from chalicelib.events import Event, dig, event, json_text, parse_json
from chalicelib.signatures import from_hex, hmac_sha256, is_hmac_sha256, raw, unix_seconds
from chalicelib.sources import Keys, Source, text_secret
from chalicelib.types import Headers

SIGNATURE = "stripe-signature"


def verify(delivery: Delivery, keys: Keys) -> bool:
    """Whether any `v1` signature is good."""
    headers = delivery.headers
    signatures = [from_hex(value) for name, value in _parts(headers) if name == "v1"]
    is_signed = is_hmac_sha256(keys.secrets, message(headers, delivery.body), signatures)
    return is_signed and unix_seconds(_time(headers)) is not None


def message(headers: Headers, body: bytes) -> bytes:
    """What Stripe signs."""
    return raw(_time(headers)) + b"." + body


def events(delivery: Delivery) -> Iterator[Event]:
    """One event; you look up its customer, else its object, else the connected account."""
    exact = json_text(delivery.body).strip(" \t\r\n")
    value = parse_json(exact)
    if value is not None:
        obj = dig(value, "data", "object")
        subject = dig(obj, "customer") or dig(obj, "id") or dig(value, "account")
        yield event(
            delivery,
            exact,
            id=dig(value, "id"),
            type=dig(value, "type"),
            subject=subject,
            time=dig(value, "created"),
            correlation=dig(obj, "id"),
        )


def example(n: int, at: int) -> bytes:
    """A paid invoice, indented as Stripe does."""
    obj = {"id": f"in_example{n}", "object": "invoice", "customer": f"cus_example{n}"}
    body = {
        "id": f"evt_example{at}{n}",
        "object": "event",
        "created": at,
        "data": {"object": obj},
        "type": "invoice.paid",
    }
    return json.dumps(body, indent=2).encode()


def sign(body: bytes, secret: str, at: int) -> dict[str, str]:
    """The header Stripe would send."""
    time = f"t={at}"
    signature = hmac_sha256(text_secret(secret), message({SIGNATURE: time}, body))
    return {SIGNATURE: f"{time},v1={signature.hex()}"}


def _time(headers: Headers) -> str:
    return next((value for name, value in _parts(headers) if name == "t"), "")


def _parts(headers: Headers) -> list[tuple[str, str]]:
    parts = (part.partition("=") for part in headers.get(SIGNATURE, "").split(","))
    return [(name.strip(), value) for name, _, value in parts]


SOURCE = Source(
    name="stripe",
    signature_headers=(SIGNATURE,),
    secret=text_secret,
    verify=verify,
    signed_at=lambda delivery: unix_seconds(_time(delivery.headers)),
    events=events,
    example=example,
    sign=sign,
)
