"""What a compacted file says about itself, in the key-value metadata of its Parquet footer.

It is the last thing in the file but for the writer's name, so that it is read without reading the
rest: a month's footer is half a megabyte of column chunks.
https://parquet.apache.org/docs/file-format/ and thrift's compact protocol, for the few bytes here
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from chalicelib.keys import LAYOUT

FOOTER_KEY = "hookshelf_footer"
FOOTER_PLACEHOLDER = "-"  # what the engine writes, until the offsets are known
TAIL = 512 * 1024  # bytes that hold the whole footer of a month of 2 million events

_MAGIC = b"PAR1"
_BINARY = b"\x18"  # a field of text, its number one more than the last field's
_MARK = _BINARY + bytes([len(FOOTER_KEY)]) + FOOTER_KEY.encode() + _BINARY


class NotOurs(ValueError):
    """The file is no Parquet file of ours, or one of another layout."""


@dataclass(frozen=True, slots=True)
class Group:
    """One row group: where it lies, and which subjects may be in it (None: any)."""

    start: int
    length: int
    first: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class Footer:
    """What a compacted file covers and holds."""

    start: datetime  # of arrival: everything from here …
    end: datetime  # … up to here is in this file
    deliveries: int
    events: int
    rows: int
    bytes: int  # of all bodies
    first: datetime | None  # arrivals
    last: datetime | None
    days: Mapping[str, tuple[int, int]]  # how many deliveries, and the sum of their keys' hashes
    replaces: Mapping[str, str]  # ETags by key
    splitter: str  # see Splitting.fingerprint
    log: int  # number of the manifest entry that this file agrees with
    altered: tuple[str, ...] = ()  # deliveries whose bytes are not those of their key
    groups: tuple[Group, ...] = ()
    blooms: tuple[int, int] = (0, 0)  # offset and length of all bloom filters
    footer: int = field(default=0, compare=False)  # where the Parquet footer begins

    def to_text(self) -> str:
        """ASCII without control characters, so that no text in it can look like the mark."""
        facts = asdict(self) | {"layout": LAYOUT}
        facts["groups"] = [list(group.values()) for group in facts["groups"]]
        for name in ("start", "end", "first", "last"):
            facts[name] = facts[name] and facts[name].isoformat()
        return json.dumps(facts, separators=(",", ":"))


def read_footer(tail: bytes, size: int) -> Footer:
    """The footer in the last bytes of a file of `size` bytes. Raises NotOurs."""
    if tail[-4:] != _MAGIC:
        raise NotOurs("no Parquet file")
    mark = tail.rfind(_MARK)
    if mark < 0:
        raise NotOurs("not written by hookshelf")
    length, start = _varint(tail, mark + len(_MARK))
    try:
        facts: dict[str, Any] = json.loads(tail[start : start + length])
        if facts.pop("layout") != LAYOUT:
            raise NotOurs("another layout")
        for name in ("start", "end", "first", "last"):
            facts[name] = facts[name] and datetime.fromisoformat(facts[name])
        facts["groups"] = tuple(Group(*group) for group in facts["groups"])
        facts["blooms"] = tuple(facts["blooms"])
        facts["altered"] = tuple(facts["altered"])
        facts["days"] = {day: tuple(sums) for day, sums in facts["days"].items()}
        facts["footer"] = size - 8 - int.from_bytes(tail[-8:-4], "little")
        return Footer(**facts)
    except (ValueError, TypeError, KeyError) as error:
        raise NotOurs(f"unreadable: {type(error).__name__}") from None


def write_footer(path: Path, footer: Footer) -> None:
    """Put it where the engine left the placeholder. Nothing else counts on a footer's length."""
    with path.open("r+b") as file:
        file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, 2)
        at = file.tell()
        old = file.read(length)
        before, mark, rest = old.rpartition(
            _MARK + _length(FOOTER_PLACEHOLDER) + FOOTER_PLACEHOLDER.encode()
        )
        if not mark:
            raise NotOurs("the engine wrote no metadata")
        text = footer.to_text()
        new = before + _MARK + _length(text) + text.encode() + rest
        file.seek(at)
        file.write(new + len(new).to_bytes(4, "little") + _MAGIC)


def _length(text: str) -> bytes:
    number, out = len(text), bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
