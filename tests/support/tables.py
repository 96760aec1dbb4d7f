"""What a printed DDL says, and which folders Athena makes of it."""

import json
import re
from datetime import date, datetime
from itertools import product
from typing import Any

# https://docs.aws.amazon.com/athena/latest/ug/partition-projection-supported-types.html
NEEDED = {
    "enum": {"values"},
    "injected": set[str](),
    "date": {"range", "format", "interval", "interval.unit"},
}


def properties_of(statement: str) -> dict[str, str]:
    """The table properties of a CREATE TABLE."""
    return dict(re.findall(r"^  '([^']+)' = '([^']*)',?$", statement, re.MULTILINE))


def partitions_of(statement: str) -> list[str]:
    return re.findall(r"`(\w+)` string", statement.partition("PARTITIONED BY (")[2].split(")")[0])


def check_properties(statement: str) -> None:
    """Fail on a property that Athena would not know, and so would ignore without a word."""
    properties = properties_of(statement)
    columns = partitions_of(statement)
    types = {name: properties.pop(f"projection.{name}.type") for name in columns}
    needed = {f"projection.{name}.{fact}" for name in columns for fact in NEEDED[types[name]]}
    template = properties["storage.location.template"]

    assert properties.pop("projection.enabled") == "true"
    assert set(properties) == needed | {"storage.location.template"}
    assert re.findall(r"\$\{(\w+)\}", template) == columns
    assert template.endswith("/")
    assert template.startswith(re.findall(r"^LOCATION '([^']+/)'$", statement, re.MULTILINE)[0])


def projected(statement: str, now: date) -> set[str]:
    """Every folder that Athena reads, as it projects them: https://docs.aws.amazon.com/athena/."""
    properties = properties_of(statement)
    assert properties["projection.month.format"] == "yyyy-MM"
    assert properties["projection.month.interval"] == "1"
    assert properties["projection.month.interval.unit"] == "MONTHS"
    first, last = properties["projection.month.range"].split(",")
    assert last == "NOW"
    months, month = [], date.fromisoformat(f"{first}-01")
    while month <= now:
        months.append(month.isoformat()[:7])
        month = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    apps = properties["projection.app.values"].split(",")
    template = properties["storage.location.template"]
    return {
        template.replace("${app}", app).replace("${month}", month)
        for app, month in product(apps, months)
    }


def printed(output: str) -> list[str]:
    """The statements that `hookshelf ddl` printed, to be pasted one by one."""
    text = "".join(line for line in output.splitlines(keepends=True) if not line.startswith("--"))
    return [statement.strip() for statement in text.split(";\n") if statement.strip()]


def in_json(output: str) -> list[str]:
    """The same, of `--json`."""
    return [json.loads(line)["sql"] for line in output.splitlines()]


def plain(value: Any) -> Any:
    """A value of a row as JSON has it, and by which engines are compared."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if isinstance(value, datetime):
        assert value.tzinfo is None
        return value.isoformat(timespec="microseconds")
    if isinstance(value, dict):
        return {"map": sorted(value.items())}
    return value
