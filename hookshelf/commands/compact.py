"""`hookshelf compact`: deliveries into files that a look-up needs few requests for."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from datetime import timedelta

import click

from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.commands._output import show_read
from hookshelf.reading.values import Read
from hookshelf.terminal import show


@click.command()
@reading_options
@click.option("--dry-run", is_flag=True, help="Say what would be written and deleted; do nothing.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="DAYS",
    help="Delete compacted days that are older. Raw deliveries are the bucket's lifecycle's.",
)
def command(options: ReadOptions, *, dry_run: bool, keep: int | None) -> None:
    """Bring the compacted files up to date, ended days and months too.

    Every hour, then day, then month of an app becomes one Parquet file below layer=events/, from
    which every delivery can be given back byte for byte; no raw delivery is changed or deleted.
    It can be interrupted, and run again, at any time, also while deliveries arrive.

    \b
    Exit status: 0 up to date, 1 the archive could not be read or written, 2 misuse.

    \b
    Examples:
      hookshelf compact
      hookshelf compact --app sendgrid --dry-run
      hookshelf compact --keep 400
    """
    from hookshelf import Archive

    archive = Archive(options.bucket, app=options.app, environ=options.environ)
    for bucket in [] if dry_run else archive.without_conditions():
        show(
            f"{bucket}: this S3 server ignores If-Match, so nothing keeps two compactors apart. "
            "Let one run at a time.",
            err=True,
        )
    states: Counter[str] = Counter()
    read = Read()
    changes = archive.compact(
        since=options.since,
        until=options.until,
        keep=timedelta(days=keep) if keep else None,
        dry_run=dry_run,
        read=read,
    )
    for change in changes:
        states[change.state] += 1
        if options.as_json:
            show(json.dumps(asdict(change)))
        elif dry_run:
            show(f"{change.state:<9}  {change.bucket}/{change.file}")
        else:
            _progress(f"{change.state}: {change.bucket}/{change.file}")
    if not options.as_json:
        would = "would be " if dry_run else ""
        files = ", ".join(f"{count:,} {would}{state}" for state, count in sorted(states.items()))
        show(f"Files: {files or 'all up to date'}.")
    show_read(read, options)


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[2K{line}", err=True, nl=False)
