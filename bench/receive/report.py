"""The tables, and the same as JSON."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.receive import cost
from bench.receive.measure import Samples
from bench.receive.ratios import Judged, Verdict, ratios, spread
from chalicelib.responses import MAX_BODY

NODE, BUNDLED = "Node", "Node, bundled"
CONVENTIONAL, FLOOR = "Chalice, pydantic, boto3", "empty Python"
ABSENT = "–"
LARGEST = f"{MAX_BODY / 2**20:g} MiB"  # the largest body that is accepted


@dataclass
class Report:
    """All that was measured."""

    rounds: int
    zip_bytes: int
    versions: Mapping[str, str]
    notes: Sequence[str]
    full_speed: Samples
    shares: Mapping[int, Samples]  # by MB of memory
    memory_mb: int  # what the package asks for
    bodies: Mapping[str, Samples]
    judged: Sequence[Judged]
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_good(self) -> bool:
        """Whether every limit holds; what was not measured does not."""
        return all(each.verdict is Verdict.OK for each in self.judged)

    def as_json(self) -> dict[str, Any]:
        """One JSON object; milliseconds and MB of 1,000,000 bytes, a figure for each round."""
        return {
            "at": self.at.isoformat(timespec="seconds"),
            "machine": machine(),
            "rounds": self.rounds,
            "versions": dict(self.versions),
            "notes": list(self.notes),
            "zip_bytes": self.zip_bytes,
            "full_speed": self.full_speed,
            "shares": {str(memory): samples for memory, samples in self.shares.items()},
            "bodies": self.bodies,
            "limits": [asdict(each) for each in self.judged],
        }

    def as_text(self) -> str:
        """Markdown, to be pasted into docs/proof.md."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        parts = [
            f"Measured on {self.at:%Y-%m-%d}, {machine()}; {versions}; "
            f"medians of {self.rounds} interleaved rounds, ratios of each round.",
            "\n".join(f"- {note}" for note in self.notes),
            "### Spawn to first stored delivery, and warm\n\n" + self._full_speed(),
            "### Under the share of a CPU that comes with the memory\n\n" + self._shares(),
            "### Memory by time and by money\n\n" + self._memory(),
            f"### Bodies of {LARGEST}\n\n" + self._bodies(),
            "### What must hold\n\n" + self._limits(),
        ]
        return "\n\n".join(parts)

    def _full_speed(self) -> str:
        rows = []
        for name, measures in self.full_speed.items():
            first, warm = measures["first"], measures["warm_cpu"]
            rows.append(
                [
                    name,
                    _milliseconds(first),
                    self._against(first, "first", NODE),
                    self._against(first, "first", BUNDLED),
                    self._against(first, "first", CONVENTIONAL),
                    self._against(first, "first", FLOOR),
                    f"{statistics.median(measures['cold_cpu']):.0f}",
                    f"{statistics.median(warm) * 1000:.0f}",
                    self._against(warm, "warm_cpu", NODE),
                    self._against(warm, "warm_cpu", BUNDLED),
                    f"{statistics.median(measures['warm']):.2f}",
                    f"{statistics.median(measures['peak']):.0f}",
                ]
            )
        head = ["", "first ms", "÷ Node", "÷ bundled", "÷ conv.", "÷ empty", "CPU ms"]
        return (
            _table([*head, "warm CPU µs", "÷ Node", "÷ bundled", "warm ms", "peak MB"], rows)
            + f"\n\nThe zip has {self.zip_bytes / 1e6:.1f} MB."
        )

    def _against(self, ours: Sequence[float], measure: str, peer: str) -> str:
        if peer not in self.full_speed:
            return ABSENT
        return f"{statistics.median(ratios(ours, self.full_speed[peer][measure])):.2f}"

    def _shares(self) -> str:
        rows = []
        for memory, samples in self.shares.items():
            for name, measures in samples.items():
                invoke = measures["first_invoke"]
                peer = samples.get(BUNDLED)
                ratio = (
                    f"{statistics.median(ratios(invoke, peer['first_invoke'])):.2f}"
                    if peer
                    else ABSENT
                )
                warm = f"{statistics.median(measures['warm']):.2f}"
                rows.append([f"{memory}", name, _milliseconds(invoke), ratio, warm])
        return _table(["MB", "", "first invoke ms", "÷ bundled", "warm ms, spaced"], rows)

    def _memory(self) -> str:
        names = list(next(iter(self.shares.values()), {}))
        rows = []
        for memory, samples in self.shares.items():
            row = [f"{memory}{' (ours)' if memory == self.memory_mb else ''}"]
            for name in names:
                median = {key: statistics.median(values) for key, values in samples[name].items()}
                cold = median["init"] + median["first_invoke"]
                row.append(f"{cold:.0f} ms, ${cost.per_million(memory, **median):.3f}")
            rows.append(row)
        return _table(["MB", *names], rows) + (
            f"\n\nA cold delivery, and a million of which {cost.COLD:.1%} are cold, each waiting "
            f"{cost.S3_WAIT_MS:.0f} ms for S3 (assumed); Lambda's list prices, arm64."
        )

    def _bodies(self) -> str:
        rows = []
        for shape, samples in self.bodies.items():
            row = [shape]
            for measures in samples.values():
                invoke, peak = statistics.median(measures["invoke"]), max(measures["peak"])
                row.append(f"{invoke:.0f} ms, {peak:.0f} MB")
            rows.append(row)
        names = list(next(iter(self.bodies.values()), {}))
        return _table([f"{LARGEST} of", *names], rows)

    def _limits(self) -> str:
        rows = []
        for each in self.judged:
            limit, seen = each.limit, each.spread
            shown = (
                f"{seen.median:.3g}{limit.unit} ({seen.low:.3g} to {seen.high:.3g})"
                if seen
                else ABSENT
            )
            what = limit.what + (f", at {limit.memory} MB" if limit.memory else "")
            at_most = f"{limit.at_most:g}{limit.unit}"
            aim = f" (aim {limit.aim:g})" if limit.aim else ""
            rows.append([limit.number, what, at_most + aim, shown, each.verdict.value])
        return _table(["#", "", "at most", "median (quartiles)", "verdict"], rows)


def machine() -> str:
    """What it ran on, without a name."""
    return f"{os.cpu_count()} CPUs, {platform.machine()}, load {os.getloadavg()[2]:.1f}"


def _milliseconds(values: Sequence[float]) -> str:
    seen = spread(values)
    return f"{seen.median:.0f} ({seen.low:.0f} to {seen.high:.0f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned for whoever reads it as text."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    shown = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    rule = "| " + " | ".join("-" * width for width in widths) + " |"
    return "\n".join([shown[0], rule, *shown[1:]])
