"""Measure what receiving costs: the built zip under Lambda's runtime client, beside its peers.

Everything runs on this machine; nothing is sent anywhere else. Tables go to standard output,
progress to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

from bench.receive import deliveries, measure
from bench.receive.bucket import Bucket
from bench.receive.install import InstallError, install
from bench.receive.measure import Samples, interleaved
from bench.receive.ratios import Judged, Limit, Rounds, judge
from bench.receive.report import BUNDLED, CONVENTIONAL, FLOOR, LARGEST, NODE, Report
from bench.receive.runtime import Function, FunctionFailed
from bench.receive.throttle import throttle

OURS, SIGNED, PUT = "hookshelf", "hookshelf, signed", "bare obstore put"
FULL = 0  # stands for a whole CPU where a memory size stands for its share
MEMORIES = (128, 256, 512, 1024)  # MB
MINUTES = 36  # no round begins later
BODY_ROUNDS = 5  # of the large bodies, at most: they differ by more than noise
SHARED = (OURS, SIGNED, NODE, BUNDLED, CONVENTIONAL, "boto3 alone")  # under a share of a CPU
LARGEST_ZIP = 15.0  # MB of 1,000,000 bytes
LARGEST_PEAK = 200.0  # MB, while the largest body is received

LIMITS = (
    Limit("1", "first delivery against bundled Node", "first", OURS, 0.62, BUNDLED, aim=0.47),
    Limit("1", "… with its signature checked", "first", SIGNED, 0.72, BUNDLED, aim=0.55),
    Limit("1", "… against the conventional design", "first", OURS, 0.18, CONVENTIONAL),
    Limit("1", "… against an empty function", "first", OURS, 1.8, FLOOR),
    Limit(
        "2", "first invoke against bundled Node", "first_invoke", OURS, 0.32, BUNDLED, memory=256
    ),
    Limit("2", "… with its signature checked", "first_invoke", SIGNED, 0.38, BUNDLED, memory=256),
    Limit("3", "warm CPU against Node", "warm_cpu", OURS, 0.33, NODE, aim=0.22),
    Limit("3", "… with its signature checked", "warm_cpu", SIGNED, 0.38, NODE, aim=0.27),
    Limit("3", "… against an empty function with a bare put", "warm_cpu", OURS, 2.0, PUT),
)

EXAMPLES = """
examples:
  python -m bench.receive                 everything, 25 rounds, at most 40 minutes
  python -m bench.receive --rounds 3      a first look
  python -m bench.receive --json > r.json every figure of every round

The first run installs the peers into build/bench/ and needs a network; later ones do not.
Exit status 0: every limit holds; 1: one is missed or could not be measured; 2: misuse, or something
could not be installed or run.
"""


def main() -> int:
    """Install, measure, print. Returns the exit status."""
    arguments = _arguments()
    try:
        report = _measured(arguments.rounds, _progress, quota=not arguments.signals)
    except (InstallError, FunctionFailed) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; nothing was left running.", file=sys.stderr)
        return 130
    print(json.dumps(report.as_json(), indent=1) if arguments.json else report.as_text())
    return 0 if report.is_good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.receive",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=_at_least_one, default=25, help="of each measurement (25)")
    parser.add_argument(
        "--signals", action="store_true", help="share a CPU out by SIGSTOP, not by a cgroup's quota"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, no tables")
    return parser.parse_args()


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("use 1 or more")
    return number


def _measured(rounds: int, say: Callable[[str], None], *, quota: bool) -> Report:
    body = deliveries.batch()
    event = deliveries.event(body)
    until = time.monotonic() + MINUTES * 60
    with Bucket() as bucket, throttle(quota=quota) as shares:
        installed = install(bucket.url, say)
        functions = installed.functions
        say("looking whether each stores what it is sent")
        storing = [function for name, function in functions.items() if name != FLOOR]
        measure.check_stores(storing, body, event, bucket)
        bodies = _bodies(functions, min(rounds, BODY_ROUNDS), event, say)
        measures = {
            (FULL, name): partial(measure.full_speed, function, event)
            for name, function in functions.items()
        } | {
            (memory, name): partial(measure.throttled, functions[name], event, shares, memory)
            for memory in MEMORIES
            for name in SHARED
            if name in functions
        }
        samples = interleaved(rounds, measures, say, until=until)
    tables: dict[int, Samples] = {}
    for (memory, name), by_measure in samples.items():
        tables.setdefault(memory, {})[name] = by_measure
    done = len(tables[FULL][OURS]["first"])
    notes = [
        f"CPU shares are held with {shares.name}.",
        "Bytecode: ours as packaged; the runtime client, boto3 and Python's own library with it; "
        "what a Chalice zip of the conventional design ships, without.",
        *installed.notes,
    ]
    if done < rounds:
        notes.append(f"{done} rounds of {rounds}, as {MINUTES} minutes were over.")
    return Report(
        rounds=done,
        zip_bytes=installed.zip.stat().st_size,
        versions=installed.versions,
        notes=notes,
        full_speed=tables[FULL],
        shares={memory: tables[memory] for memory in MEMORIES},
        memory_mb=installed.memory_mb,
        bodies=bodies,
        judged=judged(tables, bodies, installed.zip.stat().st_size),
    )


def _bodies(
    functions: Mapping[str, Function], rounds: int, usual: bytes, say: Callable[[str], None]
) -> dict[str, Samples]:
    """Every hostile shape through ours and the bundled Node original."""
    bodies: dict[str, Samples] = {}
    for shape, body in deliveries.HOSTILE.items():
        large = deliveries.event(body())
        measures = {
            name: partial(measure.large_body, functions[name], usual, large)
            for name in (OURS, BUNDLED)
            if name in functions
        }
        say(f"{LARGEST} of {shape}")
        bodies[shape] = interleaved(rounds, measures, lambda text: None)
    return bodies


def judged(
    tables: Mapping[int, Samples], bodies: Mapping[str, Samples], zip_bytes: int
) -> list[Judged]:
    """The verdicts on all limits."""
    verdicts = [judge(limit, _by_name(tables[limit.memory], limit.measure)) for limit in LIMITS]
    for shape, samples in bodies.items():
        peak = Limit("4", f"memory for {shape}", "peak", OURS, LARGEST_PEAK, unit=" MB")
        slower = Limit("4", "… time against bundled Node", "invoke", OURS, 1.0, BUNDLED)
        verdicts += [judge(limit, _by_name(samples, limit.measure)) for limit in (peak, slower)]
    size = Limit("5", "zip", "", OURS, LARGEST_ZIP, unit=" MB")
    return [*verdicts, judge(size, {OURS: [zip_bytes / 1e6]})]


def _by_name(samples: Samples, measure: str) -> Rounds:
    return {name: by_measure[measure] for name, by_measure in samples.items()}


_STARTED = time.monotonic()


def _progress(text: str) -> None:
    """One line of progress."""
    minutes, seconds = divmod(round(time.monotonic() - _STARTED), 60)
    print(f"{minutes:2}:{seconds:02} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
