"""The same question, asked with what people have at hand.

Both find every event of one address; neither verifies, collapses or orders anything.
"""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import duckdb

from chalicelib.delivery import Delivery


class HourlyGzip:
    """Files of one event a line, one file for each hour of arrival, as log shippers write them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, deliveries: Iterator[Delivery]) -> Iterator[Delivery]:
        """Write what passes through. Deliveries come in order of arrival."""
        self.folder.mkdir(parents=True)
        with ExitStack() as stack:
            hour, file = "", None
            for delivery in deliveries:
                if file is None or f"{delivery.arrived:%Y-%m-%dT%H}" != hour:
                    hour = f"{delivery.arrived:%Y-%m-%dT%H}"
                    stack.close()
                    path = self.folder / f"{hour}.ndjson.gz"
                    file = stack.enter_context(gzip.open(path, "wb", compresslevel=6))
                file.write(delivery.body.strip()[1:-1].replace(b",\r\n", b"\n") + b"\n")
                yield delivery

    def ids(self, address: str) -> set[str]:
        """The ids of the events of an address, with zgrep in two processes."""
        pattern = f'"email":"{address}"'
        done = subprocess.run(
            ["xargs", "-0", "-P", "2", "-n", "32", "zgrep", "-hF", "--line-buffered", pattern],
            input="\0".join(map(str, sorted(self.folder.iterdir()))),
            stdout=subprocess.PIPE,
            text=True,
            check=False,  # 123 where one of the files has no such line
        )
        return {json.loads(line)["sg_event_id"] for line in done.stdout.splitlines()}


class RawJson:
    """The archive's own objects, as they lie in a folder, read by DuckDB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ids(self, address: str) -> set[str]:
        """The ids of the events of an address; both threads, in this process."""
        duckdb.execute("SET enable_progress_bar = false")
        rows = duckdb.execute(
            "SELECT DISTINCT json->>'sg_event_id' FROM read_json_objects(?, format = 'array') "
            "WHERE json->>'email' = ?",
            [f"{self.folder}/**/*.json", address],
        ).fetchall()
        return {row[0] for row in rows}
