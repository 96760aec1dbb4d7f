"""What a check is, and how checks are run: in order, each whatever the others do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from botocore.exceptions import ClientError

from hookshelf.smoke.target import Target
from hookshelf.web import Unreachable

VERDICT_WORDS = {True: "ok", False: "FAILED", None: "not seen"}


class Outcome(NamedTuple):
    """What came of a check; `ok` is None where it could not be looked at."""

    seen: str
    ok: bool | None


class SmokeCheck(NamedTuple):
    """One thing that only AWS can show."""

    title: str
    expected: str
    run: Callable[[Target], Outcome]


class TableRow(NamedTuple):
    """One line of the table."""

    number: int
    check: str
    expected: str
    seen: str
    verdict: str


def smoke_check(title: str, expected: str) -> Callable[[Callable[[Target], Outcome]], SmokeCheck]:
    """Make a function of the Target a check."""
    return partial(SmokeCheck, title, expected)


def run_checks(
    checks: Sequence[SmokeCheck], target: Target, progress: Callable[[str], None]
) -> list[TableRow]:
    """A row for each check; after Ctrl-C, those that are left were not seen."""
    rows: list[TableRow] = []
    for number, check in enumerate(checks, 1):
        progress(f"{number:>2} of {len(checks)}: {check.title} …")
        try:
            seen, ok = _outcome(check, target)
        except KeyboardInterrupt:
            progress("Interrupted; removing what was made.")
            break
        for token in target.sent | set(target.tokens):
            seen = seen.replace(token, "…")
        rows.append(TableRow(number, check.title, check.expected, seen, VERDICT_WORDS[ok]))
        progress(f"         {VERDICT_WORDS[ok]}: {seen}")
    return rows + not_seen(checks)[len(rows) :]


def not_seen(checks: Sequence[SmokeCheck]) -> list[TableRow]:
    """The rows of checks that were not made."""
    return [
        TableRow(number, check.title, check.expected, "", VERDICT_WORDS[None])
        for number, check in enumerate(checks, 1)
    ]


def _outcome(check: SmokeCheck, target: Target) -> Outcome:
    try:
        return check.run(target)
    except ClientError as error:  # code and operation are AWS's words; the message may quote ours
        what = f"{error.response['Error'].get('Code')} at {error.operation_name}"
        return Outcome(f"{type(error).__name__}: {what}", False)
    except Unreachable as error:
        return Outcome(f"no response: {error}", False)
    except Exception as error:  # whose text may hold a URL, and so a token
        return Outcome(type(error).__name__, False)
