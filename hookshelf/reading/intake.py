"""Split deliveries on their way into the engine: plain Parquet, and the SQL that reads it.

No engine is loaded here: other processes only write.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from hookshelf.reading.columns import COLUMNS
from hookshelf.reading.plain_parquet import Kind, PlainParquet, Repeated, runs, texts, values
from hookshelf.reading.rows import SplitDelivery

# A body of 4 MiB may hold two million events: they are not all in memory at once.
ROWS_IN_PAGE = 4_500
_BYTES_IN_PAGE = 4 * 1024 * 1024

# What each row has of its own; the rest is written once for the rows of a delivery.
_TEXTS = ("subject", "time", "type", "id", "correlation")
_VALUES = ("before", "data")
_KINDS = {"BLOB": Kind.BYTES, "INTEGER": Kind.INTEGER, "BOOLEAN": Kind.INTEGER}
_WRITTEN = {name: _KINDS.get(kind, Kind.TEXT) for name, kind in COLUMNS if name != "repeat"}
_SELECTED = {
    "repeat": "false AS repeat",
    "metadata": "CASE WHEN position = 0 THEN metadata::JSON::MAP(VARCHAR, VARCHAR) END AS metadata",
    "data": "CASE WHEN batch > 0 THEN data END AS data",
    "after": "CASE WHEN position + 1 >= batch THEN after ELSE ''::BLOB END AS after",
}
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
        self._positions = array("i")
        self._shared: list[SplitDelivery] = []
        self._runs: list[int] = []  # how many rows each of them has here

    def add(self, delivery: SplitDelivery, first: int) -> None:
        """Add rows of a delivery from `first` on."""
        some = slice(first, first + ROWS_IN_PAGE)
        for name, of_text in self._texts.items():
            of_text += getattr(delivery, name)[some]
        for name, of_bytes in self._values.items():
            of_bytes += getattr(delivery, name)[some]
            self.bytes += sum(map(len, of_bytes[self.rows :]))
        rows = len(delivery.data[some])
        self._positions.extend(range(first, first + rows))
        self._shared.append(delivery)
        self._runs.append(rows)
        self.rows += rows

    def pages(self) -> Iterator[bytes | Repeated]:
        """What each column has, in their order."""
        pages: dict[str, bytes | Repeated] = {"position": self._positions.tobytes()}
        pages |= {name: texts(of_text) for name, of_text in self._texts.items()}
        pages |= {name: values(of_bytes) for name, of_bytes in self._values.items()}
        of_runs, shared = runs(self._runs), self._shared
        for name, page in (
            ("source", texts([each.source for each in shared])),
            ("verdict", texts([each.verdict for each in shared])),
            ("arrived", texts([each.arrived for each in shared])),
            ("delivery", texts([each.delivery for each in shared])),
            ("batch", array("i", [each.batch for each in shared]).tobytes()),
            ("metadata", values([_encode(each.metadata) for each in shared])),
            ("after", values([each.after for each in shared])),
            ("derived", array("i", [each.derived for each in shared]).tobytes()),
        ):
            pages[name] = Repeated(page, len(shared), of_runs)
        return (pages[name] for name in _WRITTEN)
