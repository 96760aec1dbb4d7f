"""THE key grammar, version 1: write, parse, prefix. Nothing else spells a key.

    <prefix><app>/dt=2026-11-20/hh=23/20261120T235001.123456Z-<sha256>.json
    <prefix>_rejected/<app>/dt=2026-11-20/<sha256>-<12 hex digits>.bin
    <prefix>_redacted/…  _events/…  _events_month/…                           (reserved)

`prefix` is empty, or one to eight path segments that each end in `/`.
Arrival time leads the name, so the keys of one app sort by arrival; the SHA-256 of the body ends
it, so "this key already exists" proves that these bytes are stored.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import NamedTuple

from chalicelib.errors import HookshelfError

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
    r"(?P<sha256>[0-9a-f]{64})(?:-(?P<signature_hash>[0-9a-f]{12}))?\.bin",
    re.ASCII,
)


class UnknownKey(HookshelfError, ValueError):
    """The key is not of layout 1; a newer hookshelf, or something else, wrote it."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key!r} is not a key of layout {LAYOUT}")


class DeliveryKey(NamedTuple):
    """What the key of a delivery says."""

    prefix: str
    app: str
    arrived: datetime  # aware, UTC, to the microsecond
    sha256: str  # 64 lower-case hex digits
    extension: str  # one of EXTENSIONS

    def __str__(self) -> str:
        at = self.arrived
        stamp = f"{_day(at).replace('-', '')}T{at:%H%M%S}.{at.microsecond:06}Z"
        return f"{hour_prefix(self.prefix, self.app, at)}{stamp}-{self.sha256}.{self.extension}"


class RejectedKey(NamedTuple):
    """What the key of a refused, kept body says. The same request makes one object a day."""

    prefix: str
    app: str
    day: date  # UTC
    sha256: str
    # 12 hex digits over the signature headers, so that a forged copy takes no genuine one's place;
    # empty in keys from before there were any.
    signature_hash: str = ""

    def __str__(self) -> str:
        name = f"{self.sha256}-{self.signature_hash}" if self.signature_hash else self.sha256
        return f"{rejected_prefix(self.prefix, self.app)}dt={self.day.isoformat()}/{name}.bin"


def is_app(name: str) -> bool:
    """Whether `name` may name an app: ASCII letters and digits, single `-` or `_` between."""
    return len(name) <= 50 and _APP_NAME.fullmatch(name) is not None


def is_path(path: str) -> bool:
    """Whether `path` may stand between a bucket and an app: at most 8 plain segments."""
    return len(path) <= 8 * 64 and _PATH.fullmatch(path) is not None


def parse_key(key: str) -> DeliveryKey | RejectedKey:
    """Read a key back. Raises UnknownKey for any other shape; never guesses."""
    try:
        if match := _DELIVERY.fullmatch(key):
            parsed: DeliveryKey | RejectedKey = DeliveryKey(
                match["prefix"],
                match["app"],
                datetime.strptime(match["stamp"], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC),
                match["sha256"],
                match["extension"],
            )
        elif match := _REJECTED.fullmatch(key):
            day = date.fromisoformat(match["day"])
            parsed = RejectedKey(
                match["prefix"], match["app"], day, match["sha256"], match["signature_hash"] or ""
            )
        else:
            raise UnknownKey(key)
    except ValueError as error:  # a month 13, say
        raise UnknownKey(key) from error
    known = isinstance(parsed, RejectedKey) or parsed.extension in EXTENSIONS
    if not known or not is_app(parsed.app) or str(parsed) != key:
        raise UnknownKey(key)
    return parsed


def app_prefix(prefix: str, app: str) -> str:
    """Where the deliveries of `app` lie."""
    return f"{prefix}{app}/"


def hour_prefix(prefix: str, app: str, at: datetime) -> str:
    """Where the deliveries lie that `app` received in the hour of `at` (aware, UTC)."""
    return f"{app_prefix(prefix, app)}dt={_day(at)}/hh={at.hour:02}/"


def rejected_prefix(prefix: str, app: str | None = None) -> str:
    """Where refused bodies lie, of one app or of all."""
    return f"{prefix}_rejected/" + (f"{app}/" if app else "")


def past_deliveries(prefix: str, app: str) -> str:
    """What sorts after every delivery of `app`, and before all else: where to go on listing."""
    return f"{app_prefix(prefix, app)}dt={_PAST}"


def past_rejected(prefix: str, app: str | None = None) -> str:
    """What sorts after every refused body, of one app or of all: where to go on listing."""
    return rejected_prefix(prefix, app) + _PAST


_PAST = "~"  # no key of ours holds one, and all they are made of sorts before it


def _day(at: datetime) -> str:
    return at.date().isoformat()
