"""By when a response has to be on its way, carried through all that may be slow."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import Any

TO_RESPOND = 1.0  # seconds kept for the way back
TO_PUT = 3.0  # seconds that whatever comes before the put leaves to it: one attempt, and its client


class Deadline:
    """What is left of a request's time, asked for where it is spent.

    `context` is Lambda's, or None where nothing ends a request.
    """

    def __init__(self, context: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = inf
        if context is not None:
            self._end = clock() + context.get_remaining_time_in_millis() / 1000 - TO_RESPOND

    def left(self) -> float:
        """Seconds until the response has to be on its way; below zero once it is late."""
        return self._end - self._clock()

    def left_before_put(self) -> float:
        """Seconds that may be spent before the body is put."""
        return self.left() - TO_PUT
