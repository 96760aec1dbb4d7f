"""What reading gives back: events, deliveries, and what was read for them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from threading import Lock
from typing import Any

from hookshelf.reading.times import utc_text

MANY_RAW = 1_000  # deliveries that are read one by one
# A forged copy of an event hides nothing: the best verdict is shown.
BEST_FIRST = ("verified", "stale", "unchecked", "unsigned", "bad")


@dataclass(frozen=True, slots=True)
class Stream:
    """One app at one place: what is compacted together, and a table of its own."""

    bucket: str
    prefix: str  # empty, or path segments that each end in `/`
    app: str

    def __str__(self) -> str:
        return f"{self.bucket}/{self.prefix}{self.app}"


@dataclass(frozen=True, slots=True)
class ArchivedEvent:
    """One event, as `find` and `export` give it."""

    id: str  # the sender's, else `<SHA-256 of the body>:<position>`
    source: str
    type: str
    subject: str
    time: datetime  # the sender's, in UTC, to the millisecond; the arrival where there is none
    app: str
    correlation: str
    arrived: datetime  # UTC, exact
    delivery: str  # key of the delivery
    position: int  # in the delivery
    verdict: str  # at arrival
    times: int  # how often it was seen, this copy included
    data: str  # the exact JSON
    repeat: bool = False  # a copy that is not the one shown by default; only with all=True
    bucket: str = ""

    def as_json(self) -> dict[str, Any]:
        """The fields of `--json`; `data` is still the exact text."""
        return {
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": utc_text(self.time),
            "app": self.app,
            "correlation": self.correlation,
            "arrived": utc_text(self.arrived),
            "delivery": self.delivery,
            "position": self.position,
            "verdict": self.verdict,
            "times": self.times,
            "data": self.data,
        }


@dataclass(frozen=True, slots=True)
class ArchivedDelivery:
    """One delivery. `body` and `metadata` are None in a listing that did not have to read them."""

    bucket: str
    key: str
    app: str
    arrived: datetime  # UTC, exact
    sha256: str  # of the body, as its key says
    state: str  # `raw`, `compacted`, or `rejected`
    size: int | None = None  # bytes of the body
    body: bytes | None = None
    metadata: Mapping[str, str] | None = None  # as stored: encoded, see chalicelib/metadata.py
    altered: bool = False  # the bytes are no longer those that the key was made from

    @property
    def change(self) -> str:
        """`altered`, or `redacted` by an erasure; empty where the bytes are those received."""
        return "altered" if self.altered else "redacted" * ("redacted" in (self.metadata or {}))


@dataclass(frozen=True, slots=True)
class Checked:
    """One delivery that was checked again; or a compacted file or log entry that was altered."""

    bucket: str
    key: str
    verdict: str | None  # None where there are no bytes to check
    # Empty: proved just now. Else `altered`, `recorded` (the verdict of the arrival, not proved
    # again), `redacted`, `expired`, `missing` or `added`.
    state: str
    in_order: bool


@dataclass(slots=True)
class Read:
    """What was read for an answer; complete once the answer is used up."""

    files: int = 0  # compacted
    raw_objects: int = 0
    bytes: int = 0
    requests: int = 0  # lists, gets, puts and deletes
    ms: float = 0.0
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def add(self, **counts: int) -> None:
        """Count; from any thread."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the milliseconds that pass within."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.ms += (time.perf_counter() - started) * 1000

    @property
    def is_slow(self) -> bool:
        """Whether so many deliveries were read one by one that compacting them is worth a hint."""
        return self.raw_objects >= MANY_RAW

    def as_json(self) -> dict[str, Any]:
        """The last line on stderr."""
        return {
            "files": self.files,
            "raw_objects": self.raw_objects,
            "bytes": self.bytes,
            "requests": self.requests,
            "ms": round(self.ms, 1),
        }


@dataclass(frozen=True, slots=True)
class Coverage:
    """What of one stream an answer stands on."""

    stream: Stream
    first: datetime | None  # arrival of the first delivery there is, as far as it is known
    last: datetime | None
    compacted_until: datetime | None  # raw objects were read from here on; None: all of them
    deliveries: int
    gaps: tuple[tuple[date, date], ...] = ()  # days (UTC) on which nothing arrived, both included


@dataclass(frozen=True, slots=True)
class Counted:
    """What `count` gives."""

    rows: list[dict[str, Any]]  # the fields asked for, `events` (distinct) and `repeats`
    read: Read


@dataclass
class Found:
    """The events of a `find`, in order of their time, and what was read for them."""

    events: Iterator[ArchivedEvent]
    read: Read  # complete once the events are used up

    def __iter__(self) -> Iterator[ArchivedEvent]:
        return self.events


@dataclass
class Deliveries:
    """Deliveries in order of arrival for each app, and what was read for them."""

    deliveries: Iterator[ArchivedDelivery]
    read: Read  # complete once they are used up

    def __iter__(self) -> Iterator[ArchivedDelivery]:
        return self.deliveries


@dataclass
class Queried:
    """The rows of a `query`, and what was read for them."""

    columns: list[str]
    rows: Iterator[tuple[Any, ...]]
    read: Read

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self.rows


@dataclass
class Verified:
    """What a `verify` gives, and what was read for it."""

    checked: Iterator[Checked]
    read: Read  # complete once they are used up, as is what follows
    hashes: set[str] = field(default_factory=set)  # SHA-256 of every entry of the manifest logs
    # What was interrupted, by the kind of its log entry, and the app.
    unfinished: list[tuple[str, str]] = field(default_factory=list)

    def __iter__(self) -> Iterator[Checked]:
        return self.checked


@dataclass(frozen=True, slots=True)
class Readmitted:
    """What became of one refused delivery."""

    bucket: str
    refused: str  # the key it was kept under
    key: str | None  # of the delivery; None where it stays refused
    verdict: str
    state: str  # `readmitted`, `there` (it was before), or `refused`


@dataclass(frozen=True, slots=True)
class Pulled:
    """One object of an archive that was to be written into a folder."""

    bucket: str
    key: str
    size: int
    state: str  # `pulled`, `there` (it was before), or `altered`: pulled as it is


@dataclass(frozen=True, slots=True)
class Pile:
    """One object that something else wrote."""

    name: str
    body: bytes
    modified: datetime | None  # None where the store does not say


@dataclass(frozen=True, slots=True)
class Adopted:
    """What became of one delivery of a pile, or of an object that could not be read."""

    name: str  # of the object
    key: str | None
    state: str  # `adopted`, `there` (it was before), or `unreadable`
    why: str = ""  # it could not be read


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One object in which a person is who is to be erased."""

    bucket: str
    key: str
    # `delivery` (by its own key, wherever it lies), `refused`, `file` (compacted), `version` (an
    # old one), or `log`: an entry of the manifest log, which cannot be changed.
    kind: str
    events: int  # that are erased


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """The newest entry of an app's manifest log; 0 and empty where there is none."""

    stream: Stream
    number: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Status:
    """What is there of one app at one place, from footers and one listing of what is newer."""

    stream: Stream
    first: datetime | None  # arrivals
    last: datetime | None
    usual_gap: float | None  # seconds between two deliveries: the mean of the last compacted day
    deliveries: int
    events: int | None  # None where raw deliveries would have to be read for it
    bytes: int  # of all bodies
    files: int
    file_bytes: int
    raw_objects: int  # that no file covers
    compacted_until: datetime | None
    log: int  # number of the newest entry of the manifest log
    gaps: tuple[tuple[date, date], ...] = ()  # days (UTC) on which nothing arrived, both included
