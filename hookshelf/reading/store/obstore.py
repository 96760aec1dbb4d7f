"""S3 through obstore for what must be quick; through boto3 for conditions that obstore lacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError, PreconditionError
from obstore.store import S3Store

from chalicelib.delivery import ArchiveObject
from chalicelib.settings import Settings
from chalicelib.store import NotFound, Unreadable, check_prefix
from chalicelib.store.obstore import ObstoreStore
from hookshelf.reading.errors import Gone
from hookshelf.reading.store import Loading, StoredFile, Version, quoted
from hookshelf.reading.values import Read

_PAGE = 1_000  # keys in one answer of S3


class ReadingObstore(Loading, ObstoreStore):
    """One bucket, for reading with many threads."""

    def __init__(self, settings: Settings, bucket: str) -> None:
        super().__init__(settings, bucket)
        self._with_owner = bool(settings.bucket_owner)

    def entries(self, read: Read, prefix: str = "", *, after: str = "") -> Iterator[StoredFile]:
        """See ReadingStore.entries."""
        check_prefix(prefix)
        if self._with_owner:  # see ObstoreStore.list
            yield from self._boto3.entries(read, prefix, after=after)
            return
        with _reading():
            pages = obstore.list(
                self._reader, prefix or None, offset=after or None, chunk_size=_PAGE
            )
            read.add(requests=1)
            for page in pages:
                read.add(requests=int(len(page) == _PAGE))
                for entry in page:
                    yield StoredFile(entry["path"], entry["size"], quoted(entry["e_tag"] or ""))

    def folders(self, read: Read, prefix: str = "") -> list[str]:
        """See ReadingStore.folders."""
        check_prefix(prefix)
        if self._with_owner:
            names: list[str] = self._boto3.folders(read, prefix)
            return names
        read.add(requests=1)
        with _reading():
            listed = obstore.list_with_delimiter(self._reader, prefix or None)
        return sorted(path.rstrip("/").rpartition("/")[2] for path in listed["common_prefixes"])

    def range(self, read: Read, entry: StoredFile, start: int, length: int) -> bytes:
        """See ReadingStore.range."""
        read.add(requests=1)
        options: Any = {"range": (start, start + length), "if_match": entry.etag}
        try:
            with _reading():
                body = bytes(obstore.get(self._reader, entry.key, options=options).bytes())
        except (NotFound, PreconditionError):
            raise Gone(entry.key) from None
        except _WholeAnswer:
            part: bytes = self._boto3.range(read, entry, start, length)
            return part
        read.add(bytes=len(body))
        return body

    def put_file(
        self, read: Read, key: str, body: bytes | Path, *, replacing: StoredFile | None
    ) -> StoredFile:
        """See ReadingStore.put_file."""
        put: StoredFile = self._boto3.put_file(read, key, body, replacing=replacing)
        return put

    def delete(self, read: Read, entry: StoredFile) -> None:
        """See ReadingStore.delete."""
        self._boto3.delete(read, entry)

    def put_object(self, read: Read, obj: ArchiveObject, *, replacing: StoredFile | None) -> None:
        """See ReadingStore.put_object."""
        self._boto3.put_object(read, obj, replacing=replacing)

    def versions(self, read: Read, prefix: str = "") -> Iterator[Version]:
        """See ReadingStore.versions."""
        yield from self._boto3.versions(read, prefix)

    def load_version(self, read: Read, version: Version) -> ArchiveObject:
        """See ReadingStore.load_version."""
        obj: ArchiveObject = self._boto3.load_version(read, version)
        return obj

    def delete_version(self, read: Read, version: Version) -> None:
        """See ReadingStore.delete_version."""
        self._boto3.delete_version(read, version)

    @cached_property
    def _reader(self) -> S3Store:
        """With time for a part of a file, on a slow line and beside many others; as boto3 has."""
        return self._client(retries=2, seconds=60.0)

    @cached_property
    def _boto3(self) -> Any:
        from hookshelf.reading.store.boto3 import ReadingBoto3

        return ReadingBoto3(self._settings, self._bucket)


class _WholeAnswer(Exception):
    """Asked for a part, rclone sends it, but says 200, which obstore takes for the whole."""


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except PreconditionError:
        raise
    except FileNotFoundError as error:
        raise NotFound(str(error)[:0]) from None
    except BaseError as error:
        if "NotPartial" in str(error):
            raise _WholeAnswer from None
        raise Unreadable(type(error).__name__) from None


READING_STORE = ReadingObstore
