"""`hookshelf prove`: evidence for one delivery, for those who have none of our software."""

from __future__ import annotations

import json
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.commands._output import event_at
from hookshelf.terminal import show

if TYPE_CHECKING:
    from hookshelf import Archive
    from hookshelf.reading.values import ArchivedDelivery, ArchivedEvent

_PROGRAM = 0o755 << 16
_FILE = 0o644 << 16


@click.command()
@click.argument("hash_or_key", metavar="HASH|KEY|EVENT-ID")
@reading_options
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The zip to write; it must not be there yet.",
)
@click.option("--event", "number", type=click.IntRange(min=0), help="One event of it, from 0.")
@click.option("--dry-run", is_flag=True, help="Say what would be in it; write nothing.")
def command(
    options: ReadOptions, *, hash_or_key: str, out: Path, number: int | None, dry_run: bool
) -> None:
    """Write a zip that proves one delivery, or one event, with openssl and sha256sum alone.

    In it are the exact body, the kept headers, the sender's public key with its fingerprint, the
    entries of the manifest log with their chain, a README.txt that says what is proved and what is
    not, and a verify.sh that checks it all. Only what `hookshelf verify` calls verified is proved.

    \b
    Exit status: 0 written, 1 it is not there, or there is nothing to prove, 2 misuse.

    \b
    Examples:
      hookshelf prove 3f9ac2d1 --out case.zip
      hookshelf prove 3f9ac2d1 --event 0 --out case.zip
      hookshelf prove ZGVsaXZlcmVkLTE3 --out case.zip      the event of that id
    """
    from hookshelf import Archive

    if out.exists():
        raise click.UsageError(f"{out} is there already")
    archive = Archive(
        options.bucket, app=options.app, environ=options.environ, below=options.bucket is None
    )
    delivery, event = _asked_for(archive, hash_or_key, number)
    files = archive.evidence(delivery, event)
    if not dry_run:
        _write(out, files)
    if options.as_json:
        facts = {"key": delivery.key, "bucket": delivery.bucket, "files": sorted(files)}
        show(json.dumps({**facts, "out": None if dry_run else str(out)}))
        return
    for name, content in sorted(files.items()):
        show(f"{len(content):>9,}  {name}")
    show(
        f"{'Would be' if dry_run else 'Is'} in {out}. To check it: unzip, then sh verify.sh",
        err=True,
    )


def _asked_for(
    archive: Archive, text: str, number: int | None
) -> tuple[ArchivedDelivery, ArchivedEvent | None]:
    """A delivery by key or hash, or an event by its id; and which of its events."""
    from hookshelf.reading.errors import BadQuestion, NoSuchDelivery

    with suppress(BadQuestion, NoSuchDelivery):
        delivery = archive.delivery(text)
        return delivery, None if number is None else event_at(archive, delivery, number)
    for event in archive.find(id=text):
        return archive.delivery(event.delivery), event
    raise NoSuchDelivery(f"No delivery or event {text}; give 4 or more digits of a hash, or an id")


def _write(out: Path, files: dict[str, bytes]) -> None:
    """Whole or not at all."""
    new = out.with_name(f".{out.name}.new")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as case:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name)  # without a time: the same case gives the same zip
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = _PROGRAM if name == "verify.sh" else _FILE
            case.writestr(entry, content)
    new.replace(out)
