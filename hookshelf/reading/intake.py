"""Split deliveries on their way into the engine: plain Parquet, and the SQL that reads it.

No engine is loaded here: other processes only write.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from hookshelf.reading.columns import COLUMNS
from hookshelf.reading.plain_parquet import Kind, PlainParquet, texts, values
from hookshelf.reading.rows import SplitDelivery

# A body of 4 MiB may hold two million events: they are not all in memory at once.
ROWS_IN_PAGE = 4_500
_BYTES_IN_PAGE = 4 * 1024 * 1024

# What each row has of its own, and what the rows of a delivery share or only one of them has.
_TEXTS = ("subject", "time", "type", "id", "correlation")
_VALUES = ("before", "data")
_SHARED = (
    *("position", "batch", "derived", "source", "verdict", "arrived", "delivery"),
    *("metadata", "after"),
)
_KINDS = {"BLOB": Kind.BYTES, "INTEGER": Kind.INTEGER, "BOOLEAN": Kind.INTEGER}
_WRITTEN = {name: _KINDS.get(kind, Kind.TEXT) for name, kind in COLUMNS if name != "repeat"}
_SELECTED = {
    "repeat": "false AS repeat",
    "metadata": "CASE WHEN position = 0 THEN metadata::JSON::MAP(VARCHAR, VARCHAR) END AS metadata",
    "data": "CASE WHEN batch > 0 THEN data END AS data",
}
_NOTHING = values([b""])
_encode = msgspec.json.Encoder().encode


def write_rows(deliveries: Iterable[SplitDelivery], path: Path) -> None:
    """Write the rows of deliveries to a file."""
    with path.open("wb") as file:
        parquet = PlainParquet(file, _WRITTEN)
        group = _Group()
        for delivery in deliveries:
            for first in range(0, len(delivery.data), ROWS_IN_PAGE):
                group.add(delivery, first)
                if group.rows >= ROWS_IN_PAGE or group.bytes >= _BYTES_IN_PAGE:
                    parquet.write(group.rows, group.pages())
                    group = _Group()
        if group.rows:
            parquet.write(group.rows, group.pages())
        parquet.end()


def new_rows(table: str) -> str:
    """A SELECT of the rows of such files, in SQL, as they are in a compacted file."""
    names = ", ".join(_SELECTED.get(name, f"{name}::{kind} AS {name}") for name, kind in COLUMNS)
    return f"SELECT {names} FROM {table}"


class _Group:
    """Rows that are written together."""

    def __init__(self) -> None:
        self.rows = self.bytes = 0
        self._texts: dict[str, list[str]] = {name: [] for name in _TEXTS}
        self._values: dict[str, list[bytes]] = {name: [] for name in _VALUES}
        self._pages: dict[str, list[bytes]] = {name: [] for name in _SHARED}

    def add(self, delivery: SplitDelivery, first: int) -> None:
        """Add rows of a delivery from `first` on; each has again what they share."""
        some = slice(first, first + ROWS_IN_PAGE)
        rows = len(delivery.data[some])
        for name, of_text in self._texts.items():
            of_text += getattr(delivery, name)[some]
        for name, of_bytes in self._values.items():
            of_bytes += getattr(delivery, name)[some]
            self.bytes += sum(map(len, of_bytes[self.rows :]))
        metadata = _encode(delivery.metadata) if first == 0 else b""
        after = delivery.after if first + rows == len(delivery.data) else b""
        shared = (
            array("i", range(first, first + rows)).tobytes(),
            _integer(delivery.batch) * rows,
            _integer(delivery.derived) * rows,
            values([delivery.source.encode()]) * rows,
            values([delivery.verdict.encode()]) * rows,
            values([delivery.arrived.encode()]) * rows,
            values([delivery.delivery.encode()]) * rows,
            values([metadata]) + _NOTHING * (rows - 1),
            _NOTHING * (rows - 1) + values([after]),
        )
        for pages, page in zip(self._pages.values(), shared, strict=True):
            pages.append(page)
        self.rows += rows

    def pages(self) -> Iterator[bytes]:
        """What each column has, in their order."""
        pages = {name: texts(of_text) for name, of_text in self._texts.items()}
        pages |= {name: values(of_bytes) for name, of_bytes in self._values.items()}
        pages |= {name: b"".join(parts) for name, parts in self._pages.items()}
        return (pages[name] for name in _WRITTEN)


def _integer(number: int) -> bytes:
    return number.to_bytes(4, "little")
