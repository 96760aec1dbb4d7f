"""What API Gateway's REST API does between a sender and the function, over real HTTP.

    with Front(lambda event: app(event, None), lambda: {"validToken": token}) as front:
        urlopen(front.url + "/input?app=shop&token=…", b"{}")

A request becomes a proxy event, whose null, base64 and multi-value parts are as AWS sends them, and
what the function returns becomes an answer, or the 502 of a malformed one.
https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html

An answer in base64 is decoded for a sender that has an Accept header, and passed on as it stands to
one that has none. Unlike AWS: any Accept will do; a signature is asked for and not checked; nothing
is throttled or ended after 29 seconds. The status for an event that is too large for Lambda is a
guess.
"""

import base64
import gzip
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from chalicelib.gateway import METHODS
from chalicelib.routes import IAM_INPUT, INPUT

Json = dict[str, Any]

ROUTES = {INPUT: "NONE", IAM_INPUT: "AWS_IAM"}  # path: authorization
PRINCIPAL = "arn:aws:iam::123456789012:user/sumo"
LARGEST_REQUEST = 10 * 1024 * 1024
LARGEST_EVENT = 6 * 1024 * 1024
JSON = {"Content-Type": ["application/json"]}
BAD_GATEWAY = (502, {}, b'{"message": "Internal server error"}')

Answer = tuple[int, Mapping[str, list[str]], bytes]


class Front(ThreadingHTTPServer):
    """An API with one stage, on a free port of 127.0.0.1 for as long as it is entered.

    `invoke` is the function, given an event; `variables` is asked at each request for the stage's
    variables, or None; `principal` is the ARN of whoever signs; `gateway_responses` are what the
    stack lets API Gateway say in its own cases, by their type.
    """

    daemon_threads = True

    def __init__(
        self,
        invoke: Callable[[Json], Any],
        variables: Callable[[], Mapping[str, str] | None] = lambda: None,
        *,
        routes: Mapping[str, str] = ROUTES,
        stage: str = "api",
        principal: str = PRINCIPAL,
        gateway_responses: Mapping[str, Json] = MappingProxyType({}),
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.invoke, self.variables = invoke, variables
        self.routes, self.stage, self.principal = routes, stage, principal
        self.gateway_responses = gateway_responses

    @property
    def url(self) -> str:
        """The URL of the stage, without a slash at the end."""
        return f"http://127.0.0.1:{self.server_port}/{self.stage}"

    def __enter__(self) -> "Front":
        threading.Thread(target=self.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def answer(self, request: "Handler", body: bytes) -> Answer:
        """What a sender hears."""
        path = urlsplit(request.path).path
        route = path.removeprefix(f"/{self.stage}")
        authorization = self.routes.get(route)
        signed = request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 ")
        if route == path or authorization is None or authorization == "AWS_IAM" and not signed:
            return self._missing_authentication_token()
        if len(body) > LARGEST_REQUEST:
            return 413, {}, b'{"message":"HTTP content length exceeded 10485760 bytes."}'
        try:
            body = decoded(request, body)
        except (OSError, EOFError):
            return 415, {}, b'{"message":"Unsupported Media Type"}'
        principal = self.principal if authorization == "AWS_IAM" else None
        event = proxy_event(request, route, body, variables=self.variables(), principal=principal)
        return self._run(event, accepts="Accept" in request.headers)

    def _missing_authentication_token(self) -> Answer:
        """https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-responses-types.html"""
        response = self.gateway_responses.get("MISSING_AUTHENTICATION_TOKEN")
        if response is None:
            return 403, {}, b'{"message":"Missing Authentication Token"}'
        body = response["responseTemplates"]["application/json"]
        return int(response["statusCode"]), {}, body.encode()

    def _run(self, event: Json, *, accepts: bool) -> Answer:
        event["requestContext"] |= {"stage": self.stage, "path": f"/{self.stage}{event['path']}"}
        if len(json.dumps(event)) > LARGEST_EVENT:
            return BAD_GATEWAY
        try:
            return answered(json.loads(json.dumps(self.invoke(event))), accepts=accepts)
        except Exception:  # the function's error, or one of the form of its answer
            return BAD_GATEWAY


def decoded(request: "Handler", body: bytes) -> bytes:
    """The body without its gzip, which API Gateway takes off, and leaves the header.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-make-request-with-compressed-payload.html
    """
    return gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body


def proxy_event(
    request: "Handler",
    route: str,
    body: bytes,
    *,
    variables: Mapping[str, str] | None,
    principal: str | None,
) -> Json:
    """A request as the function gets it; `*/*` are the binary types."""
    headers = grouped(request.headers.items())
    query = grouped(parse_qsl(urlsplit(request.path).query, keep_blank_values=True))
    return {
        "resource": route,
        "path": route,
        "httpMethod": request.command,
        "headers": last(headers),
        "multiValueHeaders": headers or None,
        "queryStringParameters": last(query),
        "multiValueQueryStringParameters": query or None,
        "pathParameters": None,
        "stageVariables": dict(variables) if variables else None,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghij",
            "httpMethod": request.command,
            "identity": {
                "accountId": "123456789012" if principal else None,
                "sourceIp": request.client_address[0],
                "userAgent": request.headers.get("User-Agent"),
                "userArn": principal,
            },
            "protocol": request.request_version,
            "requestId": str(uuid.uuid4()),
            "requestTimeEpoch": round(time.time() * 1000),
            "resourceId": "fghij1",
            "resourcePath": route,
        },
        "body": base64.b64encode(body).decode() if body else None,
        "isBase64Encoded": bool(body),
    }


def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """All values of each name."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def last(values: Mapping[str, list[str]]) -> dict[str, str] | None:
    """The last value of each name; null where there is none."""
    return {name: several[-1] for name, several in values.items()} or None


def answered(result: Any, *, accepts: bool = True) -> Answer:
    """The answer that a function's result stands for. Raises for one that is malformed."""
    body = "" if result.get("body") is None else result["body"]
    is_base64 = accepts and result.get("isBase64Encoded")
    raw = base64.b64decode(body, validate=True) if is_base64 else body.encode()
    headers = {name: [value] for name, value in (result.get("headers") or {}).items()}
    return int(result["statusCode"]), headers | (result.get("multiValueHeaders") or {}), raw


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one write, or the next request waits 40 ms for its second half
    disable_nagle_algorithm = True
    server: Front

    def handle_method(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, headers, answer = self.server.answer(self, body)
        self.send_response(status)
        named = {name.lower() for name in headers}
        for name, values in {**({} if "content-type" in named else JSON), **headers}.items():
            for value in values:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass  # a query string holds tokens


for method in METHODS:
    setattr(Handler, f"do_{method}", Handler.handle_method)
