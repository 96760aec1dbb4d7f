"""Splitting many deliveries at once, into JSON lines for merge.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from chalicelib.delivery import ArchiveObject
from chalicelib.keys import DeliveryKey, parse
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.merge import write_lines
from hookshelf.reading.raw import RawDelivery, load_all
from hookshelf.reading.rows import Row, is_same, rebuilt, to_rows
from hookshelf.reading.sources import Splitting
from hookshelf.reading.values import Read


class Splitter:
    """Collects the lines of one file that is being made."""

    def __init__(
        self, bucket: Bucket, read: Read, splitting: Splitting, folder: Path, processes: int | None
    ) -> None:
        self._bucket, self._read, self._splitting = bucket, read, splitting
        self._path = folder / "lines.json"
        self._path.unlink(missing_ok=True)
        self.longest = 0
        self.keys: set[str] = set()
        self.altered: set[str] = set()  # their bytes are not those their key was made from

    @property
    def lines(self) -> list[Path]:
        """The files of lines."""
        return [self._path] if self.keys else []

    def raw(self, deliveries: Sequence[RawDelivery]) -> None:
        """Read and split raw deliveries."""
        self._add(
            (delivery.key, obj)
            for delivery, obj in load_all(self._bucket, self._read, list(deliveries))
        )

    def rows(self, rows: Iterable[Row], without: Iterable[str]) -> None:
        """Split again what rows were made from; they come by delivery and position."""
        gone = {*without, *self.keys}
        self._add(
            (key, rebuilt(list(of_one), key))
            for text, of_one in groupby(rows, key=lambda row: row.delivery)
            if text not in gone and isinstance(key := parse(text), DeliveryKey)
        )

    def _add(self, objects: Iterable[tuple[DeliveryKey, ArchiveObject]]) -> None:
        self.longest = max(self.longest, write_lines(self._rows(objects), self._path))

    def _rows(self, objects: Iterable[tuple[DeliveryKey, ArchiveObject]]) -> Iterator[Row]:
        for key, obj in objects:
            self.keys.add(obj.key)
            if not is_same(obj, key):
                self.altered.add(obj.key)
            yield from to_rows(obj, key, self._splitting.source(obj.metadata))
