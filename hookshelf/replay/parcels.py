"""What is sent of an archived delivery: its exact body, and the headers that were kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.apps import app_named, entries
from chalicelib.errors import MisuseError
from chalicelib.metadata import headers_of
from chalicelib.secrets import resolve
from chalicelib.sources import Source
from hookshelf.replay.forward import REPLAY_HEADER, Parcel

_GZIP = b"\x1f\x8b"  # https://www.rfc-editor.org/rfc/rfc1952#section-2.3.1

SignAgain = Callable[[str, bytes], Mapping[str, str]]  # app and body -> signature headers of now


def parcel_of(
    bucket: str, key: str, body: bytes, metadata: Mapping[str, str], signature: Mapping[str, str]
) -> Parcel:
    """A delivery as it is sent again, its signature as it was or, where there is one, a new one."""
    try:
        headers = headers_of(metadata)
    except UnicodeDecodeError:
        headers = {}  # somebody else wrote the metadata
    if headers.get("content-encoding") == "gzip" and not body.startswith(_GZIP):
        del headers["content-encoding"]  # API Gateway unpacked it on arrival
    sent = {**headers, **signature, REPLAY_HEADER: key}
    return Parcel(bucket, key, {n: value for n, value in sent.items() if _is_header(value)}, body)


def signs_again(environ: Mapping[str, str], private_key: str | None) -> SignAgain:
    """Signs as the senders do: with a private key, or the first secret of an app in APPS_FILE."""

    def sign(app: str, body: bytes) -> Mapping[str, str]:
        source = app_named(app, environ).source
        try:
            return _signing(source)(body, private_key or _secret(app, environ), int(time.time()))
        except ValueError as error:
            raise MisuseError(f"{app} cannot be signed again: {error}") from None

    return sign


def _signing(source: Source) -> Callable[[bytes, str, int], Mapping[str, str]]:
    if source.sign_body:
        raise MisuseError(
            f"{source.name} signs in its body, which is sent as it is: leave out --re-sign"
        )
    if source.sign is None:
        raise MisuseError(f"{source.name} does not sign: leave out --re-sign")
    return source.sign


def _secret(app: str, environ: Mapping[str, str]) -> str:
    entry: Any = entries(environ).get(app) or {}
    for text in entry.get("secrets", ()):
        return resolve(text, environ)
    raise MisuseError(
        f"There is no secret of app {app} in APPS_FILE to sign with; "
        "of a source with public keys, name the private key: --key FILE"
    )


def _is_header(value: str) -> bool:
    return "\r" not in value and "\n" not in value and "\0" not in value
