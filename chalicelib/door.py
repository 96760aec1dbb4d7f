"""One HTTP request in, one answer out: the order of checks, and the one log line.

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
from chalicelib.guards import Event, Guard, MayWrite, Query, only
from chalicelib.keys import is_app
from chalicelib.responses import Answer, Refused
from chalicelib.settings import BucketPath, SettingError, Settings, from_environment
from chalicelib.store import NameTaken, NotStored, budget, open_store

OURS = {"token", "app", "bucket"}
Put = Callable[[ArchiveObject], None]
Said = dict[str, Any]  # what the log line will say; nothing a sender wrote goes in unchecked


def receive(
    event: Event, context: Any, *, environ: Mapping[str, str], arrived: datetime, guard: Guard
) -> Answer:
    """Answer one request to an HTTP door, whatever happens, and log one line about it.

    `context` is Lambda's, or None; `arrived` is aware UTC; `guard` says who may come in.
    """
    started = time.monotonic()
    said: Said = {"request_id": _request_id(event, context)}
    try:
        answer = _receive(event, environ, arrived, guard, budget(context), said)
    except Refused as refused:
        answer = refused.answer
    except SettingError as error:
        answer = responses.ours(f"Setting {error.variable} is missing or wrong")
        said |= {"setting": " ".join(filter(None, (error.variable, error.where)))}
    except NotStored as error:
        answer = responses.NOT_STORED
        said |= {"attempts": error.attempts, "why": error.why}
    except Exception as error:
        # The type alone: an exception's text may quote what was sent.
        answer = responses.FAULT
        said |= {"why": type(error).__name__, "at": _line_of(error)}
    log.line(
        logging.ERROR if answer.status >= 500 else logging.INFO,
        "delivery",
        status=answer.status,
        reason=answer.reason or ("stored" if "key" in said else "handshake"),
        milliseconds=round((time.monotonic() - started) * 1000, 1),
        **said,
        **metrics.counted(
            environ,
            arrived,
            status=answer.status,
            app="" if answer is responses.APP else said.get("app", ""),
            unconfigured=answer is responses.NO_TOKEN or "setting" in said,
        ),
    )
    return answer


def _receive(
    event: Event,
    environ: Mapping[str, str],
    arrived: datetime,
    guard: Guard,
    seconds: float,
    said: Said,
) -> Answer:
    method = event["requestContext"]["httpMethod"]
    query: Query = event.get("multiValueQueryStringParameters") or {}
    if method != "POST" and not (method == "GET" and set(query) - OURS):
        raise Refused(responses.METHOD)  # a handshake is a GET that carries something to answer
    settings = from_environment(environ)
    headers = _headers(event)
    may_write = guard(event, query, headers, environ)
    if method != "POST":
        return _greet(query, environ, may_write, said)
    name, place = _parameters(query, settings)
    said["app"] = name
    app = app_named(name, environ)
    if not may_write(app):
        raise Refused(responses.APP)
    body = _body(event, headers)
    greeting = _handshake(app, method, query, body)
    said["bytes"] = len(body)
    delivery = Delivery(name, headers, body, arrived, said["request_id"])
    put = partial(_put, settings=settings, place=place, seconds=seconds, said=said)
    thing = _admit(delivery, app, place, put, said)
    put(thing)
    if greeting is not None:
        return responses.handshake(greeting)
    return responses.stored(place.bucket, thing.key)


def _admit(delivery: Delivery, app: App, place: BucketPath, put: Put, said: Said) -> ArchiveObject:
    """The object to store; a delivery that can never be accepted is kept and refused."""
    said["verdict"] = verdict = signatures.verdict(delivery, app)
    keep = partial(to_rejected, delivery, app.source, prefix=place.prefix, verdict=verdict)
    if app.signature == "require" and verdict != "verified":
        rejected = keep(reason=responses.SIGNATURE)
        put(rejected)
        raise Refused(responses.fail(403, responses.SIGNATURE, kept=rejected.key))
    thing = to_object(delivery, app.source, prefix=place.prefix, verdict=verdict)
    if not app.any_body and _breaks_its_word(delivery, thing):
        rejected = keep(reason=responses.NOT_JSON)
        put(rejected)
        raise Refused(responses.fail(400, responses.NOT_JSON, kept=rejected.key))
    return thing


def _greet(query: Query, environ: Mapping[str, str], may_write: MayWrite, said: Said) -> Answer:
    """Answer a GET that is a handshake of the app's source; no other is allowed."""
    name = only(query, "app")
    if not name or not is_app(name) or any(len(values) != 1 for values in query.values()):
        raise Refused(responses.METHOD)
    said["app"] = name
    app = app_named(name, environ)
    if not may_write(app):
        raise Refused(responses.APP)
    greeting = _handshake(app, "GET", query, b"")
    if greeting is None:
        raise Refused(responses.METHOD)
    return responses.handshake(greeting)


def _handshake(app: App, method: str, query: Query, body: bytes) -> bytes | None:
    once = {name: values[0] for name, values in query.items() if len(values) == 1}
    return app.source.handshake(method, once, body) if app.source.handshake else None


def _parameters(query: Query, settings: Settings) -> tuple[str, BucketPath]:
    if any(len(values) != 1 for values in query.values()):
        raise Refused(responses.TWICE)
    app = only(query, "app")
    if not app:
        raise Refused(responses.NO_APP)
    if not is_app(app):
        raise Refused(responses.BAD_APP)
    place = settings.place(only(query, "bucket"))
    if place is None:
        raise Refused(responses.BUCKET)
    return app, place


def _body(event: Event, headers: Mapping[str, str]) -> bytes:
    body = _decoded(event.get("body") or b"", is_base64=event.get("isBase64Encoded") is True)
    if len(body) > responses.MAX_BODY:
        raise Refused(responses.TOO_LARGE)
    # The local server does not read chunks: what it hands on as an empty body may not be one.
    if not body and "chunked" in headers.get("transfer-encoding", "").lower():
        raise Refused(responses.CHUNKED)
    return body


def _decoded(body: Any, *, is_base64: bool) -> bytes:
    """The bytes that were sent. Not Chalice's raw_body, whose base64 decoder skips bad letters."""
    if not isinstance(body, str | bytes):
        raise Refused(responses.BAD_TEXT)
    try:
        if is_base64:
            return base64.b64decode(body, validate=True)
        return body.encode() if isinstance(body, str) else body
    except UnicodeEncodeError:
        raise Refused(responses.BAD_TEXT) from None
    except ValueError:
        raise Refused(responses.BAD_BASE64) from None


def _put(
    thing: ArchiveObject, *, settings: Settings, place: BucketPath, seconds: float, said: Said
) -> None:
    try:
        said["attempts"] = open_store(settings, place.bucket).put(thing, seconds=seconds)
    except NameTaken:
        raise Refused(responses.NAME_TAKEN) from None
    said["key"] = thing.key


def _breaks_its_word(delivery: Delivery, thing: ArchiveObject) -> bool:
    """Whether the sender claims JSON, or claims nothing, and the bytes are not."""
    claimed = claims_json(delivery.headers.get("content-type", ""))
    return claimed and thing.content_type != CONTENT_TYPES["json"]


def _headers(event: Event) -> dict[str, str]:
    return {name.lower(): value for name, value in event["headers"].items()}


def _line_of(error: Exception) -> str:
    """File and line where an exception was raised."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""


def _request_id(event: Event, context: Any) -> str:
    found = (event.get("requestContext") or {}).get("requestId") or getattr(
        context, "aws_request_id", ""
    )
    return found if isinstance(found, str) and re.fullmatch(r"[\w-]{1,64}", found, re.ASCII) else ""
