"""Delivery -> ArchiveObject: the product, in one pure function."""

from __future__ import annotations

from hashlib import sha256

from chalicelib.bodies import CONTENT_TYPES, extension_of, is_json
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.keys import DeliveryKey, RejectedKey
from chalicelib.metadata import describe
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
    """Say where a refused delivery is kept, with the reason its sender was given."""
    digest = sha256(delivery.body).hexdigest()
    return ArchiveObject(
        key=str(RejectedKey(prefix, delivery.app, delivery.arrived.date(), digest)),
        body=delivery.body,
        content_type=CONTENT_TYPES["bin"],
        metadata=describe(
            delivery, source=source.name, verdict=verdict, keep=source.keep, reason=reason
        ),
    )
