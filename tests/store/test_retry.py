"""The one retry policy, on a clock of ours: what an answer of S3 means, and how long to go on."""

import pytest
from support.loops import for_each

from chalicelib.delivery import ArchiveObject
from chalicelib.store import PUT_TIMEOUT, NotStored
from chalicelib.store._retry import (
    ATTEMPT_TIMEOUT,
    RETRY_DELAY,
    STORED,
    Attempt,
    from_s3_status,
    permanent,
    put_with_retries,
    retryable,
)

OBJ = ArchiveObject("shop/x.json", b"{}", "application/json", {"layout": "1"})


@pytest.mark.parametrize(
    ("status", "code", "meaning"),
    [
        (412, "PreconditionFailed", STORED),  # the key is taken, and a key names its bytes
        (409, "ConditionalRequestConflict", retryable("409 ConditionalRequestConflict")),
        (400, "RequestTimeout", retryable("400 RequestTimeout")),  # the body came too slowly
        (429, "", retryable("429")),
        (500, "InternalError", retryable("500 InternalError")),
        (503, "SlowDown", retryable("503 SlowDown")),
        (400, "", permanent("400")),
        (400, "InvalidRequest", permanent("400 InvalidRequest")),
        (403, "RequestTimeout", permanent("403 RequestTimeout")),
        (404, "NoSuchBucket", permanent("404 NoSuchBucket")),
        (411, "", permanent("411")),
        (413, "EntityTooLarge", permanent("413 EntityTooLarge")),
        (499, "", permanent("499")),
    ],
)
def test_a_status_says_whether_another_attempt_can_help(
    status: int, code: str, meaning: Attempt
) -> None:
    assert from_s3_status(status, code) == meaning


def test_an_error_code_may_be_missing() -> None:
    assert from_s3_status(503) == Attempt("retryable", "503")


class Clock:
    """Time passes only when an attempt or a pause takes it."""

    def __init__(self, result: Attempt, takes: float) -> None:
        self.now = 1_000.0
        self.result = result
        self.takes = takes
        self.starts: list[float] = []
        self.pauses: list[float] = []

    def put(self, seconds: float) -> int:
        begin = self.now

        def attempt(obj: ArchiveObject) -> Attempt:
            assert obj is OBJ
            self.starts.append(self.now - begin)
            self.now += self.takes
            return self.result

        return put_with_retries(
            attempt, OBJ, seconds=seconds, clock=lambda: self.now, sleep=self.sleep
        )

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def test_the_first_success_ends_it():
    clock = Clock(STORED, takes=0.1)

    assert clock.put(seconds=8) == 1
    assert clock.pauses == []


@pytest.mark.parametrize("seconds", [8, 2, 0, -3])
def test_there_is_always_a_first_attempt(seconds):
    assert Clock(STORED, takes=0.1).put(seconds) == 1


def test_what_is_hopeless_is_attempted_once():
    clock = Clock(permanent("403 AccessDenied"), takes=0.1)

    with pytest.raises(NotStored) as raised:
        clock.put(seconds=8)

    assert (raised.value.why, raised.value.attempts) == ("403 AccessDenied", 1)
    assert clock.pauses == []


@for_each("takes", [0, 0.01, 0.5, ATTEMPT_TIMEOUT])
@for_each("seconds", [8, 5, 2.5, 2, 1, 0, -3])
def test_another_attempt_is_made_only_while_a_whole_one_fits(seconds, takes):
    clock = Clock(retryable("503 SlowDown"), takes)

    with pytest.raises(NotStored) as raised:
        clock.put(seconds)

    shortest, longest = RETRY_DELAY
    assert raised.value.why == "503 SlowDown"
    assert raised.value.attempts == len(clock.starts)
    assert all(start + ATTEMPT_TIMEOUT <= seconds for start in clock.starts[1:])
    assert (
        clock.starts[-1] + takes + longest + ATTEMPT_TIMEOUT > seconds
    )  # it did not give up early
    assert all(shortest <= pause <= longest for pause in clock.pauses)


def test_the_last_attempt_may_end_with_the_very_last_moment(monkeypatch):
    """On a clock that is exact: attempts of 0.75 s, pauses of 0.25 s, so one a second."""
    monkeypatch.setattr("chalicelib.store._retry.RETRY_DELAY", (0.25, 0.25))
    clock = Clock(retryable("503 SlowDown"), takes=0.75)

    with pytest.raises(NotStored):
        clock.put(seconds=3 + ATTEMPT_TIMEOUT)

    assert clock.starts == [0, 1, 2, 3]
    assert clock.pauses == [0.25] * 3


def test_a_hang_gets_three_attempts_of_the_whole_budget():
    clock = Clock(retryable("timeout"), takes=ATTEMPT_TIMEOUT)

    with pytest.raises(NotStored) as raised:
        clock.put(seconds=PUT_TIMEOUT)

    assert raised.value.attempts == 3


def test_pauses_differ_so_that_deliveries_do_not_come_back_all_at_once():
    clock = Clock(retryable("503 SlowDown"), takes=0)

    with pytest.raises(NotStored):
        clock.put(seconds=PUT_TIMEOUT)

    assert len(set(clock.pauses)) == len(clock.pauses) > 10
