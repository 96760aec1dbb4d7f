"""A folder, with S3's conditions emulated: a lock for writers, and rename.

An ETag is inode, time of change and size: a file that is replaced by rename has another.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chalicelib.delivery import ArchiveObject
from chalicelib.settings import Settings
from chalicelib.store import NotFound, Unreadable, check_prefix
from hookshelf.reading.errors import Gone, Taken
from hookshelf.reading.scratch import write_whole
from hookshelf.reading.store import StoredFile, Version
from hookshelf.reading.values import Read

_META = ".meta"  # beside what was received, see chalicelib/store/folder.py
_OF_WRITERS = ".hookshelf-"  # begins the names of the lock, and of what is being written
_LOCK = f"{_OF_WRITERS}lock"
_OURS = "."  # the lock, and what is being written: no key has a segment that begins with a dot


class ReadingFolder:
    """One bucket, as a subfolder of `folder`."""

    def __init__(self, folder: str, bucket: str) -> None:
        self._root = Path(folder).expanduser() / bucket

    def entries(self, read: Read, prefix: str = "", *, after: str = "") -> Iterator[StoredFile]:
        """See ReadingStore.entries. Folders that sort before `after` are not opened."""
        check_prefix(prefix)
        read.add(requests=1)
        with _reading():
            yield from self._below(prefix, after)

    def folders(self, read: Read, prefix: str = "") -> list[str]:
        """See ReadingStore.folders."""
        check_prefix(prefix)
        read.add(requests=1)
        with _reading():
            if self._root.parent.is_file():
                raise NotADirectoryError
            return sorted(
                entry.name
                for entry in _scan(self._root / prefix)
                if entry.is_dir() and not entry.name.startswith(_OURS)
            )

    def load(self, read: Read, key: str) -> ArchiveObject:
        """See ReadingStore.load."""
        path = f"{self._root}/{key}"  # pathlib would take longer than the disk
        with _reading():
            try:
                body = _bytes(path)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise NotFound(key) from None
            try:
                metadata = json.loads(_bytes(path + _META))
            except FileNotFoundError:
                metadata = {}
        read.add(requests=1, bytes=len(body))
        return ArchiveObject(key, body, metadata.pop("content-type", ""), metadata)

    def range(self, read: Read, entry: StoredFile, start: int, length: int) -> bytes:
        """See ReadingStore.range."""
        with _reading():
            try:
                with (self._root / entry.key).open("rb") as file:
                    if _etag(os.fstat(file.fileno())) != entry.etag:
                        raise Gone(entry.key)
                    file.seek(start)
                    body = file.read(length)
            except FileNotFoundError:
                raise Gone(entry.key) from None
        read.add(requests=1, bytes=len(body))
        return body

    def path(self, entry: StoredFile) -> Path:
        """Where the file lies, for an engine that reads files itself."""
        return self._root / entry.key

    def etag(self, key: str) -> str:
        """The ETag of what lies there now; empty where nothing does."""
        there = self._entry(key)
        return there.etag if there else ""

    def put_file(
        self, read: Read, key: str, body: bytes | Path, *, replacing: StoredFile | None
    ) -> StoredFile:
        """See ReadingStore.put_file."""
        read.add(requests=1)
        with _reading(), self._locked():
            self._check(key, replacing)
            write_whole(self._root / key, _parts(body))
            put = self._entry(key)
        assert put is not None
        return put

    def delete(self, read: Read, entry: StoredFile) -> None:
        """See ReadingStore.delete."""
        read.add(requests=1)
        with _reading(), self._locked():
            there = self._entry(entry.key)
            if there and there.etag == entry.etag:
                (self._root / entry.key).unlink()

    def put_object(self, read: Read, obj: ArchiveObject, *, replacing: StoredFile | None) -> None:
        """See ReadingStore.put_object."""
        read.add(requests=1)
        meta = {"content-type": obj.content_type} | dict(obj.metadata)
        with _reading(), self._locked():
            self._check(obj.key, replacing)
            write_whole(self._root / (obj.key + _META), [json.dumps(meta, indent=1).encode()])
            write_whole(self._root / obj.key, [obj.body])

    def versions(self, read: Read, prefix: str = "") -> Iterator[Version]:
        """See ReadingStore.versions. Of an object there is one; what was left was never one."""
        check_prefix(prefix)
        read.add(requests=1)
        with _reading():
            for path in sorted((self._root / prefix).rglob("*")):
                is_left = path.name.startswith(_OF_WRITERS)
                is_object = is_left or not path.name.endswith(_META)
                if path.is_file() and is_object and path.name != _LOCK:
                    key = str(path.relative_to(self._root))
                    yield Version(key, "unfinished" if is_left else "", not is_left)

    def load_version(self, read: Read, version: Version) -> ArchiveObject:
        """See ReadingStore.load_version."""
        return self.load(read, version.key)

    def delete_version(self, read: Read, version: Version) -> None:
        """See ReadingStore.delete_version. Its metadata first: alone nothing would list it."""
        read.add(requests=1)
        path = self._root / version.key
        with _reading(), self._locked():  # so that nobody is writing what was left
            path.with_name(path.name + _META).unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def _check(self, key: str, replacing: StoredFile | None) -> None:
        """Raise Taken where something else lies there than what is to be replaced."""
        there = self._entry(key)
        if (there and there.etag) != (replacing and replacing.etag):
            raise Taken(key)

    def _entry(self, key: str) -> StoredFile | None:
        try:
            stat = (self._root / key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return StoredFile(key, stat.st_size, _etag(stat))

    def _below(self, prefix: str, after: str) -> Iterator[StoredFile]:
        # A folder sorts as its name with the slash: that is how S3 orders keys.
        names = sorted(
            (entry.name + "/" * entry.is_dir(), entry)
            for entry in _scan(self._root / prefix)
            if not entry.name.startswith(_OURS) and not entry.name.endswith(_META)
        )
        for name, entry in names:
            key = prefix + name
            if name.endswith("/"):
                if key > after or after.startswith(key):
                    yield from self._below(key, after)
            elif key > after:
                try:
                    stat = entry.stat()
                except FileNotFoundError:
                    continue
                yield StoredFile(key, stat.st_size, _etag(stat))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _parts(body: bytes | Path) -> Iterator[bytes]:
    if isinstance(body, bytes):
        yield body
        return
    with body.open("rb") as file:
        yield from iter(lambda: file.read(1 << 20), b"")


def _bytes(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return file.read()


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _etag(stat: os.stat_result) -> str:
    return f'"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"'


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except NotFound:
        raise
    except OSError as error:
        raise Unreadable(f"folder: {type(error).__name__}") from None


def _open(settings: Settings, bucket: str) -> ReadingFolder:
    return ReadingFolder(settings.folder, bucket)


READING_STORE = _open
