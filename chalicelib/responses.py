"""Every response a sender can get: status, reason.

What a status does depends on the sender. SendGrid's event webhook retries anything but 2xx for
24 hours; others drop a delivery for good on 4xx. So 4xx is only for what can never be accepted as
it was sent, and whatever is our fault is 503 with Retry-After. Never 3xx, 401, 410 or 429: each
makes some sender give up or disable the webhook.
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/troubleshooting
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from chalicelib.errors import HookshelfError
from chalicelib.routes import INPUT

MAX_BODY = 4 * 1024 * 1024  # bytes; Lambda's 6 MB event holds 4.5 MiB once it is base64
RETRY_AFTER = 30  # seconds until a sender should try again what failed here


class Response(NamedTuple):
    """Status, body (a JSON object, or text for a handshake) and headers beyond the usual."""

    status: int
    body: Mapping[str, str] | str
    headers: Mapping[str, str] = MappingProxyType({})

    @property
    def reason(self) -> str:
        """Why a delivery was refused; empty where it was not."""
        return "" if isinstance(self.body, str) else self.body.get("reason", "")


class Refused(HookshelfError):
    """Raised wherever a request goes no further; carries the response."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.reason)
        self.response = response


def fail(status: int, reason: str, **headers: str) -> Response:
    """Refused, and why. A header is named with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, {"result": "fail", "reason": reason}, named)


def unavailable(reason: str) -> Response:
    """Our fault: the sender should try again soon."""
    return fail(503, reason, Retry_After=str(RETRY_AFTER))


def invalid(what: str, why: str) -> Response:
    """A parameter, header or body that can never be accepted as it was sent."""
    return fail(400, f"Invalid {what}: {why}")


def stored(bucket: str, key: str) -> Response:
    """The store has the bytes."""
    return Response(200, {"result": "success", "bucket": bucket, "key": key})


def kept(refusal: Response, key: str) -> Response:
    """Refused, and the bytes are kept under `key` all the same."""
    assert not isinstance(refusal.body, str)
    return refusal._replace(body={**refusal.body, "kept": key})


def handshake_response(text: str, content_type: str) -> Response:
    """What a sender wants to read before it sends anything."""
    return Response(200, text, {"Content-Type": content_type})


def wrong_setting(variable: str) -> Response:
    """The operator has to see to a setting."""
    return unavailable(f"Setting {variable} is missing or wrong")


INVALID_TOKEN = fail(403, "Invalid token provided")
NO_TOKEN = unavailable("No token is configured for this stage")
MISSING_APP = invalid("app", "missing; name the stream of webhooks with app=NAME")
INVALID_APP = invalid(
    "app", "use ASCII letters and digits with single - or _ between them, at most 50 characters"
)
DUPLICATE_PARAMETER = invalid("query", "a parameter is given more than once; give each once")
INVALID_BASE64 = invalid("body", "it is marked as base64 and is not")
INVALID_TEXT = invalid("body", "it is marked as text and is not UTF-8")
CHUNKED_BODY = fail(400, "Invalid body: it came chunked. Send Content-Length", Connection="close")
APP_NOT_ALLOWED = fail(403, "App not allowed")
BUCKET_NOT_ALLOWED = fail(403, "Bucket not allowed")
NAME_TAKEN = invalid("app", "in this folder archive another name differs from it only by case")
TOO_LARGE = fail(413, f"Body is larger than {MAX_BODY} bytes")
NO_SUCH_PATH = fail(404, f"No such path: POST {INPUT}?token=…&app=…")
NOT_GZIP = fail(415, "Unsupported Media Type: the body is said to be gzip, and is not")
METHOD_NOT_ALLOWED = fail(405, "Method not allowed: send POST", Allow="POST")
INVALID_SIGNATURE = fail(403, "Invalid signature")  # these two through `kept`
NOT_JSON = fail(400, "Body is not valid JSON")
NOT_STORED = unavailable("Unable to upload file to S3")
INTERNAL_ERROR = unavailable("Something went wrong here; nothing was lost if you send it again")
