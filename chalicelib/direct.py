"""A direct Lambda invoke: whoever AWS lets invoke the function may deliver.

Two shapes. Ours Privacy's destination sends `{event, visitor, user}`; it is archived whole, for
DIRECT_APP. An envelope `{"app"?, "bucket"?, "body": any JSON}` or `{…, "body_base64": …}` names its
own app and keeps its own bytes. Anything else raises, as every failure does: Lambda then retries an
asynchronous invoke and its dead-letter destination catches it. A returned error would be success.
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from chalicelib import log, metrics, responses
from chalicelib.apps import app_named
from chalicelib.archive import to_object
from chalicelib.delivery import Delivery
from chalicelib.errors import HookshelfError
from chalicelib.keys import is_app
from chalicelib.settings import SettingError, from_environment
from chalicelib.sources import Source, source_named
from chalicelib.store import NotStored, budget, open_store


class NotDelivered(HookshelfError):
    """Nothing was acknowledged; the text says why, and quotes nothing of the event."""


class OursPrivacy(BaseModel):
    """What Ours Privacy's AWS Lambda destination sends; more may come with it.

    https://docs.oursprivacy.com/docs/aws-lambda
    """

    model_config = ConfigDict(extra="allow", strict=True)

    event: dict[str, Any]
    visitor: dict[str, Any] | None = None
    user: dict[str, Any] | None = None


class Envelope(BaseModel):
    """Any AWS caller's own delivery: exactly one of `body` and `body_base64`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    app: str | None = None
    bucket: str | None = None
    body: Any = None
    body_base64: str = ""


class _Sent(NamedTuple):
    app: str | None
    bucket: str | None
    body: bytes
    content_type: str
    source: str | None


def deliver(
    event: Any, context: Any, *, environ: Mapping[str, str], arrived: datetime
) -> dict[str, str]:
    """Archive one invoke; the result is that of a post that was stored. Raises NotDelivered."""
    started = time.monotonic()
    log_fields: dict[str, Any] = {"request_id": getattr(context, "aws_request_id", "")}
    reason = ""
    try:
        return _deliver(event, environ, arrived, budget(context), log_fields)
    except SettingError as error:
        reason = f"Setting {error.variable} is missing or wrong"
        log_fields["setting"] = " ".join(filter(None, (error.variable, error.field)))
    except NotStored as error:
        reason = responses.NOT_STORED.reason
        log_fields |= {"attempts": error.attempts, "why": error.why}
    except NotDelivered as error:
        reason = str(error)
    except Exception as error:
        reason = responses.INTERNAL_ERROR.reason
        log_fields["why"] = type(error).__name__
    finally:
        log.line(
            logging.ERROR if reason else logging.INFO,
            "invoke",
            reason=reason or "stored",
            milliseconds=round((time.monotonic() - started) * 1000, 1),
            **log_fields,
            **metrics.metric_fields(
                environ,
                arrived,
                status=500 if reason else 200,  # as if it had been a post
                app=log_fields.get("app", ""),
                unconfigured="setting" in log_fields,
            ),
        )
    # Outside the handlers, so that no earlier exception, which may quote the event, is shown too.
    raise NotDelivered(reason)


def _deliver(
    event: Any,
    environ: Mapping[str, str],
    arrived: datetime,
    seconds: float,
    log_fields: dict[str, Any],
) -> dict[str, str]:
    sent = _read(event)
    name = sent.app if sent.app is not None else environ.get("DIRECT_APP", "").strip()
    if sent.app is None and not is_app(name):
        raise SettingError("DIRECT_APP", "is missing, or no app name")
    if not is_app(name):
        raise NotDelivered(responses.INVALID_APP.reason)
    settings = from_environment(environ)
    place = settings.allowed_path(sent.bucket)
    if place is None:
        raise NotDelivered(responses.BUCKET_NOT_ALLOWED.reason)
    if len(sent.body) > responses.MAX_BODY:
        raise NotDelivered(responses.TOO_LARGE.reason)
    log_fields |= {"app": name, "bytes": len(sent.body)}
    headers = {"content-type": sent.content_type}
    delivery = Delivery(name, headers, sent.body, arrived, log_fields["request_id"])
    source = _source(name, sent, environ)
    obj = to_object(delivery, source, prefix=place.prefix)
    log_fields["attempts"] = open_store(settings, place.bucket).put(obj, seconds=seconds)
    log_fields["key"] = obj.key
    return dict(responses.stored(place.bucket, obj.key).body)  # type: ignore[arg-type]


def _read(event: Any) -> _Sent:
    if not isinstance(event, dict):
        raise NotDelivered("The invoke event is no JSON object")
    is_envelope = "body" in event or "body_base64" in event
    if is_envelope == ("event" in event):
        raise NotDelivered("Send {event, visitor, user}, or {app, bucket, body or body_base64}")
    try:
        if not is_envelope:
            OursPrivacy.model_validate(event)
            return _Sent(None, None, _json(event), "application/json", "ours-privacy")
        return _opened(Envelope.model_validate(event), event)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
    if first["type"] == "extra_forbidden":  # whose name is the caller's, not ours to repeat
        raise NotDelivered("An envelope holds app, bucket, and body or body_base64; nothing else")
    raise NotDelivered(f"The invoke event has a wrong {first['loc'][0]}")


def _opened(envelope: Envelope, event: Mapping[str, Any]) -> _Sent:
    if "body" in event and "body_base64" in event:
        raise NotDelivered("Give body or body_base64, not both")
    if "body" in event:
        body, content_type = _json(envelope.body), "application/json"
    else:
        body, content_type = _from_base64(envelope.body_base64), "application/octet-stream"
    return _Sent(envelope.app, envelope.bucket, body, content_type, None)


def _source(name: str, sent: _Sent, environ: Mapping[str, str]) -> Source:
    """What is configured for the app, else what the shape of the event says."""
    app = app_named(name, environ)
    return source_named(sent.source) if sent.source and not app.is_configured else app.source


def _json(value: Any) -> bytes:
    """The runtime has parsed the event already: its exact bytes are gone, its content is not."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can escape and UTF-8 cannot hold
        return json.dumps(value, separators=(",", ":")).encode()


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise NotDelivered("body_base64 is not base64") from None
