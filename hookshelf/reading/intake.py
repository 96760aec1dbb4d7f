"""Split deliveries on their way into the engine: JSON lines, and the SQL that reads them.

A line is up to ROWS_IN_LINE rows of one delivery, column by column, bytes in base64: what its rows
share is written once. No engine is loaded here: other processes only write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from hookshelf.reading.columns import COLUMNS
from hookshelf.reading.rows import SplitDelivery

ROWS_IN_LINE = 500  # a body of 4 MiB may hold two million events; a line has to fit in memory
_SMALLEST = 1024 * 1024  # the engine reads in buffers of twice that size, one for each thread
_IN_LINE = {name: kind for name, _, kind in COLUMNS if kind}
_LISTS = [name for name, kind in _IN_LINE.items() if kind.endswith("[]")]
_SELECTED = {
    "position": "(position + row)::INTEGER AS position",
    "repeat": "false AS repeat",
    "metadata": "CASE WHEN position + row = 0 THEN metadata END AS metadata",
    "before": "from_base64(before) AS before",
    "after": "CASE WHEN position + row + 1 >= batch THEN from_base64(after) ELSE '' END AS after",
}
_encode = msgspec.json.Encoder().encode


def write_lines(deliveries: Iterable[SplitDelivery], path: Path) -> int:
    """Append deliveries to a file; how many bytes the longest line has."""
    longest = 0
    with path.open("ab") as file:
        for delivery in deliveries:
            fields = delivery._asdict()
            for first in range(0, len(delivery.subject), ROWS_IN_LINE):
                rows = slice(first, first + ROWS_IN_LINE)
                lists = {name: fields[name][rows] for name in _LISTS}
                line = _encode(fields | lists | {"position": first})
                longest = max(longest, len(line))
                file.write(line)
                file.write(b"\n")
    return longest


def lines_select(paths: Sequence[Path], longest: int) -> str:
    """The rows of some files of lines, in SQL, as they are in a compacted file."""
    names = ", ".join(_SELECTED.get(name, f"{name}::{kind} AS {name}") for name, kind, _ in COLUMNS)
    quoted = ", ".join("'{}'".format(str(path).replace("'", "''")) for path in paths)
    types = ", ".join(f"{name}: '{kind}'" for name, kind in _IN_LINE.items())
    unnested = ", ".join(f"unnest({name}) AS {name}" for name in _LISTS)
    return (
        f"SELECT {names} FROM (SELECT * EXCLUDE ({', '.join(_LISTS)}), {unnested}, "
        "unnest(range(len(subject))) AS row "
        f"FROM read_json([{quoted}], format = 'newline_delimited', columns = {{{types}}}, "
        f"maximum_object_size = {max(_SMALLEST, longest + 1)}))"
    )
