"""`hookshelf sql`: any question, in SQL."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Sequence
from itertools import count
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

    With --json what JSON has no form for is text: decimals, times, intervals, bytes, nan and inf,
    also inside lists and maps. The second of two columns named `a` is `a_1`.

    \b
    Exit status: 0 it ran, 1 the archive could not be read, or it failed after some rows, 2 misuse.

    \b
    Examples:
      hookshelf sql "select type, count(*) from events_once group by all order by 2 desc"
      hookshelf sql --json "select * from deliveries where verdict = 'bad'"
    """
    archive = opened(options)
    result = archive.query(statement)
    clear_progress()
    names = _distinct(result.columns)
    writer = csv.writer(sys.stdout, delimiter="\t", lineterminator="\n")
    if not options.as_json:
        writer.writerow([printable(name) for name in result.columns])
    for row in result:
        values = [_as_json(value) for value in row]
        if options.as_json:
            show(json.dumps(dict(zip(names, values, strict=True))))
        else:
            writer.writerow([printable(_cell(value)) for value in values])
    show_read(result.read, options)


def _distinct(columns: Sequence[str]) -> list[str]:
    """The names of columns, the second `a` as `a_1`: so DuckDB names those of a subquery."""
    names: list[str] = []
    for column in columns:
        others = {*columns, *names}
        following = (f"{column}_{number}" for number in count(1))
        names.append(
            column if column not in names else next(n for n in following if n not in others)
        )
    return names


def _as_json(value: Any) -> Any:
    """What JSON has no form for as text: bytes, decimals, times, and numbers that are none."""
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case list() | tuple():
            return [_as_json(each) for each in value]
        case dict():
            return {_cell(_as_json(name)): _as_json(each) for name, each in value.items()}
    return str(value)


def _cell(value: Any) -> str:
    """A value as text: empty where there is none."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)
