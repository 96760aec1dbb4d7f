"""What every verb needs of AWS: its refusals said to a person, and where its hosts are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError
from botocore.parsers import ResponseParserError


@dataclass(frozen=True, slots=True)
class Account:
    """Whose account and which region this is."""

    id: str
    region: str
    partition: str

    def named(self, bucket: str) -> dict[str, str]:
        """What a call about a bucket of ours is given: S3 refuses where it is somebody else's.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
        """
        return {"Bucket": bucket, "ExpectedBucketOwner": self.id}


def account() -> Account:
    """Whose credentials these are, and where they lead."""
    identity = boto3.client("sts").get_caller_identity()
    meta = boto3.client("cloudformation").meta
    return Account(identity["Account"], meta.region_name, meta.partition)


@contextmanager
def refusals() -> Iterator[None]:
    """Within it what AWS refuses, or a desk that is not set up for it, is a message."""
    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        raise _told(error) from None
    except ValueError as error:
        if not str(error).startswith("Invalid endpoint"):
            raise
        raise click.UsageError(f"{error}. Look at AWS_ENDPOINT_URL") from None


def _told(error: Exception) -> click.ClickException:
    if isinstance(error, NoRegionError):
        return click.UsageError("No AWS region. Set AWS_DEFAULT_REGION, or a profile")
    if isinstance(error, NoCredentialsError):
        return click.UsageError("No AWS credentials. Set AWS_PROFILE, or log in")
    if isinstance(error, ResponseParserError):
        return click.ClickException("What answered is not AWS. Is a proxy in between?")
    return click.ClickException(f"AWS refused: {error}")


def domain(partition: str) -> str:
    """Where the hosts of a partition are, such as `aws` or `aws-cn`."""
    return "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
