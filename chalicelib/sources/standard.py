"""Any sender that follows Standard Webhooks.

Signed is `<id>.<timestamp>.<body>`: `v1` is HMAC-SHA256 with the base64 secret after `whsec_`,
`v1a` is Ed25519 with the public key after `whpk_`. One header may hold several signatures, so that
secrets can be rotated. The id stays the same when a delivery is retried; the timestamp does not.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from functools import partial

from chalicelib.delivery import Delivery
from chalicelib.events import Event, dig, event, json_text, parse_json, rfc3339
from chalicelib.signatures import (
    ed25519_public_key,
    from_base64,
    hmac_sha256,
    is_ed25519,
    is_hmac_sha256,
    raw,
    unix_seconds,
)
from chalicelib.sources import Headers, Keys, Source


def secret(text: str) -> bytes:
    """The bytes of a `whsec_…` secret. Raises ValueError."""
    found = from_base64(text.removeprefix("whsec_"))
    if not found:
        raise ValueError("not base64 after whsec_")
    return found


def public_key(text: str) -> object:
    """An Ed25519 `whpk_…` public key. Raises ValueError."""
    return ed25519_public_key(from_base64(text.removeprefix("whpk_")))


def verify(body: bytes, headers: Headers, keys: Keys, *, prefixes: Iterable[str]) -> bool:
    """Whether any signature of the first complete set of headers is good."""
    id, timestamp, signatures = _signed(headers, prefixes)
    if unix_seconds(timestamp) is None:
        return False
    message = b".".join((raw(id), raw(timestamp), body))
    return is_hmac_sha256(keys.secrets, message, _versions(signatures, "v1")) or bool(
        keys.public_keys and is_ed25519(keys.public_keys, message, _versions(signatures, "v1a"))
    )


def events(delivery: Delivery, *, prefixes: Iterable[str]) -> Iterator[Event]:
    """One event: `type`, `timestamp` and `data.id` are the spec's recommended names."""
    exact = json_text(delivery.body).strip(" \t\r\n")
    value = parse_json(exact)
    if value is not None:
        ids = (delivery.headers.get(f"{prefix}-id") for prefix in prefixes)
        yield event(
            delivery,
            exact,
            id=_signed(delivery.headers, prefixes)[0] or next(filter(None, ids), None),
            type=dig(value, "type"),
            subject=dig(value, "data", "id"),
            time=dig(value, "timestamp"),
        )


def example(n: int, at: int) -> bytes:
    """The spec's own kind of body."""
    body = {"type": "contact.created", "timestamp": rfc3339(at), "data": {"id": f"contact-{n}"}}
    return json.dumps(body, separators=(",", ":")).encode()


def sign(body: bytes, secret_text: str, at: int, *, prefix: str) -> dict[str, str]:
    """The headers a sender would send."""
    id = f"msg_{hmac_sha256(b'id', body + str(at).encode()).hex()[:24]}"
    signature = hmac_sha256(secret(secret_text), f"{id}.{at}.".encode() + body)
    return {
        f"{prefix}-id": id,
        f"{prefix}-timestamp": str(at),
        f"{prefix}-signature": "v1," + base64.b64encode(signature).decode(),
    }


def scheme(name: str, *prefixes: str) -> Source:
    """The source `name`, whose headers begin with one of `prefixes`."""
    parts = [(f"{prefix}-signature", f"{prefix}-timestamp", f"{prefix}-id") for prefix in prefixes]
    return Source(
        name=name,
        signature_headers=tuple(header for part in parts for header in part),
        secret=secret,
        public_key=public_key,
        verify=partial(verify, prefixes=prefixes),
        signed_at=partial(_signed_at, prefixes=prefixes),
        events=partial(events, prefixes=prefixes),
        example=example,
        sign=partial(sign, prefix=prefixes[0]),
    )


def _signed_at(headers: Headers, *, prefixes: Iterable[str]) -> float | None:
    return unix_seconds(_signed(headers, prefixes)[1])


def _signed(headers: Headers, prefixes: Iterable[str]) -> tuple[str, str, str]:
    """Id, timestamp and signatures: the first complete set, so that none is mixed from two."""
    for prefix in prefixes:
        id, timestamp, signatures = (
            headers.get(f"{prefix}-{part}", "") for part in ("id", "timestamp", "signature")
        )
        if id and timestamp and signatures:
            return id, timestamp, signatures
    return "", "", ""


def _versions(header: str, wanted: str) -> list[bytes]:
    parts = (part.partition(",") for part in header.split(" "))
    return [from_base64(signature) for version, _, signature in parts if version == wanted]


SOURCE = scheme("standard", "webhook")
