"""Compacted files without DuckDB, twenty times as fast: their rows are lines of JSON.

What is simulated is the work on one file on one machine: merging, checking, looking rows up. All
that decides what is merged and when it is put, read or deleted is the product's, and so are the
footers. One seed in 25 runs over real files, see duckdb_once.py.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from chalicelib.delivery import ArchiveObject
from chalicelib.keys import EventsKey, parse_key
from hookshelf.reading import bodies, compact, erasing, footers, listing, lookup, split, verifying
from hookshelf.reading.bodies import WholeDelivery
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.files import CompactedFile, Files
from hookshelf.reading.footers import Footer
from hookshelf.reading.lookup import within
from hookshelf.reading.merge import Held, Merged, Parts
from hookshelf.reading.rows import Row, SplitDelivery, rebuilt
from hookshelf.reading.selection import Selection
from hookshelf.reading.thrift import MAGIC, varint
from hookshelf.reading.values import Read


class Engine:
    """What merge.Engine does, in Python."""

    def __init__(self, folder: Path, **_: Any) -> None:
        self.folder = folder

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def merge(self, parts: Parts, path: Path) -> Merged:
        rows = [row for path in parts.new for row in _of_lines(path)]
        seen: set[str] = set(parts.without)
        for file in parts.files:
            of_file = [row for row in _rows(file) if row.delivery not in seen]
            rows += of_file
            if parts.overlapping:
                seen |= {row.delivery for row in of_file}
        with path.open("w") as file:
            for row in sorted(rows, key=lambda row: (row.subject, row.time, *row[8:10])):
                file.write(_line(row))
        return Merged(path, (), (0, 0))

    def checksum(self, files: Sequence[Path]) -> tuple[int, int]:
        rows = [row for file in files for row in _rows(file)]
        return len(rows), sum(crc32(_line(row).encode()) for row in rows)

    def held(self, files: Sequence[Path], *, prove: bool = False) -> dict[str, Held]:
        held = {}
        for name, rows in _by_delivery(row for file in files for row in _rows(file)).items():
            body = rebuilt(rows, _key(name)).body
            digest = (rows[0].metadata or {}).get("redacted") or _key(name).sha256
            positions = [row.position for row in rows]
            is_whole = positions == list(range(max(rows[0].batch, 1)))
            if prove:
                is_whole = is_whole and sha256(body).hexdigest() == digest
            held[name] = Held(len(rows), rows[0].batch, len(body), is_whole)
        return held

    def rows(self, path: Path) -> Iterator[Row]:
        return iter(sorted(_rows(path), key=lambda row: (row.delivery, row.position)))


def write_rows(deliveries: Iterable[SplitDelivery], path: Path) -> None:
    """See intake.write_rows; here a row is a line."""
    with path.open("w") as file:
        for delivery in deliveries:
            file.writelines(map(_line, _rows_of(delivery)))


def write_footer(path: Path, footer: Footer) -> Footer:
    """Where the real one is: last, after the same mark."""
    footer = replace(footer, footer=path.stat().st_size)
    text = footer.to_text().encode()
    body = footers._MARK + varint(len(text)) + text
    with path.open("ab") as file:
        file.write(body + len(body).to_bytes(4, "little") + MAGIC)
    return footer


def compacted_rows(bucket: Bucket, read: Read, files: Files, selection: Selection) -> list[Row]:
    """See lookup.compacted_rows."""
    return [
        row
        for file in files.counting
        if within(file.footer, selection)
        for row in _rows(bucket.whole(read, file.entry))
        if row.is_event and selection.is_row(row)
    ]


def keys_in(bucket: Bucket, read: Read, files: list[CompactedFile]) -> list[str]:
    """See listing.keys_in."""
    rows = (row for file in files for row in _rows(bucket.whole(read, file.entry)))
    return [row.delivery for row in rows if not row.position]


def deliveries_in(
    bucket: Bucket, read: Read, file: CompactedFile, selection: Selection, **_: Any
) -> Iterator[WholeDelivery]:
    """See bodies.deliveries_in."""
    return _deliveries(bucket.whole(read, file.entry), selection)


def deliveries_at(
    path: Path, key: EventsKey, rows: int, selection: Selection
) -> Iterator[WholeDelivery]:
    """See bodies.deliveries_at."""
    return _deliveries(path, selection)


def _deliveries(path: Path, selection: Selection) -> Iterator[WholeDelivery]:
    for name, rows in _by_delivery(_rows(path)).items():
        if selection.has(_key(name).arrived):
            obj: ArchiveObject = rebuilt(rows, _key(name))
            yield WholeDelivery(_key(name), obj, "compacted")


def _stored(bucket: Bucket, read: Read, file: CompactedFile, delivery: str) -> list[Row]:
    rows = _by_delivery(_rows(bucket.whole(read, file.entry)))
    return rows.get(delivery, [])


def texts_in(body: bytes) -> Iterator[tuple[str, str]]:
    """Of each row of a file the delivery, and the row as a text."""
    for row in _of_text(body.partition(footers._MARK)[0]):
        yield row.delivery, (row.before + (row.data or "").encode() + row.after).decode()


def install(patch: pytest.MonkeyPatch) -> None:
    """Put all this in the place of DuckDB."""
    patch.setattr(compact, "Engine", Engine)
    patch.setattr(compact, "write_footer", write_footer)
    patch.setattr(split, "write_rows", write_rows)
    patch.setattr(lookup, "compacted_rows", compacted_rows)
    patch.setattr(lookup, "_stored", _stored)
    for module in (listing, verifying):
        patch.setattr(module, "keys_in", keys_in)
    for module in (bodies, verifying, erasing):
        patch.setattr(module, "deliveries_in", deliveries_in)
    patch.setattr(erasing, "deliveries_at", deliveries_at)


def _rows_of(delivery: SplitDelivery) -> Iterator[Row]:
    """See rows.to_rows, which makes them of the delivery itself."""
    last = len(delivery.subject) - 1
    for position, subject in enumerate(delivery.subject):
        yield Row(
            subject=subject,
            time=delivery.time[position],
            type=delivery.type[position],
            id=delivery.id[position],
            correlation=delivery.correlation[position],
            source=delivery.source,
            verdict=delivery.verdict,
            arrived=delivery.arrived,
            delivery=delivery.delivery,
            position=position,
            batch=delivery.batch,
            metadata=None if position else delivery.metadata,
            before=delivery.before[position],
            data=delivery.data[position].decode() if delivery.batch else None,
            after=delivery.after if position == last else b"",
            derived=delivery.derived,
        )


def _line(row: Row) -> str:
    fields = row._asdict() | {"before": row.before.hex(), "after": row.after.hex()}
    return json.dumps(fields) + "\n"


def _rows(path: Path) -> list[Row]:
    body = path.read_bytes()
    lines, _, _ = body.partition(footers._MARK)
    return _of_text(lines)


def _of_lines(path: Path) -> list[Row]:
    return _of_text(path.read_bytes())


def _of_text(text: bytes) -> list[Row]:
    rows = []
    for line in text.splitlines():
        fields = json.loads(line)
        fields["before"], fields["after"] = (
            bytes.fromhex(fields["before"]),
            bytes.fromhex(fields["after"]),
        )
        rows.append(Row(**fields))
    return rows


def _by_delivery(rows: Any) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.delivery, row.position)):
        groups.setdefault(row.delivery, []).append(row)
    return groups


def _key(name: str) -> Any:
    return parse_key(name)
