"""Which apps an archive holds, at a place and at every path below it.

Each wait costs a look-up a round trip. So a place's folders and its compacted files are listed at
the same time; then what is in each folder, while the files' footers are read. Only a path below
that holds an archive costs another round.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from chalicelib.keys import (
    EVENTS_FOLDER,
    UnknownKey,
    events_prefix,
    is_app,
    is_of_days,
    is_path,
    is_reserved,
    parse_events,
    redacted_prefix,
)
from chalicelib.settings import BucketPath
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.store import StoredFile
from hookshelf.reading.values import Read, Stream


def streams_below(
    bucket: Bucket, read: Read, place: BucketPath, app: str | None = None
) -> list[Stream]:
    """Every app at a place and below it, in order of their keys; with `app` at least that one.

    Its compacted files go to `bucket.ahead`, and their footers are on the way.
    """
    listing = [bucket.beside(partial(_compacted, bucket, read, place.prefix, app))]
    files: dict[Stream, list[StoredFile]] = {}
    redacted: set[str] = set()
    for prefix, name, inside in _folders_below(bucket, read, place, redacted):
        if is_app(name) and any(map(is_of_days, inside)):
            files[Stream(bucket.name, prefix, name)] = []
        if EVENTS_FOLDER in inside:
            listing.append(
                bucket.beside(partial(_compacted, bucket, read, f"{prefix}{name}/", app))
            )
    for prefix in redacted:  # of an app it may be all there is
        apps = filter(is_app, bucket.store.folders(read, redacted_prefix(prefix)))
        files |= {Stream(bucket.name, prefix, name): [] for name in apps}
    for listed in listing:
        files |= listed.result()
    bucket.ahead |= {stream: files[stream] for stream in files if app in (None, stream.app)}
    return sorted(files, key=str)


def prefixes_below(bucket: Bucket, read: Read, place: BucketPath) -> list[str]:
    """A place's prefix, and every one below it that holds more than deliveries."""
    below = {
        f"{prefix}{name}/"
        for prefix, name, inside in _folders_below(bucket, read, place, set())
        if is_path(prefix + name) and any(map(is_reserved, inside))
    }
    return sorted({place.prefix, *below})


def _compacted(
    bucket: Bucket, read: Read, prefix: str, app: str | None
) -> dict[Stream, list[StoredFile]]:
    """The compacted files there, by app; reading their footers has begun."""
    files: dict[Stream, list[StoredFile]] = {}
    for entry in bucket.store.entries(read, events_prefix(prefix, app)):
        try:
            key = parse_events(entry.key)
        except UnknownKey:
            continue  # the folder may hold what is not ours
        if key.prefix == prefix:
            files.setdefault(Stream(bucket.name, prefix, key.app), []).append(entry)
    bucket.read_ahead(read, [entry for listed in files.values() for entry in listed])
    return files


def _folders_below(
    bucket: Bucket, read: Read, place: BucketPath, redacted: set[str]
) -> Iterator[tuple[str, str, list[str]]]:
    """Each folder that an app or a path may have, with what is inside: a LIST for each.

    Prefixes at which something is redacted, or may be, are added to `redacted`.
    """

    def folders(prefix: str) -> list[str]:
        names = bucket.store.folders(read, prefix)
        if redacted_prefix(prefix) in (f"{prefix}{name}/" for name in names):
            bucket.nothing_redacted.discard(prefix)
            redacted.add(prefix)
        else:
            bucket.nothing_redacted.add(prefix)
        return names

    level = {place.prefix: folders(place.prefix)}
    while level:
        below = [
            (prefix, name)
            for prefix, names in level.items()
            for name in names
            if is_app(name) or is_path(prefix + name)
        ]
        inside = bucket.map(folders, [f"{prefix}{name}/" for prefix, name in below])
        level = {}
        for (prefix, name), inner in zip(below, inside, strict=True):
            # Where a listed folder is empty, an erasure has ended in between.
            redacted.update([] if inner else [prefix])
            yield prefix, name, inner
            if is_path(prefix + name) and not all(map(is_of_days, inner)):
                level[f"{prefix}{name}/"] = inner
