"""A pile of objects that somebody else wrote, as deliveries of an app.

What an object is: one JSON text is one delivery, as the original routeToS3 kept it; several, in
lines (NDJSON) or one after the other (Firehose), are one each. When it arrived, its name says
(`<app>_<millis>.json`, Firehose's `…-2026-11-20-23-50-01-…`), else the file's own time.
https://docs.aws.amazon.com/firehose/latest/dev/s3-object-name.html
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from chalicelib.archive import to_object
from chalicelib.bodies import is_json
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.keys import DeliveryKey, parse_key
from chalicelib.metadata import encode
from chalicelib.sources import Source
from hookshelf.reading.admitting import Put, admit
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.checking import AT_A_TIME
from hookshelf.reading.listing import deliveries_of
from hookshelf.reading.selection import Selection
from hookshelf.reading.values import Adopted, Pile, Read, Stream

_MILLIS = re.compile(r"_(\d{13})\.json\Z")
_FIREHOSE = re.compile(r"(?:\A|[-/])(\d{4}-\d\d-\d\d)-(\d\d)-(\d\d)-(\d\d)(?:-|\Z)")
_SPACE = re.compile(r"\s*")
_GZIP = b"\x1f\x8b"
_AT_ONCE = 16 * AT_A_TIME  # deliveries of one entry of the log; their bodies are in memory
_LONGEST_NAME = 100  # of what is kept in the metadata


class Unadoptable(ValueError):
    """It cannot be read as deliveries; the text says why."""


def adopt(  # noqa: PLR0913
    bucket: Bucket,
    read: Read,
    stream: Stream,
    pile: Iterable[Pile],
    source: Source,
    selection: Selection,
    *,
    now: datetime,
    put: Put | None,
) -> Iterator[Adopted]:
    """What became of each delivery in a pile; without `put` nothing is written."""
    there = {delivery.key for delivery in deliveries_of(bucket, read, stream, Selection())}
    taken: set[str] = set()
    objects = _readable(pile, stream, source, taken)
    count = 0
    while batch := list(islice(objects, _AT_ONCE)):
        count += len(batch)
        bucket.progress(f"Read {count:,} deliveries of the pile")
        wanted = {
            obj.key: (name, obj)
            for name, obj, _ in batch
            if obj is not None and selection.has(_time_of(obj))
        }
        new = {key: obj for key, (_, obj) in wanted.items() if key not in there}
        if new and put is not None:
            admit(
                bucket,
                read,
                stream,
                list(new.values()),
                kind="adopt",
                reason="adopted from a pile of objects",
                facts={},  # names may hold what has to be erased one day, and no entry can change
                now=now,
                put=put,
            )
        for key, (name, _) in wanted.items():
            yield Adopted(name, key, "adopted" if key in new else "there")
        yield from (Adopted(name, None, "unreadable", why) for name, obj, why in batch if why)


def _readable(
    pile: Iterable[Pile], stream: Stream, source: Source, taken: set[str]
) -> Iterator[tuple[str, ArchiveObject | None, str]]:
    for item in pile:
        try:
            for obj in objects_of(item, stream.app, source, stream.prefix, taken):
                yield item.name, obj, ""
        except Unadoptable as error:
            yield item.name, None, str(error)


def _time_of(obj: ArchiveObject) -> datetime:
    key = parse_key(obj.key)
    assert isinstance(key, DeliveryKey)
    return key.arrived


def objects_of(
    pile: Pile, app: str, source: Source, prefix: str, taken: set[str]
) -> list[ArchiveObject]:
    """The deliveries of one object. Raises Unadoptable.

    `taken` are keys that others of the pile have: one that came at the same time with the same
    bytes comes a microsecond later, so that none is lost; in the same order it is the same again.
    """
    arrived = _arrived(pile)
    objects = []
    for number, body in enumerate(_bodies(pile.body)):
        at = arrived + timedelta(microseconds=number)
        while True:
            delivery = Delivery(app, {"content-type": "application/json"}, body, at)
            obj = to_object(delivery, source, prefix=prefix)
            if obj.key not in taken:
                break
            at += timedelta(microseconds=1)
        taken.add(obj.key)
        metadata = {n: v for n, v in obj.metadata.items() if n != "h-content-type"}
        name = encode(pile.name[-_LONGEST_NAME:])
        objects.append(obj._replace(metadata={**metadata, "adopted": name}))
    return objects


def _arrived(pile: Pile) -> datetime:
    try:
        if millis := _MILLIS.search(pile.name):
            return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(millis[1]))
        if parts := _FIREHOSE.search(pile.name):
            return datetime.fromisoformat(f"{parts[1]}T{parts[2]}:{parts[3]}:{parts[4]}+00:00")
    except (ValueError, OverflowError):
        pass
    if pile.modified is None:
        raise Unadoptable("nothing says when it arrived: neither its name nor the store")
    return pile.modified


def _bodies(body: bytes) -> Iterator[bytes]:
    if body.startswith(_GZIP):
        try:
            body = gzip.decompress(body)
        except (OSError, EOFError):
            raise Unadoptable("it is cut, or no gzip") from None
    if not body.strip():
        raise Unadoptable("it is empty")
    if is_json(body):
        return iter([body])
    lines = [line for line in body.splitlines() if line.strip()]
    if all(map(is_json, lines)):
        return iter(lines)
    return iter(_one_after_the_other(body))


def _one_after_the_other(body: bytes) -> list[bytes]:
    """JSON texts without anything between them."""
    decoder = json.JSONDecoder(parse_int=str)
    bodies = []
    try:
        text = body.decode()
        at = 0
        while at < len(text):
            _, end = decoder.raw_decode(text, at)
            bodies.append(text[at:end].encode())
            at = _SPACE.match(text, end).end()  # type: ignore[union-attr]
    except (ValueError, RecursionError):
        raise Unadoptable("it is no JSON, and no lines of JSON") from None
    if not all(map(is_json, bodies)):
        raise Unadoptable("it is no JSON, and no lines of JSON")
    return bodies
