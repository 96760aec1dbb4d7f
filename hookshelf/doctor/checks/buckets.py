"""The buckets that are archived into: whose they are, and who may reach them."""

from __future__ import annotations

from collections.abc import Iterator

from hookshelf.deploy.bucket import PUBLIC_ACCESS_BLOCKED
from hookshelf.doctor.bucket_policy import denies_everybody, some_delivery
from hookshelf.doctor.findings import Result, failure, warning
from hookshelf.doctor.live_bucket import LiveBucket
from hookshelf.doctor.live_stage import LiveStage
from hookshelf.doctor.registry import bucket_check, doctor_check


@bucket_check(
    "bucket",
    good="Every bucket is there, in the functions' region, and the right account's.",
    why="Without its bucket every delivery is answered with 503; a stranger reads what is his.",
)
def bucket(bucket: LiveBucket) -> Iterator[Result]:
    """The bucket exists, in the region of the function, and belongs to whom it should."""
    stage, region = bucket.stage, bucket.stage.arn["region"]
    if bucket.region is None:
        make = f"{stage.redeploy} --create-bucket" if stage.is_stack else bucket.harden
        yield failure(f"There is no bucket {bucket.name}.", make)
    elif bucket.region != region:
        what = f"The bucket {bucket.name} is in {bucket.region}, the functions in {region}."
        yield failure(what, stage.redeploy_after(f"name one in {region} in ARCHIVE_BUCKETS"))
    elif not bucket.is_owned:
        what = f"The bucket {bucket.name} is not of account {bucket.owner}."
        yield failure(what, stage.redeploy_after("name one of yours in ARCHIVE_BUCKETS"))


@doctor_check(
    "bucket-owner",
    good="S3 is told whose the bucket has to be.",
    why="Should the bucket ever be deleted, somebody else may take its name and get deliveries.",
)
def bucket_owner(stage: LiveStage) -> Iterator[Result]:
    """ARCHIVE_BUCKET_OWNER is set."""
    if not stage.settings.bucket_owner:
        setting = f'"ARCHIVE_BUCKET_OWNER": "{stage.account}"'
        fix = stage.redeploy_after(f"set {setting} in .chalice/config.json")
        yield warning("ARCHIVE_BUCKET_OWNER is not set.", fix)


@bucket_check(
    "public-access",
    good="Public access is blocked.",
    why="One wrong policy or access list, and everybody can read every delivery.",
)
def public_access(bucket: LiveBucket) -> Iterator[Result]:
    """All four blocks are on."""
    if missing := [name for name in PUBLIC_ACCESS_BLOCKED if not bucket.public_access.get(name)]:
        every = ",".join(f"{name}=true" for name in PUBLIC_ACCESS_BLOCKED)
        yield failure(
            f"The bucket {bucket.name} lacks {', '.join(missing)}.",
            f"aws s3api put-public-access-block --bucket {bucket.name} "
            f"--public-access-block-configuration {every}",
        )


@bucket_check(
    "tls-only",
    good="Only TLS reaches the bucket.",
    why="Without TLS, deliveries and what signs for them can be read on the way.",
)
def tls_only(bucket: LiveBucket) -> Iterator[Result]:
    """The bucket policy denies everything to everybody without TLS."""
    condition = {"Bool": {"aws:SecureTransport": "false"}}
    resources = [bucket.arn, f"{bucket.arn}/{some_delivery(bucket.paths[0].prefix)}"]
    if not any(denies_everybody(s, "s3:*", resources, condition) for s in bucket.policy):
        what = f"The bucket {bucket.name} takes requests without TLS."
        yield failure(what, bucket.harden)


@bucket_check(
    "versioning",
    good="What is deleted can be brought back.",
    why="Without versions, what is deleted by mistake is gone at once.",
)
def versioning(bucket: LiveBucket) -> Iterator[Result]:
    """The bucket keeps versions."""
    if bucket.versioning != "Enabled":
        turn_on = f"--bucket {bucket.name} --versioning-configuration Status=Enabled"
        yield failure(
            f"Versioning of bucket {bucket.name} is {bucket.versioning.lower() or 'off'}.",
            f"aws s3api put-bucket-versioning {turn_on}",
        )
