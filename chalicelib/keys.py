"""THE key grammar, version 1: write, parse, prefix. Nothing else spells a key.

    <prefix><app>/dt=2026-11-20/hh=23/20261120T235001.123456Z-<sha256>.json
    <prefix>_rejected/<app>/dt=2026-11-20/<sha256>-<12 hex digits>.bin
    <prefix>_redacted/<app>/dt=…/hh=…/<name of the original key>              after an erasure
    <prefix>layer=events/app=<app>/month=2026-11/2026-11-20T14.parquet        an hour, compacted
    <prefix>layer=events/app=<app>/month=2026-11/2026-11-20.parquet           a day
    <prefix>layer=events/app=<app>/month=2026-11/2026-11.parquet              a month
    <prefix>layer=events/_conditions                                          see conditions_key
    <prefix>_manifests/<app>/00000001.json                                    the manifest log

`prefix` is empty, or one to eight path segments that each end in `/`.
Arrival time leads the name, so the keys of one app sort by arrival; the SHA-256 of the body ends
it, so "this key already exists" proves that these bytes are stored.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from chalicelib.errors import HookshelfError

LAYOUT = "1"
EVENTS_FOLDER = "layer=events"  # no app and no path can hold a `=`
MANIFESTS_FOLDER = "_manifests"
REDACTED_FOLDER = "_redacted"
EXTENSIONS = ("json", "form", "xml", "txt", "bin")

_APP = r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*"
_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_PREFIX = rf"(?P<prefix>(?:{_SEGMENT}/){{0,8}})"
_APP_NAME = re.compile(_APP)
_PATH = rf"{_SEGMENT}(?:/{_SEGMENT}){{0,7}}"
# The layout of days, with `day_folder`, `hour_folder` and `day_in`: written differently here and
# there, it is another one everywhere. What is read has to be written back the same, so patterns may
# be loose.
_OF_DAYS = "dt="  # what the first folder of every day begins with, and no app or path can
_DAY = rf"{_OF_DAYS}(?P<date>\d{{4}}-\d\d-\d\d)"
_HOUR = rf"{_DAY}/hh=\d\d"
# Not compiled here: only what reads keys needs them, and a cold start would pay 3 ms.
_DELIVERY = (
    rf"{_PREFIX}(?P<app>{_APP})/{_HOUR}/(?P<stamp>\d{{8}}T\d{{6}}\.\d{{6}}Z)-"
    rf"(?P<sha256>[0-9a-f]{{64}})\.(?P<extension>{'|'.join(EXTENSIONS)})"
)
_REJECTED = (
    rf"{_PREFIX}_rejected/(?P<app>{_APP})/(?P<day>{_DAY})/"
    r"(?P<sha256>[0-9a-f]{64})(?:-(?P<signature_hash>[0-9a-f]{12}))?\.bin"
)
_OF_APP = "app="
_OF_MONTH = "month="
_EVENTS = (
    rf"{_PREFIX}{EVENTS_FOLDER}/{_OF_APP}(?P<app>{_APP})/{_OF_MONTH}\d{{4}}-\d\d/"
    r"(?P<start>\d{4}-\d\d(?:-\d\d(?:T\d\d)?)?)\.parquet"
)
_MANIFEST = rf"{_PREFIX}{MANIFESTS_FOLDER}/(?P<app>{_APP})/(?P<number>\d{{8}})\.json"


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
        folder = hour_prefix(self.prefix, self.app, self.arrived)
        return f"{folder}{stamp(self.arrived)}-{self.sha256}.{self.extension}"


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
        return f"{rejected_prefix(self.prefix, self.app)}{day_folder(self.day)}/{name}.bin"


class EventsKey(NamedTuple):
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
        return f"{month_prefix(self.prefix, self.app, month)}{name}.parquet"


class ManifestKey(NamedTuple):
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
    return re.fullmatch(_PATH, path) is not None


def parse_key(key: str) -> DeliveryKey | RejectedKey:
    """Read a key back. Raises UnknownKey for any other shape; never guesses."""
    parsed: DeliveryKey | RejectedKey | None = None
    try:
        if match := re.fullmatch(_DELIVERY, key):
            parsed = DeliveryKey(
                match["prefix"],
                match["app"],
                datetime.fromisoformat(match["stamp"]),
                match["sha256"],
                match["extension"],
            )
        elif (match := re.fullmatch(_REJECTED, key)) and (day := day_in(match["day"])):
            parsed = RejectedKey(
                match["prefix"], match["app"], day, match["sha256"], match["signature_hash"] or ""
            )
    except ValueError as error:  # a month 13, say
        raise UnknownKey(key) from error
    if parsed is None or not is_app(parsed.app) or str(parsed) != key:
        raise UnknownKey(key)
    return parsed


def parse_events(key: str) -> EventsKey:
    """Read the key of a compacted file. Raises UnknownKey."""
    match = re.fullmatch(_EVENTS, key)
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
    match = re.fullmatch(_MANIFEST, key, re.ASCII)
    if match is None or not is_app(match["app"]):
        raise UnknownKey(key)
    return ManifestKey(match["prefix"], match["app"], int(match["number"]))


def app_prefix(prefix: str, app: str) -> str:
    """Where the deliveries of `app` lie."""
    return f"{prefix}{app}/"


def day_prefix(prefix: str, app: str, day: date) -> str:
    """Where the deliveries lie that `app` received on a day (UTC)."""
    return f"{app_prefix(prefix, app)}{day_folder(day)}/"


def seek(prefix: str, app: str, at: datetime) -> str:
    """What sorts right before the first key of a delivery that `app` received at `at` or later."""
    return f"{hour_prefix(prefix, app, at)}{stamp(at)}"


def hour_prefix(prefix: str, app: str, at: datetime) -> str:
    """Where the deliveries lie that `app` received in the hour of `at` (aware, UTC)."""
    return f"{app_prefix(prefix, app)}{hour_folder(at)}/"


def day_folder(day: date) -> str:
    """The folders of a day (UTC), below those of its app."""
    return f"{_OF_DAYS}{day.isoformat()}"


def hour_folder(at: datetime) -> str:
    """The folders of the hour of `at` (aware, UTC), below those of its app."""
    return f"{day_folder(at.date())}/hh={at.hour:02}"


DAY_LEVELS = day_folder(date.max).count("/") + 1  # folders in one another that a day has


def is_of_days(folder: str) -> bool:
    """Whether a folder right below an app's is the first of those of a day."""
    return folder.startswith(_OF_DAYS)


def day_in(folders: str) -> date | None:
    """The day (UTC) that has these folders; None where they are no day's."""
    match = re.fullmatch(_DAY, folders)
    try:
        return date.fromisoformat(match["date"]) if match else None
    except ValueError:  # a month 13, say
        return None


def day_of(key: str) -> date:
    """The day (UTC) of a delivery, by its key; a tenth of the time that `parse_key` takes."""
    return date.fromisoformat(by_arrival(key)[:8])


def arrival_in(key: str) -> datetime:
    """When a delivery arrived, by its key: exact, aware, UTC."""
    return datetime.fromisoformat(by_arrival(key).partition("-")[0])


def by_arrival(key: str) -> str:
    """What the keys of deliveries are sorted by, of whatever apps they are: the name at the end."""
    return key.rpartition("/")[2]


def digest_in(key: str) -> str:
    """The SHA-256 in the key of a delivery, a good deal quicker than parsing all of it."""
    return key.rpartition("-")[2].partition(".")[0]


def rejected_prefix(prefix: str, app: str | None = None) -> str:
    """Where refused bodies lie, of one app or of all."""
    return f"{prefix}_rejected/" + (f"{app}/" if app else "")


def redacted_prefix(prefix: str) -> str:
    """Where redacted bodies lie, by the keys that their deliveries have below a prefix."""
    return f"{prefix}{REDACTED_FOLDER}/"


def redacted_key(key: DeliveryKey) -> str:
    """Where the body of a delivery lies after a person was erased from it."""
    return redacted_prefix(key.prefix) + str(key._replace(prefix=""))


def parse_redacted(key: str) -> DeliveryKey:
    """The key of the delivery whose redacted body this is. Raises UnknownKey."""
    match = re.fullmatch(rf"{redacted_prefix(_PREFIX)}(?P<rest>.+)", key)
    parsed = parse_key(match["prefix"] + match["rest"]) if match else None
    if not isinstance(parsed, DeliveryKey) or redacted_key(parsed) != key:
        raise UnknownKey(key)
    return parsed


def past_deliveries(prefix: str, app: str) -> str:
    """What sorts after every delivery of `app`, and before all else: where to go on listing."""
    return day_prefix(prefix, app, date.max) + _PAST


def past_rejected(prefix: str, app: str | None = None) -> str:
    """What sorts after every refused body, of one app or of all: where to go on listing."""
    return rejected_prefix(prefix, app) + _PAST


_PAST = "~"  # no key of ours holds one, and all they are made of sorts before it


def events_prefix(prefix: str, app: str | None = None) -> str:
    """Where compacted files lie, of one app or of all."""
    return f"{prefix}{EVENTS_FOLDER}/" + (f"{_OF_APP}{app}/" if app else "")


def month_prefix(prefix: str, app: str, month: str) -> str:
    """Where compacted files of one app's month (`2026-11`) lie."""
    return f"{events_prefix(prefix, app)}{_OF_MONTH}{month}/"


def months_in(folders: list[str]) -> list[str]:
    """The months of an app's folders of compacted files; of other folders none."""
    return [name.removeprefix(_OF_MONTH) for name in folders if name.startswith(_OF_MONTH)]


def app_in(folder: str) -> str | None:
    """The app whose compacted files a folder right below EVENTS_FOLDER holds; None: no app's."""
    app = folder.removeprefix(_OF_APP)
    return app if app != folder and is_app(app) else None


def is_reserved(folder: str) -> bool:
    """Whether a folder is one of ours beside those of apps: no app or path may be called so."""
    return folder == EVENTS_FOLDER or folder.startswith("_")


def conditions_key(prefix: str) -> str:
    """What is put to find out whether an S3 server that is not AWS's keeps conditions."""
    return f"{events_prefix(prefix)}_conditions"  # engines skip names that begin so


def manifest_prefix(prefix: str, app: str) -> str:
    """Where the manifest log of an app lies."""
    return f"{prefix}{MANIFESTS_FOLDER}/{app}/"


def stamp(at: datetime) -> str:
    """What the name of a delivery's key begins with: its arrival (aware, UTC), sortable."""
    # Not strftime: this is twenty times as fast.
    return at.isoformat(timespec="microseconds")[:26].replace("-", "").replace(":", "") + "Z"
