"""THE key grammar, version 1: write, parse, prefix. Nothing else spells a key.

    <prefix><app>/dt=2026-11-20/hh=23/20261120T235001.123456Z-<sha256>.json
    <prefix>_rejected/<app>/dt=2026-11-20/<sha256>.bin
    <prefix>_redacted/…                                                       (reserved)
    <prefix>layer=events/app=<app>/month=2026-11/2026-11-20T14.parquet        an hour, compacted
    <prefix>layer=events/app=<app>/month=2026-11/2026-11-20.parquet           a day
    <prefix>layer=events/app=<app>/month=2026-11/2026-11.parquet              a month
    <prefix>_manifests/<app>/00000001.json                                    the manifest log

`prefix` is empty, or one to eight path segments that each end in `/`.
Arrival time leads the name, so the keys of one app sort by arrival; the SHA-256 of the body ends
it, so "this key already exists" proves that these bytes are stored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

LAYOUT = "1"
EVENTS_FOLDER = "layer=events"  # no app and no path can hold a `=`
EXTENSIONS = ("json", "form", "xml", "txt", "bin")

_APP = r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*"
_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_PREFIX = rf"(?P<prefix>(?:{_SEGMENT}/){{0,8}})"
_APP_NAME = re.compile(_APP)
_PATH = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,7}}")
_DELIVERY = re.compile(
    rf"{_PREFIX}(?P<app>{_APP})/dt=(?P<day>\d{{4}}-\d\d-\d\d)/hh=(?P<hour>\d\d)/"
    rf"(?P<stamp>\d{{8}}T\d{{6}}\.\d{{6}}Z)-(?P<sha256>[0-9a-f]{{64}})\.(?P<extension>[a-z]+)",
    re.ASCII,
)
_REJECTED = re.compile(
    rf"{_PREFIX}_rejected/(?P<app>{_APP})/dt=(?P<day>\d{{4}}-\d\d-\d\d)/"
    r"(?P<sha256>[0-9a-f]{64})\.bin",
    re.ASCII,
)

_EVENTS = re.compile(
    rf"{_PREFIX}{EVENTS_FOLDER}/app=(?P<app>{_APP})/month=\d{{4}}-\d\d/"
    r"(?P<start>\d{4}-\d\d(?:-\d\d(?:T\d\d)?)?)\.parquet",
    re.ASCII,
)
_MANIFEST = re.compile(rf"{_PREFIX}_manifests/(?P<app>{_APP})/(?P<number>\d{{8}})\.json", re.ASCII)


class UnknownKey(ValueError):
    """The key is not of layout 1; a newer hookshelf, or something else, wrote it."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key!r} is not a key of layout {LAYOUT}")


@dataclass(frozen=True, slots=True)
class DeliveryKey:
    """What the key of a delivery says."""

    prefix: str
    app: str
    arrived: datetime  # aware, UTC, to the microsecond
    sha256: str  # 64 lower-case hex digits
    extension: str  # one of EXTENSIONS

    def __str__(self) -> str:
        folder = hour_prefix(self.prefix, self.app, self.arrived)
        return f"{folder}{stamp(self.arrived)}-{self.sha256}.{self.extension}"


@dataclass(frozen=True, slots=True)
class RejectedKey:
    """What the key of a refused, kept body says. The same bytes make one object a day."""

    prefix: str
    app: str
    day: date  # UTC
    sha256: str

    def __str__(self) -> str:
        return f"{self.prefix}_rejected/{self.app}/dt={self.day.isoformat()}/{self.sha256}.bin"


@dataclass(frozen=True, slots=True)
class EventsKey:
    """What the key of a compacted file says: the app and the time that its name stands for."""

    prefix: str
    app: str
    start: datetime  # aware, UTC; the beginning of an hour, a day or a month
    span: str  # `hour`, `day` or `month`

    @property
    def end(self) -> datetime:
        """The first moment that the name no longer stands for."""
        if self.span == "month":
            return (self.start + timedelta(days=31)).replace(day=1)
        return self.start + timedelta(**{f"{self.span}s": 1})

    def __str__(self) -> str:
        month = self.start.date().isoformat()[:7]
        length = {"month": 7, "day": 10, "hour": 13}[self.span]
        name = self.start.isoformat()[:length]
        return f"{events_prefix(self.prefix, self.app)}month={month}/{name}.parquet"


@dataclass(frozen=True, slots=True)
class ManifestKey:
    """What the key of an entry of the manifest log says. Numbers begin at 1, without gaps."""

    prefix: str
    app: str
    number: int

    def __str__(self) -> str:
        return f"{manifest_prefix(self.prefix, self.app)}{self.number:08}.json"


def is_app(name: str) -> bool:
    """Whether `name` may name an app: ASCII letters and digits, single `-` or `_` between."""
    return len(name) <= 50 and _APP_NAME.fullmatch(name) is not None


def is_path(path: str) -> bool:
    """Whether `path` may stand between a bucket and an app: at most 8 plain segments."""
    return len(path) <= 8 * 64 and _PATH.fullmatch(path) is not None


def parse(key: str) -> DeliveryKey | RejectedKey:
    """Read a key back. Raises UnknownKey for any other shape; never guesses."""
    try:
        if found := _DELIVERY.fullmatch(key):
            parsed: DeliveryKey | RejectedKey = DeliveryKey(
                found["prefix"],
                found["app"],
                datetime.strptime(found["stamp"], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC),
                found["sha256"],
                found["extension"],
            )
        elif found := _REJECTED.fullmatch(key):
            day = date.fromisoformat(found["day"])
            parsed = RejectedKey(found["prefix"], found["app"], day, found["sha256"])
        else:
            raise UnknownKey(key)
    except ValueError as error:  # a month 13, say
        raise UnknownKey(key) from error
    known = isinstance(parsed, RejectedKey) or parsed.extension in EXTENSIONS
    if not known or not is_app(parsed.app) or str(parsed) != key:
        raise UnknownKey(key)
    return parsed


def parse_events(key: str) -> EventsKey:
    """Read the key of a compacted file. Raises UnknownKey."""
    match = _EVENTS.fullmatch(key)
    if match is None:
        raise UnknownKey(key)
    text = match["start"]
    span = {7: "month", 10: "day", 13: "hour"}[len(text)]
    try:
        start = datetime.fromisoformat(text + "-01" if span == "month" else text)
    except ValueError as error:
        raise UnknownKey(key) from error
    parsed = EventsKey(match["prefix"], match["app"], start.replace(tzinfo=UTC), span)
    if not is_app(parsed.app) or str(parsed) != key:
        raise UnknownKey(key)
    return parsed


def parse_manifest(key: str) -> ManifestKey:
    """Read the key of an entry of the manifest log. Raises UnknownKey."""
    match = _MANIFEST.fullmatch(key)
    if match is None or not is_app(match["app"]):
        raise UnknownKey(key)
    return ManifestKey(match["prefix"], match["app"], int(match["number"]))


def app_prefix(prefix: str, app: str) -> str:
    """Where the deliveries of `app` lie."""
    return f"{prefix}{app}/"


def day_prefix(prefix: str, app: str, day: date) -> str:
    """Where the deliveries lie that `app` received on a day (UTC)."""
    return f"{app_prefix(prefix, app)}dt={day.isoformat()}/"


def seek(prefix: str, app: str, at: datetime) -> str:
    """What sorts right before the first key of a delivery that `app` received at `at` or later."""
    return f"{hour_prefix(prefix, app, at)}{stamp(at)}"


def hour_prefix(prefix: str, app: str, at: datetime) -> str:
    """Where the deliveries lie that `app` received in the hour of `at` (aware, UTC)."""
    return f"{app_prefix(prefix, app)}dt={_day(at)}/hh={at.hour:02}/"


def rejected_prefix(prefix: str, app: str | None = None) -> str:
    """Where refused bodies lie, of one app or of all."""
    return f"{prefix}_rejected/" + (f"{app}/" if app else "")


def events_prefix(prefix: str, app: str | None = None) -> str:
    """Where compacted files lie, of one app or of all."""
    return f"{prefix}{EVENTS_FOLDER}/" + (f"app={app}/" if app else "")


def manifest_prefix(prefix: str, app: str) -> str:
    """Where the manifest log of an app lies."""
    return f"{prefix}_manifests/{app}/"


def stamp(at: datetime) -> str:
    """What the name of a delivery's key begins with: its arrival (aware, UTC), sortable."""
    return f"{_day(at).replace('-', '')}T{at:%H%M%S}.{at.microsecond:06}Z"


def _day(at: datetime) -> str:
    return at.date().isoformat()
