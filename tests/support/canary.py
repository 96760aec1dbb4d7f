"""The token that the tests send, looked for in everything they leave behind.

Nearly every post of the suite carries TOKEN. No test may pass in which it appears in what was
printed, in a log record, in the name of an archived file or in its metadata; conftest.py hooks
this in for all of them.
"""

import itertools
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TOKEN = "a-token-that-only-these-tests-use"


class Watch(logging.Filter):
    """Sees every record before any handler; remembers those that hold the token."""

    def __init__(self) -> None:
        super().__init__()
        self.leaks: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything pass."""
        if TOKEN in repr(vars(record)):
            self.leaks.append(f"the log record {record.getMessage()!r}")
        return True


WATCH = Watch()
_numbers = itertools.count()
logging.getLogger("hookshelf").addFilter(WATCH)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[None]:
    """Fail a test that passed, where the token has leaked."""
    report = yield
    leaks, WATCH.leaks = WATCH.leaks, []
    leaks += [t for t, text in report.sections if t.endswith(call.when) and TOKEN in text]
    if leaks and report.passed:
        report.outcome = "failed"
        told = ", ".join(leaks).replace(TOKEN, "<token>")  # a report is output, too
        report.longrepr = f"The token that was sent appears in {told}"
    return report


@pytest.fixture
def tmp_path(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """As pytest's, which for each looks through all folders of the run for a number that is free.

    Where the test passes it goes, after a look for the token; none has the name of one before.
    """
    name = re.sub(r"\W", "_", request.node.name)[:30]
    folder = tmp_path_factory.getbasetemp() / f"{name}{next(_numbers)}"
    folder.mkdir(mode=0o700)
    failed = request.session.testsfailed
    yield folder
    WATCH.leaks += in_folder(folder)
    if request.session.testsfailed == failed:
        shutil.rmtree(folder, ignore_errors=True)


def in_folder(folder: Path) -> list[str]:
    """The files below a folder whose name, or metadata, holds the token."""
    leaks = []
    for parent, folders, files in os.walk(folder):
        leaks += [Path(parent, name) for name in [*folders, *files] if TOKEN in name]
        metadata = [Path(parent, name) for name in files if name.endswith(".meta")]
        leaks += [path for path in metadata if TOKEN in path.read_text()]
    return [str(path.relative_to(folder)) for path in leaks]


def in_moto() -> list[str]:
    """The keys in all of moto's buckets that hold the token, or whose metadata does."""
    from moto.s3.models import s3_backends

    return [
        f"{bucket.name}/{key}"
        for account in s3_backends.values()
        for backend in account.values()
        for bucket in backend.buckets.values()
        for key, thing in bucket.keys.items()
        if TOKEN in key or TOKEN in repr(getattr(thing, "metadata", ""))  # a delete marker has none
    ]
