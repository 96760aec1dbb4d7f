"""Raw deliveries: which there are in an interval, and what they hold.

What an erasure left of a delivery lies under `_redacted/` and is read in the original's place, from
the moment it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from hashlib import blake2b
from heapq import merge
from itertools import groupby

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
    parse_redacted,
    redacted_key,
    redacted_prefix,
    seek,
)
from chalicelib.store import NotFound
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.files import BEGINNING
from hookshelf.reading.store import StoredFile
from hookshelf.reading.values import Read, Stream

_SAID_EVERY = 1_000  # raw deliveries


@dataclass(frozen=True, slots=True)
class RawDelivery:
    """One raw object of a listing."""

    key: DeliveryKey
    size: int  # bytes of the body
    etag: str = ""  # as it was listed
    redacted: bool = False  # it is what an erasure left
    text: str = ""  # the key, where it is known: `str(key)` takes as long as opening a small file

    def __str__(self) -> str:
        return self.text or str(self.key)

    @property
    def stored(self) -> str:
        """The key that it lies under."""
        return redacted_key(self.key) if self.redacted else str(self)


def raw_between(
    bucket: Bucket, read: Read, stream: Stream, start: datetime, end: datetime | None
) -> Iterator[RawDelivery]:
    """The raw deliveries that arrived in `[start, end)`, in order: a LIST per 1,000 of them."""
    return _each_once(raw_and_redacted(bucket, read, stream, start, end))


def raw_and_redacted(
    bucket: Bucket, read: Read, stream: Stream, start: datetime, end: datetime | None
) -> Iterator[RawDelivery]:
    """The same; where an original is still there, what an erasure left of it, and then that.

    What was left is listed always, whatever discovery saw: an erasure may have ended since.
    """
    places = [stream.prefix, redacted_prefix(stream.prefix)]
    return _listed(stream, lambda place: _between(bucket, read, stream, place, start, end), places)


def raw_but(  # noqa: PLR0913
    bucket: Bucket,
    read: Read,
    stream: Stream,
    start: datetime,
    end: datetime | None,
    known: Container[str],
) -> Iterator[RawDelivery]:
    """The raw deliveries that arrived in `[start, end)` and are not `known`, in no order.

    For whoever puts a file next, and looks at the log besides: originals are listed last, so that
    none comes between them and the put, and what is redacted only where discovery saw any.
    """
    for place in reversed(_places(bucket, stream)):
        for entry in _between(bucket, read, stream, place, start, end):
            if entry.key not in known and (delivery := _ours(entry, stream)) is not None:
                yield delivery


def _between(  # noqa: PLR0913
    bucket: Bucket,
    read: Read,
    stream: Stream,
    place: str,
    start: datetime,
    end: datetime | None,
) -> Iterator[StoredFile]:
    """What is listed at one place for a time of arrival."""
    after = "" if start <= BEGINNING else seek(place, stream.app, start)
    stop = seek(place, stream.app, end) if end else None
    for entry in bucket.store.entries(read, app_prefix(place, stream.app), after=after):
        if stop and entry.key >= stop:
            return
        yield entry


def raw_of_day(bucket: Bucket, read: Read, stream: Stream, day: date) -> list[RawDelivery]:
    """The raw deliveries of one day, by key, for whoever looks at the log before and after."""

    def entries(place: str) -> Iterator[StoredFile]:
        return bucket.store.entries(read, day_prefix(place, stream.app, day))

    return list(_each_once(_listed(stream, entries, _places(bucket, stream))))


def raw_days(bucket: Bucket, read: Read, stream: Stream) -> list[date]:
    """The days that have raw deliveries: of each folder above days a LIST per 1,000 inside."""
    below = [app_prefix(place, stream.app) for place in _places(bucket, stream)]
    return sorted({day for prefix in below for day in _days(bucket, read, prefix)})


def _days(bucket: Bucket, read: Read, below: str) -> Iterator[date]:
    folders = list(filter(is_of_days, bucket.store.folders(read, below)))
    for _ in range(1, DAY_LEVELS):
        folders = [
            f"{folder}/{name}"
            for folder in folders
            for name in bucket.store.folders(read, f"{below}{folder}/")
        ]
    return (day for folder in folders if (day := day_in(folder)) is not None)


def _places(bucket: Bucket, stream: Stream) -> list[str]:
    """The prefixes below which an app's deliveries lie."""
    if stream.prefix in bucket.nothing_redacted:
        return [stream.prefix]
    return [stream.prefix, redacted_prefix(stream.prefix)]


def _listed(
    stream: Stream, entries: Callable[[str], Iterator[StoredFile]], places: Sequence[str]
) -> Iterator[RawDelivery]:
    """What is listed at each place, by key; of one key what is redacted comes first.

    All originals are listed before that: an erasure puts what is left, and then deletes them.
    """
    parts = [
        [delivery for entry in entries(place) if (delivery := _ours(entry, stream)) is not None]
        for place in places
    ]
    return merge(*parts, key=lambda delivery: (str(delivery), not delivery.redacted))


def _each_once(deliveries: Iterator[RawDelivery]) -> Iterator[RawDelivery]:
    return (next(same) for _, same in groupby(deliveries, key=str))


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


def load(bucket: Bucket, read: Read, delivery: RawDelivery) -> ArchiveObject:
    """The object of a delivery, under the delivery's key. Raises chalicelib.store.NotFound."""
    obj = bucket.store.load(read, delivery.stored)
    read.add(raw_objects=1)
    return obj._replace(key=str(delivery), metadata=_trusted(obj.metadata, delivery.redacted))


def load_first(
    bucket: Bucket, read: Read, deliveries: Iterable[RawDelivery]
) -> ArchiveObject | None:
    """The first of some objects that is there."""
    for delivery in deliveries:
        with suppress(NotFound):
            return load(bucket, read, delivery)
    return None


def _trusted(metadata: Mapping[str, str], redacted: bool) -> Mapping[str, str]:
    """By name, as S3 gives it in another order each time.

    Only what lies where erasures put it may be other bytes than those of its key.
    """
    return {name: metadata[name] for name in sorted(metadata) if redacted or name != "redacted"}


def _load(bucket: Bucket, read: Read, delivery: RawDelivery) -> ArchiveObject | None:
    """What was listed; or, where that was removed since, what an erasure left of it."""
    if (obj := load_first(bucket, read, [delivery])) is not None or delivery.redacted:
        return obj
    return load_first(bucket, read, [replace(delivery, redacted=True)])


def _ours(entry: StoredFile, stream: Stream) -> RawDelivery | None:
    is_redacted = entry.key.startswith(redacted_prefix(stream.prefix))
    try:
        key = parse_redacted(entry.key) if is_redacted else parse_key(entry.key)
    except UnknownKey:
        return None  # the bucket may hold what is not ours
    if not isinstance(key, DeliveryKey) or (key.prefix, key.app) != (stream.prefix, stream.app):
        return None
    text = "" if is_redacted else entry.key
    return RawDelivery(key, entry.size, entry.etag, is_redacted, text)
