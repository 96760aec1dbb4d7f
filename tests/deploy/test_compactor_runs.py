"""The compactor's zip, unzipped and run as Lambda runs it, with no more rights than its role's.

Nothing is imported from here: the interpreter sees the zip, Lambda's own runtime client, boto3,
which is in Lambda's runtime, and its standard library.
"""

import json
import os
import signal
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from moto.s3.models import s3_backends
from support.guarded_s3 import GuardedS3, guarded_s3
from support.lambda_runtime import Function, needs_linux, needs_x86_64, running, runtime_of
from support.packaging import AARCH64, X86_64, machines
from support.project import CREDENTIALS

from chalicelib.archive import to_object
from chalicelib.keys import events_prefix
from chalicelib.sources import source_named
from hookshelf import Archive
from hookshelf.deploy import compactor, policies
from hookshelf.deploy.package import best_python, zip_compactor
from hookshelf.local.traffic import Traffic

pytestmark = [pytest.mark.slow, needs_linux, pytest.mark.xdist_group("compactor")]

LARGEST_ZIP = 50_000_000  # what Lambda takes
EVENTS = 50_000
PLENTY = 600.0  # seconds, of which a run needs few


@dataclass(frozen=True)
class Built:
    """The zip, and where it lies unzipped."""

    zip: Path
    folder: Path
    python: list[str | Path]
    runtime: Path  # what Lambda's runtime has


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    python = best_python()
    made = zip_compactor(tmp_path_factory.mktemp("zip") / "compactor.zip", "x86_64", python)
    folder = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(made) as archive:
        archive.extractall(folder)
    return Built(made, folder, [python, "-S"], runtime_of(python, "boto3"))


@dataclass
class Day:
    """A bucket with one day of deliveries, ended long ago as its clock has it."""

    environ: dict[str, str]
    bodies: dict[str, bytes]  # by key
    day: datetime

    @property
    def files(self) -> list[str]:
        """The keys of the compacted files that there are."""
        prefix = events_prefix("", "sendgrid")
        return [key for key in objects(self.environ["ARCHIVE_BUCKETS"]) if key.startswith(prefix)]


def objects(bucket: str) -> Any:
    """moto's own, by key: to put thousands over HTTP would take longer than the test."""
    return s3_backends["123456789012"]["aws"].buckets[bucket].keys


@pytest.fixture
def day(moto_endpoint: str) -> Day:
    """The day before yesterday: whenever this runs, it has ended, and its late keys are in."""
    bucket = f"bucket-{uuid.uuid4().hex}"
    backend = s3_backends["123456789012"]["aws"]
    backend.create_bucket(bucket, "us-east-1")
    until = datetime.combine(datetime.now(UTC).date() - timedelta(days=1), time(), UTC)
    bodies = {}
    for delivery in Traffic(events=EVENTS, until=until, days=1, recipients=2_000).deliveries():
        obj = to_object(delivery, source_named("sendgrid"), verdict="verified")
        key = backend.put_object(bucket, obj.key, obj.body)
        key.set_metadata({"Content-Type": obj.content_type}, replace=True)
        key.set_metadata({f"x-amz-meta-{name}": value for name, value in obj.metadata.items()})
        bodies[obj.key] = obj.body
    environ = {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": moto_endpoint, "ARCHIVE_BUCKETS": bucket}
    return Day(environ, bodies, until - timedelta(days=1))


def policy_of(day: Day) -> dict[str, Any]:
    """Of the role in the stack."""
    return policies.compactor_policy(day.environ, "arn:aws:logs:us-east-1:123456789012:log-group:x")


@contextmanager
def run(built: Built, day: Day, s3: GuardedS3, log: Path) -> Iterator[Function]:
    """Run the function as the stack has it."""
    resources = compactor.compactor_resources("dev", day.environ, {}, {})
    properties = resources["Compactor"]["Properties"]
    environ = {
        **properties["Environment"]["Variables"],
        "AWS_ENDPOINT_URL_S3": s3.endpoint,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(properties["MemorySize"]),
        "PYTHONPATH": str(built.runtime),
    }
    with running(built.folder, properties["Handler"], environ, log, built.python) as function:
        yield function


def stop_at(files: int, process: list[int]) -> Callable[[GuardedS3], None]:
    """Do what the timer of a deadline does, as soon as so many files are written."""

    def look(s3: GuardedS3) -> None:
        written = [key for key in s3.keys("s3:PutObject") if "layer=events/" in key]
        if process and len(written) >= files:
            os.kill(process.pop(), signal.SIGALRM)

    return look


@needs_x86_64
def test_a_run_that_is_stopped_midway_by_its_deadline_is_ended_by_the_next(
    built: Built, day: Day, tmp_path: Path
) -> None:
    process: list[int] = []
    raw = dict(day.bodies)
    with (
        guarded_s3(policy_of(day), stop_at(3, process)) as s3,
        run(built, day, s3, tmp_path / "log") as function,
    ):
        process.append(function.process.pid)
        first = function.result({"schedule": "hourly"}, PLENTY)
        midway = day.files
        second = function.result({"schedule": "hourly"}, PLENTY)
        third = function.result({"schedule": "nightly"}, PLENTY)
    log = function.output.read_text()

    assert (first["finished"], second["finished"], third["finished"]) == (False, True, True), log
    assert 1 <= len(midway) <= 4
    assert third["written"] == third["deleted"] == 0
    assert len(day.files) == 1
    assert day.files[0].endswith((f"{day.day:%Y-%m-%d}.parquet", f"{day.day:%Y-%m}.parquet"))
    assert s3.refused == []
    changed = {key for action, key in s3.allowed if action in ("s3:PutObject", "s3:DeleteObject")}
    assert {key.partition("/")[0] for key in changed} == {"layer=events", "_manifests"}
    assert {key: objects(day.environ["ARCHIVE_BUCKETS"])[key].value for key in raw} == raw

    for key in raw:  # all that there is from here on is what was compacted
        del objects(day.environ["ARCHIVE_BUCKETS"])[key]
    archive = Archive(environ=day.environ)
    ids = {event["sg_event_id"] for body in raw.values() for event in json.loads(body)}
    assert {delivery.key for delivery in archive.deliveries()} == raw.keys()
    assert Counter(event.id for event in archive.find()) == Counter(ids)
    for key in list(raw)[::50]:
        assert archive.delivery(key).body == raw[key]


@needs_x86_64
def test_a_run_that_has_no_time_for_a_file_begins_none(
    built: Built, day: Day, tmp_path: Path
) -> None:
    with (
        guarded_s3(policy_of(day)) as s3,
        run(built, day, s3, tmp_path / "log") as function,
    ):
        said = function.result({"schedule": "hourly"}, seconds=1)

    assert said == {"written": 0, "deleted": 0, "unchanged": 0, "finished": False}
    assert day.files == []


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_the_zip_is_one_that_lambda_takes_for_the_machine_it_was_asked_for(
    built: Built, architecture: str, tmp_path: Path
) -> None:
    made = built.zip
    if architecture == "arm64":
        made = zip_compactor(tmp_path / "compactor.zip", architecture, best_python())
    with zipfile.ZipFile(made) as archive:
        size = sum(entry.file_size for entry in archive.infolist())

    assert made.stat().st_size <= LARGEST_ZIP
    assert (
        size <= 250 * 2**20
    )  # unzipped; https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    assert machines(made) == {X86_64 if architecture == "x86_64" else AARCH64}
