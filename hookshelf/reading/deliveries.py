"""Finding deliveries again: which keys, and what an archive object says it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from hashlib import sha256

import click

from chalicelib.apps import App, app_named
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.keys import (
    DeliveryKey,
    RejectedKey,
    UnknownKey,
    app_prefix,
    hour_prefix,
    is_app,
    parse_key,
    rejected_prefix,
)
from chalicelib.metadata import headers_of
from chalicelib.settings import BucketPath, from_environment, parse_bucket_path
from chalicelib.sources import source_named, source_names
from chalicelib.store import Store, open_store


@dataclass(frozen=True, slots=True)
class Query:
    """Which deliveries a verb is about. Times are aware UTC; None is no bound."""

    app: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    rejected: bool = False


def open_place(environ: Mapping[str, str], bucket: str | None) -> tuple[Store, BucketPath]:
    """The store and place a verb reads: `--bucket`, else the default. Raises UsageError."""
    settings = from_environment(environ)
    place = parse_bucket_path(bucket) if bucket else settings.bucket_paths[0]
    if place is None:
        raise click.BadParameter("use bucket or bucket/path", param_hint="--bucket")
    return open_store(settings, place.bucket), place


def find(store: Store, place: BucketPath, query: Query) -> Iterator[DeliveryKey | RejectedKey]:
    """The keys of the deliveries (or refused ones) that match, in key order."""
    if query.app and not is_app(query.app):
        raise click.BadParameter("no such app name", param_hint="--app")
    for listed in store.list(_prefix(place, query), after=_after(place, query)):
        try:
            key = parse_key(listed.key)
        except UnknownKey:
            continue  # the bucket may hold what is not ours
        if query.app and not query.rejected and _is_past(key, query):
            return
        if isinstance(key, RejectedKey) is query.rejected and _matches(key, place, query):
            yield key


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


def _prefix(place: BucketPath, query: Query) -> str:
    if query.rejected:
        return rejected_prefix(place.prefix, query.app)
    return app_prefix(place.prefix, query.app) if query.app else place.prefix


def _after(place: BucketPath, query: Query) -> str:
    """Start the listing at the right hour, where the keys of one app allow it."""
    if not (query.app and query.since) or query.rejected:
        return ""
    return hour_prefix(place.prefix, query.app, query.since)


def _matches(key: DeliveryKey | RejectedKey, place: BucketPath, query: Query) -> bool:
    if key.prefix != place.prefix or (query.app and key.app != query.app):
        return False
    first, last = _span(key)
    return not (query.since and last < query.since) and not (query.until and first > query.until)


def _is_past(key: DeliveryKey | RejectedKey, query: Query) -> bool:
    return bool(query.until and _span(key)[0] > query.until)


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
