"""The doctor's way to ask AWS: what cannot be asked raises NotChecked, and says what would help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.types import Json
from hookshelf.doctor.findings import NotChecked

RUN_AGAIN = "run the doctor again"
FIX_FIRST = f"Fix that first, and {RUN_AGAIN}."
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Forbidden", "403")
# Where IAM has another name for a call than `service:Operation`.
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
PERMISSIONS = {
    "HeadBucket": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "GetBucketNotificationConfiguration": "s3:GetBucketNotification",
    "UpdateStage": "apigateway:PATCH",
}


class AwsReader:
    """Every call raises NotChecked where AWS refuses, or cannot be reached."""

    def __init__(self) -> None:
        self._client = cache(boto3.client)

    def get(
        self, service: str, operation: str, absent: Sequence[str] = (), **arguments: Any
    ) -> Json | None:
        """The response to one call; None where it is an error with one of the codes `absent`."""
        with reading(service):
            try:
                response: Json = getattr(self._client(service), operation)(**arguments)
            except ClientError as error:
                if error.response["Error"]["Code"] in absent:
                    return None
                raise
        return response

    def list_all(self, service: str, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
        """All that is listed under a key of the responses, page after page."""
        with reading(service):
            pages = self._client(service).get_paginator(operation).paginate(**arguments)
            for page in pages:
                yield from page.get(key, ())

    def status(self, service: str, operation: str, **arguments: Any) -> tuple[int, Json]:
        """The HTTP status of a call that may well be refused, and the response."""
        with reading(service):
            try:
                response: Json = getattr(self._client(service), operation)(**arguments)
            except ClientError as error:
                response = dict(error.response)
        return response["ResponseMetadata"]["HTTPStatusCode"], response


@contextmanager
def reading(service: str) -> Iterator[None]:
    """Within it, what AWS refuses and what reaches nobody is NotChecked."""
    try:
        yield
    except ClientError as error:
        code, operation = error.response["Error"]["Code"], error.operation_name
        if not is_denied(error):
            what = f"{service} responds to {operation} with {code}"
            raise NotChecked(what, FIX_FIRST) from None
        usual = "apigateway:GET" if service == "apigateway" else f"{service}:{operation}"
        permission = PERMISSIONS.get(operation, usual)
        raise NotChecked(
            f"your credentials lack the permission {permission}",
            f"Allow {permission} to whoever runs the doctor, and {RUN_AGAIN}.",
        ) from None
    except BotoCoreError as error:
        raise NotChecked(
            f"{service} cannot be asked: {type(error).__name__}",
            f"Look at the network and the credentials, then {RUN_AGAIN}.",
        ) from None


def is_denied(error: ClientError) -> bool:
    """Whether AWS refuses for want of a permission."""
    return error.response["Error"]["Code"] in _DENIED
