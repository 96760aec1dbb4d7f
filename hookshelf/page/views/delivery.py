"""One delivery: its headers and verdict, what it carries, its body, and what to run next."""

from __future__ import annotations

import shlex
from typing import Any

from chalicelib.keys import UnknownKey, parse_key
from chalicelib.metadata import decode, headers_of
from hookshelf.page.figures import Figures
from hookshelf.page.pretty import indented
from hookshelf.page.question import Question
from hookshelf.page.views import Export, Page, PageView, events_export
from hookshelf.reading.errors import BadQuestion, NoSuchDelivery
from hookshelf.reading.lines import EVENT_COLUMNS
from hookshelf.reading.values import ArchivedDelivery, ArchivedEvent, Read
from hookshelf.wording import short_hash

_EVENTS = 50  # that are shown
_SHOWN = 24 * 1024  # characters of a body on a page

_VERDICTS = {
    "verified": "The sender's signature was good: these bytes are what it sent.",
    "bad": "The signature did not fit: anybody who knows the token may have sent this.",
    "stale": "The signature was good, and older than the app allows: it may be a replay.",
    "unsigned": "It carried no signature, so that nothing says who sent it.",
    "unchecked": "No key was configured when it arrived, so that nothing was checked.",
}


def _page(question: Question, figures: Figures) -> Page:
    read = Read()
    delivery = _delivery(question, read)
    body = delivery.body or b""
    metadata = delivery.metadata or {}
    events = question.archive.events_of(delivery)
    shape = question.given.get("body", "pretty")
    if shape not in ("pretty", "raw"):
        raise BadQuestion(f"body: {shape!r} is neither pretty nor raw")
    is_json = delivery.key.endswith(".json") and not delivery.altered
    shape = shape if is_json else "raw"
    part = question.number("part")
    text, has_more = _text(body, shape, part)
    values = {
        "delivery": delivery,
        "verdict": decode(metadata.get("verdict", "")),
        "meaning": _VERDICTS.get(metadata.get("verdict", ""), "Nothing is known of a signature."),
        "headers": headers_of(metadata),
        "facts": {n: decode(v) for n, v in metadata.items() if not n.startswith("h-")},
        "events": events[:_EVENTS],
        "total": len(events),
        "text": text,
        "shape": shape,
        "is_json": is_json,
        "part": part,
        "has_more": has_more,
        "repeats": _repeats(question, delivery, events, read),
        "manifests": question.archive.manifests(app=delivery.app),
        "is_log_read": question.given.get("log") == "yes",
        "entry": question.archive.logged(delivery) if question.given.get("log") == "yes" else None,
        "next": _next(question, delivery),
    }
    return Page(
        f"Delivery {short_hash(delivery.key)}",
        values,
        question.command("show", delivery.key, since=None, until=None),
        read,
    )


def _export(question: Question, figures: Figures) -> Export:
    delivery = _delivery(question, Read())
    return events_export(question.archive.events_of(delivery), EVENT_COLUMNS)


def exact_body(question: Question) -> ArchivedDelivery:
    """The delivery of a download. Raises NoSuchDelivery."""
    question.check(["key"])
    return _delivery(question, Read())


def _delivery(question: Question, read: Read) -> ArchivedDelivery:
    """The one of a hash; where the key is given too, without looking for it."""
    digest, key = question.words["sha256"], question.given.get("key", "")
    if not key:
        return question.archive.delivery(digest, app=question.app, read=read)
    try:
        app = parse_key(key).app
    except UnknownKey as error:
        raise BadQuestion(f"key: {error}") from None
    delivery = question.archive.delivery(key, app=app, read=read)
    if not delivery.sha256.startswith(digest):
        raise NoSuchDelivery(f"{key} is no delivery of the hash {digest}")
    return delivery


def _repeats(
    question: Question, delivery: ArchivedDelivery, events: list[ArchivedEvent], read: Read
) -> list[ArchivedEvent]:
    """The first event of each other delivery that carries the first event of this one."""
    if not events:
        return []
    first = events[0]
    copies = question.archive.find(id=first.id, type=first.type, app=delivery.app, all=True)
    others = {copy.delivery: copy for copy in copies if copy.delivery != delivery.key}
    return sorted(others.values(), key=lambda copy: copy.arrived)


def _text(body: bytes, shape: str, part: int) -> tuple[str, bool]:
    """A part of a body as text, and whether there is more of it."""
    text = body.decode("utf-8", "backslashreplace")
    if shape == "pretty":
        # Parts before are indented again, for nothing is kept between two requests.
        text, _ = indented(text, part * _SHOWN + 1)
    start = (part - 1) * _SHOWN
    return text[start : start + _SHOWN], len(text) > start + _SHOWN


def _next(question: Question, delivery: ArchivedDelivery) -> list[tuple[str, str]]:
    """What one may want next, and its command."""

    def command(name: str, *arguments: str, **options: Any) -> str:
        return question.command(name, *arguments, since=None, until=None, **options)

    return [
        ("Its exact bytes", command("show", delivery.key) + " --body"),
        ("Evidence for others", command("prove", delivery.key, out=f"{delivery.sha256[:8]}.zip")),
        ("Check its day again", _verify(question, delivery)),
        (
            "Send it again",
            f"echo {shlex.quote(delivery.key)} | "
            + command("replay", keys="-", to="https://staging.example.com/hooks"),
        ),
    ]


def _verify(question: Question, delivery: ArchivedDelivery) -> str:
    day = delivery.arrived.date().isoformat()
    return question.command("verify", since=day, until=day)


_PARAMETERS = ("key", "body", "part", "log")
VIEW = PageView("delivery", "/d/<sha256>", _page, _export, parameters=_PARAMETERS)
