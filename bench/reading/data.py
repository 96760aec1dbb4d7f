"""The archives that are read: made once, in build/bench/reading/, and again when code changes.

    small        0.2 million events in three days      compacted; also raw, and as hourly gzip
    2025-09      2 million events in a month           likewise; also as days, not rolled up
    ten-months   20 million events, as much each month compacted only
    day          0.2 million events in one day         raw: compacting it is measured

Compacted ones come straight from the generator, without raw objects (see generated.py). Each is
made by one process, as many at once as there are cores. Ten months are compacted each on its own
and then put together: no log goes with them.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
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
from hookshelf import Archive
from hookshelf.local.traffic import Traffic
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.compact import CompactionPlan, compact_stream
from hookshelf.reading.sources import splitting_of
from hookshelf.reading.values import Read, Stream

PROJECT = Path(__file__).resolve().parents[2]
ROOT = PROJECT / "build" / "bench" / "reading"
Say = Callable[[str], None]
Maker = Callable[[Path], None]


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
        month, days = self.month.name, f"{self.month.name}-days"
        # One after another: what is in a later step is made of what is in an earlier one.
        self._steps: tuple[dict[str, Maker], ...] = (
            {
                days: partial(make_days, self.month),
                **{
                    data.name: partial(make_up, data)
                    for data in self.months
                    if data is not self.month
                },
                **{
                    f"{data.name}-raw": partial(make_raw, data, self.hourly(data))
                    for data in (self.month, self.small)
                },
                self.day.name: partial(make_received, self.day),
                self.small.name: partial(make_up, self.small),
            },
            {month: partial(roll_up, self.bucket(days))},
            {"ten-months": partial(put_together, [self.bucket(data.name) for data in self.months])},
        )

    def addresses(self, count: int) -> list[str]:
        """Addresses as often asked for as they get mail, the busiest first."""
        return [self.month.traffic.recipient((n + 0.5) / count) for n in range(count)]

    def bucket(self, name: str) -> Path:
        """Where a bucket lies."""
        return self.folder / name

    def hourly(self, data: DataSet) -> HourlyGzip:
        """A data set as hourly files, beside the buckets."""
        return HourlyGzip(self.folder.with_name(f"{self.folder.name}-{data.name}-hourly"))

    def make_raw(self, data: DataSet) -> Path:
        """The bodies of a data set in a bucket, and the same by the hour in gzip."""
        return self._make(f"{data.name}-raw")

    def make_received(self, data: DataSet) -> Path:
        """A bucket as receiving leaves it."""
        return self._make(data.name)

    def make_days(self, data: DataSet) -> Path:
        """A bucket of compacted days that are not rolled up."""
        return self._make(f"{data.name}-days")

    def make_compacted(self, data: DataSet) -> Path:
        """A bucket with a compacted month: what an archive is like when it has ended."""
        if data is self.month:
            self.make_days(data)
        return self._make(data.name)

    def make_ten_months(self) -> Path:
        """A bucket with ten compacted months."""
        self._make(f"{self.month.name}-days", *(data.name for data in self.months))
        return self._make("ten-months")

    def make_sizes(self) -> dict[str, Path]:
        """The compacted buckets by millions of events."""
        ten_months = self.make_ten_months()
        return {
            "0.2": self.make_compacted(self.small),
            "2": self.make_compacted(self.month),
            "20": ten_months,
        }

    def make_all(self) -> None:
        """Everything that is not there yet, so that no core waits."""
        self._make(*(name for step in self._steps for name in step))

    def seconds(self, name: str) -> float:
        """How long it took one process to make a bucket and what it is made of, whenever it did."""
        stamps = [self._stamp(name), self._stamp(f"{name}-days")]
        return sum(
            float(json.loads(stamp.read_text())["seconds"]) for stamp in stamps if stamp.exists()
        )

    def scratch(self, name: str) -> Path:
        """The place of a bucket that is made each time; what an earlier run left is gone."""
        shutil.rmtree(self.bucket(name), ignore_errors=True)
        return self.bucket(name)

    def _make(self, *names: str) -> Path:
        """Make buckets, unless the same code has made them already. Returns the last one."""
        for step in self._steps:
            missing = [name for name in step if name in names and not self._is_made(name)]
            with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
                under_way = {
                    pool.submit(_seconds, step[name], self._begin(name)): name for name in missing
                }
                try:
                    for done in as_completed(under_way):
                        self._finish(under_way[done], done.result())
                except BaseException:  # Ctrl-C too: what has not begun is left
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        return self.bucket(names[-1])

    def _is_made(self, name: str) -> bool:
        stamp = self._stamp(name)
        is_current = stamp.exists() and json.loads(stamp.read_text())["code"] == code_fingerprint()
        return is_current and self.bucket(name).exists()

    def _begin(self, name: str) -> Path:
        """Where to make a bucket, so that half of one never passes for a whole one."""
        self.say(f"to make: {name}")
        half = self.bucket(f"{name}.partial")
        for left_over in (self.bucket(name), half):
            shutil.rmtree(left_over, ignore_errors=True)
        return half

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


def store_of(bucket: Path) -> Store:
    """The store that receiving would put into a bucket with."""
    environ = {"ARCHIVE_FOLDER": str(bucket.parent), "ARCHIVE_BUCKETS": bucket.name}
    return open_store(from_environment(environ), bucket.name)


def make_up(data: DataSet, bucket: Path, *, until: datetime | None = None) -> None:
    """Compact a data set into a bucket. The month that `until` lies in is not rolled up."""
    store = GeneratedStore(bucket.parent, bucket.name, data.traffic.deliveries(), data.days)
    for _ in compact_stream(
        Bucket("bench", store),
        Read(),
        Stream("bench", "", APP),
        splitting_of(APP, {}),
        CompactionPlan(now=lambda: datetime.now(UTC), until=until),
    ):
        pass


def make_days(data: DataSet, bucket: Path) -> None:
    """Compact a data set into days that are not rolled up."""
    make_up(data, bucket, until=data.traffic.until - timedelta(seconds=1))


def roll_up(days: Path, bucket: Path) -> None:
    """Make a month of its days."""
    link_tree(days, bucket)
    for _ in Archive(bucket, environ={}).compact():
        pass


def put_together(months: Sequence[Path], bucket: Path) -> None:
    """Make one bucket of the compacted files of several."""
    for month in months:
        link_tree(month / EVENTS_FOLDER, bucket / EVENTS_FOLDER)


def make_raw(data: DataSet, hourly: HourlyGzip, bucket: Path) -> None:
    """Write the bodies of a data set into a bucket, and the same by the hour in gzip."""
    shutil.rmtree(hourly.folder, ignore_errors=True)
    for delivery in hourly.write(data.traffic.deliveries()):
        path = bucket / verified_object(delivery).key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(delivery.body)


def make_received(data: DataSet, bucket: Path) -> None:
    """Put the deliveries of a data set into a bucket as receiving does."""
    store = store_of(bucket)
    for delivery in data.traffic.deliveries():
        store.put(verified_object(delivery))


def _seconds(make: Maker, bucket: Path) -> float:
    started = time.monotonic()
    make(bucket)
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
