"""Reading JSON quickly: msgspec where it agrees with the plain reader of chalicelib/events.py.

It is as strict (UTF-8, control characters, numbers, trailing text) and refuses what the plain one
reads but other readers would not: half a surrogate pair, numbers out of range. For all that it
refuses it says nothing, and the plain reader decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import GenericAlias
from typing import Any, TypedDict

import msgspec

_value = msgspec.json.Decoder()
_parts = msgspec.json.Decoder(list[msgspec.Raw])


class Msgspec:
    """See chalicelib.events.Quick."""

    def elements(self, text: str, names: Sequence[str] = ()) -> list[tuple[str, Any]] | None:
        """The exact text and the value of each element of an array."""
        try:
            values = (_objects(names) if names else _value).decode(text)
            if not isinstance(values, list):
                return []
            parts = _parts.decode(text)
        except (ValueError, RecursionError):
            return None
        return [(str(part, "utf-8"), value) for part, value in zip(parts, values, strict=True)]

    def parse(self, text: str) -> tuple[Any] | None:
        """The value of a text, in a tuple."""
        try:
            return (_value.decode(text),)
        except (ValueError, RecursionError):
            return None


@cache
def _objects(names: Sequence[str]) -> msgspec.json.Decoder[Any]:
    """Reads an array of objects and skips what has other names: half the time goes into that."""
    typed: Any = TypedDict  # names that a type checker does not know
    of_names = typed("Object", dict.fromkeys(names, Any), total=False)
    return msgspec.json.Decoder(GenericAlias(list, of_names))
