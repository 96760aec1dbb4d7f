"""Erasing a person: found wherever the archive holds them, and removed so that it can be resumed.

In this order: what is left of each delivery is put under `_redacted/`, where readers take it in the
original's place; the manifest log says what is removed; compacted files are made anew; what they
replaced, refused bodies, old versions and, last, the originals are deleted; the log says that it
has ended. Whatever is interrupted is finished by the next run, which needs nothing but the log for
it: whose erasure it was does not matter.
"""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import Any

from chalicelib.delivery import ArchiveObject
from chalicelib.keys import (
    DeliveryKey,
    RejectedKey,
    UnknownKey,
    app_prefix,
    events_prefix,
    manifest_prefix,
    month_prefix,
    parse_events,
    parse_key,
    parse_redacted,
    redacted_key,
    redacted_prefix,
    rejected_prefix,
)
from chalicelib.sources import generic
from chalicelib.store import NotFound
from hookshelf.reading import manifest
from hookshelf.reading.bodies import deliveries_at, deliveries_in
from hookshelf.reading.bucket import AT_ONCE, Bucket
from hookshelf.reading.checking import Kept, delivery_of
from hookshelf.reading.errors import Damaged, Gone, Taken, TooQuick
from hookshelf.reading.files import BEGINNING, CompactedFile, listed_files
from hookshelf.reading.footers import NotOurs, read_footer
from hookshelf.reading.listing import refused
from hookshelf.reading.raw import load_all, raw_and_redacted
from hookshelf.reading.redacting import Redacted, redacted
from hookshelf.reading.rows import is_same
from hookshelf.reading.scratch import PREFIX, clear_left_over
from hookshelf.reading.selection import Selection
from hookshelf.reading.sources import Splitting
from hookshelf.reading.store import StoredFile, Version
from hookshelf.reading.times import utc_text
from hookshelf.reading.traces import Traces
from hookshelf.reading.values import Occurrence, Read, Stream

_ATTEMPTS = 50  # while other writers are quicker
_LEFT, _WHOLE, _ALTERED = 2, 1, 0  # from which copy of a delivery what is left of it is made


@dataclass(slots=True)
class _Hit:
    """A delivery that holds the person."""

    size: int  # bytes of the body
    events: int
    rank: int
    at: int  # in the spool, what is to be left of it


@dataclass(slots=True)
class _Found:
    """Everything of one app that holds the person."""

    hits: dict[str, _Hit] = field(default_factory=dict)  # by key of the delivery
    raw: set[str] = field(default_factory=set)  # keys of hits that lie raw
    left: dict[str, tuple[StoredFile, str]] = field(default_factory=dict)  # redacted before
    files: dict[str, CompactedFile] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)  # keys with old versions that hold them
    in_log: set[str] = field(default_factory=set)  # entries, which nobody can change


@dataclass(frozen=True, slots=True)
class Erased:
    """What was done in one app."""

    stream: Stream
    deliveries: dict[str, str]  # SHA-256 of what is left, by key
    refused: tuple[str, ...]
    versions: int  # deleted
    log: manifest.Head


class StreamErasure:
    """Looks for a person in one app, and removes them."""

    def __init__(  # noqa: PLR0913
        self,
        bucket: Bucket,
        read: Read,
        stream: Stream,
        selection: Selection,
        splitting: Splitting,
        traces: Traces,
    ) -> None:
        self.bucket, self.read, self.stream = bucket, read, stream
        self.selection, self.splitting, self.traces = selection, splitting, traces
        self._spool = TemporaryFile(prefix=PREFIX)  # noqa: SIM115  (it has no name on the disk)
        weakref.finalize(self, self._spool.close)
        self._found = _Found()
        self.unfinished: list[manifest.LogEntry] = []  # erasures that were interrupted

    # Looking

    def look(self) -> None:
        """Read everything there is of the app. Raises TooQuick, Damaged, Unreadable."""
        self._found = _Found()
        self.bucket.nothing_redacted.discard(self.stream.prefix)
        log = self._log()
        self._found.in_log = {
            str(entry.number) for entry in log if self.traces.in_text(entry.to_bytes())
        }
        self._look_at_raw()
        self._look_at_files()
        self._look_at_refused()
        self._look_at_versions()

    def occurrences(self) -> Iterator[Occurrence]:
        """What holds the person, object by object."""
        found, name = self._found, self.bucket.name
        for key, hit in sorted(found.hits.items()):
            yield Occurrence(name, key, "delivery", hit.events)
        yield from (Occurrence(name, key, "refused", 0) for key in sorted(found.refused))
        yield from (Occurrence(name, key, "file", 0) for key in sorted(found.files))
        yield from (Occurrence(name, key, "version", 0) for key in sorted(found.versions))
        yield from (Occurrence(name, key, "log", 0) for key in sorted(found.in_log))

    def _log(self) -> tuple[manifest.LogEntry, ...]:
        entries = manifest.read_log(self.bucket, self.read, self.stream).entries
        ended = {number for entry in entries for number in entry.facts.get("ended", ())}
        self.unfinished = [
            entry
            for entry in entries
            if entry.kind == "erase" and "ended" not in entry.facts and entry.number not in ended
        ]
        return entries

    def _look_at_raw(self) -> None:
        start, end = self.selection.since or BEGINNING, self.selection.until
        listed = list(raw_and_redacted(self.bucket, self.read, self.stream, start, end))
        for delivery, obj in load_all(self.bucket, self.read, listed):
            if delivery.redacted:
                entry = StoredFile(delivery.stored, delivery.size, delivery.etag)
                sha256 = obj.metadata.get("redacted", "") if is_same(obj, delivery.key) else ""
                self._found.left[str(delivery)] = entry, sha256
            if self._is_hit(delivery.key, obj, is_left=delivery.redacted):
                self._found.raw.add(str(delivery))

    def _look_at_files(self) -> None:
        for _ in range(_ATTEMPTS):
            try:
                files = listed_files(self.bucket, self.read, self.stream)
                for file in (*files.counting, *files.replaced):
                    self.bucket.progress(f"Looking through {file.entry.key}")
                    for key, obj, _ in deliveries_in(self.bucket, self.read, file, self.selection):
                        if self._is_hit(key, obj, is_left=False):
                            self._found.files[file.entry.key] = file
                return
            except Gone:
                self._found.files.clear()
        raise TooQuick(self.stream)

    def _is_hit(self, key: DeliveryKey, obj: ArchiveObject, *, is_left: bool) -> bool:
        """Whether a copy of a delivery holds the person; what is to be left is made from it."""
        left = self._redacted(key, obj)
        if left is None:
            return False
        rank = _LEFT if is_left else _WHOLE if is_same(obj, key) else _ALTERED
        known = self._found.hits.get(str(key))
        if known is None or rank > known.rank:
            at = self._spool.seek(0, 2)
            pickle.dump(left.obj, self._spool)
            self._found.hits[str(key)] = _Hit(len(obj.body), left.events, rank, at)
        return True

    def _redacted(self, key: DeliveryKey, obj: ArchiveObject) -> Redacted | None:
        return redacted(obj, key, self.splitting.source(obj.metadata), self.traces)

    def _look_at_refused(self) -> None:
        stream = self.stream
        for delivery in refused(self.bucket, self.read, stream.prefix, stream.app, self.selection):
            obj = ArchiveObject(delivery.key, delivery.body or b"", "", delivery.metadata or {})
            if self._is_in_refused(obj):
                self._found.refused.add(delivery.key)

    def _is_in_refused(self, obj: ArchiveObject) -> bool:
        key = parse_key(obj.key)
        source = self.splitting.source(obj.metadata)
        wanted = Selection(subject=self.traces.subject)
        delivery = delivery_of(Kept(obj.key, obj.body, obj.metadata), key)
        return (
            self.traces.in_text(obj.body)
            or self.traces.in_metadata(obj.metadata)
            or any(
                wanted.is_subject(event.subject, source.name)
                for event in (source.events or generic.events)(delivery)
            )
        )

    def _look_at_versions(self) -> None:
        """Old versions of everything; of what is there now the newest was looked at."""
        events = events_prefix(self.stream.prefix, self.stream.app)
        for version in self._versions():
            if version.is_newest or version.is_marker:
                continue
            with suppress(NotFound):
                obj = self.bucket.store.load_version(self.read, version)
                if not version.key.startswith(events):
                    is_hit = self._is_in_version(obj)
                else:
                    is_hit = self._is_in_old_file(version, obj.body)
                self._found.versions |= {version.key} if is_hit else set()

    def _versions(self) -> Iterator[Version]:
        prefix, app = self.stream.prefix, self.stream.app
        for below in (
            app_prefix(prefix, app),
            app_prefix(redacted_prefix(prefix), app),
            rejected_prefix(prefix, app),
            events_prefix(prefix, app),
            manifest_prefix(prefix, app),
        ):
            yield from self.bucket.store.versions(self.read, below)

    def _is_in_version(self, obj: ArchiveObject) -> bool:
        key = _delivery_key(obj.key)
        if isinstance(key, RejectedKey):
            return self._is_in_refused(obj)
        if key is None:
            return self.traces.in_text(obj.body)
        return self.selection.has(key.arrived) and self._redacted(key, obj) is not None

    def _is_in_old_file(self, version: Version, body: bytes) -> bool:
        """Whether a compacted file of the past holds the person; one that cannot be read may."""
        with NamedTemporaryFile(prefix=PREFIX, suffix=".parquet") as file:
            file.write(body)
            file.flush()
            try:
                rows = read_footer(body, len(body)).rows
                deliveries = deliveries_at(
                    Path(file.name), parse_events(version.key), rows, self.selection
                )
                return any(self._redacted(each.key, each.obj) for each in deliveries)
            except (NotOurs, UnknownKey, Damaged, ValueError, IndexError):
                return True

    # Removing

    def apply(
        self,
        reason: str,
        now: Callable[[], datetime],
        compact: Callable[[Stream, Iterable[date]], bool],
    ) -> Erased | None:
        """Remove what was found, and what interrupted erasures left to be removed.

        `compact` makes the compacted files of some days agree with the log, and says whether one
        changed. None where there was nothing to do. Raises Taken where somebody else erases.
        """
        left = self._put()
        self._write_down(left, reason, now)
        entries = self.unfinished
        if not entries:
            return None
        days = {date.fromisoformat(day) for entry in entries for day in entry.days}
        count = 0
        for _ in range(_ATTEMPTS):
            is_changed = compact(self.stream, days)
            count += self._delete(entries, days)
            if not is_changed:  # a compactor that overtook us wrote nothing from before
                break
        ended = {"ended": [entry.number for entry in entries]}
        head = self._append(manifest.LogEntry(0, "erase", "", reason=reason, facts=ended), now)
        return Erased(
            self.stream,
            {
                key: sha256
                for entry in entries
                for key, sha256 in entry.facts.get("redacted", {}).items()
            },
            tuple(sorted(key for entry in entries for key in entry.facts.get("refused", ()))),
            count,
            head,
        )

    def _put(self) -> dict[str, str]:
        """Put what is left of each delivery; its SHA-256 by key."""
        left: dict[str, str] = {}
        puts: list[tuple[str, StoredFile | None]] = []
        for key, hit in sorted(self._found.hits.items()):
            entry, sha256 = self._found.left.get(key, (None, ""))
            if sha256 and hit.rank != _LEFT:  # put before this run was interrupted, or another's
                left[key] = sha256
            else:
                puts.append((key, entry))
        for start in range(0, len(puts), AT_ONCE):
            self.bucket.progress(f"Redacted {start:,} of {len(puts):,} deliveries")
            chunk = puts[start : start + AT_ONCE]
            objects = [(self._spooled(key), entry) for key, entry in chunk]
            left |= {obj.key: obj.metadata["redacted"] for obj, _ in objects}
            self.bucket.map(self._put_one, objects)
        return left

    def _spooled(self, key: str) -> ArchiveObject:
        self._spool.seek(self._found.hits[key].at)
        obj: ArchiveObject = pickle.load(self._spool)
        return obj

    def _put_one(self, item: tuple[ArchiveObject, StoredFile | None]) -> None:
        obj, replacing = item
        key = parse_key(obj.key)
        assert isinstance(key, DeliveryKey)
        obj = obj._replace(key=redacted_key(key))
        try:
            self.bucket.store.put_object(self.read, obj, replacing=replacing)
        except Taken:
            with suppress(NotFound):  # a conflict with a put that came to nothing
                there = self.bucket.store.load(self.read, obj.key)
                if (there.body, dict(there.metadata)) == (obj.body, dict(obj.metadata)):
                    return
            raise

    def _write_down(self, left: dict[str, str], reason: str, now: Callable[[], datetime]) -> None:
        """Say in the log what is removed, as far as it does not yet; then `unfinished` is known."""
        found = self._found
        logged, known = self._logged()
        new = {
            key: sha256
            for key, sha256 in left.items()
            if key not in known or logged.get(key) != sha256
        }
        for key, (_, sha256) in found.left.items():  # replaced by a run that ended before this
            if sha256 and logged.get(key, sha256) != sha256:
                new.setdefault(key, sha256)
        sizes = {key: entry.size for key, (entry, _) in found.left.items()}
        sizes |= {key: hit.size for key, hit in found.hits.items()}
        refused_now = sorted(found.refused - known)
        versions = sorted(found.versions - known)
        if new or refused_now or versions:
            entry = manifest.LogEntry(
                0,
                "erase",
                "",
                removed={key: sizes[key] for key in sorted(new)},
                reason=reason,
                facts={"redacted": new, "refused": refused_now, "versions": versions},
            )
            self._append(entry, now)
            self._log()

    def _logged(self) -> tuple[dict[str, str], set[str]]:
        """What the log says is left of each delivery; and what is about to be removed already.

        The second is empty where a file agrees with the newest erasure and holds the person still:
        only for another entry it is made anew.
        """
        entries = [entry for entry in self._log() if entry.kind == "erase"]
        logged: dict[str, str] = {}
        for entry in entries:
            logged |= entry.facts.get("redacted", {})
        newest = max((entry.number for entry in entries), default=0)
        if any(file.footer.log >= newest for file in self._found.files.values()):
            return logged, set()
        names = ("redacted", "refused", "versions")
        return logged, {
            key for entry in self.unfinished for name in names for key in entry.facts.get(name, ())
        }

    def _append(self, entry: manifest.LogEntry, now: Callable[[], datetime]) -> manifest.Head:
        for _ in range(_ATTEMPTS):
            number = manifest.head(self.bucket, self.read, self.stream)
            newest = manifest.head_of(self.bucket, self.read, self.stream, number)
            try:
                return manifest.append(self.bucket, self.read, self.stream, newest, now(), entry)
            except Taken:
                continue
        raise Taken("the log")

    def _delete(self, entries: Sequence[manifest.LogEntry], days: Iterable[date]) -> int:
        """Delete what some entries of the log removed, the originals last; how many versions."""
        doomed = _Doomed(self.stream, entries, days)
        versions = [version for version in self._versions() if doomed.has(version)]
        for order in range(_Doomed.ORDERS):
            part = [version for version in versions if doomed.order(version) == order]
            self.bucket.map(partial(self.bucket.store.delete_version, self.read), part)
        return len(versions)


class _Doomed:
    """Which versions are to be deleted, and in which order."""

    ORDERS = 4

    def __init__(
        self, stream: Stream, entries: Sequence[manifest.LogEntry], days: Iterable[date]
    ) -> None:
        def facts(name: str) -> set[str]:
            return {key for entry in entries for key in entry.facts.get(name, ())}

        self._originals = {key for entry in entries for key in entry.removed}
        self._whole = self._originals | facts("refused")
        self._old = facts("versions") | {
            redacted_key(key)
            for key in map(parse_key, self._originals)
            if isinstance(key, DeliveryKey)
        }
        self._months = tuple(
            month_prefix(stream.prefix, stream.app, month)
            for month in {day.isoformat()[:7] for day in days}
        )

    def has(self, version: Version) -> bool:
        """Whether it is to go: all of an original, and what was replaced of anything else."""
        if version.key in self._whole:
            return True
        is_old = not version.is_newest or version.is_marker
        return is_old and (version.key in self._old or version.key.startswith(self._months))

    def order(self, version: Version) -> int:
        """A marker after what it hides, or that would be there again; originals last."""
        is_last = version.is_newest or version.is_marker
        return 2 * (version.key in self._originals) + is_last


def _delivery_key(text: str) -> DeliveryKey | RejectedKey | None:
    """The key of the delivery whose body this is, as received, redacted or refused."""
    for parse in (parse_key, parse_redacted):
        try:
            return parse(text)
        except UnknownKey:
            continue
    return None


@dataclass
class Erasure:
    """What an archive holds of a person, and how it is removed."""

    parts: Sequence[StreamErasure]
    read: Read
    now: Callable[[], datetime]
    compact: Callable[[Stream, Iterable[date]], bool]
    progress: Callable[[str], object] = lambda line: None

    def look(self) -> list[Occurrence]:
        """Everything that holds the person, object by object."""
        with self.read.timed():
            for part in self.parts:
                self.progress(f"Looking through {part.stream}")
                part.look()
        return [occurrence for part in self.parts for occurrence in part.occurrences()]

    @property
    def in_texts(self) -> bool:
        """Whether it was looked for in all texts, and not in the subjects of events only."""
        return all(part.traces.in_texts for part in self.parts)

    @property
    def unfinished(self) -> list[Stream]:
        """The apps in which an erasure, of whomever, was interrupted; `apply` ends it."""
        return [part.stream for part in self.parts if part.unfinished]

    def apply(self, reason: str) -> list[Erased]:
        """Remove what `look` found, and end what was interrupted. Whatever comes since stays."""
        done = []
        with self.read.timed():
            for part in self.parts:
                self.progress(f"Erasing in {part.stream}")
                for attempt in range(_ATTEMPTS):
                    try:
                        erased = part.apply(reason, self.now, self.compact)
                        done += [erased] if erased else []
                        break
                    except Taken:  # somebody else erases, too: another body is left
                        if attempt + 1 == _ATTEMPTS:
                            raise
                        part.look()
        clear_left_over()
        return done


def receipt_of(done: Sequence[Erased], reason: str, at: datetime) -> dict[str, Any]:
    """What was erased, without a word of whom: for whoever has to show that it was done."""
    return {
        "erased": utc_text(at),
        "reason": reason,
        "apps": [
            {
                "bucket": erased.stream.bucket,
                "prefix": erased.stream.prefix,
                "app": erased.stream.app,
                "deliveries": erased.deliveries,
                "refused": list(erased.refused),
                "versions": erased.versions,
                "manifest": {"number": erased.log.number, "sha256": erased.log.sha256},
            }
            for erased in done
        ],
    }
