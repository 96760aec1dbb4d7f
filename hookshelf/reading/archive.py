"""The archive as a value: what `from hookshelf import Archive` gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from chalicelib.apps import app_named
from chalicelib.delivery import ArchiveObject
from chalicelib.keys import (
    DeliveryKey,
    conditions_key,
    is_app,
    is_of_days,
    is_reserved,
    parse_key,
    rejected_prefix,
)
from chalicelib.settings import BucketPath, Settings, from_environment, parse_bucket_path
from chalicelib.store import open_store
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.discover import prefixes_below, streams_below
from hookshelf.reading.errors import BadQuestion, NoSuchApp, NoSuchDelivery, retried
from hookshelf.reading.events import collapsed
from hookshelf.reading.raw import bounds_of
from hookshelf.reading.selection import Selection
from hookshelf.reading.sources import Splitting, splitting_of
from hookshelf.reading.store import ReadingStore, keeps_conditions, open_reading_store
from hookshelf.reading.times import Moment, since, until
from hookshelf.reading.values import (
    Adopted,
    ArchivedDelivery,
    ArchivedEvent,
    Checked,
    Counted,
    Coverage,
    Deliveries,
    Found,
    ManifestHead,
    Pile,
    Pulled,
    Queried,
    Read,
    Readmitted,
    Status,
    Stream,
    Verified,
)
from hookshelf.settings import environment

if TYPE_CHECKING:
    from hookshelf.reading.compact import FileChange, LoggedDay
    from hookshelf.reading.ddl import EventsTable
    from hookshelf.reading.erasing import Erasure
    from hookshelf.reading.follow import Follower
    from hookshelf.reading.manifest import LogEntry
    from hookshelf.reading.rows import Row
    from hookshelf.reading.scan import Scan

_EPOCH = datetime.fromtimestamp(0, UTC)
_STREAMS_AT_ONCE = 16  # apps in which something is looked up; each asks for many things at once

Out = TypeVar("Out")


class Archive:
    """Everything at a location: of one app, or of all."""

    def __init__(
        self,
        location: str | os.PathLike[str] | None = None,
        *,
        app: str | None = None,
        stage: str | None = None,
        environ: Mapping[str, str] | None = None,
        tz: tzinfo = UTC,
        below: bool = True,
        open_store: Callable[[Settings, str], ReadingStore] = open_reading_store,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        progress: Callable[[str], object] = lambda line: None,
    ) -> None:
        self.now = now
        self._progress = progress  # is told how far long work is, a line at a time
        self._open_store = open_store
        self.tz = tz  # of dates and times that are given without one
        self.environ = dict(environ if environ is not None else environment(stage))
        self.app = app
        self._below = below  # whether paths below a place are part of it
        self.settings, self.places = _located(location, self.environ)
        self._buckets: dict[str, Bucket] = {}

    def in_zone(self, tz: tzinfo) -> Archive:
        """The same archive, with what is known of it already; dates and days are those of `tz`."""
        other = copy(self)
        other.tz = tz
        return other

    def apps(self) -> list[Stream]:
        """Every app at every place, raw or compacted, in order."""
        return self._streams(Read(), None)

    def find(
        self,
        subject: str | None = None,
        *,
        app: str | None = None,
        since: Moment = None,
        until: Moment = None,
        type: str | None = None,
        id: str | None = None,
        correlation: str | None = None,
        all: bool = False,
        limit: int | None = None,
    ) -> Found:
        """Events, each once, in order of their own time; `limit` keeps the newest."""
        read = Read()
        selection = self._selection(since, until, subject, type, id, correlation)
        if limit is not None and limit < 1:
            raise BadQuestion("The limit is at least 1")
        if subject is None and id is None and correlation is None:
            return Found(self._scanned(read, app, selection, all, limit), read)
        from hookshelf.reading.lookup import rows_of

        def rows(opened: tuple[Bucket, Stream]) -> list[tuple[Stream, Row]]:
            bucket, stream = opened
            splitting = self._splitting(stream)
            return [(stream, row) for row in rows_of(bucket, read, stream, selection, splitting)]

        with read.timed():
            streams = self._opened(read, app)
            if len(streams) == 1:
                events = collapsed(rows(streams[0]), all=all)
            else:
                with ThreadPoolExecutor(_STREAMS_AT_ONCE) as pool:
                    events = collapsed(chain.from_iterable(pool.map(rows, streams)), all=all)
        return Found(iter(events[-limit:] if limit else events), read)

    def count(
        self,
        by: Sequence[str] = (),
        subject: str | None = None,
        *,
        app: str | None = None,
        since: Moment = None,
        until: Moment = None,
        type: str | None = None,
        id: str | None = None,
        correlation: str | None = None,
    ) -> Counted:
        """Distinct events and their repeats, by any fields of scan.COUNTABLE, in their order."""
        read = Read()
        selection = self._selection(since, until, subject, type, id, correlation)
        with read.timed():
            return Counted(
                self._asked(read, app, selection, lambda scan: scan.count(by, self.tz)), read
            )

    def query(self, sql: str, *, app: str | None = None) -> Queried:
        """One statement over `events`, `events_once` and `deliveries`; it reaches nothing else."""
        read = Read()
        with read.timed():
            columns, rows = self._asked(read, app, Selection(), lambda scan: scan.query(sql))
        return Queried(columns, rows, read)

    def deliveries(
        self,
        *,
        app: str | None = None,
        since: Moment = None,
        until: Moment = None,
        whole: bool = False,
    ) -> Deliveries:
        """Every delivery, by app and arrival; `whole` gives each with its body and metadata.

        Whole ones come in order of arrival file by file, and what is raw after them.
        """
        from hookshelf.reading.bodies import whole_deliveries
        from hookshelf.reading.listing import deliveries_of, with_body

        read = Read()
        selection = self._selection(since, until)
        streams = self._opened(read, app)
        if whole:
            return Deliveries(
                (
                    with_body(bucket, delivery.key, delivery.obj, delivery.state)
                    for bucket, stream in streams
                    for delivery in whole_deliveries(bucket, read, stream, selection)
                ),
                read,
            )
        return Deliveries(
            (
                delivery
                for bucket, stream in streams
                for delivery in deliveries_of(bucket, read, stream, selection)
            ),
            read,
        )

    def whole(self, deliveries: Iterable[ArchivedDelivery]) -> Deliveries:
        """Deliveries of a listing with their bodies, in the order given; none that went since."""
        from hookshelf.reading.loading import in_order

        read = Read()
        return Deliveries(in_order(self._bucket, read, list(deliveries)), read)

    def delivery(
        self, hash_or_key: str, *, app: str | None = None, read: Read | None = None
    ) -> ArchivedDelivery:
        """One delivery with its body and metadata; the beginning of its hash will do.

        Of a body that was sent again the first arrival is given. Raises NoSuchDelivery.
        """
        from hookshelf.reading.listing import full_key, matching, one_of, whole

        read = read or Read()
        with read.timed():
            streams = self._opened(read, app)
            key = full_key(hash_or_key)
            places = {
                text: (bucket, stream)
                for bucket, stream in streams
                for text in (
                    matching(bucket, read, stream, hash_or_key)
                    if key is None
                    else [str(key)] * ((key.prefix, key.app) == (stream.prefix, stream.app))
                )
            }
            text = one_of(list(places), hash_or_key)
            delivery = whole(places[text][0], read, places[text][1], text)
        if delivery is None:
            raise NoSuchDelivery(f"No delivery {text}")
        return delivery

    def events_of(self, delivery: ArchivedDelivery) -> list[ArchivedEvent]:
        """What a delivery carries, in its order; it must have its body (`delivery` gives it)."""
        from hookshelf.reading.listing import events_of

        return events_of(delivery, self._splitting_of(delivery.app))

    def refused(
        self, *, app: str | None = None, since: Moment = None, until: Moment = None
    ) -> Deliveries:
        """What was refused and kept under `_rejected/`, with its metadata: why, and the verdict."""
        from hookshelf.reading.listing import refused

        read = Read()
        selection = self._selection(since, until)

        def deliveries() -> Iterator[ArchivedDelivery]:
            with read.timed():
                for place in self.places:
                    bucket = self._bucket(place.bucket)
                    for prefix in self._prefixes(read, place):
                        yield from refused(bucket, read, prefix, app or self.app, selection)

        return Deliveries(deliveries(), read)

    def refused_delivery(self, key: str) -> ArchivedDelivery:
        """One delivery that was refused and kept, whole. Raises NoSuchDelivery."""
        from hookshelf.reading.listing import refused_one, rejected_key

        rejected = rejected_key(key)
        if rejected and self.app in (None, rejected.app):
            there = rejected.prefix.removesuffix("/")
            for bucket in dict.fromkeys(place.bucket for place in self.places):
                if self._holds(BucketPath(bucket, there)) and (
                    delivery := refused_one(self._bucket(bucket), Read(), rejected)
                ):
                    return delivery
        raise NoSuchDelivery(f"No refused delivery {key}")

    def refused_apps(self) -> list[str]:
        """The apps of which something was refused and kept; in order."""
        read = Read()
        folders = (
            self._bucket(place.bucket).store.folders(read, rejected_prefix(prefix))
            for place in self.places
            for prefix in self._prefixes(read, place)
        )
        return sorted({app for names in folders for app in names if is_app(app)})

    def verify(
        self,
        *,
        app: str | None = None,
        since: Moment = None,
        until: Moment = None,
        rejected: bool = False,
        raw: bool = False,
        processes: int | None = None,
    ) -> Verified:
        """Every delivery checked again, and what is there against the manifest log.

        `raw` asks for the raw objects themselves; `rejected` for what was refused instead.
        Signatures are checked in so many other processes where there are many; None: one a core.
        """
        from hookshelf.reading.checking import Checkers, checked_refused
        from hookshelf.reading.verifying import Verifying

        read = Read()
        verified = Verified(iter(()), read)
        checkers = Checkers(self.environ, processes)
        if rejected:
            refused = self.refused(app=app, since=since, until=until)
            verified.read = refused.read
            verified.checked = checked_refused(refused, checkers)
            return verified
        selection = self._selection(since, until)
        streams = self._opened(read, app)

        def checked() -> Iterator[Checked]:
            with read.timed(), checkers:
                for bucket, stream in streams:
                    app_named(stream.app, self.environ)  # before anything is read for it
                    verifying = Verifying(bucket, read, stream, selection, checkers)
                    yield from verifying.run(raw=raw)
                    verified.hashes |= verifying.log.hashes
                    verified.unfinished += [(kind, stream.app) for kind in verifying.unfinished]

        verified.checked = checked()
        return verified

    def readmit(
        self,
        *,
        app: str | None = None,
        since: Moment = None,
        until: Moment = None,
        as_is: str = "",
        dry_run: bool = False,
    ) -> Iterator[Readmitted]:
        """Refused deliveries, checked again and archived as they arrived; what became of each.

        `as_is` is the reason for which they are accepted whatever their verdict.
        """
        from hookshelf.reading.readmitting import Readmission, at_once, readmit, stream_of

        read, count = Read(), 0
        plan = Readmission(self.environ, self.now(), self._put, as_is, dry_run)
        refused = self.refused(app=app, since=since, until=until)
        for stream, of_stream in groupby(refused, stream_of):
            keys: list[str] = []
            for deliveries in at_once(of_stream):
                count += len(deliveries)
                self._progress(f"Checked {count:,} refused deliveries")
                for line in readmit(self._bucket(stream.bucket), read, stream, deliveries, plan):
                    keys += [line.key] if line.key else []
                    yield line
            if keys and not dry_run:
                self._compact_again(stream, keys)

    def adopt(
        self,
        pile: Iterable[Pile],
        app: str,
        *,
        since: Moment = None,
        until: Moment = None,
        dry_run: bool = False,
    ) -> Iterator[Adopted]:
        """Objects that something else wrote, as deliveries of an app at the first place."""
        from hookshelf.reading.adopting import adopt

        place, read = self.places[0], Read()
        stream = Stream(place.bucket, place.prefix, app)
        keys: list[str] = []
        for line in adopt(
            self._bucket(place.bucket),
            read,
            stream,
            pile,
            self._splitting_of(app).source({}),
            self._selection(since, until),
            now=self.now(),
            put=None if dry_run else self._put,
        ):
            keys += [line.key] if line.key else []
            yield line
        if keys and not dry_run:
            self._compact_again(stream, keys)

    def pile(self, bucket: str, prefix: str) -> Iterator[Pile]:
        """Whatever lies under a prefix of a bucket, to be adopted."""
        read, store = Read(), self._bucket(bucket).store
        for entry in store.entries(read, prefix):
            yield Pile(entry.key, store.load(read, entry.key).body, None)

    def _put(self, bucket: str, obj: ArchiveObject) -> None:
        open_store(self.settings, bucket).put(obj)

    def _compact_again(self, stream: Stream, keys: Iterable[str]) -> None:
        """Make the files that stand for the time of some new deliveries agree with them."""
        from hookshelf.reading.admitting import are_covered

        arrived = [key.arrived for key in map(parse_key, keys) if isinstance(key, DeliveryKey)]
        if not are_covered(self._bucket(stream.bucket), Read(), stream, arrived):
            return
        for day in sorted({moment.date() for moment in arrived}):
            start, end = bounds_of(day)
            for _ in self.compact(app=stream.app, since=start, until=end):
                pass

    def pull(
        self,
        to: Path,
        *,
        app: str | None = None,
        since: Moment = None,
        until: Moment = None,
        compacted: bool = False,
        dry_run: bool = False,
    ) -> Iterator[Pulled]:
        """Write a range into a folder, which then is an archive of the same buckets.

        `compacted` takes whole files, and raw only what they do not hold. What was refused in the
        range comes too; the manifest log only where no range is given, as it is about everything.
        """
        from hookshelf.reading.pulling import Folder, pulled_files, pulled_log

        read = Read()
        folder = Folder(to, dry_run=dry_run)
        selection = self._selection(since, until)
        for bucket, stream in self._opened(read, app):
            if compacted:
                yield from pulled_files(bucket, read, stream, selection, folder)
            if since is None and until is None:
                yield from pulled_log(bucket, read, stream, folder)
        listed = self.deliveries(app=app, since=since, until=until)
        wanted = (one for one in listed if not (compacted and one.state == "compacted"))
        yield from folder.deliveries(wanted, self.whole)
        yield from map(folder.delivery, self.refused(app=app, since=since, until=until))

    def erasure(
        self, subject: str, *, app: str | None = None, since: Moment = None, until: Moment = None
    ) -> Erasure:
        """What there is of a person: `look`, then `apply`. What arrives from now on stays.

        Raises BadQuestion for an empty subject, or NoSuchApp.
        """
        from hookshelf.reading.erasing import Erasure, StreamErasure
        from hookshelf.reading.traces import Traces

        read, traces = Read(), Traces(subject)
        selection = self._selection(since, until)
        ends = [moment for moment in (selection.until, self.now()) if moment]
        selection = replace(selection, until=min(ends))
        parts = [
            StreamErasure(bucket, read, stream, selection, self._splitting(stream), traces)
            for bucket, stream in self._with_refused(read, app)
        ]
        return Erasure(parts, read, self.now, self._compact_days, self._progress)

    def _with_refused(self, read: Read, app: str | None) -> list[tuple[Bucket, Stream]]:
        """Every app, those too of which there is nothing but what was refused."""
        app = app or self.app
        refused_only = [
            Stream(place.bucket, prefix, name)
            for place in self.places
            for prefix in self._prefixes(read, place)
            for name in self._bucket(place.bucket).store.folders(read, rejected_prefix(prefix))
            if is_app(name) and app in (None, name)
        ]
        streams = self._there(read, app) if refused_only else self._streams(read, app)
        every = sorted({*refused_only, *(s for s in streams if app in (None, s.app))}, key=str)
        return [(self._bucket(stream.bucket), stream) for stream in every]

    def _compact_days(self, stream: Stream, days: Iterable[date]) -> bool:
        """Make the files of some days agree with the log; whether one of them changed."""
        from hookshelf.reading.files import listed_files

        files = listed_files(self._bucket(stream.bucket), Read(), stream)
        held = {day for file in (*files.counting, *files.replaced) for day in file.footer.days}
        is_changed = False
        for day in sorted(day for day in days if day.isoformat() in held):
            start, end = bounds_of(day)
            for change in self.compact(streams=[stream], since=start, until=end):
                is_changed |= change.state != "unchanged"
        return is_changed

    def evidence(
        self, delivery: ArchivedDelivery, event: ArchivedEvent | None = None
    ) -> dict[str, bytes]:
        """The files that prove a delivery, or one event of it, by name. Raises NothingToProve."""
        from hookshelf.reading.evidence import evidence_of

        bucket = self._bucket(delivery.bucket)
        return evidence_of(bucket, Read(), delivery, event, self.environ, self.now())

    def logged(self, delivery: ArchivedDelivery) -> LogEntry | None:
        """The first entry of the manifest log that names a delivery; None where none does.

        It reads the whole log, which has a line for every delivery.
        """
        from hookshelf.reading import manifest

        key = parse_key(delivery.key)
        stream = Stream(delivery.bucket, key.prefix, delivery.app)
        log = manifest.read_log(self._bucket(delivery.bucket), Read(), stream)
        return next((entry for entry in log.entries if delivery.key in entry.added), None)

    def manifests(self, *, app: str | None = None) -> list[ManifestHead]:
        """The head of each app's manifest log: kept elsewhere, it proves all before it."""
        from hookshelf.reading import manifest

        read = Read()
        return [
            ManifestHead(stream, end.number, end.sha256)
            for bucket, stream in self._opened(read, app)
            for end in [manifest.head_of(bucket, read, stream, manifest.head(bucket, read, stream))]
        ]

    def follow(self, *, app: str | None = None, since: Moment = None, last: int = 20) -> Follower:
        """New deliveries, from `since` on or from the `last` there are."""
        from hookshelf.reading.follow import Follower

        read = Read()
        streams = self._opened(read, app)
        start = self._selection(since, None).since
        if start is None:
            newest = sorted(d.arrived for d in self._newest(read, streams, last))[-last:]
            start = newest[0] if newest and last else self.now()
        return Follower(streams, start, self.now)

    def coverage(self, *, app: str | None = None) -> list[Coverage]:
        """What there is of each app, from footers and one listing of what is newer."""
        return [
            Coverage(s.stream, s.first, s.last, s.compacted_until, s.deliveries, s.gaps)
            for s in self.status(app=app)
        ]

    def status(
        self,
        *,
        app: str | None = None,
        since: Moment = None,
        until: Moment = None,
        read: Read | None = None,
    ) -> list[Status]:
        """What there is of each app; raw deliveries that a file covers are not listed.

        Of a file that only in part was received when it is asked for, the deliveries are read.
        """
        from hookshelf.reading.status import status_of

        read = read or Read()
        selection = self._selection(since, until)
        with read.timed():
            return [
                status_of(bucket, read, stream, selection)
                for bucket, stream in self._opened(read, app)
            ]

    def without_conditions(self, *, app: str | None = None) -> list[str]:
        """The buckets on S3 servers that ignore conditions: there, one compactor at a time.

        AWS keeps them and is not asked; what else there is takes three requests.
        """
        if self.settings.folder or not self.settings.endpoint:
            return []
        read = Read()
        prefixes = {stream.bucket: stream.prefix for _, stream in self._opened(read, app)}
        return [
            name
            for name, prefix in sorted(prefixes.items())
            if not keeps_conditions(self._bucket(name).store, read, conditions_key(prefix))
        ]

    def compact(
        self,
        *,
        app: str | None = None,
        since: Moment = None,
        until: Moment = None,
        keep: timedelta | None = None,
        look_back: timedelta | None = None,
        dry_run: bool = False,
        remaining: Callable[[], float] | None = None,
        processes: int | None = None,
        memory_mb: int = 400,
        read: Read | None = None,
        streams: Iterable[Stream] | None = None,
    ) -> Iterator[FileChange]:
        """Bring the compacted files up to date, ended months too; what became of each file.

        `streams` are some of `apps()`, in the order they are to be compacted in; None is all.

        `keep` deletes days that are older. `look_back` limits how far back late keys are looked
        for (a LIST per day); None is everywhere. `remaining` gives the seconds until a deadline:
        the work stops in time, and the next run goes on.
        """
        from hookshelf.reading.compact import CompactionPlan, compact_stream

        selection = self._selection(since, until)
        plan = CompactionPlan(
            now=self.now,
            since=selection.since,
            until=selection.until,
            look_back=look_back,
            keep=keep,
            dry_run=dry_run,
            remaining=remaining,
            processes=processes,
            memory_mb=memory_mb,
        )
        read = read or Read()
        with read.timed():
            for stream in self._streams(read, app) if streams is None else streams:
                bucket, splitting = self._bucket(stream.bucket), self._splitting(stream)
                yield from compact_stream(bucket, read, stream, splitting, plan)

    def log_days(
        self, *, app: str | None = None, since: Moment = None, until: Moment = None
    ) -> list[LoggedDay]:
        """Begin compacting on many machines: the ended days that have no file of their own yet.

        They are written into the manifest log first, as `compact` does. Give each to `compact_day`,
        in any order; then `compact` ends the work, with the same files as if it had done it all.
        """
        from hookshelf.reading.compact import CompactionPlan, log_stream

        read, selection = Read(), self._selection(since, until)
        plan = CompactionPlan(now=self.now, since=selection.since, until=selection.until)
        return [
            day
            for bucket, stream in self._opened(read, app)
            for day in log_stream(bucket, read, stream, self._splitting(stream), plan)
        ]

    def compact_day(self, day: LoggedDay, *, memory_mb: int = 400) -> list[FileChange]:
        """Compact one day that `log_days` gave, beside whoever compacts other days of its app."""
        from hookshelf.reading.compact import CompactionPlan, compact_stream

        start, end = bounds_of(day.day)
        plan = CompactionPlan(
            now=self.now,
            since=start,
            until=end,
            memory_mb=memory_mb,
            logged={day.day: day.entry},
        )
        bucket = self._bucket(day.stream.bucket)
        splitting = self._splitting(day.stream)
        return list(compact_stream(bucket, Read(), day.stream, splitting, plan))

    def tables(self, *, app: str | None = None, read: Read | None = None) -> list[EventsTable]:
        """The compacted files of each place as a table; ddl.py makes it one in other engines."""
        from hookshelf.reading.ddl import tables_of

        read = read or Read()
        with read.timed():
            return tables_of(self.settings, read, self._opened(read, app))

    def _selection(
        self,
        since_: Moment,
        until_: Moment,
        subject: str | None = None,
        type: str | None = None,
        id: str | None = None,
        correlation: str | None = None,
    ) -> Selection:
        now = self.now()
        start, end = since(since_, now, self.tz), until(until_, now, self.tz)
        if start and end and start > end:
            raise BadQuestion(f"Nothing lies between: since {start} is after until {end}")
        return Selection(
            subject=subject,
            since=start,
            until=end,
            type=type,
            id=id,
            correlation=correlation,
        )

    def _asked(
        self, read: Read, app: str | None, selection: Selection, ask: Callable[[Scan], Out]
    ) -> Out:
        """An answer of a scan; from a new one where files are replaced before they are read."""
        return retried("The archive", lambda: ask(self._scan(read, app, selection)))

    def _scan(self, read: Read, app: str | None, selection: Selection) -> Scan:
        from hookshelf.reading.scan import Scan

        scan = Scan(read)
        for bucket, stream in self._opened(read, app):
            scan.add(bucket, stream, selection, self._splitting(stream))
        scan.open(selection)
        return scan

    def _scanned(
        self, read: Read, app: str | None, selection: Selection, all: bool, limit: int | None
    ) -> Iterator[ArchivedEvent]:
        with read.timed():
            yield from self._asked(
                read, app, selection, lambda scan: scan.events(all=all, limit=limit)
            )

    def _newest(
        self, read: Read, streams: Sequence[tuple[Bucket, Stream]], last: int
    ) -> Iterator[ArchivedDelivery]:
        """Deliveries among which are the newest of all: a day's, or more days' where few came."""
        from hookshelf.reading.listing import deliveries_of

        for bucket, stream in streams:
            for days in (1, 30, 36_525):
                start = max(self.now() - timedelta(days=days), _EPOCH)
                found = deliveries_of(bucket, read, stream, Selection(since=start))
                if len(found) >= last or days > 30:
                    yield from found[-last:] if last else ()
                    break

    def _opened(self, read: Read, app: str | None) -> list[tuple[Bucket, Stream]]:
        return [(self._bucket(stream.bucket), stream) for stream in self._streams(read, app)]

    def _splitting(self, stream: Stream) -> Splitting:
        return self._splitting_of(stream.app)

    def _splitting_of(self, app: str) -> Splitting:
        return splitting_of(app, self.environ)

    def _streams(self, read: Read, app: str | None) -> list[Stream]:
        app = app or self.app
        chosen = [stream for stream in self._there(read, app) if app in (None, stream.app)]
        if app and not chosen:
            there = ", ".join(sorted({stream.app for stream in self._there(read, None)})) or "none"
            raise NoSuchApp(f"No deliveries of app {app!r}. Apps there are: {there}")
        return chosen

    def _holds(self, path: BucketPath) -> bool:
        """Whether a path is a place of this archive, or lies below one that it reads too."""
        return any(place.allows(path) if self._below else place == path for place in self.places)

    def _there(self, read: Read, app: str | None) -> list[Stream]:
        streams = [
            stream
            for place in self.places
            for stream in streams_below(self._bucket(place.bucket), read, place, app)
            if self._below or stream.prefix == place.prefix
        ]
        return list(dict.fromkeys(streams))

    def _prefixes(self, read: Read, place: BucketPath) -> list[str]:
        if not self._below:
            return [place.prefix]
        return prefixes_below(self._bucket(place.bucket), read, place)

    def _bucket(self, name: str) -> Bucket:
        if name not in self._buckets:
            is_real = self._open_store is open_reading_store
            store = self._open_store(self.settings, name)
            self._buckets[name] = Bucket(name, store, self.settings if is_real else None)
            self._buckets[name].progress = self._progress
        return self._buckets[name]


def _located(
    location: str | os.PathLike[str] | None, environ: Mapping[str, str]
) -> tuple[Settings, tuple[BucketPath, ...]]:
    """The settings and places meant: a bucket with a path, a folder, or what is configured."""
    if location is None:
        settings = from_environment(environ)
        return settings, settings.bucket_paths
    text = os.fspath(location)
    if not isinstance(location, str) or text.startswith(("/", ".", "~")):
        folder = Path(text).expanduser()
        if not folder.is_dir():
            raise BadQuestion(f"{text} is no folder")
        return _folder(folder, environ)
    place = parse_bucket_path(text)
    if place is None:
        raise BadQuestion(f"{text!r}: use bucket or bucket/path; a folder begins with / or ./")
    return from_environment({**environ, "ARCHIVE_BUCKETS": text}), (place,)


def _folder(folder: Path, environ: Mapping[str, str]) -> tuple[Settings, tuple[BucketPath, ...]]:
    """A folder of buckets, as ARCHIVE_FOLDER is; or one bucket of such a folder."""
    folder = folder.resolve()
    below = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    is_bucket = any(
        is_reserved(name) or any(is_of_days(inner.name) for inner in (folder / name).iterdir())
        for name in below
    )
    root, buckets = (folder.parent, [folder.name]) if is_bucket else (folder, sorted(below))
    places = tuple(place for name in buckets if (place := parse_bucket_path(name)))
    if not places:
        raise BadQuestion(f"{folder} holds no archive: no folder of a bucket's name")
    names = ",".join(place.bucket for place in places)
    environ = {**environ, "ARCHIVE_FOLDER": str(root), "ARCHIVE_BUCKETS": names}
    return from_environment(environ), places
