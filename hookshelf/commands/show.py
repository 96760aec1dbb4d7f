"""`hookshelf show`: one delivery, with its exact bytes."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from chalicelib.metadata import headers_of
from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.commands._output import event_at, go_on, opened, show_read
from hookshelf.reading.lines import json_line
from hookshelf.reading.values import ArchivedDelivery, Read
from hookshelf.reading.words import sentence
from hookshelf.terminal import show
from hookshelf.wording import in_bytes, short_hash

MOST_TEXT = 40 * 100  # characters, a screen, of a body that are shown; --body writes all of it


@click.command()
@click.argument("hash_or_key", metavar="HASH|KEY")
@reading_options
@click.option("--body", "body_alone", is_flag=True, help="Write the exact bytes, and nothing else.")
@click.option("--headers", "headers_alone", is_flag=True, help="The kept headers alone.")
@click.option("--event", "number", type=click.IntRange(min=0), help="That event alone, from 0.")
def command(
    options: ReadOptions,
    *,
    hash_or_key: str,
    body_alone: bool,
    headers_alone: bool,
    number: int | None,
) -> None:
    """Show one delivery: headers, verdict, metadata and body.

    HASH is the SHA-256 of its body, or any beginning of it that only one delivery has.

    \b
    Exit status: 0 it is there, 1 it is not, 2 misuse.

    \b
    Examples:
      hookshelf show 3f9ac2d1
      hookshelf show 3f9ac2d1 --body > body.json
      hookshelf show 3f9ac2d1 --event 0
    """
    archive = opened(options)
    read = Read()
    delivery = archive.delivery(hash_or_key, read=read)
    if body_alone:
        sys.stdout.buffer.write(delivery.body or b"")
    elif headers_alone:
        _print_headers(delivery, options)
    elif number is not None:
        show(json_line(event_at(archive, delivery, number)))
    elif options.as_json:
        show(json.dumps(_as_json(delivery)))
    else:
        _print_delivery(archive, delivery, options)
    show_read(read, options)


def _print_headers(delivery: ArchivedDelivery, options: ReadOptions) -> None:
    headers = headers_of(delivery.metadata or {})
    if options.as_json:
        show(json.dumps(headers))
        return
    for name, value in headers.items():
        show(f"{name}: {value}")


def _print_delivery(archive: Any, delivery: ArchivedDelivery, options: ReadOptions) -> None:
    body, metadata = delivery.body or b"", delivery.metadata or {}
    show(f"{delivery.bucket}/{delivery.key}")
    show(f"arrived  {delivery.arrived.astimezone(options.tz).isoformat(sep=' ')}")
    show(f"sha256   {delivery.sha256}")
    show(f"size     {in_bytes(len(body))}")
    show(f"state    {delivery.state}")
    for name, value in metadata.items():
        if not name.startswith("h-"):
            show(f"{name:<8} {value}")
    show("")
    _print_headers(delivery, options)
    show("")
    for event in archive.events_of(delivery):
        show(f"{event.position:>4}  {event.subject}  {sentence(event)}")
    show("")
    text = body.decode("utf-8", "backslashreplace")
    for line in text[:MOST_TEXT].splitlines():
        show(line)
    if len(text) > MOST_TEXT:
        show(f"… {len(text) - MOST_TEXT:,} characters more", err=True)
    exact = go_on(options, "show", short_hash(delivery.key), "--body")
    show(f"Its exact bytes:  {exact}", err=True)


def _as_json(delivery: ArchivedDelivery) -> dict[str, Any]:
    metadata = dict(delivery.metadata or {})
    return {
        "bucket": delivery.bucket,
        "key": delivery.key,
        "app": delivery.app,
        "arrived": delivery.arrived.isoformat(),
        "sha256": delivery.sha256,
        "state": delivery.state,
        "size": len(delivery.body or b""),
        "verdict": metadata.get("verdict", ""),
        "headers": headers_of(metadata),
        "metadata": metadata,
        "body": (delivery.body or b"").decode("utf-8", "replace"),
    }
