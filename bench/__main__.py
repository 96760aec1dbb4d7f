"""Run every bench, and write what was seen into the documentation: one table, and charts.

Each bench has a command of its own, which says more: python -m bench.receive, bench.put,
bench.reading, bench.page. What they print is kept in build/bench.json; what is shown of it, in
docs/figures.json, from which the table of docs/proof.md and docs/bench-*.svg are made.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from bench import charts, suite
from bench.suite import PROJECT, REDUCE, Row, Section

RUNS = PROJECT / "build" / "bench.json"
DOCS = PROJECT / "docs"
BEGIN, END = "<!-- figures: begin -->\n", "\n<!-- figures: end -->"
EXAMPLES = f"""
examples:
  python -m bench                              everything, an hour and more on two idle cores
  python -m bench --only receive --only put    some of it; the others stay as they are
  python -m bench --from build/bench.json      the table and the charts of a run, again
  python -m bench --from docs/figures.json     the same of the figures that are committed
  python -m bench --quick                      a few minutes, to see that it works; nothing is kept

benches: {", ".join(REDUCE)}

Exit status 0: every limit holds; 1: one is missed or was not measured, or a bench failed;
2: misuse.
"""


def main() -> int:
    """Measure, write, print. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=REDUCE, help="only these benches")
    parser.add_argument("--from", dest="source", type=Path, help="make the table of these figures")
    parser.add_argument("--quick", action="store_true", help="little of all; no limit decides")
    options = parser.parse_args()
    if options.source and (options.only or options.quick):
        parser.error("--from runs nothing: leave out --only and --quick")
    try:
        if options.quick:
            return _try(options.only or list(REDUCE))
        committed = load(DOCS / "figures.json")
        if options.source:
            sections, failed = committed | load(options.source), False
        else:
            measured, failed = _measure(options.only or list(REDUCE))
            sections = committed | measured
    except (OSError, ValueError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print(f"Interrupted. What was done is in {RUNS}.", file=sys.stderr)
        return 130
    sections = {name: sections[name] for name in REDUCE if name in sections}
    write(sections, DOCS)
    print(suite.as_markdown(sections))
    return 0 if suite.all_hold(sections) and not failed else 1


def _try(names: list[str]) -> int:
    """Run a little of each: whether all can be run, limits aside."""
    results = {name: _run(name, quick=True) for name in names}
    for name, result in results.items():
        print(f"bench.{name} ended with {result['status']}")
    return 0 if all(result["report"] for result in results.values()) else 1


def _measure(names: list[str]) -> tuple[dict[str, Section], bool]:
    """Run benches one after another, each kept as it ends; and whether one failed."""
    runs = json.loads(RUNS.read_text(encoding="utf-8")) if RUNS.exists() else {}
    for name in names:
        runs[name] = _run(name)
        RUNS.parent.mkdir(exist_ok=True)
        RUNS.write_text(json.dumps(runs), encoding="utf-8")
    done = [name for name in names if runs[name]["report"]]
    failed = len(done) < len(names) or any(runs[name]["status"] for name in names)
    return {name: suite.reduced(name, runs[name]) for name in done}, failed


def _run(name: str, *, quick: bool = False) -> suite.Json:
    print(f"bench.{name}", file=sys.stderr, flush=True)
    return suite.run(name, quick=quick)


def load(file: Path) -> dict[str, Section]:
    """Sections, of what is committed or of a run. Raises OSError, ValueError."""
    content = json.loads(file.read_text(encoding="utf-8"))
    if unknown := set(content) - set(REDUCE):
        raise ValueError(f"{file} has figures of {', '.join(sorted(unknown))}, which is no bench")
    return {
        name: suite.reduced(name, kept) if "report" in kept else _section(kept)
        for name, kept in content.items()
    }


def _section(kept: suite.Json) -> Section:
    return Section(**kept | {"rows": [Row(**row) for row in kept["rows"]]})


def write(sections: Mapping[str, Section], docs: Path) -> None:
    """Put the figures, the table and the charts where the documentation has them."""
    for name, content in files(sections, (docs / "proof.md").read_text(encoding="utf-8")).items():
        (docs / name).write_text(content, encoding="utf-8")


def files(sections: Mapping[str, Section], proof: str) -> dict[str, str]:
    """Each file that is made of figures, by its name in docs/; `proof` is the page as it is."""
    before, begin, rest = proof.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"docs/proof.md lacks the line {BEGIN.strip()} or {END.strip()}")
    kept = {name: asdict(section) for name, section in sections.items()}
    return {
        "figures.json": json.dumps(kept, indent=1, ensure_ascii=False) + "\n",
        "proof.md": f"{before}{begin}\n{suite.as_markdown(sections)}\n{end}{after}",
        **charts.draw(sections),
    }


if __name__ == "__main__":
    sys.exit(main())
