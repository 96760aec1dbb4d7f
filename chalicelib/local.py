"""What `chalice local` and `make run` need that API Gateway brings: stage variables, a server.

Only under the Chalice CLI, which sets AWS_CHALICE_CLI_MODE in its own process; never in Lambda.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

STAGE_VARIABLE = "STAGE_VAR_"  # begins the names of what stands in for stage variables


def is_local(environ: Mapping[str, str]) -> bool:
    """Whether this is the Chalice CLI on someone's own machine."""
    return "AWS_CHALICE_CLI_MODE" in environ and "AWS_LAMBDA_FUNCTION_NAME" not in environ


def stage_variables(environ: Mapping[str, str]) -> dict[str, str] | None:
    """What stands in for stage variables here; None where there are none, and never in Lambda."""
    return (configured_stage_variables(environ) or None) if is_local(environ) else None


def configured_stage_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The stage variables that STAGE_VAR_<name> stand in for, by their own names.

    Chalice has no setting for stage variables. https://github.com/aws/chalice/issues/728
    """
    return {
        name.removeprefix(STAGE_VARIABLE): value
        for name, value in environ.items()
        if name.startswith(STAGE_VARIABLE)
    }


def set_up(environ: Mapping[str, str]) -> None:
    """Let `chalice local` serve with waitress, where that is installed."""
    if not is_local(environ):
        return
    import chalice.local

    # Chalice warns that it lets everybody pass on AWS_IAM routes; guards.by_iam does not.
    warnings.filterwarnings("ignore", message="IAMAuthorizer is not a supported in local mode")
    try:
        from chalicelib.local_server import LocalServer
    except ImportError:  # waitress comes with hookshelf's commands, not with Chalice
        # Chalice's own server prints the query, and with it the token.
        chalice.local.ChaliceRequestHandler.log_message = lambda *_: None
    else:
        chalice.local.create_local_server = LocalServer  # type: ignore[assignment]
