"""`hookshelf sql`: any question, in SQL."""

from __future__ import annotations

import csv
import json
import math
import sys
from typing import Any

import click

from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.commands._output import opened, show_read
from hookshelf.terminal import clear_progress, printable, show


@click.command()
@click.argument("statement")
@reading_options
def command(options: ReadOptions, *, statement: str) -> None:
    """Run one statement of DuckDB's SQL over the archive.

    There are the tables `events` (a row for each copy), `events_once` (each event once) and
    `deliveries`. It cannot write, and reaches no file and no network but the archive.
    On `time` nothing is left out before reading; `month` leaves out whole files.

    \b
    Exit status: 0 it ran, 1 the archive could not be read, 2 misuse.

    \b
    Examples:
      hookshelf sql "select type, count(*) from events_once group by all order by 2 desc"
      hookshelf sql --json "select * from deliveries where verdict = 'bad'"
    """
    archive = opened(options)
    result = archive.query(statement)
    clear_progress()
    writer = csv.writer(sys.stdout, delimiter="\t", lineterminator="\n")
    if not options.as_json:
        writer.writerow([printable(name) for name in result.columns])
    for row in result:
        if options.as_json:
            show(
                json.dumps(dict(zip(result.columns, map(_value, row), strict=True)), default=_text)
            )
        else:
            writer.writerow([printable(_text(value)) if value is not None else "" for value in row])
    show_read(result.read, options)


def _value(value: Any) -> Any:
    """JSON has no infinity, and none that is not a number: they are text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
