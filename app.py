"""The entry points: how deliveries come in. Read this first, then chalicelib/archive.py."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime

from chalice.app import IAMAuthorizer, Response

from chalicelib import guards, receive
from chalicelib.gateway import Gateway, to_chalice
from chalicelib.prepare import prepare

# In Lambda the environment never changes, and a plain copy is read without decoding it each time.
LAMBDA_ENVIRON = dict(os.environ) if "AWS_LAMBDA_FUNCTION_NAME" in os.environ else {}


def environ() -> Mapping[str, str]:
    """The settings, wherever this runs."""
    return LAMBDA_ENVIRON or os.environ


app = Gateway(app_name="hookshelf", environ=environ)

# Every method has a route, so that those we refuse hear so, and API Gateway's "Missing
# Authentication Token" is not all they hear.
METHODS = ["POST", "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"]


@app.route("/input", methods=METHODS, content_types=["*/*"])
def post() -> Response:
    """Archive what a sender posts, for whoever presents the stage's token."""
    return _receive(guards.by_token)


@app.route("/iam/input", methods=METHODS, content_types=["*/*"], authorizer=IAMAuthorizer())
def post_signed() -> Response:
    """Archive what an AWS principal posts, signed with SigV4, to the apps that name it."""
    return _receive(guards.by_iam)


@app.lambda_function()
def deliver(event: object, context: object) -> dict[str, str]:
    """Archive what is invoked directly; every failure raises, so that Lambda retries."""
    from chalicelib import direct  # not on the way of a post: it loads pydantic

    return direct.deliver(event, context, environ=environ(), arrived=datetime.now(UTC))


@app.lambda_function()
def track_s3(event: object, context: object) -> dict[str, int]:
    """Tell Snowplow's collector of every object that an S3 notification names."""
    from chalicelib import snowplow

    return snowplow.track(event, context, environ=environ())


def _receive(guard: guards.Guard) -> Response:
    event, context = app.current_invoke
    arrived = datetime.now(UTC)
    response = receive.respond(event, context, environ=environ(), arrived=arrived, guard=guard)
    return to_chalice(response)


if LAMBDA_ENVIRON:
    prepare(LAMBDA_ENVIRON)
