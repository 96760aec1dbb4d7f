"""Where the project is, the account that tests work on, and a short way to post."""

import json
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any

from chalicelib.routes import INPUT
from support.canary import TOKEN

PROJECT = Path(__file__).parents[2]
SAMPLES = PROJECT / "tests" / "samples"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
}


class Context:
    """Lambda's, with so many seconds left."""

    aws_request_id = "r-1"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return round(self.seconds * 1000)


def post(body: bytes, context: Any = None, **query: str) -> tuple[int, dict[str, Any], Any]:
    """Post a body to `/input` as API Gateway does: status, headers and what the answer says."""
    from app import app

    query = {"token": TOKEN, "app": "shop"} | query
    event = {
        "requestContext": {"httpMethod": "POST", "resourcePath": INPUT, "requestId": "r-1"},
        "headers": {"content-type": "application/json"},
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()},
        "stageVariables": {"validToken": TOKEN},
        "body": b64encode(body).decode(),
        "isBase64Encoded": True,
    }
    answer = app(event, context)
    return answer["statusCode"], answer["headers"], json.loads(answer["body"])


def aws_environ(endpoint: str) -> dict[str, str]:
    """What a shell says that works on the account at an endpoint."""
    return {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1"}


def reset(endpoint: str) -> None:
    """Empty the account; that of the endpoint of `moto_endpoint` is the same."""
    with urllib.request.urlopen(f"{endpoint}/moto-api/reset", data=b"", timeout=60) as answer:
        assert answer.status == 200
