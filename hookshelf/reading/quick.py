"""Reading JSON quickly: msgspec where it agrees with the plain reader of chalicelib/events.py.

It is as strict (UTF-8, control characters, numbers, trailing text) and refuses what the plain one
reads but other readers would not: half a surrogate pair, numbers out of range. For all that it
refuses it says nothing, and the plain reader decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import GenericAlias
from typing import Any, TypeVar

import msgspec
from msgspec.structs import astuple

Value = TypeVar("Value")

_value = msgspec.json.Decoder()
_parts = msgspec.json.Decoder(list[msgspec.Raw])


class Msgspec:
    """See chalicelib.events.Quick."""

    def elements(self, text: str) -> list[tuple[str, Any]] | None:
        """The exact text and the value of each element of an array."""
        try:
            values = _value.decode(text)
            return _with_text(text, values) if isinstance(values, list) else []
        except (ValueError, RecursionError):
            return None

    def fields(self, text: str, names: tuple[str, ...]) -> list[tuple[str, tuple[Any, ...]]] | None:
        """The exact text of each object in an array, and the values that some names have in it."""
        try:
            return _with_text(text, list(map(astuple, _objects(names).decode(text))))
        except (ValueError, RecursionError):
            return None

    def parse(self, text: str) -> tuple[Any] | None:
        """The value of a text, in a tuple."""
        try:
            return (_value.decode(text),)
        except (ValueError, RecursionError):
            return None


def _with_text(text: str, values: Sequence[Value]) -> list[tuple[str, Value]]:
    texts = [str(part, "utf-8") for part in _parts.decode(text)]
    return list(zip(texts, values, strict=True))


@cache
def _objects(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """Reads an array of objects and skips what has other names: half the time goes into that."""
    plain = [f"field_{number}" for number in range(len(names))]
    of_names = msgspec.defstruct(
        "Object",
        [(name, Any, None) for name in plain],
        rename=dict(zip(plain, names, strict=True)),
    )
    return msgspec.json.Decoder(GenericAlias(list, of_names))
