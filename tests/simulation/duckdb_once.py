"""Compacted files as they are, by one DuckDB for all compactors: opening it is most of the time.

What each of them keeps in it is gone before the next one's turn: nothing waits in between.
"""

from collections.abc import Iterator
from functools import cache
from tempfile import NamedTemporaryFile
from typing import Any

import duckdb
import pytest

from hookshelf.reading import merge


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(":memory:", config={"threads": 1})


class _Shared:
    """As `duckdb`, but for `connect`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(duckdb, name)

    def connect(self, *_: Any, **__: Any) -> duckdb.DuckDBPyConnection:
        return _engine().cursor()


def texts_in(body: bytes) -> Iterator[tuple[str, str]]:
    """Of each row of a file the delivery, and the row as a text."""
    with NamedTemporaryFile(suffix=".parquet") as file:
        file.write(body)
        file.flush()
        columns = "delivery, concat_ws(' ', subject, before::VARCHAR, data, after::VARCHAR)"
        sql = f"SELECT {columns} FROM read_parquet(?, hive_partitioning = false)"
        yield from _engine().execute(sql, [file.name]).fetchall()


def install(patch: pytest.MonkeyPatch) -> None:
    """Let compactors share it."""
    patch.setattr(merge, "duckdb", _Shared())
