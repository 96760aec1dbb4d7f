"""A bucket's notifications to the Snowplow tracker: set, taken away, and kept out of loops.

Whatever else a bucket notifies stays as it is. Notifications are set by boto3 and not by the
stack, as CloudFormation sets only those of buckets that it makes itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import boto3

from chalicelib.errors import MisuseError
from chalicelib.settings import from_environment

NOTIFICATION_ID = "hookshelf-track-s3"  # ours among the bucket's notifications
EVENTS = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
FUNCTIONS = "LambdaFunctionConfigurations"  # where S3 lists the functions a bucket notifies


class OutputPath(NamedTuple):
    """Where a function writes, and the setting that says so."""

    setting: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.bucket}/{self.prefix} ({self.setting})"


def notify(bucket: str, prefix: str, function: str, environ: Mapping[str, str]) -> str:
    """Let a bucket notify a function of what is put and deleted below a prefix; the function's ARN.

    Raises MisuseError where there is no such bucket or function, and where the prefix covers what
    the function, or a process with `environ`, writes itself.
    """
    s3, functions = boto3.client("s3"), boto3.client("lambda")
    configuration = _configuration(s3, bucket)
    try:
        deployed = functions.get_function_configuration(FunctionName=function)
    except functions.exceptions.ResourceNotFoundException:
        raise MisuseError(f"No function {function}. Deploy it, or give --function") from None
    arn: str = deployed["FunctionArn"]
    for variables in (deployed.get("Environment", {}).get("Variables", {}), environ):
        for output in overlapping(bucket, prefix, variables):
            raise MisuseError(f"{bucket}/{prefix}* covers {output}. Watch another --prefix")
    _permit(functions, arn, bucket)
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration=with_ours(configuration, arn, prefix)
    )
    return arn


def stop_notifying(bucket: str) -> None:
    """Take our notification away, then the permission that it needed. Raises MisuseError."""
    s3, functions = boto3.client("s3"), boto3.client("lambda")
    configuration = _configuration(s3, bucket)
    ours = [entry for entry in configuration.get(FUNCTIONS, ()) if _is_ours(entry)]
    if not ours:
        return
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration=without_ours(configuration)
    )
    for entry in ours:
        try:
            functions.remove_permission(
                FunctionName=entry["LambdaFunctionArn"], StatementId=_statement_id(bucket)
            )
        except functions.exceptions.ResourceNotFoundException:
            continue  # the function or its permission is gone already


def overlapping(bucket: str, prefix: str, environ: Mapping[str, str]) -> Iterator[OutputPath]:
    """Where `environ` says that we write, as far as notifications of a prefix would tell of it."""
    for output in output_paths(environ):
        if output.bucket == bucket and (
            output.prefix.startswith(prefix) or prefix.startswith(output.prefix)
        ):
            yield output


def output_paths(environ: Mapping[str, str]) -> Iterator[OutputPath]:
    """Where the archive and Snowplow's collector write."""
    from chalicelib import snowplow  # loads requests

    for bucket, prefix in snowplow.outputs(environ):
        yield OutputPath("SNOWPLOW_OUTPUT", bucket, prefix)
    if archive := environ.get("ARCHIVE_BUCKETS", "").strip():
        for path in from_environment({"ARCHIVE_BUCKETS": archive}).bucket_paths:
            yield OutputPath("ARCHIVE_BUCKETS", path.bucket, path.prefix)


def without_ours(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A bucket's notification configuration without our part."""
    others = [entry for entry in configuration.get(FUNCTIONS, ()) if not _is_ours(entry)]
    rest = {
        kind: entries
        for kind, entries in configuration.items()
        if kind not in (FUNCTIONS, "ResponseMetadata")
    }
    return rest | ({FUNCTIONS: others} if others else {})


def with_ours(configuration: Mapping[str, Any], arn: str, prefix: str) -> dict[str, Any]:
    """A bucket's notification configuration with our part, once."""
    ours: dict[str, Any] = {"Id": NOTIFICATION_ID, "LambdaFunctionArn": arn, "Events": EVENTS}
    if prefix:
        ours["Filter"] = {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}
    rest = without_ours(configuration)
    return rest | {FUNCTIONS: [*rest.get(FUNCTIONS, []), ours]}


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return entry.get("Id") == NOTIFICATION_ID


def _configuration(s3: Any, bucket: str) -> dict[str, Any]:
    try:
        configuration: dict[str, Any] = s3.get_bucket_notification_configuration(Bucket=bucket)
    except s3.exceptions.NoSuchBucket:
        raise MisuseError(f"No bucket {bucket}") from None
    return configuration


def _statement_id(bucket: str) -> str:
    return f"{NOTIFICATION_ID}-{bucket.replace('.', '_')}"


def _permit(functions: Any, arn: str, bucket: str) -> None:
    """Let S3 invoke the function for this bucket; once is enough."""
    try:
        policy = json.loads(functions.get_policy(FunctionName=arn)["Policy"])
    except functions.exceptions.ResourceNotFoundException:
        policy = {"Statement": []}
    if any(statement.get("Sid") == _statement_id(bucket) for statement in policy["Statement"]):
        return
    _, partition, _, _, account, *_ = arn.split(":")
    functions.add_permission(
        FunctionName=arn,
        StatementId=_statement_id(bucket),
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn=f"arn:{partition}:s3:::{bucket}",
        SourceAccount=account,
    )
