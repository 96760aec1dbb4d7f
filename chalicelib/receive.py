"""One HTTP request in, one response out: the order of checks.

Configuration, guard, parameters, signature, body, put. Nothing is read or written in the store
before the guard lets a request in; what comes after the parameters is ingest.py's.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from chalicelib import ingest, responses
from chalicelib.apps import App, app_named
from chalicelib.delivery import Delivery
from chalicelib.guards import Guard, MayWrite, ProxyEvent, QueryValues, single_value
from chalicelib.ingest import Arrival
from chalicelib.keys import is_app
from chalicelib.responses import Refused, Response
from chalicelib.settings import BucketPath, Settings, from_environment
from chalicelib.sources import HandshakeRequest

OUR_PARAMETERS = {"token", "app", "bucket"}


def respond(
    event: ProxyEvent, context: Any, *, environ: Mapping[str, str], arrived: datetime, guard: Guard
) -> Response:
    """Respond to one HTTP request, whatever happens, and log one line about it.

    `context` is Lambda's, or None; `arrived` is aware UTC; `guard` says who may come in.
    """
    aws_id = (event.get("requestContext") or {}).get("requestId")
    arrival = Arrival(
        context,
        environ=environ,
        arrived=arrived,
        request_id=aws_id or getattr(context, "aws_request_id", ""),
        stage_variables=event.get("stageVariables"),
    )
    return ingest.run(arrival, "delivery", partial(_receive, event, guard))


def _receive(event: ProxyEvent, guard: Guard, arrival: Arrival) -> Response:
    method = event["requestContext"]["httpMethod"]
    query: QueryValues = event.get("multiValueQueryStringParameters") or {}
    # A handshake by GET carries something to send back.
    if method != "POST" and not (method == "GET" and set(query) - OUR_PARAMETERS):
        raise Refused(responses.METHOD_NOT_ALLOWED)
    settings = from_environment(arrival.environ)
    headers = _headers(event.get("headers"))
    may_write = guard(event, query, headers, arrival.environ)
    if method != "POST":
        return _respond_to_get(query, headers, may_write, arrival)
    name, bucket_path = _parameters(query, settings)
    app = _app(name, may_write, arrival)
    body = _body(event, headers)
    url = _url(event, query, headers) if app.source.signs_url else ""
    delivery = Delivery(name, headers, body, arrival.arrived, arrival.request_id, url)
    response = ingest.store(arrival, settings, delivery, app, bucket_path)
    if response.status != 200:
        return response
    handshake = _handshake(app, method, query, headers, body)
    return response if handshake is None else handshake


def _respond_to_get(
    query: QueryValues, headers: Mapping[str, str], may_write: MayWrite, arrival: Arrival
) -> Response:
    """Respond to a GET that is a handshake of the app's source; no other is allowed."""
    name = single_value(query, "app")
    if not name or not is_app(name) or any(len(values) != 1 for values in query.values()):
        raise Refused(responses.METHOD_NOT_ALLOWED)
    app = _app(name, may_write, arrival)
    handshake = _handshake(app, "GET", query, headers, b"")
    if handshake is None:
        raise Refused(responses.METHOD_NOT_ALLOWED)
    return handshake


def _app(name: str, may_write: MayWrite, arrival: Arrival) -> App:
    arrival.log_fields["app"] = name
    app = app_named(name, arrival.environ, arrival.deadline)
    if not may_write(app):
        raise Refused(responses.APP_NOT_ALLOWED)
    return app


def _handshake(
    app: App, method: str, query: QueryValues, headers: Mapping[str, str], body: bytes
) -> Response | None:
    """The response to a request that only asks whether we are there; None for any other."""
    if app.source.handshake is None:
        return None
    given = {name: values[0] for name, values in query.items()}  # each once, by now
    request = HandshakeRequest(method, given, headers, body)
    handshake = app.source.handshake(request, app.keys)
    return responses.handshake_response(*handshake) if handshake else None


def _parameters(query: QueryValues, settings: Settings) -> tuple[str, BucketPath]:
    if any(len(values) != 1 for values in query.values()):
        raise Refused(responses.DUPLICATE_PARAMETER)
    app = single_value(query, "app")
    if not app:
        raise Refused(responses.MISSING_APP)
    if not is_app(app):
        raise Refused(responses.INVALID_APP)
    bucket_path = settings.allowed_path(single_value(query, "bucket"))
    if bucket_path is None:
        raise Refused(responses.BUCKET_NOT_ALLOWED)
    return app, bucket_path


def _headers(sent: Any) -> dict[str, str]:
    """The headers that are text, as API Gateway's all are, by lower-case name."""
    pairs = sent.items() if isinstance(sent, dict) else ()
    return {name.lower(): value for name, value in pairs if isinstance(value, str)}


def _body(event: ProxyEvent, headers: Mapping[str, str]) -> bytes:
    """The bytes that were sent. Not Chalice's raw_body, whose base64 decoder skips bad letters."""
    sent = event.get("body") or b""
    if not isinstance(sent, str | bytes):
        raise Refused(responses.INVALID_TEXT)
    try:
        if event.get("isBase64Encoded") is True:
            # What b64decode calls, without a copy of the text before it.
            body = binascii.a2b_base64(sent, strict_mode=True)
        else:
            body = sent.encode() if isinstance(sent, str) else sent
    except UnicodeEncodeError:
        raise Refused(responses.INVALID_TEXT) from None
    except ValueError:
        raise Refused(responses.INVALID_BASE64) from None
    # The local server does not read chunks: what it hands on as an empty body may not be one.
    if not body and "chunked" in headers.get("transfer-encoding", "").lower():
        raise Refused(responses.CHUNKED_BODY)
    return body


def _url(event: ProxyEvent, query: QueryValues, headers: Mapping[str, str]) -> str:
    """The URL that was called, as far as API Gateway tells: it has decoded the query."""
    from urllib.parse import urlencode  # 2 ms that other senders are spared

    path = event["requestContext"].get("path", "")
    return f"https://{headers.get('host', '')}{path}?{urlencode(query, doseq=True)}"
