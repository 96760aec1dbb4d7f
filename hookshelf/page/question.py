"""What a URL asks for. Nothing is guessed: a date that is none would select everything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from chalicelib.keys import is_app
from hookshelf.reading import Archive
from hookshelf.reading.errors import BadQuestion
from hookshelf.reading.times import since, until
from hookshelf.reading.values import ArchivedEvent

KEPT = ("app", "since", "until", "tz")  # what every link takes along
_LINKED = 300  # characters of a text that a link asks for
# A command that answers the same: its name, its options, its arguments, the app.
Twin = Callable[[str, Sequence[str], Sequence[str], str | None], str]


@dataclass(frozen=True)
class Question:
    """One request: where it goes, with which parameters, about which archive."""

    archive: Archive
    path: str  # without the ending of an export
    given: Mapping[str, str]  # the query
    words: Mapping[str, str]  # the parts of the path
    zone: tzinfo  # of the server, unless the query has one
    twin: Twin

    @cached_property
    def now(self) -> datetime:
        """One moment for all that is relative."""
        return self.archive.now()

    @cached_property
    def tz(self) -> tzinfo:
        """In which times are shown and dates are read. Raises BadQuestion."""
        name = self.given.get("tz", "")
        if not name:
            return self.zone
        try:
            return UTC if name.upper() == "UTC" else ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise BadQuestion(f"tz: {name!r} is no time zone. Use one like Europe/Berlin") from None

    @cached_property
    def app(self) -> str | None:
        """The app asked for, or all. Raises BadQuestion."""
        app = self.given.get("app") or None
        if app and not is_app(app):
            raise BadQuestion(f"app: {app!r} is no name of an app")
        return app

    @cached_property
    def since(self) -> datetime | None:
        """Arrived from here on. Raises BadQuestion."""
        return _moment("since", since, self)

    @cached_property
    def until(self) -> datetime | None:
        """Arrived before. Raises BadQuestion."""
        return _moment("until", until, self)

    @property
    def kept(self) -> dict[str, str]:
        """The range, the app and the time zone, as they were given."""
        return {name: value for name in KEPT if (value := self.given.get(name))}

    def check(self, allowed: Iterable[str]) -> None:
        """Raise BadQuestion for a parameter that nothing here reads, or a value that is none."""
        if unknown := sorted(set(self.given) - set(allowed) - set(KEPT)):
            names = ", ".join([*allowed, *KEPT])
            raise BadQuestion(f"{unknown[0]!r} is no parameter of this page. There are: {names}")
        _ = self.tz, self.app, self.since, self.until, self.number("page"), self.number("part")

    def number(self, name: str) -> int:
        """A parameter that is a number from 1 on, which it is without it. Raises BadQuestion."""
        text = self.given.get(name) or "1"
        if not (text.isascii() and text.isdigit() and int(text[:9]) > 0 and len(text) < 10):
            raise BadQuestion(f"{name}: {text!r} is no number from 1 on")
        return int(text)

    def url(self, path: str, **parameters: object) -> str:
        """A link that keeps the range; a parameter that is None or empty is left out."""
        given = {name: value for name, value in parameters.items() if value not in (None, "")}
        named = {name: "" for name, value in parameters.items() if value in (None, "")}
        query = {**self.kept, **named, **given}
        text = urlencode({name: v for name, v in query.items() if v != ""}, errors="replace")
        return f"{path}?{text}" if text else path

    def person_url(self, text: str) -> str:
        """Where a subject, an id or a message is looked for; empty where it is too long to ask."""
        return self.url("/p", q=text) if len(text) <= _LINKED else ""

    def delivery_url(self, event: ArchivedEvent) -> str:
        """Where the delivery of an event is shown."""
        digest = event.delivery.rpartition("-")[2].partition(".")[0]
        return self.url(f"/d/{digest}", key=event.delivery)

    def clock(self, moment: datetime) -> str:
        """`2026-05-03 14:00:00 +02:00`, or `… UTC`: a moment in the time zone of the page."""
        text = moment.astimezone(self.tz).isoformat(sep=" ", timespec="seconds")
        day_and_time, offset = text[:19], text[19:]
        return f"{day_and_time} {'UTC' if self.tz is UTC else offset}"

    def command(self, name: str, *arguments: str, **options: str | None) -> str:
        """The command line that answers the same, ready to paste; empty where none can be typed."""
        given = {"since": self.given.get("since"), "until": self.given.get("until"), **options}
        words = [f"--{name}={value}" for name, value in given.items() if value]
        zone = getattr(self.tz, "key", None)
        words += [f"--tz={zone}"] if zone and (given["since"] or given["until"]) else []
        if not all(word.isprintable() for word in (*words, *arguments)):
            return ""
        return self.twin(name, words, arguments, self.app)


def _moment(name: str, read: Callable[..., datetime | None], question: Question) -> datetime | None:
    try:
        return read(question.given.get(name) or None, question.now, question.tz)
    except BadQuestion as error:
        raise BadQuestion(f"{name}: {error}") from None
