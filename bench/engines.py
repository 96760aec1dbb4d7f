"""DuckDB beside Polars and pyarrow, on our own files: `python -m bench.engines`, in a checkout.

Each is installed into build/engines/, not into the environment, and works in a process of its own,
in rounds, so that a busy moment falls on all of them alike. Figures are medians of CPU time; in
parentheses their ratio to DuckDB's. What is asked of an engine is what compacting and a look-up
ask: all rows sorted and written, and the rows of one subject, from a whole file and from one of
nothing but the row groups that may have them, which is what a look-up hands to it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
ROOT = PROJECT / "build" / "engines"
ENGINES = {"duckdb": "duckdb", "polars": "polars", "pyarrow": "pyarrow"}  # what pip installs
ORDER = ["subject", "time", "delivery", "position"]
COLUMNS = ["subject", "time", "type", "id", "verdict", "delivery", "position", "data"]
ROWS_IN_GROUP = 4_096
LARGEST_ZIP = 50  # MB, of a function that is uploaded
SUBJECTS = 15
# Not getrusage: what that says begins with the peak of the process that started this one.
_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB", re.MULTILINE)


class DuckDB:
    """As hookshelf uses it."""

    def __init__(self) -> None:
        import duckdb

        self._sql = duckdb.connect()

    def write(self, source: Path, to: Path) -> None:
        """All rows, sorted, in one file."""
        self._sql.execute(
            f"COPY (SELECT * FROM read_parquet('{source}') ORDER BY {', '.join(ORDER)}) TO '{to}' "
            f"(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, "
            f"ROW_GROUP_SIZE {ROWS_IN_GROUP}, DICTIONARY_SIZE_LIMIT {ROWS_IN_GROUP})"
        )

    def look_up(self, file: Path, subject: str) -> int:
        """How many rows a subject has; all of them are read."""
        sql = f"SELECT {', '.join(COLUMNS)} FROM read_parquet(?) WHERE subject >= ? AND subject < ?"
        return len(self._sql.execute(sql, [str(file), subject, f"{subject}\0"]).fetchall())


class Polars:
    """The same with Polars, lazily, so that it skips row groups by their statistics."""

    def __init__(self) -> None:
        import polars

        self._polars: Any = polars

    def write(self, source: Path, to: Path) -> None:
        """All rows, sorted, in one file."""
        self._polars.read_parquet(source).sort(ORDER).write_parquet(
            to, compression="zstd", compression_level=1, row_group_size=ROWS_IN_GROUP
        )

    def look_up(self, file: Path, subject: str) -> int:
        """How many rows a subject has; all of them are read."""
        rows = self._polars.scan_parquet(file).filter(self._polars.col("subject") == subject)
        return len(rows.select(COLUMNS).collect().rows())


class PyArrow:
    """The same with pyarrow."""

    def __init__(self) -> None:
        import pyarrow.parquet

        self._parquet: Any = pyarrow.parquet

    def write(self, source: Path, to: Path) -> None:
        """All rows, sorted, in one file."""
        table = self._parquet.read_table(source)
        table = table.sort_by([(name, "ascending") for name in ORDER])
        self._parquet.write_table(
            table, to, compression="zstd", compression_level=1, row_group_size=ROWS_IN_GROUP
        )

    def look_up(self, file: Path, subject: str) -> int:
        """How many rows a subject has; all of them are read."""
        asked = [("subject", "==", subject)]
        return len(self._parquet.read_table(file, columns=COLUMNS, filters=asked).to_pylist())


MAKERS: Mapping[str, Callable[[], Any]] = {"duckdb": DuckDB, "polars": Polars, "pyarrow": PyArrow}


def measure(name: str, shuffled: Path, to: Path, parts: Mapping[str, str]) -> dict[str, float]:
    """What one engine takes, in this process; `parts` are files of some row groups, by subject."""
    imported = _cpu()
    engine = MAKERS[name]()
    figures = {"import, ms": (_cpu() - imported) * 1000}
    before = _cpu()
    engine.write(shuffled, to)
    figures["sort and write, s"] = _cpu() - before
    if peak := _PEAK.search(Path("/proc/self/status").read_text()):
        figures["peak memory, MB"] = int(peak[1]) / 1024
    figures["its file, MB"] = to.stat().st_size / 1e6
    whole, part = [], []
    for subject, path in parts.items():
        for file, times in ((to, whole), (Path(path), part)):
            before = _cpu()
            rows = engine.look_up(file, subject)
            times.append((_cpu() - before) * 1000)
            if not rows:
                raise RuntimeError(f"{name} has no row of {subject} in {file}")
    figures["look-up in its file, ms"] = statistics.median(whole)
    figures["look-up in row groups, ms"] = statistics.median(part)
    return figures


def install(name: str) -> dict[str, float]:
    """Install an engine into a folder of its own, once; its weight, as it lies and zipped."""
    folder, weight = ROOT / name, ROOT / f"{name}.json"
    if not weight.exists():
        shutil.rmtree(folder, ignore_errors=True)
        packages = [ENGINES[name], "--quiet", "--disable-pip-version-check"]
        command = [sys.executable, "-m", "pip", "install", "--target", str(folder), *packages]
        subprocess.run(command, check=True, timeout=600)
        files = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"]
        archive = ROOT / f"{name}.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as zipped:
            for file in files:
                zipped.write(file, file.relative_to(folder))
        megabytes = {
            "installed, MB": sum(file.stat().st_size for file in files) / 1e6,
            "zipped, MB": archive.stat().st_size / 1e6,
        }
        archive.unlink()
        weight.write_text(json.dumps(megabytes))
    return dict(json.loads(weight.read_text()))


def prepare(scale: float) -> tuple[Path, dict[str, str]]:
    """The rows of a compacted month in no order, and files of the row groups of some subjects."""
    import duckdb

    from bench.reading.data import Archives
    from hookshelf.reading.bucket import Bucket
    from hookshelf.reading.files import listed_files
    from hookshelf.reading.store.folder import ReadingFolder
    from hookshelf.reading.values import Read, Stream

    archives = Archives(scale, lambda line: print(line, file=sys.stderr))
    path = archives.make_compacted(archives.small)
    work = ROOT / f"rows-{scale:g}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    shuffled = work / "shuffled.parquet"
    duckdb.execute(
        f"COPY (SELECT * FROM read_parquet('{path}/**/*.parquet', hive_partitioning = false) "
        f"ORDER BY hash(delivery, position)) TO '{shuffled}' (FORMAT parquet, COMPRESSION zstd)"
    )
    bucket = Bucket(path.name, ReadingFolder(str(path.parent), path.name))
    parts: dict[str, str] = {}
    for subject in archives.addresses(SUBJECTS):
        for file in listed_files(bucket, Read(), Stream(path.name, "", "sendgrid")).counting:
            groups = [
                group
                for group in file.footer.groups
                if group.first is None or group.last is None or group.first <= subject <= group.last
            ]
            if groups and subject not in parts:
                [part] = bucket.groups(Read(), [(file.entry, file.footer, groups)])
                kept = shutil.copyfile(part, work / f"part-{len(parts)}.parquet")
                if DuckDB().look_up(kept, subject):
                    parts[subject] = str(kept)
    return shuffled, parts


def main() -> int:
    """Measure and print a table. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.engines", description=__doc__)
    parser.add_argument("--scale", type=float, default=1, help="1 is 200,000 events, 5 a million")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object, no table")
    options = parser.parse_args()
    ROOT.mkdir(parents=True, exist_ok=True)
    weights = {name: install(name) for name in ENGINES}
    shuffled, parts = prepare(options.scale)
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in ENGINES}
    for number in range(options.rounds):
        for name in ENGINES:
            print(f"round {number + 1}: {name}", file=sys.stderr)
            rounds[name].append(_apart(name, shuffled, parts))
    figures = {
        name: {
            label: statistics.median(r[label] for r in rounds[name]) for label in rounds[name][0]
        }
        | weights[name]
        for name in ENGINES
    }
    print(json.dumps(figures) if options.json else as_text(figures))
    return 0


def as_text(figures: Mapping[str, Mapping[str, float]]) -> str:
    """The table, for people."""
    first, *_ = figures
    lines = [f"{'CPU time, median':<28}" + "".join(f"{name:>20}" for name in figures)]
    for label, base in figures[first].items():
        cells = [
            f"{of_one[label]:,.1f} ({of_one[label] / base:.2f})" for of_one in figures.values()
        ]
        lines.append(f"{label:<28}" + "".join(f"{cell:>20}" for cell in cells))
    lines.append(f"A zip that is uploaded to Lambda has at most {LARGEST_ZIP} MB.")
    return "\n".join(lines)


def _medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {label: statistics.median(of_one[label] for of_one in rounds) for label in rounds[0]}


def _apart(name: str, shuffled: Path, parts: Mapping[str, str]) -> dict[str, float]:
    """`measure` in a fresh process that sees no engine but its own."""
    task = json.dumps([name, str(shuffled), str(shuffled.with_name(f"{name}.parquet")), parts])
    done = subprocess.run(
        [sys.executable, "-S", str(Path(__file__).resolve()), "--child", task],
        env={**os.environ, "PYTHONPATH": str(ROOT / name)},
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    return dict(json.loads(done.stdout))


def _cpu() -> float:
    """Seconds of CPU that this process has taken, of all its threads."""
    return time.process_time()


def _child(task: Sequence[Any]) -> None:
    name, shuffled, to, parts = task
    print(json.dumps(measure(name, Path(shuffled), Path(to), parts)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(json.loads(sys.argv[2]))
    else:
        sys.exit(main())
