"""Counts that take longer than a page may: made in the background, the newest ones shown."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any

BUDGET = 0.05  # seconds that a page waits for figures
_OLD = 600.0  # seconds after which they are counted again, though nothing says that they changed
_KEPT = 32  # questions whose figures are remembered
_RECENT = 3  # timelines through which somebody may be scrolling


@dataclass(frozen=True, slots=True)
class Figure:
    """What was counted, and when; `is_newest` is false while it is being counted anew."""

    value: Any
    at: datetime
    is_newest: bool


@dataclass(slots=True)
class _Counted:
    """What is known of one question."""

    value: Any = None
    at: datetime | None = None
    state: Hashable = None
    started: float = 0.0
    under_way: Future[None] | None = None


class Figures:
    """Remembers the figures of some questions; one is counted at a time."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hookshelf-figures")
        self._questions: OrderedDict[Hashable, _Counted] = OrderedDict()
        self._recent: OrderedDict[tuple[Hashable, Hashable], Any] = OrderedDict()
        self._lock = Lock()

    def get(
        self,
        question: Hashable,
        state: Hashable,
        count: Callable[[], Any],
        *,
        wait_for: float | None = BUDGET,
    ) -> Figure | None:
        """The figures of a question, counted again where the archive's `state` is another.

        After `wait_for` seconds (None: however long it takes) they are what was counted before, or
        None. Raises what counting raised.
        """
        with self._lock:
            counted = self._questions.setdefault(question, _Counted())
            self._questions.move_to_end(question)
            if len(self._questions) > _KEPT:
                self._questions.popitem(last=False)
            is_old = counted.state != state or time.monotonic() - counted.started > _OLD
            if counted.under_way is None and (counted.at is None or is_old):
                counted.under_way = self._pool.submit(self._count, counted, state, count)
            under_way = counted.under_way
        is_newest = under_way is None or under_way in wait([under_way], wait_for).done
        if under_way and is_newest:
            under_way.result()
        with self._lock:
            return Figure(counted.value, counted.at, is_newest) if counted.at else None

    def remembered(self, question: Hashable, state: Hashable, make: Callable[[], Any]) -> Any:
        """What was made for a question in the same state of the archive, or is made now."""
        with self._lock:
            if (question, state) in self._recent:
                self._recent.move_to_end((question, state))
                return self._recent[question, state]
        value = make()
        with self._lock:
            self._recent[question, state] = value
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        return value

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _count(self, counted: _Counted, state: Hashable, count: Callable[[], Any]) -> None:
        started = time.monotonic()
        try:
            value = count()
        except BaseException:
            with self._lock:
                counted.under_way = None
            raise
        with self._lock:
            counted.value, counted.at = value, datetime.now(UTC)
            counted.state, counted.started, counted.under_way = state, started, None
