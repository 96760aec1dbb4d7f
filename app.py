"""The entry points: how deliveries come in. Read this first, then chalicelib/archive.py."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from chalicelib import guards, receive, routes
from chalicelib.gateway import gateway
from chalicelib.prepare import prepare
from chalicelib.responses import Response
from chalicelib.settings import LambdaEnviron

LAMBDA_ENVIRON = LambdaEnviron(os.environ if "AWS_LAMBDA_FUNCTION_NAME" in os.environ else {})


def environ() -> Mapping[str, str]:
    """The settings, wherever this runs."""
    return LAMBDA_ENVIRON or os.environ


app = gateway(environ)


@app.on(routes.INPUT)
def post(event: Mapping[str, Any], context: Any) -> Response:
    """Archive what a sender posts, for whoever presents the stage's token."""
    return _receive(event, context, guards.by_token)


@app.on(routes.IAM_INPUT, signed=True)
def post_signed(event: Mapping[str, Any], context: Any) -> Response:
    """Archive what an AWS principal posts, signed with SigV4, to the apps that name it."""
    return _receive(event, context, guards.by_iam)


@app.function
def deliver(event: object, context: object) -> dict[str, str]:
    """Archive what is invoked directly; every failure raises, so that Lambda retries."""
    from chalicelib import direct  # not on the way of a post: it loads pydantic

    return direct.deliver(event, context, environ=environ(), arrived=datetime.now(UTC))


@app.function
def track_s3(event: object, context: object) -> dict[str, int]:
    """Tell Snowplow's collector of every object that an S3 notification names."""
    from chalicelib import snowplow

    return snowplow.track(event, context, environ=environ())


def _receive(event: Mapping[str, Any], context: Any, guard: guards.Guard) -> Response:
    arrived = datetime.now(UTC)
    return receive.respond(event, context, environ=environ(), arrived=arrived, guard=guard)


if LAMBDA_ENVIRON:
    prepare(LAMBDA_ENVIRON)
