"""What every command needs of AWS: the account, readable errors, and where its hosts are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError
from botocore.parsers import ResponseParserError

from chalicelib.errors import HookshelfError, MisuseError

NO_CREDENTIALS = "No AWS credentials. Set AWS_PROFILE, or log in"


class AwsError(HookshelfError):
    """AWS refused a call, or was not reached."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whose account and which region this is."""

    id: str  # 12 digits
    region: str
    partition: str

    def named(self, bucket: str) -> dict[str, str]:
        """What a call about a bucket of ours is given: S3 refuses where it is somebody else's.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
        """
        return {"Bucket": bucket, "ExpectedBucketOwner": self.id}


def account() -> Account:
    """Whose credentials these are, and where they lead. Raises what boto3 does."""
    identity = boto3.client("sts").get_caller_identity()
    meta = boto3.client("cloudformation").meta
    return Account(identity["Account"], meta.region_name, meta.partition)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Within it, what boto3 raises becomes an AwsError, or a MisuseError with what to set."""
    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        raise _readable(error) from None
    except ValueError as error:
        if not str(error).startswith("Invalid endpoint"):
            raise
        raise MisuseError(f"{error}. Look at AWS_ENDPOINT_URL") from None


def _readable(error: Exception) -> HookshelfError:
    if isinstance(error, NoRegionError):
        return MisuseError("No AWS region. Set AWS_DEFAULT_REGION, or a profile")
    if isinstance(error, NoCredentialsError):
        return MisuseError(NO_CREDENTIALS)
    if isinstance(error, ResponseParserError):
        return AwsError("What responded is not AWS. Is a proxy in between?")
    return AwsError(f"AWS refused: {error}")


def domain(partition: str) -> str:
    """The domain of a partition's hosts; partitions are such as `aws` or `aws-cn`."""
    return "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
