"""`hookshelf adopt`: objects that something else wrote, as deliveries of an app."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from chalicelib.errors import MisuseError
from chalicelib.keys import is_app
from chalicelib.settings import parse_bucket_path
from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.commands._output import in_states
from hookshelf.reading.values import Pile
from hookshelf.terminal import show, show_progress


@click.command()
@click.argument("pile", metavar="FOLDER|BUCKET/PREFIX")
@reading_options
@click.option(
    "--into",
    metavar="NAME[/PATH]",
    help="Where to; without it, the first entry of ARCHIVE_BUCKETS.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be adopted; write nothing.")
def command(options: ReadOptions, *, pile: str, into: str | None, dry_run: bool) -> None:
    """Archive a pile of JSON objects as deliveries of --app, at the time they came.

    Read are the keys of the original routeToS3 (<app>_<millis>.json), what Firehose wrote, and
    NDJSON; gzip too. One JSON text is one delivery. When it came, its name says, else the time of
    the file. --since and --until choose among them by that time. The pile is left as it is, and a
    second run adopts nothing twice.

    \b
    Exit status: 0 all is adopted, 1 some could not be read, 2 misuse.

    \b
    Examples:
      hookshelf adopt ./routeToS3-dump --app sendgrid --dry-run
      hookshelf adopt old-bucket/events --app sendgrid --into my-webhooks
    """
    from hookshelf import Archive

    if options.app is None or not is_app(options.app):
        raise click.UsageError("--app names the app that they become deliveries of")
    place = into or options.environ.get("ARCHIVE_BUCKETS", "").split(",")[0].strip()
    if parse_bucket_path(place) is None:
        raise click.UsageError(f"--into {place!r}: use bucket or bucket/path")
    archive = Archive(place, environ=options.environ, below=False, progress=show_progress)
    objects = _in_folder(Path(pile)) if Path(pile).is_dir() else _in_bucket(archive, pile)
    counts: Counter[str] = Counter()
    for line in archive.adopt(
        objects, options.app, since=options.since, until=options.until, dry_run=dry_run
    ):
        counts[line.state] += 1
        if options.as_json:
            fields = {"name": line.name, "key": line.key, "state": line.state}
            show(json.dumps({**fields, "why": line.why} if line.why else fields))
        elif line.why:
            show(f"not read: {line.name}: {line.why}")
    show(_summary(counts, dry_run), err=options.as_json)
    sys.exit(0 if counts and not counts["unreadable"] else 1)


def _in_folder(folder: Path) -> Iterator[Pile]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            yield Pile(str(path.relative_to(folder)), path.read_bytes(), modified)


def _in_bucket(archive: object, pile: str) -> Iterator[Pile]:
    from hookshelf import Archive

    assert isinstance(archive, Archive)
    bucket, _, prefix = pile.partition("/")
    if parse_bucket_path(bucket) is None or pile.startswith(("/", ".", "~")):
        raise MisuseError(f"{pile!r} is no folder, and no bucket/prefix")
    return archive.pile(bucket, f"{prefix.rstrip('/')}/" if prefix else "")


def _summary(counts: Counter[str], dry_run: bool) -> str:
    words = {
        "adopted": "would be adopted" if dry_run else "adopted",
        "there": "there already",
        "unreadable": "could not be read",
    }
    states = in_states(counts, words)
    return f"Deliveries: {states}." if states else "There is nothing to adopt."
