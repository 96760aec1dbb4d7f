"""The n-th request to S3 fails, for every n: nothing is lost, and running it again finishes it.

Work is a row of WORK; a command that writes, once it is there, is one more.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import pytest
from support.archives import archive_of, delivered, found, moment, scanned, traffic
from support.faulty_s3 import Fault, FaultyS3, Stored, lost_answer, status
from support.project import CREDENTIALS, post

from chalicelib.archive import to_rejected
from chalicelib.delivery import Delivery
from chalicelib.errors import HookshelfError
from chalicelib.settings import from_environment
from chalicelib.sources import source_named
from chalicelib.store import open_store

NOON = moment("2026-11-18T12:00")
NOW = moment("2026-11-20T12:00")
PEOPLE = [f"person{n}@example.com" for n in range(1, 4)]
SECRET = "the new secret"
Environ = dict[str, str]


class Work(NamedTuple):
    """Something that writes."""

    prepare: Callable[[Environ], None]  # what is in the bucket before
    run: Callable[[Environ], object]  # raises nothing but HookshelfError
    check: Callable[[Environ, bool], None]  # whether all is well; or as well as before its end
    every: int  # which requests `make test` lets fail: every so many


# --- receiving

BODIES = [b'{"n": 1}', b'{"n": 2}', b'{"n": 2}', b'{"n": 3}']
acknowledged: dict[str, bytes] = {}


def _receive(environ: Environ) -> None:
    """Senders who retry until they hear 200, or have heard 503 three times."""
    acknowledged.clear()
    for body in BODIES:
        for _ in range(3):
            status_, _, said = post(body)
            if status_ == 200:
                acknowledged[said["key"]] = body
                break


def _check_received(environ: Environ, is_done: bool) -> None:
    store = open_store(from_environment(environ), "events")
    bodies = {entry.key: store.get(entry.key).body for entry in store.list()}
    assert acknowledged.items() <= bodies.items()
    assert set(bodies.values()) <= set(BODIES)
    assert not is_done or set(bodies.values()) == set(BODIES)


# --- compacting


def _prepare_traffic(environ: Environ) -> None:
    store = open_store(from_environment(environ), "events")
    for obj in traffic(3, moment("2026-10-31T22:00"), 0.1, 4, people=3):
        store.put(obj)
    list(archive_of(environ, moment("2026-10-31T23:30")).compact())


def _compact(environ: Environ) -> None:
    list(archive_of(environ, NOW).compact())


def _check_compacted(environ: Environ, is_done: bool) -> None:
    archive, expected = archive_of(environ, NOW), scanned(environ)
    assert expected
    for person in PEOPLE:
        assert found(archive, person) == expected.get(person, []), person
    if is_done:
        assert {change.state for change in archive.compact()} == {"unchanged"}
        assert all(line.in_order for line in archive.verify())


# --- readmitting


def _prepare_refused(environ: Environ) -> None:
    apps = {"shop": {"source": "github", "signature": "require", "secrets": [SECRET]}}
    Path(environ["APPS_FILE"]).write_text(json.dumps(apps))
    github = source_named("github")
    assert github.example and github.sign
    store = open_store(from_environment(environ), "events")
    store.put(delivered([{"email": "a@b.example", "event": "open"}], NOON))
    list(archive_of(environ, NOW).compact())
    for n in range(2):
        body = github.example(n, 0)
        headers = github.sign(body, SECRET, 0) | {"content-type": "application/json"}
        sent = Delivery("shop", headers, body, NOON + timedelta(hours=n))
        store.put(to_rejected(sent, github, reason="Invalid signature", verdict="bad"))


def _readmit(environ: Environ) -> None:
    list(archive_of(environ, NOW).readmit())


def _check_readmitted(environ: Environ, is_done: bool) -> None:
    lines = list(archive_of(environ, NOW).verify())
    if not is_done:  # what the log names already, and is not there yet, is said
        assert {line.state for line in lines if not line.in_order} <= {"missing"}
        return
    assert all(line.in_order for line in lines)
    assert sum(line.verdict == "verified" for line in lines) == 2


WORK = {
    "receiving": Work(lambda environ: None, _receive, _check_received, 1),
    "compacting": Work(_prepare_traffic, _compact, _check_compacted, 30),
    "readmitting": Work(_prepare_refused, _readmit, _check_readmitted, 20),
}
# What fails at the n-th request, and from then on.
FAULTS: dict[str, Callable[[int], Iterator[Fault | None]]] = {
    "500": lambda n: chain(repeat(None, n - 1), [status(500, "InternalError")]),
    "answer lost": lambda n: chain(repeat(None, n - 1), [lost_answer]),
    "403 from then on": lambda n: chain(repeat(None, n - 1), repeat(status(403, "ExpiredToken"))),
}
EVERY = [
    pytest.param(work, fault, None, id=f"{work}-{fault}-every", marks=pytest.mark.slow)
    for work in WORK
    for fault in FAULTS
]
SOME = [
    pytest.param(work, fault, WORK[work].every, id=f"{work}-{fault}-some")
    for work in WORK
    for fault in ("answer lost", "403 from then on")
]


@pytest.mark.spread
@pytest.mark.timeout(1800)  # half a minute alone, and ten where five others work
@pytest.mark.parametrize(("name", "fault", "every"), SOME + EVERY)
def test_whichever_request_fails_nothing_is_lost_and_the_next_run_ends_it(
    name: str, fault: str, every: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = WORK[name]
    with FaultyS3() as s3:
        environ = {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL_S3": s3.endpoint,
            "ARCHIVE_BUCKETS": "events",
            "APPS_FILE": str(tmp_path / "apps.json"),
        }
        (tmp_path / "apps.json").write_text("{}")
        for variable, value in environ.items():
            monkeypatch.setenv(variable, value)
        work.prepare(environ)
        before = dict(s3.objects)
        s3.requests.clear()
        work.run(environ)
        requests = len(s3.requests)

        for n in range(1, requests + 1, every or 1):
            s3.objects, s3.writes = dict(before), []
            s3.follow(FAULTS[fault](n))
            with suppress(HookshelfError):
                work.run(environ)
            s3.follow()
            work.check(environ, False)
            work.run(environ)
            work.check(environ, True)
            assert_nothing_was_overwritten(s3, before)

    assert requests > 3


def assert_nothing_was_overwritten(s3: FaultyS3, before: dict[str, Stored]) -> None:
    """What was received is as it was; compacted files may be replaced."""
    raw = {key: stored for key, stored in before.items() if not key.endswith(".parquet")}
    assert raw.items() <= s3.objects.items()
    once = [key for key in s3.writes if not key.endswith(".parquet")]
    assert sorted(once) == sorted(set(once))
