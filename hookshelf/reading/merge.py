"""Rows of files and of raw objects -> one sorted, checked file. The only place that writes Parquet.

DuckDB does it in bounded memory, spilling to disk, and gives the same bytes at any number of
threads (its version is in the file). New rows come as files of intake.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from chalicelib.keys import arrival_in, by_arrival, day_of, digest_in
from hookshelf.reading.columns import COLUMNS
from hookshelf.reading.footers import FOOTER_KEY, FOOTER_PLACEHOLDER, Group
from hookshelf.reading.intake import new_rows
from hookshelf.reading.raw import sums
from hookshelf.reading.rows import Row

NAMES = ", ".join(name for name, _ in COLUMNS)
BODY_SIZE = (
    "sum(octet_length(before) + octet_length(after) "
    "+ CASE WHEN derived THEN 0 ELSE coalesce(strlen(data), 0) END)::BIGINT"
)  # bytes, of the rows of one delivery
KEY_NAME = "split_part(delivery, '/', -1)"  # begins with the exact arrival: `20261120T2350…`

# A look-up decodes whole row groups: 4,096 rows take 7 ms, 16,384 took 17, and 2,048 take 6. What
# the many groups add to the Parquet footer, a look-up does not read.
ROWS_IN_GROUP = 4_096

# Bloom filters come with dictionaries only. That of `data` would hold every event, and make files
# larger by 3%.
DICTIONARY_BYTES = 512 * 1024


@dataclass(slots=True)
class Parts:
    """What is merged: files whose rows are kept, and files of new rows."""

    files: list[Path] = field(default_factory=list)
    new: list[Path] = field(default_factory=list)  # see intake.py
    without: frozenset[str] = frozenset()  # deliveries whose rows are dropped from the files
    overlapping: bool = False  # whether a row may come from two of them
    cuts: list[str] = field(default_factory=list)  # subjects between which to sort in turn


@dataclass(frozen=True, slots=True)
class Merged:
    """The file that was written, and where its parts lie."""

    path: Path
    groups: tuple[Group, ...]
    blooms: tuple[int, int]


ROWS_AT_A_TIME = 1_024
QUIETLY = "SET enable_progress_bar = false"  # it would be printed on standard output


class Held(NamedTuple):
    """What a file holds of one delivery."""

    rows: int
    events: int
    size: int  # bytes of its body
    is_whole: bool  # every row is there; where proved, they give the body that its key names


def facts_of(held: Mapping[str, Held]) -> dict[str, Any]:
    """What a footer says of some deliveries, by key: its fields from `deliveries` to `days`."""
    names = sorted(held, key=by_arrival)
    days: dict[str, list[str]] = {}
    for name in names:
        days.setdefault(day_of(name).isoformat(), []).append(name)
    return {
        "deliveries": len(held),
        "events": sum(of_one.events for of_one in held.values()),
        "rows": sum(of_one.rows for of_one in held.values()),
        "bytes": sum(of_one.size for of_one in held.values()),
        "first": arrival_in(names[0]) if names else None,
        "last": arrival_in(names[-1]) if names else None,
        "days": {day: sums(keys) for day, keys in days.items()},
    }


class Engine:
    """A DuckDB of its own, which forgets everything when it is closed."""

    def __init__(self, folder: Path, *, memory_mb: int = 400, threads: int | None = None) -> None:
        config: dict[str, Any] = {
            "memory_limit": f"{memory_mb}MB",
            "temp_directory": str(folder),
            "preserve_insertion_order": True,
        }
        if threads:
            config["threads"] = threads
        self._sql = duckdb.connect(":memory:", config=config)
        self._sql.execute(QUIETLY)
        self.folder = folder  # to work in

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self._sql.close()

    def merge(self, parts: Parts, path: Path) -> Merged:
        """Write one file of all rows, in order. Rows that are there twice are there once."""
        try:
            return self._merge(parts, path)
        except duckdb.OutOfMemoryException:
            # What spills depends on how threads meet; one of them needs half, and writes the same.
            self._sql.execute("SET threads = 1")
            return self._merge(parts, path)

    def _merge(self, parts: Parts, path: Path) -> Merged:
        self._sql.execute(f"CREATE OR REPLACE VIEW incoming AS {self._incoming(parts)}")
        # By hashes first: few ids come twice, and only those are worth their memory.
        self._sql.execute(
            "CREATE OR REPLACE TABLE suspect AS SELECT hash(type, id) AS of FROM incoming "
            "WHERE batch > 0 GROUP BY 1 HAVING count(*) > 1"
        )
        self._sql.execute(
            "CREATE OR REPLACE TABLE again AS SELECT type, id, "
            "min((delivery, position)) AS first FROM incoming WHERE batch > 0 "
            "AND hash(type, id) IN (SELECT of FROM suspect) "
            "GROUP BY type, id HAVING count(*) > 1"
        )
        selected = ", ".join(
            "again.id IS NOT NULL AND (delivery, position) <> again.first AS repeat"
            if name == "repeat"
            else f"incoming.{name}"
            for name, _ in COLUMNS
        )
        select = (
            f"SELECT {selected} FROM incoming LEFT JOIN again "
            "ON incoming.batch > 0 AND incoming.type = again.type AND incoming.id = again.id"
        )
        self._sql.execute(
            f"COPY ({self._sorted(select, parts.cuts)}) "
            f"TO '{_quoted(path)}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, "
            f"ROW_GROUP_SIZE {ROWS_IN_GROUP}, DICTIONARY_SIZE_LIMIT {ROWS_IN_GROUP}, "
            f"STRING_DICTIONARY_PAGE_SIZE_LIMIT {DICTIONARY_BYTES}, "
            f"KV_METADATA {{{FOOTER_KEY}: '{FOOTER_PLACEHOLDER}'}})"
        )
        columns = self._columns(path)
        return Merged(path, _groups(columns), _blooms(columns))

    def checksum(self, files: Sequence[Path]) -> tuple[int, int]:
        """How many rows some files have, and the sum of their hashes."""
        row = self._sql.execute(
            f"SELECT count(*), coalesce(sum({_HASH}), 0) FROM {files_table(files)}"
        ).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])

    def held(self, files: Sequence[Path], *, prove: bool = False) -> dict[str, Held]:
        """The deliveries in some files, by key.

        `prove` rebuilds every body and compares it with the hash in its key, or with that of what
        an erasure left.
        """
        proved = set(self._proved(files)) if prove else None
        rows = self._sql.execute(
            f"""
            SELECT delivery, count(*), max(batch), {BODY_SIZE},
                coalesce(count(*) = greatest(max(batch), 1) AND min(position) = 0
                    AND max(position) = count(*) - 1, false)
            FROM {files_table(files)} GROUP BY delivery"""
        ).fetchall()
        return {
            key: Held(count, events, size, is_whole and (proved is None or key in proved))
            for key, count, events, size, is_whole in rows
        }

    def _proved(self, files: Sequence[Path]) -> Iterator[str]:
        """The deliveries whose rows, put together, are what their key says.

        The engine sorts, in bounded memory; it would take twice as long to put bodies together.
        """
        table = files_table(files)
        redacted = "metadata['redacted']"
        of_redacted = self._sql.execute(
            f"SELECT delivery, {redacted} FROM {table} WHERE position = 0 AND {redacted} <> ''"
        )
        digests = dict(of_redacted.fetchall())
        rows = self._fetched(
            "SELECT delivery, before || CASE WHEN derived THEN ''::BLOB "
            "ELSE coalesce(encode(data), ''::BLOB) END || after "
            f"FROM {table} ORDER BY delivery, position"
        )
        for delivery, of_one in groupby(rows, key=itemgetter(0)):
            digest = sha256(b"".join([part for _, part in of_one])).hexdigest()
            if digest == (digests.get(delivery) or digest_in(delivery)):
                yield delivery

    def rows(self, path: Path) -> Iterator[Row]:
        """The rows of a file by delivery and position, for making it anew."""
        names = ", ".join(
            f"strftime({name}, '%Y-%m-%dT%H:%M:%S.%gZ')" if name in ("time", "arrived") else name
            for name in Row._fields
        )
        select = f"SELECT {names} FROM {files_table([path])} ORDER BY delivery, position"
        return (Row(*row) for row in self._fetched(select))

    def _fetched(self, select: str) -> Iterator[tuple[Any, ...]]:
        cursor = self._sql.cursor().execute(select)
        while batch := cursor.fetchmany(ROWS_AT_A_TIME):
            yield from batch

    def _incoming(self, parts: Parts) -> str:
        self._sql.execute("CREATE OR REPLACE TABLE without (delivery VARCHAR)")
        if parts.without:
            self._sql.executemany(
                "INSERT INTO without VALUES (?)", [[key] for key in parts.without]
            )
        selects = [new_rows(files_table(parts.new))] if parts.new else []
        for index, path in enumerate(parts.files):
            select = f"SELECT {NAMES} FROM {files_table([path])}"
            conditions = ["SELECT delivery FROM without"] if parts.without else []
            if parts.overlapping and index:
                # Of one delivery all rows or none: two files may have split it differently.
                conditions.append(f"SELECT delivery FROM {files_table(parts.files[:index])}")
            wheres = " AND ".join(f"delivery NOT IN ({condition})" for condition in conditions)
            selects.append(f"{select} WHERE {wheres}" if wheres else select)
        return " UNION ALL ".join(selects)

    def _sorted(self, select: str, cuts: Sequence[str]) -> str:
        """The rows in order; where there are many, sorted range by range, so that memory suffices.

        What is sorted together does not depend on the machine, and the order is the same.
        """
        order = "ORDER BY subject, time, delivery, position"
        if not cuts:
            return f"{select} {order}"
        ranges = []
        for number, (low, high) in enumerate(zip(["", *cuts], [*cuts, None], strict=True)):
            path = self.folder / f"range-{number}.parquet"
            below = "" if high is None else " AND incoming.subject < ?"
            self._sql.execute(
                f"COPY ({select} WHERE incoming.subject >= ?{below} {order}) "
                f"TO '{_quoted(path)}' ({_TO_READ_AGAIN})",
                [low] if high is None else [low, high],
            )
            ranges.append(path)
        return f"SELECT * FROM {files_table(ranges)}"

    def _columns(self, path: Path) -> list[tuple[Any, ...]]:
        return self._sql.execute(
            "SELECT row_group_id, path_in_schema, stats_min_value, stats_max_value, "
            "min_is_exact AND max_is_exact, "
            "coalesce(dictionary_page_offset, data_page_offset), total_compressed_size, "
            "bloom_filter_offset, bloom_filter_length, row_group_num_rows "
            f"FROM parquet_metadata('{_quoted(path)}')"
        ).fetchall()


def _groups(columns: Iterable[tuple[Any, ...]]) -> tuple[Group, ...]:
    groups: dict[int, Group] = {}
    for number, name, low, high, exact, start, length, _, _, rows in columns:
        group = groups.setdefault(number, Group(start, 0, None, None, rows))
        begin, end = min(group.start, start), max(group.start + group.length, start + length)
        group = replace(group, start=begin, length=end - begin)
        if name == "subject" and exact:
            group = replace(group, first=low, last=high)
        groups[number] = group
    return tuple(groups[number] for number in sorted(groups))


def _blooms(columns: Iterable[tuple[Any, ...]]) -> tuple[int, int]:
    filters = [(start, length) for *_, start, length, _ in columns if start]
    if not filters:
        return 0, 0
    start = min(filters)[0]
    return start, sum(max(filters)) - start


def files_table(files: Sequence[Path]) -> str:
    """Compacted files as one table, in SQL."""
    return f"read_parquet([{_paths(files)}], hive_partitioning = false)"


def _paths(files: Sequence[Path]) -> str:
    return ", ".join(f"'{_quoted(path)}'" for path in files)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


_HASH = (
    "hash("
    + ", ".join(name for name, _ in COLUMNS if name not in ("repeat", "metadata"))
    + ", metadata::VARCHAR)::HUGEINT"
)
# Read again and deleted: how quickly it is written counts, not how small it is.
_TO_READ_AGAIN = (
    "FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 16384, DICTIONARY_SIZE_LIMIT 16"
)
