"""S3 through boto3: slower, and able to do everything AWS can be asked for.

Imported only where it is needed: boto3 costs 200 ms of every cold start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from threading import Thread
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.delivery import ArchiveObject
from chalicelib.settings import Settings
from chalicelib.store import (
    PUT_TIMEOUT,
    Listed,
    NotFound,
    NotStored,
    StoreModule,
    Unreadable,
    check_prefix,
)
from chalicelib.store._retry import (
    ATTEMPT_TIMEOUT,
    CONNECT_TIMEOUT,
    STORED,
    Attempt,
    from_s3_status,
    put_with_retries,
    retryable,
)


class Boto3Store:
    """One bucket. Credentials, region and endpoint come from wherever boto3 finds them."""

    def __init__(self, settings: Settings, bucket: str) -> None:
        self._settings = settings
        self._bucket = bucket
        try:
            self._writer = self._client(attempts=1, seconds=ATTEMPT_TIMEOUT)
        except (BotoCoreError, ValueError) as error:
            raise NotStored(f"client: {type(error).__name__}") from None

    def put(self, obj: ArchiveObject, *, seconds: float = PUT_TIMEOUT) -> int:
        """See Store.put."""
        return put_with_retries(self._attempt, obj, seconds=seconds)

    def get(self, key: str) -> ArchiveObject:
        """See Store.get."""
        try:
            with _reading():
                response = self._reader.get_object(Key=key, **self._bucket_arguments)
                with response["Body"] as stream:
                    body = stream.read()
        except self._reader.exceptions.NoSuchKey:
            raise NotFound(key) from None
        return ArchiveObject(key, body, response.get("ContentType", ""), response["Metadata"])

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Listed]:
        """See Store.list."""
        check_prefix(prefix)
        pages = self._reader.get_paginator("list_objects_v2").paginate(
            Prefix=prefix, StartAfter=after, **self._bucket_arguments
        )
        with _reading():
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield Listed(entry["Key"], entry["Size"])

    def _attempt(self, obj: ArchiveObject) -> Attempt:
        """One attempt, in a thread: botocore's timeouts are for each read, not for the response.

        One that is given up may still land; the key is the same, so that does no harm.
        """
        ended: list[Attempt] = []
        thread = Thread(target=lambda: ended.append(self._put(obj)), daemon=True)
        thread.start()
        thread.join(ATTEMPT_TIMEOUT)
        return ended[0] if ended else retryable("timeout")

    def _put(self, obj: ArchiveObject) -> Attempt:
        try:
            self._writer.put_object(
                Key=obj.key,
                Body=obj.body,
                ContentType=obj.content_type,
                Metadata=obj.metadata,
                IfNoneMatch="*",
                ChecksumAlgorithm="SHA256",
                **self._bucket_arguments,
            )
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = error.response.get("Error", {}).get("Code", "")
            return from_s3_status(status, code if code.isalnum() else "")
        except Exception as error:  # timeouts, connections, responses that are not HTTP
            return retryable(type(error).__name__)
        return STORED

    @property
    def _bucket_arguments(self) -> dict[str, str]:
        owner = self._settings.bucket_owner
        return {"Bucket": self._bucket} | ({"ExpectedBucketOwner": owner} if owner else {})

    @cached_property
    def _reader(self) -> Any:
        return self._client(attempts=3, seconds=10.0)

    def _client(self, *, attempts: int, seconds: float, **options: Any) -> Any:
        aws = dict(self._settings.aws)
        config = Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=seconds,
            # total_max_attempts: max_attempts=1 would still send two requests.
            retries={"total_max_attempts": attempts, "mode": "standard"},
            **options,
        )
        session = boto3.session.Session(
            aws_access_key_id=aws.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=aws.get("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=aws.get("AWS_SESSION_TOKEN"),
            region_name=aws.get("AWS_REGION") or aws.get("AWS_DEFAULT_REGION"),
            profile_name=aws.get("AWS_PROFILE") or aws.get("AWS_DEFAULT_PROFILE"),
        )
        endpoint = self._settings.endpoint or None
        return session.client("s3", endpoint_url=endpoint, config=config)


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code == "NoSuchKey":
            raise
        raise Unreadable(code) from None
    except BotoCoreError as error:
        raise Unreadable(type(error).__name__) from None


STORE = StoreModule(open=Boto3Store)
