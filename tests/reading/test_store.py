"""What every store of reading promises: ranges and conditions, on a folder and on S3 alike."""

import pytest
from support.archives import archive_of, delivered, moment, put
from support.stores import STORES, environ_of

from chalicelib.keys import day_prefix
from chalicelib.settings import from_environment
from chalicelib.store import NotFound
from hookshelf.reading.errors import Gone, ReadingError, Taken
from hookshelf.reading.store import StoredFile, open_reading_store
from hookshelf.reading.values import Read

KEY = "layer=events/app=shop/month=2026-11/2026-11-20.parquet"


CEPH = [pytest.mark.slow, pytest.mark.xdist_group("ceph_endpoint")]


@pytest.fixture(params=[*STORES, pytest.param("ceph", marks=CEPH)])
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "ceph":
        return request.getfixturevalue("ceph_environ")
    return environ_of(request.param, request)


@pytest.fixture
def store(environ):
    return open_reading_store(from_environment(environ), environ["ARCHIVE_BUCKETS"])


def test_a_file_is_put_where_nothing_is_and_read_in_parts(store):
    entry = store.put_file(Read(), KEY, b"0123456789", replacing=None)

    assert list(store.entries(Read(), "layer=events/")) == [entry]
    assert (entry.key, entry.size) == (KEY, 10)
    assert store.range(Read(), entry, 3, 4) == b"3456"
    with pytest.raises(Taken):
        store.put_file(Read(), KEY, b"other", replacing=None)
    assert store.range(Read(), entry, 0, 10) == b"0123456789"


def test_a_file_is_put_from_disk(store, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)

    assert store.put_file(Read(), KEY, tmp_path / "file", replacing=None).size == 3_000_000


def test_a_file_is_replaced_only_as_it_was_listed(store):
    first = store.put_file(Read(), KEY, b"first", replacing=None)
    second = store.put_file(Read(), KEY, b"second", replacing=first)

    assert first.etag != second.etag
    with pytest.raises(Taken):
        store.put_file(Read(), KEY, b"third", replacing=first)
    with pytest.raises(Gone):
        store.range(Read(), first, 0, 5)
    assert store.range(Read(), second, 0, 6) == b"second"


def test_nothing_is_put_in_place_of_what_is_gone(store):
    with pytest.raises(Taken):
        store.put_file(Read(), KEY, b"x", replacing=StoredFile(KEY, 1, '"0"'))


def test_a_file_is_deleted_only_as_it_was_listed(store, request):
    if request.node.callspec.id == "ceph":
        request.applymarker(pytest.mark.xfail(strict=True, reason="Ceph 16 ignores it in DELETE"))
    first = store.put_file(Read(), KEY, b"first", replacing=None)
    second = store.put_file(Read(), KEY, b"second", replacing=first)

    store.delete(Read(), first)
    assert list(store.entries(Read(), "layer=events/")) == [second]
    store.delete(Read(), second)
    store.delete(Read(), second)
    assert list(store.entries(Read(), "layer=events/")) == []
    with pytest.raises(Gone):
        store.range(Read(), second, 0, 1)


def test_what_was_received_is_listed_in_order_and_loaded(store, environ):
    objects = [delivered([{"email": f"{n}@x"}], moment(f"2026-11-20T0{n}:00")) for n in (2, 0, 1)]
    put(environ, *objects)
    keys = sorted(obj.key for obj in objects)
    day = day_prefix("", "sendgrid", moment("2026-11-20T00:00").date())
    hours = [key.removeprefix(day).partition("/")[0] for key in keys]
    read = Read()

    assert [entry.key for entry in store.entries(read)] == keys
    assert [entry.key for entry in store.entries(read, "sendgrid/", after=keys[0])] == keys[1:]
    assert store.folders(read, day) == hours
    assert store.folders(read, "nothing/") == list(store.entries(read, "nothing/")) == []
    assert store.load(read, objects[0].key) == objects[0]
    assert read.requests == 6
    with pytest.raises(NotFound):
        store.load(read, "sendgrid/nothing")


def test_a_store_that_cannot_be_read_back_names_the_file_to_add(folder_environ, monkeypatch):
    monkeypatch.setattr("hookshelf.reading.store.module_names", lambda _: {"obstore", "boto3"})

    with pytest.raises(ReadingError, match=r"'folder'.*add hookshelf/reading/store/folder\.py"):
        open_reading_store(from_environment(folder_environ), "events")


@pytest.mark.parametrize(
    ("server", "keeps"),
    [("s3", True), ("rclone", False), pytest.param("ceph", False, marks=CEPH)],
)
def test_whether_a_server_keeps_conditions_is_found_out(request, server, keeps):
    environ = request.getfixturevalue(f"{server}_environ")
    put(environ, delivered([{"email": "a@x"}], moment("2026-11-20T00:00")))
    archive = archive_of(environ, moment("2026-11-20T00:01"))
    bucket = environ["ARCHIVE_BUCKETS"]

    for _ in range(2):  # the second time, the object of the first may be there
        assert archive.without_conditions() == [bucket] * (not keeps)
    assert list(archive.find("a@x"))


def test_a_folder_and_aws_are_known_to_keep_conditions(folder_environ):
    archive = archive_of(folder_environ, moment("2026-11-20"))
    assert archive.without_conditions() == []

    on_aws = {"ARCHIVE_BUCKETS": "events", "AWS_REGION": "us-east-1"}
    assert archive_of(on_aws, moment("2026-11-20")).without_conditions() == []


def test_part_of_a_file_is_read_from_a_server_that_sends_the_checksum_of_all_of_it(rclone_environ):
    for client in ("obstore", "boto3"):
        environ = {**rclone_environ, "ARCHIVE_CLIENT": client}
        store = open_reading_store(from_environment(environ), environ["ARCHIVE_BUCKETS"])
        entry = store.put_file(Read(), KEY, b"0123456789", replacing=None)

        assert list(store.entries(Read(), "layer=events/")) == [entry]
        assert store.range(Read(), entry, 3, 4) == b"3456"
