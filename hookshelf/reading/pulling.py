"""Part of an archive into a folder, which then is an archive: `<folder>/<bucket>/<key>`.

Only what the key grammar can read is written, so that no key leads out of the folder. A file
appears under its name once it is whole, so that what is there need not come again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from hashlib import md5
from pathlib import Path

from chalicelib.bodies import CONTENT_TYPES
from chalicelib.keys import (
    DeliveryKey,
    UnknownKey,
    manifest_prefix,
    parse_key,
    parse_manifest,
    redacted_key,
)
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.checking import Kept, is_altered
from hookshelf.reading.errors import BadQuestion
from hookshelf.reading.files import listed_files
from hookshelf.reading.lookup import within
from hookshelf.reading.scratch import clear_unfinished, write_whole
from hookshelf.reading.selection import Selection
from hookshelf.reading.store import StoredFile
from hookshelf.reading.values import ArchivedDelivery, Pulled, Read, Stream

_META = ".meta"  # see chalicelib/store/folder.py
_PART = 16 * 1024 * 1024  # bytes of a file that are read at once


class Folder:
    """Where it is pulled to."""

    def __init__(self, root: Path, *, dry_run: bool) -> None:
        self._root = root.resolve()
        self._dry_run = dry_run
        if not dry_run:
            clear_unfinished(self._root)

    def deliveries(
        self,
        listed: Iterable[ArchivedDelivery],
        whole: Callable[[list[ArchivedDelivery]], Iterable[ArchivedDelivery]],
    ) -> Iterator[Pulled]:
        """Write deliveries of a listing; `whole` reads those that are not there yet."""
        missing = []
        for delivery in listed:
            if self._has(delivery):
                yield Pulled(delivery.bucket, delivery.key, delivery.size or 0, "there")
            else:
                missing.append(delivery)
        if self._dry_run:
            yield from (Pulled(one.bucket, one.key, one.size or 0, "pulled") for one in missing)
        else:
            yield from map(self.delivery, whole(missing))

    def delivery(self, delivery: ArchivedDelivery) -> Pulled:
        """Write one delivery, refused or not, with its metadata before it."""
        body, metadata = delivery.body or b"", delivery.metadata or {}
        extension = delivery.key.rpartition(".")[2]
        meta = {"content-type": CONTENT_TYPES[extension]} | dict(sorted(metadata.items()))
        state = "altered" if is_altered(Kept(delivery.key, body, metadata)) else "pulled"
        if not self._dry_run:
            key = _left(delivery.key) if "redacted" in metadata else delivery.key
            path = self._path(delivery.bucket, key)
            write_whole(path.with_name(path.name + _META), [json.dumps(meta, indent=1).encode()])
            write_whole(path, [body])
        return Pulled(delivery.bucket, delivery.key, len(body), state)

    def _has(self, delivery: ArchivedDelivery) -> bool:
        """Whether a delivery, or what an erasure left of it, is there already, byte for byte."""
        for key in (delivery.key, _left(delivery.key)):
            path = self._path(delivery.bucket, key)
            meta = path.with_name(path.name + _META)
            if path.exists() and meta.exists():
                metadata = {} if key == delivery.key else json.loads(meta.read_bytes())
                return not is_altered(Kept(delivery.key, path.read_bytes(), metadata))
        return False

    def file(self, bucket: Bucket, read: Read, entry: StoredFile) -> Pulled:
        """Write a compacted file or an entry of the log."""
        path = self._path(bucket.name, entry.key)
        if path.exists() and entry.etag == f'"{_md5(path)}"':
            return Pulled(bucket.name, entry.key, entry.size, "there")
        if not self._dry_run:
            starts = range(0, entry.size, _PART)
            write_whole(path, (bucket.store.range(read, entry, at, _PART) for at in starts))
        return Pulled(bucket.name, entry.key, entry.size, "pulled")

    def _path(self, bucket: str, key: str) -> Path:
        path = self._root / bucket / key
        if not path.parent.resolve().is_relative_to(self._root):
            raise BadQuestion(f"{path.parent} is a link that leads out of {self._root}")
        return path


def _left(key: str) -> str:
    """Where what an erasure left of a delivery lies."""
    parsed = parse_key(key)
    return redacted_key(parsed) if isinstance(parsed, DeliveryKey) else key


def pulled_files(
    bucket: Bucket, read: Read, stream: Stream, selection: Selection, folder: Folder
) -> Iterator[Pulled]:
    """The compacted files that hold what is asked for."""
    for file in listed_files(bucket, read, stream).counting:
        if within(file.footer, selection):
            yield folder.file(bucket, read, file.entry)


def pulled_log(bucket: Bucket, read: Read, stream: Stream, folder: Folder) -> Iterator[Pulled]:
    """The entries of the manifest log."""
    for entry in bucket.store.entries(read, manifest_prefix(stream.prefix, stream.app)):
        try:
            parse_manifest(entry.key)
        except UnknownKey:
            continue
        yield folder.file(bucket, read, entry)


def _md5(path: Path) -> str:
    digest = md5(usedforsecurity=False)
    with path.open("rb") as file:
        while part := file.read(_PART):
            digest.update(part)
    return digest.hexdigest()
