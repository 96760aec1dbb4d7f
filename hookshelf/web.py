"""One HTTP request, with no header beyond those asked for: not even Accept."""

from __future__ import annotations

import json
import secrets
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from chalicelib.errors import HookshelfError

RESPONSE_TIMEOUT = 30.0  # seconds; API Gateway gives up after 29


class Unreachable(HookshelfError):
    """Nobody responded; the text is the kind of error, and holds no query."""


class HttpRequest(NamedTuple):
    """What is sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


class HttpResponse(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> dict[str, Any] | None:
        """The JSON object that the body is; None where it is anything else."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def text(self, name: str) -> str:
        """A member of that object as text; empty where there is none."""
        return str((self.json or {}).get(name, ""))


def send(request: HttpRequest) -> HttpResponse:
    """Send it over a connection of its own. Raises Unreachable."""
    parts = urlsplit(request.url)
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=RESPONSE_TIMEOUT)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    try:
        # A body that is too large may be refused before all of it is sent.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(request.method, target, request.body, dict(request.headers))
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return HttpResponse(response.status, headers, response.read())
    except (OSError, HTTPException, ValueError) as error:
        raise Unreachable(type(error).__name__) from None
    finally:
        connection.close()


def unusual_json(name: str) -> bytes:
    """JSON that no program would write just so: whoever parses it and writes it again is caught."""
    return b'{ "%s" : "%s", "number":1.10 }\r\n' % (name.encode(), secrets.token_hex(16).encode())


def unreadable(response: HttpResponse) -> str:
    """Why a response is no JSON object, without quoting any of it; empty where it is one."""
    if response.json is not None:
        return ""
    seen = f"the response with {response.status} is unreadable"
    with suppress(ValueError):
        body = b64decode(response.body, validate=True)
        if response._replace(body=body).json is not None:
            return f"{seen}: it is in base64, which API Gateway should have decoded"
    kind = response.headers.get("content-type", "no content type")
    return f"{seen}: {len(response.body)} bytes of {kind} are not a JSON object"
