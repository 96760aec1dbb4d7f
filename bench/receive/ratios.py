"""Medians of per-round ratios, and what must hold of them.

In each round every function runs once, so that a busy moment falls on all of them alike: a ratio
is taken within a round, and of all rounds its median.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

Rounds = Mapping[str, Sequence[float]]  # what was measured, by name, one figure a round


class Verdict(StrEnum):
    """Whether a limit holds."""

    OK = "ok"
    MISSED = "MISSED"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Spread:
    """A median, and the quarters of the rounds that lie below and above it."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Limit:
    """What a figure, or its ratio to others', may be at most."""

    number: str  # of the promise, for reference
    what: str  # for people
    measure: str
    ours: str
    at_most: float
    against: str = ""  # a ratio to this one; the figure itself where empty
    unit: str = ""
    aim: float | None = None
    memory: int = 0  # MB: under the share of a CPU that comes with it; 0: a whole one


@dataclass(frozen=True)
class Judged:
    """A limit, what was measured, and the verdict."""

    limit: Limit
    spread: Spread | None
    verdict: Verdict


def spread(values: Sequence[float]) -> Spread:
    """The median and the quartiles of at least one value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(statistics.median(values), low, high)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """The ratio in each round. Raises ValueError where the rounds are not the same."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def judge(limit: Limit, rounds: Rounds) -> Judged:
    """The verdict on a limit. What was not measured never passes."""
    ours = rounds.get(limit.ours)
    theirs = rounds.get(limit.against) if limit.against else ()
    if not ours or theirs is None or (limit.against and not theirs):
        return Judged(limit, None, Verdict.NOT_MEASURED)
    seen = spread(ratios(ours, theirs) if limit.against else ours)
    return Judged(limit, seen, Verdict.OK if seen.median <= limit.at_most else Verdict.MISSED)
