"""Checking archived deliveries again: their bytes, and the signatures of their senders.

Where there are many, on several cores: other cores work in processes of their own
(`python -m hookshelf.reading.checking`), as `cryptography` keeps a whole process busy.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, time
from functools import cache, partial
from hashlib import md5, sha256
from itertools import islice
from queue import SimpleQueue
from typing import Any, NamedTuple, get_args

from chalicelib.apps import App, app_named
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.keys import DeliveryKey, RejectedKey, parse_key
from chalicelib.signatures import verdict
from chalicelib.sources import source_named, source_names
from chalicelib.types import Verdict
from hookshelf.reading.errors import ReadingError
from hookshelf.reading.rows import kept_headers
from hookshelf.reading.values import ArchivedDelivery, Checked

AT_A_TIME = 256  # deliveries that are handed to a process together
PAYS = 8 * AT_A_TIME  # deliveries for which other processes are worth their start


class Kept(NamedTuple):
    """One delivery as it is kept, to be checked."""

    key: str
    body: bytes
    metadata: Mapping[str, str]
    # Size and ETag of its raw object, where this is the copy in a compacted file.
    raw: tuple[int, str] | None = None


class Verification(NamedTuple):
    """What checking a delivery gave."""

    verdict: str
    state: str  # `altered`, `recorded`, `redacted`, or empty: proved just now
    in_order: bool
    raw_may_differ: bool = False  # its raw object's size or ETag is not that of these bytes


def checked(kept: Kept, app: App) -> Verification:
    """What checking a delivery again gives, with the settings of its app."""
    key, body, metadata, raw = kept
    parsed = parse_key(key)
    may_differ = raw is not None and raw != (len(body), f'"{md5(body).hexdigest()}"')
    if is_altered(kept):
        return Verification("bad", "altered", False, may_differ)
    if "redacted" in metadata:
        given = _recorded(metadata) or "unchecked"
        return Verification(given, "redacted", True, may_differ)
    # A URL is never kept: it holds a token.
    cannot_be_proved = lacks_signature(metadata, app) or app.source.signs_url
    recorded = _recorded(metadata) if cannot_be_proved else None
    given = recorded or verdict(delivery_of(kept, parsed), app)
    fails = given in ("bad", "stale") or (given == "unsigned" and app.signature == "require")
    return Verification(given, "recorded" if recorded else "", not fails, may_differ)


def is_altered(kept: Kept) -> bool:
    """Whether the bytes are not those that the key was made from, or what an erasure left."""
    expected = kept.metadata.get("redacted") or parse_key(kept.key).sha256
    return sha256(kept.body).hexdigest() != expected


def delivery_of(kept: Kept, key: DeliveryKey | RejectedKey) -> Delivery:
    """The delivery as it arrived. Without metadata it has no headers."""
    obj = ArchiveObject(kept.key, kept.body, "", kept.metadata)
    return Delivery(key.app, kept_headers(obj), kept.body, arrival_of(key, kept.metadata))


def arrival_of(key: DeliveryKey | RejectedKey, metadata: Mapping[str, str]) -> datetime:
    """When it arrived; the key of a refused one says only the day, its metadata says more."""
    if isinstance(key, DeliveryKey):
        return key.arrived
    try:
        return datetime.fromisoformat(metadata["arrived"]).astimezone(UTC)
    except (KeyError, ValueError):
        return datetime.combine(key.day, time(), UTC)


def app_to_check(name: str, metadata: Mapping[str, str], environ: Mapping[str, str]) -> App:
    """The settings to check a delivery with: today's, else the source its metadata names."""
    app = app_named(name, environ)
    source = metadata.get("source", "")
    if app.source.name == "generic" and source in source_names():
        return App(source=source_named(source))
    return app


def lacks_signature(metadata: Mapping[str, str], app: App) -> bool:
    """Whether a signature header came, and was too long to be kept with the object."""
    omitted = metadata.get("omitted", "").split(",")
    return any(header in omitted for header in app.source.signature_headers)


def _recorded(metadata: Mapping[str, str]) -> Verdict | None:
    """The verdict of the arrival; None where nothing we wrote says so."""
    recorded = metadata.get("verdict")
    return next((known for known in get_args(Verdict) if known == recorded), None)


class Checkers:
    """Checks batches of deliveries, in this process or in several others, in order."""

    def __init__(self, environ: Mapping[str, str], processes: int | None = None) -> None:
        self._environ = dict(environ)
        self._most = os.cpu_count() or 1 if processes is None else processes
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._workers: list[subprocess.Popen[bytes]] = []
        self._pool = ThreadPoolExecutor(max(self._most, 1))

    def __enter__(self) -> Checkers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.kill()
            worker.communicate()
        self._pool.shutdown(cancel_futures=True)

    def expect(self, deliveries: int) -> None:
        """Start other processes where so many deliveries are worth it."""
        if self._workers or self._most < 2 or deliveries < PAYS:
            return
        for _ in range(self._most):
            worker = subprocess.Popen(
                [sys.executable, "-m", "hookshelf.reading.checking"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            self._workers.append(worker)
            self._idle.put(worker)

    def check(self, deliveries: Iterable[Kept]) -> Iterator[tuple[Kept, Verification]]:
        """Each delivery with what checking it gave, in order. Raises SettingError for its app."""
        check = self._elsewhere if self._workers else partial(check_each, environ=self._environ)
        batches = iter(deliveries)
        waiting: deque[tuple[list[Kept], Future[list[Verification]]]] = deque()
        while batch := list(islice(batches, AT_A_TIME)):
            if not self._workers:
                yield from zip(batch, check(batch), strict=True)
                continue
            waiting.append((batch, self._pool.submit(check, batch)))
            if len(waiting) > 2 * self._most:
                done, verifications = waiting.popleft()
                yield from zip(done, verifications.result(), strict=True)
        for done, verifications in waiting:
            yield from zip(done, verifications.result(), strict=True)

    def _elsewhere(self, batch: Sequence[Kept]) -> list[Verification]:
        worker = self._idle.get()
        assert worker.stdin is not None and worker.stdout is not None
        answer: Any = None
        with suppress(OSError, EOFError):
            pickle.dump((self._environ, list(batch)), worker.stdin)
            worker.stdin.flush()
            answer = pickle.load(worker.stdout)
        self._idle.put(worker)
        if answer is None:
            raise ReadingError("A process that checks signatures ended early")
        if isinstance(answer, Exception):
            raise answer
        verifications: list[Verification] = answer
        return verifications


def checked_refused(refused: Iterable[ArchivedDelivery], checkers: Checkers) -> Iterator[Checked]:
    """Refused deliveries, checked again as if they came now."""
    buckets: deque[str] = deque()

    def kept() -> Iterator[Kept]:
        for delivery in refused:
            buckets.append(delivery.bucket)
            yield Kept(delivery.key, delivery.body or b"", delivery.metadata or {})

    with checkers:
        for delivery, (given, state, in_order, _) in checkers.check(kept()):
            yield Checked(buckets.popleft(), delivery.key, given, state, in_order)


def check_each(batch: Iterable[Kept], *, environ: Mapping[str, str]) -> list[Verification]:
    """What checking some deliveries gives. Raises SettingError."""

    @cache
    def app_named_with(name: str, source: str) -> App:
        return app_to_check(name, {"source": source}, environ)

    return [
        checked(kept, app_named_with(parse_key(kept.key).app, kept.metadata.get("source", "")))
        for kept in batch
    ]


def _serve() -> None:
    """Answer batches until nobody asks any more."""
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            environ, batch = pickle.load(sys.stdin.buffer)
            try:
                answer: object = check_each(batch, environ=environ)
            except Exception as error:
                answer = ReadingError(str(error))
            pickle.dump(answer, sys.stdout.buffer)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    from hookshelf.reading.checking import _serve as serve  # as the parent's pickles name it

    serve()
