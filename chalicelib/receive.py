"""One HTTP request in, one response out: the order of checks, and the one log line.

Configuration, guard, parameters, signature, body, put. Nothing is read or written in the store
before the guard lets a request in, and 200 is said only once the store has the bytes.
"""

from __future__ import annotations

import base64
import logging
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from chalicelib import log, metrics, responses, signatures
from chalicelib.apps import App, app_named
from chalicelib.archive import to_object, to_rejected
from chalicelib.bodies import CONTENT_TYPES, claims_json
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.guards import Guard, MayWrite, ProxyEvent, QueryValues, single_value
from chalicelib.keys import is_app
from chalicelib.responses import Refused, Response
from chalicelib.settings import BucketPath, SettingError, Settings, from_environment
from chalicelib.store import NameTaken, NotStored, budget, open_store

OURS = {"token", "app", "bucket"}
Put = Callable[[ArchiveObject], None]
LogFields = dict[str, Any]  # what the log line will say; nothing a sender wrote goes in unchecked


def respond(
    event: ProxyEvent, context: Any, *, environ: Mapping[str, str], arrived: datetime, guard: Guard
) -> Response:
    """Respond to one HTTP request, whatever happens, and log one line about it.

    `context` is Lambda's, or None; `arrived` is aware UTC; `guard` says who may come in.
    """
    started = time.monotonic()
    log_fields: LogFields = {"request_id": _request_id(event, context)}
    try:
        response = _receive(event, environ, arrived, guard, budget(context), log_fields)
    except Refused as refused:
        response = refused.response
    except SettingError as error:
        response = responses.unavailable(f"Setting {error.variable} is missing or wrong")
        log_fields |= {"setting": " ".join(filter(None, (error.variable, error.field)))}
    except NotStored as error:
        response = responses.NOT_STORED
        log_fields |= {"attempts": error.attempts, "why": error.why}
    except Exception as error:
        # The type alone: an exception's text may quote what was sent.
        response = responses.INTERNAL_ERROR
        log_fields |= {"why": type(error).__name__, "at": _line_of(error)}
    log.line(
        logging.ERROR if response.status >= 500 else logging.INFO,
        "delivery",
        status=response.status,
        reason=response.reason or ("stored" if "key" in log_fields else "handshake"),
        milliseconds=round((time.monotonic() - started) * 1000, 1),
        **log_fields,
        **metrics.metric_fields(
            environ,
            arrived,
            status=response.status,
            app="" if response is responses.APP_NOT_ALLOWED else log_fields.get("app", ""),
            unconfigured=response is responses.NO_TOKEN or "setting" in log_fields,
        ),
    )
    return response


def _receive(
    event: ProxyEvent,
    environ: Mapping[str, str],
    arrived: datetime,
    guard: Guard,
    seconds: float,
    log_fields: LogFields,
) -> Response:
    method = event["requestContext"]["httpMethod"]
    query: QueryValues = event.get("multiValueQueryStringParameters") or {}
    if method != "POST" and not (method == "GET" and set(query) - OURS):
        raise Refused(
            responses.METHOD_NOT_ALLOWED
        )  # a handshake is a GET that carries something to answer
    settings = from_environment(environ)
    headers = _headers(event)
    may_write = guard(event, query, headers, environ)
    if method != "POST":
        return _respond_to_handshake(query, environ, may_write, log_fields)
    name, place = _parameters(query, settings)
    log_fields["app"] = name
    app = app_named(name, environ)
    if not may_write(app):
        raise Refused(responses.APP_NOT_ALLOWED)
    body = _body(event, headers)
    challenge = _handshake(app, method, query, body)
    log_fields["bytes"] = len(body)
    delivery = Delivery(name, headers, body, arrived, log_fields["request_id"])
    put = partial(_put, settings=settings, place=place, seconds=seconds, log_fields=log_fields)
    obj = _admit(delivery, app, place, put, log_fields)
    put(obj)
    if challenge is not None:
        return responses.handshake_response(challenge)
    return responses.stored(place.bucket, obj.key)


def _admit(
    delivery: Delivery, app: App, place: BucketPath, put: Put, log_fields: LogFields
) -> ArchiveObject:
    """The object to store; a delivery that can never be accepted is kept and refused."""
    log_fields["verdict"] = verdict = signatures.verdict(delivery, app)
    keep = partial(to_rejected, delivery, app.source, prefix=place.prefix, verdict=verdict)
    if app.signature == "require" and verdict != "verified":
        rejected = keep(reason=responses.INVALID_SIGNATURE)
        put(rejected)
        raise Refused(responses.fail(403, responses.INVALID_SIGNATURE, kept=rejected.key))
    obj = to_object(delivery, app.source, prefix=place.prefix, verdict=verdict)
    if not app.any_body and _claims_json_but_is_not(delivery, obj):
        rejected = keep(reason=responses.NOT_JSON)
        put(rejected)
        raise Refused(responses.fail(400, responses.NOT_JSON, kept=rejected.key))
    return obj


def _respond_to_handshake(
    query: QueryValues, environ: Mapping[str, str], may_write: MayWrite, log_fields: LogFields
) -> Response:
    """Answer a GET that is a handshake of the app's source; no other is allowed."""
    name = single_value(query, "app")
    if not name or not is_app(name) or any(len(values) != 1 for values in query.values()):
        raise Refused(responses.METHOD_NOT_ALLOWED)
    log_fields["app"] = name
    app = app_named(name, environ)
    if not may_write(app):
        raise Refused(responses.APP_NOT_ALLOWED)
    challenge = _handshake(app, "GET", query, b"")
    if challenge is None:
        raise Refused(responses.METHOD_NOT_ALLOWED)
    return responses.handshake_response(challenge)


def _handshake(app: App, method: str, query: QueryValues, body: bytes) -> bytes | None:
    once = {name: values[0] for name, values in query.items() if len(values) == 1}
    return app.source.handshake(method, once, body) if app.source.handshake else None


def _parameters(query: QueryValues, settings: Settings) -> tuple[str, BucketPath]:
    if any(len(values) != 1 for values in query.values()):
        raise Refused(responses.DUPLICATE_PARAMETER)
    app = single_value(query, "app")
    if not app:
        raise Refused(responses.MISSING_APP)
    if not is_app(app):
        raise Refused(responses.INVALID_APP)
    place = settings.allowed_path(single_value(query, "bucket"))
    if place is None:
        raise Refused(responses.BUCKET_NOT_ALLOWED)
    return app, place


def _body(event: ProxyEvent, headers: Mapping[str, str]) -> bytes:
    body = _decoded(event.get("body") or b"", is_base64=event.get("isBase64Encoded") is True)
    if len(body) > responses.MAX_BODY:
        raise Refused(responses.TOO_LARGE)
    # The local server does not read chunks: what it hands on as an empty body may not be one.
    if not body and "chunked" in headers.get("transfer-encoding", "").lower():
        raise Refused(responses.CHUNKED_BODY)
    return body


def _decoded(body: Any, *, is_base64: bool) -> bytes:
    """The bytes that were sent. Not Chalice's raw_body, whose base64 decoder skips bad letters."""
    if not isinstance(body, str | bytes):
        raise Refused(responses.INVALID_TEXT)
    try:
        if is_base64:
            return base64.b64decode(body, validate=True)
        return body.encode() if isinstance(body, str) else body
    except UnicodeEncodeError:
        raise Refused(responses.INVALID_TEXT) from None
    except ValueError:
        raise Refused(responses.INVALID_BASE64) from None


def _put(
    obj: ArchiveObject,
    *,
    settings: Settings,
    place: BucketPath,
    seconds: float,
    log_fields: LogFields,
) -> None:
    try:
        log_fields["attempts"] = open_store(settings, place.bucket).put(obj, seconds=seconds)
    except NameTaken:
        raise Refused(responses.NAME_TAKEN) from None
    log_fields["key"] = obj.key


def _claims_json_but_is_not(delivery: Delivery, obj: ArchiveObject) -> bool:
    """Whether the sender claims JSON, or claims nothing, and the bytes are not."""
    claimed = claims_json(delivery.headers.get("content-type", ""))
    return claimed and obj.content_type != CONTENT_TYPES["json"]


def _headers(event: ProxyEvent) -> dict[str, str]:
    return {name.lower(): value for name, value in event["headers"].items()}


def _line_of(error: Exception) -> str:
    """File and line where an exception was raised."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""


def _request_id(event: ProxyEvent, context: Any) -> str:
    found = (event.get("requestContext") or {}).get("requestId") or getattr(
        context, "aws_request_id", ""
    )
    return found if isinstance(found, str) and re.fullmatch(r"[\w-]{1,64}", found, re.ASCII) else ""
