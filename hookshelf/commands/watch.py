"""`hookshelf watch`: point a bucket's notifications at the Snowplow tracker, or take them back."""

from __future__ import annotations

import os

import click

from hookshelf.deploy import notifications
from hookshelf.deploy.deployment import function_name


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
    if off:
        notifications.stop_notifying(bucket)
        click.echo(f"{bucket} does not notify hookshelf.")
        return
    arn = notifications.notify(
        bucket, prefix, function or function_name(stage, "track_s3"), os.environ
    )
    click.echo(f"{bucket}/{prefix}* notifies {arn}.")
