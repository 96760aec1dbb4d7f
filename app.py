"""The doors of hookshelf: how deliveries come in. Read this first, then chalicelib/archive.py."""

import os
from datetime import UTC, datetime

from chalice.app import Response

from chalicelib import door
from chalicelib.gateway import Gateway, response

app = Gateway(app_name="hookshelf")

# Every method has a route, so that those we refuse are told so, and API Gateway's "Missing
# Authentication Token" is not all they hear.
METHODS = ["POST", "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"]


@app.route("/input", methods=METHODS, content_types=["*/*"])
def receive() -> Response:
    """Archive what a sender posts, for whoever presents the stage's token."""
    request = app.current_request
    return response(
        door.receive(
            request.to_original_event(),
            request.lambda_context,
            environ=os.environ,
            arrived=datetime.now(UTC),
        )
    )
