"""The archives that are read: made once, in build/bench/reading/, and again when code changes.

    small        0.2 million events in three days      compacted; also raw, and as hourly gzip
    2025-09      2 million events in a month           likewise; also as days, not rolled up
    ten-months   20 million events, as much each month compacted only
    day          0.2 million events in one day         raw: compacting it is measured

Compacted ones come straight from the generator, without raw objects (see generated.py). The ten
months are compacted each on its own, on every core, and then put together: no log goes with them.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

from bench.reading.generated import APP, GeneratedStore, verified_object
from bench.reading.peers import HourlyGzip
from chalicelib.keys import EVENTS_FOLDER
from chalicelib.settings import from_environment
from chalicelib.store import Store, open_store
from hookshelf.local.traffic import Traffic
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.compact import CompactionPlan, compact_stream
from hookshelf.reading.sources import splitting_of
from hookshelf.reading.values import Read, Stream

PROJECT = Path(__file__).resolve().parents[2]
ROOT = PROJECT / "build" / "bench" / "reading"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DataSet:
    """Traffic under a name, which is also that of its bucket."""

    name: str
    traffic: Traffic

    @property
    def days(self) -> list[date]:
        """The days on which something arrives."""
        ago = range(round(self.traffic.days), 0, -1)
        return [(self.traffic.until - timedelta(days=days)).date() for days in ago]


class Archives:
    """The data sets and where they lie; `scale` 0.01 makes a hundredth of each, to try things."""

    def __init__(self, scale: float, say: Say) -> None:
        self.scale, self.say = scale, say
        self.folder = ROOT / (f"archive-{scale:g}" if scale != 1 else "archive")
        self.small = DataSet("small", self._traffic(200_000, _utc(2025, 9, 4), days=3))
        self.day = DataSet("day", self._traffic(200_000, _utc(2025, 9, 2), days=1))
        self.months = tuple(map(self._month, range(1, 11)))
        self.month = self.months[8]

    def addresses(self, count: int) -> list[str]:
        """Addresses as often asked for as they get mail, the busiest first."""
        return [self.month.traffic.recipient((n + 0.5) / count) for n in range(count)]

    def bucket(self, name: str) -> Path:
        """Where a bucket lies."""
        return self.folder / name

    def store(self, bucket: Path) -> Store:
        """The store that receiving would put into a bucket with."""
        environ = {"ARCHIVE_FOLDER": str(bucket.parent), "ARCHIVE_BUCKETS": bucket.name}
        return open_store(from_environment(environ), bucket.name)

    def hourly(self, data: DataSet) -> HourlyGzip:
        """A data set as hourly files, beside the buckets."""
        return HourlyGzip(self.folder.with_name(f"{self.folder.name}-{data.name}-hourly"))

    def make_raw(self, data: DataSet) -> Path:
        """The bodies of a data set in a bucket, and the same by the hour in gzip."""

        def make(bucket: Path) -> None:
            hourly = self.hourly(data)
            shutil.rmtree(hourly.folder, ignore_errors=True)
            for delivery in hourly.write(data.traffic.deliveries()):
                path = bucket / verified_object(delivery).key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(delivery.body)

        return self._once(f"{data.name}-raw", make)

    def make_received(self, data: DataSet) -> Path:
        """A bucket as receiving leaves it."""

        def make(bucket: Path) -> None:
            store = self.store(bucket)
            for delivery in data.traffic.deliveries():
                store.put(verified_object(delivery))

        return self._once(data.name, make)

    def make_days(self, data: DataSet) -> Path:
        """A bucket of compacted days that are not rolled up."""
        last_second = data.traffic.until - timedelta(seconds=1)
        return self._once(f"{data.name}-days", partial(make_up, data, until=last_second))

    def make_compacted(self, data: DataSet) -> Path:
        """A bucket with a compacted month: what an archive is like when it has ended."""
        return self._once(data.name, partial(make_up, data))

    def make_ten_months(self) -> Path:
        """A bucket with ten compacted months."""
        missing = [data for data in self.months if not self._is_made(data.name)]
        with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
            makers = {
                pool.submit(make_up, data, self._begin(data.name)): data.name for data in missing
            }
            for maker in as_completed(makers):
                self._finish(makers[maker], maker.result())

        def put_together(bucket: Path) -> None:
            for data in self.months:
                link_tree(self.bucket(data.name) / EVENTS_FOLDER, bucket / EVENTS_FOLDER)

        return self._once("ten-months", put_together)

    def make_sizes(self) -> dict[str, Path]:
        """The compacted buckets by millions of events."""
        return {
            "0.2": self.make_compacted(self.small),
            "2": self.make_compacted(self.month),
            "20": self.make_ten_months(),
        }

    def seconds(self, name: str) -> float:
        """How long it took one process to make a bucket, whenever it did."""
        return float(json.loads(self._stamp(name).read_text())["seconds"])

    def scratch(self, name: str) -> Path:
        """The place of a bucket that is made each time; what an earlier run left is gone."""
        shutil.rmtree(self.bucket(name), ignore_errors=True)
        return self.bucket(name)

    def _once(self, name: str, make: Callable[[Path], object]) -> Path:
        """Make a bucket, unless the same code has made it already."""
        if not self._is_made(name):
            started = time.monotonic()
            make(self._begin(name))
            self._finish(name, time.monotonic() - started)
        return self.bucket(name)

    def _is_made(self, name: str) -> bool:
        stamp = self._stamp(name)
        is_current = stamp.exists() and json.loads(stamp.read_text())["code"] == code_fingerprint()
        return is_current and self.bucket(name).exists()

    def _begin(self, name: str) -> Path:
        """Where to make a bucket, so that half of one never passes for a whole one."""
        self.say(f"making {name}")
        partial = self.bucket(f"{name}.partial")
        for left_over in (self.bucket(name), partial):
            shutil.rmtree(left_over, ignore_errors=True)
        return partial

    def _finish(self, name: str, seconds: float) -> None:
        self.bucket(f"{name}.partial").rename(self.bucket(name))
        self._stamp(name).write_text(json.dumps({"code": code_fingerprint(), "seconds": seconds}))
        self.say(f"made {name} in {seconds:.0f} s")

    def _stamp(self, name: str) -> Path:
        return self.folder.with_name(f"{self.folder.name}-{name}.stamp")

    def _month(self, number: int) -> DataSet:
        first, until = _utc(2025, number, 1), _utc(2025, number + 1, 1)
        days = (until - first).days
        traffic = self._traffic(2_000_000, until, days=days, seed=number)
        return DataSet(f"2025-{number:02}", traffic)

    def _traffic(self, events: int, until: datetime, *, days: int, seed: int = 1) -> Traffic:
        return Traffic(
            events=round(events * self.scale),
            until=until,
            days=max(1, round(days * self.scale)),
            seed=seed,
        )


def make_up(data: DataSet, bucket: Path, *, until: datetime | None = None) -> float:
    """Compact a data set into a bucket, in how many seconds.

    The month that `until` lies in is not rolled up.
    """
    started = time.monotonic()
    store = GeneratedStore(bucket.parent, bucket.name, data.traffic.deliveries(), data.days)
    for _ in compact_stream(
        Bucket("bench", store),
        Read(),
        Stream("bench", "", APP),
        splitting_of(APP, {}),
        CompactionPlan(now=lambda: datetime.now(UTC), until=until),
    ):
        pass
    return time.monotonic() - started


def _utc(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


def link_tree(source: Path, target: Path) -> None:
    """A copy of a bucket whose files take no room; deleting from it leaves the source alone."""
    shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True)


@cache
def code_fingerprint() -> str:
    """Of the code that decides what the data sets hold, and how it is laid out."""
    digest = sha256()
    for pattern in (
        "hookshelf/local/traffic.py",
        "hookshelf/reading/**/*.py",
        "chalicelib/**/*.py",
        "bench/reading/data.py",
        "bench/reading/generated.py",
    ):
        for path in sorted(PROJECT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()
