"""`hookshelf export`: events, each once, for other programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import click

from chalicelib.errors import MisuseError
from hookshelf.commands._options import Match, ReadOptions, matching_options, reading_options
from hookshelf.commands._output import opened, show_read
from hookshelf.reading.lines import EVENT_COLUMNS, csv_head, csv_line, json_line
from hookshelf.reading.values import ArchivedEvent
from hookshelf.terminal import show


@click.command()
@reading_options
@matching_options
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "ndjson", "parquet"]),
    default="ndjson",
    show_default=True,
    help="Of the file.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
@click.option("--columns", default=",".join(EVENT_COLUMNS), help="Which ones, and in which order.")
def command(
    options: ReadOptions, match: Match, *, file_format: str, out: Path | None, columns: str
) -> None:
    """Write what find and count see, each event once.

    NDJSON is exact. CSV is for spreadsheets: a cell that would be a formula begins with an
    apostrophe, and control characters are escaped.

    \b
    Exit status: 0 something was written, 1 nothing, 2 misuse.

    \b
    Examples:
      hookshelf export --since 4w --out events.ndjson
      hookshelf export jane@example.com --format csv --columns time,type,verdict --out jane.csv
      hookshelf export --format parquet --out events.parquet
    """
    chosen = [name.strip() for name in columns.split(",")]
    if unknown := [name for name in chosen if name not in EVENT_COLUMNS]:
        raise click.BadParameter(
            f"no column {unknown[0]!r}. There are {', '.join(EVENT_COLUMNS)}",
            param_hint="--columns",
        )
    if file_format == "parquet" and out is None:
        raise MisuseError("A Parquet file needs a name: --out FILE.")
    archive = opened(options)
    found = archive.find(**asdict(match), since=options.since, until=options.until)
    if file_format == "parquet" and out is not None:
        from hookshelf.reading.export import write_parquet

        with _replacing(out) as partial:
            count = write_parquet(found, chosen, partial)
    else:
        line = csv_line if file_format == "csv" else json_line
        head = csv_head(chosen) if file_format == "csv" else None
        with _opened(out) as file:
            count = _write_lines(file, found, chosen, line, head)
    show(f"{count:,} events." if out is None else f"{count:,} events in {out}.", err=True)
    show_read(found.read, options)
    sys.exit(0 if count else 1)


def _write_lines(
    file: TextIO,
    events: Iterable[ArchivedEvent],
    columns: Sequence[str],
    line: Callable[[ArchivedEvent, Sequence[str]], str],
    head: str | None,
) -> int:
    if head is not None:
        file.write(head + "\n")
    return sum(bool(file.write(line(event, columns) + "\n")) for event in events)


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    with _replacing(out) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """A name to write under; only what was written whole gets the name that was asked for."""
    partial = out.with_name(f"{out.name}.part")
    try:
        yield partial
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
