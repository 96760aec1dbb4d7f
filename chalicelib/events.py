"""The events in a body, each with its exact JSON.

Attributes have the CloudEvents names (https://cloudevents.io). A body is cut, never re-serialised:
64-bit integers, escapes and duplicate names reach the reader as the sender wrote them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from chalicelib.delivery import Delivery


class Event(NamedTuple):
    """One thing that happened."""

    id: str  # the sender's; empty where there is none, see `identified`
    type: str  # empty where the sender does not say
    subject: str  # what you look up: a recipient, a customer, a repository
    time: str  # RFC 3339 in UTC; the delivery's arrival where the sender gives none
    correlation: str  # what ties events together: a message, a payment, a commit
    data: str  # the event's exact JSON


class Quick(Protocol):
    """A quicker JSON reader, which gives what the plain one here gives, or None: it cannot tell."""

    def elements(self, text: str) -> list[tuple[str, Any]] | None:
        """What `elements` gives."""

    def fields(self, text: str, names: tuple[str, ...]) -> list[tuple[str, tuple[Any, ...]]] | None:
        """What `fields` gives."""

    def parse(self, text: str) -> tuple[Any] | None:
        """What `parse` gives, in a tuple."""


_quick: Quick | None = None


def read_quickly(quick: Quick | None) -> None:
    """Let bodies be read by something quicker, in this process. Receiving never splits a body."""
    global _quick
    _quick = quick


def event(  # noqa: PLR0913  (one for each attribute)
    delivery: Delivery,
    data: str,
    *,
    id: object = None,
    type: object = None,
    subject: object = None,
    time: object = None,
    correlation: object = None,
) -> Event:
    """An Event from whatever a body held: anything that is no text or number counts as absent."""
    time = rfc3339(time) or _utc(delivery.arrived)
    return Event(text(id), text(type), text(subject), time, text(correlation), data)


def identified(event: Event, body_sha256: str, position: int) -> str:
    """What tells this event from every other of its app and type: the sender's id, if there is one.

    Else its place in the body: a body that is sent again gives the same, equal events within one
    body do not.
    """
    return event.id or f"{body_sha256}:{position}"


def text(value: object) -> str:
    """A string or integer as text; empty for everything else, None and booleans too."""
    if type(value) is str:
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def rfc3339(value: object) -> str:
    """Unix seconds, Unix milliseconds or ISO 8601, as RFC 3339 in UTC; empty where it is none.

    Senders differ: SendGrid and Stripe count seconds, some of Meta's products milliseconds.
    """
    if type(value) is int and 0 <= value < 10**11:  # most senders' way
        return _of_second(value)
    if isinstance(value, str) and re.fullmatch(r"\d{1,13}(\.\d{1,9})?", value, re.ASCII):
        value = float(value)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if value >= 1e11 else value
            return _utc(datetime.fromtimestamp(seconds, UTC))
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return _utc(time if time.tzinfo else time.replace(tzinfo=UTC))
    except (ValueError, OverflowError, OSError):
        pass
    return ""


def json_text(body: bytes) -> str:
    """A body as JSON text, without a BOM; empty where it is not UTF-8."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return ""


def form_field(text: str, name: str) -> str:
    """One field of a form; empty where there is none."""
    from urllib.parse import parse_qsl  # 2 ms; whoever receives splits nothing

    return dict(parse_qsl(text)).get(name, "") if name in text else ""


def parse_json(text: str) -> Any:
    """The value of a JSON text; None where it is not JSON."""
    if _quick and (known := _quick.parse(text)):
        return known[0]
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None


def elements(text: str) -> Iterator[tuple[str, Any]]:
    """The exact text and the value of each element of a JSON array.

    Nothing for any other text; what comes before a fault for a broken one.
    """
    if _quick and (known := _quick.elements(text)) is not None:
        yield from known
    else:
        yield from ((exact, value) for _, exact, value in _cut(text, "[", "]"))


def fields(text: str, names: tuple[str, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The exact text of each element of a JSON array, and the values that these names have in it.

    None for a name that an element lacks, and for all of them where it is no object. This takes
    half the time of `elements`, as nothing else is made a value.
    """
    if _quick and (known := _quick.fields(text, names)) is not None:
        yield from known
        return
    for exact, value in elements(text):
        field = value.get if isinstance(value, dict) else {}.get
        yield exact, tuple(map(field, names))


def members(text: str) -> dict[str, str]:
    """The exact text of each value of a JSON object by name, the last where names repeat."""
    return {name: exact for name, exact, _ in _cut(text, "{", "}")}


def dig(value: Any, *path: str) -> Any:
    """The value at a path of names and list indices; None where there is none."""
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and re.fullmatch(r"\d{1,6}", part, re.ASCII):
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value


def _cut(text: str, opening: str, closing: str) -> Iterator[tuple[str, str, Any]]:
    at = _skip(text, 0)
    if text[at : at + 1] != opening:
        return
    at = _skip(text, at + 1)
    try:
        while text[at : at + 1] != closing:
            name, at = _name(text, at) if opening == "{" else ("", at)
            value, end = _DECODER.raw_decode(text, at)
            after = _skip(text, end)
            # Without this a number that was cut off would pass for a whole one.
            if text[after : after + 1] not in (",", closing):
                return
            yield name, text[at:end], value
            at = after if text[after] == closing else _skip(text, after + 1)
    except (ValueError, RecursionError):
        return


def _name(text: str, at: int) -> tuple[str, int]:
    name, end = _DECODER.raw_decode(text, at)
    colon = _skip(text, end)
    if not isinstance(name, str) or text[colon : colon + 1] != ":":
        raise ValueError("not a name and a colon")
    return name, _skip(text, colon + 1)


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) < 4000 else digits  # int() refuses longer ones


def _refuse(constant: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


@lru_cache
def _of_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:-6] + "Z"


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder(parse_int=_integer, parse_constant=_refuse)
