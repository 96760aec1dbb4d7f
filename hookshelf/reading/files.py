"""Which compacted files there are, and which of them count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from chalicelib.keys import EventsKey, UnknownKey, events_prefix, parse_events
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.errors import Gone
from hookshelf.reading.footers import Footer
from hookshelf.reading.store import StoredFile
from hookshelf.reading.values import Read, Stream

BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CompactedFile:
    """One compacted file as it was listed, with its footer."""

    entry: StoredFile
    key: EventsKey
    footer: Footer


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one stream."""

    counting: tuple[CompactedFile, ...]  # by start
    replaced: tuple[CompactedFile, ...] = ()  # left over: another file holds their rows
    foreign: frozenset[str] = frozenset()  # keys of ours whose files are not

    def gaps(self) -> list[tuple[datetime, datetime | None]]:
        """The intervals of arrival that no file covers; the last has no end."""
        gaps: list[tuple[datetime, datetime | None]] = []
        covered = BEGINNING
        for file in self.counting:
            if file.footer.start > covered:
                gaps.append((covered, file.footer.start))
            covered = max(covered, file.footer.end)
        return [*gaps, (covered, None)]

    @property
    def end(self) -> datetime | None:
        """Up to where files cover; None where there is none."""
        return max((file.footer.end for file in self.counting), default=None)


def listed_files(bucket: Bucket, read: Read, stream: Stream, *, attempts: int = 8) -> Files:
    """List a stream's files and read their footers; again where one is replaced meanwhile.

    What discovery listed on its way is taken first, once.
    """
    while True:
        listed = bucket.ahead.pop(stream, None)
        if listed is None:
            prefix = events_prefix(stream.prefix, stream.app)
            listed = list(bucket.store.entries(read, prefix))
        entries = [(entry, key) for entry in listed if (key := _key(entry.key, stream)) is not None]
        try:
            footers = bucket.footers(read, [entry for entry, _ in entries])
        except Gone:
            attempts -= 1
            if not attempts:
                raise
            continue
        known = zip(entries, footers, strict=True)
        files = [CompactedFile(*pair, footer) for pair, footer in known if footer is not None]
        ours = {file.entry.key for file in files}
        return _counting(files, frozenset(entry.key for entry, _ in entries) - ours)


def overlap(files: Iterable[CompactedFile]) -> bool:
    """Whether a row may be in two of the files."""
    ordered = sorted(files, key=lambda file: file.key.start)
    return any(a.key.end > b.key.start for a, b in zip(ordered, ordered[1:], strict=False))


def _key(text: str, stream: Stream) -> EventsKey | None:
    try:
        key = parse_events(text)
    except UnknownKey:
        return None  # the folder may hold what is not ours
    return key if (key.prefix, key.app) == (stream.prefix, stream.app) else None


def _counting(files: Iterable[CompactedFile], foreign: frozenset[str]) -> Files:
    """Apart: files that another one replaces, which is exactly those it names, as they were."""
    files = sorted(files, key=lambda file: (file.footer.start, file.entry.key))
    replaced = {item for file in files for item in file.footer.replaces.items()}
    is_replaced = [(file.entry.key, file.entry.etag) in replaced for file in files]
    pairs: Sequence[tuple[CompactedFile, bool]] = list(zip(files, is_replaced, strict=True))
    return Files(
        tuple(file for file, gone in pairs if not gone),
        tuple(file for file, gone in pairs if gone),
        foreign,
    )
