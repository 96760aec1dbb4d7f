"""The charts of the README and docs/proof.md: bars in SVG, for light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from bench import costs, put
from bench.receive.__main__ import OURS, SIGNED
from bench.receive.report import BUNDLED, CONVENTIONAL, NODE
from bench.suite import Section, number

WIDTH, ROW, HEAD, GAP, LABEL = 860, 26, 34, 14, 270  # pixels; labels end at LABEL
LONGEST = WIDTH - LABEL - 130  # a bar; its figure stands behind it
NOT_MEASURED = "not measured"
STYLE = """
    .page { fill: #ffffff }
    .bar { fill: #afb8c1 }
    .ours { fill: #0969da }
    text { fill: #1f2328 }
    .small { fill: #57606a }
    .name { font-weight: 600 }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0d1117 }
      .bar { fill: #484f58 }
      .ours { fill: #58a6ff }
      text { fill: #e6edf3 }
      .small { fill: #9ea7b3 }
    }"""


@dataclass(frozen=True)
class Bar:
    """One figure; without a value it says in words why."""

    label: str
    value: float | None
    shown: str
    is_ours: bool = False


@dataclass(frozen=True)
class Panel:
    """Bars of one scale, under a heading."""

    heading: str
    bars: Sequence[Bar]


def svg(title: str, panels: list[Panel]) -> str:
    """A drawing of the panels, one below the other; `title` says in words what is seen.

    A panel of which nothing was measured is left out, but for the first.
    """
    height, parts = GAP, []
    for panel in panels[:1] + [p for p in panels[1:] if any(bar.value for bar in p.bars)]:
        height += HEAD
        parts.append(_text(20, height - 14, panel.heading, "name"))
        largest = max((bar.value or 0 for bar in panel.bars), default=0) or 1
        for bar in panel.bars:
            parts.append(_bar(bar, height, largest))
            height += ROW
        height += GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-labelledby="title" font-family="ui-sans-serif, '
        'system-ui, -apple-system, \'Segoe UI\', Helvetica, Arial, sans-serif" font-size="13">\n'
        f'  <title id="title">{escape(title)}</title>\n'
        f"  <style>{STYLE}\n  </style>\n"
        f'  <rect class="page" width="{WIDTH}" height="{height}" rx="8"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _bar(bar: Bar, top: int, largest: float) -> str:
    length = max(round(LONGEST * (bar.value or 0) / largest), 1 if bar.value else 0)
    middle = top + ROW // 2 + 4
    kind = "ours" if bar.is_ours else "bar"
    lines = [_text(LABEL, middle, bar.label, "name" if bar.is_ours else "", end=True)]
    if length:
        lines.append(
            f'  <rect class="{kind}" x="{LABEL + 10}" y="{top + 4}" width="{length}" '
            f'height="{ROW - 8}" rx="3"/>'
        )
    lines.append(_text(LABEL + 18 + length, middle, bar.shown, "small"))
    return "\n".join(lines)


def _text(x: int, y: int, text: str, kind: str, *, end: bool = False) -> str:
    named = f' class="{kind}"' if kind else ""
    anchor = ' text-anchor="end"' if end else ""
    return f'  <text{named} x="{x}" y="{y}"{anchor}>{escape(text)}</text>'


def _measured(figures: Mapping[str, float], name: str, label: str, unit: str, ours: bool) -> Bar:
    if name not in figures:
        return Bar(label, None, NOT_MEASURED, ours)
    return Bar(label, figures[name], f"{number(figures[name])} {unit}", ours)


def receiving(figures: Mapping[str, float]) -> str:
    """A new function's first delivery and a warm one's CPU, beside the peers."""
    names = {
        OURS: "hookshelf",
        SIGNED: "hookshelf, signature checked",
        NODE: "Node original",
        BUNDLED: "Node original, bundled",
        "boto3 alone": "a function of boto3 alone",
        CONVENTIONAL: "Chalice, pydantic and boto3",
    }

    def panel(heading: str, measure: str, unit: str) -> Panel:
        return Panel(
            heading,
            [
                _measured(figures, f"{measure}: {name}", label, unit, name in (OURS, SIGNED))
                for name, label in names.items()
            ],
        )

    return svg(
        "What receiving costs: from the start of a function to its first stored delivery, and the "
        "CPU of a warm delivery, hookshelf beside its peers.",
        [
            panel("From start to the first stored delivery", "first delivery, ms", "ms"),
            panel("CPU for a delivery to a warm function", "warm CPU, µs", "µs"),
        ],
    )


def looking_up(figures: Mapping[str, float]) -> str:
    """How a look-up grows with the archive, beside other ways to search the same."""

    def sizes(name: str) -> list[Bar]:
        return [
            _measured(
                figures, f"{name}, {size} million events", f"{size} million events", "ms", True
            )
            for size in ("0.2", "2", "20")
        ]

    ways = ("find on disk", "DuckDB over raw JSON", "zgrep over hourly gzip")
    peers = [
        _measured(figures, f"beside peers: {way}, 2 million events", way, "ms", way == ways[0])
        for way in ways
    ]
    return svg(
        "How long it takes to find one recipient's events, in archives of 0.2, 2 and 20 million.",
        [
            Panel("find, on disk", sizes("find on disk")),
            Panel("find, over a store that answers after 30 ms", sizes("find over 30 ms")),
            Panel("Other ways to search 2 million events, on disk", peers),
        ],
    )


def putting(figures: Mapping[str, float]) -> str:
    """One put, beside bare clients."""
    names = (put.OURS, put.BY_HAND, put.BOTO3, put.OURS_BOTO3)
    bars = [
        _measured(figures, f"{name}: CPU", name, "µs", name in (put.OURS, put.OURS_BOTO3))
        for name in names
    ]
    title = "The CPU of one conditional, signed put of 1 KiB: ours beside boto3 and HTTP by hand."
    return svg(title, [Panel("CPU for one put of 1 KiB", bars)])


def cost() -> str:
    """A million deliveries, and each further month of keeping them, by list prices."""
    everybody = (costs.ours(), *costs.PEERS)

    def bars(price: str, none: str) -> list[Bar]:
        return [
            Bar(
                each.who,
                getattr(each, price),
                none.format(keeps=each.keeps)
                if getattr(each, price) is None
                else f"${getattr(each, price):,.2f}",
                each is everybody[0],
            )
            for each in everybody
        ]

    return svg(
        "What a million deliveries of 1 KiB cost by list prices, and each month more that they are "
        "kept.",
        [
            Panel("A million deliveries in a month", bars("million", "no price is published")),
            Panel("Each month more that they are kept", bars("month", "kept {keeps}")),
        ],
    )


def draw(sections: Mapping[str, Section]) -> dict[str, str]:
    """Every chart, by its file's name in docs/."""
    figures = {name: section.figures for name, section in sections.items()}
    return {
        "bench-receive.svg": receiving(figures.get("receive", {})),
        "bench-look-up.svg": looking_up(figures.get("reading", {})),
        "bench-put.svg": putting(figures.get("put", {})),
        "bench-cost.svg": cost(),
    }
