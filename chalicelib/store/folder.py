"""A folder: for trying out and for tests. It does not fsync.

Metadata lies beside each object in `<key>.meta`, as JSON, and is written first: an object that can
be listed always has it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore

from chalicelib.delivery import ArchiveObject
from chalicelib.store import (
    PUT_TIMEOUT,
    Listed,
    NameTaken,
    NotFound,
    NotStored,
    Unreadable,
    check_prefix,
)

_META = ".meta"
_naming = threading.Lock()


class FolderStore:
    """One bucket, as a subfolder of `folder`."""

    def __init__(self, folder: str, bucket: str) -> None:
        self._root = Path(folder).expanduser() / bucket

    def put(self, obj: ArchiveObject, *, seconds: float = PUT_TIMEOUT) -> int:
        """See Store.put. Raises NameTaken for a folder that differs from another only by case."""
        self._make_folders(obj.key)
        meta = {"content-type": obj.content_type} | dict(obj.metadata)
        for name, content in (
            (obj.key + _META, json.dumps(meta, indent=1).encode()),
            (obj.key, obj.body),
        ):
            try:
                obstore.put(self._files, name, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                continue
            except Exception as error:
                raise NotStored(f"folder: {type(error).__name__}") from error
        return 1

    def get(self, key: str) -> ArchiveObject:
        """See Store.get. An object without `.meta` has no metadata."""
        body = self._read(key)
        try:
            metadata = json.loads(self._read(key + _META))
        except NotFound:
            metadata = {}
        return ArchiveObject(key, body, metadata.pop("content-type", ""), metadata)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Listed]:
        """See Store.list."""
        check_prefix(prefix)
        if not self._is_there():
            return iter(())
        with _reading():
            entries = [
                Listed(entry["path"], entry["size"])
                for page in obstore.list(self._files, prefix or None)
                for entry in page
                if entry["path"] > after and not entry["path"].endswith(_META)
            ]
        return iter(sorted(entries, key=lambda entry: entry.key))

    def _is_there(self) -> bool:
        with _reading():
            try:
                return bool(self._root.stat())
            except FileNotFoundError:
                return False

    @property
    def _files(self) -> LocalStore:
        return LocalStore(self._root)

    def _read(self, key: str) -> bytes:
        if not self._is_there():
            raise NotFound(key)
        with _reading():
            try:
                return bytes(obstore.get(self._files, key).bytes())
            except FileNotFoundError:
                raise NotFound(key) from None

    def _make_folders(self, key: str) -> None:
        """Make the folders of a key, unless a disk that ignores case could not tell them apart."""
        folder = self._root
        with _naming:
            try:
                for part in Path(key).parts[:-1]:
                    folder.mkdir(parents=True, exist_ok=True)
                    there = {entry.name for entry in folder.iterdir()}
                    if part not in there and part.lower() in {name.lower() for name in there}:
                        raise NameTaken(part)
                    folder /= part
                folder.mkdir(exist_ok=True)
            except OSError as error:
                raise NotStored(f"folder: {type(error).__name__}") from error


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (OSError, BaseError) as error:
        raise Unreadable(f"folder: {type(error).__name__}") from None
