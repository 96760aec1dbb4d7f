"""The archive's bucket: made and hardened by calls that may be repeated, never by the stack.

The bucket outlives every deployment, so no stack owns it, and one that exists already is taken as
it is: policy statements, lifecycle rules and a KMS key of others stay. What is ours goes by name,
statements by their Sid and rules by their ID, and is replaced where it differs.

There is no Object Lock: erasing a person's data has to stay possible.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import boto3
import click
from botocore.exceptions import ClientError, NoRegionError

from chalicelib.keys import rejected_prefix

TLS_ONLY, PUT_ONCE = "HookshelfTlsOnly", "HookshelfPutOnce"
REPLACEABLE = ("_events", "_events_month")  # made again from the deliveries, at the same keys
REJECTED_DAYS = 30
NONCURRENT_DAYS = 30
UNFINISHED_DAYS = 7  # of a multipart upload; hookshelf makes none
ATTEMPTS, SECONDS = 12, 10  # of a call that S3 is too busy for, and between two

Json = dict[str, Any]

_PUBLIC_ACCESS_BLOCKED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
_READS = (
    "get_public_access_block",
    "get_bucket_ownership_controls",
    "get_bucket_versioning",
    "get_bucket_encryption",
    "get_bucket_policy",
    "get_bucket_lifecycle_configuration",
)
_NOT_SET = (
    "NoSuchPublicAccessBlockConfiguration",
    "OwnershipControlsNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
    "NoSuchBucketPolicy",
    "NoSuchLifecycleConfiguration",
)


class Unusable(click.UsageError):
    """The bucket is not ours, or not where the functions are."""


class Step(NamedTuple):
    """One call that is missing to the hardened bucket."""

    line: str  # what it does, for a person
    operation: str  # a method of boto3's S3 client
    arguments: Mapping[str, Any]


def plan(bucket: str, paths: Sequence[str], *, keep_days: int | None = None) -> list[Step]:
    """What the bucket lacks; nothing is changed. Empty where all is well.

    `paths` are those below the bucket that are archived into, "" for the bucket itself; lifecycle
    rules are for them alone. `keep_days` expires everything below them after that many days: the
    deliveries, and the events made of them. None leaves such a rule as it is, 0 takes it away.

    In a bucket with versions, to expire an object is to put a delete marker over it; its bytes go
    30 days later, as those of every noncurrent version, and then the marker.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-expire-general-considerations.html

    Raises Unusable for a bucket of another account or region.
    """
    return _plan(_connect(bucket), paths, keep_days)


def harden(bucket: str, paths: Sequence[str], *, keep_days: int | None = None) -> Iterator[str]:
    """Take the steps of `plan`, and say each that is done. Use up the iterator to take them all."""
    where = _connect(bucket)
    for step in _plan(where, paths, keep_days):
        if step.operation == "create_bucket":
            make(bucket, where.region, where.owner)
        else:
            _patiently(getattr(where.s3, step.operation), step.arguments)
        yield step.line


def kms_key(bucket: str) -> str | None:
    """The ARN of the KMS key that encrypts the bucket by default; None where it is S3's own, or
    AWS's for the account, which need no permission, or where there is no bucket yet.

    https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#aws-managed-cmk
    """
    where = _connect(bucket)
    if not _exists(where):
        return None
    default = _default_encryption(_get(where, "get_bucket_encryption"))
    key: str | None = default.get("KMSMasterKeyID")
    if key is None or ":key/" in key:
        return key
    arn: str = boto3.client("kms").describe_key(KeyId=key)["KeyMetadata"]["Arn"]
    return arn


def make(bucket: str, region: str, owner: str) -> None:
    """Make a bucket of our account, and wait until S3 knows it, which may take seconds."""
    s3 = boto3.client("s3")
    _patiently(s3.create_bucket, _creation(bucket, region))
    s3.get_waiter("bucket_exists").wait(Bucket=bucket, ExpectedBucketOwner=owner)


def _creation(bucket: str, region: str) -> Json:
    arguments: Json = {"Bucket": bucket}
    if region != "us-east-1":  # where no constraint is the only way to say it
        arguments["CreateBucketConfiguration"] = {"LocationConstraint": region}
    return arguments


def _patiently(call: Callable[..., object], arguments: Mapping[str, Any]) -> None:
    """Call again while S3 is busy with the call before.

    The name of a bucket that was just deleted is taken for a while, too.
    https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList
    """
    for left in reversed(range(ATTEMPTS)):
        try:
            call(**arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] != "OperationAborted" or not left:
                raise
            click.echo("  S3 is still busy with this bucket; waiting for it", err=True)
            time.sleep(SECONDS)
        else:
            return


@dataclass(frozen=True)
class _Bucket:
    name: str
    s3: Any  # boto3's client
    region: str
    owner: str  # our account

    @property
    def named(self) -> dict[str, str]:
        """What every call is given: S3 refuses where somebody else has the name by then.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
        """
        return {"Bucket": self.name, "ExpectedBucketOwner": self.owner}

    @property
    def arn(self) -> str:
        return f"arn:{self.s3.meta.partition}:s3:::{self.name}"


def _connect(bucket: str) -> _Bucket:
    if ":" in bucket:
        raise Unusable(f"{bucket} is an access point. Harden the bucket behind it, by its name")
    # S3 alone would be content with none, and make the bucket in us-east-1.
    region = boto3.Session().region_name
    if not region:
        raise NoRegionError()
    account = boto3.client("sts").get_caller_identity()["Account"]
    return _Bucket(bucket, boto3.client("s3"), region, account)


def _plan(where: _Bucket, paths: Sequence[str], keep_days: int | None) -> list[Step]:
    exists = _exists(where)
    state = {read: _get(where, read) if exists else {} for read in _READS}
    return [
        *([] if exists else [_create(where)]),
        *_public_access(where, state["get_public_access_block"]),
        *_ownership(where, state["get_bucket_ownership_controls"]),
        *_versioning(where, state["get_bucket_versioning"]),
        *_encryption(where, state["get_bucket_encryption"]),
        *_policy(where, state["get_bucket_policy"]),
        *_lifecycle(where, state["get_bucket_lifecycle_configuration"], paths, keep_days),
    ]


def _exists(where: _Bucket) -> bool:
    """Whether the bucket is there, ours, and in our region. Raises Unusable where it is others'.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
    """
    try:
        found = where.s3.head_bucket(**where.named)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            return False
        if status == 403:
            raise Unusable(
                f"The bucket {where.name} belongs to another account than {where.owner}, or you "
                "may not look at it (s3:ListBucket). Choose another name, or log in to its account"
            ) from None
        if status != 301:
            raise
        found = error.response["ResponseMetadata"]["HTTPHeaders"]
    region = found.get("BucketRegion") or found.get("x-amz-bucket-region") or where.region
    if region != where.region:
        raise Unusable(
            f"The bucket {where.name} is in {region}, and all buckets must be in the functions' "
            f"region, {where.region}. Choose another bucket, or AWS_DEFAULT_REGION={region}"
        )
    return True


def _get(where: _Bucket, operation: str) -> Json:
    try:
        found: Json = getattr(where.s3, operation)(**where.named)
    except ClientError as error:
        if error.response["Error"]["Code"] in _NOT_SET:
            return {}
        raise
    return found


def _create(where: _Bucket) -> Step:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html"""
    arguments = _creation(where.name, where.region)
    return Step(f"make the bucket {where.name} in {where.region}", "create_bucket", arguments)


def _public_access(where: _Bucket, found: Json) -> Iterator[Step]:
    wanted = _PUBLIC_ACCESS_BLOCKED
    if found.get("PublicAccessBlockConfiguration") != wanted:
        arguments = where.named | {"PublicAccessBlockConfiguration": wanted}
        yield Step("block public access", "put_public_access_block", arguments)


def _ownership(where: _Bucket, found: Json) -> Iterator[Step]:
    wanted = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    if found.get("OwnershipControls") != wanted:
        line = "switch access control lists off: the bucket's owner owns every object"
        arguments = where.named | {"OwnershipControls": wanted}
        yield Step(line, "put_bucket_ownership_controls", arguments)


def _versioning(where: _Bucket, found: Json) -> Iterator[Step]:
    if found.get("Status") != "Enabled":
        arguments = where.named | {"VersioningConfiguration": {"Status": "Enabled"}}
        yield Step("keep versions of what is deleted", "put_bucket_versioning", arguments)


def _encryption(where: _Bucket, found: Json) -> Iterator[Step]:
    if not _default_encryption(found):
        rule = {
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
            "BucketKeyEnabled": True,
        }
        arguments = where.named | {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}
        yield Step("encrypt every object with S3's keys", "put_bucket_encryption", arguments)


def _default_encryption(found: Json) -> Json:
    for rule in found.get("ServerSideEncryptionConfiguration", {}).get("Rules", ()):
        default: Json = rule.get("ApplyServerSideEncryptionByDefault", {})
        if default:
            return default
    return {}


def _policy(where: _Bucket, found: Json) -> Iterator[Step]:
    policy = json.loads(found.get("Policy", '{"Version": "2012-10-17", "Statement": []}'))
    there = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    wanted = _statements(where.arn)
    lines = {
        TLS_ONLY: "refuse what comes without TLS",
        PUT_ONCE: "refuse everybody's puts, copies too, that could overwrite, but below "
        + " and ".join(f"{name}/" for name in REPLACEABLE),
    }
    if changed := [one for one in wanted if one not in there]:
        policy["Statement"] = _replaced(there, wanted, "Sid")
        line = "; ".join(lines[one["Sid"]] for one in changed)
        yield Step(line, "put_bucket_policy", where.named | {"Policy": json.dumps(policy)})


def _statements(arn: str) -> list[Json]:
    """Ours of the bucket policy.

    Whoever puts has to say If-None-Match, which succeeds for new keys alone; the parts of a
    multipart upload cannot say it, and its completion does. A put is judged by its key, so that
    the statement is for the whole bucket, whatever path is archived into: two stages with a path
    each in one bucket want the same statement. No segment of a delivery's key is called `_events`.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
    """
    everyone = {"Effect": "Deny", "Principal": "*"}
    return [
        {
            "Sid": TLS_ONLY,
            **everyone,
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
        {
            "Sid": PUT_ONCE,
            **everyone,
            "Action": "s3:PutObject",
            "NotResource": [
                f"{arn}/{below}{name}/*" for below in ("", "*/") for name in REPLACEABLE
            ],
            "Condition": {
                "Null": {"s3:if-none-match": "true"},
                "Bool": {"s3:ObjectCreationOperation": "true"},
            },
        },
    ]


def _lifecycle(
    where: _Bucket, found: Json, paths: Sequence[str], keep_days: int | None
) -> Iterator[Step]:
    there = [_with_filter(rule) for rule in found.get("Rules", ())]
    wanted = [rule for path in dict.fromkeys(paths) for rule in _rules(path, keep_days)]
    unwanted = {_rule_id("keep", path) for path in paths} if keep_days == 0 else set()
    kept = [rule for rule in there if rule.get("ID") not in unwanted]
    lines = [_told(rule) for rule in wanted if rule not in there]
    lines += [f"expire no deliveries any more ({rule['ID']})" for rule in there if rule not in kept]
    if lines:
        arguments: Json = where.named | {
            "LifecycleConfiguration": {"Rules": _replaced(kept, wanted, "ID")}
        }
        if smallest := found.get("TransitionDefaultMinimumObjectSize"):
            arguments["TransitionDefaultMinimumObjectSize"] = smallest
        yield Step("; ".join(lines), "put_bucket_lifecycle_configuration", arguments)


def _rules(path: str, keep_days: int | None) -> Iterator[Json]:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html"""
    prefix = path and f"{path}/"
    yield _rule("rejected", path, rejected_prefix(prefix), Expiration={"Days": REJECTED_DAYS})
    yield _rule(
        "noncurrent",
        path,
        prefix,
        NoncurrentVersionExpiration={"NoncurrentDays": NONCURRENT_DAYS},
        # A delete marker with nothing under it goes as well. It may not stand beside Days.
        Expiration={"ExpiredObjectDeleteMarker": True},
        AbortIncompleteMultipartUpload={"DaysAfterInitiation": UNFINISHED_DAYS},
    )
    if keep_days:
        yield _rule("keep", path, prefix, Expiration={"Days": keep_days})


def _rule(name: str, path: str, prefix: str, **actions: Json) -> Json:
    return {
        "ID": _rule_id(name, path),
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        **actions,
    }


def _rule_id(name: str, path: str) -> str:
    """`hookshelf-keep`, or `hookshelf-keep-<path>`; S3 takes at most 255 characters."""
    if len(path) > 200:
        path = hashlib.sha256(path.encode()).hexdigest()
    return f"hookshelf-{name}" + (path and f"-{path}")


def _told(rule: Json) -> str:
    below = f"below {rule['Filter']['Prefix']}" if rule["Filter"]["Prefix"] else "in the bucket"
    if days := rule["Expiration"].get("Days"):
        return f"expire everything {below} after {days} days"
    return (
        f"remove noncurrent versions {below} after {NONCURRENT_DAYS} days, "
        f"unfinished uploads after {UNFINISHED_DAYS}"
    )


def _with_filter(rule: Json) -> Json:
    """A rule of the old kind in the new words: S3 takes no mixture of them.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_LifecycleRule.html
    """
    if "Prefix" not in rule:
        return rule
    rest = {name: value for name, value in rule.items() if name != "Prefix"}
    return {"Filter": {"Prefix": rule["Prefix"]}} | rest


def _replaced(there: Iterable[Json], wanted: Sequence[Json], name: str) -> list[Json]:
    """What is there, ours replaced or added; `name` is what they are told apart by."""
    ours = {one[name] for one in wanted}
    return [*(one for one in there if one.get(name) not in ours), *wanted]
