"""`hookshelf count`: how many events there are, by what you ask for."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from hookshelf.commands._options import Match, ReadOptions, matching_options, reading_options
from hookshelf.commands._output import absence, opened, show_read
from hookshelf.terminal import printable, show

BAR = 30  # characters of the longest one


@click.command()
@reading_options
@matching_options
@click.option(
    "--by",
    metavar="FIELDS",
    default="",
    help="Any of app, source, day, hour, month, type, verdict, subject, domain, correlation.",
)
def command(options: ReadOptions, match: Match, *, by: str) -> None:
    """Count events, each once; how many were sent again stands below.

    \b
    Exit status: 0 something was counted, 1 nothing, 2 misuse.

    \b
    Examples:
      hookshelf count
      hookshelf count --by day,type --since 4w
      hookshelf count --by domain --type bounce --json
    """
    fields = [field.strip() for field in by.split(",") if field.strip()]
    archive = opened(options)
    counted = archive.count(fields, **asdict(match), since=options.since, until=options.until)
    if options.as_json:
        for row in counted.rows:
            show(json.dumps(row, default=str))
    elif counted.rows:
        _print_table(fields, counted.rows)
    is_empty = not sum(row["events"] for row in counted.rows)
    if is_empty:
        for line in absence(archive, options):
            show(line, err=True)
    show_read(counted.read, options)
    sys.exit(1 if is_empty else 0)


def _print_table(fields: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    cells = [[printable(str(row[field])) for field in fields] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    most = max(row["events"] for row in rows) or 1
    digits = len(f"{most:,}")
    for row, texts in zip(rows, cells, strict=True):
        columns = [f"{text:<{width}}" for text, width in zip(texts, widths, strict=True)]
        bar = "█" * round(BAR * row["events"] / most) if sys.stdout.isatty() and fields else ""
        show("  ".join([*columns, f"{row['events']:>{digits},}", bar]).rstrip())
    repeats = sum(row["repeats"] for row in rows)
    events = sum(row["events"] for row in rows)
    show(f"{events:,} events; {repeats:,} repeats of them are not counted.", err=True)
