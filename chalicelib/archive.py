"""Delivery -> ArchiveObject: the product, in one pure function."""

from __future__ import annotations

from hashlib import sha256

from chalicelib.bodies import CONTENT_TYPES, extension_of, is_json
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.keys import DeliveryKey, RejectedKey
from chalicelib.metadata import describe, encode
from chalicelib.sources import Source
from chalicelib.types import Verdict


def to_object(
    delivery: Delivery, source: Source, *, prefix: str = "", verdict: Verdict = "unchecked"
) -> ArchiveObject:
    """Say where a delivery is kept, and as what.

    `prefix` is the path below the bucket, empty or ending in `/`; `verdict` is what checking the
    sender's signature gave.
    """
    extension = extension_of(
        delivery.headers.get("content-type", ""), valid_json=is_json(delivery.body)
    )
    digest = sha256(delivery.body).hexdigest()
    key = DeliveryKey(prefix, delivery.app, delivery.arrived, digest, extension)
    return ArchiveObject(
        key=str(key),
        body=delivery.body,
        content_type=CONTENT_TYPES[extension],
        metadata=describe(delivery, source=source.name, verdict=verdict, keep=source.keep),
    )


def to_rejected(
    delivery: Delivery,
    source: Source,
    *,
    reason: str,
    prefix: str = "",
    verdict: Verdict = "unchecked",
) -> ArchiveObject:
    """Say where a refused delivery is kept, with the reason its sender was given.

    The same bytes under other signature headers are another object: whichever comes first, none
    takes the other's place, and the genuine one can be proved later.
    """
    digest = sha256(delivery.body).hexdigest()
    names = (name for name in source.signature_headers if name in delivery.headers)
    signed = "".join(f"{name}:{encode(delivery.headers[name])}\n" for name in names)
    signature_hash = sha256(signed.encode()).hexdigest()[:12]
    day = delivery.arrived.date()
    return ArchiveObject(
        key=str(RejectedKey(prefix, delivery.app, day, digest, signature_hash)),
        body=delivery.body,
        content_type=CONTENT_TYPES["bin"],
        metadata=describe(
            delivery, source=source.name, verdict=verdict, keep=source.keep, reason=reason
        ),
    )
