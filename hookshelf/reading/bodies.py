"""Every delivery whole, quickly: compacted ones are put together many at a time, without raw.

A file is sorted by subject, so a delivery's rows lie all over it. They are parted by day first (by
hour, where the file is a day's), and each part is put together on its own: one pass over the file,
and the memory of one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import duckdb

from chalicelib.bodies import CONTENT_TYPES
from chalicelib.delivery import ArchiveObject
from chalicelib.keys import DeliveryKey, EventsKey, parse_key
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.errors import Damaged, Gone, TooQuick
from hookshelf.reading.files import CompactedFile, listed_files
from hookshelf.reading.lookup import uncovered_raw, within
from hookshelf.reading.merge import KEY_NAME, QUIETLY, files_table
from hookshelf.reading.raw import load_all
from hookshelf.reading.scratch import PREFIX
from hookshelf.reading.selection import Selection
from hookshelf.reading.values import Read, Stream

_ATTEMPTS = 8
_FETCHED = 256  # deliveries at a time; their bodies are in memory
_ROWS_AT_ONCE = 100_000  # of a file that is not parted
_PART = {"month": 8, "day": 11, "hour": 11}  # of a key's name, shared in a part


class WholeDelivery(NamedTuple):
    """One delivery as it was received."""

    key: DeliveryKey
    obj: ArchiveObject
    state: str  # `raw`, or `compacted`: put together from a file; its raw object may be gone


def whole_deliveries(
    bucket: Bucket, read: Read, stream: Stream, selection: Selection, *, memory_mb: int = 400
) -> Iterator[WholeDelivery]:
    """Every delivery that arrived when it is asked for, each once.

    File by file, each in order of arrival, then what is raw. Where a file is replaced meanwhile the
    files are listed again, and what was given already is left out. Raises TooQuick.
    """
    given: set[str] = set()
    for _ in range(_ATTEMPTS):
        try:
            files = listed_files(bucket, read, stream)
            for file in files.counting:
                if within(file.footer, selection):
                    yield from _new(
                        deliveries_in(bucket, read, file, selection, memory_mb=memory_mb), given
                    )
            raw = uncovered_raw(bucket, read, stream, files, selection)
            for delivery, obj in load_all(bucket, read, raw):
                yield from _new([WholeDelivery(delivery.key, obj, "raw")], given)
            return
        except Gone:
            continue
    raise TooQuick(stream)


def _new(
    deliveries: Iterator[WholeDelivery] | list[WholeDelivery], given: set[str]
) -> Iterator[WholeDelivery]:
    for delivery in deliveries:
        if delivery.obj.key not in given:
            given.add(delivery.obj.key)
            yield delivery


def deliveries_in(
    bucket: Bucket, read: Read, file: CompactedFile, selection: Selection, *, memory_mb: int = 400
) -> Iterator[WholeDelivery]:
    """The deliveries of one file that are asked for. Raises Gone, or Damaged."""
    path = bucket.whole(read, file.entry)

    def check() -> None:
        bucket.check(file.entry)

    read.add(files=1)
    yield from deliveries_at(path, file.key, file.footer.rows, selection, check, memory_mb)


def deliveries_at(  # noqa: PLR0913
    path: Path,
    key: EventsKey,
    rows: int,
    selection: Selection,
    check: Callable[[], object] = lambda: None,
    memory_mb: int = 400,
) -> Iterator[WholeDelivery]:
    """The deliveries of a compacted file on this machine.

    `check` raises what whoever reads is to hear where the file is not what was listed.
    """
    with TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        config: dict[str, Any] = {
            "memory_limit": f"{memory_mb}MB",
            "temp_directory": str(folder / "spill"),
        }
        with duckdb.connect(":memory:", config=config) as engine:
            engine.execute(QUIETLY)
            try:
                parts = _parted(engine, path, key, rows, folder)
            except duckdb.Error:
                check()
                raise Damaged(str(key)) from None
            check()
            for part in parts:
                yield from _put_together(engine, part, selection)


def _parted(
    engine: duckdb.DuckDBPyConnection, path: Path, key: EventsKey, rows: int, folder: Path
) -> list[str]:
    """Tables, in SQL, of the rows of a file: by arrival, and all rows of a delivery in one."""
    columns = "delivery, position, batch, metadata, before, data, after, derived"
    if rows <= _ROWS_AT_ONCE:
        engine.execute(f"CREATE TABLE part AS SELECT {columns} FROM {files_table([path])}")
        return ["part"]
    target = folder / "parts"
    engine.execute("SET preserve_insertion_order = false")
    engine.execute("SET partitioned_write_flush_threshold = 16384")
    engine.execute(
        f"COPY (SELECT {columns}, {KEY_NAME}[:{_PART[key.span]}] AS part "
        f"FROM {files_table([path])}) "
        f"TO '{target}' (FORMAT parquet, PARTITION_BY (part), COMPRESSION lz4)"
    )
    return [files_table(sorted(part.iterdir())) for part in sorted(target.iterdir())]


def _put_together(
    engine: duckdb.DuckDBPyConnection, part: str, selection: Selection
) -> Iterator[WholeDelivery]:
    """See rows.rebuilt: the same, for all deliveries of a part. A body with events is UTF-8."""
    cursor = engine.execute(
        f"""
        SELECT delivery, any_value(metadata) FILTER (position = 0),
            any_value(before) FILTER (position = 0 AND (derived OR batch = 0)),
            string_agg(try(decode(before)) || data || try(decode(after)), ''
                ORDER BY position) FILTER (NOT derived AND batch > 0)
        FROM {part} GROUP BY delivery ORDER BY {KEY_NAME}"""
    )
    while rows := cursor.fetchmany(_FETCHED):
        for name, metadata, body, text in rows:
            key = parse_key(name)
            assert isinstance(key, DeliveryKey)
            if selection.has(key.arrived):
                body = (text or "").encode() if body is None else body
                obj = ArchiveObject(name, body, CONTENT_TYPES[key.extension], metadata or {})
                yield WholeDelivery(key, obj, "compacted")
