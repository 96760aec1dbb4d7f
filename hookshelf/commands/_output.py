"""What reading commands print alike: what was read, what to run next, what an absence means."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from chalicelib.errors import MisuseError
from hookshelf.commands._options import ReadOptions
from hookshelf.reading.values import ArchivedDelivery, ArchivedEvent, Read
from hookshelf.reading.words import read_in_words
from hookshelf.terminal import show, show_progress
from hookshelf.wording import counted, gaps_in_words

if TYPE_CHECKING:
    from hookshelf import Archive


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
        below=options.bucket is None,
        progress=show_progress,
    )


def show_read(read: Read, options: ReadOptions, *, hint: bool = True) -> None:
    """Say on stderr, last, what was read for what was printed."""
    if hint and read.is_slow:
        compact = go_on(options, "compact")
        show(f"Deliveries were read one by one. Quick from then on:  {compact}", err=True)
    show(json.dumps(read.as_json()) if options.as_json else read_in_words(read), err=True)


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
            f"  {part.stream}: {counted(part.deliveries, 'delivery')} that arrived from "
            f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"
        )
        if part.gaps:
            yield f"    nothing arrived on {gaps_in_words(part.gaps)}"
    refused = len(list(archive.refused(since=options.since, until=options.until)))
    if refused:
        is_or_are = "is" if refused == 1 else "are"
        yield (
            f"{counted(refused, 'refused delivery')} {is_or_are} not among them: "
            f"{go_on(options, 'refused')}"
        )


def in_states(counts: Mapping[str, int], words: Mapping[str, str]) -> str:
    """How many there are in each state, in its words; empty where there are none."""
    return ", ".join(f"{counts[state]:,} {text}" for state, text in words.items() if counts[state])
