"""DuckDB beside its peers: what is asked of each engine, seen with the one that is installed."""

from pathlib import Path

import duckdb

from bench import engines


def test_an_engine_is_asked_for_all_rows_sorted_and_for_those_of_a_subject(tmp_path: Path) -> None:
    source, to = tmp_path / "shuffled.parquet", tmp_path / "sorted.parquet"
    rows = "CASE WHEN n % 10 = 0 THEN 'jane@x' ELSE n || '@x' END AS subject, '' AS data"
    others = ", ".join(f"n AS {name}" for name in {*engines.COLUMNS} - {"subject", "data"})
    duckdb.execute(f"COPY (SELECT {rows}, {others} FROM range(5000) t(n)) TO '{source}'")

    figures = engines.measure("duckdb", source, to, {"jane@x": str(source)})

    subjects = [row[0] for row in duckdb.execute(f"SELECT subject FROM '{to}'").fetchall()]
    assert subjects == sorted(subjects)
    assert engines.DuckDB().look_up(to, "jane@x") == 500
    assert set(figures) >= {"sort and write, s", "look-up in its file, ms", "its file, MB"}


def test_the_table_names_each_engine_and_its_ratio_to_the_first() -> None:
    text = engines.as_text({"duckdb": {"import, ms": 100.0}, "polars": {"import, ms": 150.0}})

    assert "100.0 (1.00)" in text
    assert "150.0 (1.50)" in text
