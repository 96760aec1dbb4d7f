"""What can go wrong while an archive is read or compacted. The commands turn it into messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from chalicelib.errors import HookshelfError, MisuseError


class ReadingError(HookshelfError):
    """The base of what this package raises; its text is for people and says what to do."""


class BadQuestion(ReadingError, MisuseError):
    """An option or argument cannot be understood, or names nothing that exists."""


class NoSuchApp(ReadingError):
    """The archive has no such app; the text names those there are."""


class NoSuchDelivery(ReadingError):
    """No delivery, or more than one, has this key or this beginning of a hash."""


class Gone(ReadingError):
    """A compacted file was replaced while it was read: list again."""


class TooQuick(Gone):
    """Time after time, files were replaced while they were read."""

    def __init__(self, stream: object) -> None:
        super().__init__(f"{stream} is compacted faster than it can be read")


_ATTEMPTS = 8

Out = TypeVar("Out")


def retried(stream: object, read: Callable[[], Out]) -> Out:
    """What `read` gives, which lists what there is; again where it raises Gone. Raises TooQuick."""
    for _ in range(_ATTEMPTS):
        try:
            return read()
        except Gone:
            continue
    raise TooQuick(stream)


class Damaged(ReadingError):
    """A compacted file is no longer what was written."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key} cannot be read: it was altered. `hookshelf verify` says what it held"
        )


class CutShort(ReadingError):
    """An answer ended after some of its rows were given: they are not all."""


class Taken(ReadingError):
    """There is an object with this key already (If-None-Match), or it changed (If-Match)."""


class Lossy(ReadingError):
    """Rows do not give back the bytes they were made from. Nothing was written."""
