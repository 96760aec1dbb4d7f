"""The one pipeline: what becomes of a delivery, whichever way it came in.

`run` stands around everything an entry point does: whatever happens in it, there is one response,
one log line and one count. `decide` says what is kept and what the sender hears, and touches
nothing; `store` puts it, and only then is anything acknowledged.
"""

from __future__ import annotations

import logging
import os.path
import re
import time
import traceback  # which logging loads anyway
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from chalicelib import log, metrics, responses, signatures
from chalicelib.apps import App
from chalicelib.archive import to_object, to_rejected
from chalicelib.bodies import CONTENT_TYPES, claims_json
from chalicelib.deadline import Deadline
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.responses import Refused, Response
from chalicelib.settings import BucketPath, SettingError, Settings
from chalicelib.store import PUT_TIMEOUT, NameTaken, NotStored, open_store
from chalicelib.types import Verdict

_REQUEST_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


class Arrival:
    """One request or invoke on its way: when it came, how long it may take, what is logged of it.

    `context` is Lambda's, or None; `arrived` is aware UTC; `request_id` is dropped where it is not
    of the form that AWS gives them; `stage_variables` are API Gateway's.
    """

    def __init__(
        self,
        context: Any,
        *,
        environ: Mapping[str, str],
        arrived: datetime,
        request_id: object,
        stage_variables: Mapping[str, str] | None = None,
    ) -> None:
        self.started = time.monotonic()
        self.context = context
        self.deadline: Deadline  # which `run` reads from the context
        self.environ = environ
        self.arrived = arrived
        self.stage_variables = stage_variables
        is_plain = isinstance(request_id, str) and _REQUEST_ID.fullmatch(request_id)
        self.request_id = str(request_id) if is_plain else ""
        # What the log line will say; nothing a sender wrote goes in unchecked.
        self.log_fields: dict[str, Any] = {"request_id": self.request_id}


class Decision(NamedTuple):
    """What is to be put, if anything, and what the sender hears once it is there."""

    response: Response
    obj: ArchiveObject | None = None
    verdict: Verdict | None = None


def run(
    arrival: Arrival,
    message: str,
    work: Callable[[Arrival], Response],
    *,
    failure_status: int | None = None,
) -> Response:
    """Do an entry point's work; log and count what came of it. Raises nothing.

    `message` names the entry point in the log. `failure_status` is for a caller that knows failure
    and success alone: whatever is no success has that status.
    """
    fields = arrival.log_fields
    try:
        arrival.deadline = Deadline(arrival.context)
        response = work(arrival)
    except Refused as refused:
        response = refused.response
    except Exception as error:
        response = _explained(error, fields)
    unconfigured = response is responses.NO_TOKEN or "setting" in fields
    app = "" if response is responses.APP_NOT_ALLOWED else fields.get("app", "")
    if failure_status and response.status != 200:
        response = response._replace(status=failure_status)
    log.line(
        logging.ERROR if response.status >= 500 else logging.INFO,
        message,
        status=response.status,
        reason=response.reason or ("stored" if "key" in fields else "handshake"),
        milliseconds=round((time.monotonic() - arrival.started) * 1000, 1),
        **fields,
        **metrics.metric_fields(
            arrival.environ,
            arrival.arrived,
            status=response.status,
            app=app,
            stage_variables=arrival.stage_variables,
            unconfigured=unconfigured,
        ),
    )
    return response


def decide(delivery: Delivery, app: App, bucket_path: BucketPath) -> Decision:
    """What becomes of a delivery; one that can never be accepted is kept all the same."""
    if len(delivery.body) > responses.MAX_BODY:
        return Decision(responses.TOO_LARGE)
    source, prefix = app.source, bucket_path.prefix
    verdict = signatures.verdict(delivery, app)
    refusal = None
    if app.signature == "require" and verdict != "verified":
        refusal = responses.INVALID_SIGNATURE
    else:
        obj = to_object(delivery, source, prefix=prefix, verdict=verdict)
        is_json = obj.content_type == CONTENT_TYPES["json"]
        if not (is_json or app.any_body) and claims_json(delivery.headers.get("content-type", "")):
            refusal = responses.NOT_JSON
    if refusal:
        reason = refusal.reason
        obj = to_rejected(delivery, source, reason=reason, prefix=prefix, verdict=verdict)
        return Decision(responses.kept(refusal, obj.key), obj, verdict)
    return Decision(responses.stored(bucket_path.bucket, obj.key), obj, verdict)


def store(
    arrival: Arrival, settings: Settings, delivery: Delivery, app: App, bucket_path: BucketPath
) -> Response:
    """Put what was decided; the response is for when it is there. Raises NotStored, NameTaken."""
    response, obj, verdict = decide(delivery, app, bucket_path)
    if obj is not None:
        fields = arrival.log_fields
        fields |= {"bytes": len(delivery.body), "verdict": verdict}
        bucket = open_store(settings, bucket_path.bucket)
        seconds = min(PUT_TIMEOUT, arrival.deadline.left())
        fields |= {"attempts": bucket.put(obj, seconds=seconds), "key": obj.key}
    return response


def _explained(error: Exception, log_fields: dict[str, Any]) -> Response:
    """What a sender hears of a failure; the log hears what failed, but no text that could quote."""
    if isinstance(error, SettingError):
        log_fields["setting"] = " ".join(filter(None, (error.variable, error.field)))
        return responses.wrong_setting(error.variable)
    if isinstance(error, NotStored):
        log_fields |= {"attempts": error.attempts, "why": error.why}
        return responses.NOT_STORED
    if isinstance(error, NameTaken):
        return responses.NAME_TAKEN
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    file = os.path.basename(frame.f_code.co_filename)
    log_fields |= {"why": type(error).__name__, "at": f"{file}:{line}"}
    return responses.INTERNAL_ERROR
