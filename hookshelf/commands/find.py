"""`hookshelf find`: what happened to somebody, or to a message."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, tzinfo

import click

from hookshelf.commands._options import (
    Match,
    ReadOptions,
    matching_options,
    reading_options,
)
from hookshelf.commands._output import absence, go_on, opened, show_read
from hookshelf.reading.lines import csv_head, csv_line, json_line
from hookshelf.reading.values import ArchivedEvent
from hookshelf.reading.words import LATE, day_in_words, outcome, sentence
from hookshelf.terminal import clear_progress, show
from hookshelf.wording import in_words, short_hash

NOTHING = Match(None, None, None, None)


@click.command()
@reading_options
@matching_options
@click.option("-n", "limit", type=click.IntRange(min=1), help="The newest so many.")
@click.option("--all", "show_all", is_flag=True, help="Every copy of what was sent repeatedly.")
@click.option("--csv", "as_csv", is_flag=True, help="For a spreadsheet.")
def command(
    options: ReadOptions, match: Match, *, limit: int | None, show_all: bool, as_csv: bool
) -> None:
    """Show what happened to SUBJECT, in order of time.

    SUBJECT is what a source's events are about: the recipient's address with SendGrid, a
    customer with Stripe, a repository with GitHub. An event that was sent several times is
    shown once. Times are the sender's; --since and --until look at the arrival.

    \b
    Exit status: 0 something was found, 1 nothing, 2 misuse.

    \b
    Examples:
      hookshelf find jane@example.com
      hookshelf find jane@example.com --since 4w --type bounce
      hookshelf find --correlation 14c5d75ce93.dfd.64b469 --json
      hookshelf find jane@example.com --csv > jane.csv
    """
    if match == NOTHING:
        raise click.UsageError("Say what to look for: SUBJECT, --id, --type or --correlation.")
    if as_csv and options.as_json:
        raise click.UsageError("Choose one of --json and --csv.")
    archive = opened(options)
    # What became of a message stands on all of its events, however many are shown.
    tells_outcome = match.subject is not None and match.type is None and match.id is None
    found = archive.find(
        **asdict(match),
        since=options.since,
        until=options.until,
        all=show_all,
        limit=None if tells_outcome else limit,
    )
    everything = list(found)
    events = everything[-limit:] if limit else everything
    clear_progress()
    if options.as_json or as_csv:
        _print_data(events, as_csv=as_csv)
    else:
        _print_outcome(everything if tells_outcome else (), options)
        _print_timeline(events, options, match)
    if not events:
        for line in absence(archive, options):
            show(line, err=True)
    show_read(found.read, options)
    sys.exit(0 if events else 1)


def _print_data(events: Sequence[ArchivedEvent], *, as_csv: bool) -> None:
    if as_csv:
        click.echo(csv_head())
    for event in events:
        click.echo(csv_line(event) if as_csv else json_line(event))


def _print_outcome(events: Sequence[ArchivedEvent], options: ReadOptions) -> None:
    if newest := outcome(events):
        now = datetime.now(options.tz)
        show(newest.sentence(lambda event: day_in_words(event, options.tz, now)))
        show("")


def _print_timeline(events: Sequence[ArchivedEvent], options: ReadOptions, match: Match) -> None:
    for event in events:
        show("  ".join(_cells(event, options.tz, match)))
    for last in events[-1:]:
        show("", err=True)
        show(f"Its delivery:  {go_on(options, 'show', short_hash(last.delivery))}", err=True)
        if last.correlation and not match.correlation:
            message = go_on(options, "find", f"--correlation={last.correlation}")
            show(f"Its message:   {message}", err=True)


def _cells(event: ArchivedEvent, tz: tzinfo, match: Match) -> Iterator[str]:
    yield event.time.astimezone(tz).isoformat(sep=" ", timespec="seconds")
    if match.subject is None:
        yield event.subject or "(no subject)"
    yield sentence(event)
    if event.times > 1:
        yield f"×{event.times}"
    late = event.arrived - event.time
    if late >= LATE:
        yield f"arrived {in_words(late)} later"
    yield f"[{short_hash(event.delivery)} {event.verdict}]"
