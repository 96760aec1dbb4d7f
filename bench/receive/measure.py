"""The rounds: every function once in each, forwards and backwards in turn."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from bench.receive.bucket import Bucket
from bench.receive.runtime import Function, FunctionFailed, Running
from bench.receive.throttle import Throttle, share_of

WARM_UP, CALLS = 50, 200  # deliveries to one container, before those that are counted, and those
PAUSED_CALLS = 6  # likewise under a share of a CPU, with a pause before each
PAUSE = 0.03  # seconds: longer than the period that a share is given out in

Sample = dict[str, float]  # what one life of a function gives, by measure
Samples = dict[str, dict[str, list[float]]]  # of each round, by function and measure
Key = TypeVar("Key")


def full_speed(function: Function, event: bytes) -> Sample:
    """From the spawn to a warm function, with all of a CPU.

    Milliseconds; `warm_cpu` is of one delivery, `peak` is in MB.
    """
    with Running(function) as running:
        init = running.start()
        first_invoke = running.deliver(event)
        first = init + first_invoke
        cold_cpu, peak = running.cpu_ms(), running.peak_mb()
        for _ in range(WARM_UP):
            running.deliver(event)
        used = running.cpu_ms()
        warm = [running.deliver(event) for _ in range(CALLS)]
        return {
            "first": first,
            "init": init,
            "first_invoke": first_invoke,
            "cold_cpu": cold_cpu,
            "warm": statistics.median(warm),
            "warm_cpu": (running.cpu_ms() - used) / CALLS,
            "peak": peak,
        }


def throttled(function: Function, event: bytes, throttle: Throttle, memory_mb: int) -> Sample:
    """INIT with all of a CPU, as in Lambda; every delivery with the share of a memory size."""
    with Running(function) as running:
        try:
            init = running.start()
            throttle.hold(running.pid, share_of(memory_mb))
            first_invoke = running.deliver(event)
            warm = []
            for _ in range(PAUSED_CALLS):
                time.sleep(PAUSE)
                warm.append(running.deliver(event))
        finally:
            throttle.release()
    return {"init": init, "first_invoke": first_invoke, "warm": statistics.median(warm)}


def large_body(function: Function, usual: bytes, large: bytes) -> Sample:
    """One large body, after a usual one: the time until the response, and the most memory held."""
    with Running(function) as running:
        running.start()
        running.deliver(usual)
        return {"invoke": running.deliver(large), "peak": running.peak_mb()}


def interleaved(
    rounds: int,
    measures: Mapping[Key, Callable[[], Sample]],
    say: Callable[[str], None],
    *,
    until: float = math.inf,
) -> dict[Key, dict[str, list[float]]]:
    """Run every measure once a round, and at least one round; none begins after `until`.

    `until` is of time.monotonic; `say` is told of each round. Raises FunctionFailed.
    """
    samples: dict[Key, dict[str, list[float]]] = {key: {} for key in measures}
    for number in range(rounds):
        if number and time.monotonic() > until:
            break
        say(f"round {number + 1} of {rounds}")
        for key in list(measures)[:: 1 if number % 2 == 0 else -1]:
            for measure, value in measures[key]().items():
                samples[key].setdefault(measure, []).append(value)
    return samples


def check_stores(functions: Iterable[Function], body: bytes, event: bytes, bucket: Bucket) -> None:
    """Make sure that what is measured does its work: the body is in the bucket, as JSON equal."""
    for function in functions:
        with Running(function) as running:
            running.start()
            running.deliver(event)
        stored = bucket.last_body()
        if not stored or json.loads(stored) != json.loads(body):
            raise FunctionFailed(f"{function.name} responded 200, and stored something else")
