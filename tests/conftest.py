"""What every test stands on: a clean environment, real servers, and short ways to send."""

import gc
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

gc.disable()  # until all is collected: what pytest makes of thousands of tests is no garbage

# What the shell says of AWS, of hookshelf and of colours would choose the store, and more, for us.
# A proxy stays, as packaging may need it.
_OF_THE_SHELL = re.compile(
    "AWS_|ARCHIVE_|STAGE_VAR_|SNOWPLOW_|HOOKSHELF_|"
    "(APPS_FILE|DIRECT_APP|METRICS_NAMESPACE|LOCAL_IAM_CREDENTIALS|FORCE_COLOR|PY_COLORS)$"
)
for _name in [name for name in os.environ if _OF_THE_SHELL.match(name)]:
    del os.environ[_name]
os.environ |= {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}

# What a shell runs in the background ignores Ctrl-C, and so would what the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

import botocore.loaders  # noqa: E402  (it reads the environment above)
from support import canary, moto_server  # noqa: E402
from support.project import CREDENTIALS, aws_environ, reset  # noqa: E402
from support.s3_servers import (  # noqa: E402
    boto3_client,
    missing_of_ceph,
    new_bucket,
    radosgw,
    rclone,
)

pytest_runtest_makereport, tmp_path = canary.pytest_runtest_makereport, canary.tmp_path

_make_loader = botocore.loaders.Loader.__init__
_descriptions: dict[object, object] = {}


def _make_sharing_loader(self: Any, *args: Any, **options: Any) -> None:
    """Read AWS's descriptions of its services once: every session would, at 80 ms for each."""
    _make_loader(self, *args, **options)
    self._cache = _descriptions


botocore.loaders.Loader.__init__ = _make_sharing_loader  # type: ignore[method-assign]

# Seconds for a process, its end or what it prints, that a test waits for and gives no time: `run`
# and leaving a `with` wait by these, too. TimeoutExpired says which command it was.
_LONGEST = 500
_wait, _communicate = subprocess.Popen.wait, subprocess.Popen.communicate


def _bounded_wait(self: Any, timeout: float | None = None) -> Any:
    return _wait(self, _LONGEST if timeout is None else timeout)


def _bounded_communicate(self: Any, input: Any = None, timeout: float | None = None) -> Any:
    return _communicate(self, input, _LONGEST if timeout is None else timeout)


subprocess.Popen.wait = _bounded_wait  # type: ignore[method-assign]
subprocess.Popen.communicate = _bounded_communicate  # type: ignore[method-assign]

# Each run tries the same examples, however slow the machine is: what fails, fails everywhere.
# Fifty of each property for every save; `make test-all` tries 2,000.
hypothesis.settings.register_profile(
    "ours",
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("ours")
# `make test-all` asks for it by --hypothesis-profile, which pytest reads after this file.
hypothesis.settings.register_profile(
    "thorough", parent=hypothesis.settings.get_profile("ours"), max_examples=2_000
)


# Fixtures that start a server or another process. `make mutants` leaves out what asks for them.
_STARTING = {"aws", "function", "moto_endpoint", "server", "servers"}


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a server; give the tests of a file to one worker, which sets up once.

    Those of a file that mostly waits (`pytestmark = pytest.mark.spread`) go by test function.
    """
    for item in items:
        if _STARTING & set(getattr(item, "fixturenames", ())):
            item.add_marker("server")
        if item.get_closest_marker("xdist_group") is None:
            name = item.nodeid.partition("[" if item.get_closest_marker("spread") else "::")[0]
            item.add_marker(pytest.mark.xdist_group(name))
    # The longest first and many short files last, so that no worker is waited for.
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/simulation/", "tests/faults/")))
    items.sort(key=lambda item: item.nodeid.startswith("tests/receiving/"))


def pytest_collection_finish() -> None:
    """Let no collection of garbage go through thousands of tests that are none."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """What a library counts at its end has to be let go of."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """An S3 server over real HTTP. It checks no signature."""
    with moto_server.serving() as endpoint:
        yield endpoint
    assert canary.in_moto() == []


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts that wait for a minute: on a busy machine a server may need seconds, and does answer."""
    from chalicelib import ingest
    from chalicelib.store import _retry, boto3, obstore

    for module in (_retry, boto3, obstore):
        monkeypatch.setattr(module, "ATTEMPT_TIMEOUT", 60.0)
    for module in (boto3, obstore):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT", 60.0)
    monkeypatch.setattr(ingest, "PUT_TIMEOUT", 120.0)


@pytest.fixture
def s3_environ(moto_endpoint: str, patient: None) -> dict[str, str]:
    """Settings that archive into a new bucket on the moto server."""
    bucket = f"bucket-{uuid.uuid4().hex}"
    environ = {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": moto_endpoint, "ARCHIVE_BUCKETS": bucket}
    boto3_client(environ).create_bucket(Bucket=bucket)
    return environ


@pytest.fixture
def folder_environ(tmp_path: Path) -> dict[str, str]:
    """Settings that archive into a folder of this test."""
    return {"ARCHIVE_FOLDER": str(tmp_path / "archive"), "ARCHIVE_BUCKETS": "events"}


@pytest.fixture(scope="session", name="rclone")
def _rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An S3 server that checks signatures and ignores conditions, and the folder of its buckets."""
    root = tmp_path_factory.mktemp("rclone")
    with rclone(root) as endpoint:
        yield endpoint, root


@pytest.fixture
def rclone_environ(rclone: tuple[str, Path], patient: None) -> dict[str, str]:
    """Settings that archive into a new bucket on rclone."""
    return new_bucket(rclone[0])


@pytest.fixture(scope="session")
def ceph_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Ceph's S3 server, where it is installed. Mark its tests as the xdist_group of this name."""
    if missing := missing_of_ceph():
        pytest.skip(f"no {missing[0]}: apt-get install radosgw ceph-mon ceph-osd")
    with radosgw(tmp_path_factory.mktemp("ceph")) as endpoint:
        yield endpoint


@pytest.fixture
def ceph_environ(ceph_endpoint: str, patient: None) -> dict[str, str]:
    """Settings that archive into a new bucket on Ceph."""
    return new_bucket(ceph_endpoint)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make faults` asks for the table that tests/faults fills."""
    parser.addoption("--fault-table", action="store_true", help="print the fault table")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the fault table, where it is asked for: a row a case, a column an entry point."""
    if not terminalreporter.config.getoption("--fault-table"):
        return
    rows: dict[tuple[int, str], dict[str, str]] = {}
    for report in [report for some in terminalreporter.stats.values() for report in some]:
        for name, value in getattr(report, "user_properties", ()):
            if name == "fault" and report.when == "call":
                number, case, column, cell = value
                rows.setdefault((number, case), {})[column] = cell if report.passed else "FAILED"
    columns = sorted({column for cells in rows.values() for column in cells})
    terminalreporter.section(f"{len(rows)} faults: status, objects kept, requests to S3")
    terminalreporter.write_line(" " * 52 + "".join(f"{column:<16}" for column in columns))
    for (_, case), cells in sorted(rows.items()):
        line = "".join(f"{cells.get(column, '-'):<16}" for column in columns)
        terminalreporter.write_line(f"{case:<52}{line}".rstrip())


@pytest.fixture(scope="session")
def aws() -> Iterator[str]:
    """A server for all of AWS that we deploy to; support/aws_server.py says what it lacks."""
    import support.aws_server  # noqa: F401  (CloudFormation's models take a second to load)

    with moto_server.serving() as endpoint:
        yield endpoint


@pytest.fixture
def aws_shell(aws: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A shell that is logged in to an empty account on that server; its URL."""
    for name, value in aws_environ(aws).items():
        monkeypatch.setenv(name, value)
    reset(aws)
    return aws
