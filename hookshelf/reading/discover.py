"""Which apps an archive holds, at a place and at every path below it."""

from __future__ import annotations

from collections.abc import Iterator

from chalicelib.keys import EVENTS_FOLDER, app_in, is_app, is_of_days, is_path
from chalicelib.settings import BucketPath
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.values import Read, Stream


def streams_below(bucket: Bucket, read: Read, place: BucketPath) -> list[Stream]:
    """Every app at a place and below it, in order of their keys. One LIST for each folder."""
    streams = {
        Stream(place.bucket, prefix, app)
        for prefix, name, inside in _folders_below(bucket, read, place)
        for app in _apps(name, inside)
    }
    return sorted(streams, key=str)


def prefixes_below(bucket: Bucket, read: Read, place: BucketPath) -> list[str]:
    """A place's prefix, and every one below it that an app may have."""
    below = {prefix for prefix, _, _ in _folders_below(bucket, read, place)}
    return sorted({place.prefix, *below})


def _folders_below(
    bucket: Bucket, read: Read, place: BucketPath
) -> Iterator[tuple[str, str, list[str]]]:
    """Each folder that an app, a path or compacted files may have, with what is inside."""

    def folders(prefix: str) -> list[str]:
        return bucket.store.folders(read, prefix)

    prefixes = [place.prefix]
    while prefixes:
        names = bucket.map(folders, prefixes)
        below = [
            (prefix, name)
            for prefix, inner in zip(prefixes, names, strict=True)
            for name in inner
            if name == EVENTS_FOLDER or is_app(name) or is_path(prefix + name)
        ]
        inside = bucket.map(folders, [f"{prefix}{name}/" for prefix, name in below])
        prefixes = []
        for (prefix, name), inner in zip(below, inside, strict=True):
            yield prefix, name, inner
            if is_path(prefix + name) and not all(map(is_of_days, inner)):
                prefixes.append(f"{prefix}{name}/")


def _apps(name: str, inside: list[str]) -> Iterator[str]:
    """The apps that a folder shows: itself, or those of the compacted files."""
    if name == EVENTS_FOLDER:
        yield from filter(None, map(app_in, inside))
    elif is_app(name) and any(map(is_of_days, inside)):
        yield name
