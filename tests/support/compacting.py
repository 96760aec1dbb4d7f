"""Compacts in a process of its own, and signals itself in the midst of it.

python -m support.compacting '{"environ": {…}, "now": "2026-12-02", "signal": 9, "at": 1234}'

`at` counts calls of functions, Python's and C's, in every thread: the same number is the same place
of the work, whatever the machine does. Without a signal the number of all calls is printed.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).parents[1]


def start(environ: dict[str, str], now: str, *, kind: int = 0, at: int = 0) -> Any:
    """Begin to compact; the process, whose output is the number of calls."""
    task = json.dumps({"environ": environ, "now": now, "signal": kind, "at": at})
    path = os.pathsep.join([str(_TESTS.parent), str(_TESTS)])
    return subprocess.Popen(
        [sys.executable, "-m", "support.compacting", task],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}, text=True,
    )  # fmt: skip


def calls_of_a_run(environ: dict[str, str], now: str) -> int:
    """How many calls compacting takes, which is done."""
    with start(environ, now) as process:
        return int(process.communicate()[0])


def _compact(task: dict[str, Any]) -> None:
    from support.archives import archive_of, moment

    archive = archive_of(task["environ"], moment(task["now"]))
    number = count(1)

    def profile(frame: Any, event: str, arg: Any) -> None:
        if event in ("call", "c_call") and next(number) == task["at"]:
            os.kill(os.getpid(), task["signal"])

    threading.setprofile(profile)
    sys.setprofile(profile)
    for _ in archive.compact():
        pass
    sys.setprofile(None)
    print(next(number))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _compact(json.loads(sys.argv[1]))
