"""The columns of a compacted file, in order; nothing else names their types."""

from __future__ import annotations

# Name, and type in a file.
COLUMNS = (
    ("subject", "VARCHAR"),
    ("time", "TIMESTAMP_MS"),
    ("type", "VARCHAR"),
    ("id", "VARCHAR"),
    ("correlation", "VARCHAR"),
    ("source", "VARCHAR"),
    ("verdict", "VARCHAR"),
    ("arrived", "TIMESTAMP_MS"),
    ("delivery", "VARCHAR"),
    ("position", "INTEGER"),
    ("batch", "INTEGER"),
    ("repeat", "BOOLEAN"),
    ("metadata", "MAP(VARCHAR, VARCHAR)"),
    ("before", "BLOB"),
    ("data", "VARCHAR"),
    ("after", "BLOB"),
    ("derived", "BOOLEAN"),
)
