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
from chalicelib.sources import Headers, Keys, Source, text_secret

SIGNATURE = "stripe-signature"


def verify(body: bytes, headers: Headers, keys: Keys) -> bool:
    """Whether any `v1` signature is good."""
    parts = _parts(headers)
    signed = next((value for name, value in parts if name == "t"), "")
    signatures = [from_hex(value) for name, value in parts if name == "v1"]
    is_signed = is_hmac_sha256(keys.secrets, raw(signed) + b"." + body, signatures)
    return is_signed and unix_seconds(signed) is not None


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
    signature = hmac_sha256(text_secret(secret), f"{at}.".encode() + body)
    return {SIGNATURE: f"t={at},v1={signature.hex()}"}


def _signed_at(headers: Headers) -> float | None:
    return unix_seconds(dict(reversed(_parts(headers))).get("t"))


def _parts(headers: Headers) -> list[tuple[str, str]]:
    parts = (part.partition("=") for part in headers.get(SIGNATURE, "").split(","))
    return [(name.strip(), value) for name, _, value in parts]


SOURCE = Source(
    name="stripe",
    signature_headers=(SIGNATURE,),
    secret=text_secret,
    verify=verify,
    signed_at=_signed_at,
    events=events,
    example=example,
    sign=sign,
)
