"""What Athena makes of compacted files, by the statements that `hookshelf ddl` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

from chalicelib.archive import to_object
from chalicelib.delivery import Delivery
from chalicelib.keys import events_prefix
from chalicelib.sources import source_named
from hookshelf.smoke.registry import Outcome, smoke_check
from hookshelf.smoke.target import CommandFailed, Target

_READ_APP = "sendgrid"
_DATABASE = "hookshelf_smoke"
_MODES = {"listed": (), "injected": ("--injected",)}
_QUERY_TIMEOUT = 120.0  # seconds
_QUERY = (
    "SELECT id, times, to_hex(before), data, to_hex(after), metadata['verdict'], "
    f"CAST(arrived AS varchar) FROM events_once WHERE app = '{_READ_APP}'"
)


class _Refused(Exception):
    """Athena's own words on a statement."""


@smoke_check(
    "Athena reads compacted files",
    "by the printed statements, apps listed and injected: an event that came twice is one row, "
    "with its bytes, its metadata and the millisecond of its arrival",
)
def reads_in_place(target: Target) -> Outcome:
    """Yesterday's deliveries, as those of today are not compacted yet."""
    expected = _deliver(target)
    try:
        target.hookshelf("compact", "--bucket", target.bucket, "--app", _READ_APP)
        seen = {name: _rows(target, options) for name, options in _MODES.items()}
    except CommandFailed as error:
        return Outcome(str(error), False)
    texts = [
        f"{name} {'as delivered' if rows == [expected] else rows}" for name, rows in seen.items()
    ]
    return Outcome("; ".join(texts), all(rows == [expected] for rows in seen.values()))


def _deliver(target: Target) -> list[str]:
    """Put a body twice, with the operator's own rights; the row that is to be."""
    data = json.dumps({"email": "a@example.com", "event": "open", "sg_event_id": "e1"})
    body = f"[{data}]".encode()
    first = (target.started - timedelta(days=1)).replace(hour=12, microsecond=123_000)
    for arrived in (first, first + timedelta(hours=1)):
        delivery = Delivery(_READ_APP, {}, body, arrived)
        obj = to_object(delivery, source_named(_READ_APP), verdict="verified")
        target.put(obj.key, obj.body, IfNoneMatch="*", Metadata=dict(obj.metadata))
    arrival = first.strftime("%Y-%m-%d %H:%M:%S.123")
    return ["e1", "2", b"[".hex().upper(), data, b"]".hex().upper(), "verified", arrival]


def _rows(target: Target, options: tuple[str, ...]) -> list[list[str]] | str:
    """What the query gives over table and view in a database of their own; or why it does not."""
    printed = target.hookshelf("ddl", "athena", "--bucket", target.bucket, "--json", *options)
    drop = f"DROP DATABASE IF EXISTS {_DATABASE} CASCADE"
    try:
        for statement in (drop, f"CREATE DATABASE {_DATABASE}"):
            _run(target, statement, "default")
        for line in printed.splitlines():
            _run(target, json.loads(line)["sql"], _DATABASE)
        return list(_values(target, _run(target, _QUERY, _DATABASE)))
    except _Refused as error:
        return str(error)
    finally:
        _run(target, drop, "default")


def _run(target: Target, statement: str, database: str) -> str:
    """Run one statement to its end; its id. Raises Refused.

    What Athena writes lies where the bucket's policy lets it, and goes with the bucket.
    """
    athena = target.client("athena")
    results = f"s3://{target.bucket}/{events_prefix('')}results/"
    id = athena.start_query_execution(
        QueryString=statement,
        QueryExecutionContext={"Database": database},
        ResultConfiguration={"OutputLocation": results},
    )["QueryExecutionId"]

    def status() -> dict[str, str]:
        execution = athena.get_query_execution(QueryExecutionId=id)["QueryExecution"]
        return dict(execution["Status"])

    ended = target.until(
        status, lambda now: now["State"] not in ("QUEUED", "RUNNING"), _QUERY_TIMEOUT
    )
    if ended["State"] != "SUCCEEDED":
        raise _Refused(f"{ended['State']}: {ended.get('StateChangeReason', '')}")
    return str(id)


def _values(target: Target, id: str) -> Iterator[list[str]]:
    rows = target.client("athena").get_query_results(QueryExecutionId=id)["ResultSet"]["Rows"]
    for row in rows[1:]:  # the first are the names
        yield [cell.get("VarCharValue", "") for cell in row["Data"]]
