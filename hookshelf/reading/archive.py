"""The archive as a value: what `from hookshelf import Archive` gives."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from chalicelib.keys import DeliveryKey, UnknownKey, app_prefix, parse
from chalicelib.settings import Place, Settings, from_environment, parse_place
from hookshelf.reading.discover import streams_below
from hookshelf.reading.errors import BadQuestion, NoSuchApp
from hookshelf.reading.events import collapsed
from hookshelf.reading.rows import Row, to_rows
from hookshelf.reading.selection import Selection
from hookshelf.reading.sources import splitting_of
from hookshelf.reading.store import ReadingStore, open_reading_store
from hookshelf.reading.times import Moment, since, until
from hookshelf.reading.values import ArchivedEvent, Read, Stream
from hookshelf.settings import environment

AT_ONCE = 64  # requests under way at the same time


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
    ) -> None:
        self.environ = dict(environ if environ is not None else environment(stage))
        self.app = app
        self.settings, self.places = _located(location, self.environ)
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="hookshelf")

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
        read = Read()
        with read.timed():
            rows = [
                (stream, row)
                for stream in self._streams(read, app)
                for row in self._rows(read, stream, selection)
            ]
            events = collapsed(rows, all=all)
        return Found(iter(events[-limit:] if limit else events), read)

    def _selection(self, since_: Moment, until_: Moment) -> Selection:
        now = datetime.now(UTC)
        return Selection(since=since(since_, now), until=until(until_, now))

    def _streams(self, read: Read, app: str | None) -> list[Stream]:
        app = app or self.app
        streams = [
            stream
            for place in self.places
            for stream in streams_below(self._store(place.bucket), read, place, self._pool)
        ]
        chosen = [stream for stream in dict.fromkeys(streams) if app in (None, stream.app)]
        if app and not chosen:
            there = ", ".join(sorted({stream.app for stream in streams})) or "none"
            raise NoSuchApp(f"No deliveries of app {app!r}. Apps there are: {there}")
        return chosen

    def _rows(self, read: Read, stream: Stream, selection: Selection) -> Iterator[Row]:
        store = self._store(stream.bucket)
        splitting = splitting_of(stream.app, self.environ)
        for key in _deliveries(store, read, stream, selection):
            obj = store.load(read, str(key))
            read.add(raw_objects=1)
            for row in to_rows(obj, key, splitting.source(obj.metadata)):
                if row.is_event and selection.is_row(row):
                    yield row

    @cached_property
    def _stores(self) -> dict[str, ReadingStore]:
        return {
            place.bucket: open_reading_store(self.settings, place.bucket) for place in self.places
        }

    def _store(self, bucket: str) -> ReadingStore:
        return self._stores[bucket]


def _deliveries(
    store: ReadingStore, read: Read, stream: Stream, selection: Selection
) -> Iterable[DeliveryKey]:
    for entry in store.entries(read, app_prefix(stream.prefix, stream.app)):
        try:
            key = parse(entry.key)
        except UnknownKey:
            continue
        if isinstance(key, DeliveryKey) and selection.has(key.arrived):
            yield key


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
