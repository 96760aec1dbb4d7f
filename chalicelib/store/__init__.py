"""The port to wherever objects go, and the choice of a store.

A store puts once, gets and lists; it never overwrites and never deletes. One module per store; the
folder is the registry. A module here defines STORE, and its file name is what ARCHIVE_CLIENT calls
it. Only the module that is asked for is imported.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from importlib import import_module
from typing import NamedTuple, Protocol

from chalicelib.delivery import ArchiveObject
from chalicelib.errors import HookshelfError
from chalicelib.modules import module_names
from chalicelib.settings import SettingError, Settings

PUT_TIMEOUT = 8.0  # seconds for one put with all its attempts; GitHub waits 10 for a response

_log = logging.getLogger("hookshelf")
_opening = threading.Lock()  # two threads must not open a boto3 session at once


class NotStored(HookshelfError):
    """The bytes may or may not have landed; nobody has heard that they did.

    `why` is a short word for the log, never the server's own words: they hold bucket and key names
    and whatever else it likes.
    """

    def __init__(self, why: str, attempts: int = 1) -> None:
        super().__init__(why)
        self.why = why
        self.attempts = attempts


class NameTaken(HookshelfError):
    """A folder store already has this name in another case; some disks cannot keep both."""


class NotFound(HookshelfError):
    """There is no object with this key."""


class Unreadable(HookshelfError):
    """The store could not be read just now; the text is short and safe to show."""


class Listed(NamedTuple):
    """One line of a listing."""

    key: str
    size: int  # bytes of the body


class Store(Protocol):
    """What every store promises; `tests/store/test_store_contract.py` holds them to it."""

    def put(self, obj: ArchiveObject, *, seconds: float = PUT_TIMEOUT) -> int:
        """Store an object under its key unless the key is taken; say in how many attempts.

        A key holds the SHA-256 of its body, so a taken key is success. Raises NotStored when
        `seconds` are used up or another attempt could not help.
        """

    def get(self, key: str) -> ArchiveObject:
        """The object, byte for byte. Raises NotFound, or Unreadable."""

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Listed]:
        """Every object whose key begins with `prefix` and sorts after `after`, in key order.

        `prefix` is whole path segments: empty, or ending in `/`. Raises Unreadable.
        """


class StoreModule(NamedTuple):
    """What a module here says of itself."""

    # Makes the store of one bucket. Raises NotStored, or SettingError.
    open: Callable[[Settings, str], Store]
    # What is set that this store would silently ignore; empty where it can do it all.
    ignores: Callable[[Settings, str], str] = lambda settings, bucket: ""
    # Names of the environment variables it reads, which come as Settings.of_store where
    # ARCHIVE_CLIENT names it. S3's are there without.
    variables: tuple[str, ...] = ()


def check_prefix(prefix: str) -> None:
    """Refuse half a segment, which stores disagree about."""
    if prefix and not prefix.endswith("/"):
        raise ValueError(f"prefix {prefix!r} does not end in /")


@cache
def store_names() -> frozenset[str]:
    """The names of the stores there are."""
    return module_names(__file__)


def store_named(name: str) -> StoreModule:
    """The store of that name. Raises KeyError where there is none."""
    if name not in store_names():
        raise KeyError(name)
    module: StoreModule = import_module(f"{__name__}.{name}").STORE
    return module


def open_store(settings: Settings, bucket: str) -> Store:
    """The store of one bucket, made once. Raises SettingError, or NotStored if it cannot be."""
    with _opening:
        return _open(settings, bucket)


@lru_cache(maxsize=64)
def _open(settings: Settings, bucket: str) -> Store:
    return store_named(chosen_store(settings, bucket)).open(settings, bucket)


@lru_cache(maxsize=64)
def chosen_store(settings: Settings, bucket: str) -> str:
    """The name of the store that keeps a bucket. Raises SettingError."""
    if settings.folder:
        return "folder"
    if settings.client == "auto":
        return _automatic(settings, bucket)
    if ignored := store_named(settings.client).ignores(settings, bucket):
        raise SettingError(
            "ARCHIVE_CLIENT",
            f"is {settings.client}, which would ignore {ignored}. Use auto or boto3",
        )
    return settings.client


def _automatic(settings: Settings, bucket: str) -> str:
    """obstore where it can do what is asked, else boto3, which is slower and can do all."""
    why = store_named("obstore").ignores(settings, bucket)
    if not why and not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= dict(settings.aws).keys():
        why = "credentials that are not in the environment"  # of which boto3 finds more kinds
    if not why and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & dict(settings.aws).keys():
        why = "a region that is not in the environment"
    if not why:
        return "obstore"
    _log.info("boto3 store", extra={"event": "store", "client": "boto3", "why": why})
    return "boto3"
