"""Finding deliveries again: which keys, and what an archive object says it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from hashlib import sha256
from typing import NamedTuple, get_args

from chalicelib.apps import App, app_named
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.errors import HookshelfError, MisuseError
from chalicelib.keys import (
    DeliveryKey,
    RejectedKey,
    UnknownKey,
    app_prefix,
    hour_prefix,
    is_app,
    parse_key,
    past_deliveries,
    past_rejected,
    rejected_prefix,
)
from chalicelib.metadata import headers_of
from chalicelib.settings import BucketPath, Settings, from_environment, parse_bucket_path
from chalicelib.sources import source_named, source_names
from chalicelib.store import Store, open_store
from chalicelib.types import Verdict

PAGE = 1000  # keys that S3 lists in one request: to skip no more of them, read on


class NothingFound(HookshelfError):
    """No delivery is what was asked for; the text says what there is instead."""


class ArchivedKey(NamedTuple):
    """The key of a delivery, or of a refused one, and the bucket it is in."""

    bucket: str
    key: DeliveryKey | RejectedKey


@dataclass(frozen=True, slots=True)
class DeliverySelection:
    """Which deliveries are asked for: by place, app, arrival, and whether they were refused.

    Times are aware UTC; `since` is included, `until` is not, and None is no bound. Of a refused
    delivery the key says only the day.
    """

    bucket_path: BucketPath | None = None  # that path alone; None: ARCHIVE_BUCKETS and all below
    app: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    rejected: bool = False


def select(  # noqa: PLR0913  (one for each option)
    *,
    bucket: str | None = None,
    app: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    rejected: bool = False,
) -> DeliverySelection:
    """A DeliverySelection from what a person typed. Raises MisuseError."""
    bucket_path = parse_bucket_path(bucket) if bucket is not None else None
    if bucket is not None and bucket_path is None:
        raise MisuseError(f"--bucket {bucket!r} is no bucket: use bucket or bucket/path")
    if app is not None and not is_app(app):
        raise MisuseError(f"--app {app!r}: no such app name")
    return DeliverySelection(bucket_path, app, since, until, rejected)


def bucket_paths(settings: Settings, selection: DeliverySelection) -> list[BucketPath]:
    """Where to look: each place once, though entries of ARCHIVE_BUCKETS may hold one another."""
    if selection.bucket_path is not None:
        return [selection.bucket_path]
    entries = list(dict.fromkeys(settings.bucket_paths))
    return [
        entry
        for entry in entries
        if not any(other.allows(entry) for other in entries if other != entry)
    ]


def find(environ: Mapping[str, str], selection: DeliverySelection) -> Iterator[ArchivedKey]:
    """What is asked for, in key order within each place. Raises SettingError or Unreadable."""
    settings = from_environment(environ)
    for place in bucket_paths(settings, selection):
        store = open_store(settings, place.bucket)
        for key in _scan(store, *_start(place, selection), lambda key: _skip_to(key, selection)):
            yield ArchivedKey(place.bucket, key)


def apps_there(environ: Mapping[str, str], selection: DeliverySelection) -> list[str]:
    """The apps that have deliveries, or refused ones, where `selection` looks; in order."""
    settings = from_environment(environ)
    everyone = DeliverySelection(selection.bucket_path, rejected=selection.rejected)
    apps = set()
    for place in bucket_paths(settings, selection):

        def skip_to(key: DeliveryKey | RejectedKey) -> str:
            if not _skip_to(key, everyone):
                apps.add(key.app)
            return _past(key)

        for _ in _scan(open_store(settings, place.bucket), place.prefix, "", skip_to):
            pass
    return sorted(apps)


def nothing_found(environ: Mapping[str, str], selection: DeliverySelection) -> NothingFound:
    """Why nothing was found: no such app, nothing in that time, or nothing at all."""
    kind = "refused delivery" if selection.rejected else "delivery"
    apps = apps_there(environ, selection)
    if not apps:
        settings = from_environment(environ)
        folder = f"{settings.folder}/" if settings.folder else ""
        places = [
            f"{folder}{place.bucket}/{place.prefix}" for place in bucket_paths(settings, selection)
        ]
        return NothingFound(
            f"There is no {kind} in {', '.join(places)}. Try another --bucket or --stage"
        )
    if selection.app and selection.app not in apps:
        return NothingFound(
            f"There is no {kind} of app {selection.app!r}. Apps there are: {', '.join(apps)}"
        )
    return NothingFound(f"No {kind} arrived in that time. Try another --since or --until")


def delivery_of(obj: ArchiveObject, key: DeliveryKey | RejectedKey) -> Delivery:
    """The delivery that an archive object was. Without metadata it has no headers."""
    arrived = key.arrived if isinstance(key, DeliveryKey) else _arrived(obj, key)
    return Delivery(key.app, _headers(obj), obj.body, arrived)


def app_of(obj: ArchiveObject, key: DeliveryKey | RejectedKey, environ: Mapping[str, str]) -> App:
    """The settings to read an archive object with: today's, else the source its metadata names."""
    app = app_named(key.app, environ)
    source = obj.metadata.get("source", "")
    if app.source.name == "generic" and source in source_names():
        return App(source=source_named(source))
    return app


def is_altered(obj: ArchiveObject, key: DeliveryKey | RejectedKey) -> bool:
    """Whether the bytes are no longer those the key was made from."""
    return sha256(obj.body).hexdigest() != key.sha256


def lacks_signature(obj: ArchiveObject, app: App) -> bool:
    """Whether a signature header came, and was too long to be kept with the object."""
    omitted = obj.metadata.get("omitted", "").split(",")
    return any(header in omitted for header in app.source.signature_headers)


def recorded_verdict(obj: ArchiveObject) -> Verdict | None:
    """What checking its signature gave when it arrived; None where nothing we wrote says so."""
    recorded = obj.metadata.get("verdict")
    return next((verdict for verdict in get_args(Verdict) if verdict == recorded), None)


def _start(place: BucketPath, selection: DeliverySelection) -> tuple[str, str]:
    """The narrowest prefix that holds all that is asked for, and the key to list after."""
    if selection.bucket_path is None or (selection.app is None and not selection.rejected):
        return place.prefix, ""
    if selection.rejected:
        return rejected_prefix(place.prefix, selection.app), ""
    app = selection.app or ""
    after = hour_prefix(place.prefix, app, selection.since) if selection.since else ""
    return app_prefix(place.prefix, app), after


def _scan(
    store: Store,
    prefix: str,
    after: str,
    skip_to: Callable[[DeliveryKey | RejectedKey], str],
) -> Iterator[DeliveryKey | RejectedKey]:
    """The keys for which `skip_to` says nothing; for others it says what to list after.

    Whatever the grammar does not know is passed over: the bucket may hold what is not ours.
    """
    target = after
    skipped = PAGE
    while skipped >= PAGE:
        after, skipped = target, 0
        for listed in store.list(prefix, after=after):
            skipped = skipped + 1 if listed.key <= target else 0
            if skipped >= PAGE:
                break
            if skipped or not (key := _parsed(listed.key)):
                continue
            target = skip_to(key)
            if not target:
                yield key


def _parsed(key: str) -> DeliveryKey | RejectedKey | None:
    try:
        return parse_key(key)
    except UnknownKey:
        return None


def _skip_to(key: DeliveryKey | RejectedKey, selection: DeliverySelection) -> str:
    """Nothing for a key that is asked for, else what to list after to find the next that may be."""
    is_rejected = isinstance(key, RejectedKey)
    elsewhere = selection.bucket_path and key.prefix != selection.bucket_path.prefix
    if is_rejected and not selection.rejected:
        return past_rejected(key.prefix)
    if elsewhere or is_rejected != selection.rejected or selection.app not in (None, key.app):
        return _past(key)
    first, last = _span(key)
    if selection.until and first >= selection.until:
        return _past(key)
    if selection.since and last < selection.since:
        return str(key) if is_rejected else hour_prefix(key.prefix, key.app, selection.since)
    return ""


def _past(key: DeliveryKey | RejectedKey) -> str:
    past = past_rejected if isinstance(key, RejectedKey) else past_deliveries
    return past(key.prefix, key.app)


def _span(key: DeliveryKey | RejectedKey) -> tuple[datetime, datetime]:
    """The earliest and latest moment a key can stand for; a refused one says only the day."""
    if isinstance(key, DeliveryKey):
        return key.arrived, key.arrived
    midnight = datetime.combine(key.day, time(), UTC)
    return midnight, midnight + timedelta(days=1) - timedelta(microseconds=1)


def _headers(obj: ArchiveObject) -> dict[str, str]:
    try:
        return headers_of(obj.metadata)
    except UnicodeDecodeError:
        return {}  # someone else wrote them


def _arrived(obj: ArchiveObject, key: RejectedKey) -> datetime:
    try:
        return datetime.fromisoformat(obj.metadata["arrived"])
    except (KeyError, ValueError):
        return datetime.combine(key.day, time(), UTC)
