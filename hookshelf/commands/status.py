"""`hookshelf status`: what there is, how fresh it is, and what keeping it costs."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import click

from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.commands._output import absence, go_on, opened, show_read
from hookshelf.reading.prices import dollars_a_month
from hookshelf.reading.values import Read, Status
from hookshelf.terminal import show
from hookshelf.wording import in_bytes, in_words


@click.command()
@reading_options
def command(options: ReadOptions) -> None:
    """Show every app: last heard, deliveries, bytes, cost, how fresh the compacted events are.

    It reads the footers of compacted files and lists what is newer; nothing else. With --since or
    --until it is about what arrived then, and the files at its ends are read.

    \b
    Exit status: 0 there it is, 1 the archive could not be read, 2 misuse.

    \b
    Examples:
      hookshelf status
      hookshelf status --since 7d
      hookshelf status --bucket my-webhooks --json
    """
    archive = opened(options)
    read = Read()
    statuses = archive.status(since=options.since, until=options.until, read=read)
    for status in statuses:
        if options.as_json:
            show(json.dumps(_as_json(status)))
            continue
        for line in _lines(status, options):
            show(line)
    if not statuses:
        for line in absence(archive, options):
            show(line, err=True)
    show_read(read, options)


def _lines(status: Status, options: ReadOptions) -> list[str]:
    if status.first is None or status.last is None:
        return [f"{status.stream}", "  no deliveries"]
    now = datetime.now(UTC)
    first, last = (day.astimezone(options.tz) for day in (status.first, status.last))
    gap = (
        f", usually every {in_words(timedelta(seconds=status.usual_gap))}"
        if status.usual_gap
        else ""
    )
    events = f", {status.events:,} events" if status.events is not None else ""
    fresh = (
        f"{in_words(now - status.compacted_until)} ago, {status.raw_objects:,} deliveries since"
        if status.compacted_until
        else f"never; `{go_on(options, 'compact')}` makes look-ups quick"
    )
    return [
        f"{status.stream}",
        f"  heard      {in_words(now - status.last)} ago ({last:%Y-%m-%d %H:%M}){gap}",
        f"  since      {first:%Y-%m-%d}: {status.deliveries:,} deliveries{events}",
        f"  kept       {in_bytes(status.bytes)} of bodies, {in_bytes(status.file_bytes)} in "
        f"{status.files:,} compacted files: ${dollars_a_month(status):,.4f} a month, list price",
        f"  compacted  {fresh}",
    ]


def _as_json(status: Status) -> dict[str, object]:
    fields = asdict(status) | {
        "bucket": status.stream.bucket,
        "prefix": status.stream.prefix,
        "app": status.stream.app,
        "dollars_a_month": round(dollars_a_month(status), 6),
    }
    del fields["stream"]
    times = ("first", "last", "compacted_until")
    for name in times:
        fields[name] = fields[name].isoformat() if fields[name] else None
    fields["gaps"] = [[str(start), str(end)] for start, end in status.gaps]
    return fields
