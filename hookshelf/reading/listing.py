"""Deliveries: which there are, compacted and raw; one of them whole; those that are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

from chalicelib.delivery import ArchiveObject
from chalicelib.keys import (
    DeliveryKey,
    RejectedKey,
    UnknownKey,
    by_arrival,
    parse_key,
    rejected_prefix,
)
from chalicelib.store import NotFound
from hookshelf.reading.bucket import AT_ONCE, Bucket
from hookshelf.reading.checking import arrival_of
from hookshelf.reading.errors import BadQuestion, NoSuchDelivery, retried
from hookshelf.reading.events import event_of
from hookshelf.reading.files import CompactedFile, listed_files
from hookshelf.reading.lookup import condition, engine, stored_rows, uncovered_raw, within
from hookshelf.reading.merge import BODY_SIZE
from hookshelf.reading.raw import RawDelivery, bounds_of, load_first
from hookshelf.reading.rows import is_same, rebuilt, to_rows
from hookshelf.reading.selection import Selection
from hookshelf.reading.sources import Splitting
from hookshelf.reading.values import ArchivedDelivery, ArchivedEvent, Read, Stream


def deliveries_of(
    bucket: Bucket, read: Read, stream: Stream, selection: Selection, *, sized: bool = False
) -> list[ArchivedDelivery]:
    """Every delivery that arrived when it is asked for, in order of arrival; none is read.

    `sized` gives the size of compacted ones too, which takes longer.
    """

    def listed() -> dict[str, ArchivedDelivery]:
        files = listed_files(bucket, read, stream)
        wanted = [file for file in files.counting if within(file.footer, selection)]
        compacted: Mapping[str, int | None]
        if sized:
            compacted = _sizes_in(bucket, read, wanted, selection)
        else:
            compacted = dict.fromkeys(keys_in(bucket, read, wanted))
        raw = uncovered_raw(bucket, read, stream, files, selection)
        return {key: _listed(bucket, key, "compacted", size) for key, size in compacted.items()} | {
            str(each): _listed(bucket, str(each), "raw", each.size) for each in raw
        }

    deliveries = retried(stream, listed).values()
    return sorted(
        (delivery for delivery in deliveries if selection.has(delivery.arrived)),
        key=lambda delivery: by_arrival(delivery.key),
    )


def matching(bucket: Bucket, read: Read, stream: Stream, beginning: str) -> list[str]:
    """The keys whose hash begins so. Raises BadQuestion for what is no beginning of a hash."""
    if not re.fullmatch(r"[0-9a-fA-F]{1,64}", beginning):
        raise BadQuestion(f"{beginning!r} is no key, and no beginning of a hash: hex digits")
    deliveries = deliveries_of(bucket, read, stream, Selection())
    return [
        delivery.key for delivery in deliveries if delivery.sha256.startswith(beginning.lower())
    ]


def whole(bucket: Bucket, read: Read, stream: Stream, text: str) -> ArchivedDelivery | None:
    """A delivery with body and metadata, raw or from the rows of a file; None where it is not."""
    key = full_key(text)
    if key is None:
        return None
    original, left = RawDelivery(key, 0), RawDelivery(key, 0, redacted=True)
    is_plain = stream.prefix in bucket.nothing_redacted
    if obj := load_first(bucket, read, [original, left] if is_plain else [left, original]):
        return with_body(bucket, key, obj, "raw")
    rows = stored_rows(bucket, read, stream, key)
    return with_body(bucket, key, rebuilt(rows, key), "compacted") if rows else None


def refused(
    bucket: Bucket, read: Read, prefix: str, app: str | None, selection: Selection
) -> Iterator[ArchivedDelivery]:
    """What was refused and kept, by app and day, with its metadata: one GET each, many at once."""
    keys = (
        key
        for entry in bucket.store.entries(read, rejected_prefix(prefix, app))
        if (key := rejected_key(entry.key)) is not None and _may_be_asked_for(key, selection)
    )
    while chunk := list(islice(keys, AT_ONCE)):
        for key, obj in zip(chunk, bucket.map(partial(_refused, bucket, read), chunk), strict=True):
            if obj is not None and selection.has(arrived := arrival_of(key, obj.metadata)):
                yield _kept(bucket, key, arrived, obj)


def refused_one(bucket: Bucket, read: Read, key: RejectedKey) -> ArchivedDelivery | None:
    """One of them; None where it is not."""
    obj = _refused(bucket, read, key)
    return obj and _kept(bucket, key, arrival_of(key, obj.metadata), obj)


def events_of(delivery: ArchivedDelivery, splitting: Splitting) -> list[ArchivedEvent]:
    """What a delivery carries, in its order. Raises BadQuestion where its body was not read."""
    key = full_key(delivery.key)
    if delivery.body is None or key is None:
        raise BadQuestion(f"{delivery.key} was listed, not read")
    metadata = delivery.metadata or {}
    obj = ArchiveObject(delivery.key, delivery.body, "", metadata)
    stream = Stream(delivery.bucket, key.prefix, key.app)
    return [
        event_of(stream, row, times=1, repeat=False)
        for row in to_rows(obj, key, splitting.source(metadata))
        if row.is_event
    ]


def full_key(text: str) -> DeliveryKey | None:
    """The key that a text is; None where it is another's, or no key."""
    try:
        key = parse_key(text)
    except UnknownKey:
        return None
    return key if isinstance(key, DeliveryKey) else None


def one_of(keys: list[str], asked: str) -> str:
    """The only one, or NoSuchDelivery."""
    if not keys:
        raise NoSuchDelivery(f"No delivery {asked}")
    if len({key.rpartition("-")[2] for key in keys}) > 1:
        some = "\n  ".join(keys[:5])
        raise NoSuchDelivery(
            f"{len(keys)} deliveries begin with {asked}; give more of it:\n  {some}"
        )
    return keys[0]


def keys_in(bucket: Bucket, read: Read, files: list[CompactedFile]) -> list[str]:
    """The keys of the deliveries in some files. Raises Gone."""
    sql = "SELECT delivery FROM read_parquet(?, hive_partitioning = false) WHERE position = 0"
    return [key for (key,) in _of_all(bucket, read, files, sql)]


def _sizes_in(
    bucket: Bucket, read: Read, files: list[CompactedFile], selection: Selection
) -> dict[str, int]:
    """The deliveries in some files that arrived when it is asked for, and their bytes."""
    where, values = condition(selection, of_events=False)
    select = f"SELECT delivery, {BODY_SIZE} FROM read_parquet(?, hive_partitioning = false)"
    return dict(_of_all(bucket, read, files, f"{select} WHERE {where} GROUP BY delivery", values))


def _of_all(
    bucket: Bucket, read: Read, files: list[CompactedFile], sql: str, values: Sequence[Any] = ()
) -> list[Any]:
    """What a statement about whole files gives; the first of its values is the files."""
    if not files:
        return []
    paths = [str(bucket.whole(read, file.entry)) for file in files]
    with bucket.engine_reads(*(file.entry for file in files)):
        rows = engine().execute(sql, [paths, *values]).fetchall()
    read.add(files=len(files))
    return rows


def _listed(bucket: Bucket, text: str, state: str, size: int | None) -> ArchivedDelivery:
    key = parse_key(text)
    assert isinstance(key, DeliveryKey)
    return ArchivedDelivery(bucket.name, text, key.app, key.arrived, key.sha256, state, size)


def with_body(bucket: Bucket, key: DeliveryKey, obj: ArchiveObject, state: str) -> ArchivedDelivery:
    """A delivery that was read, or put together from rows."""
    return ArchivedDelivery(
        bucket.name,
        str(key),
        key.app,
        key.arrived,
        key.sha256,
        state,
        len(obj.body),
        obj.body,
        obj.metadata,
        altered=not is_same(obj, key),
    )


def _kept(
    bucket: Bucket, key: RejectedKey, arrived: datetime, obj: ArchiveObject
) -> ArchivedDelivery:
    return ArchivedDelivery(
        bucket.name, str(key), key.app, arrived, key.sha256, "rejected", len(obj.body),
        obj.body, obj.metadata,
    )  # fmt: skip


def rejected_key(text: str) -> RejectedKey | None:
    """The key that a text is; None where it is another's, or no key."""
    try:
        key = parse_key(text)
    except UnknownKey:
        return None
    return key if isinstance(key, RejectedKey) else None


def _may_be_asked_for(key: RejectedKey, selection: Selection) -> bool:
    """Whether its day, which is all that its key says, has moments that are asked for."""
    start, end = bounds_of(key.day)
    return not (
        (selection.since and end <= selection.since)
        or (selection.until and start >= selection.until)
    )


def _refused(bucket: Bucket, read: Read, key: RejectedKey) -> ArchiveObject | None:
    try:
        obj = bucket.store.load(read, str(key))
    except NotFound:
        return None  # its lifecycle ended meanwhile
    read.add(raw_objects=1)
    return obj
