"""A put with obstore and nothing else: no token, no checks, no log line."""

import os
from base64 import b64decode

import obstore
from obstore.store import S3Store

store = S3Store(
    "bench",
    config={
        "region": os.environ["AWS_REGION"],
        "endpoint": os.environ["AWS_ENDPOINT_URL_S3"],
        "checksum_algorithm": "SHA256",
        "conditional_put": "etag",
        "access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        "session_token": os.environ["AWS_SESSION_TOKEN"],
    },
    client_options={"allow_http": True},
)


def app(event, context):
    """Put the body under the request's id."""
    obstore.put(
        store,
        context.aws_request_id,
        b64decode(event["body"]),
        attributes={"Content-Type": "application/json"},
        mode="create",
        use_multipart=False,
    )
    return {"statusCode": 200, "body": "{}"}
