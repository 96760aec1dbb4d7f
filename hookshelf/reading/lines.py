"""Events as lines of JSON, which are exact, and as rows for a spreadsheet, which are harmless."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any

from chalicelib.bodies import is_json
from hookshelf.reading.values import ArchivedEvent
from hookshelf.terminal import printable

EVENT_COLUMNS = (
    "id",
    "source",
    "type",
    "subject",
    "time",
    "app",
    "correlation",
    "arrived",
    "delivery",
    "position",
    "verdict",
    "times",
    "data",
)

# What makes a spreadsheet take a cell for a formula; where it is set to some languages, full-width
# signs do, and a semicolon begins another cell. https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = re.compile(r"(^|;)( *[=+\-@\uff1d\uff0b\uff0d\uff20])")
_NOT_ASCII = re.compile(r"[^\x20-\x7e]")


def json_line(event: ArchivedEvent, columns: Sequence[str] = EVENT_COLUMNS) -> str:
    r"""One event as one line of JSON; `data` is the sender's, no digit or name of it changed.

    Where it is no JSON, it is a string. What is not ASCII is written as `\uXXXX`: the same JSON,
    which no terminal obeys.
    """
    fields = event.as_json()
    written = (f"{json.dumps(name)}: {_written(name, fields[name])}" for name in columns)
    return "{" + ", ".join(written) + "}"


def csv_head(columns: Sequence[str] = EVENT_COLUMNS) -> str:
    """The names of the columns, behind the byte order mark by which spreadsheets know UTF-8."""
    return "\ufeff" + csv_row(columns)


def csv_line(event: ArchivedEvent, columns: Sequence[str] = EVENT_COLUMNS) -> str:
    """One event for a spreadsheet."""
    fields = event.as_json()
    return csv_row(fields[name] for name in columns)


def csv_row(values: Iterable[object]) -> str:
    """One row for a spreadsheet: a cell that would be a formula begins with an apostrophe.

    Control characters are escaped, as nobody's terminal or spreadsheet should obey them.
    """
    line = StringIO()
    csv.writer(line, lineterminator="").writerow(
        _FORMULA.sub(r"\1'\2", printable(str(value))) for value in values
    )
    return line.getvalue()


def _written(name: str, value: Any) -> str:
    if name == "data" and is_json(value.encode("utf-8", "replace")):
        return _NOT_ASCII.sub(_escaped, value)
    return json.dumps(value)


def _escaped(match: re.Match[str]) -> str:
    # Outside of strings, JSON has only spaces, tabs and line breaks.
    return " " if match[0] in "\t\r\n" else json.dumps(match[0])[1:-1]
