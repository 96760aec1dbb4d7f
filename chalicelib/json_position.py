"""Where something stands in a JSON text, for messages to who wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

_BETWEEN = re.compile(r"[\s,:]*")


def line_of(text: str, names: Sequence[str]) -> int:
    """The line, from 1, of the member that nested names lead to, or of the last that is there.

    `text` is a JSON object. Raises ValueError where it is not JSON.
    """
    line_at = value_at = len(text) - len(text.lstrip())
    for name in names:
        for member, name_at, member_at in _members(text, value_at):
            if member == name:
                line_at, value_at = name_at, member_at
                break
        else:
            break
    return text.count("\n", 0, line_at) + 1


def _members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """Name, position of the name, position of the value of each member of the object at `at`."""
    decoder = json.JSONDecoder()
    at = _after(text, at + 1) if text.startswith("{", at) else len(text)
    while text.startswith('"', at):
        name, end = decoder.raw_decode(text, at)
        value_at = _after(text, end)
        yield name, at, value_at
        at = _after(text, decoder.raw_decode(text, value_at)[1])


def _after(text: str, at: int) -> int:
    """The next position that is neither space, comma nor colon."""
    match = _BETWEEN.match(text, at)
    return match.end() if match else at
