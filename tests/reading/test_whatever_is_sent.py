"""Whatever senders and forgers send: files answer as the raw deliveries did, and lose nothing."""

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from support.archives import Objects, archive_of, delivered, moment, put

from chalicelib.delivery import ArchiveObject
from hookshelf import Archive

NIGHT = moment("2026-10-31T23:58")  # a day and a month end while it is received
NOW = moment("2026-12-02")
TEXTS = ["", "x", "X", "\0", "\ud800", "\u202e", "é", "e\u0301", "=1", "a" * 3000, " x\n"]
ODD = [None, True, 7, 7.0, 2**64 - 1, 10**40, 1e400, -0.0, {"a": 1}, ["x"]]
ADDRESSES = ["jane@example.com", "JANE@example.com", "Jänê@exämple.com", "İ@x", "ß@X", "\u212a@x"]
TIMES = [1793491199, 1793491199.5, "1793491199", "2026-10-31T23:59:59.123456789+02:00", 0, -1,
         10**18, 2**63, "9999-12-31T23:59:59Z", "2026-02-30T00:00:00Z", "nonsense"]  # fmt: skip
FIELDS = {
    "email": ADDRESSES + TEXTS + ODD,
    "event": ["open", "open", "bounce", *TEXTS, *ODD],
    "sg_event_id": ["e1", "e1", "e2", *TEXTS, *ODD],
    "sg_message_id": ["m1", *TEXTS, *ODD],
    "timestamp": TIMES + ODD,
    "unknown": TEXTS + ODD,
}
BODIES = [
    b"", b"null", b"{}", b"[[{}]]", b"[NaN]", b"\xff\x00", b"a=1&payload=%7B%7D", b"[1,2,]",
    b'\xef\xbb\xbf[{"email":"jane@example.com","event":"open","sg_event_id":"e1"}]\r\n',
    b'[{"email":"a@x","email":"jane@example.com","event":"open","sg_event_id":"e3"}]',
    b"[" * 400 + b"]" * 400,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_files_answer_as_the_raw_deliveries_did_with_raw_gone_too(folder_environ, seed):
    objects = list(_deliveries(random.Random(seed)))
    put(folder_environ, *objects)
    before = _answers(archive_of(folder_environ, NOW), objects)
    names = [(event["app"], event["type"], event["id"]) for event, _ in before["find"]]
    assert len(set(names)) == len(names) > 20

    for now in ("2026-11-01T00:20", "2026-12-02"):
        list(archive_of(folder_environ, moment(now)).compact())
        assert _answers(archive_of(folder_environ, NOW), objects) == before
    Objects(folder_environ).delete_deliveries()
    assert _answers(archive_of(folder_environ, NOW), objects) == before


def _deliveries(chance: random.Random) -> Iterator[ArchiveObject]:
    """Some bodies, again and again: retried, forged, and across midnight."""
    bodies = [*BODIES, *(_body(chance) for _ in range(25))]
    seen = set()
    for _ in range(100):
        later = timedelta(seconds=chance.randrange(240), microseconds=chance.choice([0, 999, 1000]))
        obj = delivered(
            chance.choice(bodies),
            NIGHT + later,
            source=chance.choice(["sendgrid", "sendgrid", "generic", "stripe"]),
            verdict=chance.choice(["verified", "bad", "unsigned", "unchecked", "stale"]),
        )
        if obj.key not in seen:  # nothing is put twice
            seen.add(obj.key)
            yield obj


def _body(chance: random.Random) -> bytes:
    def event() -> dict[str, Any]:
        return {n: chance.choice(values) for n, values in FIELDS.items() if chance.random() < 0.8}

    some = [event() for _ in range(chance.randrange(1, 5))]
    return json.dumps(some + some[: chance.randrange(2)]).encode()


def _answers(archive: Archive, objects: list[ArchiveObject]) -> dict[str, Any]:
    deliveries = [archive.delivery(obj.key) for obj in objects]
    assert [delivery.body for delivery in deliveries] == [obj.body for obj in objects]
    return {
        "find": [(event.as_json(), event.repeat) for event in archive.find()],
        "find all": [(event.as_json(), event.repeat) for event in archive.find(all=True)],
        "look-ups": [
            [event.as_json() for event in archive.find(subject, all=all, since=since)]
            for subject in (*ADDRESSES, *map(str.upper, ADDRESSES), "\0", "\\ud800", "", "x")
            for all in (False, True)
            for since in (None, "2026-11-01T00:00:30")
        ],
        "by id": [
            [e.as_json() for e in archive.find(id=id)] for id in ("e1", "7", "\0", "\\ud800")
        ],
        "count": archive.count(["day", "type", "verdict", "domain", "correlation"]).rows,
        "sql": [
            sorted(map(repr, archive.query(f"SELECT * FROM ({table})")))
            for table in (
                "SELECT * EXCLUDE (repeat) FROM events",
                "SELECT * EXCLUDE (repeat) FROM events_once",
                "FROM deliveries",
            )
        ],
        "metadata": [dict(delivery.metadata or {}) for delivery in deliveries],
        "events": [[e.as_json() for e in archive.events_of(d)] for d in deliveries],
        "verify": sorted((c.key, c.verdict, c.state) for c in archive.verify(processes=1)),
    }
