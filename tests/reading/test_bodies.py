"""Every delivery whole, from compacted files and from raw objects."""

import shutil
from pathlib import Path

import pytest
from support.archives import archive_of, delivered, moment, put, traffic

from hookshelf.reading import bodies

START = moment("2026-10-29T00:00")
ODD = [
    b"",
    b"[]",
    b"\xff\x00",
    b"payload=%7B%7D",
    b'\xef\xbb\xbf [ {"email":"a@x"} ,\r\n 1]\r\n',
    b'{"entry":[{"messaging":[{"x":1}],"changes":[{"y":2}]}],"object":"page"}',
]


@pytest.mark.parametrize("rows_at_once", [1, 100_000], ids=["in parts", "at once"])
@pytest.mark.parametrize(
    "now",
    [
        pytest.param("2026-10-29T00:00", marks=pytest.mark.slow),
        "2026-10-31T13:00",
        pytest.param("2026-11-02T00:20", marks=pytest.mark.slow),
    ],
)
def test_every_delivery_is_given_once_with_its_exact_body_and_metadata(
    folder_environ, monkeypatch, now, rows_at_once
):
    monkeypatch.setattr(bodies, "_ROWS_AT_ONCE", rows_at_once)
    objects = list(traffic(7, START, 4.5, 40))
    objects += [delivered(body, START, source="meta") for body in ODD]
    put(folder_environ, *objects)
    list(archive_of(folder_environ, moment(now)).compact())

    given = list(archive_of(folder_environ, moment(now)).deliveries(whole=True))

    expected = {obj.key: (obj.body, dict(obj.metadata)) for obj in objects}
    assert {d.key: (d.body, dict(d.metadata)) for d in given} == expected
    assert len(given) == len(expected)
    assert {d.state for d in given} <= {"raw", "compacted"}


def test_raw_objects_need_not_be_there_any_more(folder_environ):
    put(folder_environ, *traffic(7, START, 4.5, 40))
    archive = archive_of(folder_environ, moment("2026-12-02"))
    list(archive.compact())
    shutil.rmtree(Path(folder_environ["ARCHIVE_FOLDER"]) / "events" / "sendgrid")

    given = list(archive.deliveries(whole=True, since="2026-10-30", until="2026-10-30"))

    listed = list(archive.deliveries(since="2026-10-30", until="2026-10-30"))
    assert [d.key for d in given] == [d.key for d in listed]
    assert not any(d.altered for d in given)
    assert given


def test_files_replaced_while_they_are_read_give_nothing_twice(folder_environ):
    objects = list(traffic(7, START, 4.5, 40))
    put(folder_environ, *objects)
    list(archive_of(folder_environ, moment("2026-10-31T13:00")).compact())
    given = []

    for number, delivery in enumerate(archive_of(folder_environ, START).deliveries(whole=True)):
        given.append(delivery.key)
        if number == 3:
            list(archive_of(folder_environ, moment("2026-12-02")).compact())

    assert sorted(given) == sorted({obj.key for obj in objects})
