"""What every store promises: put once, get, list. Folder and S3 keep it alike."""

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from support import ministack
from support.faulty_s3 import FaultyS3, Stored, sha256_header
from support.s3_servers import SERVER_CREDENTIALS, boto3_client, new_bucket
from support.stores import ON_S3, STORES, environ_of

from chalicelib.delivery import ArchiveObject
from chalicelib.metadata import decode, encode
from chalicelib.responses import MAX_BODY
from chalicelib.settings import from_environment
from chalicelib.store import Listed, NameTaken, NotFound, NotStored, Store, open_store, store_names

KEY = "shop/day=20/hour=23/20261120T235001.123456Z-0a.json"  # any: stores know no layout

# An AWS that others wrote, which has to be installed.
ON_MINISTACK = [pytest.param(f"{client} on ministack", marks=pytest.mark.heavy) for client in ON_S3]
EVERY = [*STORES, "obstore on rclone", *ON_MINISTACK]
# What the second S3 server cannot do, proved to be so by a test that must fail.
PUT_ONCE = [
    *STORES,
    *ON_MINISTACK,
    pytest.param(
        "obstore on rclone",
        marks=pytest.mark.xfail(strict=True, reason="rclone serve s3 ignores If-None-Match"),
    ),
]


@pytest.fixture(scope="module")
def on_ministack(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, dict[str, str]]]:
    """Its S3 over plain HTTP, and the credentials of a user who may do there what he likes."""
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    with ministack.serving(tmp_path_factory.mktemp("ministack"), tls=False) as aws:
        shell = aws.user("archiver", {"Version": "2012-10-17", "Statement": [statement]})
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        yield aws.endpoint, SERVER_CREDENTIALS | {name: shell[name] for name in names}


@pytest.fixture
def environ(request: pytest.FixtureRequest, patient: None) -> dict[str, str]:
    """Settings that archive into a new, empty bucket of the store a test asks for."""
    if request.param == "obstore on rclone":
        endpoint, _ = request.getfixturevalue("rclone")
        return {**new_bucket(endpoint), "ARCHIVE_CLIENT": "obstore"}
    if request.param.endswith(" on ministack"):
        endpoint, credentials = request.getfixturevalue("on_ministack")
        client = request.param.partition(" ")[0]
        return {**new_bucket(endpoint, credentials), "ARCHIVE_CLIENT": client}
    return environ_of(request.param, request)


@pytest.fixture
def store(environ: dict[str, str]) -> Store:
    return _open(environ)


def _open(environ: dict[str, str]) -> Store:
    return open_store(from_environment(environ), environ["ARCHIVE_BUCKETS"])


def _thing(key: str = KEY, body: bytes = b"{}", **metadata: str) -> ArchiveObject:
    return ArchiveObject(key, body, "application/json", {"layout": "1"} | metadata)


def every_store(test: Any) -> Any:
    return pytest.mark.parametrize("environ", EVERY, indirect=True)(test)


def s3_stores(test: Any) -> Any:
    return pytest.mark.parametrize("environ", [*ON_S3, *ON_MINISTACK], indirect=True)(test)


def folder_store(test: Any) -> Any:
    return pytest.mark.parametrize("environ", ["folder"], indirect=True)(test)


def test_every_store_there_is_is_held_to_this():
    assert set(STORES) == store_names()


BODIES = {
    "json": b'[{"a":1}]',
    "empty": b"",
    "every byte": bytes(range(256)),
    "line ends": b"\r\n\n\r\xef\xbb\xbf\x00",
    "gzip": b"\x1f\x8b\x08\x00 not really",
    "the largest": os.urandom(MAX_BODY),
}


@every_store
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_is_kept_byte_for_byte(store, body):
    attempts = store.put(_thing(body=body))

    assert attempts == 1
    assert store.get(KEY) == _thing(body=body)


@every_store
@pytest.mark.parametrize("kind", ["application/json", "application/xml", "text/plain"])
def test_the_content_type_is_kept(store, kind):
    obj = ArchiveObject(KEY, b"a=1", kind, {})

    store.put(obj)

    assert store.get(KEY) == obj


MOTO_EATS_FORMS = pytest.mark.xfail(strict=True, reason="moto's server loses the body of a form")


@pytest.mark.parametrize(
    "environ",
    ["folder", "obstore on rclone", *ON_MINISTACK]
    + [pytest.param(client, marks=MOTO_EATS_FORMS) for client in ("obstore", "boto3")],
    indirect=True,
)
def test_a_form_is_kept_as_it_came(store):
    obj = ArchiveObject(KEY, b"b=2&a=%31&a=+", "application/x-www-form-urlencoded", {})

    store.put(obj)

    assert store.get(KEY) == obj


HEADERS = {
    "plain": "t=1492774577,v1=5257a869e7",
    "spaces": "  two  before,  two between, two after  ",
    "percent": "100% %41 %zz %",
    "quotes": "\"double\", 'single', `back`; a\\b",
    "encoded-word": "=?UTF-8?B?4oKs?= and =?utf-8?q?x?=",
    "unicode": "naïve ☃ 😀",
    "controls": "a\tb\nc\x00d\x7f",
    "empty": "",
    "punctuation": "!#$&()*+,-./:;<=>?@[]^_{|}~",
    "long": "x" * 700,
}


@every_store
def test_header_values_come_back_exactly(store):
    metadata = {f"h-x-{name}": encode(value) for name, value in HEADERS.items()}

    store.put(_thing(**metadata))

    kept = store.get(KEY).metadata
    assert kept == {"layout": "1"} | metadata
    assert {name: decode(kept[f"h-x-{name}"]) for name in HEADERS} == HEADERS


@pytest.mark.parametrize("environ", PUT_ONCE, indirect=True)
def test_a_taken_key_is_success_and_changes_nothing(store):
    first = _thing(body=b'{"first": true}', verdict="verified")
    store.put(first)

    attempts = store.put(ArchiveObject(KEY, b"other", "text/plain", {"verdict": "bad"}))

    assert attempts == 1
    assert store.get(KEY) == first
    assert list(store.list()) == [Listed(KEY, len(first.body))]


@every_store
def test_the_same_put_again_is_success(store):
    store.put(_thing())

    attempts = store.put(_thing())

    assert attempts == 1
    assert store.get(KEY) == _thing()


@every_store
def test_a_missing_key_is_missing(store):
    store.put(_thing())

    with pytest.raises(NotFound):
        store.get(KEY + "x")


@every_store
def test_nothing_is_listed_where_nothing_is(store):
    assert list(store.list()) == []
    assert list(store.list("shop/")) == []
    assert list(store.list(after=KEY)) == []


KEYS = [
    "a/day=20/x.json",
    "a/day=21/x.json",
    "a/x.json",
    "a-b/x.json",
    "ab/x.json",
    "z/a/x.json",
    "A/x.json",
    "_rejected/a/x.bin",
]


@pytest.fixture
def filled(request: pytest.FixtureRequest, environ: dict[str, str]) -> Store:
    """A store with KEYS in it; a folder, which minds the case of apps, without `A`."""
    store = _open(environ)
    for key in KEYS:
        with contextlib.suppress(NameTaken):
            store.put(_thing(key, body=key.encode()))
    return store


def _expected(environ: dict[str, str]) -> list[str]:
    return sorted(key for key in KEYS if "ARCHIVE_FOLDER" not in environ or key[0] != "A")


@every_store
def test_a_listing_is_in_key_order_with_sizes(filled, environ):
    expected = [Listed(key, len(key)) for key in _expected(environ)]

    assert list(filled.list()) == expected


@every_store
def test_a_prefix_is_whole_segments(filled, environ):
    for prefix in ("a/", "ab/", "a/day=20/", "_rejected/", "z/a/", "b/"):
        expected = [key for key in _expected(environ) if key.startswith(prefix)]

        assert [entry.key for entry in filled.list(prefix)] == expected, prefix


@every_store
def test_half_a_segment_is_refused(filled):
    for prefix in ("a", "a/day=2", "/a", "a/x.json"):
        with pytest.raises(ValueError, match="does not end in /"):
            list(filled.list(prefix))


@every_store
def test_a_listing_after_a_key_leaves_that_key_out(filled, environ):
    keys = ("a/day=20/x.json", "a/day=20/y", "a/x.json", "Z", "zz", "")
    for prefix, after in product(("", "a/"), keys):
        expected = [key for key in _expected(environ) if key.startswith(prefix) and key > after]

        assert [entry.key for entry in filled.list(prefix, after=after)] == expected, after


MANY = [f"shop/day=20/{n:05}.json" for n in range(1_100)]


def _put_many(environ: dict[str, str]) -> None:
    """1,100 objects, more than S3 lists in one page, in threads."""
    store = _open(environ)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: store.put(_thing(key)), MANY))


@pytest.mark.parametrize(
    "environ",
    [
        *("folder", "obstore on rclone"),
        *ON_MINISTACK,
        pytest.param("obstore", marks=pytest.mark.slow),
    ],
    indirect=True,
)
def test_a_listing_of_more_than_a_page_is_whole(environ):
    _put_many(environ)

    for client in ("obstore", "boto3"):
        store = _open({**environ, "ARCHIVE_CLIENT": client})
        assert [entry.key for entry in store.list("shop/")] == MANY
        assert [entry.key for entry in store.list("shop/", after=MANY[41])] == MANY[42:]


# Only S3.


def _at(s3: FaultyS3, client: str) -> dict[str, str]:
    place = {"AWS_ENDPOINT_URL_S3": s3.endpoint, "ARCHIVE_BUCKETS": "events"}
    return {**SERVER_CREDENTIALS, **place, "ARCHIVE_CLIENT": client}


@s3_stores
def test_s3_has_the_content_type_and_metadata_as_others_read_them(store, environ):
    store.put(_thing(source="sendgrid"))

    head = boto3_client(environ).head_object(Bucket=environ["ARCHIVE_BUCKETS"], Key=KEY)

    assert head["ContentType"] == "application/json"
    assert head["Metadata"] == {"layout": "1", "source": "sendgrid"}


@pytest.mark.parametrize("client", ["obstore", "boto3"])
def test_a_form_reaches_s3_as_it_came(client):
    form = b"b=2&a=%31&a=+"
    with FaultyS3(credentials=SERVER_CREDENTIALS) as s3:
        store = _open(_at(s3, client))
        store.put(ArchiveObject(KEY, form, "application/x-www-form-urlencoded", {}))

        assert store.get(KEY).body == form
    assert s3.objects[KEY].body == form


@pytest.mark.parametrize("client", ["obstore", "boto3"])
def test_every_put_asks_for_a_free_key_and_brings_its_checksum(client):
    with FaultyS3(credentials=SERVER_CREDENTIALS) as s3:
        _open(_at(s3, client)).put(_thing())

    (put,) = s3.requests
    assert (put.method, put.key) == ("PUT", KEY)
    assert put.headers["if-none-match"] == "*"
    assert put.headers["x-amz-checksum-sha256"] == sha256_header(b"{}")
    key = SERVER_CREDENTIALS["AWS_ACCESS_KEY_ID"]
    assert put.headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={key}/")


@pytest.mark.parametrize("client", ["obstore", "boto3"])
@pytest.mark.parametrize("owner", ["123456789012", ""])
def test_every_request_names_the_owner_the_bucket_must_have(client, owner):
    with FaultyS3(credentials=SERVER_CREDENTIALS) as s3:
        store = _open({**_at(s3, client), "ARCHIVE_BUCKET_OWNER": owner})
        store.put(_thing())
        store.get(KEY)
        keys = [entry.key for entry in store.list("shop/")]

    header = "x-amz-expected-bucket-owner"
    assert keys == [KEY]
    assert [request.method for request in s3.requests] == ["PUT", "GET", "GET"]
    assert [request.headers.get(header, "") for request in s3.requests] == [owner] * 3


@pytest.mark.parametrize("client", ["obstore", "boto3"])
@pytest.mark.parametrize("do", ["put", "get", "list"])
def test_every_header_of_s3_is_signed(client, do):
    # S3 refuses a request that brings an x-amz-* header which its signature leaves out.
    with FaultyS3(credentials=SERVER_CREDENTIALS) as s3:
        s3.objects[KEY] = Stored(b"{}", {})
        store = _open({**_at(s3, client), "ARCHIVE_BUCKET_OWNER": "123456789012"})
        {"put": lambda: store.put(_thing()), "get": lambda: store.get(KEY),
         "list": lambda: list(store.list("shop/"))}[do]()  # fmt: skip

    (request,) = s3.requests
    signed = re.search("SignedHeaders=([^,]+)", request.headers["authorization"])[1].split(";")
    assert {name for name in request.headers if name.startswith("x-amz-")} <= set(signed)


@pytest.mark.parametrize("client", ["obstore", "boto3"])
@pytest.mark.parametrize(
    "wrong", [{"AWS_SECRET_ACCESS_KEY": "not-it"}, {"AWS_ACCESS_KEY_ID": "nobody"}], ids=repr
)
@pytest.mark.usefixtures("patient")
def test_wrong_credentials_store_nothing(client, wrong, rclone):
    endpoint, root = rclone
    environ = {**new_bucket(endpoint), "ARCHIVE_CLIENT": client}
    bucket = root / environ["ARCHIVE_BUCKETS"]

    with pytest.raises(NotStored) as raised:
        _open(environ | wrong).put(_thing())

    assert raised.value.attempts == 1
    assert list(bucket.iterdir()) == []
    assert _open(environ).put(_thing()) == 1  # and the right ones do
    assert (bucket / KEY).read_bytes() == b"{}"


# Only a folder.


@folder_store
def test_a_folder_refuses_an_app_that_differs_only_by_case(store):
    store.put(_thing("Shop/x.json"))

    with pytest.raises(NameTaken):
        store.put(_thing("shop/y.json"))

    assert [entry.key for entry in store.list()] == ["Shop/x.json"]


@folder_store
def test_a_folder_keeps_metadata_beside_the_object_and_hides_it(store, environ):
    store.put(_thing(source="sendgrid"))

    folder = Path(environ["ARCHIVE_FOLDER"]) / "events" / Path(KEY).parent
    assert sorted(file.name for file in folder.iterdir()) == [
        Path(KEY).name,
        Path(KEY).name + ".meta",
    ]
    assert [entry.key for entry in store.list()] == [KEY]


@folder_store
def test_an_object_without_metadata_reads_with_none(store, environ):
    file = Path(environ["ARCHIVE_FOLDER"]) / "events" / KEY
    file.parent.mkdir(parents=True)
    file.write_bytes(b"{}")

    assert store.get(KEY) == ArchiveObject(KEY, b"{}", "", {})
    assert list(store.list()) == [Listed(KEY, 2)]


@folder_store
def test_of_many_puts_of_one_key_one_wins_whole(environ):
    bodies = [bytes([n]) * 300_000 for n in range(16)]
    together = threading.Barrier(len(bodies))

    def put(body: bytes) -> int:
        together.wait()
        return _open(environ).put(_thing(body=body))

    with ThreadPoolExecutor(len(bodies)) as threads:
        attempts = list(threads.map(put, bodies))

    assert attempts == [1] * len(bodies)
    assert _open(environ).get(KEY).body in bodies
    assert list(_open(environ).list()) == [Listed(KEY, 300_000)]


@folder_store
def test_a_folder_never_shows_half_an_object(store, environ):
    body = os.urandom(MAX_BODY)
    digest = sha256(body).digest()
    root = Path(environ["ARCHIVE_FOLDER"])
    done = threading.Event()

    def watch() -> list[str]:
        """The keys that were seen other than whole, with their metadata."""
        broken = []
        while not done.is_set():
            for entry in store.list():
                seen = store.get(entry.key)
                whole = entry.size == len(body) and sha256(seen.body).digest() == digest
                if not whole or seen.metadata != {"layout": "1"}:
                    broken.append(entry.key)
        return broken

    with ThreadPoolExecutor(1) as thread:
        watching = thread.submit(watch)
        try:
            for n in range(20):
                store.put(_thing(f"shop/{n}.json", body))
        finally:
            done.set()

    assert watching.result() == []
    assert len([file for file in root.rglob("*") if file.is_file()]) == 40  # nothing is left over


@folder_store
def test_a_folder_that_cannot_be_written_stores_nothing(environ, tmp_path):
    (tmp_path / "archive").write_bytes(b"a file is in the way")

    with pytest.raises(NotStored, match="folder"):
        _open(environ).put(_thing())
