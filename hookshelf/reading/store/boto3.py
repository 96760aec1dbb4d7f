"""S3 through boto3: every condition there is, and whatever credentials a machine has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.delivery import ArchiveObject
from chalicelib.store import NotFound, Unreadable, check_prefix
from chalicelib.store.boto3 import Boto3Store
from hookshelf.reading.errors import Gone, Taken
from hookshelf.reading.store import Loading, StoredFile, Version, quoted
from hookshelf.reading.values import Read

_FILE = "application/vnd.apache.parquet"


class ReadingBoto3(Loading, Boto3Store):
    """One bucket."""

    def entries(self, read: Read, prefix: str = "", *, after: str = "") -> Iterator[StoredFile]:
        """See ReadingStore.entries."""
        check_prefix(prefix)
        pages = self._reader.get_paginator("list_objects_v2").paginate(
            Prefix=prefix, StartAfter=after, **self._bucket_arguments
        )
        with _reading():
            for page in pages:
                read.add(requests=1)
                for entry in page.get("Contents", ()):
                    yield StoredFile(entry["Key"], entry["Size"], quoted(entry["ETag"]))

    def folders(self, read: Read, prefix: str = "") -> list[str]:
        """See ReadingStore.folders."""
        check_prefix(prefix)
        pages = self._reader.get_paginator("list_objects_v2").paginate(
            Prefix=prefix, Delimiter="/", **self._bucket_arguments
        )
        names = []
        with _reading():
            for page in pages:
                read.add(requests=1)
                names += [below["Prefix"] for below in page.get("CommonPrefixes", ())]
        return sorted(name.rstrip("/").rpartition("/")[2] for name in names)

    def range(self, read: Read, entry: StoredFile, start: int, length: int) -> bytes:
        """See ReadingStore.range."""
        read.add(requests=1)
        with _reading(entry.key):
            answer = self._reader.get_object(
                Key=entry.key,
                Range=f"bytes={start}-{start + length - 1}",
                IfMatch=entry.etag,
                **self._bucket_arguments,
            )
            with answer["Body"] as stream:
                body: bytes = stream.read()
        read.add(bytes=len(body))
        return body

    def put_file(
        self, read: Read, key: str, body: bytes | Path, *, replacing: StoredFile | None
    ) -> StoredFile:
        """See ReadingStore.put_file."""
        read.add(requests=1)
        with body.open("rb") if isinstance(body, Path) else BytesIO(body) as stream:
            size = stream.seek(0, SEEK_END)
            stream.seek(0)
            with _writing(key):
                answer = self._reader.put_object(
                    Key=key,
                    Body=stream,
                    ContentType=_FILE,
                    **_condition(replacing),
                    **self._bucket_arguments,
                )
        return StoredFile(key, size, quoted(answer["ETag"]))

    def delete(self, read: Read, entry: StoredFile) -> None:
        """See ReadingStore.delete."""
        read.add(requests=1)
        try:
            with _writing(entry.key):
                self._reader.delete_object(
                    Key=entry.key, IfMatch=entry.etag, **self._bucket_arguments
                )
        except Taken:
            pass

    def put_object(self, read: Read, obj: ArchiveObject, *, replacing: StoredFile | None) -> None:
        """See ReadingStore.put_object."""
        read.add(requests=1)
        with _writing(obj.key):
            self._reader.put_object(
                Key=obj.key,
                Body=obj.body,
                ContentType=obj.content_type,
                Metadata=obj.metadata,
                **_condition(replacing),
                **self._bucket_arguments,
            )

    def versions(self, read: Read, prefix: str = "") -> Iterator[Version]:
        """See ReadingStore.versions. A bucket that keeps none lists one of each, called `null`."""
        check_prefix(prefix)
        pages = self._reader.get_paginator("list_object_versions").paginate(
            Prefix=prefix, **self._bucket_arguments
        )
        with _reading():
            for page in pages:
                read.add(requests=1)
                for kind, is_marker in (("Versions", False), ("DeleteMarkers", True)):
                    for entry in page.get(kind, ()):
                        yield Version(
                            entry["Key"], entry["VersionId"], entry["IsLatest"], is_marker
                        )

    def load_version(self, read: Read, version: Version) -> ArchiveObject:
        """See ReadingStore.load_version."""
        read.add(requests=1)
        try:
            with _reading(version.key):
                answer = self._reader.get_object(
                    Key=version.key, VersionId=version.id, **self._bucket_arguments
                )
                with answer["Body"] as stream:
                    body: bytes = stream.read()
        except Gone:
            raise NotFound(version.key) from None
        read.add(bytes=len(body))
        return ArchiveObject(
            version.key, body, answer.get("ContentType", ""), answer.get("Metadata", {})
        )

    def delete_version(self, read: Read, version: Version) -> None:
        """See ReadingStore.delete_version."""
        read.add(requests=1)
        with suppress(Taken), _writing(version.key):
            self._reader.delete_object(
                Key=version.key, VersionId=version.id, **self._bucket_arguments
            )

    @cached_property
    def _reader(self) -> Any:
        # rclone sends the checksum of the whole object with a part of it.
        return self._client(attempts=3, seconds=60.0, response_checksum_validation="when_required")


def _condition(replacing: StoredFile | None) -> dict[str, str]:
    # Without the quotes: Ceph takes them for a part of the ETag, and S3 knows both.
    return {"IfMatch": replacing.etag.strip('"')} if replacing else {"IfNoneMatch": "*"}


@contextmanager
def _reading(key: str = "") -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if key and _status(error) in (404, 412):
            raise Gone(key) from None
        raise Unreadable(error.response.get("Error", {}).get("Code", "")) from None
    except BotoCoreError as error:
        raise Unreadable(type(error).__name__) from None


@contextmanager
def _writing(key: str) -> Iterator[None]:
    """409 is a conflict with another writer that has not ended: to us, that it was first."""
    try:
        yield
    except ClientError as error:
        if _status(error) in (404, 409, 412):
            raise Taken(key) from None
        raise Unreadable(error.response.get("Error", {}).get("Code", "")) from None
    except BotoCoreError as error:
        raise Unreadable(type(error).__name__) from None


def _status(error: ClientError) -> int:
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status


READING_STORE = ReadingBoto3
