"""AWS Signature Version 4, checked at your desk, where no API Gateway does it.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
Never part of a deployed stage: there API Gateway has checked before our code runs.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from chalicelib.settings import SettingError

SERVICE = "execute-api"
SKEW = timedelta(minutes=5)

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,\s]+)/(?P<day>\d{8})/(?P<region>[^/,\s]+)/"
    r"(?P<service>[^/,\s]+)/aws4_request,\s*SignedHeaders=(?P<headers>[^,\s]+),\s*"
    r"Signature=(?P<signature>[0-9a-f]{64})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Signed:
    """A request, as far as an event of API Gateway tells."""

    method: str
    path: str  # as it stood in the URL
    query: Mapping[str, Sequence[str]]  # decoded
    headers: Mapping[str, str]  # names are lower-case
    body: bytes


def signer_arn(
    event: Mapping[str, Any],
    query: Mapping[str, Sequence[str]],
    headers: Mapping[str, str],
    environ: Mapping[str, str],
) -> str | None:
    """The ARN whose credentials signed a request to `chalice local`; None for nobody's.

    Raises SettingError if LOCAL_IAM_CREDENTIALS cannot be read.
    """
    body = event.get("body") or b""
    body = body.encode() if isinstance(body, str) else body
    request = Signed(
        method=event["requestContext"]["httpMethod"],
        path=event["requestContext"].get("path") or event.get("path") or "/",
        query=query,
        headers=headers,
        # The local server encodes only what calls itself `*/*`.
        body=base64.b64decode(body) if event.get("isBase64Encoded") else body,
    )
    known = credentials(environ.get("LOCAL_IAM_CREDENTIALS", ""))
    return verified_arn(request, known, now=datetime.now(UTC))


def credentials(value: str) -> dict[str, tuple[str, str]]:
    """Secret and ARN by access key, from `key:secret:arn[,…]`. Raises SettingError."""
    found = {}
    for entry in filter(None, (part.strip() for part in value.split(","))):
        key, _, rest = entry.partition(":")
        secret, _, arn = rest.partition(":")
        if not (key and secret and arn.startswith("arn:")):
            raise SettingError(
                "LOCAL_IAM_CREDENTIALS", "is not key:secret:arn, with commas between"
            )
        found[key] = (secret, arn)
    return found


def verified_arn(
    request: Signed, known: Mapping[str, tuple[str, str]], *, now: datetime, service: str = SERVICE
) -> str | None:
    """The ARN that signed `request`, if its signature is good at `now`; None otherwise."""
    found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if not found or found["key"] not in known or found["service"] != service:
        return None
    names = found["headers"].split(";")
    at = request.headers.get("x-amz-date", "")
    if not {"host", "x-amz-date"} <= set(names) or not _is_recent(at, found["day"], now):
        return None
    claimed = request.headers.get("x-amz-content-sha256", "")
    if claimed and claimed != sha256(request.body).hexdigest():
        return None
    secret, arn = known[found["key"]]
    computed = _signature(request, names, Credentials(found["key"], secret), found)
    return arn if hmac.compare_digest(computed, found["signature"]) else None


def _signature(
    request: Signed, names: Sequence[str], who: Credentials, found: re.Match[str]
) -> str:
    aws = AWSRequest(
        method=request.method,
        url=f"https://host{request.path}?{_encoded(request.query)}",
        headers={name: request.headers.get(name, "") for name in names},
        data=request.body,
    )
    aws.context["timestamp"] = request.headers["x-amz-date"]
    auth = _Recomputed(who, found["service"], found["region"])
    canonical: str = auth.canonical_request(aws)
    signature: str = auth.signature(auth.string_to_sign(aws, canonical), aws)
    return signature


class _Recomputed(SigV4Auth):  # type: ignore[misc]
    """botocore's signer, signing exactly the headers that were signed before."""

    def headers_to_sign(self, request: Any) -> Any:
        return request.headers


def _is_recent(at: str, day: str, now: datetime) -> bool:
    try:
        signed_at = datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return at.startswith(day) and abs(now - signed_at) <= SKEW


def _encoded(query: Mapping[str, Sequence[str]]) -> str:
    pairs = ((name, value) for name, values in query.items() for value in values)
    return "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs
    )
