"""What `chalice local` lacks: stage variables, and a log without tokens.

Only under the Chalice CLI, which sets AWS_CHALICE_CLI_MODE in its own process; never in Lambda.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

_VARIABLE = "STAGE_VAR_"
_DOORS = ("/input", "/iam/input")


def is_local(environ: Mapping[str, str]) -> bool:
    """Whether this is the Chalice CLI at someone's desk."""
    return "AWS_CHALICE_CLI_MODE" in environ and "AWS_LAMBDA_FUNCTION_NAME" not in environ


def stage_variables(environ: Mapping[str, str]) -> dict[str, str] | None:
    """The stage variables that STAGE_VAR_<name> stand in for; None where there are none.

    Chalice has no setting for stage variables. https://github.com/aws/chalice/issues/728
    """
    if not is_local(environ):
        return None
    return {
        name.removeprefix(_VARIABLE): value
        for name, value in environ.items()
        if name.startswith(_VARIABLE)
    } or None


def set_up(environ: Mapping[str, str]) -> None:
    """Mend the local server's request handler."""
    if not is_local(environ):
        return
    from chalice.local import ChaliceRequestHandler, ThreadedHTTPServer

    # Chalice warns that it lets everybody pass on AWS_IAM routes; guards.by_iam does not.
    warnings.filterwarnings("ignore", message="IAMAuthorizer is not a supported in local mode")

    # Headers and body are two small writes: Nagle's algorithm and delayed acknowledgement make
    # every request on a kept connection wait 44 ms.
    ChaliceRequestHandler.disable_nagle_algorithm = True
    ThreadedHTTPServer.request_queue_size = 128  # of 5: senders come in bursts
    ChaliceRequestHandler.log_request = _log_request
    ChaliceRequestHandler.log_error = _log_error
    ChaliceRequestHandler.send_error = _send_error
    ChaliceRequestHandler.error_content_type = "application/json"
    ChaliceRequestHandler.error_message_format = '{"result":"fail","reason":"%(message)s"}'


def _log_request(handler: Any, code: Any = "-", size: Any = "-") -> None:
    """Log method, path and status, but no path that is not a door's: it may hold a token."""
    path = handler.path.partition("?")[0]
    shown = path if path in _DOORS else "…"
    handler.log_message('"%s %s" %s', handler.command, shown, getattr(code, "value", code))


def _log_error(handler: Any, format: str, *args: object) -> None:
    """Log that a request was malformed, and nothing of it."""
    handler.log_message("malformed request, or none in time")


def _send_error(
    handler: Any, code: int, message: str | None = None, explain: str | None = None
) -> None:
    """Answer what never reaches our code, without quoting the request as http.server would."""
    from http.server import BaseHTTPRequestHandler

    BaseHTTPRequestHandler.send_error(handler, 405 if code == 501 else code)
