"""What there is of an app, from footers, the log's head and a listing of what is newer."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

from hookshelf.reading import manifest
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.files import Files, listed_files
from hookshelf.reading.lookup import uncovered_raw
from hookshelf.reading.selection import Selection
from hookshelf.reading.values import Read, Status, Stream

_DAY = 86_400.0
_ONE_DAY = timedelta(days=1)


def status_of(bucket: Bucket, read: Read, stream: Stream) -> Status:
    """The status of one app at one place."""
    files = listed_files(bucket, read, stream)
    raw = uncovered_raw(bucket, read, stream, files, Selection())
    footers = [file.footer for file in files.counting]
    oldest = max((footer.log for footer in footers), default=0)
    firsts = [footer.first for footer in footers if footer.first]
    lasts = [footer.last for footer in footers if footer.last]
    arrived = [delivery.key.arrived for delivery in raw]
    return Status(
        stream=stream,
        first=min([*firsts, *arrived], default=None),
        last=max([*lasts, *arrived], default=None),
        usual_gap=_usual_gap(files),
        deliveries=sum(footer.deliveries for footer in footers) + len(raw),
        events=None if raw else sum(footer.events for footer in footers),
        bytes=sum(footer.bytes for footer in footers) + sum(delivery.size for delivery in raw),
        files=len(files.counting),
        file_bytes=sum(file.entry.size for file in files.counting),
        raw_objects=len(raw),
        compacted_until=files.end,
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


def _usual_gap(files: Files) -> float | None:
    """Seconds between deliveries on a usual day: the median of the days that have any."""
    counts = sorted(
        count for file in files.counting for count, _ in file.footer.days.values() if count
    )
    return _DAY / counts[len(counts) // 2] if counts else None
