"""What must hold, in one place: each limit names the figure it is about."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """Whether a limit holds."""

    OK = "ok"
    MISSED = "MISSED"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Limit:
    """How a figure has to be."""

    figure: str
    relation: str  # `<=` or `>=`
    bound: float
    unit: str
    aim: float | None = None  # what we would like

    def outcome(self, figures: Mapping[str, float]) -> Outcome:
        """Judge; what was not measured never passes."""
        if self.figure not in figures:
            return Outcome.NOT_MEASURED
        holds = operator.le if self.relation == "<=" else operator.ge
        return Outcome.OK if holds(figures[self.figure], self.bound) else Outcome.MISSED


LIMITS = (
    Limit("find on disk, 2 million events", "<=", 15, "ms", aim=5),
    Limit("find on disk, 20 million events", "<=", 60, "ms", aim=15),
    Limit("find over 30 ms, 2 million events", "<=", 150, "ms"),
    Limit("find over 30 ms, 2 million events: GETs", "<=", 4, "GETs"),
    Limit("find over 30 ms, 20 million events", "<=", 400, "ms"),
    Limit("the command hookshelf find, 2 million events", "<=", 500, "ms"),
    Limit("find over 30 ms, today: 30,000 deliveries, 2,000 raw", "<=", 1500, "ms"),
    Limit("compact a day of 200,000 events", ">=", 40_000, "events/s"),
    Limit("compact a day of 200,000 events: memory", "<=", 500, "MB"),
    Limit("roll up a month of 2 million events: memory", "<=", 1000, "MB"),
    Limit("verify 100,000 compacted deliveries over 30 ms", "<=", 60, "s"),
    Limit("the whole bench", "<=", 20, "min"),
)
