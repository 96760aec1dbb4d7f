"""`hookshelf refused`: deliveries that were not accepted, and kept all the same."""

from __future__ import annotations

import json
import sys
from collections import Counter

import click

from chalicelib.metadata import decode
from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.commands._output import go_on, opened, show_read
from hookshelf.reading.values import ArchivedDelivery
from hookshelf.reading.words import UNKNOWN_REASON, advice
from hookshelf.terminal import show


@click.command()
@reading_options
def command(options: ReadOptions) -> None:
    """Show what lies under _rejected/: when it came, why it was refused, what to do.

    \b
    Exit status: 0 nothing was refused, 1 something was, 2 misuse.

    \b
    Examples:
      hookshelf refused
      hookshelf refused --app payments --since 7d --json
    """
    archive = opened(options)
    refused = archive.refused(since=options.since, until=options.until)
    reasons: Counter[str] = Counter()
    for delivery in refused:
        reason = decode((delivery.metadata or {}).get("reason", ""))
        reasons[reason] += 1
        show(_as_json(delivery, reason) if options.as_json else _line(delivery, reason, options))
    for reason, count in reasons.most_common():
        what_to_do = advice(reason, verify=go_on(options, "verify", "--rejected"))
        show(f"{count:,} × {reason or UNKNOWN_REASON}. {what_to_do}", err=True)
    if not reasons:
        show("Nothing was refused.", err=True)
    show_read(refused.read, options, hint=False)
    sys.exit(1 if reasons else 0)


def _line(delivery: ArchivedDelivery, reason: str, options: ReadOptions) -> str:
    arrived = delivery.arrived.astimezone(options.tz).isoformat(sep=" ", timespec="seconds")
    verdict = (delivery.metadata or {}).get("verdict", "")
    return f"{arrived}  {delivery.app}  {reason}  [{delivery.sha256[:8]} {verdict}]"


def _as_json(delivery: ArchivedDelivery, reason: str) -> str:
    fields = {
        "key": delivery.key,
        "bucket": delivery.bucket,
        "app": delivery.app,
        "arrived": delivery.arrived.isoformat(),
        "verdict": (delivery.metadata or {}).get("verdict", ""),
        "reason": reason,
    }
    return json.dumps(fields)
