"""What a compacted file says about itself, in the key-value metadata of its Parquet footer.

It is the last thing in the file but for the writer's name, so that it is read without reading the
rest: a month's Parquet footer is two megabytes of column chunks. It says where in them each row
group is described, so that a look-up needs only those that may hold what it looks for.
https://parquet.apache.org/docs/file-format/
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from chalicelib.keys import LAYOUT
from hookshelf.reading.thrift import MAGIC, footer_parts, read_varint, varint

FOOTER_KEY = "hookshelf_footer"
FOOTER_PLACEHOLDER = "-"  # what the engine writes, until the offsets are known
TAIL = 256 * 1024  # bytes that hold all of it for a file of 8 million events

_BINARY = b"\x18"  # a field of text, its number one more than the last field's
_MARK = _BINARY + bytes([len(FOOTER_KEY)]) + FOOTER_KEY.encode() + _BINARY


# What any bytes may raise that stand where ours should.
_UNREADABLE = (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError)


class NotOurs(ValueError):
    """The file is no Parquet file of ours, or one of another layout."""


class Longer(Exception):
    """The footer begins `missing` bytes before those that were read."""

    def __init__(self, missing: int) -> None:
        self.missing = missing


@dataclass(frozen=True, slots=True)
class Group:
    """One row group: where it lies, and which subjects may be in it (None: any)."""

    start: int
    length: int
    first: str | None
    last: str | None
    rows: int
    described: int = 0  # where in the file the Parquet footer describes it
    description: int = 0  # bytes of that


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
    head: str = ""  # base64 of the Parquet footer's version and schema
    footer: int = field(default=0, compare=False)  # where the Parquet footer begins

    def to_text(self) -> str:
        """ASCII without control characters, so that no text in it can look like the mark."""
        facts = asdict(self) | {"layout": LAYOUT}
        facts["groups"] = [list(group.values()) for group in facts["groups"]]
        for name in ("start", "end", "first", "last"):
            facts[name] = facts[name] and facts[name].isoformat()
        return json.dumps(facts, separators=(",", ":"))


def read_footer(tail: bytes, size: int) -> Footer:
    """The footer in the last bytes of a file of `size` bytes. Raises NotOurs, or Longer."""
    begin = size - 8 - int.from_bytes(tail[-8:-4], "little")
    try:
        length, start = _text_in(tail, size, begin)
        facts: dict[str, Any] = json.loads(tail[start : start + length])
        if facts.pop("layout") != LAYOUT:
            raise NotOurs("another layout")
        for name in ("start", "end", "first", "last"):
            facts[name] = facts[name] and datetime.fromisoformat(facts[name])
        facts["groups"] = tuple(Group(*group) for group in facts["groups"])
        facts["blooms"] = tuple(facts["blooms"])
        facts["altered"] = tuple(facts["altered"])
        facts["days"] = {day: tuple(sums) for day, sums in facts["days"].items()}
        facts["footer"] = begin
        return Footer(**facts)
    except NotOurs:
        raise
    except _UNREADABLE as error:
        raise NotOurs(f"unreadable: {type(error).__name__}") from None


def _text_in(tail: bytes, size: int, begin: int) -> tuple[int, int]:
    """Length and offset of our text in the last bytes; the Parquet footer begins at `begin`."""
    if tail[-4:] != MAGIC:
        raise NotOurs("no Parquet file")
    mark = tail.rfind(_MARK)
    if mark >= 0:
        return read_varint(tail, mark + len(_MARK))
    if 0 < begin < size - len(tail):
        raise Longer(size - len(tail) - begin)
    raise NotOurs("not written by hookshelf")


def write_footer(path: Path, footer: Footer) -> Footer:
    """Put it where the engine left the placeholder, and give it as a reader gets it.

    Nothing else counts on a footer's length.
    """
    with path.open("r+b") as file:
        file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, 2)
        at = file.tell()
        old = file.read(length)
        before, mark, rest = old.rpartition(
            _MARK + varint(len(FOOTER_PLACEHOLDER)) + FOOTER_PLACEHOLDER.encode()
        )
        if not mark:
            raise NotOurs("the engine wrote no metadata")
        head, parts = footer_parts(old)
        groups = tuple(
            replace(group, described=at + start, description=length)
            for group, (start, length) in zip(footer.groups, parts, strict=True)
        )
        footer = replace(footer, groups=groups, head=b64encode(head).decode(), footer=at)
        text = footer.to_text()
        new = before + _MARK + varint(len(text)) + text.encode() + rest
        file.seek(at)
        file.write(new + len(new).to_bytes(4, "little") + MAGIC)
    return footer
