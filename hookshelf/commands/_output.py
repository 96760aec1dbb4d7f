"""How what is read is printed: lines of JSON, rows for a spreadsheet, and plain words."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chalicelib.bodies import is_json
from chalicelib.errors import MisuseError
from hookshelf.commands._options import ReadOptions
from hookshelf.reading.values import ArchivedDelivery, ArchivedEvent, Read
from hookshelf.terminal import printable, show, show_progress

if TYPE_CHECKING:
    from hookshelf import Archive

MANY_RAW = 1_000  # deliveries read one by one; from here on compacting them is worth a hint
EVENT_COLUMNS = (
    "id",
    "source",
    "type",
    "subject",
    "time",
    "app",
    "correlation",
    "arrived",
    "delivery",
    "position",
    "verdict",
    "times",
    "data",
)

_GAPS = 3  # that are named

# What makes a spreadsheet take a cell for a formula.
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = re.compile(r"[=+\-@\t\r]")
_NOT_ASCII = re.compile(r"[^\x20-\x7e]")


def json_line(event: ArchivedEvent, columns: Sequence[str] = EVENT_COLUMNS) -> str:
    r"""One event as one line of JSON; `data` is the sender's, no digit or name of it changed.

    Where it is no JSON, it is a string. What is not ASCII is written as `\uXXXX`: the same JSON,
    which no terminal obeys.
    """
    fields = event.as_json()
    written = (f"{json.dumps(name)}: {_written(name, fields[name])}" for name in columns)
    return "{" + ", ".join(written) + "}"


def csv_head(columns: Sequence[str] = EVENT_COLUMNS) -> str:
    """The names of the columns, behind the byte order mark by which spreadsheets know UTF-8."""
    return "\ufeff" + _csv_row(columns)


def csv_line(event: ArchivedEvent, columns: Sequence[str] = EVENT_COLUMNS) -> str:
    """One event for a spreadsheet: a cell that would be a formula begins with an apostrophe.

    Control characters are escaped, as nobody's terminal or spreadsheet should obey them.
    """
    fields = event.as_json()
    cells = [printable(str(fields[name])) for name in columns]
    return _csv_row([f"'{cell}" if _FORMULA.match(cell) else cell for cell in cells])


def event_at(archive: Archive, delivery: ArchivedDelivery, number: int) -> ArchivedEvent:
    """One event of a delivery. Raises MisuseError where it has fewer."""
    events = archive.events_of(delivery)
    if number >= len(events):
        raise MisuseError(f"It has {len(events)} events, counted from 0.")
    return events[number]


def opened(options: ReadOptions) -> Archive:
    """The archive a command reads; while much of it is read raw, it says how far that is."""
    from hookshelf import Archive

    return Archive(
        options.bucket,
        app=options.app,
        environ=options.environ,
        tz=options.tz,
        progress=show_progress,
    )


def show_read(read: Read, options: ReadOptions, *, hint: bool = True) -> None:
    """Say on stderr, last, what was read for what was printed."""
    words = (
        f"Read {read.files:,} files, {read.raw_objects:,} raw objects, {in_bytes(read.bytes)}, "
        f"{read.requests:,} requests, {read.ms:,.0f} ms."
    )
    if hint and read.raw_objects >= MANY_RAW:
        compact = go_on(options, "compact")
        show(f"Deliveries were read one by one. Quick from then on:  {compact}", err=True)
    show(json.dumps(read.as_json()) if options.as_json else words, err=True)


def go_on(options: ReadOptions, *words: str) -> str:
    """A command that goes on from here, ready to paste: it reads the same archive."""
    words = (_program(), *words)
    same = {"--bucket": options.bucket, "--app": options.app, "--stage": options.stage}
    for option, value in same.items():
        words += (option, value) if value else ()
    return shlex.join(words)


def _program() -> str:
    """`hookshelf`, or as it was called, where that is how it is found."""
    called = sys.argv[0]
    is_ours = Path(called).name == "hookshelf"
    return called if is_ours and shutil.which("hookshelf") is None else "hookshelf"


def absence(archive: Archive, options: ReadOptions) -> Iterator[str]:
    """What an empty answer stands on: what is covered, and what was refused."""
    words = [
        f"{word} {moment.astimezone(options.tz):%Y-%m-%d %H:%M}"
        for word, moment in (("from", options.since), ("to", options.until))
        if moment
    ]
    asked = f" in what arrived {' '.join(words)}" if words else ""
    parts = archive.coverage()
    if not parts:
        places = ", ".join(f"{place.bucket}/{place.prefix}" for place in archive.places)
        yield f"No app has any deliveries in {places}"
    else:
        yield f"Nothing matches{asked}. What there is:"
    for part in parts:
        if part.first is None or part.last is None:
            yield f"  {part.stream}: no deliveries"
            continue
        first, last = (day.astimezone(options.tz) for day in (part.first, part.last))
        yield (
            f"  {part.stream}: {part.deliveries:,} deliveries that arrived from "
            f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"
        )
        if part.gaps:
            yield f"    nothing arrived on {_gaps(part.gaps)}"
    refused = len(list(archive.refused(since=options.since, until=options.until)))
    if refused:
        yield f"{refused:,} refused deliveries are not among them: {go_on(options, 'refused')}"


def _gaps(gaps: Sequence[tuple[date, date]]) -> str:
    """`3 days (UTC): 2026-11-03 to 2026-11-05`; of many gaps the longest."""
    days = sum((end - start).days + 1 for start, end in gaps)
    longest = sorted(sorted(gaps, key=lambda gap: gap[0] - gap[1])[:_GAPS])
    named = (f"{start}" if start == end else f"{start} to {end}" for start, end in longest)
    more = f" and {len(gaps) - _GAPS:,} times more" if len(gaps) > _GAPS else ""
    return f"{days:,} day{'s' * (days > 1)} (UTC): {', '.join(named)}{more}"


def in_states(counts: Mapping[str, int], words: Mapping[str, str]) -> str:
    """How many there are in each state, in its words; empty where there are none."""
    return ", ".join(f"{counts[state]:,} {text}" for state, text in words.items() if counts[state])


def in_bytes(count: float) -> str:
    """`812 bytes`, `14.6 MB`."""
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:,.1f} TB"


def in_words(duration: timedelta) -> str:
    """`3 weeks`, `40 hours`: in the largest unit of which there are two, or in minutes."""
    seconds = duration.total_seconds()
    for unit, length in (("weeks", 604_800), ("days", 86_400), ("hours", 3_600)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds // 60:.0f} minutes"


def short_hash(delivery: str) -> str:
    """The first digits of the SHA-256 in a delivery's key; `hookshelf show` takes them."""
    return delivery.rpartition("-")[2][:8]


def _written(name: str, value: Any) -> str:
    if name == "data" and is_json(value.encode("utf-8", "replace")):
        return _NOT_ASCII.sub(_escaped, value)
    return json.dumps(value)


def _escaped(match: re.Match[str]) -> str:
    # Outside of strings, JSON has only spaces, tabs and line breaks.
    return " " if match[0] in "\t\r\n" else json.dumps(match[0])[1:-1]


def _csv_row(cells: Sequence[str]) -> str:
    line = StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
