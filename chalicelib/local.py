"""What `chalice local` lacks: stage variables, and a log without tokens.

Only under the Chalice CLI, which sets AWS_CHALICE_CLI_MODE in its own process; never in Lambda.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

_VARIABLE = "STAGE_VAR_"


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
    ChaliceRequestHandler.log_message = _log_message


def _log_message(handler: Any, format: str, *args: object) -> None:
    """Log as http.server does, but nothing after a `?`: that is where tokens are."""
    from http.server import BaseHTTPRequestHandler

    BaseHTTPRequestHandler.log_message(handler, format, *map(_without_query, args))


def _without_query(arg: object) -> object:
    before, question_mark, _ = arg.partition("?") if isinstance(arg, str) else (arg, "", "")
    return f"{before}?…" if question_mark else arg
