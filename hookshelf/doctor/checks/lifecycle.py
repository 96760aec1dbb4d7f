"""What S3 itself does to what is archived, as time goes by."""

from __future__ import annotations

from collections.abc import Iterator

from chalicelib.keys import EVENTS_FOLDER, is_app, rejected_prefix
from chalicelib.types import Json
from hookshelf.deploy.bucket import rule_id
from hookshelf.doctor.findings import Result, failure, ok, warning
from hookshelf.doctor.fixes import put_bucket_configuration
from hookshelf.doctor.live_bucket import LiveBucket
from hookshelf.doctor.registry import bucket_check

# What has to be restored before it can be read.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-class-intro.html
ARCHIVE_CLASSES = ("GLACIER", "DEEP_ARCHIVE")


@bucket_check(
    "lifecycle",
    good="Deliveries are kept for ever, refused bodies for a time.",
    why="What expires is gone; what is in Glacier has to be restored before it can be read.",
)
def lifecycle(bucket: LiveBucket) -> Iterator[Result]:
    """No rule but ours expires deliveries or puts them away, and refused bodies do expire."""
    enabled = [rule for rule in bucket.rules if rule["Status"] == "Enabled"]
    for bucket_path in bucket.paths:
        rejected = rejected_prefix(bucket_path.prefix)
        for rule in enabled:
            if _reaches_deliveries(rule, bucket_path.prefix):
                yield from _what_happens(bucket, rule)
        if not any(_expires_only(rule, rejected, bucket_path.prefix) for rule in enabled):
            what = f"No rule expires refused bodies in {bucket.name}/{rejected}."
            yield warning(what, bucket.harden)


def _what_happens(bucket: LiveBucket, rule: Json) -> Iterator[Result]:
    """What a rule does to the deliveries that it reaches."""
    name = rule.get("ID", "without an id")
    expiration = rule.get("Expiration", {})
    if expiration.keys() & {"Days", "Date"}:
        days = expiration.get("Days")
        when = f"after {days} days" if days else f"on {expiration.get('Date', '')}"
        keep = rule_id("keep", "")
        if name == keep or name.startswith(f"{keep}-"):
            yield ok(f"Deliveries in {bucket.name} expire {when}, as deploy --keep made it.")
        else:
            what = f"The rule {name} of {bucket.name} expires deliveries {when}."
            yield failure(what, _without_rule(bucket, rule))
    for transition in rule.get("Transitions", ()):
        if (storage_class := transition.get("StorageClass")) in ARCHIVE_CLASSES:
            what = f"The rule {name} of {bucket.name} moves deliveries to {storage_class}."
            yield warning(what, _without_rule(bucket, rule))


def _without_rule(bucket: LiveBucket, rule: Json) -> str:
    others = [other for other in bucket.rules if other != rule]
    if not others:
        return f"aws s3api delete-bucket-lifecycle --bucket {bucket.name}"
    return put_bucket_configuration("lifecycle", bucket.name, {"Rules": others})


def _prefix(rule: Json) -> str | None:
    """The prefix of a rule; None where it is for tagged objects, which deliveries are not."""
    conditions = rule.get("Filter", {"Prefix": rule.get("Prefix", "")})
    conditions = conditions | conditions.get("And", {})
    if "Tag" in conditions or conditions.get("Tags"):
        return None
    prefix: str = conditions.get("Prefix", "")
    return prefix


def _reaches_deliveries(rule: Json, prefix: str) -> bool:
    """Whether a rule can match deliveries below a prefix.

    No segment of theirs begins with `_`, and none is the folder of compacted files.
    """
    of_rule = _prefix(rule)
    if of_rule is None:
        return False
    if prefix.startswith(of_rule):
        return True
    below = of_rule.removeprefix(prefix).rstrip("/")
    return of_rule.startswith(prefix) and all(
        is_app(part[:1]) and part != EVENTS_FOLDER for part in below.split("/")
    )


def _expires_only(rule: Json, rejected: str, prefix: str) -> bool:
    """Whether a rule expires refused bodies, and no deliveries."""
    of_rule = _prefix(rule)
    return (
        of_rule is not None
        and rejected.startswith(of_rule)
        and "Days" in rule.get("Expiration", {})
        and not _reaches_deliveries(rule, prefix)
    )
