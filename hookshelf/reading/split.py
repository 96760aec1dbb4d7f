"""Splitting many deliveries at once, into rows for merge.py; on several cores where it pays.

Other cores work in processes of their own (`python -m hookshelf.reading.split`), which read their
share of the raw objects themselves: nothing is forked, so a client with threads cannot hang, and it
works in Lambda, which has no shared memory.
"""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from chalicelib.delivery import ArchiveObject
from chalicelib.keys import DeliveryKey, parse_key
from chalicelib.settings import Settings
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.errors import ReadingError
from hookshelf.reading.intake import write_rows
from hookshelf.reading.raw import RawDelivery, load_all
from hookshelf.reading.rows import Row, SplitDelivery, is_same, rebuilt, split_delivery
from hookshelf.reading.sources import Splitting
from hookshelf.reading.store import open_reading_store
from hookshelf.reading.values import Read

_PAYS = 1_500  # deliveries for which another process is worth its start
_OBJECTS = 200_000  # more than most bodies become, until garbage is looked for


@dataclass(slots=True)
class NewRows:
    """What was written: files of rows, and which deliveries are in them."""

    paths: list[Path] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    altered: set[str] = field(default_factory=set)  # not the bytes their key was made from

    def add(self, other: NewRows) -> None:
        """Take in what another process wrote."""
        self.paths += other.paths
        self.keys |= other.keys
        self.altered |= other.altered


class Splitter:
    """Collects the new rows of one file that is being made."""

    def __init__(
        self, bucket: Bucket, read: Read, splitting: Splitting, folder: Path, processes: int | None
    ) -> None:
        self._bucket, self._read, self._splitting = bucket, read, splitting
        self._folder = folder
        self._processes = processes or os.cpu_count() or 1
        self.new = NewRows()
        for left_over in folder.glob("rows-*.parquet"):
            left_over.unlink()

    def raw(self, deliveries: Sequence[RawDelivery]) -> None:
        """Read and split raw deliveries."""
        processes = min(self._processes, 1 + len(deliveries) // _PAYS)
        if processes == 1 or self._bucket.settings is None:
            self.here(deliveries)
            return
        # In turn, as those of the day are larger than those of the night.
        shares = [deliveries[number::processes] for number in range(processes)]
        workers = [self._start(number, share) for number, share in enumerate(shares[1:], 1)]
        try:
            self.here(shares[0])
            for worker in workers:
                answer, _ = worker.communicate()
                if worker.returncode:
                    raise ReadingError("A process that splits deliveries ended early")
                new, read = pickle.loads(answer)
                self.new.add(new)
                self._read.add(**read)
        finally:
            for worker in workers:
                if worker.poll() is None:
                    worker.kill()
                    worker.wait()

    def here(self, deliveries: Sequence[RawDelivery]) -> None:
        """Read and split raw deliveries in this process."""
        self._add(
            (delivery.key, obj)
            for delivery, obj in load_all(self._bucket, self._read, list(deliveries))
        )

    def rows(self, rows: Iterable[Row], without: Iterable[str]) -> None:
        """Split again what rows were made from; they come by delivery and position."""
        gone = {*without, *self.new.keys}
        self._add(
            (key, rebuilt(list(of_one), key))
            for text, of_one in groupby(rows, key=lambda row: row.delivery)
            if text not in gone and isinstance(key := parse_key(text), DeliveryKey)
        )

    def _add(self, objects: Iterable[tuple[DeliveryKey, ArchiveObject]]) -> None:
        path, before = self._folder / f"rows-0-{len(self.new.paths)}.parquet", len(self.new.keys)
        with _seldom_collecting():
            write_rows(self._split(objects), path)
        if len(self.new.keys) > before:  # a file of no rows would be taken for new ones
            self.new.paths.append(path)

    def _split(
        self, objects: Iterable[tuple[DeliveryKey, ArchiveObject]]
    ) -> Iterator[SplitDelivery]:
        for key, obj in objects:
            self.new.keys.add(obj.key)
            if altered := not is_same(obj, key):
                self.new.altered.add(obj.key)
            source = self._splitting.source(obj.metadata)
            yield split_delivery(obj, key, source, altered=altered)

    def _start(self, number: int, share: Sequence[RawDelivery]) -> subprocess.Popen[bytes]:
        path = self._folder / f"rows-{number}.parquet"
        task = _Task(
            self._bucket.name, self._bucket.settings, self._splitting.asked, list(share), path
        )
        worker = subprocess.Popen(
            [sys.executable, "-m", "hookshelf.reading.split"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert worker.stdin is not None
        with worker.stdin as pipe:
            pickle.dump(task, pipe)
        worker.stdin = None  # communicate() would flush it again
        return worker


@dataclass(frozen=True, slots=True)
class _Task:
    """The share of another process."""

    bucket: str
    settings: Settings | None
    asked: tuple[str, dict[str, str]]  # app and environment, see Splitting
    share: list[RawDelivery]
    path: Path


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Look for garbage less often: what a body becomes holds no cycles, and is gone with it."""
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _work(task: _Task) -> tuple[NewRows, dict[str, int]]:
    from hookshelf.reading.sources import splitting_of

    assert task.settings is not None
    bucket = Bucket(task.bucket, open_reading_store(task.settings, task.bucket))
    read = Read()
    folder = task.path.parent / task.path.stem
    shutil.rmtree(folder, ignore_errors=True)  # of the file before, or of an attempt that failed
    folder.mkdir()
    splitter = Splitter(bucket, read, splitting_of(*task.asked), folder, 1)
    splitter.here(task.share)
    splitter.new.paths = [path.rename(task.path) for path in splitter.new.paths]
    counts = {name: getattr(read, name) for name in ("raw_objects", "bytes", "requests")}
    return splitter.new, counts


if __name__ == "__main__":
    from hookshelf.reading.split import _work as work  # as the parent's pickles name it

    pickle.dump(work(pickle.load(sys.stdin.buffer)), sys.stdout.buffer)
