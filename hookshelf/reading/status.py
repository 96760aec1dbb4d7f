"""What there is of an app, from footers, the log's head and a listing of what is newer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from chalicelib.keys import arrival_in
from hookshelf.reading import manifest
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.errors import retried
from hookshelf.reading.files import CompactedFile, listed_files
from hookshelf.reading.footers import Footer
from hookshelf.reading.lookup import uncovered_raw, within
from hookshelf.reading.merge import Engine, facts_of
from hookshelf.reading.scratch import PREFIX
from hookshelf.reading.selection import Selection
from hookshelf.reading.values import Read, Status, Stream

_DAY = 86_400.0
_ONE_DAY = timedelta(days=1)


def status_of(bucket: Bucket, read: Read, stream: Stream, selection: Selection) -> Status:
    """The status of one app at one place, of what arrived when it is asked for."""
    return retried(stream, partial(_status, bucket, read, stream, selection))


def _status(bucket: Bucket, read: Read, stream: Stream, selection: Selection) -> Status:
    listed = listed_files(bucket, read, stream)
    files = [file for file in listed.counting if within(file.footer, selection)]
    raw = uncovered_raw(bucket, read, stream, listed, selection)
    footers = [_cut(bucket, read, file, selection) for file in files]
    oldest = max((file.footer.log for file in listed.counting), default=0)
    firsts = [footer.first for footer in footers if footer.first]
    lasts = [footer.last for footer in footers if footer.last]
    arrived = [delivery.key.arrived for delivery in raw]
    return Status(
        stream=stream,
        first=min([*firsts, *arrived], default=None),
        last=max([*lasts, *arrived], default=None),
        usual_gap=_usual_gap(footers),
        deliveries=sum(footer.deliveries for footer in footers) + len(raw),
        events=None if raw else sum(footer.events for footer in footers),
        bytes=sum(footer.bytes for footer in footers) + sum(delivery.size for delivery in raw),
        files=len(files),
        file_bytes=sum(file.entry.size for file in files),
        raw_objects=len(raw),
        compacted_until=listed.end,
        log=manifest.head(bucket, read, stream, after=oldest),
        gaps=_gaps(
            {date.fromisoformat(day) for footer in footers for day in footer.days}
            | {moment.date() for moment in arrived}
        ),
    )


def _gaps(days: set[date]) -> tuple[tuple[date, date], ...]:
    """Whole days between the first and the last on which nothing arrived."""
    ordered = sorted(days)
    return tuple(
        (before + _ONE_DAY, after - _ONE_DAY)
        for before, after in pairwise(ordered)
        if after - before > _ONE_DAY
    )


def _cut(bucket: Bucket, read: Read, file: CompactedFile, selection: Selection) -> Footer:
    """What a file's footer would say, had it only the deliveries that are asked for."""
    first, last = file.footer.first, file.footer.last
    if first and last and selection.has(first) and selection.has(last):
        return file.footer
    path = bucket.whole(read, file.entry)
    with (
        TemporaryDirectory(prefix=PREFIX) as folder,
        Engine(Path(folder)) as engine,
        bucket.engine_reads(file.entry),
    ):
        held = engine.held([path])
    read.add(files=1)
    asked = {key: of_one for key, of_one in held.items() if selection.has(arrival_in(key))}
    return replace(file.footer, **facts_of(asked))


def _usual_gap(footers: Iterable[Footer]) -> float | None:
    """Seconds between deliveries on a usual day: the median of the days that have any."""
    counts = sorted(count for footer in footers for count, _ in footer.days.values() if count)
    return _DAY / counts[len(counts) // 2] if counts else None
