"""python -m faults.soak: senders, a store that fails now and then, compactor and readers, for long.

Ends with 1 where an acknowledged delivery is missing, altered or overwritten, where a reader shows
an event twice or loses one, or where the server's memory grows. `make soak` runs it.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from faults.load import APPS, Ledger, deliveries_of, send_until
from support.canary import TOKEN
from support.faulty_s3 import Fault, FaultyS3, Request, dropped, lost_answer, status
from support.project import CREDENTIALS
from support.ways import Sent, Server, Servers, start

from chalicelib.errors import HookshelfError
from hookshelf import Archive

FAULTS = [status(503, "SlowDown"), status(500, "InternalError"), dropped, lost_answer]
SENDERS = 8
LOOKED_AT = timedelta(minutes=10)  # how far back a reader looks
SLOPE = 10.0  # MB an hour that the server's memory may grow, once it is warm


def main() -> int:
    """Soak, and say how it went."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="how long (default 60)")
    parser.add_argument("--rate", type=float, default=50, help="requests a second (default 50)")
    parser.add_argument(
        "--faults", type=float, default=0.03, help="share of S3's requests that fail"
    )
    asked = parser.parse_args()
    ledger, ended, memory = Ledger(), threading.Event(), list[tuple[float, float]]()
    chance = Random(20261121)

    def sometimes(s3: FaultyS3, request: Request) -> bytes:
        """Of what is received; readers and the compactor have retries of their own."""
        if len(s3.requests) > 1_000:  # each has its body
            s3.requests.clear()
        fails = request.method == "PUT" and chance.random() < asked.faults
        fault: Fault | None = chance.choice(FAULTS) if fails else None
        return fault(s3, request) if fault else s3.serve(request)

    with FaultyS3(iter(lambda: sometimes, None)) as s3, tempfile.TemporaryDirectory() as folder:
        environ = {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": s3.endpoint, "ARCHIVE_BUCKETS": "events"}
        sent = Sent(variables={"validToken": TOKEN}, environ=environ)
        server = start(Servers(lambda: Path(folder)).project(sent))
        reader = Reader(environ)
        every = SENDERS / asked.rate
        threads = [
            threading.Thread(target=send_until, args=(ended, ledger, lambda: server.port, n, every))
            for n in range(1, SENDERS + 1)
        ] + [threading.Thread(target=reader.run, args=(ended,))]
        for thread in threads:
            thread.start()
        end = time.monotonic() + asked.minutes * 60
        try:
            while time.monotonic() < end:
                ended.wait(min(10, max(0, end - time.monotonic())))
                memory.append((time.monotonic(), megabytes(server)))
                said = f"{len(ledger.acknowledged):,} kept, {memory[-1][1]:.0f} MB"
                print(said, file=sys.stderr, flush=True)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
            server.stop()
        objects = deliveries_of({key: stored.body for key, stored in s3.objects.items()})
        writes = [key for key in s3.writes if key in objects]
        wrong = ledger.faults(objects, writes) + reader.faults
    return report(asked, ledger, wrong, memory)


def report(asked: Any, ledger: Ledger, wrong: list[str], memory: list[tuple[float, float]]) -> int:
    """Print what came of it."""
    warm = memory[len(memory) // 4 :]
    growth = slope(warm) * 3600
    seconds = memory[-1][0] - memory[0][0] or 1
    rate = sum(ledger.statuses.values()) / seconds
    print(f"{asked.minutes:g} minutes, {rate:.0f} requests/s, {asked.faults:.0%} of puts failed")
    print(f"statuses {dict(sorted(ledger.statuses.items()))}")
    print(f"acknowledged {len(ledger.acknowledged):,}; not as it should be: {len(wrong)}")
    print(f"memory {warm[0][1]:.0f} MB to {warm[-1][1]:.0f} MB, {growth:+.1f} MB an hour")
    for line in wrong[:20]:
        print(line)
    is_flat = growth <= SLOPE or asked.minutes < 10  # of less nobody can tell
    return int(bool(wrong) or not is_flat)


class Reader:
    """Compacts, and looks up what it has seen before: each event once, and none missing."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._archive = Archive(environ=environ, now=lambda: datetime.now(UTC))
        self._seen: dict[str, set[tuple[datetime, str]]] = {}
        self.faults: list[str] = []

    def run(self, ended: threading.Event) -> None:
        """Again and again, until the end."""
        while not ended.wait(20):
            try:
                list(self._archive.compact())
                for app in APPS:
                    self._look(app)
            except HookshelfError as error:
                self.faults.append(f"reader: {type(error).__name__}")

    def _look(self, app: str) -> None:
        since = datetime.now(UTC) - LOOKED_AT
        shown = [(d.arrived, d.key) for d in self._archive.deliveries(app=app, since=since)]
        if len(shown) != len(set(shown)):
            self.faults.append(f"shown twice in {app}")
        before = {(at, key) for at, key in self._seen.get(app, set()) if at >= since}
        if gone := before - set(shown):
            self.faults.append(f"no longer shown in {app}: {len(gone)}")
        self._seen[app] = set(shown)


def megabytes(server: Server) -> float:
    """What the server holds in memory."""
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def slope(points: list[tuple[float, float]]) -> float:
    """Of the line through them, by least squares."""
    count = len(points)
    mean_x, mean_y = (sum(values) / count for values in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


if __name__ == "__main__":
    sys.exit(main())
