"""The port reading and compacting have to wherever objects lie. The folder is a registry, too.

A module here is named like the one of `chalicelib/store/` whose objects it reads, and defines
READING_STORE, which makes the ReadingStore of one bucket. Only what is asked for is imported.

The port of receiving puts once, gets and lists; this one adds ranges, conditions and deleting. A
store that knows no conditions (`rclone serve s3`) answers them as if they held: `keeps_conditions`
finds that out, and then one writer at a time is its user's promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from chalicelib.delivery import ArchiveObject
from chalicelib.modules import module_names
from chalicelib.settings import Settings
from chalicelib.store import Store, chosen_store
from hookshelf.reading.errors import ReadingError, Taken
from hookshelf.reading.values import Read


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One line of a listing."""

    key: str
    size: int  # bytes of the body
    etag: str  # as the store names this content, in quotes: see `quoted`


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object, or a marker that it was deleted."""

    key: str
    id: str  # as the store names it
    is_newest: bool
    is_marker: bool = False


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

    # For erasing, which has rights that no other command needs.

    def put_object(self, read: Read, obj: ArchiveObject, *, replacing: StoredFile | None) -> None:
        """As `put_file`, with the object's metadata. Raises Taken."""

    def versions(self, read: Read, prefix: str = "") -> Iterator[Version]:
        """Every version of every object below `prefix`, and what interrupted writers left."""

    def load_version(self, read: Read, version: Version) -> ArchiveObject:
        """A version with its metadata. Raises chalicelib.store.NotFound."""

    def delete_version(self, read: Read, version: Version) -> None:
        """Delete one version for good; nothing happens where it is gone."""


class Loading:
    """`load` of a store whose `get` is that of receiving."""

    def load(self: Store, read: Read, key: str) -> ArchiveObject:
        """See ReadingStore.load."""
        obj = self.get(key)
        read.add(requests=1, bytes=len(obj.body))
        return obj


def open_reading_store(settings: Settings, bucket: str) -> ReadingStore:
    """The store of a bucket, which receiving would choose, too.

    Raises ReadingError where that can only be written to, SettingError, and NotStored.
    """
    name = chosen_store(settings, bucket)
    if name not in module_names(__file__):
        raise ReadingError(
            f"What the store {name!r} keeps cannot be read back yet: "
            f"add hookshelf/reading/store/{name}.py"
        )
    module = import_module(f"{__name__}.{name}")
    make: Callable[[Settings, str], ReadingStore] = module.READING_STORE
    return make(settings, bucket)


def quoted(etag: str) -> str:
    """An ETag in the quotes that belong to it; some servers leave them out of their listings."""
    return f'"{etag.strip(chr(34))}"' if etag else ""


def keeps_conditions(store: ReadingStore, read: Read, key: str) -> bool:
    """Whether a store refuses what a condition forbids. Puts an empty object under `key`.

    It stays there, for the next time; where conditions are ignored it is deleted again.
    """
    with suppress(Taken):  # it is there from an earlier time
        store.put_file(read, key, b"", replacing=None)
    store.delete(read, StoredFile(key, 0, '"another"'))
    try:
        probe = store.put_file(read, key, b"", replacing=None)
    except Taken:
        return True
    store.delete(read, probe)
    return False
