"""The conventional design: Chalice for the route, pydantic for the query, boto3 for the put."""

import hmac
import json
import logging
import time
import uuid
from typing import Annotated

import boto3
from chalice import Chalice, Response
from pydantic import BaseModel, StringConstraints, ValidationError

app = Chalice(app_name="archiver")
app.log.setLevel(logging.INFO)
app.api.binary_types = ["*/*"]
s3 = boto3.client("s3")

App = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Bucket = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]


class Query(BaseModel):
    """The parameters of a delivery."""

    token: str
    app: App
    bucket: Bucket = "bench"


class Result(BaseModel):
    """What a sender is told."""

    result: str
    reason: str | None = None
    key: str | None = None


@app.route("/input", methods=["POST"], content_types=["*/*"])
def receive():
    """Store the body of one request."""
    request = app.current_request
    try:
        query = Query(**(request.query_params or {}))
    except ValidationError as error:
        return response(400, Result(result="fail", reason=str(error)))
    expected = (request.stage_vars or {}).get("validToken", "")
    if not hmac.compare_digest(query.token, expected):
        return response(403, Result(result="fail", reason="Invalid token provided"))
    body = request.raw_body
    json.loads(body)
    key = f"{query.app}_{time.time_ns()}_{uuid.uuid4().hex[:8]}.json"
    s3.put_object(Bucket=query.bucket, Key=key, Body=body, ContentType="application/json")
    app.log.info("stored %s", key)
    return response(200, Result(result="success", key=key))


def response(status, result):
    """A response as Chalice wants it; bytes, as every type is binary here."""
    body = result.model_dump_json(exclude_none=True).encode()
    return Response(body, status_code=status, headers={"Content-Type": "application/json"})
