"""Any sender: bytes in, bytes kept, nothing verified.

Where id, type, time and subject lie in the JSON is the app's `paths` setting, dotted: for example
`{"id": "data.id", "subject": "data.customer.email"}`. Without it, the names that most senders and
CloudEvents (https://github.com/cloudevents/spec, JSON format and HTTP binary mode) use are tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from chalicelib.delivery import Delivery
from chalicelib.events import Event, dig, elements, event, json_text, parse_json
from chalicelib.sources import Source

USUAL = {
    "id": ("id", "event_id", "uuid"),
    "type": ("type", "event", "event_type"),
    "time": ("time", "timestamp", "created_at", "created"),
    "subject": ("subject", "email"),
    "correlation": ("correlation_id",),
}
_CLOUDEVENTS = ("ce-id", "ce-type", "ce-source", "ce-subject", "ce-time", "ce-specversion")


def events(delivery: Delivery, paths: Mapping[str, str] | None = None) -> Iterator[Event]:
    """One event per element of an array, else one for the whole body if it is JSON.

    In CloudEvents' binary mode the headers describe the whole body, an array too.
    """
    text = json_text(delivery.body).strip(" \t\r\n")
    binary = _binary_mode(delivery.headers)
    found = [] if binary else list(elements(text))
    value = None if found else parse_json(text)
    if value is not None and (value != [] or binary):
        found = [(text, value)]
    for exact, value in found:
        at = {name: _find(value, name, paths or {}) for name in USUAL}
        yield event(delivery, exact, **(at | binary))


def with_paths(paths: Mapping[str, str]) -> Source:
    """This source, looking for an event's attributes where an app says they are."""
    return replace(SOURCE, events=partial(events, paths=dict(paths)))


def example(n: int, at: int) -> bytes:
    """A plain JSON body, the n-th."""
    return f'{{"id": "example-{n}", "type": "example.sent", "time": {at}}}'.encode()


def _find(value: Any, name: str, paths: Mapping[str, str]) -> Any:
    tried = (paths[name],) if name in paths else USUAL[name]
    return next((at for path in tried if (at := dig(value, *path.split("."))) is not None), None)


def _binary_mode(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: headers[f"ce-{name}"]
        for name in ("id", "type", "time", "subject")
        if headers.get("ce-specversion") and headers.get(f"ce-{name}")
    }


SOURCE = Source(
    name="generic",
    id_headers=("ce-id",),
    other_headers=_CLOUDEVENTS[1:],
    events=events,
    example=example,
)
