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
from chalicelib.events import identified, read_quickly
from chalicelib.keys import DeliveryKey
from chalicelib.metadata import headers_of
from chalicelib.sources import Source, generic
from hookshelf.reading.quick import Msgspec
from hookshelf.reading.tombstones import events_left

# Raise it when the same bytes and settings would give other rows: files are then made anew.
SPLITTER = 1

read_quickly(Msgspec())

_CALENDAR = ("1970", "2200")  # a time outside is a mistake of the sender's
_SOUGHT = (
    16  # bytes of an event that are looked for first: preparing to find all of it takes longer
)


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


class SplitDelivery(NamedTuple):
    """A delivery's rows by column: what they share, and lists of what differs, one item a row."""

    source: str
    verdict: str
    arrived: str
    delivery: str
    batch: int
    metadata: dict[str, str]  # on the first row
    after: bytes  # on the last row
    derived: bool
    subject: list[str]
    time: list[str]
    type: list[str]
    id: list[str]
    correlation: list[str]
    before: list[bytes]
    data: list[bytes]  # UTF-8; one that is empty where `batch` is 0


def to_rows(obj: ArchiveObject, key: DeliveryKey, source: Source) -> list[Row]:
    """The rows of a delivery. Never raises on what a sender wrote."""
    columns = split_delivery(obj, key, source, altered=not is_same(obj, key))
    last = len(columns.subject) - 1
    differing = zip(
        columns.subject, columns.time, columns.type, columns.id, columns.correlation,
        columns.before, columns.data, strict=True,
    )  # fmt: skip
    return [
        Row(subject, time, type, id, correlation, columns.source, columns.verdict, columns.arrived,
            columns.delivery, position, columns.batch, None if position else columns.metadata,
            before, data.decode() if columns.batch else None,
            b"" if position < last else columns.after, columns.derived)
        for position, (subject, time, type, id, correlation, before, data) in enumerate(differing)
    ]  # fmt: skip


def split_delivery(
    obj: ArchiveObject, key: DeliveryKey, source: Source, *, altered: bool
) -> SplitDelivery:
    """The rows of a delivery, by column; their verdict is `bad` where its bytes were altered."""
    delivery = Delivery(key.app, kept_headers(obj), obj.body, key.arrived)
    events = list((source.events or generic.events)(delivery))
    if "redacted" in obj.metadata:
        events = events_left(events, obj.body)
    arrived = _milliseconds(key.arrived.isoformat(timespec="microseconds"))
    verdict = "bad" if altered else _text(obj.metadata.get("verdict", "unchecked"))
    # By name: S3 clients give it in another order at each GET, and a file is the same bytes always.
    metadata = {_text(name): _text(value) for name, value in sorted(obj.metadata.items())}
    if not events:
        return SplitDelivery(source.name, verdict, arrived, obj.key, 0, metadata, b"", False,
                             [""], [arrived], [""], [""], [""], [obj.body], [b""])  # fmt: skip
    id, type, subject, time, correlation, texts = map(list, zip(*events, strict=True))
    if not all(id):
        id = [identified(event, key.sha256, position) for position, event in enumerate(events)]
    try:
        data = [text.encode() for text in texts]
        around = _around(obj.body, data)
    except UnicodeEncodeError:  # half a surrogate pair, which no body has but escaped
        data, around = [_text(text).encode() for text in texts], None
    before, after = around or ([obj.body] + [b""] * (len(events) - 1), b"")
    return SplitDelivery(
        source.name, verdict, arrived, obj.key, len(events), metadata, after, around is None,
        _texts(subject), [_time(each) or arrived for each in time], _texts(type), _texts(id),
        _texts(correlation), before, data,
    )  # fmt: skip


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


def _around(body: bytes, data: Iterable[bytes]) -> tuple[list[bytes], bytes] | None:
    """What lies before each event's data, and after the last; None: data is not there in order.

    Between two elements of an array lies nothing that an element could begin with, so the next
    place where the bytes occur is the element's own.
    """
    before = []
    end = 0
    for exact in data:
        start = body.find(exact[:_SOUGHT], end)
        if start < 0 or not body.startswith(exact, start):
            start = body.find(exact, end)
        if start < 0:
            return None
        before.append(body[end:start])
        end = start + len(exact)
    return before, body[end:]


@lru_cache  # events of a second come together
def _time(time: str) -> str:
    """To the millisecond; empty where it is beyond the calendar that engines share."""
    return _milliseconds(time) if _CALENDAR[0] <= time < _CALENDAR[1] else ""


def _milliseconds(time: str) -> str:
    return f"{time[:-1]}.000Z" if len(time) == 20 else f"{time[:19]}.{time[20:23]}Z"


def _texts(texts: list[str]) -> list[str]:
    return texts if "".join(texts).isascii() else list(map(_text, texts))


def _text(text: str) -> str:
    """Text that every engine can hold: half a surrogate pair is kept as the text `\\udXXX`."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
