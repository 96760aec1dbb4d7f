"""What stands in an event's place after the person it was about was erased: its type and its time.

It is told from what a sender wrote by the metadata of its delivery, in which `redacted` is the
SHA-256 of the body as it is now: no sender can write that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from chalicelib.events import Event, parse_json

_FIELDS = {"redacted", "type", "time"}


def tombstone(type: str, time: str) -> str:
    """The JSON in place of an event; `time` is RFC 3339."""
    return json.dumps({"redacted": True, "type": type, "time": time}, separators=(",", ":"))


def events_left(events: Iterable[Event], body: bytes) -> list[Event]:
    """The events of a redacted body: of what was erased nothing but type and time."""
    left = [_erased(event.data) or event for event in events]
    if len(left) < 2 and (whole := _erased(body.decode("utf-8", "replace"))):
        return [whole]  # whatever a source makes of it
    return left


def _erased(data: str) -> Event | None:
    value = parse_json(data) if data.startswith('{"redacted":') else None
    if not isinstance(value, dict) or value.keys() != _FIELDS:
        return None
    return Event("", str(value["type"]), "", str(value["time"]), "", data)
