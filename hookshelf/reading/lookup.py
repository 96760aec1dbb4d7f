"""Few rows, quickly: by subject, id or correlation, or of one delivery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from threading import Lock
from typing import Any

import duckdb

from chalicelib.keys import DeliveryKey, stamp
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.errors import Damaged, retried
from hookshelf.reading.files import CompactedFile, Files, listed_files
from hookshelf.reading.footers import Footer, Group
from hookshelf.reading.merge import KEY_NAME, QUIETLY
from hookshelf.reading.raw import load_all, raw_between
from hookshelf.reading.rows import Row, to_rows
from hookshelf.reading.selection import Selection, ignoring_case
from hookshelf.reading.sources import Splitting
from hookshelf.reading.times import milliseconds
from hookshelf.reading.values import Read, Stream

# What an event shows; the bytes around it are for rebuilding.
_COLUMNS = (
    "subject, time, type, id, correlation, source, verdict, arrived, delivery, position, batch, "
    "NULL AS metadata, ''::BLOB AS before, data, ''::BLOB AS after, false AS derived"
)

# Not by `=`, for which the engine would read bloom filters, that are not in the files it is given.
_EXACTLY = "({0} >= ? AND {0} < ? || chr(0))"

_engine: duckdb.DuckDBPyConnection | None = None
_opening = Lock()


def rows_of(
    bucket: Bucket, read: Read, stream: Stream, selection: Selection, splitting: Splitting
) -> list[Row]:
    """Every row of events that is asked for, compacted and raw; some may be there twice."""

    def rows() -> list[Row]:
        files = listed_files(bucket, read, stream)
        raw = bucket.beside(partial(raw_rows, bucket, read, stream, files, selection, splitting))
        return compacted_rows(bucket, read, files, selection) + raw.result()

    return retried(stream, rows)


def compacted_rows(bucket: Bucket, read: Read, files: Files, selection: Selection) -> list[Row]:
    """The rows asked for in compacted files. Raises Gone where one is replaced meanwhile."""
    where, values = condition(selection)
    return _in_groups(
        bucket,
        read,
        [file for file in files.counting if within(file.footer, selection)],
        lambda file: _groups(bucket, read, file, selection),
        f"SELECT {_COLUMNS} FROM read_parquet(?, hive_partitioning = false) WHERE {where}",
        values,
    )


def _in_groups(  # noqa: PLR0913
    bucket: Bucket,
    read: Read,
    files: Sequence[CompactedFile],
    groups_of: Callable[[CompactedFile], Sequence[Group]],
    sql: str,
    values: list[Any],
) -> list[Row]:
    """The rows that a statement gives, in those row groups that may have them."""
    chosen = [(file.entry, file.footer, groups_of(file)) for file in files]
    chosen = [each for each in chosen if each[2]]
    if not chosen:
        return []
    paths = bucket.groups(read, chosen)
    try:
        rows = engine().execute(sql, [[str(path) for path in paths], *values]).fetchall()
    except duckdb.Error:
        raise Damaged(" or ".join(entry.key for entry, _, _ in chosen)) from None
    finally:
        for path in paths:
            path.unlink()
    read.add(files=len(chosen))
    return [_row(row) for row in rows]


def raw_rows(
    bucket: Bucket,
    read: Read,
    stream: Stream,
    files: Files,
    selection: Selection,
    splitting: Splitting,
) -> list[Row]:
    """The rows asked for in raw deliveries that no file covers."""
    return [
        row
        for delivery, obj in load_all(
            bucket, read, uncovered_raw(bucket, read, stream, files, selection)
        )
        for row in to_rows(obj, delivery.key, splitting.source(obj.metadata))
        if row.is_event and selection.is_row(row)
    ]


def uncovered_raw(
    bucket: Bucket, read: Read, stream: Stream, files: Files, selection: Selection
) -> list[Any]:
    """The raw deliveries in the interval asked for that no file covers; a LIST for each gap."""
    gaps = [
        (max(start, selection.since or start), _earlier(end, selection.until))
        for start, end in files.gaps()
    ]
    parts = bucket.map(
        lambda gap: list(raw_between(bucket, read, stream, *gap)),
        [(start, end) for start, end in gaps if end is None or start < end],
    )
    return [delivery for part in parts for delivery in part]


def stored_rows(bucket: Bucket, read: Read, stream: Stream, key: DeliveryKey) -> list[Row]:
    """All that a compacted file holds of one delivery, in order; empty where none does."""
    day = key.arrived.date().isoformat()

    def rows() -> list[Row]:
        for file in listed_files(bucket, read, stream).counting:
            if day in file.footer.days and (rows := _stored(bucket, read, file, str(key))):
                return rows
        return []

    return retried(stream, rows)


def _stored(bucket: Bucket, read: Read, file: CompactedFile, delivery: str) -> list[Row]:
    return _in_groups(
        bucket,
        read,
        [file],
        lambda file: _probed(bucket, read, file, "delivery", delivery),
        f"SELECT {', '.join(Row._fields)} FROM read_parquet(?, hive_partitioning = false) "
        f"WHERE {_EXACTLY.format('delivery')} ORDER BY position",
        [delivery, delivery],
    )


def within(footer: Footer, selection: Selection) -> bool:
    """Whether deliveries of a file may have arrived when it is asked for."""
    if footer.first is None or footer.last is None:
        return False
    return not (
        (selection.since and footer.last < selection.since)
        or (selection.until and footer.first >= selection.until)
    )


def engine() -> duckdb.DuckDBPyConnection:
    """A DuckDB for look-ups, kept; each call gives a connection of its own."""
    global _engine
    with _opening:
        if _engine is None:
            _engine = duckdb.connect(":memory:", config={"autoinstall_known_extensions": False})
        cursor = _engine.cursor()
        return cursor.execute(QUIETLY)


def _groups(
    bucket: Bucket, read: Read, file: CompactedFile, selection: Selection
) -> Sequence[Group]:
    """The row groups that may hold what is asked for."""
    if subjects := selection.subjects:
        low, high = min(subjects), max(subjects)
        return [
            group
            for group in file.footer.groups  # thousands, in ten months
            if group.first is None
            or group.last is None
            or (
                group.first <= high
                and group.last >= low
                and any(group.first <= subject <= group.last for subject in subjects)
            )
        ]
    for column in ("id", "correlation"):
        if value := getattr(selection, column):
            return _probed(bucket, read, file, column, value)
    return file.footer.groups


def _probed(
    bucket: Bucket, read: Read, file: CompactedFile, column: str, value: str
) -> Sequence[Group]:
    """The row groups whose bloom filters do not exclude a value, or that have none."""
    footer, size = file.footer, file.entry.size
    path = bucket.local(read, file.entry, [footer.blooms, (footer.footer, size - footer.footer)])
    with bucket.engine_reads(file.entry):
        excluded = engine().execute(
            "SELECT row_group_id FROM parquet_bloom_probe(?, ?, ?) WHERE bloom_filter_excludes",
            [str(path), column, value],
        )
        numbers = {row[0] for row in excluded.fetchall()}
    return [group for number, group in enumerate(footer.groups) if number not in numbers]


def condition(selection: Selection, *, of_events: bool = True) -> tuple[str, list[Any]]:
    """What is asked for as a condition in SQL, and the values of its question marks.

    Rows of deliveries without events are among them only where it is not `of_events`.
    """
    conditions = ["batch > 0" if of_events else "true"]
    values: list[Any] = []
    for sql, some in _conditions(selection):
        conditions.append(sql)
        values += some
    return " AND ".join(conditions), values


def literal(selection: Selection) -> str:
    """The condition with its values in it, for a view."""
    sql, values = condition(selection)
    first, *rest = sql.split("?")
    return first + "".join(_quoted(v) + part for v, part in zip(values, rest, strict=True))


def _subject_is(subject: str) -> tuple[str, list[Any]]:
    exact, lower = _EXACTLY.format("subject"), subject.lower()
    if subject == lower:
        return exact, [subject] * 2
    sources = sorted(ignoring_case())
    marks = ", ".join("?" for _ in sources)
    either = f"({exact} OR ({exact} AND source IN ({marks})))"
    return either, [subject, subject, lower, lower, *sources]


def _conditions(selection: Selection) -> Iterator[tuple[str, list[Any]]]:
    if selection.subject is not None:
        yield _subject_is(selection.subject)
    for name in ("type", "id", "correlation"):
        if (value := getattr(selection, name)) is not None:
            yield _EXACTLY.format(name), [value] * 2
    # The column has milliseconds and is what row groups are chosen by; the key is exact.
    if since := selection.since:
        yield f"arrived >= ? AND {KEY_NAME} >= ?", [_naive(milliseconds(since)), stamp(since)]
    if until := selection.until:
        yield f"arrived <= ? AND {KEY_NAME} < ?", [_naive(until), stamp(until)]


def _quoted(value: str | datetime) -> str:
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value.isoformat(sep=' ')}'"
    return "'" + value.replace("'", "''") + "'"


def _row(values: tuple[Any, ...]) -> Row:
    subject, time, *named, arrived = values[:8]
    return Row._make((subject, _text(time), *named, _text(arrived), *values[8:]))


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds") + "Z"


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((moment for moment in (one, other) if moment), default=None)
