"""Processes that take turns in a time of their own. Nothing else decides who is next.

A task runs until it waits: for a moment, or for another task. Whoever's moment comes first goes on,
so the same waits give the same order, whatever the machine does. A process that is killed never
goes on: no `finally` runs, as with SIGKILL. Only when all is over are its tasks unwound, so that
they leave no file behind, and then none of them reaches the store.
"""

import heapq
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

from greenlet import getcurrent, greenlet

START = datetime(2026, 10, 30, 21, tzinfo=UTC)
_MOST_TURNS = 300_000  # of one seed: more means that something goes round in circles


class Killed(BaseException):
    """The process is gone."""


class Endless(AssertionError):
    """It goes on and on."""


class Process:
    """What can be killed: an invocation of a container, a compactor, a reader."""

    def __init__(self, name: str, seed: str, skew: float = 0.0) -> None:
        self.name = name
        self.random = Random(seed)  # a stream of its own: others that are left out change nothing
        self.skew = skew  # seconds that its clock goes ahead
        self.is_dead = False
        self.died_at = 0.0


class Task:
    """A line of execution in a process."""

    def __init__(self, scheduler: "Scheduler", process: Process, do: Callable[[], Any]) -> None:
        self.process = process
        self.is_done = False
        self.is_begun = False
        self.ended_at = 0.0
        self.value: Any = None
        self.error: BaseException | None = None
        self.ticket = 0  # of the last wait: earlier ones wake nobody
        self.waiting: list[Callable[[], None]] = []
        self._scheduler = scheduler
        self._do = do
        self.greenlet = greenlet(self._run, scheduler.hub)

    def is_at_work(self, since: float) -> bool:
        """Whether it is, or was at a moment or later."""
        ended = self.ended_at if self.is_done else self.process.died_at
        is_over = self.is_done or self.process.is_dead
        return self.is_begun and not (is_over and ended < since)

    def _run(self) -> None:
        self.is_begun = True
        try:
            self.value = self._do()
        except Killed as killed:
            self.error = killed
        except BaseException as error:
            self.error = error
        self.is_done, self.ended_at = True, self._scheduler.seconds
        for wake in self.waiting:
            wake()

    def result(self) -> Any:
        """What it gives, once it has ended: as a Future's."""
        self._scheduler.join(self)
        if self.error:
            raise self.error
        return self.value


class Scheduler:
    """Time, and whose turn it is."""

    def __init__(self) -> None:
        self.hub = getcurrent()
        self.seconds = 0.0  # since START
        self._turns: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._tasks: list[Task] = []
        self._current: Task | None = None
        self._is_over = False
        self._stop: BaseException | None = None

    @property
    def name(self) -> str:
        """Of the process whose turn it is; empty where nobody's is."""
        return self._current.process.name if self._current else ""

    @property
    def process(self) -> Process:
        """Whose turn it is."""
        assert self._current is not None, "nothing runs but in a task"
        return self._current.process

    def now(self) -> datetime:
        """What the clock of the process shows."""
        return START + timedelta(microseconds=round((self.seconds + self.process.skew) * 1e6))

    def clock(self) -> float:
        """Like time.monotonic."""
        return self.seconds

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something later, whoever is dead by then."""
        heapq.heappush(self._turns, (self.seconds + seconds, next(self._numbers), do))

    def start(self, process: Process, do: Callable[[], Any], after: float = 0.0) -> Task:
        """Begin something, as soon as it has its turn."""
        task = Task(self, process, do)
        self._tasks.append(task)
        self.after(after, lambda: self._resume(task, 0))
        return task

    def sleep(self, seconds: float) -> None:
        """Let others go on for a while. Like time.sleep."""
        task = self._waiting()
        ticket = task.ticket
        self.after(seconds, lambda: self._resume(task, ticket))
        self._switch()

    def join(self, other: Task, timeout: float | None = None) -> None:
        """Wait until another task has ended, or until `timeout` seconds are over."""
        if other.is_done:
            return
        task = self._waiting()
        ticket = task.ticket
        other.waiting.append(lambda: self.after(0, lambda: self._resume(task, ticket)))
        if timeout is not None:
            self.after(timeout, lambda: self._resume(task, ticket))
        self._switch()

    def kill(self) -> None:
        """End the process whose turn it is, here and now."""
        self.process.is_dead, self.process.died_at = True, self.seconds
        self._switch()

    def run(self) -> None:
        """Go on until nobody waits for anything. Raises Endless."""
        for _ in range(_MOST_TURNS):
            if self._stop:
                raise self._stop
            if not self._turns:
                return
            moment, _, do = heapq.heappop(self._turns)
            self.seconds = max(self.seconds, moment)
            do()
        raise Endless(f"{_MOST_TURNS} turns and no end")

    def stop(self, error: BaseException) -> None:
        """Let `run` raise an error, before anybody else's turn."""
        self._stop = error

    def close(self) -> None:
        """Unwind whatever did not end."""
        self._is_over = True
        for task in self._tasks:
            if not task.is_done and task.greenlet:
                self._current = task
                task.greenlet.throw(Killed)
        self._current = None

    def _waiting(self) -> Task:
        if self._is_over:
            raise Killed
        assert self._current is not None
        self._current.ticket += 1
        return self._current

    def _switch(self) -> None:
        self.hub.switch()
        if self._is_over:
            raise Killed

    def _resume(self, task: Task, ticket: int) -> None:
        if task.is_done or task.ticket != ticket or task.process.is_dead:
            return
        self._current = task
        task.greenlet.switch()
        self._current = None


class Pool:
    """As a ThreadPoolExecutor, of tasks in the process that makes it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def submit(self, do: Callable[..., Any], *args: Any) -> Task:
        return self._scheduler.start(self._scheduler.process, lambda: do(*args))

    def map(self, do: Callable[[Any], Any], over: Iterable[Any]) -> Iterable[Any]:
        return [task.result() for task in [self.submit(do, each) for each in over]]

    def shutdown(self, **_: object) -> None:
        pass

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class SimulatedThread:
    """As a Thread."""

    def __init__(self, scheduler: Scheduler, target: Callable[[], Any]) -> None:
        self._scheduler, self._target = scheduler, target

    def start(self) -> None:
        self._task = self._scheduler.start(self._scheduler.process, self._target)

    def join(self, timeout: float | None = None) -> None:
        self._scheduler.join(self._task, timeout)
