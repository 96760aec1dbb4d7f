"""`hookshelf replay`: send archived deliveries again, to a server of yours."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from chalicelib.errors import HookshelfError, MisuseError
from hookshelf.commands._options import Match, ReadOptions, matching_options, reading_options
from hookshelf.commands._output import absence, show_read
from hookshelf.commands._sending import (
    Sending,
    checked_target,
    parcel_to_send,
    sending_options,
)
from hookshelf.reading.values import ArchivedDelivery
from hookshelf.replay.forward import Forwarded, Forwarder, Parcel
from hookshelf.replay.receipt import Receipt
from hookshelf.terminal import show

if TYPE_CHECKING:
    from hookshelf import Archive


@click.command()
@reading_options
@matching_options
@sending_options
@click.option("--to", "url", required=True, metavar="URL", help="Where to: https://…")
@click.option(
    "--keys", type=click.File(), metavar="FILE", help="Only these: a key, or a JSON line, each."
)
@click.option(
    "--receipt",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Of what was acknowledged: another run with it sends only the rest. Made if need be.",
)
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Requests per second, at most."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="So many at once; with more than one they may arrive out of order.",
)
@click.option("--dry-run", is_flag=True, help="Say how many would be sent; send nothing.")
def command(
    options: ReadOptions,
    match: Match,
    sending: Sending,
    *,
    url: str,
    keys: TextIO | None,
    receipt: Path | None,
    rate: float | None,
    concurrency: int,
    dry_run: bool,
) -> None:
    """Send archived deliveries again: the same bytes and kept headers, in order of arrival.

    Each carries its key in x-hookshelf-replay. Whatever is not answered with 2xx, a redirect too,
    is sent again, with growing pauses. The receipt remembers what was acknowledged, so that after a
    crash or a refusal the same command with it sends only the rest. SUBJECT, --type, --id and
    --correlation choose the deliveries that hold such an event; they are sent whole.

    \b
    Exit status: 0 all acknowledged, 1 some were not, or nothing matched, 2 misuse.

    \b
    Examples:
      hookshelf replay --to https://staging.example.com/hooks --since 2026-11-20 --until 2026-11-20
      hookshelf replay --to http://127.0.0.1:3000/hooks --allow-private --app stripe --re-sign
      hookshelf replay --to https://staging.example.com/hooks --type bounce --rate 20 --dry-run
      hookshelf find jane@example.com --json > some.ndjson
      hookshelf replay --to https://staging.example.com/hooks --keys some.ndjson
    """
    from hookshelf import Archive

    target = checked_target(url, sending, options)
    archive = Archive(
        options.bucket, app=options.app, environ=options.environ, below=options.bucket is None
    )
    planned = _planned(archive, options, match, _keys(keys) if keys else None)
    if not planned:
        raise HookshelfError("\n".join(absence(archive, options)))
    path = receipt or Path(f"hookshelf-replay-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.ndjson")
    with nullcontext() if dry_run and not path.exists() else Receipt(path, url) as notes:
        done = notes.acknowledged if notes else set()
        rest = [delivery for delivery in planned if (delivery.bucket, delivery.key) not in done]
        if dry_run or notes is None:
            _say_plan(planned, rest, str(target), options)
            return
        show(f"Receipt: {path}", err=True)

        def acknowledged(parcel: Parcel, status: int) -> None:
            notes.add(parcel.bucket, parcel.key, status)

        pace = sending.pace(rate=rate, concurrency=concurrency)
        with Forwarder(target, pace, acknowledged) as forwarder:
            whole = archive.whole(rest)
            counts = _send(forwarder, whole, len(rest), sending, options)
    counts["acknowledged before"] = len(planned) - len(rest)
    counts["not sent"] = len(planned) - counts.total()
    _say_end(counts, path, options)
    show_read(whole.read, options)
    ended = ("acknowledged", "acknowledged before", "redacted")
    sys.exit(0 if sum(counts[kind] for kind in ended) == len(planned) else 1)


def _planned(
    archive: Archive, options: ReadOptions, match: Match, keys: Sequence[str] | None
) -> list[ArchivedDelivery]:
    """What is to be sent, in order of arrival."""
    listed = list(archive.deliveries(since=options.since, until=options.until))
    if any((match.subject, match.id, match.type, match.correlation)):
        events = archive.find(
            match.subject,
            since=options.since,
            until=options.until,
            type=match.type,
            id=match.id,
            correlation=match.correlation,
            all=True,
        )
        named = {(event.bucket, event.delivery) for event in events}
        listed = [delivery for delivery in listed if (delivery.bucket, delivery.key) in named]
    if keys is not None:
        unknown = set(keys) - {delivery.key for delivery in listed}
        if unknown:
            raise HookshelfError(
                f"{len(unknown)} of the keys are not there, or not among what the other options "
                f"ask for, such as {min(unknown)}"
            )
        listed = [delivery for delivery in listed if delivery.key in set(keys)]
    return sorted(listed, key=lambda delivery: (delivery.arrived, delivery.bucket, delivery.key))


def _keys(file: TextIO) -> list[str]:
    """The keys in a file: as they are, or in what `find`, `tail` or `verify` print as JSON."""
    keys = []
    for number, line in enumerate(file, 1):
        text = line.strip()
        if text.startswith("{"):
            try:
                fields = json.loads(text)
            except ValueError:
                raise MisuseError(f"--keys: line {number} is no JSON") from None
            text = str(fields.get("delivery") or fields.get("key") or "")
        if text:
            keys.append(text)
    if not keys:
        raise MisuseError("--keys: the file names no delivery")
    return keys


def _send(
    forwarder: Forwarder,
    whole: Iterable[ArchivedDelivery],
    length: int,
    sending: Sending,
    options: ReadOptions,
) -> Counter[str]:
    """Send them, and say what became of each that was not acknowledged."""
    counts: Counter[str] = Counter()
    parcels = _parcels(whole, sending, options, counts)
    with click.progressbar(
        forwarder.send_all(parcels),
        length=length,
        label="Replaying",
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
    ) as all_forwarded:
        for forwarded in all_forwarded:
            counts["acknowledged" if forwarded.is_acknowledged else "refused"] += 1
            if options.as_json:
                show(_as_json(forwarded))
            elif not forwarded.is_acknowledged:
                show(f"{forwarded.status or forwarded.why}  {forwarded.parcel.key}")
    return counts


def _parcels(
    whole: Iterable[ArchivedDelivery], sending: Sending, options: ReadOptions, counts: Counter[str]
) -> Iterator[Parcel]:
    for delivery in whole:
        if delivery.change:
            counts[delivery.change] += 1
            show(f"{delivery.change}, and not sent  {delivery.key}", err=options.as_json)
            continue
        yield parcel_to_send(delivery, sending, options)


def _say_plan(
    planned: Sequence[object], rest: Sequence[object], target: str, options: ReadOptions
) -> None:
    before = len(planned) - len(rest)
    if options.as_json:
        show(json.dumps({"deliveries": len(rest), "acknowledged_before": before}))
        return
    already = f"; {before:,} were acknowledged before" if before else ""
    show(f"{len(rest):,} deliveries would be sent to {target}{already}.")


def _say_end(counts: Counter[str], path: Path, options: ReadOptions) -> None:
    words = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    total = counts.total()
    deliveries = "delivery" if total == 1 else "deliveries"
    show(f"{total:,} {deliveries}: {words}.", err=options.as_json)
    if counts["refused"] or counts["not sent"]:
        show(f"To go on, run the same command with --receipt {path}", err=True)


def _as_json(forwarded: Forwarded) -> str:
    parcel = forwarded.parcel
    fields = {"key": parcel.key, "bucket": parcel.bucket, "status": forwarded.status}
    if forwarded.why:
        fields["error"] = forwarded.why
    return json.dumps({**fields, "attempts": forwarded.attempts})
