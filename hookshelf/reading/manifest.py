"""The manifest log of an app: what there is and what was changed, each entry put once.

Whoever adds or removes a delivery other than by receiving writes an entry first; compaction then
makes the files agree, which is also how interrupted work is finished. Entries are numbered without
gaps and each holds the SHA-256 of the one before, so that the head proves them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any

from chalicelib.keys import ManifestKey, UnknownKey, manifest_prefix, parse_key, parse_manifest
from chalicelib.store import NotFound
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.errors import ReadingError
from hookshelf.reading.times import utc_text
from hookshelf.reading.values import Read, Stream

# What an entry tells. Of these only `day` is no change to what a file already holds.
KINDS = ("day", "late", "readmit", "adopt", "erase", "expire")


class BrokenLog(ReadingError):
    """The log was altered: a number is missing, or an entry is not the one its follower names."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry. Keys of deliveries with the size of their bodies in bytes."""

    number: int
    kind: str  # one of KINDS
    at: str  # RFC 3339
    day: str = ""  # of a `day` and an `expire`
    added: Mapping[str, int] = field(default_factory=dict)
    removed: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)  # what else a kind needs
    previous: str = ""  # SHA-256 of the entry before; empty in the first
    changed: int = 0  # number of the newest entry before this one that is no `day`

    def to_bytes(self) -> bytes:
        """What is put: one line of JSON for the entry, in ASCII."""
        facts = {name: getattr(self, name) for name in self.__slots__}
        return (json.dumps(facts, separators=(",", ":")) + "\n").encode()

    def touches(self, day: str) -> bool:
        """Whether it is about deliveries of a day (`2026-11-20`)."""
        return day in self.days

    @property
    def days(self) -> set[str]:
        """The days whose deliveries it is about."""
        days = {self.day} - {""}
        for key in [*self.added, *self.removed]:
            try:
                parsed = parse_key(key)
            except UnknownKey:
                continue
            days.add((getattr(parsed, "day", None) or parsed.arrived.date()).isoformat())  # type: ignore[union-attr]
        return days


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a log: 0 and empty where there is none."""

    number: int = 0
    sha256: str = ""
    changed: int = 0  # number of the newest entry that is no `day`


def head(bucket: Bucket, read: Read, stream: Stream, *, after: int = 0) -> int:
    """The number of the newest entry; a LIST, from a number on that is known to be there."""
    start = str(ManifestKey(stream.prefix, stream.app, after)) if after else ""
    newest = after
    for listed in bucket.store.entries(
        read, manifest_prefix(stream.prefix, stream.app), after=start
    ):
        try:
            newest = max(newest, parse_manifest(listed.key).number)
        except UnknownKey:
            continue
    return newest


def head_of(bucket: Bucket, read: Read, stream: Stream, number: int) -> Head:
    """The head at a number, as the entry itself proves it."""
    if not number:
        return Head()
    body = _body(bucket, read, stream, number)
    entry = _parsed(body, number)
    changed = entry.changed if entry.kind == "day" else number
    return Head(number, sha256(body).hexdigest(), changed)


def entry_at(bucket: Bucket, read: Read, stream: Stream, number: int) -> LogEntry:
    """One entry. Raises BrokenLog, or NotFound."""
    return _parsed(_body(bucket, read, stream, number), number)


def changes(bucket: Bucket, read: Read, stream: Stream, newest: Head, after: int) -> list[LogEntry]:
    """The entries after a number that are no `day`, oldest first; one GET each."""
    found = []
    number = newest.changed
    while number > after:
        entry = entry_at(bucket, read, stream, number)
        found.append(entry)
        number = entry.changed
    return found[::-1]


def log_entries(bucket: Bucket, read: Read, stream: Stream, after: int = 0) -> Iterator[LogEntry]:
    """Every entry after a number, the chain checked. Raises BrokenLog."""
    newest = head(bucket, read, stream, after=after)
    previous = head_of(bucket, read, stream, after).sha256
    for number in range(after + 1, newest + 1):
        body = _body(bucket, read, stream, number)
        entry = _parsed(body, number)
        if entry.previous != previous:
            raise BrokenLog(f"{ManifestKey(stream.prefix, stream.app, number)} does not follow")
        previous = sha256(body).hexdigest()
        yield entry


@dataclass(frozen=True, slots=True)
class Log:
    """A log as it was read: what it says, and what of it is not as it was written."""

    entries: tuple[LogEntry, ...]
    hashes: frozenset[str]  # SHA-256 of each entry: each was the head once
    broken: Mapping[str, str]  # by key: `missing`, or `altered`


def read_log(bucket: Bucket, read: Read, stream: Stream) -> Log:
    """The whole log, many entries at once, with every link of its chain checked."""
    numbers = range(1, head(bucket, read, stream) + 1)
    bodies = dict(
        zip(numbers, bucket.map(partial(_there, bucket, read, stream), numbers), strict=True)
    )
    hashes = {number: sha256(body).hexdigest() for number, body in bodies.items() if body}
    broken: dict[int, str] = {}
    entries = []
    for number, body in bodies.items():
        if not body:
            broken[number] = "missing"
            continue
        try:
            entry = _parsed(body, number)
        except BrokenLog:
            broken[number] = "altered"
            continue
        entries.append(entry)
        if number - 1 not in broken and entry.previous != hashes.get(number - 1, ""):
            broken[max(number - 1, 1)] = "altered"
    names = {
        str(ManifestKey(stream.prefix, stream.app, number)): state
        for number, state in broken.items()
    }
    return Log(tuple(entries), frozenset(hashes.values()), names)


def append(
    bucket: Bucket, read: Read, stream: Stream, newest: Head, at: datetime, entry: LogEntry
) -> Head:
    """Put the next entry after a head; `entry`'s own number and chain are filled in.

    Raises Taken where another writer was first: read the head again and decide anew.
    """
    number = newest.number + 1
    entry = LogEntry(
        number,
        entry.kind,
        utc_text(at),
        entry.day,
        entry.added,
        entry.removed,
        entry.reason,
        entry.facts,
        newest.sha256,
        newest.changed,
    )
    body = entry.to_bytes()
    key = str(ManifestKey(stream.prefix, stream.app, number))
    bucket.store.put_file(read, key, body, replacing=None)
    changed = newest.changed if entry.kind == "day" else number
    return Head(number, sha256(body).hexdigest(), changed)


def _body(bucket: Bucket, read: Read, stream: Stream, number: int) -> bytes:
    return bucket.store.load(read, str(ManifestKey(stream.prefix, stream.app, number))).body


def _there(bucket: Bucket, read: Read, stream: Stream, number: int) -> bytes:
    try:
        return _body(bucket, read, stream, number)
    except NotFound:
        return b""


def _parsed(body: bytes, number: int) -> LogEntry:
    try:
        entry = LogEntry(**json.loads(body))
    except (ValueError, TypeError):
        raise BrokenLog(f"entry {number} cannot be read") from None
    if entry.number != number or entry.kind not in KINDS:
        raise BrokenLog(f"entry {number} is not what its key says")
    return entry
