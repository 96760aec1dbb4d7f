"""From API Gateway's event to a view, and from its response back: byte-exact, in threads too.

Chalice routes, packages, deploys and serves, see local_gateway.py. It does not call the views: its
requests and responses are made of decoded bodies. So in Lambda nothing of it is needed, and it is
not imported there: 5 ms of a cold start.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from chalicelib import local, log, responses
from chalicelib.responses import Response

View = Callable[[Mapping[str, Any], Any], Response]  # of an event and Lambda's context
Function = Callable[[Any, Any], Any]  # likewise; whatever it returns is the invoke's result

# Every method has a route, so that those we refuse hear so, and API Gateway's "Missing
# Authentication Token" is not all they hear.
METHODS = ("POST", "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")

_USUAL_HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
_json = json.JSONEncoder(separators=(",", ":")).encode


def gateway(environ: Callable[[], Mapping[str, str]]) -> Gateway:
    """The app, in Lambda as it is run, elsewhere also as Chalice knows it."""
    if "AWS_LAMBDA_FUNCTION_NAME" in environ():
        return Gateway(environ)
    from chalicelib.local_gateway import ChaliceGateway

    return ChaliceGateway(environ)


class Gateway:
    """The HTTP function: what API Gateway invokes with a request, and takes a response from."""

    def __init__(self, environ: Callable[[], Mapping[str, str]]) -> None:
        log.configure(environ())
        local.set_up(environ())
        self._environ = environ
        self._views: dict[str, View] = {}

    def on(self, path: str, *, signed: bool = False) -> Callable[[View], View]:
        """Let a view respond to whatever is sent to a path; `signed` with SigV4, or never."""

        def register(view: View) -> View:
            self._views[path] = view
            return view

        return register

    def function(self, function: Function) -> Function:
        """Make a Lambda function of its own."""
        return function

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Respond to an API Gateway proxy event."""
        request = event["requestContext"]
        view = self._views.get(request.get("resourcePath"))
        if view is None:
            response = responses.NO_SUCH_PATH
        elif request.get("httpMethod") not in METHODS:
            response = responses.METHOD_NOT_ALLOWED
        else:
            if not event.get("stageVariables"):
                event = {**event, "stageVariables": local.stage_variables(self._environ())}
            response = view(event, context)
        body = response.body if isinstance(response.body, str) else _json(dict(response.body))
        return {
            "statusCode": response.status,
            "headers": {**_USUAL_HEADERS, **response.headers},
            "multiValueHeaders": {},
            "body": "" if request.get("httpMethod") == "HEAD" else body,  # HTTP has none there
            "isBase64Encoded": False,
        }
