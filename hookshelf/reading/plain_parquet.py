"""Writing Parquet at its simplest: nothing compressed, no column optional.

It is what the engine takes in without parsing, and what is written as quickly as bytes are put
together. The libraries that write Parquet are as large as the engine.
https://parquet.apache.org/docs/file-format/
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import BinaryIO, NamedTuple

from hookshelf.reading.thrift import (
    BINARY,
    I32,
    I64,
    LIST,
    MAGIC,
    STRUCT,
    binary,
    ended,
    integer,
    list_of,
    struct,
    varint,
)

_VERSION = integer(1)
_UNCOMPRESSED = _PLAIN = _DATA_PAGE = _REQUIRED = integer(0)
_DICTIONARY_PAGE = integer(2)
_RLE = integer(3)
_DICTIONARY = integer(8)
_INDEX = 2  # bytes of the number of a value in a Repeated: there are no more than rows in a group


class Kind(Enum):
    """What a column holds: its physical type, and the ConvertedType, if any."""

    INTEGER = 1, None  # four bytes, little-endian
    BYTES = 6, None
    TEXT = 6, 0  # UTF-8


def values(of_bytes: Sequence[bytes]) -> bytes:
    """Values of a column of bytes or text: each after its length."""
    parts = [b""] * (2 * len(of_bytes))
    parts[::2] = map(_LENGTHS.__getitem__, map(len, of_bytes))
    parts[1::2] = of_bytes
    return b"".join(parts)


def texts(of_text: Sequence[str]) -> bytes:
    """Values of a column of text; in a third of the time where all of it is ASCII."""
    if not "".join(of_text).isascii():
        return values([text.encode() for text in of_text])
    parts = [""] * (2 * len(of_text))
    parts[::2] = map(_LENGTHS_OF_TEXT.__getitem__, map(len, of_text))
    parts[1::2] = of_text
    return "".join(parts).encode("latin-1")


class _Lengths(dict[int, bytes]):
    """Lengths as they are written."""

    def __missing__(self, length: int) -> bytes:
        self[length] = written = length.to_bytes(4, "little")
        return written


class _LengthsOfText(dict[int, str]):
    """The same as text that is latin-1."""

    def __missing__(self, length: int) -> str:
        self[length] = written = _LENGTHS[length].decode("latin-1")
        return written


_LENGTHS, _LENGTHS_OF_TEXT = _Lengths(), _LengthsOfText()


class Repeated(NamedTuple):
    """A page of a few values that many rows have."""

    values: bytes  # each once
    number: int  # of them
    runs: bytes  # see `runs`


def runs(rows: Sequence[int]) -> bytes:
    """For a Repeated: how many rows have the first value, how many then the second …"""
    widths = bytes([8 * _INDEX])
    numbered = enumerate(rows)
    return widths + b"".join(
        [varint(count << 1) + number.to_bytes(_INDEX, "little") for number, count in numbered]
    )


class PlainParquet:
    """A file that is being written, row group by row group, each column as one page."""

    def __init__(self, file: BinaryIO, columns: Mapping[str, Kind]) -> None:
        self._file, self._columns = file, columns
        self._groups: list[bytes] = []
        self._rows = 0
        self._size = file.write(MAGIC)

    def write(self, rows: int, pages: Iterable[bytes | Repeated]) -> None:
        """Write a row group: of each column, in order, the values of all rows."""
        start = self._size
        chunks = [
            self._chunk(name, kind, rows, page)
            for (name, kind), page in zip(self._columns.items(), pages, strict=True)
        ]
        size = integer(self._size - start)
        group = (1, LIST, list_of(STRUCT, chunks)), (2, I64, size), (3, I64, integer(rows))
        self._groups.append(struct(*group))
        self._rows += rows

    def end(self) -> None:
        """Write the footer."""
        root = struct((4, BINARY, binary(b"rows")), (5, I32, integer(len(self._columns))))
        schema = [root, *(_element(name, kind) for name, kind in self._columns.items())]
        metadata = struct(
            (1, I32, _VERSION),
            (2, LIST, list_of(STRUCT, schema)),
            (3, I64, integer(self._rows)),
            (4, LIST, list_of(STRUCT, self._groups)),
        )
        self._file.write(ended(metadata))

    def _chunk(self, name: str, kind: Kind, rows: int, page: bytes | Repeated) -> bytes:
        """Write a page, after that of its values where it repeats them; what the footer says."""
        start, count, encoding, dictionary = self._size, integer(rows), _PLAIN, []
        if isinstance(page, Repeated):
            about = struct((1, I32, integer(page.number)), (2, I32, _PLAIN))
            self._page(_DICTIONARY_PAGE, page.values, (7, STRUCT, about))
            dictionary = [(11, I64, integer(start))]
            encoding, page = _DICTIONARY, page.runs
        data = integer(self._size)
        about = struct((1, I32, count), (2, I32, encoding), (3, I32, _RLE), (4, I32, _RLE))
        self._page(_DATA_PAGE, page, (5, STRUCT, about))
        length = integer(self._size - start)
        metadata = struct(
            (1, I32, integer(kind.value[0])),
            (2, LIST, list_of(I32, [encoding])),
            (3, LIST, list_of(BINARY, [binary(name.encode())])),
            (4, I32, _UNCOMPRESSED),
            (5, I64, count),
            (6, I64, length),
            (7, I64, length),
            (9, I64, data),
            *dictionary,
        )
        return struct((2, I64, integer(start)), (3, STRUCT, metadata))

    def _page(self, kind: bytes, page: bytes, about: tuple[int, int, bytes]) -> None:
        size = integer(len(page))
        head = struct((1, I32, kind), (2, I32, size), (3, I32, size), about)
        self._size += self._file.write(head) + self._file.write(page)


def _element(name: str, kind: Kind) -> bytes:
    """What the schema says of a column."""
    physical, converted = kind.value
    is_of = [] if converted is None else [(6, I32, integer(converted))]
    named = (4, BINARY, binary(name.encode()))
    return struct((1, I32, integer(physical)), (3, I32, _REQUIRED), named, *is_of)
