"""What somebody asks for, and whether a row is it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache

from chalicelib.sources import source_named, source_names
from hookshelf.reading.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which events are asked for. None is any. Times are arrival, half-open, aware UTC."""

    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    type: str | None = None
    id: str | None = None
    correlation: str | None = None

    def has(self, arrived: datetime) -> bool:
        """Whether the arrival of a delivery lies within."""
        return not ((self.since and arrived < self.since) or (self.until and arrived >= self.until))

    def is_subject(self, subject: str, source: str) -> bool:
        """Whether a row's subject is the one that is asked for."""
        if self.subject is None or subject == self.subject:
            return True
        return subject == self.subject.lower() and source in ignoring_case()

    def is_row(self, row: Row) -> bool:
        """Whether a row is asked for; its arrival is looked at elsewhere."""
        return (
            self.type in (None, row.type)
            and self.id in (None, row.id)
            and self.correlation in (None, row.correlation)
            and self.is_subject(row.subject, row.source)
        )

    @property
    def subjects(self) -> tuple[str, ...]:
        """The texts that a row's subject may be."""
        if self.subject is None:
            return ()
        return tuple(dict.fromkeys((self.subject, self.subject.lower())))


@cache
def ignoring_case() -> frozenset[str]:
    """The sources whose subjects are kept in lower case."""
    return frozenset(name for name in source_names() if source_named(name).subject_ignores_case)
