"""`hookshelf compact`: deliveries into files that a look-up needs few requests for."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.commands._output import opened, show_read
from hookshelf.reading.values import Read
from hookshelf.terminal import show, show_progress

if TYPE_CHECKING:
    from hookshelf import Archive
    from hookshelf.reading.compact import FileChange


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
    archive = opened(options)
    if not dry_run:
        _warn_of_missing_conditions(archive)
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
        _show_change(change, options, dry_run=dry_run)
    if not options.as_json:
        would = "would be " if dry_run else ""
        files = ", ".join(f"{count:,} {would}{state}" for state, count in sorted(states.items()))
        show(f"Files: {files or 'all up to date'}.")
    show_read(read, options, hint=False)


def _warn_of_missing_conditions(archive: Archive) -> None:
    for bucket in archive.without_conditions():
        show(
            f"{bucket}: this S3 server ignores If-Match, so nothing keeps two compactors apart. "
            "Let one run at a time.",
            err=True,
        )


def _show_change(change: FileChange, options: ReadOptions, *, dry_run: bool) -> None:
    if options.as_json:
        fields = asdict(change)
        del fields["bucket"]
        show(json.dumps(fields))
    elif dry_run:
        show(f"{change.state:<9}  {change.bucket}/{change.file}")
    elif change.state != "unchanged":
        show_progress(f"{change.state}: {change.bucket}/{change.file}")
