"""What a check is, and how checks are run: in order, each whatever the others do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import click
from botocore.exceptions import ClientError

from hookshelf.smoke.world import World
from hookshelf.web import Unreachable

VERDICTS = {True: "ok", False: "FAILED", None: "not seen"}


class Seen(NamedTuple):
    """What came of a check; `ok` is None where it could not be looked at."""

    seen: str
    ok: bool | None


class Check(NamedTuple):
    """One thing that only AWS can show."""

    title: str
    expected: str
    run: Callable[[World], Seen]


class Row(NamedTuple):
    """One line of the table."""

    number: int
    check: str
    expected: str
    seen: str
    verdict: str


def check(title: str, expected: str) -> Callable[[Callable[[World], Seen]], Check]:
    """Make a function of the World a check."""
    return partial(Check, title, expected)


def run(checks: Sequence[Check], world: World) -> list[Row]:
    """A row for each check; after Ctrl-C, those that are left were not seen."""
    rows: list[Row] = []
    for number, one in enumerate(checks, 1):
        click.echo(f"{number:>2} of {len(checks)}: {one.title} …", err=True)
        try:
            rows.append(_row(number, one, _seen(one, world), world))
        except KeyboardInterrupt:
            click.echo("Interrupted; removing what was made.", err=True)
            break
    return rows + not_seen(checks)[len(rows) :]


def not_seen(checks: Sequence[Check]) -> list[Row]:
    """The rows of checks that were not made."""
    return [Row(n, one.title, one.expected, "", VERDICTS[None]) for n, one in enumerate(checks, 1)]


def _seen(one: Check, world: World) -> Seen:
    try:
        return one.run(world)
    except ClientError as error:  # code and operation are AWS's words; the message may quote ours
        what = f"{error.response['Error'].get('Code')} at {error.operation_name}"
        return Seen(f"{type(error).__name__}: {what}", False)
    except Unreachable as error:
        return Seen(f"no answer: {error}", False)
    except Exception as error:  # whose text may hold a URL, and so a token
        return Seen(type(error).__name__, False)


def _row(number: int, one: Check, seen: Seen, world: World) -> Row:
    text = seen.seen
    for token in world.sent | set(world.tokens):
        text = text.replace(token, "…")
    row = Row(number, one.title, one.expected, text, VERDICTS[seen.ok])
    click.echo(f"         {row.verdict}: {row.seen}", err=True)
    return row
