"""Chalice, with what API Gateway and `chalice local` leave out."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping
from typing import Any

from chalice.app import Chalice, Request
from chalice.app import Response as ChaliceResponse

from chalicelib import local, log
from chalicelib.responses import Response

_USUAL_HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
# What Chalice reads with [] though callers may leave it out.
_EMPTY_EVENT = {
    "multiValueQueryStringParameters": None,
    "pathParameters": None,
    "stageVariables": None,
    "body": None,
}


class Gateway(Chalice):
    """A Chalice app whose requests and responses are byte-exact, in threads too."""

    _of_this_thread = threading.local()

    def __init__(self, app_name: str, environ: Callable[[], Mapping[str, str]]) -> None:
        # configure_logs would print beside Lambda's own JSON lines.
        super().__init__(app_name=app_name, configure_logs=False)
        # With anything less, API Gateway decodes bodies as UTF-8 text.
        self.api.binary_types = ["*/*"]
        log.configure(environ())
        local.set_up(environ())
        self._environ = environ

    @property
    def current_invoke(self) -> tuple[dict[str, Any], Any]:
        """The event of this thread, and Lambda's context or None."""
        invoke: tuple[dict[str, Any], Any] = self._of_this_thread.invoke
        return invoke

    @property
    def current_request(self) -> Request:
        """The request of this thread; Chalice would share one between all of them."""
        request: Request = self._of_this_thread.request
        return request

    @current_request.setter
    def current_request(self, request: Request) -> None:
        self._of_this_thread.request = request

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Run the view of an API Gateway proxy event."""
        headers = _texts(event.get("headers"))
        if not any(name.lower() == "accept" for name in headers):
            # Binary types plus no Accept is a 400 after the view has run: stored, yet refused.
            # https://github.com/aws/chalice/pull/1166
            headers["accept"] = "*/*"
        variables = event.get("stageVariables") or local.stage_variables(self._environ())
        whole = {**_EMPTY_EVENT, **event, "headers": headers, "stageVariables": variables}
        self._of_this_thread.invoke = whole, context
        request = whole["requestContext"]
        method = request.get("httpMethod")
        routes = self.routes.get(request.get("resourcePath"), {})
        if method == "POST" and method in routes:
            # Chalice would make a request that nobody looks at, and encode a response that is
            # decoded again: a sixth of what a delivery costs.
            response: dict[str, Any] = routes[method].view_function().to_dict()
            if isinstance(response["body"], bytes):
                response["body"] = response["body"].decode()
            return response | {"isBase64Encoded": False}
        response = super().__call__(whole, context)
        if method == "HEAD":
            response["body"] = ""  # HTTP has no body there
        elif response.get("isBase64Encoded"):
            # All we say is text. With binary types Chalice encodes it, its own errors too, and API
            # Gateway decodes it only for a sender whose Accept it likes.
            response["body"] = base64.b64decode(response["body"]).decode()
        return response | {"isBase64Encoded": False}


def _texts(headers: Any) -> dict[str, str]:
    """The headers that are text, as API Gateway's all are; Chalice can take no other."""
    pairs = headers.items() if isinstance(headers, Mapping) else ()
    return {name: value for name, value in pairs if isinstance(value, str)}


def to_chalice(response: Response) -> ChaliceResponse:
    """A response as Chalice wants it."""
    return ChaliceResponse(
        # Chalice takes no text of another type than JSON.
        body=response.body.encode() if isinstance(response.body, str) else dict(response.body),
        status_code=response.status,
        headers={**_USUAL_HEADERS, **response.headers},
    )
