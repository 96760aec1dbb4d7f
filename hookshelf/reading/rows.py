"""A delivery as rows of events, and back again, byte for byte.

Row by row `before + data + after` is the body. Where an event's data does not lie in the body in
order (a form, a sender whose events are regrouped) the whole delivery is `derived`: the first row's
`before` is the body, and `data` is beside it. A delivery without events is one row, whose `batch`
is 0. The SHA-256 in the delivery's key proves what is rebuilt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from chalicelib.bodies import CONTENT_TYPES
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.events import Event, identified, read_quickly
from chalicelib.keys import DeliveryKey
from chalicelib.metadata import headers_of
from chalicelib.sources import Source, generic
from hookshelf.reading.quick import Msgspec
from hookshelf.reading.tombstones import events_left

# Raise it when the same bytes and settings would give other rows: files are then made anew.
SPLITTER = 1

read_quickly(Msgspec())

_CALENDAR = ("1970", "2200")  # a time outside is a mistake of the sender's


class Row(NamedTuple):
    """One line of a compacted file; the order is that of its columns."""

    subject: str
    time: str  # RFC 3339 in UTC, to the millisecond
    type: str
    id: str
    correlation: str
    source: str
    verdict: str  # at arrival
    arrived: str  # like time; exact in `delivery`
    delivery: str  # key
    position: int  # from 0
    batch: int  # events in this delivery; 0: this row is none
    metadata: dict[str, str] | None  # of the delivery, as stored; on the row of position 0 only
    before: bytes
    data: str | None  # the event's exact text; None where the row is no event
    after: bytes
    derived: bool

    @property
    def is_event(self) -> bool:
        """Whether the row is an event, not a delivery without one."""
        return self.batch > 0


def to_rows(
    obj: ArchiveObject, key: DeliveryKey, source: Source, *, altered: bool | None = None
) -> list[Row]:
    """The rows of a delivery. Never raises on what a sender wrote.

    Where the bytes are not those that the key was made from, the verdict is `bad`; `altered` is for
    whoever has looked already.
    """
    altered = not is_same(obj, key) if altered is None else altered
    delivery = Delivery(key.app, kept_headers(obj), obj.body, key.arrived)
    events = list((source.events or generic.events)(delivery))
    if "redacted" in obj.metadata:
        events = events_left(events, obj.body)
    spans = _spans(obj.body, events)
    arrived = _milliseconds(key.arrived.isoformat(timespec="microseconds"))
    verdict = "bad" if altered else _text(obj.metadata.get("verdict", "unchecked"))
    # By name: S3 clients give it in another order at each GET, and a file is the same bytes always.
    metadata = {_text(name): _text(value) for name, value in sorted(obj.metadata.items())}
    if not events:
        return [
            Row("", arrived, "", "", "", source.name, verdict, arrived, obj.key, 0, 0,
                metadata, obj.body, None, b"", False)
        ]  # fmt: skip
    derived = spans is None
    rows = []
    for position, (event, (before, after)) in enumerate(
        zip(events, spans or _derived(obj.body, events), strict=True)
    ):
        id, type, subject, time, correlation, data = event
        id = id or identified(event, key.sha256, position)
        if not (id + type + subject + correlation + data).isascii():
            id, type, subject = _text(id), _text(type), _text(subject)
            correlation, data = _text(correlation), _text(data)
        rows.append(
            Row(subject, _time(time) or arrived, type, id, correlation, source.name, verdict,
                arrived, obj.key, position, len(events), None if position else metadata,
                before, data, after, derived)
        )  # fmt: skip
    return rows


def rebuilt(rows: Sequence[Row], key: DeliveryKey) -> ArchiveObject:
    """The object of a delivery from its rows, in order: its body is in them, byte for byte."""
    first = rows[0]
    body = (
        first.before
        if first.derived
        else b"".join(row.before + (row.data or "").encode() + row.after for row in rows)
    )
    return ArchiveObject(str(key), body, CONTENT_TYPES[key.extension], first.metadata or {})


def is_same(obj: ArchiveObject, key: DeliveryKey) -> bool:
    """Whether the bytes are those that the key was made from, or what an erasure left of them."""
    return sha256(obj.body).hexdigest() == obj.metadata.get("redacted", key.sha256)


def kept_headers(obj: ArchiveObject) -> dict[str, str]:
    """The request headers kept with a delivery; none where someone else wrote the metadata."""
    try:
        return headers_of(obj.metadata)
    except UnicodeDecodeError:
        return {}


def _spans(body: bytes, events: Iterable[Event]) -> list[tuple[bytes, bytes]] | None:
    """What lies before and after each event's data; None where data is not there in order.

    Between two elements of an array lies nothing that an element could begin with, so the next
    place where the bytes occur is the element's own.
    """
    spans: list[tuple[bytes, bytes]] = []
    end = 0
    for event in events:
        try:
            data = event.data.encode()
        except UnicodeEncodeError:
            return None
        start = body.find(data, end)
        if start < 0:
            return None
        spans.append((body[end:start], b""))
        end = start + len(data)
    if spans:
        spans[-1] = (spans[-1][0], body[end:])
    return spans


def _derived(body: bytes, events: Sequence[Event]) -> list[tuple[bytes, bytes]]:
    return [(b"" if position else body, b"") for position in range(len(events))]


@lru_cache  # events of a second come together
def _time(time: str) -> str:
    """To the millisecond; empty where it is beyond the calendar that engines share."""
    return _milliseconds(time) if _CALENDAR[0] <= time < _CALENDAR[1] else ""


def _milliseconds(time: str) -> str:
    return f"{time[:-1]}.000Z" if len(time) == 20 else f"{time[:19]}.{time[20:23]}Z"


def _text(text: str) -> str:
    """Text that every engine can hold: half a surrogate pair is kept as the text `\\udXXX`."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
