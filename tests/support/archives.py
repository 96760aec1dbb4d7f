"""Archives for tests of reading: traffic from a seed, a brute-force reader, a store that dies."""

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import boto3

from chalicelib.archive import to_object
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.keys import DeliveryKey, UnknownKey, day_of, parse_key
from chalicelib.settings import from_environment
from chalicelib.sources import source_named
from chalicelib.store import open_store
from hookshelf import Archive
from hookshelf.reading.store import open_reading_store

KINDS = ("processed", "delivered", "open", "click", "bounce", "deferred", "dropped")
VERDICTS = ("verified", "stale", "unchecked", "unsigned", "bad")
HEADERS = {"content-type": "application/json", "user-agent": "SendGrid Event API"}


def body(events: list[dict[str, Any]]) -> bytes:
    """A body laid out as SendGrid does."""
    return b"[" + b",\r\n".join(json.dumps(event).encode() for event in events) + b"]\r\n"


def delivered(
    events: bytes | list[dict[str, Any]],
    arrived: datetime,
    *,
    app: str = "sendgrid",
    source: str = "sendgrid",
    headers: dict[str, str] = HEADERS,
    verdict: str = "verified",
    prefix: str = "",
) -> ArchiveObject:
    """The object of one delivery."""
    raw = events if isinstance(events, bytes) else body(events)
    delivery = Delivery(app, headers, raw, arrived)
    return to_object(delivery, source_named(source), verdict=verdict, prefix=prefix)


def traffic(
    seed: int, start: datetime, days: float, count: int, people: int = 40, batch: int = 5
) -> Iterator[ArchiveObject]:
    """Deliveries as SendGrid sends them: retried, late, forged, with repeats in one body."""
    chance = random.Random(seed)
    sent: list[dict[str, Any]] = []
    for number in range(count):
        arrived = start + timedelta(
            days=days * number / count, microseconds=chance.randrange(10**6)
        )
        events = [_event(chance, arrived, people) for _ in range(chance.randrange(1, batch + 1))]
        if sent and chance.random() < 0.2:
            events.append(chance.choice(sent))  # in another body
        if chance.random() < 0.1:
            events.append(events[0])  # twice in this one
        sent += events
        yield delivered(events, arrived)
        if chance.random() < 0.1:  # a retry, byte for byte; and a forged copy
            yield delivered(events, arrived + timedelta(seconds=chance.randrange(1, 90_000)))
        if chance.random() < 0.05:
            yield delivered(events, arrived - timedelta(seconds=3), verdict="bad")


def _event(chance: random.Random, arrived: datetime, people: int) -> dict[str, Any]:
    person = int(people ** chance.random())
    event = {
        "email": f"Person{person}@Example.com",
        "timestamp": int(arrived.timestamp()) - chance.choice([0, 1, 60, 2_002, 1_814_400]),
        "event": chance.choice(KINDS),
        "sg_message_id": f"m{chance.randrange(10**6)}.filter-1.{chance.randrange(100)}",
        "sg_event_id": f"e{chance.randrange(10**12)}",
        "é": chance.choice([1, "ü", None, 2**70, [], {"a": 1.50}]),
    }
    if chance.random() < 0.1:
        del event["sg_event_id"]
    return event


def archive_of(environ: dict[str, str], now: datetime, **options: Any) -> Archive:
    """An archive whose clock stands still."""
    return Archive(environ=environ, now=lambda: now, **options)


def put(environ: dict[str, str], *objects: ArchiveObject) -> None:
    """Store objects as receiving does."""
    store = open_store(from_environment(environ), environ["ARCHIVE_BUCKETS"])
    for obj in objects:
        store.put(obj)


Rows = list[tuple[Any, ...]]  # of events: type, id, key, position, times, what it says


def brute_force(environ: dict[str, str], subject: str) -> Rows:
    """What a scan of every raw object finds about a SendGrid address: no code of reading's."""
    return scanned(environ).get(subject.lower(), [])


def scanned(environ: dict[str, str]) -> dict[str, Rows]:
    """The same of every address, from one scan."""
    store = open_store(from_environment(environ), environ["ARCHIVE_BUCKETS"])
    copies: dict[tuple[str, str], set[tuple[int, str, int, str]]] = {}
    texts = {}
    for listed in store.list(""):
        try:
            key = parse_key(listed.key)
        except UnknownKey:  # what was compacted, the manifest log, a folder's lock
            continue
        obj = store.get(listed.key)
        rank = VERDICTS.index(obj.metadata["verdict"])
        for position, event in enumerate(json.loads(obj.body)):
            id = event.get("sg_event_id") or f"{key.sha256}:{position}"
            name = listed.key.rpartition("/")[2]
            copies.setdefault((event["event"], id), set()).add((rank, name, position, listed.key))
            texts[listed.key, position] = event
    rows: dict[str, Rows] = {}
    for (kind, id), seen in copies.items():
        _, _, position, key = min(seen)
        event = texts[key, position]
        row = (kind, id, key, position, len(seen), event)
        rows.setdefault(event["email"].lower(), []).append(row)
    return {
        subject: sorted(some, key=lambda row: (row[5]["timestamp"], row[2], row[3]))
        for subject, some in rows.items()
    }


def found(archive: Archive, subject: str) -> list[tuple[Any, ...]]:
    """What `find` gives, in the form of `brute_force`."""
    return [
        (e.type, e.id, e.delivery, e.position, e.times, json.loads(e.data))
        for e in archive.find(subject)
    ]


def is_delivery(key: str) -> bool:
    """Whether a key is that of a delivery: of nothing refused, compacted or foreign."""
    try:
        return isinstance(parse_key(key), DeliveryKey)
    except UnknownKey:
        return False


class Objects:
    """The bucket as somebody else sees it who may write there."""

    def __init__(self, environ: dict[str, str]) -> None:
        bucket = environ["ARCHIVE_BUCKETS"]
        self.folder = (
            Path(environ["ARCHIVE_FOLDER"], bucket) if "ARCHIVE_FOLDER" in environ else None
        )
        self.bucket = bucket
        self.client = boto3.client(
            "s3", endpoint_url=environ.get("AWS_ENDPOINT_URL_S3"), region_name="us-east-1",
            aws_access_key_id="testing", aws_secret_access_key="testing",
        )  # fmt: skip

    def keys(self, containing: str = "") -> list[str]:
        if self.folder:
            paths = [path for path in self.folder.rglob("*") if path.is_file()]
            keys = [str(path.relative_to(self.folder)) for path in paths]
        else:
            listed = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
            keys = [entry["Key"] for entry in listed]
        return sorted(k for k in keys if containing in k and not k.endswith((".meta", "-lock")))

    def deliveries(self, day: str = "") -> list[str]:
        """The keys of what was received, of one day (`2026-11-18`, UTC) or of all."""
        received = filter(is_delivery, self.keys())
        return [key for key in received if day in ("", day_of(key).isoformat())]

    def delete_deliveries(self, day: str = "") -> None:
        """Delete what was received, of one day or of all; there has to be some."""
        keys = self.deliveries(day)
        assert keys
        self.delete(*keys)

    def body(self, key: str) -> bytes:
        if self.folder:
            return (self.folder / key).read_bytes()
        body: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body

    def write(self, key: str, body: bytes) -> None:
        if self.folder:
            (self.folder / key).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / key).write_bytes(body)
        else:
            self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def delete(self, *keys: str) -> None:
        for key in keys:
            if self.folder:
                (self.folder / key).unlink()
            else:
                self.client.delete_object(Bucket=self.bucket, Key=key)


class Killed(BaseException):
    """The process ended here."""


REQUESTS = (
    "entries", "folders", "load", "range", "put_file", "delete",
    "put_object", "versions", "load_version", "delete_version",
)  # fmt: skip
Request = Callable[[str, str], object]  # is told its name and key


class WatchedStore:
    """A store whose every request is told of, by name and key, before and after it took effect."""

    def __init__(self, store: Any, before: Request, after: Request) -> None:
        self._store = store
        self._before, self._after = before, after

    def __getattr__(self, name: str) -> Any:
        part = getattr(self._store, name)
        if name not in REQUESTS:
            return part

        def request(read: Any, about: Any = "", *args: Any, **options: Any) -> Any:
            key = getattr(about, "key", about)
            self._before(name, key)
            answer = part(read, about, *args, **options)
            answer = list(answer) if name in ("entries", "versions") else answer
            self._after(name, key)
            return answer

        return request


def watched(
    *, before: Request = lambda name, key: None, after: Request = lambda name, key: None
) -> Any:
    """An `open_store` for Archive."""
    return lambda settings, bucket: WatchedStore(
        open_reading_store(settings, bucket), before, after
    )


def hooked(do: Callable[[], Any], at: int, *, after: bool = False) -> Any:
    """An `open_store` for Archive, with which something happens at the n-th request."""
    numbers = count(1)

    def tell(name: str, key: str) -> None:
        if next(numbers) == at:
            do()

    return watched(after=tell) if after else watched(before=tell)


def _die() -> None:
    raise Killed


def dying(requests: int, *, after: bool) -> Any:
    """An `open_store` for Archive, with which the process ends at its n-th request."""
    return hooked(_die, requests, after=after)


def requests_of(
    environ: dict[str, str], now: datetime, run: Callable[[Archive], Any]
) -> list[tuple[str, str]]:
    """The requests that something takes, which is done: their names and keys."""
    requests: list[tuple[str, str]] = []
    watch = watched(before=lambda name, key: requests.append((name, key)))
    run(archive_of(environ, now, open_store=watch))
    return requests


def moment(text: str) -> datetime:
    """A time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
