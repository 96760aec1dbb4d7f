"""The server of your own machine, as strict as what stands before Lambda.

waitress, as Chalice's own server is http.server's: it takes what is not HTTP, stores bodies that
were cut short, and prints the query, token and all. docs/decisions.md says what was compared.
Loaded by `make run` and `chalice local` alone: waitress does not ship to Lambda.
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import SplitResult, urlsplit

from chalice.local import LocalGateway
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import create_server
from waitress.utilities import Error

from chalicelib import responses
from chalicelib.responses import Response

_THREADS = 32  # a delivery mostly waits for S3, for eight seconds at most
_LARGEST = 10 * 1024 * 1024  # bytes that API Gateway takes


class LocalServer:
    """Stands in for Chalice's server: waitress before Chalice's stand-in for API Gateway.

    `app` is a Chalice app, `config` Chalice's of a stage, which has the function's timeout.
    """

    def __init__(self, app: Any, config: Any, host: str, port: int) -> None:
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # bursts are no news
        self._address = f"http://{host}:{port}"
        self._server = create_server(
            application(LocalGateway(app, config).handle_request, app.routes),
            host=host,
            port=port,
            threads=_THREADS,
            connection_limit=1000,  # of 100: senders come in bursts
            max_request_body_size=_LARGEST,
        )
        self._server.channel_class = _Channel

    def serve_forever(self) -> None:
        """Serve until the process ends."""
        print(f"Serving on {self._address}", flush=True)  # noqa: T201  (the words of `chalice local`)
        self._server.run()

    def shutdown(self) -> None:
        """Serve no more."""
        self._server.close()


def application(
    handle_request: Callable[..., dict[str, Any]], routes: Mapping[str, Mapping[str, Any]]
) -> Callable[..., Iterable[bytes]]:
    """A WSGI application: what API Gateway does before and after `handle_request`.

    `handle_request` takes method, path with query, headers and body, and gives a proxy response;
    `routes` has the methods of each path.
    """

    def respond(environ: Mapping[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        url, route, method = _asked(environ)
        if route not in routes:
            refused = responses.NO_SUCH_PATH
        elif method not in routes[route]:
            refused = responses.METHOD_NOT_ALLOWED
        elif (body := _unpacked(environ)) is None:
            refused = responses.NOT_GZIP
        else:
            given = handle_request(method, f"{url.path}?{url.query}", _headers(environ), body)
            sent = given["body"]
            is_base64 = given.get("isBase64Encoded")
            return (
                given["statusCode"],
                given["headers"],
                base64.b64decode(sent) if is_base64 else sent.encode(),
            )
        return _on_the_wire(refused)

    def serve(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, headers, body = respond(environ)
        _, route, method = _asked(environ)
        # Any other path may hold a mistyped query, and in it a token.
        _log(f'"{method} {route if route in routes else "…"}" {status}')
        start_response(f"{status} {_phrase(status)}", [*headers.items()])
        return [body]

    return serve


def _asked(environ: Mapping[str, Any]) -> tuple[SplitResult, str, str]:
    """The URL, the path as routes spell it (a slash may end it), and the method."""
    url = urlsplit(environ["REQUEST_URI"])
    return url, url.path.removesuffix("/"), environ["REQUEST_METHOD"]


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    names = [name for name in environ if name.startswith("HTTP_")]
    headers = {name.removeprefix("HTTP_"): environ[name] for name in names}
    headers |= {
        name: environ[name] for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if name in environ
    }
    return {name.replace("_", "-").lower(): value for name, value in headers.items()}


def _unpacked(environ: Mapping[str, Any]) -> bytes | None:
    """The body without gzip, which API Gateway takes off; None where it is none.

    No more is unpacked than one byte over the limit, which is then refused as too large.
    """
    body: bytes = environ["wsgi.input"].read()
    if environ.get("HTTP_CONTENT_ENCODING", "").strip().lower() != "gzip":
        return body
    try:
        return gzip.GzipFile(fileobj=BytesIO(body)).read(responses.MAX_BODY + 1)
    except (OSError, EOFError, zlib.error):
        return None


def _on_the_wire(response: Response) -> tuple[int, Mapping[str, str], bytes]:
    text = json.dumps(response.body, ensure_ascii=False, separators=(",", ":"))
    return response.status, {"Content-Type": "application/json", **response.headers}, text.encode()


class _Refusal(Error):  # type: ignore[misc]
    """What is no HTTP, answered in JSON and without a word of the request."""

    def __init__(self, code: int) -> None:
        self.code = code

    def to_response(self, ident: object = None) -> tuple[str, list[tuple[str, str]], bytes]:
        status, headers, body = _on_the_wire(responses.fail(self.code, _phrase(self.code)))
        return f"{status} {_phrase(status)}", [*headers.items()], body


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """waitress's, but stricter where two readers of a request could differ on where it ends."""

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.error and not isinstance(self.error, _Refusal):
            _log(f"malformed request {self.error.code}")
            self.error: Error = _Refusal(self.error.code)
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError:  # of urlsplit
            raise ParsingError("address") from None
        if self.version not in ("1.0", "1.1"):
            raise ParsingError("version")
        # waitress has taken the header out where it reads chunks, which it does in HTTP/1.1 alone.
        if "TRANSFER_ENCODING" in self.headers or (
            self.chunked and "CONTENT_LENGTH" in self.headers
        ):
            raise ParsingError("length")


class _Channel(HTTPChannel):  # type: ignore[misc]
    parser_class = _Parser


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
