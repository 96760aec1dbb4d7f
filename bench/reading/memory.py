"""How much memory a command takes at most, with all the processes it starts."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_EVERY = 0.02  # seconds


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended well."""

    output: str  # standard output
    seconds: float
    peak_mb: float  # of 1,000,000 bytes, at one moment, all its processes together


def run(command: Sequence[str], environ: dict[str, str]) -> Finished:
    """Run a command to its end. Raises CalledProcessError where its exit status is not 0.

    What processes share (DuckDB's code, say) counts once: proportional set size, on Linux only.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    peak = 0.0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, sum(_proportional_set_size(pid) for pid in _family(process.pid)))
            time.sleep(_EVERY)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - started
    watcher.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Finished(output, seconds, peak / 1_000_000)


def _family(pid: int) -> list[int]:
    """A process and all that it started, however indirectly."""
    if sys.platform != "linux":
        return []
    family = [pid]
    for parent in family:
        for children in _PROC.glob(f"{parent}/task/*/children"):
            family += map(int, _text(children).split())
    return family


def _proportional_set_size(pid: int) -> int:
    for line in _text(_PROC / str(pid) / "smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""
