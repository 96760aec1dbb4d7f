"""The columns of a compacted file, in order; nothing else names their types."""

from __future__ import annotations

# Name, type in a file, type in a line of intake.py: a list has an item for each row.
COLUMNS = (
    ("subject", "VARCHAR", "VARCHAR[]"),
    ("time", "TIMESTAMP_MS", "TIMESTAMP[]"),
    ("type", "VARCHAR", "VARCHAR[]"),
    ("id", "VARCHAR", "VARCHAR[]"),
    ("correlation", "VARCHAR", "VARCHAR[]"),
    ("source", "VARCHAR", "VARCHAR"),
    ("verdict", "VARCHAR", "VARCHAR"),
    ("arrived", "TIMESTAMP_MS", "TIMESTAMP"),
    ("delivery", "VARCHAR", "VARCHAR"),
    ("position", "INTEGER", "INTEGER"),  # in a line: of its first row
    ("batch", "INTEGER", "INTEGER"),
    ("repeat", "BOOLEAN", ""),  # not in a line: it depends on the whole file
    ("metadata", "MAP(VARCHAR, VARCHAR)", "MAP(VARCHAR, VARCHAR)"),
    ("before", "BLOB", "VARCHAR[]"),
    ("data", "VARCHAR", "VARCHAR[]"),
    ("after", "BLOB", "VARCHAR"),
    ("derived", "BOOLEAN", "BOOLEAN"),
)
