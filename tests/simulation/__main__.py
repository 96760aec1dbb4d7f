"""`make simulate`: ten thousand seeds, or one again with all that happened in it.

Exit status 0: in every seed everything held. 1: in one it did not, and it is printed, shrunk.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from simulation.bugs import BUGS, planted
from simulation.plan import plan_of
from simulation.simulate import first_failing, first_failure, report, shrunk, simulated
from simulation.world import World

_AT_A_TIME = 50  # seeds


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        prog="make simulate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="make simulate ARGS='--seeds 500 --first 20000'\n"
        "make simulate ARGS='--seed 4711'\nmake simulate ARGS=--bugs",
    )
    parser.add_argument("--seeds", type=int, default=10_000, help="how many (10,000)")
    parser.add_argument("--first", type=int, default=0, help="where to begin (0)")
    parser.add_argument("--seed", type=int, help="this one alone, with its trace")
    parser.add_argument("--bugs", action="store_true", help="plant each bug; who finds it, a table")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    given = parser.parse_args()
    if given.bugs:
        return _find_bugs(range(given.first, given.first + 1_000))
    if given.seed is not None:
        world = simulated(plan_of(given.seed))
        print(*(report(world) if world.violation else world.trace()), sep="\n")
        return _fail(world) if world.violation else 0
    started = time.perf_counter()
    for done, failing in _blocks(given.first, given.seeds, given.jobs):
        print(f"\r{done:,} of {given.seeds:,} seeds", end="", file=sys.stderr, flush=True)
        if failing is not None:
            print(file=sys.stderr)
            return _fail(simulated(plan_of(failing)))
    seconds = time.perf_counter() - started
    print(f"\n{given.seeds:,} seeds, everything held ({seconds:.0f} s)", file=sys.stderr)
    return 0


def _blocks(first: int, seeds: int, jobs: int) -> Iterator[tuple[int, int | None]]:
    """How many seeds are done, and one that failed, if any did."""
    starts = range(first, first + seeds, _AT_A_TIME)
    blocks = [range(start, min(start + _AT_A_TIME, first + seeds)) for start in starts]
    done = 0
    context = get_context("spawn")  # engines have threads, which do not live through a fork
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for block, failing in zip(blocks, pool.map(first_failing, blocks), strict=True):
            done += len(block)
            yield done, failing
            if failing is not None:
                pool.shutdown(cancel_futures=True)
                return


def _fail(world: World) -> int:
    assert world.violation is not None
    print(f"Seed {world.plan.seed}: shrinking …", file=sys.stderr)
    print(*report(simulated(shrunk(world.plan, world.violation))), sep="\n")
    return 1


def _find_bugs(seeds: range) -> int:
    missed = 0
    print("| Bug | First seed | What did not hold |", "| --- | --: | --- |", sep="\n")
    for bug in BUGS:
        with planted(bug):
            world = first_failure(seeds)
        missed += world is None
        violation = world.violation if world else None
        seed = world.plan.seed if world else "none"
        print(f"| {bug.name} | {seed} | {violation.invariant if violation else ''} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
