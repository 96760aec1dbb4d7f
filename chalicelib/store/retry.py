"""One retry policy for putting once: ours.

Clients' own retries are switched off. They do not agree on what a conflict means, and a loop
around a loop multiplies the time a sender waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import uniform
from typing import NamedTuple

from chalicelib.delivery import ArchiveObject
from chalicelib.store import NotStored

CONNECT_TIMEOUT = 1.0  # seconds for a connection
ATTEMPT_TIMEOUT = 2.0  # seconds for one attempt
RETRY_DELAY = (0.05, 0.4)  # seconds between two attempts, drawn at random


class Attempt(NamedTuple):
    """How one attempt ended: stored, worth another, or (neither) permanent."""

    stored: bool
    again: bool
    why: str


STORED = Attempt(stored=True, again=False, why="stored")


def retryable(why: str) -> Attempt:
    """Nothing landed, or nobody knows: another attempt can only help."""
    return Attempt(stored=False, again=True, why=why)


def permanent(why: str) -> Attempt:
    """The server understood and refused; it would do so again."""
    return Attempt(stored=False, again=False, why=why)


def from_status(status: int, code: str = "") -> Attempt:
    """What an HTTP status (and S3's error code) of a put with `If-None-Match: *` means.

    412: the key is taken, and a key names its bytes. 409 ConditionalRequestConflict: nothing
    landed, S3 asks for another attempt. 400 RequestTimeout: the body came too slowly.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
    """
    if status == 412:
        return STORED
    why = f"{status} {code}".strip()
    if status >= 500 or status in (409, 429) or (status == 400 and code == "RequestTimeout"):
        return retryable(why)
    return permanent(why)


def put_with_retries(
    attempt: Callable[[ArchiveObject], Attempt],
    obj: ArchiveObject,
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Attempt the same put until it is stored; say in how many attempts.

    Another attempt is made only while a whole one still fits into `seconds`; there is always a
    first. Raises NotStored.
    """
    end = clock() + seconds
    attempts = 0
    while True:
        attempts += 1
        result = attempt(obj)
        if result.stored:
            return attempts
        pause = uniform(*RETRY_DELAY)
        if not result.again or clock() + pause + ATTEMPT_TIMEOUT > end:
            raise NotStored(result.why, attempts)
        sleep(pause)
