"""One HTTP request, with no header beyond those asked for: not even Accept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

SECONDS = 30.0  # for one answer; API Gateway gives up after 29


class Unreachable(Exception):
    """Nobody answered; the text is the kind of error, and holds no query."""


class Request(NamedTuple):
    """What is sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def said(self, name: str) -> str:
        """A member of the JSON object that the body is; empty where there is none."""
        try:
            value: Any = json.loads(self.body).get(name, "")
        except (ValueError, AttributeError):
            return ""
        return str(value)


def send(request: Request) -> Answer:
    """Send it over a connection of its own. Raises Unreachable."""
    parts = urlsplit(request.url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=SECONDS)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    try:
        # A body that is too large may be refused before all of it is sent.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(request.method, target, request.body, dict(request.headers))
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
    except (OSError, HTTPException, ValueError) as error:
        raise Unreachable(type(error).__name__) from None
    finally:
        connection.close()
