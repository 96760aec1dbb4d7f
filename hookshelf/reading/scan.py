"""All rows, in SQL: counting, exporting, and whatever else somebody asks for.

`events` are the rows of events as they lie in the files and in raw deliveries that no file covers,
`events_once` each event once, `deliveries` what arrived. The statement of a user reaches nothing
but these: access to files and network is switched off before it runs.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from hookshelf.reading.bucket import Bucket, joined
from hookshelf.reading.columns import COLUMNS
from hookshelf.reading.errors import BadQuestion, CutShort, Gone, ReadingError, retried
from hookshelf.reading.events import event_of
from hookshelf.reading.files import CompactedFile, listed_files, overlap
from hookshelf.reading.intake import new_rows
from hookshelf.reading.lookup import literal, uncovered_raw, within
from hookshelf.reading.merge import (
    KEY_NAME,
    QUIETLY,
    ROWS_AT_A_TIME,
    files_table,
)
from hookshelf.reading.rows import Row
from hookshelf.reading.scratch import temporary_folder
from hookshelf.reading.selection import Selection
from hookshelf.reading.sources import Splitting
from hookshelf.reading.split import Splitter
from hookshelf.reading.store import StoredFile
from hookshelf.reading.values import BEST_FIRST, ArchivedEvent, Read, Stream

# What `count` groups by, in SQL.
COUNTABLE = {
    "app": "app",
    "source": "source",
    "day": "strftime(time, '%Y-%m-%d')",
    "hour": "strftime(time, '%Y-%m-%dT%H')",
    "month": "strftime(time, '%Y-%m')",
    "type": "type",
    "verdict": "verdict",
    "subject": "subject",
    "domain": "CASE WHEN contains(subject, '@') THEN split_part(subject, '@', -1) ELSE '' END",
    "correlation": "correlation",
}

_RANK = " ".join(f"WHEN '{verdict}' THEN {rank}" for rank, verdict in enumerate(BEST_FIRST))
_PREFERENCE = f"CASE verdict {_RANK} ELSE {len(BEST_FIRST)} END, {KEY_NAME}, delivery, position"

_WORD = re.compile(r"\w+")
_MISTAKES = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)
# What is the fault of no statement: a disk that is full or failed, a file that was altered, memory.
_FAILURES = (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.SerializationException)
_GAP = 64 * 1024  # bytes between two columns' parts that are read rather than asked for apart


def _each_once(files: Sequence[CompactedFile], paths: Sequence[Path]) -> str:
    """The rows of files; where a writer left one over, each delivery's from the first that has it.

    Of one delivery all rows or none: two files may have split it differently.
    """
    if not overlap(files):
        return f"SELECT * FROM {files_table(paths)}"
    selects = [f"SELECT * FROM {files_table(paths[:1])}"]
    for index, path in enumerate(paths[1:], 1):
        before = f"SELECT delivery FROM {files_table(paths[:index])}"
        selects.append(f"SELECT * FROM {files_table([path])} WHERE delivery NOT IN ({before})")
    return " UNION ALL ".join(selects)


class Scan:
    """A DuckDB over everything that some streams hold, as it was when it was opened."""

    def __init__(self, read: Read, *, memory_mb: int = 1_000) -> None:
        self._read = read
        self._folder = temporary_folder(self)
        self._selects: list[str] = []
        self._buckets: list[Bucket] = []  # whose copies go with them
        self._paths: list[Path] = []  # of all that the selects read
        self._files: list[tuple[Bucket, StoredFile]] = []  # likewise, as they were listed
        self._far: list[tuple[Bucket, StoredFile]] = []  # those that are not whole on this machine
        self.sql = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": f"{memory_mb}MB",
                "temp_directory": str(self._folder / "spill"),
                "autoinstall_known_extensions": False,
            },
        )
        self.sql.execute(QUIETLY)

    def add(
        self, bucket: Bucket, stream: Stream, selection: Selection, splitting: Splitting
    ) -> None:
        """Add the rows of a stream that may be asked for."""
        retried(stream, partial(self._add, bucket, stream, selection, splitting))

    def open(self, selection: Selection) -> None:
        """Make the views."""
        none = "SELECT " + ", ".join(f"NULL::{kind} AS {name}" for name, kind in COLUMNS)
        none = f"SELECT ''::VARCHAR AS bucket, ''::VARCHAR AS app, * FROM ({none}) WHERE false"
        union = " UNION ALL ".join([none, *self._selects])
        self.sql.execute(f"CREATE VIEW rows AS {union}")
        self.sql.execute(
            "CREATE VIEW events AS SELECT app, strftime(arrived, '%Y-%m') AS month, "
            f"* EXCLUDE (app) FROM rows WHERE {literal(selection)}"
        )
        # A window over all events takes many times as long, and all their bytes in memory. Hashes
        # that come once are of events that come once; the others may be repeats, and are compared.
        self.sql.execute(
            "CREATE VIEW events_once AS WITH "
            "hashed AS NOT MATERIALIZED (SELECT *, hash(app, type, id) AS hash FROM events), "
            "again AS MATERIALIZED (SELECT hash FROM hashed GROUP BY hash HAVING count(*) > 1) "
            "SELECT * EXCLUDE (hash), 1::BIGINT AS times FROM hashed ANTI JOIN again USING (hash) "
            "UNION ALL SELECT * EXCLUDE (hash, nth) FROM (SELECT *, "
            "count(DISTINCT (bucket, delivery, position)) OVER same AS times, "
            f"row_number() OVER (same ORDER BY {_PREFERENCE}) AS nth "
            "FROM hashed SEMI JOIN again USING (hash) "
            "WINDOW same AS (PARTITION BY app, type, id)) WHERE nth = 1"
        )
        self.sql.execute(
            "CREATE VIEW deliveries AS SELECT app, delivery, arrived, source, verdict, batch, "
            "metadata, bucket FROM rows WHERE position = 0"
        )

    def shut(self) -> None:
        """Allow nothing from here on but what the views read. Not to be undone."""
        paths = ", ".join(f"'{path}'" for path in self._paths)
        self.sql.execute(f"SET allowed_paths = [{paths}]")
        self.sql.execute("SET enable_external_access = false")
        self.sql.execute("SET lock_configuration = true")

    def count(self, by: Sequence[str], tz: tzinfo = UTC) -> list[dict[str, Any]]:
        """Distinct events, and repeats of them, by fields of COUNTABLE; days and hours are `tz`'s.

        Raises BadQuestion.
        """
        unknown = [name for name in by if name not in COUNTABLE]
        if unknown:
            raise BadQuestion(f"No field {unknown[0]!r} to count by: {', '.join(COUNTABLE)}")
        fields = "".join(f"{COUNTABLE[name]} AS {name}, " for name in by)
        numbers = ", ".join(str(number + 1) for number in range(len(by)))
        columns, rows = self._run(
            f"SELECT {fields}count(*) AS events, (sum(times) - count(*))::BIGINT AS repeats "
            "FROM (SELECT app, source, subject, correlation, type, verdict, times, "
            f"{_local_time(tz)} AS time FROM events_once)"
            + (f" GROUP BY {numbers} ORDER BY {numbers}" if by else "")
        )
        counts = [dict(zip(columns, row, strict=True)) for row in rows]
        return [count | {"repeats": count["repeats"] or 0} for count in counts]

    def events(self, *, all: bool, limit: int | None) -> Iterator[ArchivedEvent]:
        """Events in order of their time; `limit` keeps the newest."""
        names = ", ".join(
            f"strftime({name}, '%Y-%m-%dT%H:%M:%S.%gZ')" if name in ("time", "arrived") else name
            for name in Row._fields
            if name not in ("metadata", "before", "after")
        )
        table = (
            "(SELECT *, count(DISTINCT (bucket, delivery, position)) OVER same AS times, "
            f"row_number() OVER (same ORDER BY {_PREFERENCE}) AS nth "
            "FROM events WINDOW same AS (PARTITION BY app, type, id))"
            if all
            else "(SELECT *, 1 AS nth FROM events_once)"
        )
        order = f"time, {KEY_NAME}, position"
        backwards = f"time DESC, {KEY_NAME} DESC, position DESC"
        newest = f"ORDER BY {backwards} LIMIT {limit}" if limit else ""
        _, rows = self._run(
            f"SELECT {names}, times, nth > 1, app, bucket FROM "
            f"(SELECT * FROM {table} {newest}) ORDER BY {order}"
        )
        return map(_event, rows)

    def query(self, statement: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """The columns and rows of a user's statement.

        Raises BadQuestion in the engine's words, ReadingError, and after some rows CutShort.
        """
        self.shut()
        try:
            if not self.sql.extract_statements(statement):
                raise BadQuestion("There is no statement")
        except duckdb.Error as error:
            raise BadQuestion(str(error)) from None
        return self._run(statement)

    def _run(self, statement: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """The columns and rows of a statement; its first rows are there when this returns.

        Raises Gone where a file was replaced before there was a row, so that all can begin anew.
        """
        try:
            cursor = self._execute(statement)
            columns = [column[0] for column in cursor.description or ()]
            rows = cursor.fetchmany(ROWS_AT_A_TIME)
        except duckdb.Error as error:
            self._check_files()  # of a file that is gone the engine says whatever it meets
            if isinstance(error, _FAILURES):
                raise ReadingError(f"This machine could not compute it: {error}") from None
            raise BadQuestion(str(error)) from None
        self._check_files()
        return columns, self._from(rows, cursor)

    def _from(
        self, rows: list[tuple[Any, ...]], cursor: duckdb.DuckDBPyConnection
    ) -> Iterator[tuple[Any, ...]]:
        """Some rows, and those that follow: the engine computes them as they are asked for."""
        with self:
            while rows:
                yield from rows
                try:
                    rows = cursor.fetchmany(ROWS_AT_A_TIME)
                except duckdb.Error as error:
                    raise CutShort(f"These are not all rows: {self._why(error)}") from None

    def _why(self, error: duckdb.Error) -> str:
        try:
            self._check_files()
        except Gone:
            return "the archive was compacted while they were read. Ask again"
        return str(error)

    def _check_files(self) -> None:
        """Raise Gone where what is read is no longer what was listed."""
        for bucket, entry in self._files:
            bucket.check(entry)

    def _execute(self, statement: str) -> duckdb.DuckDBPyConnection:
        """Run a statement, once the columns that it reads are here. Raises duckdb.Error, or Gone.

        Of files far away there are only the footers at first: enough for the engine to plan, and
        its plan names the columns. For what it cannot plan (more than one statement, say), or where
        it reads more than it said (a bloom filter), the files are read whole.
        """
        try:
            if self._far and len(self.sql.extract_statements(statement)) == 1:
                plan = self.sql.execute(f"EXPLAIN (FORMAT json) {statement}").fetchall()
                columns, filtered = _columns(json.loads(plan[0][1]))
                for bucket, entry in self._far:
                    self._read_columns(bucket, entry, columns, filtered)
                return self.sql.execute(statement)
        except duckdb.Error as error:
            if isinstance(error, _MISTAKES):
                raise
        for bucket, entry in self._far:
            bucket.whole(self._read, entry)
        return self.sql.execute(statement)

    def _read_columns(
        self, bucket: Bucket, entry: StoredFile, columns: set[str], filtered: set[str]
    ) -> None:
        chunks = self.sql.execute(
            "SELECT path_in_schema, coalesce(dictionary_page_offset, data_page_offset), "
            "total_compressed_size, bloom_filter_offset, bloom_filter_length "
            "FROM parquet_metadata(?)",
            [str(bucket.local(self._read, entry, []))],
        ).fetchall()
        wanted = []
        for path, start, size, bloom, bloom_size in chunks:
            column = path.partition(",")[0]
            wanted += [(start, size)] if column in columns else []
            wanted += [(bloom, bloom_size)] if column in filtered and bloom_size else []
        bucket.local(self._read, entry, joined(wanted, gap=_GAP))

    def __enter__(self) -> Scan:
        return self

    def __exit__(self, *_: object) -> None:
        """Forget everything."""
        self.sql.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _add(
        self, bucket: Bucket, stream: Stream, selection: Selection, splitting: Splitting
    ) -> None:
        self._buckets.append(bucket)
        files = listed_files(bucket, self._read, stream)
        counting = [file for file in files.counting if within(file.footer, selection)]
        paths = [
            bucket.local(self._read, file.entry, [(file.footer.footer, _after(file))])
            for file in counting
        ]
        raw = uncovered_raw(bucket, self._read, stream, files, selection)
        work = self._folder / f"{len(self._selects)}"
        work.mkdir(exist_ok=True)
        splitter = Splitter(bucket, self._read, splitting, work, None)
        splitter.raw(raw)
        bucket.check(*(file.entry for file in counting))
        self._read.add(files=len(counting))
        head = f"SELECT '{bucket.name}' AS bucket, '{stream.app}' AS app, * FROM "
        if paths:
            self._selects.append(f"{head} ({_each_once(counting, paths)})")
            self._paths += paths
            self._files += [(bucket, file.entry) for file in counting]
            self._far += [(bucket, file.entry) for file in counting if not bucket.is_folder]
        if splitter.new.keys:
            self._paths += splitter.new.paths
            self._selects.append(f"{head} ({new_rows(files_table(splitter.new.paths))})")


def _event(values: tuple[Any, ...]) -> ArchivedEvent:
    *fields, data, derived, times, repeat, app, bucket = values
    row = Row._make([*fields, None, b"", data, b"", derived])
    return event_of(Stream(bucket, "", app), row, times=times, repeat=repeat)


def _local_time(tz: tzinfo) -> str:
    """The time of an event in a time zone, in SQL."""
    if isinstance(tz, ZoneInfo):
        return f"time AT TIME ZONE 'UTC' AT TIME ZONE '{tz.key}'"
    offset = tz.utcoffset(None) or timedelta(0)
    return f"time + INTERVAL ({offset.total_seconds():.0f}) SECOND" if offset else "time"


def _after(file: CompactedFile) -> int:
    """Bytes of its Parquet footer, and what follows."""
    return file.entry.size - file.footer.footer


def _columns(plan: Any) -> tuple[set[str], set[str]]:
    """The columns that a plan's scans of files read, and those on which there are conditions."""
    columns: set[str] = set()
    filtered: set[str] = set()
    nodes = list(plan)
    for node in nodes:
        nodes += node.get("children", [])
        if "PARQUET" in node["name"]:
            about = node.get("extra_info") or {}
            filtered |= set(_WORD.findall(str(about.get("Filters"))))
            columns |= set(_WORD.findall(str(about)))
    return columns, filtered
