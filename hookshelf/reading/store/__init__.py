"""The port reading and compacting have to wherever objects lie.

The port of receiving puts once, gets and lists; this one adds ranges, conditions and deleting. A
store that knows no conditions (`rclone serve s3`) answers them as if they held: then one writer at
a time is its user's promise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from chalicelib.delivery import ArchiveObject
from chalicelib.settings import Settings
from chalicelib.store import open_store
from hookshelf.reading.errors import ReadingError
from hookshelf.reading.values import Read


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One line of a listing."""

    key: str
    size: int  # bytes of the body
    etag: str  # as the store names this content; quotes are part of it


class ReadingStore(Protocol):
    """One bucket. `tests/reading/test_store.py` holds every store to this.

    All of it may be called from many threads at once. What is requested is counted in the `Read`
    that is handed in. Besides what is named, each raises chalicelib.store.Unreadable.
    """

    def entries(self, read: Read, prefix: str = "", *, after: str = "") -> Iterator[StoredFile]:
        """Every object whose key begins with `prefix` and sorts after `after`, in key order."""

    def folders(self, read: Read, prefix: str = "") -> list[str]:
        """The next path segments below `prefix`, without slashes, in order."""

    def load(self, read: Read, key: str) -> ArchiveObject:
        """An object with its metadata. Raises chalicelib.store.NotFound."""

    def range(self, read: Read, entry: StoredFile, start: int, length: int) -> bytes:
        """Part of an object, from `start`. Raises Gone where it is not what was listed."""

    def put_file(
        self, read: Read, key: str, body: bytes | Path, *, replacing: StoredFile | None
    ) -> StoredFile:
        """Put where nothing is, or in place of exactly `replacing`. Raises Taken."""

    def delete(self, read: Read, entry: StoredFile) -> None:
        """Delete exactly what was listed; nothing happens where it is gone or replaced."""


def open_reading_store(settings: Settings, bucket: str) -> ReadingStore:
    """The store of a bucket: the kind that receiving would choose. Raises ReadingError."""
    kind = type(open_store(settings, bucket)).__name__
    if kind == "FolderStore":
        from hookshelf.reading.store.folder import ReadingFolder

        return ReadingFolder(settings.folder, bucket)
    if kind == "ObstoreStore":
        from hookshelf.reading.store.s3_obstore import ReadingObstore

        return ReadingObstore(settings, bucket)
    if kind == "Boto3Store":
        from hookshelf.reading.store.s3_boto3 import ReadingBoto3

        return ReadingBoto3(settings, bucket)
    raise ReadingError(f"What {kind} keeps cannot be read back: nothing in reading/store/ does")
