"""What is one event, and what is not: ids, repeats, midnight, forgeries, hostile names."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from support.archives import archive_of, delivered, moment, put

from chalicelib.keys import day_folder, hour_folder, parse_key
from hookshelf.reading.errors import BadQuestion, NoSuchApp, NoSuchDelivery, ReadingError

NIGHT = moment("2026-11-20T23:59:59.999")
NOW = moment("2026-12-02")
EVENT = {"email": "Jane@Example.com", "event": "open", "timestamp": 1795218600, "sg_event_id": "e1"}


@pytest.fixture(params=["raw", "compacted"])
def archive(request, folder_environ):
    """Stores what it is called with and gives the archive, as it is or compacted."""

    def made(*objects):
        put(folder_environ, *objects)
        archive = archive_of(folder_environ, NOW)
        if request.param == "compacted":
            list(archive.compact())
        return archive

    return made


def test_an_event_that_is_sent_again_across_midnight_is_shown_once(archive):
    again = [delivered([EVENT], NIGHT + timedelta(seconds=n * 2)) for n in range(3)]
    reading = archive(*again)

    (event,) = reading.find("jane@example.com")

    assert (event.times, event.arrived) == (3, NIGHT)
    assert [e.repeat for e in reading.find("jane@example.com", all=True)] == [False, True, True]
    assert reading.count().rows == [{"events": 1, "repeats": 2}]
    assert list(reading.query("SELECT times FROM events_once")) == [(3,)]


def test_a_forged_copy_hides_nothing(archive):
    forged = delivered([EVENT | {"event": "open", "x": 1}], NIGHT, verdict="bad")
    genuine = delivered([EVENT], NIGHT + timedelta(hours=1))
    reading = archive(forged, genuine)

    (event,) = reading.find("jane@example.com")

    assert (event.verdict, event.delivery, event.times) == ("verified", genuine.key, 2)


def test_equal_events_without_an_id_are_two_within_a_body_and_one_in_its_retry(archive):
    nameless = {name: value for name, value in EVENT.items() if name != "sg_event_id"}
    bodies = [delivered([nameless, nameless], NIGHT + timedelta(hours=n)) for n in range(2)]
    reading = archive(*bodies)

    events = list(reading.find("jane@example.com"))

    assert [(event.position, event.times) for event in events] == [(0, 2), (1, 2)]
    assert reading.count(["type"]).rows == [{"type": "open", "events": 2, "repeats": 2}]


def test_an_event_whose_id_changes_between_retries_is_two(archive):
    other = delivered([EVENT | {"sg_event_id": "e2"}], NIGHT + timedelta(hours=1))
    reading = archive(delivered([EVENT], NIGHT), other)

    assert [event.id for event in reading.find("jane@example.com")] == ["e1", "e2"]


def test_what_is_exact_stays_exact(archive):
    body = b'[{"email":"a@x","n":18446744073709551616,"f":1.50,"n":1e-9,"s":"\\u00e9\\ud800"}]'
    reading = archive(delivered(body, NIGHT))

    (event,) = reading.find("a@x")

    assert f"[{event.data}]".encode() == body


def test_a_delivery_that_is_no_json_is_no_event_and_can_be_shown(archive):
    obj = delivered(b"\x00\xff not JSON", NIGHT)
    reading = archive(obj, delivered([EVENT], NIGHT))

    assert len(list(reading.find())) == 1
    assert reading.delivery(obj.key).body == b"\x00\xff not JSON"
    assert list(reading.query("SELECT count(*) FROM deliveries")) == [(2,)]
    assert list(reading.query("SELECT count(*) FROM events")) == [(1,)]


@pytest.mark.parametrize("subject", ["a'b@x", '"; DROP', "a\x00b", "\ud800", "é", "", "%", "Σ"])
def test_any_text_can_be_looked_up(archive, subject):
    reading = archive(delivered([EVENT | {"email": subject}, EVENT], NIGHT))
    kept = subject.lower().encode("utf-8", "backslashreplace").decode()

    assert [event.subject for event in reading.find(kept)] == [kept]


def test_times_are_arrival_to_the_microsecond_and_sorted_by_the_event(archive):
    times = [moment("2026-11-19T12:00:00.000001"), moment("2026-11-19T12:00:00.000002")]
    objects = [
        delivered([EVENT | {"sg_event_id": f"e{n}", "timestamp": 1795218600 - n}], at)
        for n, at in enumerate(times)
    ]
    reading = archive(*objects)

    def ids(**bounds):
        return [event.id for event in reading.find("jane@example.com", **bounds)]

    assert ids() == ["e1", "e0"]
    assert ids(since=times[1]) == ids(since=times[1], until="2026-11-19") == ["e1"]
    assert ids(until=times[1]) == ["e0"]
    assert ids(since="2026-11-20") == []
    assert ids(limit=1) == ["e0"]
    assert [event.id for event in reading.find(since=times[1])] == ["e1"]


def test_what_is_not_ours_in_the_bucket_changes_nothing(archive, folder_environ):
    root = Path(folder_environ["ARCHIVE_FOLDER"]) / "events"
    day, hour = day_folder(NIGHT.date()), hour_folder(NIGHT)
    foreign = [
        "sendgrid/readme.txt",
        f"sendgrid/{hour}/x.json",
        f"sendgrid/{hour.replace('23', '99')}/20261120T995959.000000Z-{'0' * 64}.json",
        f"sendgrid/{day.replace('20', 'nonsense')}/x",
        "layer=events/app=sendgrid/month=2026-11/2026-11-03.parquet",
        "layer=events/app=sendgrid/month=2026-11/part-0.parquet",
        "layer=events/app=.hidden/x",
        "layer=other/x",
        "_manifests/sendgrid/head",
        f"shop/sendgrid/{hour}/x.json",
        "zz/'; DROP TABLE/x",
    ]
    for name in foreign:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"PAR1 what is this PAR1")
    reading = archive(delivered([EVENT], NIGHT))

    assert [event.id for event in reading.find("jane@example.com")] == ["e1"]
    assert all((root / name).read_bytes() == b"PAR1 what is this PAR1" for name in foreign)


def test_a_foreign_file_where_one_of_ours_belongs_is_named_and_kept(folder_environ):
    put(folder_environ, delivered([EVENT], NIGHT))
    root = Path(folder_environ["ARCHIVE_FOLDER"]) / "events"
    name = "layer=events/app=sendgrid/month=2026-11/2026-11-20.parquet"
    (root / name).parent.mkdir(parents=True)
    (root / name).write_bytes(b"mine")

    with pytest.raises(ReadingError, match="2026-11-20.parquet was not written by hookshelf"):
        list(archive_of(folder_environ, NOW).compact())
    assert (root / name).read_bytes() == b"mine"


def test_an_app_at_two_places_is_found_at_both(archive, folder_environ):
    inner = delivered([EVENT | {"sg_event_id": "e2"}], NIGHT, prefix="trials/one/")
    reading = archive(delivered([EVENT], NIGHT), inner)

    assert [event.id for event in reading.find("jane@example.com")] == ["e1", "e2"]
    assert [str(stream) for stream in reading.apps()] == [
        "events/sendgrid",
        "events/trials/one/sendgrid",
    ]


def test_an_app_whose_name_begins_another_path_does_not_hide_it(archive):
    below = delivered([EVENT], NIGHT + timedelta(days=1), app="a", prefix="shop/")
    own = delivered([EVENT], NIGHT, app="shop")
    reading = archive(below, own)

    assert len(list(reading.deliveries(app="shop", until=NIGHT + timedelta(seconds=1)))) == 1


def test_any_beginning_of_a_hash_that_one_delivery_has_names_it(archive):
    bodies = [b"[%d]" % number for number in range(17)]  # two of them begin with the same digit
    objects = [delivered(body, NIGHT + timedelta(seconds=n)) for n, body in enumerate(bodies)]
    reading = archive(*objects)
    keys = {parse_key(obj.key).sha256: obj.key for obj in objects}

    lengths = set()
    for sha256, key in keys.items():
        length = next(n for n in range(1, 65) if sum(h.startswith(sha256[:n]) for h in keys) == 1)
        lengths.add(length)
        assert reading.delivery(sha256[:length]).key == key
        assert reading.delivery(sha256[:length].upper()).key == key
        if length > 1:
            with pytest.raises(NoSuchDelivery, match="give more of it"):
                reading.delivery(sha256[: length - 1])
    assert lengths >= {1, 2}


def test_what_does_not_exist_is_named(archive):
    reading = archive(delivered([EVENT], NIGHT))

    with pytest.raises(NoSuchApp, match="sendgrid"):
        list(reading.find("x", app="shop"))
    with pytest.raises(NoSuchDelivery):
        reading.delivery("0000")
    for wrong in ("xyz", "", "0" * 65):
        with pytest.raises(BadQuestion):
            reading.delivery(wrong)
    with pytest.raises(BadQuestion, match="domain"):
        reading.count(["nonsense"])
    with pytest.raises(BadQuestion, match="14d"):
        reading.find("x", since="yesterday")


def test_a_statement_reaches_nothing_but_the_archive(archive, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    reading = archive(delivered([EVENT], NIGHT))

    for statement in (
        f"SELECT * FROM '{secret}'",
        f"COPY events TO '{tmp_path}/out.csv'",
        f"ATTACH '{tmp_path}/out.db'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
    ):
        with pytest.raises(BadQuestion):
            list(reading.query(statement))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "secret.csv"]


def test_the_fields_of_an_event_as_json(archive):
    obj = delivered([EVENT | {"sg_message_id": "m.f"}], NIGHT)
    (event,) = archive(obj).find("jane@example.com")

    assert list(event.as_json().values()) == [
        "e1",
        "sendgrid",
        "open",
        "jane@example.com",
        "2026-11-20T23:50:00.000Z",
        "sendgrid",
        "m",
        "2026-11-20T23:59:59.999Z",
        obj.key,
        0,
        "verified",
        1,
        json.dumps(EVENT | {"sg_message_id": "m.f"}),
    ]
