"""Rows -> events: what is one event is shown once, however often and wherever it was seen."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from chalicelib.keys import arrival_in, by_arrival
from hookshelf.reading.rows import Row
from hookshelf.reading.values import BEST_FIRST, ArchivedEvent, Stream

_RANK = {verdict: rank for rank, verdict in enumerate(BEST_FIRST)}


def collapsed(rows: Iterable[tuple[Stream, Row]], *, all: bool = False) -> list[ArchivedEvent]:
    """Events in order of their time; of copies the best verdict's, then the earliest.

    The same row may come from two files while they are being merged: it counts once. With `all`
    every copy is given.
    """
    seen: dict[tuple[str, str, str], dict[tuple[Stream, str, int], Row]] = {}
    for stream, row in rows:
        copies = seen.setdefault((stream.app, row.type, row.id), {})
        copies.setdefault((stream, row.delivery, row.position), row)
    events = []
    for copies in seen.values():
        ordered = sorted(copies.items(), key=lambda item: _preference(item[1]))
        for index, ((stream, _, _), row) in enumerate(ordered if all else ordered[:1]):
            events.append(event_of(stream, row, times=len(copies), repeat=index > 0))
    return sorted(events, key=lambda event: (event.time, event.delivery, event.position))


def _preference(row: Row) -> tuple[int, str, str, int]:
    rank = _RANK.get(row.verdict, len(_RANK))
    return rank, by_arrival(row.delivery), row.delivery, row.position


def event_of(stream: Stream, row: Row, *, times: int, repeat: bool) -> ArchivedEvent:
    """The value of a row."""
    return ArchivedEvent(
        id=row.id,
        source=row.source,
        type=row.type,
        subject=row.subject,
        time=datetime.fromisoformat(row.time),
        app=stream.app,
        correlation=row.correlation,
        arrived=arrival_in(row.delivery),
        delivery=row.delivery,
        position=row.position,
        verdict=row.verdict,
        times=times,
        data=row.data or "",
        repeat=repeat,
        bucket=stream.bucket,
    )
