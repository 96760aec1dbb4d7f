"""What find, count, sql and compact show of what senders do wrong, or others do to a bucket."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
from support.archives import archive_of, delivered, moment, put, traffic

from chalicelib.keys import day_folder, hour_folder

NIGHT = moment("2026-10-31T23:59:59.999")  # the last moment of a day and of a month
NEXT = NIGHT + timedelta(milliseconds=2)
NOW = moment("2026-12-02")
EVENT = {"email": "Jane@Example.com", "event": "open", "timestamp": 1793491199, "sg_event_id": "e1"}
NAMELESS = {name: value for name, value in EVENT.items() if name != "sg_event_id"}
UNKNOWN = EVENT | {"new": {"deep": [None, 1.50]}, "é": "ü", "batch": 7, "delivery": "x"}
EXACT = (
    '{"email":"jane@example.com","event":"open","timestamp":1793491199,"sg_event_id":"e1",'
    '"n":18446744073709551615,"id":9007199254740993,"f":1.10,"e":1E400,"n":-0}'
)
HOSTILE = (
    '{"email":"jane@example.com","event":"open","timestamp":1793491199,"sg_event_id":"e1",'
    '"__proto__":{"admin":1},"\\u001b[2J":1,"\'; DROP TABLE events; --":2,"\\u0000":3,"":4,'
    '"\\ud800":5,"email\\u0000":"x","<script>":6}'
)
DAY, HOUR = day_folder(NIGHT.date()), hour_folder(NIGHT)
FOREIGN = [
    f"sendgrid/{HOUR}/20261031T235959.999000Z-short.json",
    f"sendgrid/{HOUR.replace('23', '24')}/20261031T235959.999000Z-{'0' * 64}.json",
    f"sendgrid/{HOUR}/20261031T235959.999000Z-{'0' * 64}.parquet",
    f"sendgrid/{HOUR}/..{'0' * 64}.json",
    f"sendgrid/{HOUR}/x.json".replace("2026", "'; DROP TABLE events; --"),
    f"sendgrid/{HOUR}/\x1b[2J.json",
    f"sendgrid.bak/{DAY}/x",
    "layer=events/app=sendgrid/month=2026-10/part-00000.parquet",
    "layer=events/app=sendgrid/month=2026-10/2026-10-31.parquet.crc",
    "layer=events/app=sendgrid/_SUCCESS",
    "layer=other/app=sendgrid/month=2026-10/2026-10-31.parquet",
    "_manifests/sendgrid/notes.txt",
    "_manifests/sendgrid/1.json",
]


class Shown(NamedTuple):
    """Of each event its id (None: made of the body's hash), how often it was seen, its verdict."""

    events: list[tuple[str | None, int, str]]
    repeats: int
    rows: int  # of sql's `events`
    deliveries: int
    data: str | None = None  # of the first


def one(*events: dict[str, Any] | str, at=NIGHT, **options: Any) -> Any:
    if isinstance(events[0], str):
        return delivered(f"[{','.join(map(str, events))}]".encode(), at, **options)
    return delivered(list(events), at, **options)


SITUATIONS = {
    "no id, retried": (
        [one(NAMELESS), one(NAMELESS, at=NEXT)],
        Shown([(None, 2, "verified")], 1, 2, 2),
    ),
    "no id, twice in one body": (
        [one(NAMELESS, NAMELESS)],
        Shown([(None, 1, "verified"), (None, 1, "verified")], 0, 2, 1),
    ),
    "an id that changes between retries": (
        [one(EVENT), one(EVENT | {"sg_event_id": "e2"}, at=NEXT)],
        Shown([("e1", 1, "verified"), ("e2", 1, "verified")], 0, 2, 2),
    ),
    "repeated inside one body": (
        [one(EVENT, EVENT, EVENT)],
        Shown([("e1", 3, "verified")], 2, 3, 1),
    ),
    "retried across midnight and a month's end": (
        [one(EVENT), one(EVENT, at=NEXT)],
        Shown([("e1", 2, "verified")], 1, 2, 2),
    ),
    "the same id with another type": (
        [one(EVENT, EVENT | {"event": "click"})],
        Shown([("e1", 1, "verified"), ("e1", 1, "verified")], 0, 2, 1),
    ),
    "unknown fields": (
        [one(UNKNOWN)],
        Shown([("e1", 1, "verified")], 0, 1, 1, json.dumps(UNKNOWN)),
    ),
    "64-bit integers, and numbers beyond": (
        [one(EXACT)],
        Shown([("e1", 1, "verified")], 0, 1, 1, EXACT),
    ),
    "hostile names": ([one(HOSTILE)], Shown([("e1", 1, "verified")], 0, 1, 1, HOSTILE)),
    "a forged copy before and one after": (
        [
            one(EVENT | {"reason": "forged"}, at=NIGHT - timedelta(hours=1), verdict="bad"),
            one(EVENT),
            one(EVENT | {"reason": "forged"}, at=NEXT, verdict="unsigned"),
        ],
        Shown([("e1", 3, "verified")], 2, 3, 3, json.dumps(EVENT)),
    ),
    "nothing but a forged one": (
        [one(EVENT, verdict="bad")],
        Shown([("e1", 1, "bad")], 0, 1, 1),
    ),
    "no JSON, beside an event": (
        [delivered(b"\xff\x00 not JSON", NIGHT), delivered(b"", NEXT), one(EVENT)],
        Shown([("e1", 1, "verified")], 0, 1, 3),
    ),
}


@pytest.mark.parametrize(
    "state",
    [
        "raw",
        *(
            pytest.param(state, marks=pytest.mark.slow)
            for state in ("compacted", "compacted, without raw")
        ),
    ],
)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_find_count_sql_and_compact_show_it(folder_environ, situation, state):
    objects, shown = SITUATIONS[situation]
    put(folder_environ, *objects)
    _add_foreign(folder_environ)
    archive = archive_of(folder_environ, NOW)
    if state != "raw":
        list(archive.compact())
        changes = list(archive.compact())
        assert {change.state for change in changes} == {"unchanged"}
        assert sum(change.events for change in changes) == shown.rows
        assert sum(change.deliveries for change in changes) == shown.deliveries
    if state == "compacted, without raw":
        for obj in objects:
            (_root(folder_environ) / obj.key).unlink()

    events = list(archive.find("JANE@example.com"))
    assert [(e.id, e.times, e.verdict) for e in events] == [
        (id or event.id, times, verdict)
        for event, (id, times, verdict) in zip(events, shown.events, strict=True)
    ]
    assert all(":" in e.id for e, (id, _, _) in zip(events, shown.events, strict=True) if not id)
    if shown.data is not None:
        assert events[0].data == shown.data
    assert archive.count().rows == [{"events": len(events), "repeats": shown.repeats}]
    tables = ("events", "events_once", "deliveries")
    counts = [list(archive.query(f"SELECT count(*) FROM {name}")) for name in tables]
    assert counts == [[(shown.rows,)], [(len(events),)], [(shown.deliveries,)]]
    assert len(list(archive.deliveries())) == shown.deliveries
    for obj in objects:
        assert archive.delivery(obj.key).body == obj.body
    _assert_foreign_is_as_it_was(folder_environ)


def test_no_row_outlives_its_day_once_days_are_kept_for_a_time(folder_environ):
    put(folder_environ, *traffic(21, moment("2026-10-29T00:00"), 4, 24, people=4))
    for now in ("2026-10-31T00:20", "2026-11-01T00:20", "2026-11-02T00:20", "2026-11-03T01:00"):
        keep = timedelta(days=2)
        list(archive_of(folder_environ, moment(now)).compact(keep=keep))
        oldest = moment(now[:10]) - keep
        names = [str(path) for path in _root(folder_environ).rglob("layer=events/**/*.parquet")]
        ((first, rows),) = duckdb.sql(
            f"SELECT min(arrived), count(*) FROM read_parquet({names})"
        ).fetchall()
        assert rows
        assert first >= oldest.replace(tzinfo=None), now
    assert not any(len(Path(name).stem) == len("2026-10") for name in names)


def _root(environ: dict[str, str]) -> Path:
    return Path(environ["ARCHIVE_FOLDER"]) / environ["ARCHIVE_BUCKETS"]


def _add_foreign(environ: dict[str, str]) -> None:
    for name in FOREIGN:
        path = _root(environ) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"PAR1 [{}] PAR1")


def _assert_foreign_is_as_it_was(environ: dict[str, str]) -> None:
    assert {(_root(environ) / name).read_bytes() for name in FOREIGN} == {b"PAR1 [{}] PAR1"}
