"""The tables: what must hold, how figures grow with the archive, and the rest."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping

import duckdb

from bench.reading.limits import LIMITS, Outcome

_SIZE = re.compile(r"(?<![\d.])(0\.2|2|20) million events?")
_SIZES = ("0.2", "2", "20")


def as_text(figures: Mapping[str, float], scale: float = 1) -> str:
    """Every table, for people."""
    about = machine()
    if scale != 1:
        about += f"\nOnly {scale:g} of all events: limits mean nothing."
    return "\n\n".join((about, _limits(figures), _growth(figures), _others(figures))).rstrip()


def machine() -> str:
    """What it was measured on."""
    return (
        f"Python {platform.python_version()}, DuckDB {duckdb.__version__}, "
        f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}"
    )


def outcomes(figures: Mapping[str, float]) -> dict[str, Outcome]:
    """What became of each limit, by its figure."""
    return {limit.figure: limit.outcome(figures) for limit in LIMITS}


def _limits(figures: Mapping[str, float]) -> str:
    lines = [f"{'what must hold':<60}{'limit':>18}{'aim':>8}{'measured':>12}"]
    for limit in LIMITS:
        measured = _number(figures[limit.figure]) if limit.figure in figures else "-"
        bound = f"{limit.relation} {_number(limit.bound)} {limit.unit}"
        aim = _number(limit.aim) if limit.aim else ""
        lines.append(
            f"{limit.figure:<60}{bound:>18}{aim:>8}{measured:>12}  {limit.outcome(figures)}"
        )
    return "\n".join(lines)


def _growth(figures: Mapping[str, float]) -> str:
    """Figures that were measured at more than one size, and by what they grew."""
    rows: dict[str, dict[str, float]] = {}
    for name, value in figures.items():
        if found := _SIZE.search(name):
            rows.setdefault(_SIZE.sub("…", name), {})[found[1]] = value
    lines = [
        f"{'million events':<60}" + "".join(f"{size:>12}" for size in _SIZES) + f"{'growth':>18}"
    ]
    for name, values in rows.items():
        if len(values) > 1:
            cells = "".join(
                f"{_number(values[size]) if size in values else '-':>12}" for size in _SIZES
            )
            sizes = [values[size] for size in _SIZES if size in values]
            growth = " ".join(
                f"x{after / before:.1f}" if before else "-"
                for before, after in zip(sizes, sizes[1:], strict=False)
            )
            lines.append(f"{name:<60}{cells}{growth:>18}")
    return "\n".join(lines)


def _others(figures: Mapping[str, float]) -> str:
    limited = {limit.figure for limit in LIMITS}
    return "\n".join(
        f"{name:<78}{_number(value):>12}"
        for name, value in figures.items()
        if name not in limited and not _SIZE.search(name)
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
