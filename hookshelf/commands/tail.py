"""`hookshelf tail`: deliveries as they arrive."""

from __future__ import annotations

import json
import time

import click

from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.commands._output import in_bytes, short_hash
from hookshelf.reading.values import ArchivedDelivery
from hookshelf.terminal import show


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
def command(options: ReadOptions, *, follow: bool, last: int, every: float) -> None:
    """Show the newest deliveries, oldest first, and go on with -f.

    \b
    Exit status: 0 shown, 1 the archive could not be read, 2 misuse.

    \b
    Examples:
      hookshelf tail
      hookshelf tail -f --app sendgrid
      hookshelf tail --since 10m --json
    """
    from hookshelf import Archive

    archive = Archive(options.bucket, app=options.app, environ=options.environ)
    follower = archive.follow(since=options.since, last=last)
    while True:
        for delivery in follower.poll():
            if options.until is None or delivery.arrived < options.until:
                show(_as_json(delivery) if options.as_json else _line(delivery, options))
        if not follow:
            return
        time.sleep(every)


def _line(delivery: ArchivedDelivery, options: ReadOptions) -> str:
    arrived = delivery.arrived.astimezone(options.tz).isoformat(sep=" ", timespec="seconds")
    size = in_bytes(delivery.size or 0)
    return f"{arrived}  {delivery.app}  {size}  [{short_hash(delivery.key)}]"


def _as_json(delivery: ArchivedDelivery) -> str:
    fields = {
        "key": delivery.key,
        "bucket": delivery.bucket,
        "app": delivery.app,
        "arrived": delivery.arrived.isoformat(),
        "size": delivery.size,
    }
    return json.dumps(fields)
