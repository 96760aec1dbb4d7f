"""One retry policy for putting once: ours.

Clients' own retries are switched off. They do not agree on what a conflict means, and a loop
around a loop multiplies the time a sender waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from chalicelib.delivery import ArchiveObject
from chalicelib.store import NotStored

CONNECT_TIMEOUT = 1.0  # seconds for a connection
ATTEMPT_TIMEOUT = 2.0  # seconds for one attempt, its connection included
RETRY_DELAY = (0.05, 0.4)  # seconds between two attempts, drawn at random


class Attempt(NamedTuple):
    """How one attempt ended."""

    outcome: Literal["stored", "retryable", "permanent"]
    why: str


STORED = Attempt("stored", "stored")


def retryable(why: str) -> Attempt:
    """Nothing landed, or nobody knows: another attempt can only help."""
    return Attempt("retryable", why)


def permanent(why: str) -> Attempt:
    """The server understood and refused; it would do so again."""
    return Attempt("permanent", why)


def from_s3_status(status: int, code: str = "") -> Attempt:
    """What an HTTP status (and S3's error code) of a put with `If-None-Match: *` mean.

    A store that speaks anything else says itself which of its errors are retryable.

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
        if result.outcome == "stored":
            return attempts
        from random import uniform  # 1.5 ms that only those pay who have to wait

        delay = uniform(*RETRY_DELAY)
        if result.outcome == "permanent" or clock() + delay + ATTEMPT_TIMEOUT > end:
            raise NotStored(result.why, attempts)
        sleep(delay)
