"""Events into one Parquet file of the columns that `find --json` has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from hookshelf.reading.scratch import PREFIX
from hookshelf.reading.values import ArchivedEvent

_TYPES = {"time": "TIMESTAMPTZ", "arrived": "TIMESTAMPTZ", "position": "INTEGER", "times": "BIGINT"}


def write_parquet(events: Iterable[ArchivedEvent], columns: Sequence[str], to: Path) -> int:
    """Write `columns` of the events, as text but for times and counts; how many they were."""
    kinds = ", ".join(f"{name}: '{_TYPES.get(name, 'VARCHAR')}'" for name in columns)
    count = 0
    with TemporaryDirectory(prefix=PREFIX) as folder:
        lines = Path(folder) / "events.ndjson"  # DuckDB reads lines a hundred times as fast as rows
        with lines.open("w") as file:
            for event in events:
                fields = event.as_json()
                file.write(json.dumps({name: _text(fields[name]) for name in columns}) + "\n")
                count += 1
        duckdb.connect().execute(
            f"COPY (SELECT * FROM read_json('{lines}', format = 'newline_delimited', "
            f"columns = {{{kinds}}}, maximum_object_size = {64 * 1024 * 1024})) "
            f"TO '{str(to).replace(chr(39), chr(39) * 2)}' (FORMAT parquet, COMPRESSION zstd)"
        )
    return count


def _text(value: object) -> object:
    """Halves of surrogate pairs are no UTF-8; they are written as `\\udXXX`, as compacted."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
