"""Ours Privacy's AWS Lambda destination: `{event, visitor, user}`, by direct invoke.

It delivers at least once and says to tell repeats by `visitor_id` and `event.distinct_id`. What
distinct_id identifies is not documented, and visitor_id alone is the same for all that a visitor
does: so an event's id has both and the hash of its bytes. Repeats fall together, different facts
do not. Not verified: the kind of invoke, retries, any event time.
https://docs.oursprivacy.com/docs/aws-lambda
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256

from chalicelib.delivery import Delivery
from chalicelib.events import Event, dig, event, json_text, parse_json, text
from chalicelib.sources import Source


def events(delivery: Delivery) -> Iterator[Event]:
    """One event; you look up the visitor's or user's e-mail address, else their ids."""
    exact = json_text(delivery.body).strip(" \t\r\n")
    value = parse_json(exact)
    if value is not None:
        visitor = text(dig(value, "visitor", "visitor_id"))
        ids = (visitor, text(dig(value, "event", "distinct_id")), sha256(delivery.body).hexdigest())
        yield event(
            delivery,
            exact,
            id=":".join(ids),
            type=dig(value, "event", "event"),
            subject=text(dig(value, "visitor", "email") or dig(value, "user", "email")).lower()
            or dig(value, "user", "external_id")
            or visitor,
            correlation=visitor,
        )


def example(n: int, at: int) -> bytes:
    """The documented sample's shape."""
    body = {
        "event": {"event": "Order Completed", "event_properties": {"order_id": str(n)}},
        "visitor": {"visitor_id": f"visitor_{n}", "email": f"visitor-{n}@example.com"},
        "user": {"external_id": f"user_{at}"},
    }
    return json.dumps(body, separators=(",", ":")).encode()


SOURCE = Source(name="ours-privacy", events=events, subject_ignores_case=True, example=example)
