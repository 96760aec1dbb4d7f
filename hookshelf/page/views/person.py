"""What happened to somebody, or to a message: what became of it, then the timeline."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hookshelf.page.figures import Figures
from hookshelf.page.question import Question
from hookshelf.page.views import Export, Page, PageView, events_export
from hookshelf.reading.errors import BadQuestion, NoSuchDelivery
from hookshelf.reading.lines import EVENT_COLUMNS
from hookshelf.reading.values import ArchivedEvent, Read
from hookshelf.reading.words import MessageOutcome, day_in_words, outcome

_HASH, _DIGITS = re.compile("[0-9a-f]{6,}"), 64  # of a SHA-256, or its beginning
_ROWS = 50  # events on a page
_LONGEST = 1_000  # characters that are looked for
# What a text may be, and what it then is of Archive.find; the first of which there is any counts.
_WAYS = {"recipient or subject": "subject", "event": "id", "message": "correlation"}
_ADDED = ("files", "raw_objects", "bytes", "requests", "ms")
_FILTERS = ("type", "since", "until", "app")


@dataclass(frozen=True, slots=True)
class _Story:
    """The events that a text stands for."""

    way: str  # one of _WAYS; empty where there are none
    match: Mapping[str, str | None]  # arguments of Archive.find
    copies: tuple[ArchivedEvent, ...]  # with those that were sent again
    read: Read

    @property
    def events(self) -> list[ArchivedEvent]:
        """Each once, in order of their time."""
        return [event for event in self.copies if not event.repeat]

    def copies_of(self, events: Iterable[ArchivedEvent]) -> list[list[ArchivedEvent]]:
        """Every copy of each event, itself included."""
        copies: dict[tuple[str, str, str], list[ArchivedEvent]] = {}
        for copy in self.copies:
            copies.setdefault((copy.app, copy.type, copy.id), []).append(copy)
        return [copies[event.app, event.type, event.id] for event in events]


def _page(question: Question, figures: Figures) -> Page:
    text = _text(question)
    if not text:
        return Page("Search", {"text": "", "story": None}, "")
    if len(text) == _DIGITS and _HASH.fullmatch(text):
        return Page("", {}, "", redirect=question.url(f"/d/{text}"))
    number = question.number("page")
    story = _story(question, text) if number == 1 else _same_story(question, figures, text)
    if not story.copies and (delivery := _delivery(question, text)):
        return Page("", {}, "", redirect=delivery)
    events = story.events[::-1]
    shown = events[(number - 1) * _ROWS : number * _ROWS]
    values = {
        "text": text,
        "story": story,
        "total": len(events),
        "rows": list(zip(shown, story.copies_of(shown), strict=True)),
        "outcome": _outcome(question, story),
        "types": Counter(event.type for event in events).most_common(),
        "more": question.url("/p", q=text, type=question.given.get("type"), page=number + 1)
        if number * _ROWS < len(events)
        else "",
        "first": (number - 1) * _ROWS + 1,
        "absence": None if events else _absence(question, text),
        "day": lambda event: day_in_words(event, question.tz, question.now),
    }
    return Page(text, values, _command(question, story, text), story.read)


def _export(question: Question, figures: Figures) -> Export:
    text = _text(question)
    if not text:
        raise BadQuestion("q: say what to look for")
    return events_export(_story(question, text).events, EVENT_COLUMNS)


def _text(question: Question) -> str:
    """What is looked for; empty where nothing is. Raises BadQuestion."""
    text = question.given.get("q", "").strip()
    if len(text) > _LONGEST:
        raise BadQuestion(f"q: {len(text):,} characters; use at most {_LONGEST:,}, or an id")
    return text


def _story(question: Question, text: str, **filters: Any) -> _Story:
    """The events that a text stands for, in the first way in which there are any."""
    asked: dict[str, Any] = {
        "app": question.app,
        "since": question.since,
        "until": question.until,
        "type": question.given.get("type") or None,
        **filters,
    }
    read = Read()
    for way, name in _WAYS.items():
        found = question.archive.find(**{**asked, name: text}, all=True)
        copies = tuple(found)
        read.add(**{name: getattr(found.read, name) for name in _ADDED})
        if copies:
            return _Story(way, {name: text}, copies, read)
    return _Story("", {"subject": text}, (), read)


def _same_story(question: Question, figures: Figures, text: str) -> _Story:
    """The same while somebody scrolls through it, and nothing new is there."""
    state = tuple(question.archive.status(app=question.app))
    given = {name: value for name, value in question.given.items() if name != "page"}
    story: _Story = figures.remembered(
        tuple(sorted(given.items())), state, lambda: _story(question, text)
    )
    return story


def _delivery(question: Question, text: str) -> str:
    """Where the delivery is whose hash begins so; empty where there is none."""
    if not _HASH.fullmatch(text):
        return ""
    try:
        delivery = question.archive.delivery(text, app=question.app)
    except NoSuchDelivery:
        return ""
    return question.url(f"/d/{delivery.sha256}", key=delivery.key)


def _outcome(question: Question, story: _Story) -> MessageOutcome | None:
    """What became of the newest message; a part of somebody's events does not tell."""
    if "subject" not in story.match or question.given.get("type"):
        return None
    return outcome(story.events)


def _command(question: Question, story: _Story, text: str) -> str:
    [name] = story.match
    kind = question.given.get("type")
    if name == "subject":
        return question.command("find", text, type=kind)
    return question.command("find", **{name: text, "type": kind})


def _absence(question: Question, text: str) -> dict[str, Any]:
    """What there is instead: without which filter there would be something, and what is covered."""
    archive = question.archive
    active = [name for name in _FILTERS if question.given.get(name)]
    excluded = []
    if active and (total := len(_story(question, text, **dict.fromkeys(_FILTERS)).events)):
        excluded = [
            (name, count)
            for name in active
            if (count := len(_story(question, text, **{name: None}).events))
        ] or [("all of them", total)]
    return {
        "excluded": excluded,
        "filters": active,
        "coverage": archive.coverage(app=question.app),
        "refused": sum(1 for _ in archive.refused(app=question.app)),
    }


VIEW = PageView("person", "/p", _page, _export, "Search", order=2, parameters=("q", "type", "page"))
