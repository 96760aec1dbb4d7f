"""All benches: each is run as its own command, and what it prints is reduced to what is shown."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import costs, put
from bench.page import __main__ as page
from bench.reading import limits as reading
from bench.reading.limits import Limit, Outcome

PROJECT = Path(__file__).resolve().parents[1]
README = PROJECT / "README.md"
QUICK = {"receive": ("--rounds", "2"), "put": ("--rounds", "2")}  # others take a scale
FULL = {"page": ("--million", "20")}
Json = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A figure that has to hold, in words."""

    what: str
    limit: str
    seen: str
    verdict: str  # ok, MISSED or not measured


@dataclass(frozen=True)
class Section:
    """What is kept of one bench."""

    seen: str  # the day, YYYY-MM-DD
    machine: str
    rows: Sequence[Row]
    figures: Mapping[str, float]  # what charts are drawn of

    @property
    def is_good(self) -> bool:
        """Whether every limit holds; what was not measured does not."""
        return all(row.verdict == Outcome.OK for row in self.rows)


def run(name: str, *, quick: bool = False) -> Json:
    """Run a bench to its end: its exit status, and what it printed, None where that is no JSON."""
    words = (QUICK.get(name) or ("--scale", "0.01")) if quick else FULL.get(name, ())
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", "--json", *words],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = None
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return {"at": at, "status": done.returncode, "report": report}


def reduced(name: str, result: Json) -> Section:
    """The section of a bench that was run. Raises ValueError where it printed no report."""
    if result["report"] is None:
        raise ValueError(f"bench.{name} ended with {result['status']} and printed no figures")
    report = result["report"]
    rows, figures = REDUCE[name](report)
    versions = ", ".join(
        f"{name} {version}" for name, version in report.get("versions", {}).items()
    )
    rounds = f"medians of {report['rounds']} rounds" if "rounds" in report else ""
    machine = "; ".join(filter(None, (report["machine"], versions, rounds)))
    return Section(result["at"][:10], machine, rows, figures)


def _of_receive(report: Json) -> tuple[list[Row], dict[str, float]]:
    figures: dict[str, float] = {}
    for name, measures in report["full_speed"].items():
        figures[f"first delivery, ms: {name}"] = statistics.median(measures["first"])
        figures[f"warm CPU, µs: {name}"] = statistics.median(measures["warm_cpu"]) * 1000
    bodies = [judged for judged in report["limits"] if judged["limit"]["number"] == "4"]
    rows = [_of_receive_limit(judged) for judged in report["limits"] if judged not in bodies]
    for measure, what in (("peak", "memory for 4 MiB"), ("invoke", "time for it, of bundled Node")):
        shapes = [judged for judged in bodies if judged["limit"]["measure"] == measure]
        if shapes:
            worst = _of_receive_limit(max(shapes, key=_how_bad))
            rows.append(Row(f"{what}, the worst of {len(shapes)} shapes", *_cells(worst)))
    return rows, {name: round(value, 1) for name, value in figures.items()}


def _cells(row: Row) -> tuple[str, str, str]:
    return row.limit, row.seen, row.verdict


def _how_bad(judged: Json) -> tuple[bool, float]:
    return judged["verdict"] != Outcome.OK, (judged["spread"] or {"median": 0})["median"]


def _of_receive_limit(judged: Json) -> Row:
    limit, spread = judged["limit"], judged["spread"]
    seen = f"{spread['median']:.3g}{limit['unit']}" if spread else "–"
    what = limit["what"] + (f", at {limit['memory']} MB" if limit["memory"] else "")
    return Row(what, f"<= {limit['at_most']:g}{limit['unit']}", seen, judged["verdict"])


def _by_limits(limits: Iterable[Limit]) -> Callable[[Json], tuple[list[Row], dict[str, float]]]:
    """For the benches whose limits name their figures."""

    def reduce(report: Json) -> tuple[list[Row], dict[str, float]]:
        figures = report["figures"]
        rows = [
            Row(
                limit.figure,
                f"{limit.relation} {limit.bound:,g} {limit.unit}",
                f"{number(figures[limit.figure])} {limit.unit}" if limit.figure in figures else "–",
                str(limit.outcome(figures)),
            )
            for limit in limits
        ]
        return rows, {name: float(f"{value:.4g}") for name, value in figures.items()}

    return reduce


def number(value: float) -> str:
    """A figure for people: three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


REDUCE: Mapping[str, Callable[[Json], tuple[list[Row], dict[str, float]]]] = {
    "receive": _of_receive,
    "put": _by_limits(put.LIMITS),
    "reading": _by_limits(reading.LIMITS),
    "page": _by_limits(page.LIMITS),
}


def stated_costs() -> list[Row]:
    """What the README says that a million deliveries cost, beside what the tables add up to."""
    words = README.read_text(encoding="utf-8").partition("cost some $")[2]
    stated, seen = words.partition(" ")[0], costs.ours().million or 0
    verdict = Outcome.OK if f"{seen:.0f}" == stated else Outcome.MISSED
    return [
        Row("a million deliveries of 1 KiB, by list prices", f"${stated}", f"${seen:.2f}", verdict)
    ]


def all_hold(sections: Mapping[str, Section]) -> bool:
    """Whether every bench was run at some time, and every limit holds."""
    costs_hold = all(row.verdict == Outcome.OK for row in stated_costs())
    return costs_hold and all(name in sections and sections[name].is_good for name in REDUCE)


def as_markdown(sections: Mapping[str, Section]) -> str:
    """The one table, and what it was seen on."""
    lines = [
        "| Figure | Limit | Seen | Verdict | Date | Command |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, section in sections.items():
        for row in section.rows:
            cells = (row.what, row.limit, row.seen, row.verdict, section.seen)
            lines.append(f"| {' | '.join(cells)} | `python -m bench.{name}` |")
    for row in stated_costs():
        cells = (row.what, row.limit, row.seen, row.verdict, "computed")
        lines.append(f"| {' | '.join(cells)} | `python -m bench --from docs/figures.json` |")
    machines = "\n".join(
        f"- `bench.{name}`, {section.seen}: {section.machine}."
        for name, section in sections.items()
    )
    return "\n".join(lines) + f"\n\n{machines}\n\n{costs.as_markdown()}"
