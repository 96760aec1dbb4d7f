"""`hookshelf verify`: prove the senders' signatures again, from what is archived alone."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import click

from chalicelib.keys import DeliveryKey, RejectedKey
from chalicelib.signatures import verdict
from chalicelib.store import Store
from hookshelf.commands._options import listing
from hookshelf.reading.deliveries import Query, app_of, delivery_of, find, is_altered, open_place
from hookshelf.settings import environment

_AT_ONCE = 16  # objects read at the same time


@dataclass(frozen=True, slots=True)
class Checked:
    """One delivery and its verdict."""

    key: str
    verdict: str
    in_order: bool
    altered: bool = False

    def as_json(self) -> str:
        """One line of `--json`."""
        line = {"key": self.key, "verdict": self.verdict}
        return json.dumps(line | ({"altered": True} if self.altered else {}))


@click.command()
@listing
@click.option("--rejected", is_flag=True, help="Check what was refused and kept instead.")
def command(
    *,
    app: str | None,
    bucket: str | None,
    since: datetime | None,
    until: datetime | None,
    stage: str | None,
    as_json: bool,
    rejected: bool,
) -> None:
    """Check the original signatures of archived deliveries again.

    Only the archived bytes and headers count, and the keys and secrets in APPS_FILE. A body that no
    longer matches the hash in its key is `bad`, and said to be altered.

    \b
    Exit status: 0 in order, 2 misuse, 1 where a delivery is bad or stale,
    or unsigned though its app requires signatures.

    \b
    Examples:
      hookshelf verify                             everything, where `make run` archives
      hookshelf verify --app sendgrid --since 14d
      hookshelf verify --rejected --json
    """
    environ = environment(stage)
    store, place = open_place(environ, bucket)
    query = Query(app=app, since=since, until=until, rejected=rejected)
    counts: Counter[str] = Counter()
    failed = False
    with click.progressbar(
        find(store, place, query),
        label="Verifying",
        file=sys.stderr,
        item_show_func=lambda key: f"{counts.total()}",
        hidden=not sys.stderr.isatty(),
    ) as keys:
        for checked in _check_all(store, keys, environ):
            counts[checked.verdict] += 1
            failed = failed or not checked.in_order
            if as_json:
                click.echo(checked.as_json())
            elif not checked.in_order:
                click.echo(f"{checked.verdict}{' (altered)' * checked.altered}  {checked.key}")
    if not as_json:
        click.echo(_summary(counts))
    sys.exit(1 if failed else 0)


def check(store: Store, key: DeliveryKey | RejectedKey, environ: Mapping[str, str]) -> Checked:
    """The verdict on one archived delivery."""
    obj = store.get(str(key))
    if is_altered(obj, key):
        return Checked(str(key), "bad", in_order=False, altered=True)
    app = app_of(obj, key, environ)
    found = verdict(delivery_of(obj, key), app)
    fails = found in ("bad", "stale") or (found == "unsigned" and app.signature == "require")
    return Checked(str(key), found, in_order=not fails)


def _check_all(
    store: Store, keys: Iterator[DeliveryKey | RejectedKey], environ: Mapping[str, str]
) -> Iterator[Checked]:
    """Check in key order, some at once, never holding more than a few objects."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        waiting = []
        for key in keys:
            waiting.append(pool.submit(check, store, key, environ))
            if len(waiting) > 2 * _AT_ONCE:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _summary(counts: Counter[str]) -> str:
    if not counts:
        return "Nothing to verify. Try another --app, --bucket, --since or --stage."
    parts = ", ".join(f"{count} {found}" for found, count in sorted(counts.items()))
    hint = "\nNo keys or secrets: name them in APPS_FILE." if set(counts) == {"unchecked"} else ""
    return f"{counts.total()} deliver{'y' if counts.total() == 1 else 'ies'}: {parts}{hint}"
