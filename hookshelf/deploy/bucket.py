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
from botocore.exceptions import ClientError, NoRegionError

from chalicelib.errors import MisuseError
from chalicelib.keys import EVENTS_FOLDER, REDACTED_FOLDER, rejected_prefix
from chalicelib.types import Json
from hookshelf.deploy.progress import Progress, silent

TLS_ONLY, PUT_ONCE = "HookshelfTlsOnly", "HookshelfPutOnce"
REJECTED_DAYS = 30
NONCURRENT_DAYS = 30
NONCURRENT_EVENTS_DAYS = 1  # a compacted file is often put anew, and can be made again
UNFINISHED_DAYS = 7  # of a multipart upload; hookshelf makes none
MAX_ATTEMPTS = 12  # of a call that S3 is too busy for
BUSY_DELAY = 10  # seconds

PUBLIC_ACCESS_BLOCKED = {
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


class BucketUnusable(MisuseError):
    """The bucket is not ours, or not where the functions are."""


class Step(NamedTuple):
    """One call that is missing to the hardened bucket."""

    line: str  # what it does, for a person
    operation: str  # a method of boto3's S3 client
    arguments: Mapping[str, Any]


def missing_steps(bucket: str, paths: Sequence[str], *, keep_days: int | None = None) -> list[Step]:
    """What the bucket lacks; nothing is changed. Empty where all is well.

    `paths` are those below the bucket that are archived into, "" for the bucket itself; lifecycle
    rules are for them alone. `keep_days` expires everything below them after that many days: the
    deliveries, and the events made of them. None leaves such a rule as it is, 0 takes it away.

    In a bucket with versions, to expire an object is to put a delete marker over it; its bytes go
    30 days later, as those of every noncurrent version, and then the marker.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-expire-general-considerations.html

    Raises BucketUnusable for a bucket of another account or region.
    """
    return _plan(_connect(bucket), paths, keep_days)


def harden(
    bucket: str,
    paths: Sequence[str],
    *,
    keep_days: int | None = None,
    progress: Progress = silent,
) -> Iterator[str]:
    """Take the steps of `missing_steps`, and yield the line of each that is done.

    Use up the iterator to take them all. `progress` hears where S3 keeps us waiting.
    """
    connection = _connect(bucket)
    for step in _plan(connection, paths, keep_days):
        if step.operation == "create_bucket":
            create(bucket, connection.region, connection.owner, progress)
        else:
            retry_while_busy(getattr(connection.s3, step.operation), step.arguments, progress)
        yield step.line


def kms_key(bucket: str) -> str | None:
    """The ARN of the KMS key that encrypts the bucket by default; None where it is S3's own, or
    AWS's for the account, which need no permission, or where there is no bucket yet.

    https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#aws-managed-cmk
    """
    connection = _connect(bucket)
    if not _exists(connection):
        return None
    return key_arn(_get(connection, "get_bucket_encryption"))


def keep_days(bucket: str, path: str) -> int | None:
    """After how many days a rule of ours expires what is below a path; None where none does."""
    connection = _connect(bucket)
    rules: Sequence[Json] = ()
    if _exists(connection):
        rules = _get(connection, "get_bucket_lifecycle_configuration").get("Rules", ())
    for rule in rules:
        if rule.get("ID") == rule_id("keep", path) and rule["Status"] == "Enabled":
            days: int | None = rule.get("Expiration", {}).get("Days")
            return days
    return None


def key_arn(encryption: Json) -> str | None:
    """The ARN of the KMS key that a bucket's encryption names, which may be by an alias."""
    key: str | None = _default_encryption(encryption).get("KMSMasterKeyID")
    if key is None or ":key/" in key:
        return key
    arn: str = boto3.client("kms").describe_key(KeyId=key)["KeyMetadata"]["Arn"]
    return arn


def create(bucket: str, region: str, owner: str, progress: Progress = silent) -> None:
    """Create a bucket of our account, and wait until S3 knows it, which may take seconds."""
    s3 = boto3.client("s3")
    retry_while_busy(s3.create_bucket, _creation(bucket, region), progress)
    s3.get_waiter("bucket_exists").wait(Bucket=bucket, ExpectedBucketOwner=owner)


def _creation(bucket: str, region: str) -> Json:
    arguments: Json = {"Bucket": bucket}
    if region != "us-east-1":  # where no constraint is the only way to say it
        arguments["CreateBucketConfiguration"] = {"LocationConstraint": region}
    return arguments


def retry_while_busy(
    call: Callable[..., object], arguments: Mapping[str, Any], progress: Progress
) -> None:
    """Call again while S3 is busy with the call before, MAX_ATTEMPTS times in all.

    The name of a bucket that was just deleted is taken for a while, too.
    https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList
    """
    for left in reversed(range(MAX_ATTEMPTS)):
        try:
            call(**arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] != "OperationAborted" or not left:
                raise
            progress("  S3 is still busy with this bucket; waiting for it")
            time.sleep(BUSY_DELAY)
        else:
            return


@dataclass(frozen=True)
class _Connection:
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


def _connect(bucket: str) -> _Connection:
    if ":" in bucket:
        raise BucketUnusable(
            f"{bucket} is an access point. Harden the bucket behind it, by its name"
        )
    # S3 alone would be content with none, and make the bucket in us-east-1.
    region = boto3.Session().region_name
    if not region:
        raise NoRegionError()
    account = boto3.client("sts").get_caller_identity()["Account"]
    return _Connection(bucket, boto3.client("s3"), region, account)


def _plan(connection: _Connection, paths: Sequence[str], keep_days: int | None) -> list[Step]:
    exists = _exists(connection)
    state = {read: _get(connection, read) if exists else {} for read in _READS}
    return [
        *([] if exists else [_create(connection)]),
        *_public_access(connection, state["get_public_access_block"]),
        *_ownership(connection, state["get_bucket_ownership_controls"]),
        *_versioning(connection, state["get_bucket_versioning"]),
        *_encryption(connection, state["get_bucket_encryption"]),
        *_policy(connection, state["get_bucket_policy"]),
        *_lifecycle(connection, state["get_bucket_lifecycle_configuration"], paths, keep_days),
    ]


def _exists(connection: _Connection) -> bool:
    """Whether the bucket is there, ours, and in our region. Raises BucketUnusable for others'.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
    """
    try:
        response = connection.s3.head_bucket(**connection.named)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            return False
        if status == 403:
            raise BucketUnusable(
                f"The bucket {connection.name} belongs to another account than {connection.owner}, "
                "or you may not look at it (s3:ListBucket). Choose another name, or log in to its "
                "account"
            ) from None
        if status != 301:
            raise
        response = error.response["ResponseMetadata"]["HTTPHeaders"]
    region = (
        response.get("BucketRegion") or response.get("x-amz-bucket-region") or connection.region
    )
    if region != connection.region:
        raise BucketUnusable(
            f"The bucket {connection.name} is in {region}, and all buckets must be in the "
            f"functions' region, {connection.region}. Choose another bucket, or "
            f"AWS_DEFAULT_REGION={region}"
        )
    return True


def _get(connection: _Connection, operation: str) -> Json:
    try:
        settings: Json = getattr(connection.s3, operation)(**connection.named)
    except ClientError as error:
        if error.response["Error"]["Code"] in _NOT_SET:
            return {}
        raise
    return settings


def _create(connection: _Connection) -> Step:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html"""
    arguments = _creation(connection.name, connection.region)
    return Step(
        f"make the bucket {connection.name} in {connection.region}", "create_bucket", arguments
    )


def _public_access(connection: _Connection, settings: Json) -> Iterator[Step]:
    wanted = PUBLIC_ACCESS_BLOCKED
    if settings.get("PublicAccessBlockConfiguration") != wanted:
        arguments = connection.named | {"PublicAccessBlockConfiguration": wanted}
        yield Step("block public access", "put_public_access_block", arguments)


def _ownership(connection: _Connection, settings: Json) -> Iterator[Step]:
    wanted = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    if settings.get("OwnershipControls") != wanted:
        line = "switch access control lists off: the bucket's owner owns every object"
        arguments = connection.named | {"OwnershipControls": wanted}
        yield Step(line, "put_bucket_ownership_controls", arguments)


def _versioning(connection: _Connection, settings: Json) -> Iterator[Step]:
    if settings.get("Status") != "Enabled":
        arguments = connection.named | {"VersioningConfiguration": {"Status": "Enabled"}}
        yield Step("keep versions of what is deleted", "put_bucket_versioning", arguments)


def _encryption(connection: _Connection, settings: Json) -> Iterator[Step]:
    if not _default_encryption(settings):
        rule = {
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
            "BucketKeyEnabled": True,
        }
        arguments = connection.named | {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}
        yield Step("encrypt every object with S3's keys", "put_bucket_encryption", arguments)


def _default_encryption(settings: Json) -> Json:
    for rule in settings.get("ServerSideEncryptionConfiguration", {}).get("Rules", ()):
        default: Json = rule.get("ApplyServerSideEncryptionByDefault", {})
        if default:
            return default
    return {}


def _policy(connection: _Connection, settings: Json) -> Iterator[Step]:
    policy = json.loads(settings.get("Policy", '{"Version": "2012-10-17", "Statement": []}'))
    present = policy["Statement"]
    present = present if isinstance(present, list) else [present]
    wanted = _statements(connection.arn)
    lines = {
        TLS_ONLY: "refuse what comes without TLS",
        PUT_ONCE: f"refuse every put and copy that could overwrite, but below "
        f"{EVENTS_FOLDER}/ and {REDACTED_FOLDER}/",
    }
    if changed := [statement for statement in wanted if statement not in present]:
        policy["Statement"] = _replaced(present, wanted, "Sid")
        line = "; ".join(lines[statement["Sid"]] for statement in changed)
        yield Step(line, "put_bucket_policy", connection.named | {"Policy": json.dumps(policy)})


def _statements(arn: str) -> list[Json]:
    """Ours of the bucket policy.

    Whoever puts or copies has to say If-None-Match, which succeeds for new keys alone; the parts of
    a multipart upload cannot say it, and its completion does. A put is judged by its key, so that
    the statement is for the whole bucket, whatever path is archived into: two stages with a path
    each in one bucket want the same statement. No path and no app of a delivery's key has a `=`.
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
                f"{arn}/{below}{folder}/*"
                for folder in (EVENTS_FOLDER, REDACTED_FOLDER)
                for below in ("", "*/")
            ],
            "Condition": {
                "Null": {"s3:if-none-match": "true"},
                "Bool": {"s3:ObjectCreationOperation": "true"},
            },
        },
    ]


def _lifecycle(
    connection: _Connection, settings: Json, paths: Sequence[str], keep_days: int | None
) -> Iterator[Step]:
    present = [_with_filter(rule) for rule in settings.get("Rules", ())]
    wanted = [rule for path in dict.fromkeys(paths) for rule in _rules(path, keep_days)]
    unwanted = {rule_id("keep", path) for path in paths} if keep_days == 0 else set()
    kept = [rule for rule in present if rule.get("ID") not in unwanted]
    lines = [_rule_line(rule) for rule in wanted if rule not in present]
    lines += [
        f"expire no deliveries any more ({rule['ID']})" for rule in present if rule not in kept
    ]
    if lines:
        arguments: Json = connection.named | {
            "LifecycleConfiguration": {"Rules": _replaced(kept, wanted, "ID")}
        }
        if smallest := settings.get("TransitionDefaultMinimumObjectSize"):
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
    yield _rule(
        "events",
        path,
        f"{prefix}{EVENTS_FOLDER}/",
        NoncurrentVersionExpiration={"NoncurrentDays": NONCURRENT_EVENTS_DAYS},
    )
    if keep_days:
        yield _rule("keep", path, prefix, Expiration={"Days": keep_days})


def _rule(name: str, path: str, prefix: str, **actions: Json) -> Json:
    return {
        "ID": rule_id(name, path),
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        **actions,
    }


def rule_id(name: str, path: str) -> str:
    """`hookshelf-keep`, or `hookshelf-keep-<path>`; S3 takes at most 255 characters."""
    if len(path) > 200:
        path = hashlib.sha256(path.encode()).hexdigest()
    return f"hookshelf-{name}" + (path and f"-{path}")


def _rule_line(rule: Json) -> str:
    below = f"below {rule['Filter']['Prefix']}" if rule["Filter"]["Prefix"] else "in the bucket"
    if days := rule.get("Expiration", {}).get("Days"):
        return f"expire everything {below} after {_days(days)}"
    noncurrent = rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
    line = f"remove noncurrent versions {below} after {_days(noncurrent)}"
    if "AbortIncompleteMultipartUpload" in rule:
        line += f", unfinished uploads after {UNFINISHED_DAYS}"
    return line


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def _with_filter(rule: Json) -> Json:
    """A rule of the old kind in the new words: S3 takes no mixture of them.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_LifecycleRule.html
    """
    if "Prefix" not in rule:
        return rule
    rest = {name: value for name, value in rule.items() if name != "Prefix"}
    return {"Filter": {"Prefix": rule["Prefix"]}} | rest


def _replaced(present: Iterable[Json], wanted: Sequence[Json], name: str) -> list[Json]:
    """What is there, ours replaced or added; `name` is what they are told apart by."""
    ours = {entry[name] for entry in wanted}
    return [*(entry for entry in present if entry.get(name) not in ours), *wanted]
