"""The bucket from where CloudFormation takes the code: one for all stages of a region.

It is made with the first stage, and goes with the last.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from chalicelib.types import Json
from hookshelf.aws import Account, domain
from hookshelf.deploy import bucket
from hookshelf.deploy.progress import Progress

# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
MAX_TEMPLATE_BODY = 51_200  # bytes of a template that is not in S3


def bucket_name(account: Account) -> str:
    """The name of the bucket."""
    return f"hookshelf-code-{account.id}-{account.region}"


def bucket_exists(account: Account) -> bool:
    """Whether it is there, and ours. Raises ClientError where it is somebody else's."""
    return _exists(boto3.client("s3").head_bucket, account)


def key(stage: str, content: bytes, extension: str) -> str:
    """Where this content of a stage is: the same bytes at the same key."""
    return f"{stage}/{hashlib.sha256(content).hexdigest()}.{extension}"


def upload(account: Account, key: str, zip: Path, progress: Progress) -> None:
    """Put the code there, once for the same bytes."""
    s3 = boto3.client("s3")
    if not bucket_exists(account):
        bucket.create(bucket_name(account), account.region, account.id, progress)
    if not _exists(s3.head_object, account, Key=key):
        progress(f"  uploading the code to {bucket_name(account)}")
        s3.put_object(**_named(account), Key=key, Body=zip.read_bytes())


def template_argument(account: Account, stage: str, template: Json) -> dict[str, str]:
    """A template as CloudFormation takes it: whole where it is short, else from the bucket."""
    text = json.dumps(template, separators=(",", ":"))
    if len(text.encode()) <= MAX_TEMPLATE_BODY:
        return {"TemplateBody": text}
    name = key(stage, text.encode(), "json")
    boto3.client("s3").put_object(**_named(account), Key=name, Body=text.encode())
    host = f"{bucket_name(account)}.s3.{account.region}.{domain(account.partition)}"
    return {"TemplateURL": f"https://{host}/{name}"}


def holds_stage(account: Account, stage: str) -> bool:
    """Whether there is anything of a stage, or an empty bucket that the last one left."""
    if not bucket_exists(account):
        return False
    return _holds(account, f"{stage}/") or not _holds(account, "")


def remove_stage(account: Account, stage: str) -> None:
    """Remove all of a stage, and the bucket with the last one."""
    s3 = boto3.client("s3")
    if not bucket_exists(account):
        return
    pages = s3.get_paginator("list_objects_v2").paginate(**_named(account), Prefix=f"{stage}/")
    for page in pages:
        for entry in page.get("Contents", ()):
            s3.delete_object(**_named(account), Key=entry["Key"])
    if not _holds(account, ""):
        s3.delete_bucket(**_named(account))


def _holds(account: Account, prefix: str) -> bool:
    s3 = boto3.client("s3")
    listed = s3.list_objects_v2(**_named(account), Prefix=prefix, MaxKeys=1)
    return bool(listed.get("KeyCount"))


def _exists(head: Any, account: Account, **arguments: str) -> bool:
    try:
        head(**_named(account), **arguments)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True


def _named(account: Account) -> dict[str, str]:
    return account.named(bucket_name(account))
