"""The entry points: how deliveries come in. Read this first, then chalicelib/archive.py."""

import os
from datetime import UTC, datetime

from chalice.app import IAMAuthorizer, Response

from chalicelib import guards, receive
from chalicelib.gateway import Gateway, to_chalice
from chalicelib.prepare import prepare

IN_LAMBDA = "AWS_LAMBDA_FUNCTION_NAME" in os.environ
# In Lambda it never changes: a plain copy is read without decoding it for each request.
ENVIRON = dict(os.environ) if IN_LAMBDA else os.environ

app = Gateway(app_name="hookshelf", environ=ENVIRON)

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

    return direct.deliver(event, context, environ=ENVIRON, arrived=datetime.now(UTC))


@app.lambda_function()
def track_s3(event: object, context: object) -> dict[str, int]:
    """Tell Snowplow's collector of every object that an S3 notification names."""
    from chalicelib import snowplow

    return snowplow.track(event, context, environ=ENVIRON)


def _receive(guard: guards.Guard) -> Response:
    request = app.current_request
    return to_chalice(
        receive.respond(
            request.to_original_event(),
            request.lambda_context,
            environ=ENVIRON,
            arrived=datetime.now(UTC),
            guard=guard,
        )
    )


if IN_LAMBDA:
    prepare(ENVIRON)
