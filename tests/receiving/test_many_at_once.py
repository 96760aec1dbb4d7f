"""A burst of deliveries: all are told the truth, and all are there."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.project import post

from chalicelib import keys
from chalicelib.settings import from_environment
from chalicelib.store import open_store

THREADS = 32


@pytest.mark.parametrize(
    ("count", "place"),
    [
        (200, "folder_environ"),
        (50, "s3_environ"),
        pytest.param(2_000, "folder_environ", marks=pytest.mark.slow),
        pytest.param(2_000, "s3_environ", marks=pytest.mark.slow),
    ],
)
def test_thousands_of_posts_at_once_are_all_kept_unaltered(count, place, request, monkeypatch):
    # Every tenth is identical to others of its kind.
    bodies_sent = [b'{"n": %d}' % (n if n % 10 else 0) for n in range(count)]
    environ = request.getfixturevalue(place)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    with ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(post, bodies_sent))
        told = {said["key"]: body for (_, _, said), body in zip(answers, bodies_sent, strict=True)}
        store = open_store(from_environment(environ), environ["ARCHIVE_BUCKETS"])
        kept = {entry.key: entry.size for entry in store.list()}
        bodies = dict(zip(kept, threads.map(lambda key: store.get(key).body, kept), strict=True))

    assert [status for status, _, _ in answers] == [200] * count
    assert bodies == told  # nothing is missing, altered, or there besides
    assert {key: len(body) for key, body in bodies.items()} == kept
    # Two identical bodies in one microsecond are one object, and both senders were told its key.
    assert len(set(bodies_sent)) <= len(kept) <= count


@pytest.fixture
def restless():
    """Let threads take turns so often that whatever they share is mixed up."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_each_of_many_senders_is_told_the_key_of_its_own_body(
    folder_environ, monkeypatch, restless
):
    for name, value in folder_environ.items():
        monkeypatch.setenv(name, value)
    apps = [f"app-{n % 7}" for n in range(200)]

    with ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(lambda app: post(b'"%s"' % app.encode(), app=app), apps))

    assert [keys.parse_key(said["key"]).app for _, _, said in answers] == apps
