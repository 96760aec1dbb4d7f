"""`hookshelf watch`: point a bucket's notifications at the Snowplow tracker, or take them back."""

from __future__ import annotations

import json
import os
from typing import Any

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.settings import SettingError, from_environment
from hookshelf.settings import environment

ID = "hookshelf-track-s3"  # ours among the bucket's notifications
EVENTS = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
CONFIGURATIONS = (
    "TopicConfigurations",
    "QueueConfigurations",
    "LambdaFunctionConfigurations",
    "EventBridgeConfiguration",
)


@click.command()
@click.argument("bucket")
@click.option("--prefix", default="", help="Only keys that begin with it.")
@click.option("--function", "arn", help="ARN of track_s3. Default: that of --stage.")
@click.option("--stage", default="dev", show_default=True, help="Whose track_s3 to notify.")
@click.option("--off", is_flag=True, help="Take our notification away again.")
def command(*, bucket: str, prefix: str, arn: str | None, stage: str, off: bool) -> None:
    """Send BUCKET's put and delete notifications to the Snowplow tracker.

    Whatever else the bucket notifies stays as it is. A prefix that covers the archive itself or
    SNOWPLOW_OUTPUT is refused: the tracker would be told of its own doing for ever.

    \b
    Examples:
      hookshelf watch my-uploads
      hookshelf watch my-uploads --prefix incoming/ --stage prod
      hookshelf watch my-uploads --off
    """
    try:
        s3, functions = boto3.client("s3"), boto3.client("lambda")
        if off:
            _put(s3, bucket, without_ours(_configuration(s3, bucket)))
            click.echo(f"{bucket} no longer notifies hookshelf.")
            return
        _refuse_loops(bucket, prefix)
        arn = arn or _function_arn(functions, stage)
        _permit(functions, arn, bucket)
        _put(s3, bucket, with_ours(_configuration(s3, bucket), arn, prefix))
    except (BotoCoreError, ClientError) as error:
        raise click.ClickException(f"AWS refused: {error}") from None
    click.echo(f"{bucket}/{prefix}* notifies {arn}.")


def without_ours(configuration: dict[str, Any]) -> dict[str, Any]:
    """A bucket's notification configuration without our part."""
    functions = configuration.get("LambdaFunctionConfigurations", [])
    others = [one for one in functions if one.get("Id") != ID]
    rest = {name: value for name, value in configuration.items() if name in CONFIGURATIONS}
    rest.pop("LambdaFunctionConfigurations", None)
    return rest | ({"LambdaFunctionConfigurations": others} if others else {})


def with_ours(configuration: dict[str, Any], arn: str, prefix: str) -> dict[str, Any]:
    """A bucket's notification configuration with our part, once."""
    ours: dict[str, Any] = {"Id": ID, "LambdaFunctionArn": arn, "Events": EVENTS}
    if prefix:
        ours["Filter"] = {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}
    rest = without_ours(configuration)
    return rest | {
        "LambdaFunctionConfigurations": [*rest.get("LambdaFunctionConfigurations", []), ours]
    }


def _configuration(s3: Any, bucket: str) -> dict[str, Any]:
    found: dict[str, Any] = s3.get_bucket_notification_configuration(Bucket=bucket)
    return found


def _put(s3: Any, bucket: str, configuration: dict[str, Any]) -> None:
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)


def _refuse_loops(bucket: str, prefix: str) -> None:
    for where, name in _written():
        other, _, path = where.partition("/")
        if other == bucket and (path.startswith(prefix) or prefix.startswith(path)):
            raise click.UsageError(
                f"{bucket}/{prefix}* covers {where} ({name}). Watch another --prefix"
            )


def _written() -> list[tuple[str, str]]:
    environ = environment() if "ARCHIVE_BUCKETS" in os.environ else os.environ
    output = environ.get("SNOWPLOW_OUTPUT", "").split(",")
    written = [(entry.strip(), "SNOWPLOW_OUTPUT") for entry in output if entry.strip()]
    try:
        places = from_environment(environ).places
    except SettingError:
        return written
    return written + [(f"{place.bucket}/{place.prefix}", "ARCHIVE_BUCKETS") for place in places]


def _function_arn(functions: Any, stage: str) -> str:
    name = f"hookshelf-{stage}-track_s3"
    try:
        found: str = functions.get_function(FunctionName=name)["Configuration"]["FunctionArn"]
    except functions.exceptions.ResourceNotFoundException:
        raise click.UsageError(f"No function {name}. Deploy it, or give --function ARN") from None
    return found


def _permit(functions: Any, arn: str, bucket: str) -> None:
    """Let S3 invoke the function for this bucket; once is enough."""
    statement = f"{ID}-{bucket.replace('.', '_')}"
    try:
        policy = json.loads(functions.get_policy(FunctionName=arn)["Policy"])
    except functions.exceptions.ResourceNotFoundException:
        policy = {"Statement": []}
    if any(one.get("Sid") == statement for one in policy["Statement"]):
        return
    functions.add_permission(
        FunctionName=arn,
        StatementId=statement,
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn=f"arn:aws:s3:::{bucket}",
        SourceAccount=arn.split(":")[4],
    )
