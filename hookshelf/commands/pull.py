"""`hookshelf pull`: part of an archive into a folder, where every command reads it."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from pathlib import Path

import click

from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.terminal import show
from hookshelf.wording import in_bytes


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@reading_options
@click.option(
    "--compacted", is_flag=True, help="Whole compacted files, and raw only what they do not hold."
)
@click.option("--dry-run", is_flag=True, help="Say what would be written; write nothing.")
def command(options: ReadOptions, *, folder: Path, compacted: bool, dry_run: bool) -> None:
    """Write deliveries into DIR/<bucket>/<key>: a folder that every command reads as an archive.

    Each body is checked against the SHA-256 in its key. What is there is left alone, so that a run
    that was interrupted can be run again. What was refused in that time comes too, and, where no
    time is asked for, the manifest log. Raw deliveries that are gone are put together from files.

    \b
    Exit status: 0 all is there, 1 a body was altered, or nothing matched, 2 misuse.

    \b
    Examples:
      hookshelf pull laptop --app sendgrid --since 30d
      hookshelf pull laptop --compacted
      ARCHIVE_FOLDER=laptop ARCHIVE_BUCKETS=my-webhooks hookshelf find jane@example.com
    """
    from hookshelf import Archive

    archive = Archive(
        options.bucket, app=options.app, environ=options.environ, below=options.bucket is None
    )
    counts: Counter[str] = Counter()
    size = 0
    pulled = archive.pull(
        folder, since=options.since, until=options.until, compacted=compacted, dry_run=dry_run
    )
    with click.progressbar(
        pulled, label="Pulling", file=sys.stderr, item_show_func=lambda _: f"{counts.total():,}",
        hidden=not sys.stderr.isatty(),
    ) as lines:  # fmt: skip
        for line in lines:
            counts[line.state] += 1
            size += line.size * (line.state != "there")
            if options.as_json:
                fields = {"key": line.key, "bucket": line.bucket, "size": line.size}
                show(json.dumps({**fields, "state": line.state}))
            elif line.state == "altered":
                show(f"altered  {line.bucket}/{line.key}")
    if not counts:
        raise click.ClickException("Nothing arrived there in that time. Try another --since")
    words = {"pulled": "would be pulled" if dry_run else "pulled", "there": "there already"}
    parts = [f"{count:,} {words.get(state, state)}" for state, count in sorted(counts.items())]
    show(f"Objects: {', '.join(parts)}, {in_bytes(size)}.", err=options.as_json)
    buckets = ",".join(dict.fromkeys(place.bucket for place in archive.places))
    variables = f"ARCHIVE_FOLDER={shlex.quote(str(folder.resolve()))} ARCHIVE_BUCKETS={buckets}"
    show(f"To read it: {variables} hookshelf status", err=True)
    sys.exit(1 if counts["altered"] else 0)
