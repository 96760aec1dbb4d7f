"""`hookshelf ddl`: prints table and view of the compacted files, for Athena or Spark."""

from __future__ import annotations

import json

import click

from hookshelf.commands._options import ReadOptions, place_options
from hookshelf.commands._output import opened, show_read
from hookshelf.reading.ddl import ENGINES, MOST_LISTED, EventsTable, athena, spark
from hookshelf.reading.errors import ReadingError
from hookshelf.reading.values import Read
from hookshelf.terminal import printable, show

NOTES = {
    "athena": "one statement at a time. A new month needs nothing; a new app needs DROP TABLE, "
    "which deletes\n-- no data, and this again; or --injected.",
    "spark": "in Spark 3.4 or newer. After a new month or app, MSCK REPAIR TABLE again.",
}


@click.command()
@click.argument("engine", type=click.Choice(ENGINES))
@place_options
@click.option(
    "--injected",
    is_flag=True,
    help="Athena: serve apps that are not there yet; each query then says app = '…'. "
    f"So it is anyway for more than {MOST_LISTED} apps.",
)
@click.option(
    "--scheme",
    type=click.Choice(["s3", "s3a"]),
    default="s3",
    show_default=True,
    help="Spark: of the location in S3. Outside EMR and Glue it is s3a.",
)
def command(options: ReadOptions, *, engine: str, injected: bool, scheme: str) -> None:
    """Print table and view of the compacted files, ready to paste into Athena or Spark.

    The files are read where they are. `events` has a row for each copy of an event, and one, with
    `batch = 0`, for each delivery without events; `events_once` has each event once. With several
    buckets or paths there is a table for each, named after it.

    \b
    Exit status: 0 it is printed, 1 there are no deliveries, 2 misuse.

    \b
    Examples:
      hookshelf ddl athena
      hookshelf ddl athena --bucket my-webhooks --injected
      hookshelf ddl spark --scheme s3a
    """
    archive, read = opened(options), Read()
    tables = archive.tables(read=read)
    if not tables:
        raise ReadingError("No deliveries: there is nothing to make a table of")
    if engine == "athena" and archive.settings.folder:
        show("Athena reads S3, and this archive is a folder: its bucket's name is taken.", err=True)
    for table in tables:
        if engine == "athena":
            _show(options, table, NOTES[engine], athena(table, injected=injected))
        else:
            _show(options, table, NOTES[engine], spark(table, scheme=scheme))
    show_read(read, options)


def _show(options: ReadOptions, table: EventsTable, note: str, statements: list[str]) -> None:
    """One place: as JSON a line for each statement, else what can be pasted."""
    place = f"{table.bucket}/{table.prefix}"
    if options.as_json:
        for statement in statements:
            show(json.dumps({"place": place, "table": table.name, "sql": statement}))
        return
    click.echo(f"-- {place}: {note}\n")
    for statement in statements:
        click.echo("\n".join(map(printable, statement.split("\n"))) + ";\n")
