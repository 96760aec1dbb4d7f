"""The writer: brings an app's compacted files up to date with its raw deliveries and its log.

In this order, so that whatever is killed at whatever point is finished by the next run and no
reader misses a row: log entry, new file (put only where nothing is, or in place of exactly what was
read), the log's head again, and only then deleting what the new file replaces.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from random import uniform
from typing import TypeVar

from chalicelib.keys import DeliveryKey, EventsKey, day_of, parse_key
from hookshelf.reading import manifest
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.errors import Gone, Lossy, ReadingError, Taken
from hookshelf.reading.files import BEGINNING, CompactedFile, Files, listed_files, overlap
from hookshelf.reading.footers import Footer, write_footer
from hookshelf.reading.merge import Engine, Held, Merged, Parts, facts_of
from hookshelf.reading.raw import (
    RawDelivery,
    bounds_of,
    raw_but,
    raw_days,
    raw_of_day,
    sums,
)
from hookshelf.reading.scratch import PREFIX
from hookshelf.reading.sources import Splitting
from hookshelf.reading.split import Splitter
from hookshelf.reading.store import StoredFile
from hookshelf.reading.values import Read, Stream

SETTLED = timedelta(minutes=2)  # a put may take 8 s, and clocks differ
LOG_DELAY = timedelta(minutes=15)  # after a day's end, until its log entry is written
HOURS_FIRST = 1_600  # deliveries of a day that a run with a deadline compacts hour by hour
LARGEST = 512 * 1024 * 1024  # bytes of a month's file; busier apps keep days
SORTED_AT_ONCE = 120_000  # rows
_ATTEMPTS = 50  # while other writers are quicker: each time, they got on
_ATTEMPTS_FOR_LATE_KEYS = 5  # some pile may be copied there for hours
_SQUEEZED = 4  # bytes of bodies that become one of a file, about
_FORESEEN = "foreseen"  # the ETag of a file that is not there, and would be

Out = TypeVar("Out")


class OutOfTime(Exception):
    """The deadline is too near for another file; the next run goes on from here."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """What became of one compacted file."""

    file: str  # key
    state: str  # `written`, `unchanged` or `deleted`
    events: int | None  # None where it would only be known once it is done
    deliveries: int
    bucket: str = ""


@dataclass(frozen=True, slots=True)
class LoggedDay:
    """A day that has ended and that the manifest log tells of, for whoever compacts it."""

    stream: Stream
    day: date
    entry: int  # number in the log


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionPlan:
    """How to compact."""

    now: Callable[[], datetime]
    since: datetime | None = None  # only days from here on
    until: datetime | None = None
    look_back: timedelta | None = None  # look for late keys in so many days; None: in all
    keep: timedelta | None = None  # delete days older than that
    dry_run: bool = False
    remaining: Callable[[], float] | None = None  # seconds until the deadline
    reserve: float = 20.0  # seconds that the next file may take
    processes: int | None = None
    memory_mb: int = 400
    folder: Path | None = None  # where to work; a temporary one
    logged: Mapping[date, int] = field(default_factory=dict)  # days whose entry in the log is known

    def covers(self, day: date) -> bool:
        """Whether a day is to be looked at."""
        start, end = bounds_of(day)
        return not (self.since and end <= self.since) and not (self.until and start >= self.until)

    def is_expired(self, day: date) -> bool:
        """Whether no row of a day may be kept."""
        return self.keep is not None and bounds_of(day)[1] <= self.now() - self.keep


def compact_stream(
    bucket: Bucket, read: Read, stream: Stream, splitting: Splitting, plan: CompactionPlan
) -> Iterator[FileChange]:
    """Compact one app at one place. Ends early at the deadline; another run goes on."""
    return _worked(bucket, read, stream, splitting, plan, _Work.run)


def log_stream(
    bucket: Bucket, read: Read, stream: Stream, splitting: Splitting, plan: CompactionPlan
) -> Iterator[LoggedDay]:
    """Write the ended days of one app into its log, as compacting does first; those to compact."""
    return _worked(bucket, read, stream, splitting, plan, _Work.log_days)


def _worked(  # noqa: PLR0913
    bucket: Bucket,
    read: Read,
    stream: Stream,
    splitting: Splitting,
    plan: CompactionPlan,
    do: Callable[[_Work], Iterator[Out]],
) -> Iterator[Out]:
    """What there is to do, begun anew where another writer was quicker."""
    told: set[Out] = set()
    for attempt in range(_ATTEMPTS):
        with (
            tempfile.TemporaryDirectory(prefix=PREFIX, dir=plan.folder) as folder,
            Engine(Path(folder), memory_mb=plan.memory_mb) as engine,
        ):
            work = _Work(bucket, read, stream, splitting, plan, engine)
            work.waits_for_late_keys = attempt < _ATTEMPTS_FOR_LATE_KEYS
            try:
                yield from _each_once(work.as_listed(do(work)), told)
                return
            except OutOfTime:
                return
            except (Taken, Gone):  # another writer was quicker: look again
                if attempt + 1 == _ATTEMPTS:
                    raise
        time.sleep(uniform(0, 0.2))


def _each_once(results: Iterable[Out], told: set[Out]) -> Iterator[Out]:
    for result in results:
        if result not in told:
            told.add(result)
            yield result


@dataclass(slots=True)
class _Holding:
    """What is known of one day: its raw deliveries, and the files that hold rows of it."""

    day: date
    raw: list[RawDelivery]
    files: list[CompactedFile]
    missing: list[RawDelivery] = field(default_factory=list)  # raw, and in no file


class _Work:
    def __init__(
        self,
        bucket: Bucket,
        read: Read,
        stream: Stream,
        splitting: Splitting,
        plan: CompactionPlan,
        engine: Engine,
    ) -> None:
        self.bucket, self.read, self.stream = bucket, read, stream
        self.splitting, self.plan, self.engine = splitting, plan, engine
        self.now = plan.now()
        self.files = Files(())
        self.head = manifest.Head()
        self.pending: list[manifest.LogEntry] = []
        self.logged: dict[str, int] = {}  # entries of days, up to `scanned`
        self.scanned = 0
        self.days: list[date] = []  # that have anything, whether they are to be looked at or not
        self.waits_for_late_keys = True

    def run(self) -> Iterator[FileChange]:
        """Everything there is to do, oldest first."""
        self._look()
        yield from self._delete(self.files.replaced)
        for first, days in groupby(self._days(), key=lambda day: day.replace(day=1)):
            yield from self._days_of_month(first, list(days))

    def as_listed(self, results: Iterator[Out]) -> Iterator[Out]:
        """The same; Gone where something else went wrong, but with files that are gone.

        Of a file that another writer deleted, DuckDB says whatever it meets.
        """
        try:
            yield from results
        except (OutOfTime, Taken, Gone):
            raise
        except Exception:
            self._check_files(self.files.counting)
            raise

    def log_days(self) -> Iterator[LoggedDay]:
        """Each day that is to become a file of its own, in the order in which `run` logs them."""
        self._look()
        months = {file.key.start for file in self.files.counting if file.key.span == "month"}
        for day in self._days():
            if bounds_of(day.replace(day=1))[0] in months or not self._has_ended(day):
                continue
            holding = self._holding(day)
            whole = any(file.key.span == "day" for file in holding.files)
            if not whole and (holding.files or holding.missing):
                yield LoggedDay(self.stream, day, self._log_day(holding, None))

    def _look(self) -> None:
        self.bucket.ahead.pop(self.stream, None)  # listed before other apps were compacted
        self.files = listed_files(self.bucket, self.read, self.stream)
        newest = manifest.head(self.bucket, self.read, self.stream)
        self.head = manifest.head_of(self.bucket, self.read, self.stream, newest)
        if self.head.changed:  # something may have been erased since discovery saw no such thing
            self.bucket.nothing_redacted.discard(self.stream.prefix)
        oldest = min((file.footer.log for file in self.files.counting), default=newest)
        self.pending = manifest.changes(self.bucket, self.read, self.stream, self.head, oldest)

    def _days_of_month(self, first: date, days: list[date]) -> Iterator[FileChange]:
        key = EventsKey(self.stream.prefix, self.stream.app, bounds_of(first)[0], "month")
        month = next((file for file in self.files.counting if file.key == key), None)
        for day in filter(self.plan.is_expired, days):
            yield from self._expire(day, month)
        days = [day for day in days if not self.plan.is_expired(day)]
        if month:
            yield from self._again(month, [self._holding(day) for day in days])
            return
        for day in days:
            yield from self._day(day)
        if not self.plan.keep:
            yield from self._roll_up(key)

    def _days(self) -> list[date]:
        """The days to look at: with raw deliveries, or with rows in a file."""
        raw = raw_days(self.bucket, self.read, self.stream)
        held = {date.fromisoformat(day) for file in self.files.counting for day in file.footer.days}
        self.days = sorted({*raw, *held})
        if self.plan.look_back is not None:
            # From the first gap on: what no file covers yet has not been looked at before.
            horizon = min(self.now - self.plan.look_back, self.files.gaps()[0][0]).date()
            raw = [day for day in raw if day >= horizon]
        return [day for day in sorted({*raw, *held}) if self.plan.covers(day)]

    def _day(self, day: date) -> Iterator[FileChange]:
        holding = self._holding(day)
        if self._has_ended(day):
            whole = [file for file in holding.files if file.key.span == "day"]
            yield from self._whole_day(holding, whole[0] if whole else None)
        else:
            yield from self._hours(holding)

    def _has_ended(self, day: date) -> bool:
        return self.now >= bounds_of(day)[1] + LOG_DELAY

    def _holding(self, day: date) -> _Holding:
        start, end = bounds_of(day)
        files = [f for f in self.files.counting if f.key.start < end and f.key.end > start]
        raw: list[RawDelivery] = []
        if self._may_have_late_keys(day, files):
            raw = raw_of_day(self.bucket, self.read, self.stream, day)
        erased = self._erased()
        raw = [
            delivery
            for delivery in raw
            if delivery.key.arrived < self.now - SETTLED
            and (delivery.redacted or str(delivery) not in erased)
        ]
        missing = [delivery for delivery in raw if not _covered(delivery, files)]
        inside = [str(delivery) for delivery in raw if _covered(delivery, files)]
        if inside and sums(inside) != _sums_of(files, day):
            known = self._deliveries(files)
            missing = [delivery for delivery in raw if str(delivery) not in known]
        return _Holding(day, raw, files, missing)

    def _may_have_late_keys(self, day: date, files: Sequence[CompactedFile]) -> bool:
        end = bounds_of(day)[1]
        if self.plan.look_back is None or end > self.now - self.plan.look_back:
            return True
        return not any(file.footer.end >= end for file in files)

    def _whole_day(self, holding: _Holding, whole: CompactedFile | None) -> Iterator[FileChange]:
        others = [file for file in holding.files if file is not whole]
        if whole and not (others or holding.missing or self._must_redo(whole)):
            yield self._change(whole, "unchanged")
            return
        if not (holding.files or holding.missing):
            return
        if self.plan.remaining and not whole and len(holding.missing) > HOURS_FIRST:
            yield from self._hours(holding)  # so that what is done by the deadline is not lost
            holding = self._holding(holding.day)
        log = self._log_day(holding, whole)
        start, end = bounds_of(holding.day)
        key = EventsKey(self.stream.prefix, self.stream.app, start, "day")
        yield from self._write(key, (start, end), holding.files, holding.missing, whole, log=log)

    def _hours(self, holding: _Holding) -> Iterator[FileChange]:
        start, _ = bounds_of(holding.day)
        for hour in (start + timedelta(hours=n) for n in range(24)):
            key = EventsKey(self.stream.prefix, self.stream.app, hour, "hour")
            if key.end > self.now - SETTLED:
                return
            files = [file for file in holding.files if file.key == key]
            missing = [raw for raw in holding.missing if hour <= raw.key.arrived < key.end]
            if missing or any(map(self._must_redo, files)):
                interval = hour, key.end
                yield from self._write(key, interval, files, missing, files[0] if files else None)
            else:
                yield from (self._change(file, "unchanged") for file in files)

    def _again(self, month: CompactedFile, days: Sequence[_Holding]) -> Iterator[FileChange]:
        """A month's file, in place, where it lacks something, was split otherwise, or expired."""
        missing = [raw for holding in days for raw in holding.missing]
        others = {f.entry: f for holding in days for f in holding.files if f is not month}
        expired: set[str] = set()
        if any(self.plan.is_expired(date.fromisoformat(day)) for day in month.footer.days):
            held = self._deliveries([month])
            expired = {key for key in held if self.plan.is_expired(day_of(key))}
        if not (others or missing) and len(expired) == month.footer.deliveries:
            yield from self._delete([month])
        elif not (others or missing or expired or self._must_redo(month)):
            yield self._change(month, "unchanged")
        else:
            self._log("late", missing)
            files, interval = [month, *others.values()], (month.footer.start, month.footer.end)
            yield from self._write(month.key, interval, files, missing, month, without=expired)

    def _roll_up(self, key: EventsKey) -> Iterator[FileChange]:
        """One file of a month whose days are all there, closed and small enough together."""
        files = [
            file
            for file in self.files.counting
            if file.key.start < key.end and file.key.end > key.start
        ]
        if (
            not files
            or self.now < key.end + LOG_DELAY
            or any(file.key.span != "day" for file in files)
            or sum(file.entry.size for file in files) > LARGEST
            or (self.plan.until and self.plan.until < key.end)
            or (self.plan.since and self.plan.since > key.start)  # some days may have no file yet
        ):
            return
        log = max(file.footer.log for file in files)
        yield from self._write(key, (key.start, key.end), files, [], None, log=log)

    def _expire(self, day: date, month: CompactedFile | None) -> Iterator[FileChange]:
        """Delete a day by name; its rows in a month's file go with those of the month's others."""
        start, end = bounds_of(day)
        files = [f for f in self.files.counting if f.key.start < end and f.key.end > start]
        if not self.plan.dry_run:
            self._log_expired(day, files)
        yield from self._delete([file for file in files if file is not month])

    def _log_expired(self, day: date, files: Sequence[CompactedFile]) -> None:
        held = sum(file.footer.days.get(day.isoformat(), (0, 0))[0] for file in files)
        logged = any((e.kind, e.day) == ("expire", day.isoformat()) for e in self.pending)
        if held and not logged:
            reason = f"older than {self.plan.keep}"
            facts = {"deliveries": held}
            self._append(
                manifest.LogEntry(0, "expire", "", day=day.isoformat(), reason=reason, facts=facts)
            )

    # Writing one file

    def _write(  # noqa: PLR0913
        self,
        key: EventsKey,
        interval: tuple[datetime, datetime],
        files: Sequence[CompactedFile],
        missing: Sequence[RawDelivery],
        replacing: CompactedFile | None,
        *,
        without: Collection[str] = (),
        log: int | None = None,
    ) -> Iterator[FileChange]:
        """Put a file of some files' rows and some raw deliveries, then delete those files.

        `log` is the entry of the log up to which it agrees; None is the newest.
        """
        others = [file for file in files if file is not replacing]
        if str(key) in self.files.foreign:
            raise ReadingError(f"{key} was not written by hookshelf: move it away, then compact")
        if self.plan.remaining and self.plan.remaining() < self.plan.reserve:
            raise OutOfTime
        if self.plan.dry_run:
            written = self._foreseen(key, interval, files, missing, without)
        else:
            path, footer = self._merged(key, interval, files, missing, frozenset(without))
            footer = replace(footer, log=self.head.number if log is None else log)
            footer = write_footer(path, footer)
            newly_covered = self._newly_covered(footer)
            self._check_late_keys(newly_covered, missing)
            put = self.bucket.store.put_file(
                self.read, str(key), path, replacing=replacing.entry if replacing else None
            )
            path.unlink()
            written = CompactedFile(put, key, footer)
            self._check_head()
            self._check_late_keys(newly_covered, missing)
        kept = [file for file in self.files.counting if file not in files]
        kept = sorted([*kept, written], key=lambda file: file.footer.start)
        self.files = replace(self.files, counting=tuple(kept))
        yield self._change(written, "written")
        yield from self._delete(others)

    def _foreseen(
        self,
        key: EventsKey,
        interval: tuple[datetime, datetime],
        files: Sequence[CompactedFile],
        missing: Sequence[RawDelivery],
        without: Collection[str],
    ) -> CompactedFile:
        """The file that would be written: what it would hold is known, its size is a guess."""
        bodies = sum(raw.size for raw in missing)
        size = sum(file.entry.size for file in files) + bodies // _SQUEEZED
        footer = Footer(
            start=self._start(key, interval[0]),
            end=interval[1],
            deliveries=sum(file.footer.deliveries for file in files) + len(missing) - len(without),
            events=0,
            rows=0,
            bytes=bodies + sum(file.footer.bytes for file in files),
            first=None,
            last=None,
            days={},
            replaces={},
            splitter=self.splitting.fingerprint,
            log=self.head.number,
        )
        return CompactedFile(StoredFile(str(key), size, _FORESEEN), key, footer)

    def _merged(
        self,
        key: EventsKey,
        interval: tuple[datetime, datetime],
        files: Sequence[CompactedFile],
        missing: Sequence[RawDelivery],
        without: frozenset[str],
    ) -> tuple[Path, Footer]:
        path = self.engine.folder / str(key).rpartition("/")[2]
        erased = self._erased(min((file.footer.log for file in files), default=0))
        redacted = self._redacted(erased, files, missing)
        removed = erased.keys() | without
        splitter = Splitter(
            self.bucket, self.read, self.splitting, self.engine.folder, self.plan.processes
        )
        kept = [delivery for delivery in missing if str(delivery) not in removed]
        splitter.raw([*kept, *redacted])
        for file in filter(self._is_stale, files):
            splitter.rows(self.engine.rows(self._local(file)), removed)
        is_overlapping = overlap(files)
        parts = Parts(
            files=[self._local(file) for file in files if not self._is_stale(file)],
            new=splitter.new.paths,
            without=frozenset(removed | splitter.new.keys if is_overlapping else removed),
            overlapping=is_overlapping,
            cuts=_cuts(files),
        )
        if gone := {*map(str, redacted)} - splitter.new.keys:
            raise Lossy(f"What an erasure left of {min(gone)} is not there: it was removed")
        altered = splitter.new.altered.union(*(file.footer.altered for file in files))
        merged = self.engine.merge(parts, path)
        held = self._proved(merged, parts, splitter.new.keys, altered)
        self._check_files(files)
        footer = replace(
            self._footer(key, interval, merged, held),
            replaces={file.entry.key: file.entry.etag for file in files},
            altered=tuple(sorted(altered & held.keys())),
        )
        return path, footer

    def _proved(
        self, merged: Merged, parts: Parts, added: set[str], altered: set[str]
    ) -> dict[str, Held]:
        """What the new file holds: each delivery rebuilt; or, of whole files, every row there.

        Raises Lossy where that is not all there was.
        """
        is_roll_up = not (parts.new or parts.without or parts.overlapping)
        held = self.engine.held([merged.path], prove=not is_roll_up)
        if is_roll_up and self.engine.checksum([merged.path]) != self.engine.checksum(parts.files):
            raise Lossy(f"{merged.path.name} has not the rows of the files it is made of")
        lost = added - held.keys() | {
            key for key, of_one in held.items() if not of_one.is_whole and key not in altered
        }
        if lost:
            raise Lossy(f"{merged.path.name} lacks {len(lost)} deliveries, such as {min(lost)}")
        return held

    def _footer(
        self,
        key: EventsKey,
        interval: tuple[datetime, datetime],
        merged: Merged,
        held: dict[str, Held],
    ) -> Footer:
        return Footer(
            start=self._start(key, interval[0]),
            end=interval[1],
            **facts_of(held),
            replaces={},
            splitter=self.splitting.fingerprint,
            log=0,  # filled in
            groups=merged.groups,
            blooms=merged.blooms,
        )

    def _start(self, key: EventsKey, start: datetime) -> datetime:
        """From where a file covers: back to what is before, as nothing arrived in between.

        For days and months that is the last day that has anything, whoever compacts it and when;
        for hours the file before, where every day is looked at in order. Else readers list the gap.
        """
        if key.span != "hour":
            before = [end for _, end in map(bounds_of, self.days) if end <= key.start]
        elif self.plan.since:
            return start
        else:
            before = [file.footer.end for file in self.files.counting if file.footer.start < start]
        return min(start, max(before, default=BEGINNING))

    def _newly_covered(self, footer: Footer) -> list[tuple[datetime, datetime]]:
        """The intervals of arrival that a file covers and no other does yet: readers list raw."""
        return [
            (max(start, footer.start), min(end or footer.end, footer.end))
            for start, end in self.files.gaps()
            if start < footer.end and (end is None or end > footer.start)
        ]

    def _check_late_keys(
        self, intervals: Sequence[tuple[datetime, datetime]], taken: Sequence[RawDelivery]
    ) -> None:
        """Begin anew where a key came late into a time that readers are not to list any more.

        They may have seen it, so it has to be in the file. Looked for right before the file is put,
        and after: what came in the moment between is hidden until the file is put again, at once.
        """
        keys = {*map(str, taken), *self._erased()}
        for start, end in intervals if self.waits_for_late_keys else ():
            for raw in raw_but(self.bucket, self.read, self.stream, start, end, keys):
                if str(raw) not in keys and not self.plan.is_expired(raw.key.arrived.date()):
                    raise Taken(str(raw))

    def _check_head(self) -> None:
        """Begin anew where the log was changed while a file was made from what it said before."""
        number = manifest.head(self.bucket, self.read, self.stream, after=self.head.number)
        if number != self.head.number:
            raise Taken("the log")

    def _delete(self, files: Iterable[CompactedFile]) -> Iterator[FileChange]:
        for file in files:
            if not self.plan.dry_run:
                self.bucket.store.delete(self.read, file.entry)
                kept = tuple(other for other in self.files.counting if other is not file)
                self.files = replace(self.files, counting=kept)
            yield self._change(file, "deleted")

    # The log

    def _log_day(self, holding: _Holding, whole: CompactedFile | None) -> int:
        """Write down a day that has ended, or what of it came later; the entry to agree with."""
        if self.plan.dry_run:
            return self.head.number
        if whole:
            self._log("late", holding.missing)
            return self.head.number
        if entry := self._entry_of(holding.day):
            self._log("late", [raw for raw in holding.missing if str(raw) not in entry.added])
            return max(entry.number, self.head.changed)  # whose changes were looked at, too
        sizes = {str(raw): raw.size for raw in holding.raw}
        for key, size in self._deliveries(holding.files).items():
            sizes.setdefault(key, size)
        self._append(
            manifest.LogEntry(
                0, "day", "", day=holding.day.isoformat(), added=dict(sorted(sizes.items()))
            )
        )
        self.scanned = self.head.number
        return self.head.number

    def _entry_of(self, day: date) -> manifest.LogEntry | None:
        """The entry of a day that has no file of its own yet; None where it was not written."""
        if number := self.plan.logged.get(day):
            return manifest.entry_at(self.bucket, self.read, self.stream, number)
        start = bounds_of(day)[0]
        earlier = [file.footer.log for file in self.files.counting if file.key.start < start]
        after = max([self.scanned, *earlier])
        if after < self.head.number:  # each entry holds a day's keys, and is read once
            for entry in manifest.log_entries(self.bucket, self.read, self.stream, after=after):
                if entry.kind == "day":
                    self.logged[entry.day] = entry.number
            self.scanned = self.head.number
        number = self.logged.get(day.isoformat())
        if not number:
            return None
        return manifest.entry_at(self.bucket, self.read, self.stream, number)

    def _log(self, kind: str, added: Sequence[RawDelivery]) -> None:
        new = {str(raw): raw.size for raw in added if not raw.redacted}
        logged = [entry for entry in self.pending if entry.kind != "day"]
        new = {k: size for k, size in new.items() if not any(k in entry.added for entry in logged)}
        if new and not self.plan.dry_run:
            self._append(manifest.LogEntry(0, kind, "", added=new, reason="listed after its day"))

    def _append(self, entry: manifest.LogEntry) -> None:
        self.head = manifest.append(
            self.bucket, self.read, self.stream, self.head, self.plan.now(), entry
        )

    # What files say

    def _must_redo(self, file: CompactedFile) -> bool:
        return self._is_stale(file) or any(
            entry.number > file.footer.log
            and any(entry.touches(day) for day in file.footer.days)
            and entry.kind in ("erase",)
            for entry in self.pending
        )

    def _is_stale(self, file: CompactedFile) -> bool:
        return file.footer.splitter != self.splitting.fingerprint

    def _deliveries(self, files: Sequence[CompactedFile]) -> dict[str, int]:
        held = self.engine.held([self._local(file) for file in files]) if files else {}
        self._check_files(files)
        return {key: of_one.size for key, of_one in held.items()}

    def _local(self, file: CompactedFile) -> Path:
        return self.bucket.whole(self.read, file.entry)

    def _check_files(self, files: Iterable[CompactedFile]) -> None:
        """Raise Gone where what was read is no longer what was listed."""
        self.bucket.check(*(file.entry for file in files if file.entry.etag != _FORESEEN))

    def _erased(self, after: int = 0) -> dict[str, str]:
        """What entries after a number erased: the SHA-256 of what is left, by key, if anything."""
        erased: dict[str, str] = {}
        for entry in self.pending:
            if entry.kind == "erase" and entry.number > after:
                left = entry.facts.get("redacted", {})
                erased |= {key: left.get(key, "") for key in entry.removed}
        return erased

    def _redacted(
        self,
        erased: Mapping[str, str],
        files: Sequence[CompactedFile],
        missing: Sequence[RawDelivery],
    ) -> list[RawDelivery]:
        """What is to be read in place of the rows and raw deliveries that were erased."""
        if not any(erased.values()):
            return []
        there = {*map(str, missing), *self._deliveries(files)}
        keys = [parse_key(key) for key, left in sorted(erased.items()) if left and key in there]
        return [RawDelivery(key, 0, redacted=True) for key in keys if isinstance(key, DeliveryKey)]

    def _change(self, file: CompactedFile, state: str) -> FileChange:
        footer = file.footer
        events = footer.events if file.entry.etag != _FORESEEN else None
        return FileChange(file.entry.key, state, events, footer.deliveries, self.bucket.name)


def _covered(delivery: RawDelivery, files: Iterable[CompactedFile]) -> bool:
    arrived = delivery.key.arrived
    return any(file.footer.start <= arrived < file.footer.end for file in files)


def _sums_of(files: Iterable[CompactedFile], day: date) -> tuple[int, int]:
    parts = [file.footer.days.get(day.isoformat(), (0, 0)) for file in files]
    return sum(count for count, _ in parts), sum(total for _, total in parts) % 2**64


def _cuts(files: Sequence[CompactedFile]) -> list[str]:
    """Subjects that part the rows of files into ranges of some SORTED_AT_ONCE rows."""
    ranges = sum(file.footer.rows for file in files) // SORTED_AT_ONCE
    firsts = sorted(group.first for file in files for group in file.footer.groups if group.first)
    if ranges < 2 or len(firsts) < ranges:
        return []
    step = len(firsts) / ranges
    return sorted({firsts[int(number * step)] for number in range(1, ranges)})
