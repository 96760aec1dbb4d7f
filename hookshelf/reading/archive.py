"""The archive as a value: what `from hookshelf import Archive` gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chalicelib.settings import Place, Settings, from_environment, parse_place
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.discover import streams_below
from hookshelf.reading.errors import BadQuestion, NoSuchApp
from hookshelf.reading.events import collapsed
from hookshelf.reading.selection import Selection
from hookshelf.reading.sources import splitting_of
from hookshelf.reading.store import open_reading_store
from hookshelf.reading.times import Moment, since, until
from hookshelf.reading.values import ArchivedEvent, Read, Stream
from hookshelf.settings import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hookshelf.reading.compact import FileChange


@dataclass
class Found:
    """The events of a `find`, in order of their time, and what was read for them."""

    events: Iterator[ArchivedEvent]
    read: Read = field(default_factory=Read)

    def __iter__(self) -> Iterator[ArchivedEvent]:
        return self.events


class Archive:
    """Everything at a location: of one app, or of all."""

    def __init__(
        self,
        location: str | os.PathLike[str] | None = None,
        *,
        app: str | None = None,
        stage: str | None = None,
        environ: Mapping[str, str] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.now = now
        self.environ = dict(environ if environ is not None else environment(stage))
        self.app = app
        self.settings, self.places = _located(location, self.environ)
        self._buckets: dict[str, Bucket] = {}

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
        selection = self._selection(since, until)
        selection = Selection(
            subject=subject,
            since=selection.since,
            until=selection.until,
            type=type,
            id=id,
            correlation=correlation,
        )
        from hookshelf.reading.lookup import rows_of

        read = Read()
        with read.timed():
            rows = [
                (stream, row)
                for stream in self._streams(read, app)
                for row in rows_of(
                    self._bucket(stream.bucket),
                    read,
                    stream,
                    selection,
                    splitting_of(stream.app, self.environ),
                )
            ]
            events = collapsed(rows, all=all)
        return Found(iter(events[-limit:] if limit else events), read)

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
    ) -> Iterator[FileChange]:
        """Bring the compacted files up to date, ended months too; what became of each file.

        `keep` deletes days that are older. `look_back` limits how far back late keys are looked
        for (a LIST per day); None is everywhere. `remaining` gives the seconds until a deadline:
        the work stops in time, and the next run goes on.
        """
        from hookshelf.reading.compact import Plan, compact_stream

        selection = self._selection(since, until)
        plan = Plan(
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
            for stream in self._streams(read, app):
                splitting = splitting_of(stream.app, self.environ)
                bucket = self._bucket(stream.bucket)
                yield from compact_stream(bucket, read, stream, splitting, plan)

    def _selection(self, since_: Moment, until_: Moment) -> Selection:
        now = self.now()
        return Selection(since=since(since_, now), until=until(until_, now))

    def _streams(self, read: Read, app: str | None) -> list[Stream]:
        app = app or self.app
        streams = [
            stream
            for place in self.places
            for stream in streams_below(self._bucket(place.bucket), read, place)
        ]
        chosen = [stream for stream in dict.fromkeys(streams) if app in (None, stream.app)]
        if app and not chosen:
            there = ", ".join(sorted({stream.app for stream in streams})) or "none"
            raise NoSuchApp(f"No deliveries of app {app!r}. Apps there are: {there}")
        return chosen

    def _bucket(self, name: str) -> Bucket:
        if name not in self._buckets:
            self._buckets[name] = Bucket(name, open_reading_store(self.settings, name))
        return self._buckets[name]


def _located(
    location: str | os.PathLike[str] | None, environ: Mapping[str, str]
) -> tuple[Settings, tuple[Place, ...]]:
    """The settings and places meant: a bucket with a path, a folder, or what is configured."""
    if location is None:
        settings = from_environment(environ)
        return settings, settings.places
    text = os.fspath(location)
    if not isinstance(location, str) or text.startswith(("/", ".", "~")):
        folder = Path(text).expanduser()
        if not folder.is_dir():
            raise BadQuestion(f"{text} is no folder")
        return _folder(folder, environ)
    place = parse_place(text)
    if place is None:
        raise BadQuestion(f"{text!r}: use bucket or bucket/path; a folder begins with / or ./")
    return from_environment({**environ, "ARCHIVE_BUCKETS": text}), (place,)


def _folder(folder: Path, environ: Mapping[str, str]) -> tuple[Settings, tuple[Place, ...]]:
    """A folder of buckets, as ARCHIVE_FOLDER is; or one bucket of such a folder."""
    folder = folder.resolve()
    below = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    is_bucket = any(
        name.startswith(("layer=", "_")) or any((folder / name).glob("dt=*")) for name in below
    )
    root, buckets = (folder.parent, [folder.name]) if is_bucket else (folder, sorted(below))
    places = tuple(place for name in buckets if (place := parse_place(name)))
    if not places:
        raise BadQuestion(f"{folder} holds no archive: no folder of a bucket's name")
    names = ",".join(place.bucket for place in places)
    environ = {**environ, "ARCHIVE_FOLDER": str(root), "ARCHIVE_BUCKETS": names}
    return from_environment(environ), places
