"""Sending deliveries to a target: in order, several at once, each until it is acknowledged."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from random import uniform
from threading import Event, Lock, local
from typing import NamedTuple

from hookshelf.replay.target import Connection, Destination, NoResponse, RefusedTarget

REPLAY_HEADER = "x-hookshelf-replay"  # its value is the key of the delivery
_LONGEST_WAIT = 30.0  # seconds before a delivery is sent again
_IN_A_ROW = 5  # deliveries nobody takes, one after the other: the receiver is not there


class Parcel(NamedTuple):
    """One delivery as it is sent."""

    bucket: str
    key: str
    headers: Mapping[str, str]
    body: bytes


class Forwarded(NamedTuple):
    """What became of one delivery."""

    parcel: Parcel
    status: int | None  # of the last response; None: there was none
    why: str  # the kind of error, where there was no response
    attempts: int

    @property
    def is_acknowledged(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Pace:
    """How quickly, and how often."""

    rate: float | None = None  # requests per second; None: as quickly as it goes
    concurrency: int = 1
    attempts: int = 8
    timeout: float = 10.0  # seconds for a response
    wait: float = 0.2  # seconds before the second attempt; doubled each time


class Forwarder:
    """Sends to one target. A context manager, whose end waits for what is under way."""

    def __init__(
        self,
        target: Destination,
        pace: Pace,
        acknowledged: Callable[[Parcel, int], None] = lambda parcel, status: None,
    ) -> None:
        self._target, self._pace = target, pace
        self._acknowledged = acknowledged  # called in the thread that sent it, at once
        self._connections = local()  # one for each thread
        self._opened: list[Connection] = []
        self._pool = ThreadPoolExecutor(pace.concurrency)
        self._stop = Event()
        self._next = 0.0  # when the next request may be sent
        self._lock = Lock()

    def __enter__(self) -> Forwarder:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)
        for connection in self._opened:
            connection.close()

    def send_all(self, parcels: Iterable[Parcel]) -> Iterator[Forwarded]:
        """Send them in their order; what became of each, in that order too.

        Ends early where several in a row find nobody to take them. Raises RefusedTarget.
        """
        waiting: deque[Future[Forwarded]] = deque()
        refused = 0
        for parcel in parcels:
            waiting.append(self._pool.submit(self.send, parcel))
            if len(waiting) > self._pace.concurrency:
                forwarded = waiting.popleft().result()
                yield forwarded
                refused = 0 if forwarded.is_acknowledged else refused + 1
                if refused >= _IN_A_ROW:
                    break
        for future in waiting:
            yield future.result()

    def send(self, parcel: Parcel) -> Forwarded:
        """Send one, again and again where nobody says 2xx. Raises RefusedTarget."""
        connection = self._connection()
        wait = self._pace.wait
        for attempt in range(1, self._pace.attempts + 1):
            self._take_turn()
            asked = 0.0  # how long the receiver wants to be left alone
            try:
                status, asked, body = connection.post(parcel.headers, parcel.body)
                forwarded = Forwarded(parcel, status, "", attempt)
                if forwarded.is_acknowledged:
                    self._check_not_ours(parcel, body)
            except NoResponse as error:
                forwarded = Forwarded(parcel, None, str(error), attempt)
            if forwarded.is_acknowledged:
                self._acknowledged(parcel, forwarded.status or 0)
                return forwarded
            last = attempt == self._pace.attempts
            if last or self._stop.wait(max(min(asked, _LONGEST_WAIT), wait * uniform(0.5, 1))):
                return forwarded
            wait = min(2 * wait, _LONGEST_WAIT)
        raise AssertionError("at least one attempt")

    def _check_not_ours(self, parcel: Parcel, body: bytes) -> None:
        """Raise RefusedTarget where the receiver is what archived the delivery, by any name."""
        with suppress(ValueError, KeyError, TypeError):
            response = json.loads(body)
            if response["result"] == "success" and response.get("bucket") == parcel.bucket:
                raise RefusedTarget(
                    f"{self._target} is the archive's own endpoint: it put {parcel.key} into the "
                    f"bucket {parcel.bucket} again, as {response.get('key')}"
                )

    def _connection(self) -> Connection:
        if not hasattr(self._connections, "own"):
            self._connections.own = Connection(self._target, self._pace.timeout)
            self._opened.append(self._connections.own)
        connection: Connection = self._connections.own
        return connection

    def _take_turn(self) -> None:
        """Wait until the next request may be sent."""
        if self._pace.rate is None:
            return
        with self._lock:
            now = time.monotonic()
            turn = self._next = max(self._next, now)
            self._next += 1 / self._pace.rate
        self._stop.wait(turn - now)
