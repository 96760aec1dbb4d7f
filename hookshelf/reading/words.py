"""Events in plain words: a sentence for each, and what became of the last message to a person.

SendGrid's fields: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
Other sources have no words of their own: their events are shown by type and subject.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from chalicelib.responses import INVALID_SIGNATURE, NOT_JSON
from hookshelf.reading.values import ArchivedEvent, Read
from hookshelf.wording import counted, in_bytes

LATE = timedelta(hours=1)  # an event that arrived this long after its time is marked
UNKNOWN_REASON = "for a reason that was not kept"

# What somebody may do about what was refused, by the reason.
_ADVICE = {
    INVALID_SIGNATURE.reason: "Is the sender's key or secret in APPS_FILE the present one? "
    "`{verify}` checks them against it.",
    NOT_JSON.reason: "Where the sender is right, set any_body for the app in APPS_FILE.",
}
# Why SendGrid drops a message to an address on a suppression list, and the event that put it there.
_DROPPED_BECAUSE = {
    "bounced address": ("bounce",),
    "unsubscribed address": ("unsubscribe", "group_unsubscribe"),
    "spam reporting address": ("spamreport",),
}
_NAMES = {
    "bounce": "bounce",
    "unsubscribe": "unsubscribe",
    "group_unsubscribe": "unsubscribe",
    "spamreport": "spam report",
}


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of an outcome's sentence: words, the day of the event they stand on, a detail."""

    words: str
    event: ArchivedEvent
    detail: str = ""


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """What became of the newest message to somebody, and why."""

    delivered: bool | None  # None: not known yet
    clauses: tuple[Clause, ...]

    def sentence(self, date: Callable[[ArchivedEvent], str]) -> str:
        """`Not delivered: dropped 3 May because of the bounce on 12 March`.

        `date` writes the day of an event.
        """
        head = {True: "Delivered", False: "Not delivered", None: "Not known yet"}[self.delivered]
        parts = [f"{part.words} {date(part.event)}{part.detail}" for part in self.clauses]
        return f"{head}: {' '.join(parts)}"


def sentence(event: ArchivedEvent) -> str:
    """What happened, in a few words; nothing in it is made safe for a terminal or a page."""
    data = _data(event)
    write = _SENDGRID.get(event.type) if event.source == "sendgrid" else None
    return write(data) if write else event.type or "event"


def advice(reason: str, *, verify: str) -> str:
    """What to do about deliveries refused for a reason; `verify` is the command to check them."""
    return _ADVICE.get(reason, "").format(verify=verify)


def read_in_words(read: Read) -> str:
    """`Read 2 files, 1 raw object, 14.6 kB, 5 requests, 12 ms.`"""
    counts = [
        counted(read.files, "file"),
        counted(read.raw_objects, "raw object"),
        in_bytes(read.bytes),
        counted(read.requests, "request"),
        f"{read.ms:,.0f} ms",
    ]
    return f"Read {', '.join(counts)}."


def day_in_words(event: ArchivedEvent, tz: tzinfo, now: datetime) -> str:
    """`9 November`, and the year where it is not this one: the day of an event in a time zone."""
    day = event.time.astimezone(tz)
    year = f" {day.year}" if day.year != now.astimezone(tz).year else ""
    return f"{day.day} {day:%B}{year}"


def outcome(events: Iterable[ArchivedEvent]) -> MessageOutcome | None:
    """What became of the newest message among one person's SendGrid events; None if there is none.

    A message is the events of one `correlation`. The newest is the one whose sending began last:
    opening an old message does not make it the newest. Of events whose signature is bad nothing
    is said: anybody may have sent them.
    """
    everything = [
        event for event in events if event.source == "sendgrid" and event.verdict != "bad"
    ]
    messages: dict[str, list[ArchivedEvent]] = {}
    for event in everything:
        if event.type in _STAGES:
            messages.setdefault(event.correlation, []).append(event)
    if not messages:
        return None
    newest = max(messages.values(), key=lambda message: min(event.time for event in message))
    last = max(newest, key=lambda event: (_STAGES.index(event.type), event.time))
    return _OUTCOMES[last.type](last, everything)


def _processed(last: ArchivedEvent, events: Sequence[ArchivedEvent]) -> MessageOutcome:
    return MessageOutcome(None, (Clause("processed", last, ", nothing heard since"),))


def _deferred(last: ArchivedEvent, events: Sequence[ArchivedEvent]) -> MessageOutcome:
    return MessageOutcome(None, (Clause("deferred", last, _because(last)),))


def _delivered(last: ArchivedEvent, events: Sequence[ArchivedEvent]) -> MessageOutcome:
    accepted = Clause("accepted by the recipient's server", last)
    reactions = [
        Clause(f"and {_REACTIONS[event.type]}", event)
        for event in _reactions(events, last.correlation)
    ]
    return MessageOutcome(True, (accepted, *reactions))


def _dropped(last: ArchivedEvent, events: Sequence[ArchivedEvent]) -> MessageOutcome:
    reason = str(_data(last).get("reason", ""))
    types = _DROPPED_BECAUSE.get(reason.lower(), ())
    causes = [event for event in events if event.type in types and event.time <= last.time]
    if not causes:
        return MessageOutcome(False, (Clause("dropped", last, _because(last)),))
    cause = max(causes, key=lambda event: event.time)
    because = Clause(f"because of the {_NAMES[cause.type]} on", cause)
    return MessageOutcome(False, (Clause("dropped", last), because))


def _bounced(last: ArchivedEvent, events: Sequence[ArchivedEvent]) -> MessageOutcome:
    verb = "blocked" if _data(last).get("type") == "blocked" else "bounced"
    return MessageOutcome(False, (Clause(verb, last, _because(last)),))


# What can become of a message; a later one overrules those before it.
_OUTCOMES = {
    "processed": _processed,
    "deferred": _deferred,
    "delivered": _delivered,
    "dropped": _dropped,
    "bounce": _bounced,
}
_STAGES = tuple(_OUTCOMES)
_REACTIONS = {
    "open": "opened",
    "click": "clicked",
    "spamreport": "reported as spam",
    "unsubscribe": "unsubscribed",
    "group_unsubscribe": "unsubscribed",
}


def _reactions(events: Sequence[ArchivedEvent], correlation: str) -> list[ArchivedEvent]:
    """The first of each kind of reaction to a message, in order of time."""
    first: dict[str, ArchivedEvent] = {}
    for event in sorted(events, key=lambda event: event.time):
        if event.correlation == correlation and event.type in _REACTIONS:
            first.setdefault(_REACTIONS[event.type], event)
    return list(first.values())


def _data(event: ArchivedEvent) -> dict[str, Any]:
    try:
        data = json.loads(event.data)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _because(event: ArchivedEvent) -> str:
    data = _data(event)
    reason = data.get("reason") or data.get("response")
    return f": {reason}" if reason else ""


def _with(text: str, *fields: str) -> Callable[[dict[str, Any]], str]:
    """Words, and behind them the first of `fields` that an event has."""

    def write(data: dict[str, Any]) -> str:
        detail = next((data[name] for name in fields if data.get(name) not in (None, "")), None)
        return text if detail is None else f"{text}: {detail}"

    return write


def _deferred_in_words(data: dict[str, Any]) -> str:
    attempt = data.get("attempt")
    text = "deferred, will be tried again" + (f" (attempt {attempt})" if attempt else "")
    return _with(text, "response", "reason")(data)


def _bounced_in_words(data: dict[str, Any]) -> str:
    verb = "blocked for now" if data.get("type") == "blocked" else "bounced"
    return _with(verb, "reason", "response")(data)


_SENDGRID: dict[str, Callable[[dict[str, Any]], str]] = {
    "processed": _with("processed, SendGrid took it on"),
    "deferred": _deferred_in_words,
    "delivered": _with("delivered, accepted by the recipient's server", "response"),
    "bounce": _bounced_in_words,
    "dropped": _with("dropped, SendGrid did not try", "reason"),
    "open": lambda data: "opened" + (", by a machine" if data.get("sg_machine_open") else ""),
    "click": _with("clicked", "url"),
    "spamreport": _with("reported as spam"),
    "unsubscribe": _with("unsubscribed from everything"),
    "group_unsubscribe": _with("unsubscribed from group", "asm_group_id"),
    "group_resubscribe": _with("subscribed again to group", "asm_group_id"),
}
