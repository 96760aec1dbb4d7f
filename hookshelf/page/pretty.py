"""JSON with line breaks and indentation, as text: no digit, name or escape of it is changed."""

from __future__ import annotations

import re

# Strings, then what opens, closes and divides, then whatever is between. Never backtracks.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[{}\[\],:]|[^\s"{}\[\],:]++', re.DOTALL)
_DEEPEST = 40  # levels that are indented further


def indented(text: str, most: int) -> tuple[str, bool]:
    """JSON (or what was to be JSON) indented; no more than `most` characters, and whether all."""
    written: list[str] = []
    length, depth, closes = 0, 0, ""
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in ("}", "]"):
            depth -= 1
            piece = token if closes == "opened" else f"{_line(depth)}{token}"
        else:
            piece = f"{_line(depth)}{token}" if closes in ("opened", "divided") else token
        if token in ("{", "["):
            depth, closes = depth + 1, "opened"
        elif token == ",":
            closes = "divided"
        else:
            closes = ""
            piece += " " if token == ":" else ""
        written.append(piece)
        length += len(piece)
        if length > most:
            return "".join(written)[:most], False
    return "".join(written), True


def _line(depth: int) -> str:
    return "\n" + "  " * min(max(depth, 0), _DEEPEST)
