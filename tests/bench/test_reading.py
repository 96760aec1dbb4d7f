"""The bench of reading: its store server, its made-up objects, its limits and its tables."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store
from support.project import PROJECT

from bench.reading import report
from bench.reading.data import DataSet, code_fingerprint, make_days, roll_up
from bench.reading.figures import FIGURES
from bench.reading.generated import APP, GeneratedStore, verified_object
from bench.reading.limits import LIMITS, Limit, Outcome
from bench.reading.peers import HourlyGzip, RawJson
from bench.reading.store_server import Counts, StoreServer
from chalicelib.archive import to_object
from chalicelib.delivery import Delivery
from chalicelib.keys import EVENTS_FOLDER, day_prefix
from chalicelib.settings import from_environment
from chalicelib.sources import source_named
from chalicelib.store import Store, open_store
from hookshelf import Archive
from hookshelf.local.traffic import Traffic
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.raw import raw_days
from hookshelf.reading.values import Read, Stream

UNTIL = datetime(2025, 9, 3, tzinfo=UTC)


@pytest.fixture(scope="module")
def deliveries() -> list[Delivery]:
    """Two days."""
    return list(Traffic(events=1_500, days=2, until=UNTIL).deliveries())


# --- the store server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, deliveries: list[Delivery]) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    store = folder_store(folder)
    for delivery in deliveries[:30]:
        store.put(verified_object(delivery))
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[StoreServer]:
    with StoreServer(folder, ["bucket"], delay=0.05) as server:
        yield server


@pytest.fixture
def s3(server: StoreServer) -> S3Store:
    return S3Store(
        "bucket",
        endpoint=server.url,
        region="us-east-1",
        access_key_id="a",
        secret_access_key="b",
        client_options={"allow_http": True},
    )


def test_the_server_lists_what_a_folder_store_holds_in_order(folder: Path, s3: S3Store) -> None:
    expected = [entry.key for entry in folder_store(folder).list()]
    listed = [entry["path"] for page in obstore.list(s3) for entry in page]
    later = [entry["path"] for page in obstore.list(s3, offset=expected[10]) for entry in page]

    assert listed == expected
    assert later == expected[11:]


def test_a_listing_is_paged(server: StoreServer, folder: Path) -> None:
    expected = len(list(folder_store(folder).list()))
    server.counts()
    keys: list[str] = []
    token = ""
    while True:
        query = f"list-type=2&max-keys=7&continuation-token={token}"
        with urllib.request.urlopen(f"{server.url}/bucket?{query}", timeout=60) as response:
            page = response.read().decode()
        keys += [part.partition("</Key>")[0] for part in page.split("<Key>")[1:]]
        if "<IsTruncated>true" not in page:
            break
        token = page.partition("<NextContinuationToken>")[2].partition("<")[0]

    assert len(keys) == len(set(keys)) == expected
    assert server.counts().lists == -(-expected // 7)


def test_folders_are_listed_once_each(s3: S3Store) -> None:
    assert obstore.list_with_delimiter(s3)["common_prefixes"] == ["sendgrid"]
    assert len(obstore.list_with_delimiter(s3, "sendgrid")["common_prefixes"]) >= 1


def test_objects_and_their_metadata_and_ranges_are_those_of_the_folder(
    folder: Path, s3: S3Store
) -> None:
    store = folder_store(folder)
    obj = store.get(next(store.list()).key)
    got = obstore.get(s3, obj.key)

    assert bytes(got.bytes()) == obj.body
    assert {k: v for k, v in got.attributes.items() if k != "Content-Type"} == obj.metadata
    assert got.attributes["Content-Type"] == obj.content_type
    assert bytes(obstore.get_range(s3, obj.key, start=3, length=20)) == obj.body[3:23]
    assert obstore.head(s3, obj.key)["size"] == len(obj.body)


def test_another_etag_and_a_key_that_is_not_there_are_refused(folder: Path, s3: S3Store) -> None:
    key = next(folder_store(folder).list()).key
    etag = obstore.head(s3, key)["e_tag"]

    assert obstore.get(s3, key, options={"if_match": etag})
    with pytest.raises(obstore.exceptions.PreconditionError):
        obstore.get(s3, key, options={"if_match": '"other"'})
    with pytest.raises(FileNotFoundError):
        obstore.get(s3, "sendgrid/other")


def test_every_request_waits_and_is_counted(folder: Path, s3: S3Store, server: StoreServer) -> None:
    entry = next(folder_store(folder).list())
    server.counts()
    started = time.monotonic()
    for _ in range(3):
        obstore.get(s3, entry.key).bytes()
    obstore.head(s3, entry.key)
    list(obstore.list(s3))

    assert time.monotonic() - started >= 5 * 0.05
    assert server.counts() == Counts(gets=3, heads=1, lists=1, bytes=3 * entry.size)
    assert server.counts() == Counts(gets=0, heads=0, lists=0, bytes=0)


# --- what is read


def test_made_up_objects_are_those_that_receiving_would_store(deliveries: list[Delivery]) -> None:
    source = source_named(APP)

    assert all(
        verified_object(delivery) == to_object(delivery, source, verdict="verified")
        for delivery in deliveries
    )


def test_a_generated_store_has_each_delivery_on_its_day_and_keeps_none(
    tmp_path: Path, deliveries: list[Delivery]
) -> None:
    days = sorted({delivery.arrived.date() for delivery in deliveries})
    store = GeneratedStore(tmp_path, "bucket", iter(deliveries), days)
    read = Read()
    loaded = [
        store.load(read, entry.key)
        for day in raw_days(Bucket("bucket", store), read, Stream("bucket", "", APP))
        for entry in store.entries(read, day_prefix("", APP, day))
    ]

    assert loaded == [verified_object(delivery) for delivery in deliveries]
    assert store.events == sum(len(json.loads(delivery.body)) for delivery in deliveries)
    assert list(tmp_path.rglob("*")) == []


def test_what_is_made_up_is_compacted_whole(tmp_path: Path, deliveries: list[Delivery]) -> None:
    """Days are asked for in turn, and looked at again before each file is put."""
    data = DataSet("bucket", Traffic(events=1_500, days=2, until=UNTIL))
    days, month = tmp_path / "days", tmp_path / "month"

    make_days(data, days)
    roll_up(days, month)

    expected = {verified_object(delivery).key for delivery in deliveries}
    for bucket, files in ((days, 2), (month, 1)):
        held = list(Archive(bucket, environ={}).deliveries())
        assert {delivery.key for delivery in held} == expected
        assert len(list((bucket / EVENTS_FOLDER).rglob("*.parquet"))) == files


def test_the_peers_find_what_is_there(tmp_path: Path, deliveries: list[Delivery]) -> None:
    hourly = HourlyGzip(tmp_path / "hourly")
    address = json.loads(deliveries[5].body)[0]["email"]
    for number, delivery in enumerate(hourly.write(iter(deliveries))):
        (tmp_path / f"{number}.json").write_bytes(delivery.body)
    expected = {
        event["sg_event_id"]
        for delivery in deliveries
        for event in json.loads(delivery.body)
        if event["email"] == address
    }

    assert hourly.ids(address) == RawJson(tmp_path).ids(address) == expected
    assert hourly.ids("nobody@example.com") == RawJson(tmp_path).ids("nobody@example.com") == set()


def test_data_sets_are_made_again_when_the_code_of_the_compactor_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = code_fingerprint.__wrapped__()
    (tmp_path / "hookshelf" / "reading").mkdir(parents=True)
    (tmp_path / "hookshelf" / "reading" / "merge.py").write_text("# another")
    monkeypatch.setattr("bench.reading.data.PROJECT", tmp_path)

    assert code_fingerprint.__wrapped__() != before


# --- limits and tables


@pytest.mark.parametrize(
    ("relation", "value", "outcome"),
    [
        ("<=", 15.0, Outcome.OK),
        ("<=", 15.1, Outcome.MISSED),
        (">=", 15.0, Outcome.OK),
        (">=", 14.9, Outcome.MISSED),
        (">=", None, Outcome.NOT_MEASURED),
    ],
)
def test_a_limit_judges_its_figure(relation: str, value: float | None, outcome: Outcome) -> None:
    figures = {} if value is None else {"find": value}

    assert Limit("find", relation, 15, "ms").outcome(figures) is outcome


def test_the_tables_show_every_limit_and_how_figures_grow() -> None:
    text = report.as_text(
        {
            "find on disk, 0.2 million events": 2.0,
            "find on disk, 2 million events": 6.0,
            "find on disk, 20 million events": 90.0,
        }
    )

    assert all(limit.figure in text for limit in LIMITS)
    assert "MISSED" in text
    assert "x3.0 x15.0" in text


def test_every_limit_is_about_a_figure_that_is_measured() -> None:
    """The figures' names are spelled where they are measured."""
    code = (PROJECT / "bench/reading/figures.py").read_text()
    code += (PROJECT / "bench/reading/__main__.py").read_text()
    for limit in LIMITS:
        name, _, what = limit.figure.partition(": ")
        spelled = name.replace(", 2 million events", ", {millions} million events")
        spelled = spelled.replace(", 20 million events", ", {millions} million events")

        assert name in code or spelled in code
        assert f": {what}" in code or limit.figure in code


def test_help_names_every_figure() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.reading", "--help"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert all(name in done.stdout for name in FIGURES)


def test_a_figure_that_does_not_exist_is_misuse() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.reading", "--only", "speed"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert "find_on_disk" in done.stderr


def folder_store(folder: Path) -> Store:
    environ = {"ARCHIVE_FOLDER": str(folder), "ARCHIVE_BUCKETS": "bucket"}
    return open_store(from_environment(environ), "bucket")
