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
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from chalicelib import ingest, responses
from chalicelib.apps import app_named
from chalicelib.delivery import Delivery
from chalicelib.errors import HookshelfError
from chalicelib.ingest import Arrival
from chalicelib.keys import is_app
from chalicelib.responses import Refused, Response
from chalicelib.settings import SettingError, from_environment
from chalicelib.sources import source_named


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
    arrival = Arrival(
        context,
        environ=environ,
        arrived=arrived,
        request_id=getattr(context, "aws_request_id", ""),
    )
    response = ingest.run(arrival, "invoke", partial(_deliver, event), failure_status=500)
    # Here, and not where it failed: an earlier exception, which may quote the event, is not shown.
    if response.status != 200:
        raise NotDelivered(response.reason)
    return dict(response.body)  # type: ignore[arg-type]


def _deliver(event: Any, arrival: Arrival) -> Response:
    sent = _read(event)
    name = sent.app if sent.app is not None else arrival.environ.get("DIRECT_APP", "").strip()
    if sent.app is None and not is_app(name):
        raise SettingError("DIRECT_APP", "is missing, or no app name")
    if not is_app(name):
        raise Refused(responses.INVALID_APP)
    settings = from_environment(arrival.environ)
    bucket_path = settings.allowed_path(sent.bucket)
    if bucket_path is None:
        raise Refused(responses.BUCKET_NOT_ALLOWED)
    arrival.log_fields["app"] = name
    app = app_named(name, arrival.environ, arrival.deadline)
    if sent.source and not app.is_configured:
        app = app._replace(source=source_named(sent.source))
    # AWS vouches for the caller, who signs nothing, and the bytes are what we were given.
    app = app._replace(signature="ignore", any_body=True)
    headers = {"content-type": sent.content_type}
    delivery = Delivery(name, headers, sent.body, arrival.arrived, arrival.request_id)
    return ingest.store(arrival, settings, delivery, app, bucket_path)


def _read(event: Any) -> _Sent:
    if not isinstance(event, dict):
        raise _refused("The invoke event is no JSON object")
    is_envelope = "body" in event or "body_base64" in event
    if is_envelope == ("event" in event):
        raise _refused("Send {event, visitor, user}, or {app, bucket, body or body_base64}")
    try:
        if not is_envelope:
            OursPrivacy.model_validate(event)
            return _Sent(None, None, _json(event), "application/json", "ours-privacy")
        return _opened(Envelope.model_validate(event), event)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
    if first["type"] == "extra_forbidden":  # whose name is the caller's, not ours to repeat
        raise _refused("An envelope holds app, bucket, and body or body_base64; nothing else")
    raise _refused(f"The invoke event has a wrong {first['loc'][0]}")


def _opened(envelope: Envelope, event: Mapping[str, Any]) -> _Sent:
    if "body" in event and "body_base64" in event:
        raise _refused("Give body or body_base64, not both")
    if "body" in event:
        body, content_type = _json(envelope.body), "application/json"
    else:
        body, content_type = _from_base64(envelope.body_base64), "application/octet-stream"
    return _Sent(envelope.app, envelope.bucket, body, content_type, None)


def _refused(reason: str) -> Refused:
    return Refused(responses.fail(400, reason))


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
        raise _refused("body_base64 is not base64") from None
