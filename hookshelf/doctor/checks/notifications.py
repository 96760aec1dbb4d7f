"""What the buckets notify: the tracker, and never of its own doing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chalicelib.types import Json
from hookshelf.deploy.notifications import (
    FUNCTIONS,
    NOTIFICATION_ID,
    output_paths,
    overlapping,
)
from hookshelf.doctor.findings import Result, failure
from hookshelf.doctor.fixes import put_bucket_configuration
from hookshelf.doctor.live_bucket import LiveBucket
from hookshelf.doctor.live_stage import LiveStage
from hookshelf.doctor.registry import doctor_check, run_for_each


@doctor_check(
    "notification-loop",
    good="The tracker is not told of what the archive and the collector write.",
    why="Each notification makes an event, each event an object, each object a notification.",
)
def notification_loop(stage: LiveStage) -> Iterator[Result]:
    """No bucket notifies track_s3 of where the archive or the collector writes."""
    if "track_s3" not in stage.functions:
        return
    variables = stage.environment("api_handler") | stage.environment("track_s3")
    names = dict.fromkeys(path.bucket for path in output_paths(variables) if ":" not in path.bucket)
    buckets = [LiveBucket(stage, name, []) for name in names]
    yield from run_for_each(buckets, lambda bucket: _loops(bucket, variables))


def _loops(bucket: LiveBucket, variables: Mapping[str, str]) -> Iterator[Result]:
    tracker = bucket.stage.function("track_s3")["FunctionArn"]
    for notification in bucket.notifications.get(FUNCTIONS, ()):
        # A version or alias may follow the function's own ARN.
        if f"{notification['LambdaFunctionArn']}:".startswith(f"{tracker}:"):
            rules = notification.get("Filter", {}).get("Key", {}).get("FilterRules", ())
            prefixes = [rule["Value"] for rule in rules if rule["Name"].lower() == "prefix"]
            prefix = prefixes[0] if prefixes else ""
            for covered in overlapping(bucket.name, prefix, variables):
                what = f"{bucket.name}/{prefix}* notifies the tracker, and covers {covered}."
                yield failure(what, _stop(bucket, notification))


def _stop(bucket: LiveBucket, notification: Json) -> str:
    stage = f"--stage {bucket.stage.deployment.stage}"
    if notification.get("Id") == NOTIFICATION_ID:
        return (
            f"hookshelf watch {bucket.name} --off {stage}; "
            f"hookshelf watch {bucket.name} --prefix ANOTHER/ {stage}"
        )
    others = [other for other in bucket.notifications[FUNCTIONS] if other != notification]
    configuration = bucket.notifications | {FUNCTIONS: others}
    return put_bucket_configuration("notification", bucket.name, configuration)
