"""Measure what reading costs at 0.2, 2 and 20 million events, beside its peers.

Everything runs on this machine; nothing is sent anywhere else. Tables go to standard output,
progress to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial

from bench.reading import report
from bench.reading.data import ROOT, Archives, Say
from bench.reading.figures import FIGURES, Figures
from bench.reading.limits import Outcome

EXAMPLES = f"""
figures: {", ".join(FIGURES)}

examples:
  python -m bench.reading                                   everything, in up to 20 minutes
  python -m bench.reading --only find_on_disk --only verify  some of it
  python -m bench.reading --scale 0.01                      quick, to see that it works
  python -m bench.reading --json > reading.json             one JSON object, no tables

The first run makes the archives that are read, some 4 GB in {ROOT}; later ones use
them again, until the code that makes them changes.

Exit status 0: every limit holds; 1: one is missed, or was to be measured and could not be;
2: misuse.
"""


def main() -> int:
    """Measure and print. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.reading",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=FIGURES, help="only these figures")
    parser.add_argument("--json", action="store_true", help="print one JSON object, no tables")
    parser.add_argument(
        "--scale",
        type=float,
        default=1,
        help="0.01: a hundredth of all, to try the bench; no limit decides then",
    )
    options = parser.parse_args()
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {text}", file=sys.stderr, flush=True)

    figures = Figures(Archives(options.scale, say))
    measures = {name: partial(FIGURES[name], figures) for name in options.only or FIGURES}
    if not options.only:
        measures = {"make_all": figures.archives.make_all} | measures
    try:
        failed = [name for name in measures if not _is_done(name, measures[name], say)]
    except KeyboardInterrupt:
        print("Interrupted. What is whole in build/ is used again.", file=sys.stderr)
        return 130
    if not options.only:
        figures.add("the whole bench", (time.monotonic() - started) / 60)
    outcomes = report.outcomes(figures.values)
    if options.json:
        about = {"scale": options.scale, "machine": report.machine()}
        print(json.dumps(about | {"figures": figures.values, "limits": outcomes}))
    else:
        print(report.as_text(figures.values, options.scale))
    bad = {Outcome.MISSED} if options.only else {Outcome.MISSED, Outcome.NOT_MEASURED}
    is_judged = options.scale == 1
    return 1 if failed or (is_judged and bad & set(outcomes.values())) else 0


def _is_done(name: str, measure: Callable[[], None], say: Say) -> bool:
    """Measure; what cannot be measured is said, and the others still are."""
    try:
        measure()
    except Exception as error:
        say(f"{name} could not be done: {type(error).__name__}: {error}")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
