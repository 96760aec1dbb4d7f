"""What every store of reading promises: ranges and conditions, on a folder and on S3 alike."""

from pathlib import Path

import pytest
from support.archives import Objects, archive_of, delivered, moment, put
from support.stores import ON_S3, STORES, environ_of

from chalicelib.delivery import ArchiveObject
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


LEFT = ArchiveObject("_redacted/shop/a", b"what is left", "application/json", {"redacted": "x"})


def test_an_object_is_put_with_its_metadata_where_nothing_is_or_in_place_of_what_was_listed(store):
    store.put_object(Read(), LEFT, replacing=None)
    (entry,) = store.entries(Read(), "_redacted/")
    with pytest.raises(Taken):
        store.put_object(Read(), LEFT._replace(body=b"other"), replacing=None)
    assert store.load(Read(), LEFT.key) == LEFT

    less = LEFT._replace(body=b"less", metadata={"redacted": "y"})
    store.put_object(Read(), less, replacing=entry)
    with pytest.raises(Taken):
        store.put_object(Read(), LEFT, replacing=entry)
    assert store.load(Read(), LEFT.key) == less


def test_what_is_there_now_is_a_version_and_goes_for_good(store):
    store.put_object(Read(), LEFT, replacing=None)
    store.put_object(Read(), LEFT._replace(key="other/shop/a"), replacing=None)
    (version,) = store.versions(Read(), "_redacted/")

    assert (version.key, version.is_newest, version.is_marker) == (LEFT.key, True, False)
    assert store.load_version(Read(), version) == LEFT
    for _ in range(2):
        store.delete_version(Read(), version)
    with pytest.raises(NotFound):
        store.load_version(Read(), version)
    assert list(store.versions(Read(), "_redacted/")) == []
    assert [entry.key for entry in store.entries(Read())] == ["other/shop/a"]


@pytest.mark.parametrize("client", ON_S3)
def test_old_versions_and_markers_are_listed_read_and_deleted(s3_environ, client):
    objects = Objects(s3_environ)
    objects.client.put_bucket_versioning(
        Bucket=objects.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    settings = from_environment({**s3_environ, "ARCHIVE_CLIENT": client})
    store = open_reading_store(settings, objects.bucket)
    objects.write(LEFT.key, b"first")
    objects.write(LEFT.key, b"second")
    objects.delete(LEFT.key)
    listed = list(store.versions(Read(), "_redacted/"))

    assert [version.is_newest for version in listed if version.is_marker] == [True]
    bodies = {store.load_version(Read(), v).body for v in listed if not v.is_marker}
    assert bodies == {b"first", b"second"}
    for version in listed:
        store.delete_version(Read(), version)
    assert list(store.versions(Read(), "_redacted/")) == []


def test_a_folder_lists_what_an_interrupted_writer_left(folder_environ):
    folder = Path(folder_environ["ARCHIVE_FOLDER"], "events", "_redacted", "shop")
    folder.mkdir(parents=True)
    (folder / ".hookshelf-abc").write_bytes(b"half")
    (folder.parents[1] / ".hookshelf-lock").touch()
    store = open_reading_store(from_environment(folder_environ), "events")
    (version,) = store.versions(Read())

    assert (version.key, version.is_newest) == ("_redacted/shop/.hookshelf-abc", False)
    store.delete_version(Read(), version)
    assert list(folder.iterdir()) == []


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
