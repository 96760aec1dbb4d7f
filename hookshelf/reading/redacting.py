"""A delivery without a person: every other event of it stays as it is, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from chalicelib.bodies import is_json
from chalicelib.delivery import ArchiveObject
from chalicelib.keys import DeliveryKey
from chalicelib.sources import Source
from hookshelf.reading.rows import Row, is_same, to_rows
from hookshelf.reading.selection import Selection
from hookshelf.reading.tombstones import tombstone
from hookshelf.reading.traces import Traces

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_GONE = '"redacted"'  # in place of a text that is no event's


class Redacted(NamedTuple):
    """A delivery as it is kept from now on."""

    obj: ArchiveObject  # its key is still that of the delivery
    events: int  # how many were erased

    @property
    def sha256(self) -> str:
        """Of the body."""
        return self.obj.metadata["redacted"]


def redacted(
    obj: ArchiveObject, key: DeliveryKey, source: Source, traces: Traces
) -> Redacted | None:
    """The delivery without a person; None where nothing in it is about them.

    An event that holds a trace anywhere becomes a tombstone. What holds one outside of all events
    loses that text; where there is no telling what else it is, as in a form, the body goes whole.
    """
    metadata = _metadata(obj, traces)
    is_in_body = traces.in_text(obj.body)
    is_in_metadata = len(metadata) < len(obj.metadata)
    if traces.in_texts and not (is_in_body or is_in_metadata):
        return None  # what no text of it holds is the subject of none of its events
    rows = to_rows(obj, key, source)
    erased = _erased(rows, traces, is_in_body)
    if not (erased or is_in_body or is_in_metadata):
        return None
    body = _left(obj.body, rows, erased, traces)
    if body != obj.body:
        metadata = _without_signature(metadata, source)
    if not is_same(obj, key):
        metadata["verdict"] = "bad"
    metadata["redacted"] = sha256(body).hexdigest()
    kept = ArchiveObject(obj.key, body, obj.content_type, dict(sorted(metadata.items())))
    return Redacted(kept, len(erased))


def _left(body: bytes, rows: Sequence[Row], erased: Sequence[Row], traces: Traces) -> bytes:
    left = _body(body, rows, erased, traces)
    if left is not None and is_json(left) and traces.in_text(left):
        left = _without_texts(left, traces)
    if left is None or traces.in_text(left):
        return _tombstone((erased or rows)[0], traces)
    return left


def _erased(rows: Sequence[Row], traces: Traces, is_in_body: bool) -> list[Row]:
    """The events that are about the person, or hold a trace."""
    wanted = Selection(subject=traces.subject)
    return [
        row
        for row in rows
        if row.is_event
        and (
            wanted.is_subject(row.subject, row.source)
            or (is_in_body and traces.in_text(row.data or ""))
        )
    ]


def _metadata(obj: ArchiveObject, traces: Traces) -> dict[str, str]:
    return {name: value for name, value in obj.metadata.items() if not traces.in_value(value)}


def _without_signature(metadata: Mapping[str, str], source: Source) -> dict[str, str]:
    """A signature proves nothing any more, and whoever guesses the body could confirm it."""
    gone = {f"h-{header}" for header in source.signature_headers}
    return {name: value for name, value in metadata.items() if name not in gone}


def _body(body: bytes, rows: Sequence[Row], erased: Sequence[Row], traces: Traces) -> bytes | None:
    """The body with tombstones; None where there is no telling where in it an event lies."""
    if not erased:
        return body
    if not rows[0].derived:
        stones = {row.position: _tombstone(row, traces) for row in erased}
        return b"".join(
            row.before + stones.get(row.position, (row.data or "").encode()) + row.after
            for row in rows
        )
    for row in erased:
        data = (row.data or "").encode()
        if data not in body:
            return None
        body = body.replace(data, _tombstone(row, traces))
    return body


def _tombstone(row: Row, traces: Traces) -> bytes:
    return tombstone("" if traces.in_text(row.type) else row.type, row.time).encode()


def _without_texts(body: bytes, traces: Traces) -> bytes:
    """JSON without the texts that hold a trace."""

    def kept(text: re.Match[str]) -> str:
        return _GONE if traces.in_text(text[0]) else text[0]

    return _STRING.sub(kept, body.decode()).encode()
