"""What was seen, as a Markdown table for docs/proof.md or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chalicelib.types import Json
from hookshelf.smoke.registry import TableRow

HEAD = ("#", "Check", "Expected", "Seen", "Verdict")


@dataclass(frozen=True, slots=True)
class Report:
    """All rows, and where and when they were seen."""

    date: str  # UTC
    region: str
    runtime: str
    architecture: str
    rows: Sequence[TableRow]

    @property
    def is_ok(self) -> bool:
        """Whether every check was made, and is ok."""
        return all(row.verdict == "ok" for row in self.rows)


def markdown(report: Report) -> str:
    """A line with the date and the place, and the table."""
    head = f"Seen on {report.date} in {report.region}, {report.runtime}, {report.architecture}:"
    return "\n".join([head, "", *table(report.rows)])


def table(rows: Sequence[TableRow]) -> Iterator[str]:
    """The lines of the table."""
    yield _line(HEAD)
    yield _line(["--:", *["---"] * (len(HEAD) - 1)])
    yield from (_line(row) for row in rows)


def as_json(report: Report) -> str:
    """One JSON object."""
    head: Json = {
        name: getattr(report, name) for name in ("date", "region", "runtime", "architecture")
    }
    return json.dumps(head | {"checks": [row._asdict() for row in report.rows]})


def _line(cells: Sequence[object]) -> str:
    texts = (" ".join(str(cell).split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(texts)} |"
