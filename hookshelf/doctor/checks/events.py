"""The compacted events: how far they go, by the names of files and by the first delivery after."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from chalicelib.keys import (
    DeliveryKey,
    UnknownKey,
    app_prefix,
    events_prefix,
    is_app,
    parse_events,
    parse_key,
    seek,
)
from chalicelib.metrics import is_known
from chalicelib.settings import BucketPath
from hookshelf.deploy.alarms import OTHERS_STALE, STALE
from hookshelf.deploy.deployment import COMPACTOR, function_name
from hookshelf.doctor.findings import Result, ok, warning
from hookshelf.doctor.live_bucket import LiveBucket
from hookshelf.doctor.live_stage import LiveStage
from hookshelf.doctor.registry import doctor_check

MOST_APPS = 100  # that are looked at in one place, at three requests each
_BEGINNING = datetime.fromtimestamp(0, UTC)


@doctor_check(
    "events-fresh",
    good="There is nothing to compact yet.",
    why="Every look-up reads what is not compacted delivery by delivery: it takes longer each day.",
)
def events_fresh(stage: LiveStage) -> Iterator[Result]:
    """Of each app, what arrived a while ago is in a compacted file."""
    now, is_scheduled = datetime.now(UTC), COMPACTOR in stage.deployment.functions
    waiting = {
        (bucket.name, path.prefix, app): arrived
        for bucket in stage.buckets
        for path in bucket.paths
        for app, arrived in _uncompacted(bucket, path, every=is_scheduled)
    }
    for (name, prefix, app), arrived in waiting.items():
        known = is_scheduled and is_known(app, stage.environment("api_handler"))
        if arrived and (now - arrived).total_seconds() > (STALE if known else OTHERS_STALE):
            log = f"; the log of {function_name(stage.deployment.stage, COMPACTOR)} says why"
            yield warning(
                f"App {app} in {name}/{prefix}: nothing since {arrived:%Y-%m-%d %H:%M} UTC is "
                "compacted.",
                f"hookshelf compact --stage {stage.deployment.stage} --app {app}  # brings it up "
                f"to date{log if is_scheduled else ''}",
            )
    if not waiting and not is_scheduled:
        yield ok("No compactor is deployed, and nothing is compacted.")
    elif waiting:
        oldest = min(filter(None, waiting.values()), default=None)
        until = f"until {oldest:%Y-%m-%d %H:%M} UTC" if oldest else "to the last delivery"
        yield ok(f"Events are compacted {until}.")


def _uncompacted(
    bucket: LiveBucket, path: BucketPath, *, every: bool
) -> Iterator[tuple[str, datetime | None]]:
    """The apps right at a place, each with the arrival of its first delivery that is in no file.

    Unless `every`, only those that have compacted files.
    """
    for name in bucket.folders(path.prefix, MOST_APPS):
        months = bucket.folders(events_prefix(path.prefix, name)) if is_app(name) else []
        if is_app(name) and (months or every):
            end = _compacted_until(bucket, path.prefix, name, months)
            after = seek(path.prefix, name, end)
            keys = bucket.keys(app_prefix(path.prefix, name), after, most=1)
            yield from ((name, arrived) for arrived in map(_arrived, keys or [""]))


def _compacted_until(bucket: LiveBucket, prefix: str, app: str, months: list[str]) -> datetime:
    ends = [_BEGINNING]
    if months:
        for key in bucket.keys(f"{events_prefix(prefix, app)}{months[-1]}/"):
            try:
                ends.append(parse_events(key).end)
            except UnknownKey:
                continue
    return max(ends)


def _arrived(key: str) -> datetime | None:
    try:
        parsed = parse_key(key)
    except UnknownKey:
        return None
    return parsed.arrived if isinstance(parsed, DeliveryKey) else None
