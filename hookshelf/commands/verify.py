"""`hookshelf verify`: prove the senders' signatures again, from what is archived alone."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import click

from chalicelib.settings import from_environment
from chalicelib.signatures import verdict
from chalicelib.store import open_store
from chalicelib.types import Verdict
from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.reading.deliveries import (
    ArchivedKey,
    app_of,
    delivery_of,
    find,
    is_altered,
    lacks_signature,
    nothing_found,
    recorded_verdict,
    select,
)
from hookshelf.terminal import show

State = Literal["", "altered", "recorded"]
_AT_ONCE = 16  # objects read at the same time


@dataclass(frozen=True, slots=True)
class Checked:
    """One delivery and its verdict."""

    archived: ArchivedKey
    verdict: Verdict
    state: State  # `altered` since, or `recorded`: the verdict of its arrival, not proved again
    in_order: bool

    @property
    def label(self) -> str:
        """`verified`, or `verified (recorded)`."""
        return f"{self.verdict} ({self.state})" if self.state else self.verdict


@click.command()
@reading_options
@click.option("--rejected", is_flag=True, help="Check what was refused and kept instead.")
def command(options: ReadOptions, *, rejected: bool) -> None:
    """Check the original signatures of archived deliveries again.

    Only the archived bytes and headers count, and the keys and secrets in APPS_FILE. A body that no
    longer matches the hash in its key is `bad`, its state `altered`. Where a signature was too long
    to be kept, the verdict is that of the arrival, its state `recorded`: not proved again.

    \b
    Exit status: 0 in order, 2 misuse, 1 where a delivery is bad or stale,
    or unsigned though its app requires signatures, or where there is nothing to check.

    \b
    Examples:
      hookshelf verify                             everything, where `make run` archives
      hookshelf verify --app sendgrid --since 14d
      hookshelf verify --since 2026-10-31 --until 2026-10-31 --tz Europe/Berlin
      hookshelf verify --rejected --json
    """
    selection = select(
        bucket=options.bucket,
        app=options.app,
        since=options.since,
        until=options.until,
        rejected=rejected,
    )
    archived = find(options.environ, selection)
    first = next(archived, None)
    if first is None:
        raise nothing_found(options.environ, selection)
    counts: Counter[str] = Counter()
    failed = False
    buckets = {path.bucket for path in from_environment(options.environ).bucket_paths}
    is_ambiguous = options.bucket is None and len(buckets) > 1  # a key alone does not say where
    with click.progressbar(
        chain([first], archived),
        label="Verifying",
        file=sys.stderr,
        item_show_func=lambda key: f"{counts.total()}",
        hidden=not sys.stderr.isatty(),
    ) as keys:
        for checked in _check_all(keys, options.environ):
            counts[checked.label] += 1
            failed = failed or not checked.in_order
            if options.as_json:
                show(_as_json(checked, is_ambiguous))
            elif not checked.in_order:
                bucket = f"{checked.archived.bucket}/" if is_ambiguous else ""
                show(f"{checked.label}  {bucket}{checked.archived.key}")
    show(_summary(counts), err=options.as_json)
    if set(counts) == {"unchecked"}:
        show("No keys or secrets: name them in APPS_FILE.", err=options.as_json)
    sys.exit(1 if failed else 0)


def _checked(archived: ArchivedKey, environ: Mapping[str, str]) -> Checked:
    """The verdict on one archived delivery. Raises NotFound, Unreadable or SettingError."""
    key = archived.key
    obj = open_store(from_environment(environ), archived.bucket).get(str(key))
    if is_altered(obj, key):
        return Checked(archived, "bad", "altered", in_order=False)
    app = app_of(obj, key, environ)
    recorded = recorded_verdict(obj) if lacks_signature(obj, app) else None
    given = recorded or verdict(delivery_of(obj, key), app)
    fails = given in ("bad", "stale") or (given == "unsigned" and app.signature == "require")
    return Checked(archived, given, "recorded" if recorded else "", in_order=not fails)


def _check_all(keys: Iterable[ArchivedKey], environ: Mapping[str, str]) -> Iterator[Checked]:
    """Check in key order, some at once, never holding more than a few objects."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        waiting = []
        for key in keys:
            waiting.append(pool.submit(_checked, key, environ))
            if len(waiting) > 2 * _AT_ONCE:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _as_json(checked: Checked, is_ambiguous: bool) -> str:
    fields = {"key": str(checked.archived.key), "verdict": checked.verdict}
    if checked.state:
        fields["state"] = checked.state
    if is_ambiguous:
        fields["bucket"] = checked.archived.bucket
    return json.dumps(fields)


def _summary(counts: Counter[str]) -> str:
    parts = ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
    return f"{counts.total()} deliver{'y' if counts.total() == 1 else 'ies'}: {parts}"
