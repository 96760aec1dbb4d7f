"""Bars over time, as the numbers that a template draws SVG with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

WIDTH, HEIGHT = 960, 160  # of the drawing, in its own units
_SERIES = 6  # told apart by colour; the rest is one
_MOST_DAYS = 92  # that are drawn one by one; more are months
_OTHER = "other"


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a bar."""

    name: str
    series: int
    count: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One day, or one month."""

    label: str  # 2026-11-20, or 2026-11
    since: str
    until: str
    total: int
    x: float
    width: float
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars beside each other, with the names of their parts, most frequent first."""

    bars: tuple[Bar, ...]
    names: tuple[tuple[str, int], ...]  # and how many of each
    most: int  # of the highest bar
    total: int
    width: int = WIDTH
    height: int = HEIGHT


def chart(counts: Mapping[tuple[str, str], int]) -> Chart:
    """A chart of how many by day (`2026-11-20`) and name; days without any are drawn empty."""
    totals: Counter[str] = Counter()
    for (_, name), count in counts.items():
        totals[name] += count
    leading = [name for name, _ in totals.most_common(_SERIES)]
    by_span: dict[str, Counter[str]] = {span: Counter() for span in _spans(counts)}
    for (day, name), count in counts.items():
        span = day if day in by_span else day[:7]
        by_span[span][name if name in leading else _OTHER] += count
    names = [*leading, *([_OTHER] if len(totals) > len(leading) else [])]
    most = max((spans.total() for spans in by_span.values()), default=0)
    step = WIDTH / max(len(by_span), 1)
    bars = tuple(
        _bar(span, spans, names, most, (index * step, step))
        for index, (span, spans) in enumerate(by_span.items())
    )
    sums = [(name, sum(spans[name] for spans in by_span.values())) for name in names]
    return Chart(bars, tuple(sums), most, totals.total())


def _bar(
    span: str, counts: Counter[str], names: Sequence[str], most: int, place: tuple[float, float]
) -> Bar:
    parts, y = [], float(HEIGHT)
    for series, name in enumerate(names):
        if counts[name]:
            height = HEIGHT * counts[name] / most
            y -= height
            parts.append(Part(name, series, counts[name], round(y, 2), round(height, 2)))
    x, step = place
    since, until = _bounds(span)
    gap = min(2.0, step / 5)
    return Bar(span, since, until, counts.total(), round(x, 2), round(step - gap, 2), tuple(parts))


def _spans(counts: Mapping[tuple[str, str], int]) -> list[str]:
    days = sorted({date.fromisoformat(day) for day, _ in counts})
    if not days:
        return []
    length = (days[-1] - days[0]).days + 1
    every = [(days[0] + timedelta(days=number)).isoformat() for number in range(length)]
    return every if length <= _MOST_DAYS else list(dict.fromkeys(day[:7] for day in every))


def _bounds(span: str) -> tuple[str, str]:
    """The dates from and to which it lasts, both included."""
    if len(span) > len("2026-11"):
        return span, span
    first = date.fromisoformat(f"{span}-01")
    return first.isoformat(), (
        (first + timedelta(days=31)).replace(day=1) - timedelta(1)
    ).isoformat()
