"""The share of a CPU that a Lambda function gets: 1,769 MB are one vCPU, and less is less.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html

A cgroup's quota is the kernel's own way to hold a process to a share; where none may be set, the
process is stopped (SIGSTOP) for the rest of each period once it has used up what it may.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

FULL = 1769  # MB of memory that come with one vCPU
PERIOD = 0.02  # seconds; that AWS's is 20 ms is not documented, others have measured it
CGROUPS = Path("/sys/fs/cgroup")


def share_of(memory_mb: int) -> float:
    """The share of one CPU that goes with so much memory."""
    return memory_mb / FULL


class Throttle(Protocol):
    """Holds processes to a share of one CPU."""

    name: str  # how, for the report

    def hold(self, pid: int, share: float) -> None:
        """From now on, until it ends, a process gets no more than this share."""

    def release(self) -> None:
        """Forget the process, which has ended."""


class Cgroup:
    """A cgroup with a quota, version 1 or 2."""

    def __init__(self, folder: Path, *, version: int) -> None:
        self.name = f"a cgroup quota (version {version})"
        self._folder = folder
        self._version = version

    def hold(self, pid: int, share: float) -> None:
        """See Throttle.hold."""
        self._set_quota(share)
        (self._folder / "cgroup.procs").write_text(str(pid))

    def release(self) -> None:
        """See Throttle.release: an ended process is in no cgroup."""

    def _set_quota(self, share: float) -> None:
        period = round(PERIOD * 1e6)
        quota = round(period * share)
        if self._version == 2:
            (self._folder / "cpu.max").write_text(f"{quota} {period}")
            (self._folder / "cpu.weight").write_text("10000")  # so that nothing else holds it back
        else:
            (self._folder / "cpu.cfs_period_us").write_text(str(period))
            (self._folder / "cpu.cfs_quota_us").write_text(str(quota))
            (self._folder / "cpu.shares").write_text("262144")


class Signals:
    """SIGSTOP and SIGCONT, by the process's own use of CPU in each period."""

    name = "SIGSTOP and SIGCONT at the same share, not with a cgroup's quota"

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def hold(self, pid: int, share: float) -> None:
        """See Throttle.hold."""
        self._ended.clear()
        self._thread = threading.Thread(target=self._pace, args=[pid, share], daemon=True)
        self._thread.start()

    def release(self) -> None:
        """See Throttle.release."""
        self._ended.set()
        if self._thread:
            self._thread.join()
            self._thread = None

    def _pace(self, pid: int, share: float) -> None:
        clock = (~pid << 3) | 2  # clock_getcpuclockid(3)
        with suppress(OSError):  # it has ended
            while not self._ended.is_set():
                begun, used = time.monotonic(), time.clock_gettime(clock)
                os.kill(pid, signal.SIGCONT)
                while time.clock_gettime(clock) - used < share * PERIOD:
                    if time.monotonic() - begun >= PERIOD or self._ended.is_set():
                        break
                    time.sleep(0.0002)
                else:
                    os.kill(pid, signal.SIGSTOP)
                    time.sleep(max(0.0, begun + PERIOD - time.monotonic()))


@contextmanager
def throttle(*, quota: bool = True, cgroups: Path = CGROUPS) -> Iterator[Throttle]:
    """The best way there is on this machine, tried out; what it made is removed again.

    `quota`: whether a cgroup's quota may be used where one can be set.
    """
    for folder, version in _places(cgroups) if quota else ():
        try:
            folder.mkdir(exist_ok=True)  # one may be left of a run that was killed
            (folder / "cgroup.procs").stat()  # the kernel's: it is no folder of a plain disk
            cgroup = Cgroup(folder, version=version)
            cgroup._set_quota(0.5)
        except OSError:
            with suppress(OSError):
                folder.rmdir()
            continue
        try:
            yield cgroup
        finally:
            with suppress(OSError):
                folder.rmdir()
        return
    yield Signals()


def _places(cgroups: Path) -> Iterator[tuple[Path, int]]:
    """Where a cgroup of ours could be, with its version."""
    name = f"hookshelf-bench-{os.getpid()}"
    with suppress(OSError), (cgroups / "cgroup.subtree_control").open("r+") as controllers:
        controllers.write("+cpu")  # as systemd does; version 1 has no such file
    yield cgroups / name, 2
    for controller in ("cpu", "cpu,cpuacct"):
        yield cgroups / controller / name, 1
