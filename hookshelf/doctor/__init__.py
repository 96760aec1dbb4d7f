"""The doctor: whether a deployed stage is all right, and what to do where it is not.

A check is one function under `@check` in one of the modules here, which is imported below. It asks
nothing itself: what AWS says is in facts.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from hookshelf.deploy.deployment import find
from hookshelf.doctor import buckets, door, functions  # noqa: F401 (each adds its checks)
from hookshelf.doctor import canary as canary_
from hookshelf.doctor.facts import Facts
from hookshelf.doctor.findings import CHECKS, Finding, Level, made

__all__ = ["Finding", "examine", "report"]

_WORST: tuple[Level, ...] = ("ok", "warning", "failure")


def examine(
    stage: str, *, canary: bool = False, url: str | None = None, read_only: bool = False
) -> list[Finding]:
    """What every check says of a stage; several findings of one check, or one that says ok.

    It puts a probe of a few bytes below `_rejected/`, unless `read_only`; with `canary` also
    deliveries, to `url` or to where the stage is. Raises NotDeployed.
    """
    deployment = find(stage)
    # The canary first: it takes out what an interrupted one left behind.
    flown = canary_.fly(Facts(deployment), url) if canary else []
    facts = Facts(deployment, read_only=read_only)
    return [finding for check in CHECKS for finding in made(check, facts)] + flown


def report(findings: Sequence[Finding], *, strict: bool = False, as_json: bool = False) -> int:
    """Print findings; the exit status, 1 where a check fails. `strict` counts warnings too."""
    for finding in findings:
        click.echo(json.dumps(asdict(finding)) if as_json else _told(finding))
    failed, warned = _count(findings, "failure"), _count(findings, "warning")
    if not as_json:
        checks = len({finding.id for finding in findings})
        click.echo(f"{checks} checks: {failed} failed, {warned} warnings")
    return 1 if failed or (strict and warned) else 0


def _told(finding: Finding) -> str:
    line = f"{finding.level:<8} {finding.id:<17} {finding.what}"
    if finding.level == "ok":
        return line
    return f"{line}\n{'':9}Why:  {finding.why}\n{'':9}Mend: {finding.mend}"


def _count(findings: Sequence[Finding], level: Level) -> int:
    """How many checks are no better and no worse than that."""
    worst: dict[str, int] = {}
    for finding in findings:
        worst[finding.id] = max(worst.get(finding.id, 0), _WORST.index(finding.level))
    return sum(found == _WORST.index(level) for found in worst.values())
