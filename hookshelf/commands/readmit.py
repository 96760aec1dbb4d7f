"""`hookshelf readmit`: accept refused deliveries after all, as and when they arrived."""

from __future__ import annotations

import json
import sys
from collections import Counter

import click

from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.commands._output import in_states, opened
from hookshelf.terminal import show


@click.command()
@reading_options
@click.option("--as-is", is_flag=True, help="Accept them whatever their verdict; needs --reason.")
@click.option("--reason", help="Why; it is written into the manifest log.")
@click.option("--dry-run", is_flag=True, help="Say what would be accepted; change nothing.")
def command(options: ReadOptions, *, as_is: bool, reason: str | None, dry_run: bool) -> None:
    """Check refused deliveries again with today's settings, and archive those that are good now.

    After a sender rotated its key: put the new one into APPS_FILE, then run this. What was refused
    for its signature has to be `verified`; what was refused for its body, accepted by today's
    settings. Each is archived at its original arrival, with `readmitted` in its metadata, and is
    found the moment this returns. What lies under _rejected/ stays until its lifecycle ends.
    A second run changes nothing, and finishes what was interrupted.

    \b
    Exit status: 0 none is left refused, 1 some are, or none were asked for, 2 misuse.

    \b
    Examples:
      hookshelf readmit --app payments --dry-run
      hookshelf readmit --app payments --since 7d
      hookshelf readmit --app payments --as-is --reason "their clock was wrong, ticket 4711"
    """
    if as_is and not (reason or "").strip():
        raise click.UsageError("--as-is needs --reason: the manifest log keeps it")
    if reason and not as_is:
        raise click.UsageError("--reason goes with --as-is")
    archive = opened(options)
    counts: Counter[str] = Counter()
    for line in archive.readmit(
        since=options.since, until=options.until, as_is=reason or "", dry_run=dry_run
    ):
        counts[line.state] += 1
        if options.as_json:
            fields = {"key": line.key, "refused": line.refused, "bucket": line.bucket}
            show(json.dumps({**fields, "verdict": line.verdict, "state": line.state}))
        elif line.state == "readmitted":
            show(f"{line.verdict}  {line.key}")
    show(_summary(counts, dry_run), err=options.as_json)
    sys.exit(0 if counts and not counts["refused"] else 1)


def _summary(counts: Counter[str], dry_run: bool) -> str:
    words = {
        "readmitted": "would be readmitted" if dry_run else "readmitted",
        "there": "there already",
        "refused": "still refused",
    }
    states = in_states(counts, words)
    return f"Refused deliveries: {states}." if states else "Nothing was refused there."
