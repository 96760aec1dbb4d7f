"""Compacts in a process of its own, and signals itself in the midst of it.

python -m support.compacting '{"environ": {…}, "now": "2026-12-02", "signal": 9, "at": 1234}'

`at` counts calls of functions, Python's and C's, in every thread: the same number is the same place
of the work, whatever the machine does. Without a signal the number of all calls is printed.
Whoever is to stand still does so at the next call without the lock of a folder: all would wait.
"""

import fcntl
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
    due = task["at"]  # 0 once it is signalled, and where it is not to be

    def profile(frame: Any, event: str, arg: Any) -> None:
        nonlocal due
        if event not in ("call", "c_call") or next(number) < due or not due:
            return
        if task["signal"] != signal.SIGSTOP or not _is_locked(task["environ"]):
            due = 0
            os.kill(os.getpid(), task["signal"])

    threading.setprofile(profile)
    sys.setprofile(profile)
    for _ in archive.compact():
        pass
    sys.setprofile(None)
    print(next(number))


def _is_locked(environ: dict[str, str]) -> bool:
    """Whether some compactor, this one too, is writing into the folder."""
    bucket = Path(environ.get("ARCHIVE_FOLDER", "/nowhere"), environ["ARCHIVE_BUCKETS"])
    try:
        with (bucket / ".hookshelf-lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _compact(json.loads(sys.argv[1]))
