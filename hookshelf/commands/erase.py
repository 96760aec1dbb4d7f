"""`hookshelf erase`: remove a person from the archive."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.commands._output import opened, show_read
from hookshelf.reading.values import Occurrence
from hookshelf.terminal import clear_progress, show

if TYPE_CHECKING:
    from hookshelf.reading.erasing import Erasure

OUT_OF_REACH = (
    "what was replayed, forwarded or exported, and pulled folders",
    "results and caches of Athena and other engines; copies on other machines",
    "backups, replicas and copies in Glacier; the bucket's access logs",
    "other names of the same person: run it for each. What is encrypted or compressed in a body",
    "the hash in a delivery's key, which still confirms a body to whoever guesses all of it",
)
_KINDS = {
    "delivery": ("delivery", "deliveries"),
    "refused": ("refused delivery", "refused deliveries"),
    "file": ("compacted file", "compacted files"),
    "version": ("object with old versions", "objects with old versions"),
}


@click.command()
@click.argument("subject")
@reading_options
@click.option("--reason", required=True, help="Why; the manifest log and the receipt keep it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--receipt",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write there what was erased, without the subject; it must not be there yet.",
)
@click.option("--dry-run", is_flag=True, help="Show where it is; change nothing.")
def command(
    options: ReadOptions,
    *,
    subject: str,
    reason: str,
    yes: bool,
    receipt: Path | None,
    dry_run: bool,
) -> None:
    """Remove SUBJECT, such as an e-mail address, from everything the archive holds.

    All of it is read: deliveries and their metadata, what was refused, compacted files, old
    versions; JSON, forms, text and base64. Each event that holds SUBJECT becomes a tombstone with
    its type and time, and other events stay, byte for byte. Then the originals are deleted with all
    their versions, and what was refused. What arrives meanwhile is kept.

    It shows what there is, and asks. Interrupted, it is finished by the next run: `hookshelf
    verify` names it until then, and says `redacted` afterwards. Of a SUBJECT of fewer than 8
    characters without an @ only events are erased whose subject it is.

    It needs rights that no function has: hookshelf policy --for erase

    \b
    Exit status: 0 erased, or what there is was shown, 1 nothing was there, or something holds it
    still, 2 misuse.

    \b
    Examples:
      hookshelf erase jane@example.com --reason "request of 2026-11-20" --dry-run
      hookshelf erase jane@example.com --reason "request of 2026-11-20" --receipt receipt.json
      hookshelf erase cus_9s6XKzkNRiz8i3 --app stripe --reason "ticket 4711" --yes
    """
    _check(subject, reason, receipt)
    archive = opened(options)
    erasure = archive.erasure(subject, app=options.app, since=options.since, until=options.until)
    occurrences = erasure.look()
    clear_progress()
    _show_occurrences(occurrences, options)
    if not erasure.in_texts:
        show("SUBJECT is short: only the subjects of events were looked at, not texts.", err=True)
    if erasure.unfinished:
        names = ", ".join(map(str, erasure.unfinished))
        show(f"An erasure was interrupted, and is finished with this one: {names}", err=True)
    in_log = [each for each in occurrences if each.kind == "log"]
    is_there = len(occurrences) > len(in_log) or bool(erasure.unfinished)
    if not is_there:
        show("Nothing of it is there.", err=options.as_json)
    elif not dry_run:
        _confirm(yes)
        _apply(erasure, reason, receipt, options)
    show_read(erasure.read, options, hint=False)
    sys.exit(1 if in_log or not is_there else 0)


def _check(subject: str, reason: str, receipt: Path | None) -> None:
    if not subject.strip():
        raise click.BadParameter("it is empty", param_hint="SUBJECT")
    if not reason.strip() or subject.strip().lower() in reason.lower():
        raise click.BadParameter(
            "it must say why, without SUBJECT: the manifest log keeps it", param_hint="--reason"
        )
    if receipt and receipt.exists():
        raise click.BadParameter(f"{receipt} is there already", param_hint="--receipt")


def _show_occurrences(occurrences: Sequence[Occurrence], options: ReadOptions) -> None:
    for each in occurrences:
        if options.as_json:
            fields = {"bucket": each.bucket, "key": each.key, "kind": each.kind}
            show(json.dumps({**fields, "events": each.events}))
        elif each.kind != "log":
            show(f"{each.kind:<8}  {each.bucket}/{each.key}")
        if each.kind == "log":
            show(f"Entry {each.key} of the manifest log holds it, and cannot change.", err=True)
    counts = Counter(each.kind for each in occurrences)
    parts = [
        f"{counts[kind]:,} {words[counts[kind] > 1]}"
        for kind, words in _KINDS.items()
        if counts[kind]
    ]
    if parts:
        events = sum(each.events for each in occurrences)
        show(f"There: {events:,} events, in {', '.join(parts)}.", err=options.as_json)


def _confirm(yes: bool) -> None:
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("There is nobody to ask. With --yes it erases without asking")
    if not yes:
        click.confirm("Erase it? There is no way back.", default=False, abort=True, err=True)


def _apply(erasure: Erasure, reason: str, receipt: Path | None, options: ReadOptions) -> None:
    done = erasure.apply(reason)
    clear_progress()
    if receipt:
        from hookshelf.reading.erasing import receipt_of

        document = receipt_of(done, reason, erasure.now())
        receipt.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for erased in done:
        line = (
            f"Erased from {erased.stream}: {len(erased.deliveries):,} deliveries redacted, "
            f"{len(erased.refused):,} refused ones deleted, {erased.versions:,} objects and old "
            f"versions gone; entry {erased.log.number} of the manifest log."
        )
        show(line, err=options.as_json)
    show("Out of reach, and yours to look after:", err=True)
    for line in OUT_OF_REACH:
        show(f"  - {line}", err=True)
