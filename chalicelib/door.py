"""One HTTP request in, one answer out: the order of checks, and the one log line.

Configuration, token, parameters, signature, body, put. Nothing is read or written in the store
before the token is accepted, and 200 is said only once the store has the bytes.
"""

from __future__ import annotations

import base64
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from chalicelib import answers, log, signatures, tokens
from chalicelib.answers import Answer, Refused
from chalicelib.apps import App, app_named, source_for
from chalicelib.archive import to_object, to_rejected
from chalicelib.bodies import CONTENT_TYPES, claims_json
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.keys import is_app
from chalicelib.settings import Place, SettingError, Settings, from_environment
from chalicelib.sources import Source
from chalicelib.store import BUDGET, NameTaken, NotStored, open_store

Event = Mapping[str, Any]  # an API Gateway REST proxy event, payload version 1.0
Query = Mapping[str, Sequence[str]]
Put = Callable[[ArchiveObject], None]
Said = dict[str, Any]  # what the log line will say; nothing a sender wrote goes in unchecked


def receive(event: Event, context: Any, *, environ: Mapping[str, str], arrived: datetime) -> Answer:
    """Answer one request to `/input`, whatever happens, and log one line about it.

    `context` is Lambda's, or None; `arrived` is aware UTC.
    """
    started = time.monotonic()
    said: Said = {"request_id": _request_id(event, context)}
    try:
        answer = _receive(event, environ, arrived, _budget(context), said)
    except Refused as refused:
        answer = refused.answer
    except SettingError as error:
        answer = answers.ours(f"Setting {error.variable} is missing or wrong")
        said |= {"setting": " ".join(filter(None, (error.variable, error.where)))}
    except NotStored as error:
        answer = answers.NOT_STORED
        said |= {"attempts": error.attempts, "why": error.why}
    except Exception as error:
        # The type alone: an exception's text may quote what was sent.
        answer = answers.FAULT
        said |= {"why": type(error).__name__}
    log.line(
        logging.ERROR if answer.status >= 500 else logging.INFO,
        "delivery",
        status=answer.status,
        reason=answer.reason or "stored",
        milliseconds=round((time.monotonic() - started) * 1000, 1),
        **said,
    )
    return answer


def _receive(
    event: Event, environ: Mapping[str, str], arrived: datetime, seconds: float, said: Said
) -> Answer:
    method = event["requestContext"]["httpMethod"]
    query: Query = event.get("multiValueQueryStringParameters") or {}
    if method != "POST" and not _asks_for_handshake(method, query, environ):
        raise Refused(answers.METHOD)
    settings = from_environment(environ)
    headers = _headers(event)
    _check_token(event.get("stageVariables"), query, headers)
    name, place = _parameters(query, settings)
    said["app"] = name
    app = app_named(name, environ)
    body = _body(event, headers)
    greeting = _handshake(app.source, method, query, body)
    if greeting is not None and method != "POST":
        return answers.handshake(greeting)
    said["bytes"] = len(body)
    delivery = Delivery(name, headers, body, arrived, said["request_id"])
    put = partial(_put, settings=settings, place=place, seconds=seconds, said=said)
    thing = _admit(delivery, app, place, put, said)
    put(thing)
    if greeting is not None:
        return answers.handshake(greeting)
    return answers.stored(place.bucket, thing.key)


def _admit(delivery: Delivery, app: App, place: Place, put: Put, said: Said) -> ArchiveObject:
    """The object to store; a delivery that can never be accepted is kept and refused."""
    said["verdict"] = verdict = signatures.verdict(delivery, app)
    keep = partial(to_rejected, delivery, app.source, prefix=place.prefix, verdict=verdict)
    if app.signature == "require" and verdict != "verified":
        rejected = keep(reason=answers.SIGNATURE)
        put(rejected)
        raise Refused(answers.fail(403, answers.SIGNATURE, kept=rejected.key))
    thing = to_object(delivery, app.source, prefix=place.prefix, verdict=verdict)
    if not app.any_body and _breaks_its_word(delivery, thing):
        rejected = keep(reason=answers.NOT_JSON)
        put(rejected)
        raise Refused(answers.fail(400, answers.NOT_JSON, kept=rejected.key))
    return thing


def _asks_for_handshake(method: str, query: Query, environ: Mapping[str, str]) -> bool:
    name = _only(query, "app")
    if not name or not is_app(name):
        return False
    # The source alone: no secret is fetched for a request that has shown no token yet.
    return _handshake(source_for(name, environ), method, query, b"") is not None


def _handshake(source: Source, method: str, query: Query, body: bytes) -> bytes | None:
    once = {name: values[0] for name, values in query.items() if len(values) == 1}
    return source.handshake(method, once, body) if source.handshake else None


def _check_token(variables: Any, query: Query, headers: Mapping[str, str]) -> None:
    """The query's token wins; only where it has none is `Authorization: Bearer` read.

    SendGrid's OAuth option sends a Bearer of its own beside our token.
    """
    app = _only(query, "app")
    if "token" in query:
        presented = _only(query, "token")
    else:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        presented = credentials.strip() if scheme.lower() == "bearer" else None
    try:
        tokens.check(variables, app if app and is_app(app) else None, presented)
    except tokens.NoToken:
        raise Refused(answers.NO_TOKEN) from None
    except tokens.WrongToken:
        raise Refused(answers.WRONG_TOKEN) from None


def _parameters(query: Query, settings: Settings) -> tuple[str, Place]:
    if any(len(values) != 1 for values in query.values()):
        raise Refused(answers.TWICE)
    app = _only(query, "app")
    if not app:
        raise Refused(answers.NO_APP)
    if not is_app(app):
        raise Refused(answers.BAD_APP)
    place = settings.place(_only(query, "bucket"))
    if place is None:
        raise Refused(answers.BUCKET)
    return app, place


def _body(event: Event, headers: Mapping[str, str]) -> bytes:
    body = _decoded(event.get("body") or b"", is_base64=event.get("isBase64Encoded") is True)
    if len(body) > answers.MAX_BODY:
        raise Refused(answers.TOO_LARGE)
    # The local server does not read chunks: what it hands on as an empty body may not be one.
    if not body and "chunked" in headers.get("transfer-encoding", "").lower():
        raise Refused(answers.CHUNKED)
    return body


def _decoded(body: str | bytes, *, is_base64: bool) -> bytes:
    """The bytes that were sent. Not Chalice's raw_body, whose base64 decoder skips bad letters."""
    try:
        if is_base64:
            return base64.b64decode(body, validate=True)
        return body.encode() if isinstance(body, str) else bytes(body)
    except UnicodeEncodeError:
        raise Refused(answers.BAD_TEXT) from None
    except ValueError:
        raise Refused(answers.BAD_BASE64) from None


def _put(
    thing: ArchiveObject, *, settings: Settings, place: Place, seconds: float, said: Said
) -> None:
    try:
        said["attempts"] = open_store(settings, place.bucket).put(thing, seconds=seconds)
    except NameTaken:
        raise Refused(answers.NAME_TAKEN) from None
    said["key"] = thing.key


def _breaks_its_word(delivery: Delivery, thing: ArchiveObject) -> bool:
    """Whether the sender claims JSON, or claims nothing, and the bytes are not."""
    claimed = claims_json(delivery.headers.get("content-type", ""))
    return claimed and thing.content_type != CONTENT_TYPES["json"]


def _only(query: Query, name: str) -> str | None:
    """The value of a parameter that is given exactly once; Chalice's query_params has the last."""
    values = query.get(name) or ()
    return values[0] if len(values) == 1 else None


def _headers(event: Event) -> dict[str, str]:
    headers = event.get("headers") or {}
    return {name.lower(): value for name, value in headers.items() if isinstance(value, str)}


def _budget(context: Any) -> float:
    """Seconds for the store: 8, or what is left of the Lambda's time less one to answer in."""
    if context is None:
        return BUDGET
    left: float = context.get_remaining_time_in_millis() / 1000
    return min(BUDGET, left - 1)


def _request_id(event: Event, context: Any) -> str:
    found = (event.get("requestContext") or {}).get("requestId") or getattr(
        context, "aws_request_id", ""
    )
    return found if isinstance(found, str) and re.fullmatch(r"[\w-]{1,64}", found, re.ASCII) else ""
