"""The port to wherever objects go, and the choice of a store.

A store puts once, gets and lists; it never overwrites and never deletes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from chalicelib.delivery import ArchiveObject
from chalicelib.errors import HookshelfError
from chalicelib.settings import SettingError, Settings

PUT_TIMEOUT = 8.0  # seconds for one put with all its attempts; GitHub waits 10 for an answer

_log = logging.getLogger("hookshelf")
_opening = threading.Lock()  # a boto3 session must not be made in two threads at once


class NotStored(HookshelfError):
    """The bytes may or may not have landed; nobody was told that they did.

    `why` is a short word for the log, never what the server said: that holds bucket and key names
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


@dataclass(frozen=True, slots=True)
class Listed:
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


def budget(context: Any) -> float:
    """Seconds for one put: 8, or what is left of the Lambda's time less one to answer in."""
    if context is None:
        return PUT_TIMEOUT
    left: float = context.get_remaining_time_in_millis() / 1000
    return min(PUT_TIMEOUT, left - 1)


def check_prefix(prefix: str) -> None:
    """Refuse half a segment, which stores disagree about."""
    if prefix and not prefix.endswith("/"):
        raise ValueError(f"prefix {prefix!r} does not end in /")


def open_store(settings: Settings, bucket: str) -> Store:
    """The store of one bucket, made once. Raises SettingError, or NotStored if it cannot be."""
    with _opening:
        return _open(settings, bucket)


@lru_cache(maxsize=64)
def _open(settings: Settings, bucket: str) -> Store:
    if settings.folder:
        from chalicelib.store.folder import FolderStore

        return FolderStore(settings.folder, bucket)
    needs_boto3 = _beyond_obstore(settings, bucket)
    if settings.client == "boto3" or (settings.client == "auto" and needs_boto3):
        if settings.client == "auto":
            _log.info(
                "boto3 store", extra={"event": "store", "client": "boto3", "why": needs_boto3}
            )
        from chalicelib.store.s3_boto3 import Boto3Store

        return Boto3Store(settings, bucket)
    if needs_boto3 and needs_boto3 != _NO_CREDENTIALS:
        raise SettingError(
            "ARCHIVE_CLIENT", f"is obstore, which would ignore {needs_boto3}. Use auto or boto3"
        )
    from chalicelib.store.s3_obstore import ObstoreStore

    return ObstoreStore(settings, bucket)


_NO_CREDENTIALS = "credentials that are not in the environment"


def _beyond_obstore(settings: Settings, bucket: str) -> str:
    """What is asked for that obstore silently ignores; empty where it can do it all."""
    aws = dict(settings.aws)
    region = aws.get("AWS_REGION") or aws.get("AWS_DEFAULT_REGION") or ""
    asked = {
        "a profile": "AWS_PROFILE" in aws or "AWS_DEFAULT_PROFILE" in aws,
        "AWS_USE_FIPS_ENDPOINT": aws.get("AWS_USE_FIPS_ENDPOINT", "").lower() == "true",
        "AWS_USE_DUALSTACK_ENDPOINT": aws.get("AWS_USE_DUALSTACK_ENDPOINT", "").lower() == "true",
        "AWS_CA_BUNDLE": "AWS_CA_BUNDLE" in aws,
        "an access point": bucket.startswith("arn:"),
        "the China partition": region.startswith("cn-"),
        _NO_CREDENTIALS: not ("AWS_ACCESS_KEY_ID" in aws and "AWS_SECRET_ACCESS_KEY" in aws),
    }
    return next((what for what, is_asked in asked.items() if is_asked), "")
