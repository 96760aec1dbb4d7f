"""Does something with an archive in a process of its own, and kills it at its n-th request.

python -m support.killing '{"environ": {…}, "now": "2026-12-02", "do": "erase", "at": 12, …}'

The same number is the same place of the work, whatever the machine does. Of `pull`, which writes
into the folder PULL_TO, it is the n-th time that a file is about to get its name.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).parents[1]
SUBJECT, REASON = "jane@example.com", "request of 2026-11-19"

WRITERS = {
    "compact": lambda archive: list(archive.compact()),
    "readmit": lambda archive: list(archive.readmit()),
    "erase": lambda archive: erase(archive),
}


DO = WRITERS | {
    "pull": lambda archive: list(
        archive.pull(Path(archive.environ["PULL_TO"]), compacted=bool(archive.environ["COMPACTED"]))
    )
}


def erase(archive: Any, subject: str = SUBJECT) -> Any:
    """What the command does, without asking."""
    erasure = archive.erasure(subject)
    erasure.look()
    return erasure.apply(REASON)


def start(environ: dict[str, str], now: str, do: str, *, at: int, after: bool) -> Any:
    """Begin, in another process."""
    task = {"environ": environ, "now": now, "do": do, "at": at, "after": after}
    path = os.pathsep.join([str(_TESTS.parent), str(_TESTS)])
    return subprocess.Popen(
        [sys.executable, "-m", "support.killing", json.dumps(task)],
        env={**os.environ, "PYTHONPATH": path},
    )


def is_killed(environ: dict[str, str], now: str, do: str, *, at: int, after: bool) -> bool:
    """Do it until that request; whether that came before the end."""
    with start(environ, now, do, at=at, after=after) as process:
        process.wait()
    assert process.returncode in (0, -signal.SIGKILL)
    return bool(process.returncode)


def _run(task: dict[str, Any]) -> None:
    from support.archives import archive_of, hooked, moment

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    kill = hooked(die, task["at"] if task["do"] in WRITERS else 0, after=task["after"])
    if task["do"] not in WRITERS:
        _before_naming(task["at"], die)
    DO[task["do"]](archive_of(task["environ"], moment(task["now"]), open_store=kill))


def _before_naming(at: int, do: Callable[[], None]) -> None:
    replace, numbers = Path.replace, count(1)

    def replacing(path: Path, target: Any) -> Path:
        if next(numbers) == at:
            do()
        return replace(path, target)

    Path.replace = replacing  # type: ignore[method-assign]


if __name__ == "__main__":
    _run(json.loads(sys.argv[1]))
