"""S3, and servers that speak it, through obstore (Rust's object_store)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

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
    permanent,
    put_with_retries,
    retryable,
)

_STATUS = r"non-2xx status code: (\d{3})[^<]*(?:.*?<Code>(\w{1,64})</Code>)?"


class ObstoreStore:
    """One bucket. Making it reads no network, but raises NotStored where it cannot be made."""

    def __init__(self, settings: Settings, bucket: str) -> None:
        self._settings = settings
        self._bucket = bucket
        self._writer = self._client(retries=0, seconds=ATTEMPT_TIMEOUT)

    def put(self, obj: ArchiveObject, *, seconds: float = PUT_TIMEOUT) -> int:
        """See Store.put."""
        return put_with_retries(self._attempt, obj, seconds=seconds)

    def get(self, key: str) -> ArchiveObject:
        """See Store.get."""
        try:
            with _reading():
                result = obstore.get(self._reader, key)
                body = bytes(result.bytes())
        except FileNotFoundError:
            raise NotFound(key) from None
        attributes = dict(result.attributes)
        # object_store names HTTP's own attributes in title case, metadata as S3 does: lower.
        metadata = {name: value for name, value in attributes.items() if name == name.lower()}
        content_type = attributes.get("Content-Type", "")
        return ArchiveObject(key, body, content_type, metadata)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Listed]:
        """See Store.list."""
        check_prefix(prefix)
        if self._settings.bucket_owner:
            # obstore signs default headers of a put and a get but not of a listing, and S3 may
            # refuse unsigned x-amz- headers. https://github.com/apache/arrow-rs-object-store/issues/484
            from chalicelib.store.boto3 import Boto3Store

            yield from Boto3Store(self._settings, self._bucket).list(prefix, after=after)
            return
        # S3 lists in key order, which is what paging by the last key rests on.
        with _reading():
            for page in obstore.list(self._reader, prefix or None, offset=after or None):
                for entry in page:
                    yield Listed(entry["path"], entry["size"])

    def _attempt(self, obj: ArchiveObject) -> Attempt:
        try:
            obstore.put(
                self._writer,
                obj.key,
                obj.body,
                attributes={"Content-Type": obj.content_type, **obj.metadata},
                mode="create",
                use_multipart=False,
            )
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic in Rust is a BaseException and ends the container
            return _judge(error)
        return STORED

    @cached_property
    def _reader(self) -> S3Store:
        return self._client(retries=2, seconds=10.0)

    def _client(self, *, retries: int, seconds: float) -> S3Store:
        settings, aws = self._settings, dict(self._settings.aws)
        owner = settings.bucket_owner
        client_options: dict[str, Any] = {
            "allow_http": settings.endpoint.startswith("http:"),
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT),
            "timeout": timedelta(seconds=seconds),
        }
        if owner:
            client_options["default_headers"] = {"x-amz-expected-bucket-owner": owner}
        config: dict[str, Any] = {
            "region": aws.get("AWS_REGION") or aws.get("AWS_DEFAULT_REGION") or "us-east-1",
            "checksum_algorithm": "SHA256",
            "conditional_put": "etag",
            # A dot in a bucket's name does not match S3's wildcard certificate.
            "virtual_hosted_style_request": not settings.endpoint and "." not in self._bucket,
        }
        config |= {"endpoint": settings.endpoint} if settings.endpoint else {}
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            config |= {name.lower(): aws[name]} if name in aws else {}
        try:
            return S3Store(
                self._bucket,
                config=config,  # type: ignore[arg-type]
                client_options=client_options,  # type: ignore[arg-type]
                retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=60)},
            )
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # no CA roots, for one
            raise NotStored(f"client: {type(error).__name__}") from None


@contextmanager
def _reading() -> Iterator[None]:
    """Say what failed without the server's whole response, which obstore's texts hold."""
    try:
        yield
    except BaseError as error:
        raise Unreadable(_judge(error).why) from None


def _judge(error: BaseException) -> Attempt:
    """Turn obstore's exception into how the attempt ended.

    It carries no status, only text; 412 and 409 both arrive as AlreadyExistsError. Whatever is not
    understood counts as not stored and worth another attempt: the safe direction.
    """
    text = str(error)
    if not isinstance(error, Exception) or "redirect without LOCATION" in text:
        return permanent(type(error).__name__)  # a panic, or a 3xx: the next would be the same
    status = re.search(_STATUS, text, re.DOTALL)
    if status is None:
        kind = re.search(r"kind: (Timeout|Connect)\b", text)
        return retryable(kind[1].lower() if kind else type(error).__name__)
    attempt = from_s3_status(int(status[1]), status[2] or "")
    if attempt is STORED and not isinstance(error, AlreadyExistsError):
        return retryable("412 without a taken key")
    return attempt


def _ignored(settings: Settings, bucket: str) -> str:
    aws = dict(settings.aws)
    region = aws.get("AWS_REGION") or aws.get("AWS_DEFAULT_REGION") or ""
    asked = {
        "a profile": "AWS_PROFILE" in aws or "AWS_DEFAULT_PROFILE" in aws,
        "AWS_USE_FIPS_ENDPOINT": aws.get("AWS_USE_FIPS_ENDPOINT", "").lower() == "true",
        "AWS_USE_DUALSTACK_ENDPOINT": aws.get("AWS_USE_DUALSTACK_ENDPOINT", "").lower() == "true",
        "AWS_CA_BUNDLE": "AWS_CA_BUNDLE" in aws,
        "an access point": bucket.startswith("arn:"),
        "the China partition": region.startswith("cn-"),
    }
    return next((what for what, is_asked in asked.items() if is_asked), "")


STORE = StoreModule(open=ObstoreStore, ignores=_ignored)
