"""Statements that make the compacted files of an archive a table in Athena, or in Spark.

A place (a bucket, or a path in one) is a table. Beside each lies a view in which an event is shown
once; it is written in what Athena, Spark and DuckDB have in common.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from chalicelib.keys import events_prefix, month_prefix, months_in
from chalicelib.settings import Settings
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.columns import COLUMNS
from hookshelf.reading.raw import raw_days
from hookshelf.reading.values import BEST_FIRST, Read, Stream

ENGINES = ("athena", "spark")
TABLE = "events"
# Apps that are listed in a table; more are injected. Athena's guide: "a few dozen or less".
# https://docs.aws.amazon.com/athena/latest/ug/partition-projection-supported-types.html
MOST_LISTED = 24

_PARTITIONS = ("app", "month")
# By the type in a file. A time is UTC without a zone, in milliseconds, which is what Athena's
# `timestamp` is. Spark's would be shown in the session's time zone; `timestamp_ntz` is not.
_TYPES = {
    "VARCHAR": "string",
    "TIMESTAMP_MS": "timestamp",
    "INTEGER": "int",
    "BOOLEAN": "boolean",
    "MAP(VARCHAR, VARCHAR)": "map<string,string>",
    "BLOB": "binary",
}
_SPARK_TYPES = {**_TYPES, "TIMESTAMP_MS": "timestamp_ntz"}


@dataclass(frozen=True, slots=True)
class EventsTable:
    """What a table of one place is made from."""

    name: str
    bucket: str
    prefix: str  # of the place; empty, or with a slash at its end
    apps: tuple[str, ...]
    first_month: str  # such as `2026-11`
    folder: str = ""  # in which the bucket is a folder; empty in S3

    @property
    def view(self) -> str:
        """The name of the view in which an event is shown once."""
        return f"{self.name}_once"


def tables_of(
    settings: Settings, read: Read, streams: Iterable[tuple[Bucket, Stream]]
) -> list[EventsTable]:
    """A table for each place: `events`, or where there are several `events_` and the place."""
    places: dict[tuple[str, str], list[tuple[Bucket, Stream]]] = defaultdict(list)
    for bucket, stream in streams:
        places[stream.bucket, stream.prefix].append((bucket, stream))
    names = [TABLE for _ in places]
    if len(places) > 1:
        names = _names([f"{bucket}_{prefix}" for bucket, prefix in places])
    folder = str(Path(settings.folder).expanduser().resolve()) if settings.folder else ""
    return [
        EventsTable(
            name,
            *place,
            tuple(sorted(stream.app for _, stream in inside)),
            min(_first_month(bucket, read, stream) for bucket, stream in inside),
            folder,
        )
        for name, (place, inside) in zip(names, places.items(), strict=True)
    ]


def _names(places: Sequence[str]) -> list[str]:
    """Names of tables that differ, as Athena's are lower case and have no dots and hyphens."""
    names: list[str] = []
    for place in places:
        plain = re.sub("[^a-z0-9]+", "_", f"{TABLE}_{place}".lower()).strip("_")
        same = sum(plain == re.sub(r"__\d+$", "", name) for name in names)
        names.append(f"{plain}__{same + 1}" if same else plain)
    return names


def _first_month(bucket: Bucket, read: Read, stream: Stream) -> str:
    folders = bucket.store.folders(read, events_prefix(stream.prefix, stream.app))
    days = raw_days(bucket, read, stream)
    return min([*months_in(folders), *(day.isoformat()[:7] for day in days[:1])], default="1970-01")


def athena(table: EventsTable, *, injected: bool = False) -> list[str]:
    """Table and view for Athena; partitions are projected, so that nothing is to be kept up.

    `injected` serves apps that are not there yet: each query then names one, `app = '…'`.
    """
    root = f"s3://{table.bucket}/"
    listed = {"projection.app.type": "enum", "projection.app.values": ",".join(table.apps)}
    is_listed = not injected and len(table.apps) <= MOST_LISTED
    projection = {
        "projection.enabled": "true",
        **(listed if is_listed else {"projection.app.type": "injected"}),
        "projection.month.type": "date",
        "projection.month.format": "yyyy-MM",
        "projection.month.range": f"{table.first_month},NOW",
        "projection.month.interval": "1",
        "projection.month.interval.unit": "MONTHS",
        "storage.location.template": root + month_prefix(table.prefix, "${app}", "${month}"),
    }
    properties = ",\n".join(f"  '{name}' = '{value}'" for name, value in projection.items())
    partitions = ", ".join(f"`{name}` string" for name in _PARTITIONS)
    return [
        f"CREATE EXTERNAL TABLE `{table.name}` (\n{_columns(_TYPES)}\n)\n"
        f"PARTITIONED BY ({partitions})\n"
        f"STORED AS PARQUET\n"
        f"LOCATION '{root}{events_prefix(table.prefix)}'\n"
        f"TBLPROPERTIES (\n{properties}\n)",
        once(table),
    ]


def spark(table: EventsTable, *, scheme: str = "s3") -> list[str]:
    """Table, its partitions and view for Spark 3.4 or newer, with or without a Hive metastore."""
    root = f"file://{table.folder}/" if table.folder else f"{scheme}://"
    location = f"{root}{table.bucket}/{events_prefix(table.prefix)}"
    location = location.replace("\\", "\\\\").replace("'", "\\'")
    partitions = "".join(f",\n  `{name}` string" for name in _PARTITIONS)
    return [
        f"CREATE TABLE `{table.name}` (\n{_columns(_SPARK_TYPES)}{partitions}\n)\n"
        f"USING parquet\n"
        f"PARTITIONED BY ({', '.join(f'`{name}`' for name in _PARTITIONS)})\n"
        f"LOCATION '{location}'",
        f"MSCK REPAIR TABLE `{table.name}`",
        once(table),
    ]


def once(table: EventsTable) -> str:
    """The view in which an event is shown once: the copy with the best verdict, else the earliest.

    A row that is read twice, while a file takes another's place, counts once in `times`.
    """
    names = [*(name for name, _ in COLUMNS), *_PARTITIONS]
    listed = fill(", ".join(names), 88, subsequent_indent="    ")
    ranks = " ".join(f"WHEN '{verdict}' THEN {rank}" for rank, verdict in enumerate(BEST_FIRST))
    same = "OVER (PARTITION BY app, type, id ORDER BY"
    # The ranks from both ends add up to one more than there are different deliveries.
    return (
        f"CREATE OR REPLACE VIEW {table.view} AS\n"
        f"SELECT {listed},\n"
        f"    times\n"
        f"FROM (\n"
        f"  SELECT {listed},\n"
        f"    dense_rank() {same} delivery, position)\n"
        f"      + dense_rank() {same} delivery DESC, position DESC) - 1 AS times,\n"
        f"    row_number() {same}\n"
        f"      CASE verdict\n"
        f"        {ranks}\n"
        f"        ELSE {len(BEST_FIRST)} END,\n"
        f"      regexp_extract(delivery, '[^/]+$', 0), delivery, position) AS nth\n"
        f"  FROM {table.name}\n"
        f"  WHERE batch > 0\n"
        f") AS copies\n"
        f"WHERE nth = 1"
    )


def _columns(types: dict[str, str]) -> str:
    return ",\n".join(f"  `{name}` {types[kind]}" for name, kind in COLUMNS)
