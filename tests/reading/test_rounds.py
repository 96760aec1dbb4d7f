"""How often a look-up waits for a store: which requests are under way at the same time.

Each request waits until all of its round have come. Where one that is expected beside it is only
sent after it was answered, the round never gets whole, and the test fails.
"""

import random
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.archives import archive_of, brute_force, delivered, found, moment, put, traffic

from hookshelf import Archive
from hookshelf.reading import merge, raw
from hookshelf.reading.errors import BadQuestion
from hookshelf.reading.files import listed_files
from hookshelf.reading.lookup import _probed
from hookshelf.reading.store import open_reading_store
from hookshelf.reading.values import Read

START = moment("2026-10-27T00:00")
PERSON = "person2@example.com"


class FarStore:
    """A folder that is read as S3 is, by requests alone; they are written down, and counted."""

    def __init__(self, store: Any, rounds: Sequence[int] = ()) -> None:
        self._store = store
        self._gates = [gate for size in rounds for gate in [threading.Barrier(size)] * size]
        self._lock = threading.Lock()
        self.requests: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name not in ("entries", "folders", "load", "range", "put_file", "delete"):
            raise AttributeError(name)  # no path: nothing is read but through the port

        def request(read: Any, *args: Any, **options: Any) -> Any:
            asked = args[0] if args else ""
            with self._lock:
                number = len(self.requests)
                self.requests.append(f"{name} {asked if isinstance(asked, str) else asked.key}")
            if number < len(self._gates):
                self._gates[number].wait(timeout=60)
            answer = getattr(self._store, name)(read, *args, **options)
            return list(answer) if name == "entries" else answer

        return request


def far(environ: dict[str, str], now: str, rounds: Sequence[int] = ()) -> tuple[Archive, FarStore]:
    stores: list[FarStore] = []

    def open_store(settings: Any, bucket: str) -> Any:
        stores.append(FarStore(open_reading_store(settings, bucket), rounds))
        return stores[-1]

    archive = archive_of(environ, moment(now), open_store=open_store)
    archive._bucket("events")
    return archive, stores[0]


@pytest.fixture
def month(folder_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(merge, "ROWS_IN_GROUP", 2048)
    put(folder_environ, *traffic(7, START, 1.9, 30))
    list(archive_of(folder_environ, moment("2026-11-02")).compact())
    return folder_environ


def test_a_look_up_in_a_month_waits_three_times_and_then_lists_what_erasures_left(month):
    archive, store = far(month, "2026-11-02", rounds=[2, 2, 3])

    assert found(archive, PERSON) == brute_force(month, PERSON)

    file = "range layer=events/app=sendgrid/month=2026-10/2026-10.parquet"
    assert sorted(store.requests[:2]) == ["entries layer=events/", "folders "]
    assert sorted(store.requests[2:4]) == ["folders sendgrid/", file]
    assert sorted(store.requests[4:7]) == ["entries sendgrid/", file, file]
    assert store.requests[7:] == ["entries _redacted/sendgrid/"]


def test_an_app_that_is_named_is_the_only_one_whose_files_are_listed_and_read(month):
    put(month, *traffic(8, START, 1.9, 5))
    archive, store = far(month, "2026-11-02")

    list(archive.find(PERSON, app="sendgrid"))

    assert "entries layer=events/app=sendgrid/" in store.requests
    assert "entries layer=events/" not in store.requests


def test_a_message_is_looked_up_in_the_row_groups_that_bloom_filters_leave(month):
    many = [{"email": f"p{n}@x", "event": "open", "sg_event_id": f"id-{n}"} for n in range(6_000)]
    put(month, delivered(many, START))
    list(archive_of(month, moment("2026-11-02")).compact())
    archive, store = far(month, "2026-11-02")
    [(bucket, stream)] = archive._opened(Read(), None)
    [file] = listed_files(bucket, Read(), stream).counting

    assert len(file.footer.groups) > 2
    assert len(_probed(bucket, Read(), file, "id", "id-77")) == 1
    assert _probed(bucket, Read(), file, "id", "nobody's") == []
    assert [event.subject for event in archive.find(id="id-77")] == ["p77@x"]
    assert list(archive.find(id="nobody's")) == []


@pytest.mark.parametrize("question", ["subject", "id", "type", "correlation", "upper case"])
def test_what_is_asked_of_a_store_far_away_is_what_a_folder_answers(month, question):
    near = archive_of(month, moment("2026-11-02"))
    for event in list(near.find(PERSON))[:5]:
        asked = {"type": event.type, "subject": PERSON}
        if question == "upper case":
            asked = {"subject": PERSON.upper(), "since": "2026-10-27", "until": "2026-10-28"}
        elif question != "type":
            asked = {question: getattr(event, question)}

        expected = list(near.find(**asked))

        assert event in expected
        assert list(far(month, "2026-11-02")[0].find(**asked)) == expected


def test_a_delivery_is_put_together_from_the_row_groups_that_may_have_it(month):
    near = archive_of(month, moment("2026-11-02"))
    whole = [near.delivery(delivery.key) for delivery in near.deliveries()]
    shutil.rmtree(bucket_of(month) / "sendgrid")
    archive, _ = far(month, "2026-11-02")

    for delivery in whole:
        again = archive.delivery(delivery.key)
        assert (again.body, again.metadata) == (delivery.body, delivery.metadata)


def test_a_footer_longer_than_what_is_read_at_first_is_read_whole(month, monkeypatch):
    monkeypatch.setattr("hookshelf.reading.bucket.TAIL", 100)
    archive, store = far(month, "2026-11-02")

    assert found(archive, PERSON) == brute_force(month, PERSON)

    assert sum(name.startswith("range") for name in store.requests) == 4


def bucket_of(environ: dict[str, str]) -> Path:
    return Path(environ["ARCHIVE_FOLDER"]) / "events"


def test_many_raw_deliveries_are_told_of_while_they_are_read(folder_environ, monkeypatch):
    monkeypatch.setattr(raw, "_SAID_EVERY", 10)
    put(folder_environ, *[delivered([{"email": "a@x"}], START, app=f"a{n}") for n in range(3)])
    put(folder_environ, *[delivered([{"email": f"{n}@x"}], START) for n in range(25)])
    lines: list[str] = []

    list(archive_of(folder_environ, START, progress=lines.append).find("7@x"))

    assert lines == ["Read 10 of 25 raw deliveries", "Read 20 of 25 raw deliveries"]


@pytest.fixture
def heavy(folder_environ: dict[str, str]) -> dict[str, str]:
    """A month whose `data` is most of it."""
    chance = random.Random(1)
    events = [
        {
            "email": f"p{n % 7}@x",
            "event": "open",
            "sg_event_id": f"i{n}",
            "x": chance.randbytes(1_000).hex(),
        }
        for n in range(2_000)
    ]
    put(folder_environ, delivered(events, START), delivered(b"[]", START))
    list(archive_of(folder_environ, moment("2026-11-02")).compact())
    return folder_environ


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT type, count(*) FROM events_once GROUP BY type",
        "SELECT count(*) FROM deliveries",
        "SELECT subject, max(length(data)) FROM events WHERE id < 'i5' GROUP BY 1 ORDER BY 1",
        "FROM events ORDER BY id LIMIT 3",
        "SELECT events FROM events ORDER BY id LIMIT 2",
        "SELECT delivery, metadata FROM deliveries ORDER BY delivery",
        "SELECT 1; SELECT max(data) FROM events",
        "SELECT column_name, min, max FROM (SUMMARIZE events)",
        "DESCRIBE events",
        'WITH them AS (SELECT "before" FROM events WHERE NOT derived) SELECT count(*) FROM them',
    ],
)
@pytest.mark.slow
def test_a_statement_gets_the_same_of_a_store_far_away(heavy, statement):
    now = "2026-11-02"

    near, distant = (
        list(a.query(statement)) for a in (archive_of(heavy, moment(now)), far(heavy, now)[0])
    )

    assert distant == near != []


def test_of_files_far_away_only_the_columns_that_are_asked_for_are_read(heavy):
    size = sum(path.stat().st_size for path in bucket_of(heavy).rglob("*.parquet"))
    near, (distant, _) = archive_of(heavy, moment("2026-11-02")), far(heavy, "2026-11-02")

    counted = distant.count(["type", "subject"])

    assert counted.rows == near.count(["type", "subject"]).rows
    # The bloom filters lie before the footer, which is read with some bytes to spare.
    assert counted.read.bytes < size / 3
    assert list(distant.find(type="open")) == list(near.find(type="open"))


def test_a_statement_that_means_nothing_reads_no_column(heavy):
    archive, store = far(heavy, "2026-11-02")

    with pytest.raises(BadQuestion):
        archive.query("SELECT nothing FROM events")

    assert sum(name.startswith("range") for name in store.requests) == 2
