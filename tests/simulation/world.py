"""Runs a plan: the product's own code, in a world where time, store and threads are simulated."""

import json
import logging
import random
import tempfile
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chalicelib import guards, ingest, receive
from chalicelib.sources import sendgrid
from chalicelib.store import _retry
from chalicelib.store import boto3 as receiving_boto3
from hookshelf import Archive
from hookshelf.reading import archive as archive_module
from hookshelf.reading import bucket as bucket_module
from hookshelf.reading import checking, compact, erasing
from simulation import duckdb_once, lines
from simulation.model import Model, moment
from simulation.plan import DAY, PEOPLE, Action, Compact, Erase, Expire, Plan, Readmit
from simulation.processes import Endless, Killed, Pool, Process, Scheduler, SimulatedThread, Task
from simulation.s3 import CALM, MOST_LATE, Bucket, Requests, SimulatedStore, Weather

WRITERS = (Compact, Readmit, Erase)
TOKEN = "a-token-that-nobody-may-ever-see-again"


@dataclass(frozen=True)
class Violation:
    """Something that must hold, and does not."""

    invariant: str
    text: str
    process: str


class Broken(BaseException):
    """Something did not hold: nothing goes on. No `except Exception` keeps it."""


class World:
    """One simulation."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.scheduler = Scheduler()
        self.violation: Violation | None = None
        self._trace: list[tuple[float, str, str]] = []
        self.model = Model(self.scheduler.clock, self.fail)
        self.bucket = self.model.bucket = Bucket(
            plan.page, self.model.watch, versioned=plan.versioned
        )
        self.requests = Requests(self.scheduler, self.say)
        self.store = SimulatedStore(self.scheduler, self.requests, self.bucket)
        self._readers: dict[int, Archive] = {}
        self._writers: list[Task] = []  # of files and of the log, whether they have ended or not
        self._to_end: set[str] = set()  # whom an erasure was begun of that did not end
        self._to_check: list[tuple[str, set[str]]] = []  # who was erased while others were at work

    def run(self) -> None:
        """All actions; then, in peace, what they must have led to."""
        with _installed(self):
            try:
                for action in self.plan.actions:
                    self.start(_name(action), lambda action=action: action.run(self), action=action)
                self.scheduler.run()
                self.start("the end", self._end)
                self.scheduler.run()
            except Broken:
                pass
            except Endless as endless:
                self.violation = Violation("everything ends", str(endless), "")
            finally:
                self.scheduler.close()

    def start(
        self,
        name: str,
        do: Callable[[], Any],
        *,
        action: Action | None = None,
        skew: float = 0.0,
        weather: Weather = CALM,
    ) -> Task:
        """Begin a process; what it raises and nobody expects is a violation."""
        at = 0.0
        if action:
            at, skew, weather = action.at, action.skew, action.weather
        process = Process(name, f"{self.plan.seed}/{name}", skew)
        self.requests.weather[process] = weather

        def guarded() -> Any:
            try:
                return do()
            except (Killed, Broken):
                raise
            except BaseException as error:
                self.say("".join(traceback.format_exception(error)[-4:]))
                self.fail("nothing fails that need not", f"{type(error).__name__}: {error}")

        task = self.scheduler.start(process, guarded, after=at)
        if isinstance(action, WRITERS):
            self._writers.append(task)
        return task

    def say(self, text: str) -> None:
        """Write a line of the trace."""
        self._trace.append((self.scheduler.seconds, self.scheduler.name, text))

    def fail(self, invariant: str, text: str) -> None:
        """Something does not hold: end here."""
        if self.violation is None:
            self.violation = Violation(invariant, text, self.scheduler.name)
        self.scheduler.stop(Broken())
        raise Broken

    def trace(self) -> Iterator[str]:
        """What happened, a line each."""
        for seconds, process, text in self._trace:
            at = moment(seconds).isoformat(timespec="milliseconds")
            yield f"{at[:-6]}  {process:<20} {text}"

    # --- what actions use

    def post(self, body: bytes, signed_by: str) -> int:
        """Receive one post in the container whose turn it is; the status of the response."""
        now = self.scheduler.now()
        headers = {"Content-Type": "application/json", **_signature(body, signed_by, now)}
        event = {
            "requestContext": {"httpMethod": "POST"},
            "headers": headers,
            "multiValueQueryStringParameters": {"token": [TOKEN], "app": ["sendgrid"]},
            "stageVariables": {"validToken": TOKEN},
            "body": body,
        }
        response = receive.respond(
            event, None, environ=self.environ(), arrived=now, guard=guards.by_token
        )
        self.say(f"responds {response.status} {response.reason}")
        key = response.body.get("key") or response.body.get("kept")
        if response.status < 500:
            self.model.acknowledged(key, body)
        return response.status

    def environ(self) -> dict[str, str]:
        """The settings, as they are now."""
        plan, now = self.plan, self.scheduler.seconds
        keys = ("known", "new") if now >= plan.new_key_at else ("known",)
        named = now >= plan.source_at
        return {
            "ARCHIVE_BUCKETS": "events",
            "APPS_FILE": str(_apps_file(plan.signature, keys, named)),
        }

    def archive(self) -> Archive:
        """The archive, opened by the process whose turn it is."""
        return Archive(
            environ=self.environ(),
            open_store=lambda settings, bucket: self.store,
            now=self.scheduler.now,
        )

    def erase(self, subject: str) -> None:
        """Erase somebody, as the command does."""
        person, this = subject.lower(), self.scheduler.process
        there = self.model.erasing(person, self.scheduler.now())
        self._to_end.add(person)
        erasure = self.archive().erasure(subject)
        compact = erasure.compact
        compacted = 0.0

        def compacting(*given: Any) -> bool:
            nonlocal compacted
            compacted = self.scheduler.seconds
            return compact(*given)

        erasure.compact = compacting
        hits = erasure.look()
        self.say(f"finds {person} in {len(hits)} objects")
        erasure.apply("asked to")
        self.say(f"has erased {person}")
        self._to_end.discard(person)
        others = [task for task in self._writers if task.process is not this]
        if any(task.is_at_work(compacted - MOST_LATE) for task in others):
            self._to_check.append((person, there))
        else:
            self.model.erased(person, there, self._texts_in)

    def reader(self, number: int) -> Archive:
        """An archive that stays open; for 0 a new one."""
        if number and number in self._readers:
            return self._readers[number]
        archive = self._readers[number] = self.archive()
        return archive

    # --- the end

    def _end(self) -> None:
        """Compacted twice, in peace: all is found, the second time nothing is to be done."""
        self.scheduler.sleep(2 * DAY)
        self._finish(set(map(type, self.plan.actions)))
        if not self.model.landed:
            return
        compactor = self.start("last compactor", self._compact)
        while not compactor.is_done:
            self._is_found(self.scheduler.process.random.choice(PEOPLE))
        self.bucket.forget("layer=events/")
        for person, there in self._to_check:
            self.model.erased(person, there, self._texts_in)
        if changed := [change for change in self._compact() if change.state != "unchanged"]:
            self.fail("compacting ends", f"{changed} when nothing was new")
        self._is_whole()
        self._is_logged()
        for key in self.model.landed:
            self.bucket.expire(key)
            self.bucket.expire(f"_redacted/{key}")
        self._is_whole()

    def _compact(self) -> list[Any]:
        started, there = self.scheduler.seconds, set(self.model.landed)
        changes = list(self.archive().compact())
        self.model.absorb(there, started)
        return changes

    def _finish(self, kinds: set[type[Action]]) -> None:
        """End what was killed, and leave to the last compactor files without raw objects."""
        if Readmit in kinds:
            list(self.archive().readmit(as_is="the end"))
        if Expire in kinds:
            self.model.expire(0)
        for person in sorted(self._to_end | self.model.again()):
            self.erase(person)

    def _is_logged(self) -> None:
        wrong = {"altered", "missing", "added"}
        verified = self.archive().verify(processes=1)
        if lines := [line for line in verified if line.state in wrong]:
            self.fail("what is there is what the log says", f"{lines}")
        if verified.unfinished:
            self.fail("what was interrupted is finished", f"{verified.unfinished}")

    @property
    def _texts_in(self) -> Callable[[bytes], Iterable[tuple[str, str]]]:
        return (duckdb_once if self.plan.engine == "duckdb" else lines).texts_in

    def _is_whole(self) -> None:
        for subject in PEOPLE:
            self._is_found(subject)
        self.model.whole(self.archive().deliveries(whole=True))

    def _is_found(self, subject: str) -> None:
        sure = self.model.sure()
        events = list(self.archive().find(subject))
        self.model.found(subject.lower(), events, sure, all=False)


def _name(action: Action) -> str:
    return f"{type(action).__name__.lower()} {action.number}"


@contextmanager
def _installed(world: World) -> Iterator[None]:
    """The product's clocks, threads and stores are those of a world."""
    scheduler = world.scheduler

    def put_with_retries(attempt: Any, obj: Any, *, seconds: float) -> int:
        return _retry.put_with_retries(
            attempt, obj, seconds=seconds, clock=scheduler.clock, sleep=scheduler.sleep
        )

    def pool(*_: Any, **__: Any) -> Pool:
        return Pool(scheduler)

    def thread(*, target: Callable[[], Any], daemon: bool) -> SimulatedThread:
        return SimulatedThread(scheduler, target)

    state = random.getstate()
    random.seed(world.plan.seed)
    try:
        with pytest.MonkeyPatch.context() as patch, _listening(world):
            patch.setattr(ingest, "open_store", lambda settings, bucket: world.store)
            patch.setattr(archive_module, "open_store", lambda settings, bucket: world.store)
            patch.setattr(receiving_boto3, "put_with_retries", put_with_retries)
            patch.setattr(receiving_boto3, "Thread", thread)
            patch.setattr(bucket_module, "ThreadPoolExecutor", pool)
            patch.setattr(archive_module, "ThreadPoolExecutor", pool)
            patch.setattr(checking, "ThreadPoolExecutor", pool)
            patch.setattr(compact, "time", SimpleNamespace(sleep=scheduler.sleep))
            patch.setattr(
                erasing, "clear_left_over", lambda: 0
            )  # of this machine's other processes
            (duckdb_once if world.plan.engine == "duckdb" else lines).install(patch)
            yield
    finally:
        random.setstate(state)


@contextmanager
def _listening(world: World) -> Iterator[None]:
    """Nothing that is logged holds the token."""
    logger = logging.getLogger("hookshelf")

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if TOKEN in str(vars(record)):
                world.fail("no token is logged", record.getMessage())

    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [Listener()], False
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before[:2]
        logger.setLevel(before[2])


# --- keys of senders, and what is configured of them


@cache
def _key(name: str) -> EllipticCurvePrivateKey:
    return derive_private_key(1 + sum(name.encode()), SECP256R1())


@cache
def _signed(message: bytes, name: str) -> str:
    algorithm = ECDSA(SHA256(), deterministic_signing=True)
    return b64encode(_key(name).sign(message, algorithm)).decode()


def _signature(body: bytes, signed_by: str, now: datetime) -> dict[str, str]:
    if not signed_by:
        return {}
    headers = {sendgrid.TIMESTAMP: str(int(now.timestamp()))}
    message = sendgrid.message(headers, body)
    return headers | {sendgrid.SIGNATURE: _signed(message, signed_by)}


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="hookshelf-")


@cache
def _apps_file(signature: str, keys: tuple[str, ...], is_named: bool) -> Path:
    entry: dict[str, Any] = {
        "signature": signature,
        "public_keys": [
            b64encode(
                _key(name)
                .public_key()
                .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            ).decode()
            for name in keys
        ],
    }
    if is_named:
        entry["source"] = "sendgrid"
    path = Path(_folder().name, f"{signature}-{len(keys)}-{is_named}.json")
    path.write_text(json.dumps({"sendgrid": entry}))
    return path
