"""The scheduled compactor: the handler of a stage's Lambda function that has a zip of its own.

Hourly it compacts the apps that somebody has named, nightly all there are: whoever holds a token
can make names up, and each would cost requests every hour. A run ends before Lambda's deadline.
Wherever it stops, the next one goes on: see compact.py.
"""

from __future__ import annotations

import logging
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from types import FrameType, TracebackType
from typing import Any, Protocol

from chalicelib import log
from chalicelib.errors import HookshelfError
from chalicelib.metrics import is_known, metric
from chalicelib.settings import KEEP_DAYS
from hookshelf.reading.archive import Archive
from hookshelf.reading.errors import ReadingError
from hookshelf.reading.values import Read, Stream

HOURLY, NIGHTLY = "hourly", "nightly"
# How far back to look for keys that were put late: a put takes seconds, so what comes later came
# from somebody's hands. Each day costs a LIST per 1,000 deliveries; `hookshelf compact` looks
# everywhere.
LOOK_BACK = {HOURLY: timedelta(hours=2), NIGHTLY: timedelta(days=7)}
RESERVE = 30.0  # seconds before the deadline from which on no file is begun
MARGIN = 10.0  # seconds before the deadline at which what is under way is given up
MB_PER_CPU = 1_769  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html


class CompactionFailed(ReadingError):
    """Some apps could not be compacted; the log has a line for each. The others were."""


class Context(Protocol):
    """What is used of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int:
        """Until Lambda ends the function."""


def handler(event: Mapping[str, Any], context: Context) -> dict[str, int | bool]:
    """Compact until all is done, or time is up.

    `event` is `{"schedule": "hourly"}` or `{"schedule": "nightly"}`. Gives back how many files were
    `written`, `deleted` and `unchanged`, and whether it `finished` all that there was to do.
    Raises CompactionFailed, and what the settings and listing the archive raise.
    """
    log.configure(os.environ)
    limit = TimeLimit(lambda: context.get_remaining_time_in_millis() / 1000)
    archive = Archive(environ=os.environ)
    return Run(archive, event.get("schedule", NIGHTLY), limit, os.environ).run()


class TimeIsUp(BaseException):
    """The deadline has come; raised in the main thread, wherever it is."""


class TimeLimit:
    """Lambda's, less the time to end in. Within it what is still under way at the end is given up.

    Lambda would do the same, but count it as an error, and say nothing of what was done.
    """

    def __init__(self, remaining: Callable[[], float]) -> None:
        self._remaining = remaining
        self.is_up = False

    def __enter__(self) -> None:
        self._handler_before = signal.signal(signal.SIGALRM, self._stop)
        signal.setitimer(signal.ITIMER_REAL, max(self._remaining() - MARGIN, 0.001))

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler_before)

    def remaining(self) -> float:
        """Seconds in which a file may be begun; 0 where there are too few."""
        seconds = self._remaining()
        self.is_up = self.is_up or seconds < RESERVE
        return 0.0 if self.is_up else seconds

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.is_up = True
        raise TimeIsUp


class Run:
    """One run over an archive."""

    def __init__(
        self, archive: Archive, schedule: str, limit: TimeLimit, environ: Mapping[str, str]
    ) -> None:
        self._archive, self._schedule, self._limit = archive, schedule, limit
        self._environ = environ
        self._memory_mb = int(environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024"))
        days = int(environ.get(KEEP_DAYS) or 0)
        self._keep = timedelta(days=days) if days else None
        self._states: Counter[str] = Counter()
        self._failed: list[Stream] = []

    def run(self) -> dict[str, int | bool]:
        """All there is to do, first for the apps that somebody has named. See `handler`."""
        with suppress(TimeIsUp), self._limit:
            known, others = self._listed()
            self._compact("known", known)
            if self._schedule != HOURLY:
                self._compact("others", others)
        if self._failed:
            names = ", ".join(map(str, self._failed))
            raise CompactionFailed(f"{len(self._failed)} apps could not be compacted: {names}")
        states = {state: self._states[state] for state in ("written", "deleted", "unchanged")}
        return {**states, "finished": not self._limit.is_up}

    def _listed(self) -> tuple[list[Stream], list[Stream]]:
        streams = self._archive.apps()
        known = [stream for stream in streams if is_known(stream.app, self._environ)]
        others = [stream for stream in streams if stream not in known]
        # What time did not suffice for last night is not the last one tonight, too.
        random.shuffle(others)
        return known, others

    def _compact(self, apps: str, streams: Sequence[Stream]) -> None:
        """Compact some, and say in one line of the log what came of it."""
        read, failed_before, states_before = Read(), len(self._failed), self._states.copy()
        for stream in streams:
            if not self._limit.is_up:
                self._compact_stream(stream, read)
        is_done = not self._limit.is_up and len(self._failed) == failed_before
        now = self._archive.now()
        log.line(
            logging.INFO,
            f"compacted {apps} apps" + ("" if is_done else ", not all"),
            event="compacted",
            schedule=self._schedule,
            streams=len(streams),
            finished=is_done,
            requests=read.requests,
            raw_objects=read.raw_objects,
            **(self._states - states_before),
            **(metric(self._environ, now, "Compacted", Apps=apps) if is_done else {}),
        )

    def _compact_stream(self, stream: Stream, read: Read) -> None:
        changes = self._archive.compact(
            streams=[stream],
            keep=self._keep,
            look_back=LOOK_BACK.get(self._schedule),
            remaining=self._limit.remaining,
            processes=max(1, self._memory_mb // MB_PER_CPU),
            memory_mb=self._memory_mb // 3,
            read=read,
        )
        try:
            self._states.update(change.state for change in changes)
        except TimeIsUp:
            return
        except Exception as error:  # one app's fault is not the others'
            if self._limit.is_up:  # what was under way has its own name for it
                return
            self._failed.append(stream)
            why = type(error).__name__ + (f": {error}" if isinstance(error, HookshelfError) else "")
            log.line(logging.ERROR, f"{stream} could not be compacted", event="compacted", why=why)
