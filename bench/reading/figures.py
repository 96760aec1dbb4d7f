"""The figures. Each function measures some, and `--only` takes its name.

Medians throughout. Where peers are asked too, all are asked in the same round, so that a busy
moment falls on each of them.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from bench.reading import memory
from bench.reading.data import Archives, link_tree, store_of
from bench.reading.generated import APP, verified_object
from bench.reading.peers import RawJson
from bench.reading.store_server import Counts, StoreServer
from chalicelib.delivery import Delivery
from chalicelib.keys import EVENTS_FOLDER, MANIFESTS_FOLDER
from hookshelf import Archive
from hookshelf.local.traffic import Traffic
from hookshelf.local.tryout import private_key, public_key_of

ASKED = 20  # addresses
ROUNDS = 3
HOOKSHELF = str(Path(sys.executable).with_name("hookshelf"))


@dataclass
class Figures:
    """What was measured, in the order in which it was."""

    archives: Archives
    values: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Take a figure down."""
        self.values[name] = value

    def add_counts(self, name: str, counts: Iterable[Counts]) -> None:
        """Take down what a store was asked, in the median."""
        counts = list(counts)
        self.add(f"{name}: GETs", statistics.median(each.gets + each.heads for each in counts))
        self.add(f"{name}: LISTs", statistics.median(each.lists for each in counts))
        self.add(f"{name}: MB", statistics.median(each.bytes for each in counts) / 1_000_000)


def find_on_disk(figures: Figures) -> None:
    """One address, in a process that has looked one up before."""
    archives = figures.archives
    for millions, bucket in archives.make_sizes().items():
        archive = Archive(bucket, environ={})
        archives.say(f"find on disk, {millions} million events")
        addresses = archives.addresses(ASKED)
        _ids(archive, addresses[0])
        times, ids = zip(*(_timed(_ids, archive, a) for a in addresses * ROUNDS), strict=True)
        figures.add(f"find on disk, {millions} million events", statistics.median(times))
        figures.add(f"find on disk, {millions} million events: events", _median_size(ids))
    made_up = {"0.2": [archives.small], "2": [archives.month], "20": archives.months}
    for millions, parts in made_up.items():
        seconds = sum(archives.seconds(part.name) for part in parts)
        figures.add(f"make up and compact, {millions} million events: process seconds", seconds)


def peers_on_disk(figures: Figures) -> None:
    """The same in the same rounds by zgrep over hourly gzip and DuckDB over raw JSON."""
    archives = figures.archives
    for millions, data in (("0.2", archives.small), ("2", archives.month)):
        raw, archive = archives.make_raw(data), Archive(archives.make_compacted(data), environ={})
        ways: dict[str, Callable[[str], set[str]]] = {
            "find on disk": partial(_ids, archive),
            "zgrep over hourly gzip": archives.hourly(data).ids,
            "DuckDB over raw JSON": RawJson(raw).ids,
        }
        if data is archives.small:
            ways["find, nothing compacted"] = partial(_ids, Archive(raw, environ={}))
        rounds = []
        for address in archives.addresses(ROUNDS):
            archives.say(f"{', '.join(ways)}, {millions} million events: {address}")
            rounds.append({way: _timed(ask, address) for way, ask in ways.items()})
            counts = {way: len(ids) for way, (_, ids) in rounds[-1].items()}
            if len({frozenset(ids) for _, ids in rounds[-1].values()}) > 1:
                raise AssertionError(f"not the same events of {address}: {counts}")
        for way in ways:
            name = f"beside peers: {way}, {millions} million events"
            figures.add(name, statistics.median(timed[way][0] for timed in rounds))


def find_over_network(figures: Figures) -> None:
    """One address, when nothing is known of the bucket and nothing is cached."""
    archives = figures.archives
    sizes = {millions: bucket.name for millions, bucket in archives.make_sizes().items()}
    with StoreServer(archives.folder, list(sizes.values())) as server:
        for millions, bucket in sizes.items():
            name = f"find over 30 ms, {millions} million events"
            archives.say(name)
            _find_anew(figures, server, bucket, ASKED, name)


def find_today(figures: Figures) -> None:
    """30,000 deliveries since yesterday, of which the last 2,000 are not compacted."""
    archives = figures.archives
    name = "find over 30 ms, today: 30,000 deliveries, 2,000 raw"
    bucket = archives.scratch("today")
    older, newer = round(28_000 * archives.scale), round(2_000 * archives.scale)
    archives.say(f"receiving {older + newer:,} deliveries")
    now = datetime.now(UTC)
    # Whole hours are compacted once they have settled.
    hour = (now - timedelta(minutes=3)).replace(minute=0, second=0, microsecond=0)
    traffic = Traffic(events=round(130_000 * archives.scale), until=hour, days=1, batch=1)
    deliveries = list(deque(traffic.deliveries(), maxlen=older + newer))
    store = store_of(bucket)
    for delivery in deliveries[:older]:
        store.put(verified_object(delivery))
    archives.say(f"compacting {older:,} of them")
    for _ in Archive(bucket, environ={}).compact():
        pass
    for number, delivery in enumerate(deliveries[older:]):
        arrived = hour + (now - hour) * (number / newer)
        later = Delivery(delivery.app, delivery.headers, delivery.body, arrived)
        store.put(verified_object(later))
    archives.say(name)
    with StoreServer(archives.folder, [bucket.name]) as server:
        _find_anew(figures, server, bucket.name, ROUNDS + 2, name)
    archives.scratch("today")


def whole_command(figures: Figures) -> None:
    """What somebody at a shell waits for."""
    archives = figures.archives
    bucket = archives.make_compacted(archives.month)
    environ = os.environ | {
        "ARCHIVE_FOLDER": str(archives.folder),
        "ARCHIVE_BUCKETS": bucket.name,
    }
    archives.say("hookshelf find")
    times = []
    for address in archives.addresses(ASKED // 2):
        started = time.perf_counter()
        done = subprocess.run(
            [HOOKSHELF, "find", address, "--json"], env=environ, capture_output=True, check=False
        )
        if not done.stderr.rstrip().endswith(b"}"):  # what was read; that nothing matched is fine
            raise AssertionError(done.stderr.decode())
        times.append((time.perf_counter() - started) * 1000)
    figures.add("the command hookshelf find, 2 million events", statistics.median(times))


def compacting(figures: Figures) -> None:
    """A day from raw objects with the rebuild check, and a month from its days."""
    archives = figures.archives
    day = archives.make_received(archives.day)
    runs = []
    for _ in range(ROUNDS):
        for compacted in (EVENTS_FOLDER, MANIFESTS_FOLDER):
            shutil.rmtree(day / compacted, ignore_errors=True)
        archives.say("compacting a day of 200,000 events")
        runs.append(_compacted(day, archives.day.traffic.until - timedelta(seconds=1)))
    name = "compact a day of 200,000 events"
    figures.add(name, statistics.median(run["events"] / run["seconds"] for run in runs))
    figures.add(f"{name}: memory", statistics.median(run["peak_mb"] for run in runs))
    days, month = archives.make_days(archives.month), archives.scratch("month-again")
    link_tree(days, month)
    archives.say("rolling up a month of 2 million events")
    run = _compacted(month)
    archives.scratch("month-again")
    name = "roll up a month of 2 million events"
    figures.add(name, run["events"] / run["seconds"])
    figures.add(f"{name}: memory", run["peak_mb"])


def verify(figures: Figures) -> None:
    """Prove the signatures of a month's compacted deliveries again, from a store far away."""
    archives = figures.archives
    bucket = archives.make_compacted(archives.month)
    archives.say("verifying a month over 30 ms")
    with StoreServer(archives.folder, [bucket.name]) as server:
        apps_file = archives.folder.with_name("apps.json")
        apps_file.write_text(json.dumps({APP: {"public_keys": [public_key_of(private_key())]}}))
        environ = os.environ | server.environ(bucket.name) | {"APPS_FILE": str(apps_file)}
        started = time.perf_counter()
        done = subprocess.run(
            [HOOKSHELF, "verify", "--json"], env=environ, stdout=subprocess.PIPE, check=True
        )
        seconds = time.perf_counter() - started
        verdicts = [json.loads(line)["verdict"] for line in done.stdout.splitlines()]
        if set(verdicts) != {"verified"}:
            raise AssertionError(f"not all verified: {set(verdicts)}")
        name = "verify 100,000 compacted deliveries over 30 ms"
        figures.add(name, seconds * 100_000 / len(verdicts))
        figures.add_counts(name, [server.counts()])


FIGURES: Mapping[str, Callable[[Figures], None]] = {
    measure.__name__: measure
    for measure in (
        find_on_disk,
        peers_on_disk,
        find_over_network,
        find_today,
        whole_command,
        compacting,
        verify,
    )
}


def _ids(archive: Archive, address: str) -> set[str]:
    return {event.id for event in archive.find(address)}


def _timed(ask: Callable[..., set[str]], *arguments: object) -> tuple[float, set[str]]:
    """How many milliseconds it takes, and what comes of it."""
    started = time.perf_counter()
    ids = ask(*arguments)
    return (time.perf_counter() - started) * 1000, ids


def _median_size(sets: Iterable[set[str]]) -> float:
    return statistics.median(map(len, sets))


def _find_anew(figures: Figures, server: StoreServer, bucket: str, asked: int, name: str) -> None:
    """Take down how long a look-up takes and what it asks, each time with a new Archive."""
    times, counts = [], []
    for address in figures.archives.addresses(asked):
        server.counts()
        archive = Archive(bucket, environ=server.environ(bucket))
        times.append(_timed(_ids, archive, address)[0])
        counts.append(server.counts())
    figures.add(name, statistics.median(times))
    figures.add_counts(name, counts)


def _compacted(bucket: Path, until: datetime | None = None) -> dict[str, float]:
    """Events, seconds and the peak of memory of compacting a bucket.

    The month that `until` lies in is not rolled up: its events would count twice.
    """
    command = [sys.executable, "-m", "bench.reading.compacting", str(bucket)]
    finished = memory.run(command + ([until.isoformat()] if until else []), dict(os.environ))
    return {**json.loads(finished.output), "peak_mb": finished.peak_mb}
