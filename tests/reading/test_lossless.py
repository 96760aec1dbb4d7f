"""Rows give back every byte they were made from, and every header that was kept."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.archives import archive_of, delivered, moment, put
from support.loops import for_each
from support.project import PROJECT, SAMPLES

from chalicelib import events as plain
from chalicelib.archive import to_object
from chalicelib.delivery import Delivery
from chalicelib.keys import DeliveryKey, parse_key
from chalicelib.responses import MAX_BODY
from chalicelib.sources import source_named, source_names
from hookshelf.reading.intake import ROWS_IN_PAGE
from hookshelf.reading.quick import Msgspec
from hookshelf.reading.rows import is_same, rebuilt, to_rows

ARRIVED = moment("2026-11-20T23:50:01.123456")
PAYLOADS = PROJECT.parent / "shared" / "payloads"  # real bodies, where somebody has put some
SOURCES = [source_named(name) for name in sorted(source_names())]
BODIES = {
    "a byte order mark": b'\xef\xbb\xbf[{"email":"a@x"}]',
    "line ends and trailing spaces": b'\r\n[ {"email":"a@x"} ,\r\n\t{"email":"b@x"}\n]\r\n \r\n',
    "duplicate names": b'[{"email":"a@x","email":"b@x","n":1,"n":2}]',
    "equal events": b'[{"email":"a@x"},{"email":"a@x"},1,1,"1","1",[[1]],[[1]],{},{}]',
    "invalid UTF-8": b'[{"email":"\xff"}]',
    "half a surrogate pair": b'[{"email":"\\ud800x","event":"\\udfff"}]',
    "a null": b'[{"email":"a\\u0000b"}]',
    "large integers": b'[{"email":"a@x","n":18446744073709551616123456789,"sg_event_id":1e400}]',
    "nothing": b"",
    "an empty array": b"[]",
    "a scalar": b"  12.50 ",
    "cut off": b'[{"email":"a@x"},{"email":',
    "a form": b"payload=%7B%22action%22%3A%22x%22%7D&a=1",
    "a slash command": b"command=%2Fx&user_id=U1&text=a%00b",
    "regrouped": b'{"entry":[{"messaging":[{"x":1}],"changes":[{"y":2}]}],"object":"page"}',
    "every byte": bytes(range(256)),
}


def check(body: bytes, source, headers=None) -> None:
    delivery = Delivery(
        "shop", {"content-type": "application/json", **(headers or {})}, body, ARRIVED
    )
    obj = to_object(delivery, source, verdict="verified")
    key = parse_key(obj.key)
    assert isinstance(key, DeliveryKey)

    rows = to_rows(obj, key, source)

    again = rebuilt(rows, key)
    assert (again.body, again.metadata, again.content_type) == (
        body,
        obj.metadata,
        obj.content_type,
    )
    assert is_same(again, key)
    assert [row.position for row in rows] == list(range(len(rows)))
    assert all(row.data is None or row.derived or row.data.encode() in body for row in rows)
    assert all(row.id for row in rows if row.is_event)


@for_each("body", BODIES)
@pytest.mark.parametrize("source", SOURCES, ids=[source.name for source in SOURCES])
def test_a_body_is_rebuilt_byte_for_byte(source, body):
    check(body, source)


@pytest.mark.parametrize("folder", sorted(p.parent for p in SAMPLES.glob("*/*/body.*")), ids=str)
def test_a_sample_is_rebuilt_byte_for_byte(folder):
    (body,) = folder.glob("body.*")
    headers = json.loads((folder / "headers.json").read_bytes())

    check(body.read_bytes(), source_named(folder.parent.name), headers)


def test_bodies_from_outside_are_rebuilt_byte_for_byte():
    if not PAYLOADS.is_dir():
        pytest.skip(f"no payloads in {PAYLOADS}")
    for path in sorted(PAYLOADS.rglob("*.*")):
        for source in SOURCES:
            check(path.read_bytes(), source)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
jsons = st.builds(
    lambda value, ascii, indent: json.dumps(value, ensure_ascii=ascii, indent=indent).encode(
        "utf-8", "surrogatepass"
    ),
    values,
    st.booleans(),
    st.sampled_from([None, 0, 2]),
)


@given(jsons | st.binary(max_size=60), st.sampled_from(SOURCES))
def test_any_body_is_rebuilt_byte_for_byte(body, source):
    check(body, source)


@given(
    jsons.map(lambda body: body.decode("utf-8", "surrogatepass")) | st.text('[]{}",:\\ 1e-+.aNu')
)
def test_the_quick_reader_gives_what_the_plain_one_gives_or_nothing(text):
    quick = Msgspec()
    plain.read_quickly(None)
    try:
        cut, value = list(plain.elements(text)), plain.parse_json(text)
    finally:
        plain.read_quickly(quick)

    known = quick.elements(text)
    assert known is None or repr(known) == repr(cut)
    whole = quick.parse(text)
    assert whole is None or repr(whole[0]) == repr(value)


names = st.sampled_from(["email", "event", "smtp-id", "other"])
arrays = st.lists(st.lists(st.tuples(names, values), max_size=6), max_size=4)


@given(arrays, st.booleans())
def test_the_quick_reader_leaves_out_of_objects_only_what_nobody_looks_at(array, ascii):
    def written(value):
        return json.dumps(value, ensure_ascii=ascii)

    members = [[f"{written(name)}:{written(value)}" for name, value in each] for each in array]
    text = f"[{','.join('{' + ','.join(each) + '}' for each in members)}]"
    looked_at = ("email", "event", "smtp-id")

    known = Msgspec().fields(text, looked_at)

    cut = [
        (exact, tuple(value.get(name) for name in looked_at))
        for exact, value in plain.elements(text)
    ]
    assert known is None or repr(known) == repr(cut)


def test_names_that_are_looked_at_are_none_in_what_is_no_object():
    assert Msgspec().fields('[{"email":"a"},1,null]', ("email",)) is None
    assert Msgspec().fields('{"email":"a"}', ("email",)) is None
    assert list(plain.fields('[{"email":"a"},1]', ("email", "event"))) == [
        ('{"email":"a"}', ("a", None)),
        ("1", (None, None)),
    ]
    assert list(plain.fields('{"email":"a"}', ("email",))) == []


def test_compacted_files_hold_every_body_and_header_when_raw_is_gone(folder_environ):
    objects = [
        delivered(body, ARRIVED + timedelta(minutes=n), app="shop", source=source.name)
        for n, (source, body) in enumerate((s, b) for s in SOURCES for b in BODIES.values())
    ]
    many = b"[" + b",\n".join([b'{"email":"\xc3\xa4@x"}'] * (2 * ROWS_IN_PAGE + 1)) + b"]\r\n"
    objects.append(delivered(many, ARRIVED + timedelta(hours=2), app="shop"))
    objects.append(delivered(b'["' + b'\\"' * (2 * 1024 * 1024 - 2) + b'"]', ARRIVED, app="shop"))
    put(folder_environ, *objects)
    archive = archive_of(folder_environ, moment("2026-12-02"))
    before = [event.as_json() for event in archive.find(all=True)]

    list(archive.compact())
    shutil.rmtree(Path(folder_environ["ARCHIVE_FOLDER"]) / "events" / "shop")

    for obj in objects:
        delivery = archive.delivery(obj.key)
        assert (delivery.body, delivery.metadata) == (obj.body, obj.metadata)
        assert delivery.state == "compacted"
    assert [event.as_json() for event in archive.find(all=True)] == before


LARGEST = {
    "one string": b'["' + b"x" * (MAX_BODY - 4) + b'"]',
    "small events": (b"[" + b",".join([b'{"email":"a@x"}'] * 2_000) + b"]").ljust(MAX_BODY),
    "nested": b"[" * 400 + b" " * (MAX_BODY - 800) + b"]" * 400,
    "a form": b"payload=" + b"%7B" * ((MAX_BODY - 8) // 3),
    "no text": bytes(range(256)) * (MAX_BODY // 256),
}


@pytest.mark.slow
def test_every_sample_and_outside_and_large_body_is_given_back_when_raw_is_gone(folder_environ):
    outside = sorted(path for path in PAYLOADS.rglob("*.*") if path.stat().st_size <= MAX_BODY)
    bodies = [
        (folder.parent.name, path.read_bytes(), json.loads((folder / "headers.json").read_bytes()))
        for path in sorted(SAMPLES.glob("*/*/body.*"))
        for folder in [path.parent]
    ]
    bodies += [("generic", body, {}) for body in LARGEST.values()]
    bodies += [(source.name, path.read_bytes(), {}) for path in outside for source in SOURCES]
    objects = [
        delivered(body, ARRIVED + timedelta(seconds=n), app="shop", source=source, headers=headers)
        for n, (source, body, headers) in enumerate(bodies)
    ]
    put(folder_environ, *objects)
    archive = archive_of(folder_environ, moment("2026-12-02"))
    before = [event.as_json() for event in archive.find(all=True)]

    list(archive.compact())
    shutil.rmtree(Path(folder_environ["ARCHIVE_FOLDER"]) / "events" / "shop")

    kept = {delivery.key: delivery for delivery in archive.deliveries(whole=True)}
    assert kept.keys() == {obj.key for obj in objects}
    for obj in objects:
        assert (kept[obj.key].body, kept[obj.key].metadata) == (obj.body, obj.metadata), obj.key
    assert [event.as_json() for event in archive.find(all=True)] == before
    if not outside:
        pytest.skip(f"samples and large bodies were given back; no payloads in {PAYLOADS}")


@pytest.mark.slow
@given(st.lists(jsons | st.binary(max_size=60), min_size=1, max_size=30, unique=True))
@settings(max_examples=5)
def test_any_bodies_are_given_back_when_raw_is_gone(tmp_path_factory, bodies):
    folder = tmp_path_factory.mktemp("archive")
    environ = {"ARCHIVE_FOLDER": str(folder), "ARCHIVE_BUCKETS": "events"}
    objects = [
        delivered(body, ARRIVED + timedelta(seconds=n), app="shop", source=source.name)
        for n, (body, source) in enumerate(zip(bodies, SOURCES * 30, strict=False))
    ]
    put(environ, *objects)
    archive = archive_of(environ, moment("2026-12-02"))
    list(archive.compact())
    shutil.rmtree(folder / "events" / "shop")

    for obj in objects:
        delivery = archive.delivery(obj.key)
        assert (delivery.body, delivery.metadata) == (obj.body, obj.metadata)
