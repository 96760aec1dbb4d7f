"""Deliveries as they arrive, newest first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from threading import Event
from typing import Any

from hookshelf.page.figures import Figures
from hookshelf.page.question import Question
from hookshelf.page.views import Export, Page, PageView
from hookshelf.reading.errors import BadQuestion
from hookshelf.reading.follow import Follower
from hookshelf.reading.prices import following_in_words
from hookshelf.reading.times import milliseconds, utc_text
from hookshelf.reading.values import ArchivedDelivery
from hookshelf.reading.words import sentence
from hookshelf.terminal import printable
from hookshelf.wording import in_bytes, short_hash

_EVERY = 1.0  # seconds between two looks
_POLLS = 60  # after which new apps are looked for
_FIRST = 30  # deliveries to begin with
_NAMED = 3  # events of a delivery that are put into words
_LONGEST = 200  # characters of what an event says
_AGAIN = timedelta(minutes=2)  # a key names the arrival, and is put later
_COLUMNS = ("arrived", "app", "key", "bucket", "bytes")


def _page(question: Question, figures: Figures) -> Page:
    follower = _follower(question)
    newest = _newest(question, follower)
    values = {
        "rows": [_row(question, delivery) for delivery in newest[::-1]],
        "after": newest[-1].arrived.isoformat() if newest else "",
        "price": following_in_words(follower.lists, _EVERY),
        "every": _EVERY,
    }
    command = question.command("tail", since=None, until=None)
    return Page("Live", values, f"{command} --follow", follower.read)


def _export(question: Question, figures: Figures) -> Export:
    rows = [
        {
            "arrived": delivery.arrived.isoformat(),
            "app": delivery.app,
            "key": delivery.key,
            "bucket": delivery.bucket,
            "bytes": delivery.size,
        }
        for delivery in _newest(question, _follower(question))
    ]
    return Export(_COLUMNS, rows)


def arriving(question: Question, last: str, is_over: Event) -> Iterator[str]:
    """Server-sent events, one for each delivery, until it is over; `last` is the newest id seen.

    Nothing, between two looks: so that a connection that was closed is noticed.
    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    question.check(["after"])
    since = _moment(last or question.given.get("after", "")) or question.now
    yield "retry: 1000\n\n"
    sent: set[str] = set()
    while not is_over.is_set():
        follower = question.archive.follow(app=question.app, since=since - _AGAIN)
        for _ in range(_POLLS):
            new = [delivery for delivery in follower.poll() if delivery.key not in sent]
            for delivery in _whole(question, new):
                since = max(since, delivery.arrived)
                data = json.dumps(_row(question, delivery))
                yield f"id: {delivery.arrived.isoformat()}\ndata: {data}\n\n"
            sent |= {delivery.key for delivery in new}
            yield ":\n\n"
            if is_over.wait(_EVERY):
                return


def _follower(question: Question) -> Follower:
    return question.archive.follow(app=question.app, last=_FIRST)


def _newest(question: Question, follower: Follower) -> list[ArchivedDelivery]:
    return _whole(question, follower.poll()[-_FIRST:])


def _whole(question: Question, deliveries: Sequence[ArchivedDelivery]) -> list[ArchivedDelivery]:
    """With their bodies, the newest so many of them."""
    return list(question.archive.whole(deliveries[-_FIRST:]))


def _row(question: Question, delivery: ArchivedDelivery) -> dict[str, Any]:
    """What is shown of one, as text that nothing obeys."""
    events = question.archive.events_of(delivery)
    words = [f"{sentence(event)} · {event.subject}" for event in events[:_NAMED]]
    more = len(events) - _NAMED
    return {
        "key": printable(delivery.key),
        "hash": short_hash(delivery.key),
        "url": question.url(f"/d/{delivery.sha256}", key=delivery.key, since=None, until=None),
        "utc": utc_text(milliseconds(delivery.arrived)),
        "clock": question.clock(delivery.arrived),
        "app": delivery.app,
        "verdict": printable((delivery.metadata or {}).get("verdict", "")),
        "size": in_bytes(delivery.size or 0),
        "words": [printable(text[:_LONGEST]) for text in words],
        "more": f"and {more:,} more" if more > 0 else "",
    }


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        moment = None
    if text and (moment is None or moment.tzinfo is None):
        raise BadQuestion(f"after: {text!r} is no time with an offset")
    return moment


VIEW = PageView("live", "/live", _page, _export, heading="Live", order=3)
