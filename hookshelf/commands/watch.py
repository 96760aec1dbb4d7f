"""`hookshelf watch`: point a bucket's notifications at the Snowplow tracker, or take them back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import click

from chalicelib.settings import from_environment
from hookshelf.deploy.deployment import function_name

ID = "hookshelf-track-s3"  # ours among the bucket's notifications
EVENTS = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]


@click.command()
@click.argument("bucket")
@click.option("--prefix", default="", help="Only keys that begin with it.")
@click.option("--function", help="Name or ARN of track_s3. Default: that of --stage.")
@click.option("--stage", default="dev", show_default=True, help="Whose track_s3 to notify.")
@click.option("--off", is_flag=True, help="Take our notification away again.")
def command(*, bucket: str, prefix: str, function: str | None, stage: str, off: bool) -> None:
    """Send BUCKET's put and delete notifications to the Snowplow tracker.

    Whatever else the bucket notifies stays as it is; watching it again replaces our own part. A
    prefix that covers the archive or SNOWPLOW_OUTPUT, as the function or this shell has them, is
    refused: the tracker would be told of its own doing for ever.

    \b
    Exit status: 0 done, 1 AWS refused, 2 misuse.

    \b
    Examples:
      hookshelf watch my-uploads
      hookshelf watch my-uploads --prefix incoming/ --stage prod
      hookshelf watch my-uploads --off
    """
    s3, functions = boto3.client("s3"), boto3.client("lambda")
    configuration = _configuration(s3, bucket)
    if off:
        _stop(s3, functions, bucket, configuration)
        click.echo(f"{bucket} does not notify hookshelf.")
        return
    arn, variables = _function(functions, function or function_name(stage, "track_s3"))
    _refuse_loops(bucket, prefix, variables)
    _permit(functions, arn, bucket)
    _put(s3, bucket, with_ours(configuration, arn, prefix))
    click.echo(f"{bucket}/{prefix}* notifies {arn}.")


def without_ours(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A bucket's notification configuration without our part."""
    functions = configuration.get("LambdaFunctionConfigurations", [])
    others = [one for one in functions if one.get("Id") != ID]
    rest = {
        kind: those
        for kind, those in configuration.items()
        if kind not in ("LambdaFunctionConfigurations", "ResponseMetadata")
    }
    return rest | ({"LambdaFunctionConfigurations": others} if others else {})


def with_ours(configuration: Mapping[str, Any], arn: str, prefix: str) -> dict[str, Any]:
    """A bucket's notification configuration with our part, once."""
    ours: dict[str, Any] = {"Id": ID, "LambdaFunctionArn": arn, "Events": EVENTS}
    if prefix:
        ours["Filter"] = {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}
    rest = without_ours(configuration)
    return rest | {
        "LambdaFunctionConfigurations": [*rest.get("LambdaFunctionConfigurations", []), ours]
    }


def _configuration(s3: Any, bucket: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = s3.get_bucket_notification_configuration(Bucket=bucket)
    except s3.exceptions.NoSuchBucket:
        raise click.UsageError(f"No bucket {bucket}") from None
    return found


def _put(s3: Any, bucket: str, configuration: dict[str, Any]) -> None:
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)


def _stop(s3: Any, functions: Any, bucket: str, configuration: Mapping[str, Any]) -> None:
    """Take our notification away, then the permission that it needed."""
    others = without_ours(configuration).get("LambdaFunctionConfigurations", [])
    every = configuration.get("LambdaFunctionConfigurations", [])
    ours = [one["LambdaFunctionArn"] for one in every if one not in others]
    if not ours:
        return
    _put(s3, bucket, without_ours(configuration))
    for arn in ours:
        try:
            functions.remove_permission(FunctionName=arn, StatementId=_statement(bucket))
        except functions.exceptions.ResourceNotFoundException:
            continue  # the function or its permission is gone already


def loops(bucket: str, prefix: str, variables: Mapping[str, str]) -> Iterator[str]:
    """The places, each with its setting, of which notifications of this prefix would tell."""
    for name, other, path in written(variables):
        if other == bucket and (path.startswith(prefix) or prefix.startswith(path)):
            yield f"{other}/{path} ({name})"


def _refuse_loops(bucket: str, prefix: str, variables: Mapping[str, str]) -> None:
    for place in (*loops(bucket, prefix, variables), *loops(bucket, prefix, os.environ)):
        raise click.UsageError(f"{bucket}/{prefix}* covers {place}. Watch another --prefix")


def written(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Where the archive and the collector write: setting, bucket, prefix."""
    from chalicelib import snowplow  # loads requests

    for bucket, prefix in snowplow.outputs(environ):
        yield "SNOWPLOW_OUTPUT", bucket, prefix
    if archive := environ.get("ARCHIVE_BUCKETS", "").strip():
        for place in from_environment({"ARCHIVE_BUCKETS": archive}).bucket_paths:
            yield "ARCHIVE_BUCKETS", place.bucket, place.prefix


def _function(functions: Any, name: str) -> tuple[str, Mapping[str, str]]:
    """The ARN and the environment variables of a deployed function."""
    try:
        found = functions.get_function_configuration(FunctionName=name)
    except functions.exceptions.ResourceNotFoundException:
        raise click.UsageError(f"No function {name}. Deploy it, or give --function") from None
    return found["FunctionArn"], found.get("Environment", {}).get("Variables", {})


def _statement(bucket: str) -> str:
    return f"{ID}-{bucket.replace('.', '_')}"


def _permit(functions: Any, arn: str, bucket: str) -> None:
    """Let S3 invoke the function for this bucket; once is enough."""
    try:
        policy = json.loads(functions.get_policy(FunctionName=arn)["Policy"])
    except functions.exceptions.ResourceNotFoundException:
        policy = {"Statement": []}
    if any(one.get("Sid") == _statement(bucket) for one in policy["Statement"]):
        return
    _, partition, _, _, account, *_ = arn.split(":")
    functions.add_permission(
        FunctionName=arn,
        StatementId=_statement(bucket),
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn=f"arn:{partition}:s3:::{bucket}",
        SourceAccount=account,
    )
