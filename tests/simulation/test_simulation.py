"""One seed decides time, faults, kills and who is next; whatever it decides, the promises hold."""

import os
import re
import subprocess
import sys

import pytest
from support.project import PROJECT

from simulation.bugs import BUGS, Bug, planted
from simulation.plan import Send, plan_of
from simulation.simulate import first_failure, report, shrunk, simulated

ENOUGH = 1_000  # seeds within which each planted bug is found
PAGE = (PROJECT / "docs" / "simulation.md").read_text(encoding="utf-8")
LISTED = {
    name: int(seed) for name, seed in re.findall(r"^\| (.+?) \| (\d+) \|", PAGE, re.MULTILINE)
}


def assert_all_holds(seeds: range) -> None:
    world = first_failure(seeds)
    if world and world.violation:
        smallest = simulated(shrunk(world.plan, world.violation))
        pytest.fail("\n".join(report(smallest)), pytrace=False)


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_whatever_a_seed_decides_all_promises_hold(first: int) -> None:
    assert_all_holds(range(first, first + 25))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 1_000, 100))
def test_whatever_one_of_a_thousand_seeds_decides_all_promises_hold(first: int) -> None:
    assert_all_holds(range(first, first + 100))


@pytest.mark.parametrize("seed", [1, 2, 25])
def test_a_seed_is_the_same_each_time(seed: int) -> None:
    trace = list(simulated(plan_of(seed)).trace())

    assert trace == list(simulated(plan_of(seed)).trace())
    assert len(trace) > 30


@pytest.mark.slow
def test_a_seed_is_the_same_in_another_process_whatever_order_its_sets_have() -> None:
    traces = []
    for hash_seed in ("1", "2"):
        path = os.pathsep.join([str(PROJECT), str(PROJECT / "tests")])
        traces += [
            subprocess.run(
                [sys.executable, "-m", "simulation", "--seed", str(seed)],
                env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hash_seed},
                check=True, capture_output=True, text=True,
            ).stdout
            for seed in (7, 50)
        ]  # fmt: skip

    assert traces[:2] == traces[2:]


def test_seeds_differ_in_what_is_done_and_in_what_goes_wrong() -> None:
    plans = [plan_of(seed) for seed in range(200)]
    actions = [action for plan in plans for action in plan.actions]

    assert {type(action).__name__ for action in actions} == {
        "Send", "Compact", "Find", "Readmit", "Expire", "Erase", "Verify",
    }  # fmt: skip
    assert {plan.signature for plan in plans} == {"record", "require"}
    assert {plan.engine for plan in plans} == {"duckdb", "lines"}
    assert {plan.versioned for plan in plans} == {True, False}
    weathers = [a.weather for a in actions]
    weathers += [weather for a in actions if isinstance(a, Send) for weather in a.weathers]
    assert {weather.fate for weather in weathers if weather.dies_at} == {"done", "late", "lost"}
    assert any(weather.stalls_at for weather in weathers)


def test_a_failing_seed_is_shrunk_and_says_how_to_run_it_again() -> None:
    bug = next(bug for bug in BUGS if bug.name == "a put overwrites what is there")
    with planted(bug):
        world = first_failure(range(ENOUGH))
        assert world
        assert world.violation
        smallest = simulated(shrunk(world.plan, world.violation))

    assert smallest.violation
    assert smallest.violation.invariant == "nothing is overwritten"
    assert len(smallest.plan.actions) == 1 < len(world.plan.actions)
    lines = list(report(smallest))
    assert any("PutObject" in line for line in lines)
    assert lines[-1] == f"Again: make simulate ARGS='--seed {world.plan.seed}'"


def test_every_planted_bug_is_listed() -> None:
    assert list(LISTED) == [bug.name for bug in BUGS]
    assert len(BUGS) >= 10
    assert all(seed < ENOUGH for seed in LISTED.values())


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    """By the seed that is listed, or, where the code has changed since, by another."""
    with planted(bug):
        assert first_failure([LISTED[bug.name], *range(ENOUGH)])
