"""Whatever is compacted, and when: what is found is what a scan of all raw objects finds."""

import gc
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.archives import (
    Killed,
    archive_of,
    brute_force,
    delivered,
    dying,
    found,
    moment,
    put,
    requests_of,
    scanned,
    traffic,
)
from support.stores import STORES, environ_of

from hookshelf.reading import compact, split
from hookshelf.reading.merge import Engine

START = moment("2026-10-29T00:00")
PEOPLE = [f"person{n}@example.com" for n in (1, 2, 3, 5, 8, 13, 21, 34)] + [
    "PERSON3@example.com",
    "nobody@x",
]
STAGES = {
    "nothing compacted": [],
    "hours of today": ["2026-10-29T13:00"],
    "days and hours": ["2026-10-31T13:00"],
    "hours, then their days": ["2026-10-29T13:00", "2026-10-30T07:30", "2026-11-01T00:05"],
    "a month and days": ["2026-11-02T00:20"],
    "all of it": ["2026-10-30T12:00", "2026-11-01T12:00", "2026-12-01T01:00"],
}


OTHER_SERVERS = ["rclone", "ceph"]
EVERYWHERE = [
    *STORES,
    "rclone",
    pytest.param("ceph", marks=pytest.mark.xdist_group("ceph_endpoint")),
]


@pytest.fixture
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param in OTHER_SERVERS:
        return request.getfixturevalue(f"{request.param}_environ")
    return environ_of(request.param, request)


QUICK = ("nothing compacted", "all of it")  # the stages between are steps of the last


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(stage, marks=[pytest.mark.slow] * (name not in QUICK))
        for name, stage in STAGES.items()
    ],
    ids=STAGES,
)
def test_find_gives_what_a_scan_of_every_raw_object_gives(folder_environ, stage):
    put(folder_environ, *traffic(7, START, 4.5, 60))
    expected = scanned(folder_environ)
    assert sum(len(expected.get(person.lower(), [])) for person in PEOPLE) > 100

    for now in stage:
        list(archive_of(folder_environ, moment(now)).compact())
        archive = archive_of(folder_environ, moment(now))
        for person in PEOPLE:
            assert found(archive, person) == expected.get(person.lower(), []), (now, person)


@pytest.mark.slow
@pytest.mark.parametrize("environ", EVERYWHERE, indirect=True)
def test_find_gives_of_200_addresses_what_a_scan_gives_at_every_stage_in_every_store(environ):
    people = [f"{('person', 'PERSON')[n % 2]}{n}@example.com" for n in range(1, 201)]
    put(environ, *traffic(17, START, 4.5, 40, people=200, batch=20))
    expected = scanned(environ)
    assert len(expected) > 80

    raw = []
    for now in [None, "2026-10-30T01:00", "2026-10-31T13:00", "2026-11-02T00:20", "2026-12-02"]:
        archive = archive_of(environ, moment(now or "2026-10-29"))
        changes = list(archive.compact()) if now else []
        for person in people:
            assert found(archive, person) == expected.get(person.lower(), []), (now, person)
        look = archive.find(people[0])
        assert list(look)
        raw.append(look.read.raw_objects)
        assert bool(changes) == bool(now)

    assert raw[0] > raw[1] > raw[2] > raw[3] > raw[4] == 0


@pytest.mark.slow
@pytest.mark.parametrize("environ", EVERYWHERE, indirect=True)
def test_find_sees_of_200_addresses_what_arrives_while_any_store_is_compacted(environ):
    people = [f"person{n}@example.com" for n in range(1, 201)]
    later = list(traffic(18, START, 4.5, 30, people=200))
    put(environ, *traffic(17, START, 4.5, 30, people=200))
    archive = archive_of(environ, moment("2026-11-02T00:20"))

    for _ in archive.compact():
        arriving, later = later[:3], later[3:]
        put(environ, *arriving)
        expected = scanned(environ)
        # What came late into a time that a file covers is found after the next run.
        for person in people[:20]:
            rows = found(archive, person)
            assert len({row[:2] for row in rows}) == len(rows)
            assert {row[:2] for row in rows} <= {row[:2] for row in expected.get(person, [])}
    put(environ, *later)
    list(archive.compact())

    expected = scanned(environ)
    for person in people:
        assert found(archive, person) == expected.get(person, []), person


@pytest.mark.slow
def test_find_sees_what_arrives_while_it_is_compacted(folder_environ):
    later = traffic(8, START, 4.5, 60)
    put(folder_environ, *traffic(7, START, 4.5, 60))
    archive = archive_of(folder_environ, moment("2026-11-02T00:20"))

    for _ in archive.compact():
        put(folder_environ, *[obj for obj, _ in zip(later, range(5), strict=False)])
    list(archive.compact())

    for person in PEOPLE:
        assert found(archive, person) == brute_force(folder_environ, person)


def test_a_key_that_is_put_late_is_found_after_the_next_run_and_logged(folder_environ):
    put(folder_environ, *traffic(7, START, 4.5, 40))
    archive = archive_of(folder_environ, moment("2026-12-02"))
    list(archive.compact())
    put(folder_environ, *traffic(9, START, 4.5, 7))

    states = [(change.file[-15:], change.state) for change in archive.compact()]

    assert states == [("2026-10.parquet", "written"), ("2026-11.parquet", "written")]
    assert {change.state for change in archive.compact()} == {"unchanged"}
    for person in PEOPLE:
        assert found(archive, person) == brute_force(folder_environ, person)


def test_everything_is_answered_from_compacted_files_alone(folder_environ):
    put(folder_environ, *traffic(7, START, 4.5, 40))
    archive = archive_of(folder_environ, moment("2026-12-02"))
    before = answers(archive)
    list(archive.compact())
    assert answers(archive) == before

    shutil.rmtree(Path(folder_environ["ARCHIVE_FOLDER"]) / "events" / "sendgrid")

    assert answers(archive) == before
    assert {change.state for change in archive.compact()} == {"unchanged"}


@pytest.mark.slow
def test_a_changed_source_makes_files_anew_with_raw_gone_too(folder_environ, tmp_path):
    put(folder_environ, *traffic(7, START, 3.5, 30))
    archive = archive_of(folder_environ, moment("2026-11-02"))
    list(archive.compact())
    shutil.rmtree(Path(folder_environ["ARCHIVE_FOLDER"]) / "events" / "sendgrid")
    apps = tmp_path / "apps.json"
    apps.write_text(
        '{"sendgrid": {"source": "generic", "paths": {"id": "sg_message_id", "subject": "event"}}}'
    )
    changed = archive_of({**folder_environ, "APPS_FILE": str(apps)}, moment("2026-11-02"))

    assert list(changed.find("event", type="open")) == []
    assert "written" in {change.state for change in changed.compact()}

    assert list(changed.find("person1@example.com")) == []
    assert {event.source for event in changed.find("open")} == {"generic"}
    bodies = {d.key: changed.delivery(d.key).sha256 for d in changed.deliveries()}
    assert bodies and all(not changed.delivery(key).altered for key in bodies)
    list(archive.compact())  # and back again
    assert list(archive.find("person1@example.com"))


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_compaction_that_is_killed_at_any_request_is_finished_by_the_next(
    tmp_path, after, requests_of_a_run
):
    expected = None
    for number in range(1, requests_of_a_run + 1):
        environ = {"ARCHIVE_FOLDER": str(tmp_path / f"{number}"), "ARCHIVE_BUCKETS": "events"}
        put(environ, *traffic(3, moment("2026-10-31T22:00"), 0.2, 4, people=4))
        expected = expected or [brute_force(environ, person) for person in PEOPLE[:2]]
        list(archive_of(environ, moment("2026-10-31T23:30")).compact())
        raw = archived(environ)
        now = moment("2026-12-02")

        with pytest.raises(Killed):
            list(archive_of(environ, now, open_store=dying(number, after=after)).compact())

        archive = archive_of(environ, now)
        assert [found(archive, person) for person in PEOPLE[:2]] == expected, number
        list(archive.compact())
        assert [found(archive, person) for person in PEOPLE[:2]] == expected, number
        assert {change.state for change in archive.compact()} == {"unchanged"}
        assert archived(environ).items() >= raw.items()
        shutil.rmtree(tmp_path / f"{number}")


@pytest.fixture(scope="module")
def requests_of_a_run(tmp_path_factory: pytest.TempPathFactory) -> int:
    folder = tmp_path_factory.mktemp("whole")
    environ = {"ARCHIVE_FOLDER": str(folder), "ARCHIVE_BUCKETS": "events"}
    put(environ, *traffic(3, moment("2026-10-31T22:00"), 0.2, 4, people=4))
    list(archive_of(environ, moment("2026-10-31T23:30")).compact())
    return len(requests_of(environ, moment("2026-12-02"), lambda archive: list(archive.compact())))


@pytest.mark.slow
def test_two_compactors_at_once_leave_one_set_of_files(folder_environ):
    put(folder_environ, *traffic(7, START, 4.5, 40))
    one = archive_of(folder_environ, moment("2026-11-02T00:20")).compact()
    other = archive_of(folder_environ, moment("2026-11-02T00:20")).compact()

    while next(one, None) or next(other, None):
        pass

    archive = archive_of(folder_environ, moment("2026-11-02T00:20"))
    list(archive.compact())
    assert {change.state for change in archive.compact()} == {"unchanged"}
    for person in PEOPLE:
        assert found(archive, person) == brute_force(folder_environ, person)


@pytest.mark.slow
def test_days_that_several_processes_split_are_the_same(folder_environ, tmp_path, monkeypatch):
    put(folder_environ, *traffic(7, START, 2.5, 40))
    twin_environ = {**folder_environ, "ARCHIVE_FOLDER": str(tmp_path / "twin")}
    shutil.copytree(folder_environ["ARCHIVE_FOLDER"], twin_environ["ARCHIVE_FOLDER"])
    now = moment("2026-11-01T12:00")
    list(archive_of(folder_environ, now).compact(processes=1))

    monkeypatch.setattr(split, "_PAYS", 5)
    list(archive_of(twin_environ, now).compact(processes=2))

    one, other = (
        list(archive_of(some, now).query("SELECT * FROM events"))
        for some in (folder_environ, twin_environ)
    )
    assert one == other
    assert len(one) > 60


@pytest.mark.slow
def test_a_month_that_is_sorted_in_ranges_is_the_same(folder_environ, tmp_path, monkeypatch):
    put(folder_environ, *traffic(7, START, 4.5, 40))
    twin = tmp_path / "twin"
    shutil.copytree(folder_environ["ARCHIVE_FOLDER"], twin)
    twin_environ = {**folder_environ, "ARCHIVE_FOLDER": str(twin)}
    list(archive_of(folder_environ, moment("2026-12-02")).compact())

    monkeypatch.setattr(compact, "SORTED_AT_ONCE", 20)
    list(archive_of(twin_environ, moment("2026-12-02")).compact())

    months = [archive_of(some, moment("2026-12-02")) for some in (folder_environ, twin_environ)]
    one, other = (list(archive.query("SELECT * FROM events")) for archive in months)
    assert one == other
    assert len(one) > 100


def test_a_dry_run_says_what_would_be_done_and_does_nothing(folder_environ):
    put(folder_environ, *traffic(7, START, 4.5, 20))
    for now in ("2026-10-30T07:30", "2026-11-02T00:20", "2026-12-02"):
        archive = archive_of(folder_environ, moment(now))
        before = every_file(folder_environ)

        foreseen = list(archive.compact(dry_run=True))

        assert every_file(folder_environ) == before
        done = list(archive.compact())
        assert {change.state for change in done} >= {"written"}
        assert [(c.file, c.state, c.deliveries) for c in foreseen] == [
            (c.file, c.state, c.deliveries) for c in done
        ]
        assert {c.events for c in foreseen if c.state == "written"} == {None}


@pytest.mark.parametrize(
    "keep", [4, *(pytest.param(days, marks=pytest.mark.slow) for days in (2, 40))]
)
def test_of_a_month_it_says_once_what_becomes_of_it_where_days_expire(folder_environ, keep):
    put(folder_environ, *traffic(7, START, 4.5, 40))
    archive = archive_of(folder_environ, moment("2026-11-03T01:00"))
    list(archive.compact())
    put(folder_environ, *traffic(9, START + timedelta(days=2), 0.9, 2))  # late, in a kept day
    plan = {"keep": timedelta(days=keep)}

    foreseen, done = list(archive.compact(**plan, dry_run=True)), list(archive.compact(**plan))

    assert len({change.file for change in done}) == len(done)
    assert [(c.file, c.state, c.deliveries) for c in foreseen] == [
        (c.file, c.state, c.deliveries) for c in done
    ]
    assert {change.state for change in archive.compact(**plan)} == {"unchanged"}


def test_a_run_without_time_left_ends_and_the_next_goes_on(folder_environ):
    put(folder_environ, *traffic(7, START, 2.5, 20))
    archive = archive_of(folder_environ, moment("2026-11-05"))
    seconds = iter([100.0, 5.0])

    assert len(list(archive.compact(remaining=lambda: next(seconds)))) == 1
    assert len([c for c in archive.compact() if c.state == "written"]) == 3


def test_days_that_are_too_old_are_deleted_and_stay_so(folder_environ):
    put(folder_environ, *traffic(7, START, 4.5, 40))
    archive = archive_of(folder_environ, moment("2026-11-02T01:00"))
    list(archive.compact())  # October in one file
    keep = timedelta(days=3)

    list(archive.compact(keep=keep))

    kept = {str(event.arrived.date()) for event in archive.find() if event.arrived}
    rows = archive.query("SELECT DISTINCT strftime(arrived, '%Y-%m-%d') FROM deliveries")
    assert sorted(row[0] for row in rows) == sorted(kept)
    assert min(kept) == "2026-10-30"
    assert {change.state for change in archive.compact(keep=keep)} == {"unchanged"}


def test_what_was_altered_is_kept_and_called_bad(folder_environ):
    obj = delivered([{"email": "a@x", "event": "open", "sg_event_id": "1"}], START)
    put(folder_environ, obj)
    path = Path(folder_environ["ARCHIVE_FOLDER"]) / "events" / obj.key
    path.write_bytes(obj.body.replace(b"a@x", b"b@x"))
    archive = archive_of(folder_environ, moment("2026-12-02"))
    before = list(archive.find("b@x"))

    list(archive.compact())

    assert [event.verdict for event in before] == ["bad"]
    assert list(archive.find("b@x")) == before
    assert archive.delivery(obj.key).altered


def answers(archive):
    keys = [delivery.key for delivery in archive.deliveries()]
    wholes = [archive.delivery(key) for key in keys]
    return {
        "find": [found(archive, person) for person in PEOPLE[:10]],
        "all": [event.as_json() for event in archive.find(all=True)],
        "count": archive.count(["day", "type", "verdict"]).rows,
        "deliveries": [(d.key, d.size, d.body, dict(d.metadata or {})) for d in wholes],
        "events": [event.as_json() for d in wholes for event in archive.events_of(d)],
        "sql": list(
            archive.query("SELECT * EXCLUDE (repeat) FROM events_once ORDER BY delivery, position")
        ),
    }


def archived(environ):
    return {
        path: body
        for path, body in every_file(environ).items()
        if ".json" in path.name and "_manifests" not in path.parts
    }


def every_file(environ):
    root = Path(environ["ARCHIVE_FOLDER"])
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_rows_are_read_from_an_archive_that_nobody_holds_any_more(folder_environ):
    put(folder_environ, *traffic(3, moment("2026-11-16"), 2, 8))
    now = moment("2026-11-20")
    list(archive_of(folder_environ, now).compact())
    rows = archive_of(folder_environ, now).query("select * from events").rows
    gc.collect()

    assert len(list(rows)) > 8


def test_a_merge_that_memory_does_not_suffice_for_is_done_by_one_thread_with_the_same_bytes(
    folder_environ, tmp_path, monkeypatch
):
    put(folder_environ, *traffic(7, START, 0.5, 10))
    twin_environ = {**folder_environ, "ARCHIVE_FOLDER": str(tmp_path / "twin")}
    shutil.copytree(folder_environ["ARCHIVE_FOLDER"], twin_environ["ARCHIVE_FOLDER"])
    list(archive_of(folder_environ, moment("2026-10-31")).compact())
    threads = []
    merge = Engine._merge

    def exhausted(engine: Engine, *args: Any) -> Any:
        ((number,),) = engine._sql.execute("SELECT current_setting('threads')").fetchall()
        threads.append(number)
        if len(threads) == 1:
            raise duckdb.OutOfMemoryException("Out of Memory Error: failed to pin block")
        return merge(engine, *args)

    monkeypatch.setattr(Engine, "_merge", exhausted)
    list(archive_of(twin_environ, moment("2026-10-31")).compact())

    assert threads[1:2] == [1]
    one, other = (
        [path.read_bytes() for path in sorted(Path(some["ARCHIVE_FOLDER"]).rglob("*.parquet"))]
        for some in (folder_environ, twin_environ)
    )
    assert one == other != []


def test_no_month_is_closed_over_days_that_only_a_longer_look_back_would_compact(folder_environ):
    """One day is compacted before those before it, as `--since` does; then the nightly run."""
    for day in ("2026-10-30", "2026-10-31", "2026-11-01"):
        put(
            folder_environ,
            delivered([{"email": "a@x", "event": "open", "timestamp": 1}], moment(day)),
        )
    expected = brute_force(folder_environ, "a@x")
    archive = archive_of(folder_environ, moment("2026-11-02T07:00"))
    list(archive.compact(since="2026-11-01", until="2026-11-01"))

    list(archive.compact(look_back=timedelta(days=2)))

    assert found(archive, "a@x") == expected
    assert [row[4] for row in expected] == [3]  # times
