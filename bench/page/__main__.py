"""Measure how long the pages of `hookshelf browse` take, over 0.2, 2 and 20 million events.

It serves the archives of bench.reading, in a process of its own, and asks it over HTTP. The first
page in a browser is measured where the heavy tests have installed one. Tables go to standard
output, progress to standard error.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import quote, urlsplit

from bench.reading.data import PROJECT, Archives
from bench.reading.limits import Limit, Outcome
from bench.reading.report import machine
from bench.reading.store_server import StoreServer

ASKED, ROUNDS = 20, 3  # addresses, and how often each
EXAMPLES = """
examples:
  python -m bench.page                     0.2 and 2 million events
  python -m bench.page --million 20        20 million too; making them takes ten minutes, once
  python -m bench.page --scale 0.01        quick, to see that it works; no limit decides then

Exit status 0: every limit holds; 1: one is missed or could not be measured; 2: misuse.
"""
LIMITS = (
    Limit("timeline, 2 million events", "<=", 150, "ms"),
    Limit("overview, 2 million events", "<=", 300, "ms"),
    Limit("first page in a browser, 2 million events", "<=", 1000, "ms"),
    Limit("timeline over 30 ms, 2 million events", "<=", 400, "ms"),
)


class Served:
    """`hookshelf browse` in a process of its own, asked as a browser would."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "hookshelf", "browse", "--no-open", "--port", "0"]
        self._process = subprocess.Popen(
            command, cwd=PROJECT, env={**os.environ, **environ}, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self.address = self._process.stdout.readline().strip()
        self._parts = urlsplit(self.address)
        self._connection = http.client.HTTPConnection(self._parts.netloc, timeout=120)
        self._cookie = ""
        opened = self._ask(f"{self._parts.path}?{self._parts.query}")
        [morsel] = SimpleCookie(opened.getheader("Set-Cookie", "")).values()
        self._cookie = f"{morsel.key}={morsel.value}"

    def ms(self, path: str) -> float:
        """How many milliseconds a page takes, to its last byte."""
        started = time.perf_counter()
        response = self._ask(path)
        if response.status != http.HTTPStatus.OK:
            raise AssertionError(f"{path}: {response.status}")
        return (time.perf_counter() - started) * 1000

    def close(self) -> None:
        """End it."""
        self._connection.close()
        with self._process:
            self._process.terminate()

    def _ask(self, path: str) -> http.client.HTTPResponse:
        headers = {"Cookie": self._cookie} if self._cookie else {}
        self._connection.request("GET", path, headers=headers)
        response = self._connection.getresponse()
        response.read()
        return response


@contextmanager
def served(environ: Mapping[str, str]) -> Iterator[Served]:
    """The pages, for as long as it is entered."""
    pages = Served(environ)
    try:
        yield pages
    finally:
        pages.close()


def measure(archives: Archives, millions: str, bucket: Path) -> dict[str, float]:
    """The figures of one archive."""
    environ = {"ARCHIVE_FOLDER": str(bucket.parent), "ARCHIVE_BUCKETS": bucket.name}
    addresses = archives.addresses(ASKED)
    figures = {}
    with served(environ) as pages:
        archives.say(f"the pages, {millions} million events")
        # Asked first, when nothing is counted yet; its export waits until it is.
        first = pages.ms("/")
        counted = first + pages.ms("/.csv")
        timelines = [pages.ms(f"/p?q={quote(a)}") for a in addresses * ROUNDS]
        overviews = [pages.ms("/") for _ in range(ASKED)]
        figures[f"timeline, {millions} million events"] = statistics.median(timelines)
        figures[f"overview, {millions} million events"] = max(first, statistics.median(overviews))
        figures[f"until its charts, {millions} million events"] = counted
        if (shown := _in_browser(pages.address)) is not None:
            figures[f"first page in a browser, {millions} million events"] = shown
    with StoreServer(bucket.parent, [bucket.name]) as server:
        archives.say(f"the pages over 30 ms, {millions} million events")
        with served(server.environ(bucket.name)) as pages:
            far = [pages.ms(f"/p?q={quote(address)}") for address in addresses]
            figures[f"timeline over 30 ms, {millions} million events"] = statistics.median(far)
    return figures


def _in_browser(address: str) -> float | None:
    """Milliseconds from the printed address to a page that is whole; None without a browser."""
    sys.path.append(str(PROJECT / "tests"))
    try:
        from support.browser import browser
    except ImportError:
        return None
    try:
        with browser() as chrome:
            times = []
            for _ in range(ROUNDS):
                page = chrome.new_context().new_page()
                started = time.perf_counter()
                page.goto(address, wait_until="load")
                times.append((time.perf_counter() - started) * 1000)
                page.context.close()
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        print(f"no browser: {error}", file=sys.stderr)
        return None
    return statistics.median(times)


def as_table(figures: Mapping[str, float]) -> str:
    """Each figure at each size, and the limits."""
    names = dict.fromkeys(name.partition(", ")[0] for name in figures)
    sizes = dict.fromkeys(name.partition(", ")[2] for name in figures)
    lines = [f"{'ms, median':<28}" + "".join(f"{size:>24}" for size in sizes)]
    for name in names:
        values = [figures.get(f"{name}, {size}") for size in sizes]
        cells = "".join(f"{'-' if value is None else f'{value:,.0f}':>24}" for value in values)
        lines.append(f"{name:<28}{cells}")
    lines.append("")
    for limit in LIMITS:
        measured = figures.get(limit.figure)
        value = "-" if measured is None else f"{measured:,.0f}"
        bound = f"{limit.relation} {limit.bound:g} {limit.unit}"
        lines.append(f"{limit.figure:<48}{bound:>12}{value:>10}  {limit.outcome(figures)}")
    return "\n".join(lines)


def main() -> int:
    """Measure and print. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.page",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--million", type=int, choices=(2, 20), default=2, help="at most so many")
    parser.add_argument("--scale", type=float, default=1, help="0.01: a hundredth of all")
    parser.add_argument("--json", action="store_true", help="print one JSON object, no table")
    options = parser.parse_args()
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {text}", file=sys.stderr, flush=True)

    archives = Archives(options.scale, say)
    made = {"0.2": archives.make_compacted(archives.small)}
    made["2"] = archives.make_compacted(archives.month)
    if options.million > 2:
        made["20"] = archives.make_ten_months()
    figures: dict[str, float] = {}
    for millions, bucket in made.items():
        figures |= measure(archives, millions, bucket)
    outcomes = {limit.figure: limit.outcome(figures) for limit in LIMITS}
    about = {"scale": options.scale, "machine": machine()}
    print(
        json.dumps(about | {"figures": figures, "limits": outcomes})
        if options.json
        else f"{machine()}\n\n{as_table(figures)}"
    )
    return 1 if options.scale == 1 and set(outcomes.values()) != {Outcome.OK} else 0


if __name__ == "__main__":
    sys.exit(main())
