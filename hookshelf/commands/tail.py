"""`hookshelf tail`: deliveries as they arrive."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

import click

from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.commands._output import opened, show_read
from hookshelf.commands._sending import (
    Sending,
    checked_target,
    parcel_to_send,
    sending_options,
)
from hookshelf.reading.prices import following_in_words
from hookshelf.reading.values import ArchivedDelivery
from hookshelf.replay.forward import Forwarder
from hookshelf.terminal import show
from hookshelf.wording import in_bytes, short_hash

if TYPE_CHECKING:
    from hookshelf import Archive
    from hookshelf.reading.follow import Follower


@click.command()
@reading_options
@click.option("-f", "--follow", is_flag=True, help="Go on as more arrive, until Ctrl-C.")
@click.option("-n", "last", type=click.IntRange(min=0), default=20, show_default=True,
              help="Begin with so many of the newest, unless --since says where.")  # fmt: skip
@click.option(
    "--every",
    type=click.FloatRange(min=0.2),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to look: one LIST per app each time, $0.005 per 1,000.",
)
@click.option("--to", "url", metavar="URL", help="Send each of them there, too: https://…")
@sending_options
def command(
    options: ReadOptions,
    sending: Sending,
    *,
    follow: bool,
    last: int,
    every: float,
    url: str | None,
) -> None:
    """Show the newest deliveries, oldest first, and go on with -f.

    With --to each is sent to a server of yours as it arrives, as `hookshelf replay` sends it:
    webhooks on your own machine, with a backlog.

    \b
    Exit status: 0 shown, 1 the archive could not be read, or a delivery was not acknowledged,
    2 misuse.

    \b
    Examples:
      hookshelf tail
      hookshelf tail -f --app sendgrid
      hookshelf tail --since 10m --json
      hookshelf tail -f --app stripe --to http://127.0.0.1:3000/hooks --allow-private --re-sign
    """
    target = checked_target(url, sending, options) if url else None
    archive = opened(options)
    follower = archive.follow(since=options.since, last=last)
    if follow:
        price = following_in_words(follower.lists, every)
        show(f"Looking every {every:g} s until Ctrl-C: {price}", err=True)
    refused = 0
    ends = suppress(KeyboardInterrupt)  # which is how following does
    with Forwarder(target, sending.pace()) if target else nullcontext() as forwarder, ends:
        for new in _polls(follower, every if follow else None):
            wanted = [d for d in new if options.until is None or d.arrived < options.until]
            for delivery, status in _sent(archive, wanted, forwarder, sending, options):
                line = _as_json(delivery, status) if options.as_json else _line(delivery, options)
                show(line if options.as_json or status is None else f"{status}  {line}")
                refused += status is not None and not status.startswith("2")
    show_read(follower.read, options)
    sys.exit(1 if refused else 0)


def _polls(follower: Follower, every: float | None) -> Iterator[list[ArchivedDelivery]]:
    """What there is, and where `every` says how many seconds to wait, what comes."""
    yield follower.poll()
    while every:
        time.sleep(every)
        yield follower.poll()


def _sent(
    archive: Archive,
    deliveries: Sequence[ArchivedDelivery],
    forwarder: Forwarder | None,
    sending: Sending,
    options: ReadOptions,
) -> Iterator[tuple[ArchivedDelivery, str | None]]:
    """Each delivery; where it is to be sent, with the status that was the response, or why none."""
    if forwarder is None:
        yield from ((delivery, None) for delivery in deliveries)
        return
    for delivery in archive.whole(deliveries):
        if delivery.change:
            yield delivery, f"{delivery.change}, and not sent"
            continue
        forwarded = forwarder.send(parcel_to_send(delivery, sending, options))
        yield delivery, str(forwarded.status or forwarded.why)


def _line(delivery: ArchivedDelivery, options: ReadOptions) -> str:
    arrived = delivery.arrived.astimezone(options.tz).isoformat(sep=" ", timespec="seconds")
    size = in_bytes(delivery.size or 0)
    return f"{arrived}  {delivery.app}  {size}  [{short_hash(delivery.key)}]"


def _as_json(delivery: ArchivedDelivery, status: str | None) -> str:
    fields: dict[str, object] = {
        "key": delivery.key,
        "bucket": delivery.bucket,
        "app": delivery.app,
        "arrived": delivery.arrived.isoformat(),
        "size": delivery.size,
    }
    if status is not None:
        fields["status"] = int(status) if status.isdigit() else status
    return json.dumps(fields)
