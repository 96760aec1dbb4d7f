"""Raw deliveries: which there are in an interval, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import blake2b

from chalicelib.delivery import ArchiveObject
from chalicelib.keys import (
    DAY_LEVELS,
    DeliveryKey,
    UnknownKey,
    app_prefix,
    day_in,
    day_prefix,
    is_of_days,
    parse_key,
    seek,
)
from chalicelib.store import NotFound
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.files import BEGINNING
from hookshelf.reading.values import Read, Stream

_SAID_EVERY = 1_000  # raw deliveries


@dataclass(frozen=True, slots=True)
class RawDelivery:
    """One raw object of a listing."""

    key: DeliveryKey
    size: int  # bytes of the body
    etag: str = ""  # as it was listed

    def __str__(self) -> str:
        return str(self.key)


def raw_between(
    bucket: Bucket, read: Read, stream: Stream, start: datetime, end: datetime | None
) -> Iterator[RawDelivery]:
    """The raw deliveries that arrived in `[start, end)`, in order: a LIST per 1,000 of them."""
    after = "" if start <= BEGINNING else seek(stream.prefix, stream.app, start)
    stop = seek(stream.prefix, stream.app, end) if end else None
    for entry in bucket.store.entries(read, app_prefix(stream.prefix, stream.app), after=after):
        if stop and entry.key >= stop:
            return
        if (key := _ours(entry.key, stream)) is not None:
            yield RawDelivery(key, entry.size, entry.etag)


def raw_of_day(bucket: Bucket, read: Read, stream: Stream, day: date) -> list[RawDelivery]:
    """The raw deliveries of one day, by key."""
    entries = bucket.store.entries(read, day_prefix(stream.prefix, stream.app, day))
    return [
        RawDelivery(key, entry.size, entry.etag)
        for entry in entries
        if (key := _ours(entry.key, stream)) is not None
    ]


def raw_days(bucket: Bucket, read: Read, stream: Stream) -> list[date]:
    """The days that have raw deliveries: of each folder above days a LIST per 1,000 inside."""
    below = app_prefix(stream.prefix, stream.app)
    folders = list(filter(is_of_days, bucket.store.folders(read, below)))
    for _ in range(1, DAY_LEVELS):
        folders = [
            f"{folder}/{name}"
            for folder in folders
            for name in bucket.store.folders(read, f"{below}{folder}/")
        ]
    return sorted(day for folder in folders if (day := day_in(folder)) is not None)


def load_all(
    bucket: Bucket, read: Read, deliveries: list[RawDelivery]
) -> Iterator[tuple[RawDelivery, ArchiveObject]]:
    """The objects of some deliveries, in order, many read at once; without those that are gone."""
    objects = bucket.each(lambda delivery: _load(bucket, read, delivery), deliveries)
    for number, (delivery, obj) in enumerate(zip(deliveries, objects, strict=True)):
        if number and number % _SAID_EVERY == 0:
            bucket.progress(f"Read {number:,} of {len(deliveries):,} raw deliveries")
        if obj is not None:
            yield delivery, obj


def sums(keys: list[str]) -> tuple[int, int]:
    """How many keys, and the sum of their hashes: equal for equal sets, in whatever order."""
    total = sum(
        int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") for key in keys
    )
    return len(keys), total % 2**64


def bounds_of(day: date) -> tuple[datetime, datetime]:
    """Midnight to midnight, UTC."""
    start = datetime.combine(day, time(), UTC)
    return start, start + timedelta(days=1)


def _load(bucket: Bucket, read: Read, delivery: RawDelivery) -> ArchiveObject | None:
    try:
        obj = bucket.store.load(read, str(delivery))
    except NotFound:
        return None
    read.add(raw_objects=1)
    return obj


def _ours(text: str, stream: Stream) -> DeliveryKey | None:
    try:
        key = parse_key(text)
    except UnknownKey:
        return None  # the bucket may hold what is not ours
    if not isinstance(key, DeliveryKey) or (key.prefix, key.app) != (stream.prefix, stream.app):
        return None
    return key
