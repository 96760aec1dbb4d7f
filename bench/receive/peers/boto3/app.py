"""The plainest function: token, JSON, one put with the boto3 that Lambda brings along."""

import base64
import hmac
import json
import logging
import time
import uuid

import boto3

log = logging.getLogger()
log.setLevel(logging.INFO)
s3 = boto3.client("s3")


def app(event, context):
    """Store the body of one request."""
    query = event.get("queryStringParameters") or {}
    expected = (event.get("stageVariables") or {}).get("validToken", "")
    if not hmac.compare_digest(query.get("token", ""), expected):
        return response(403, result="fail", reason="Invalid token provided")
    body = event.get("body") or ""
    body = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    json.loads(body)
    key = f"{query['app']}_{time.time_ns()}_{uuid.uuid4().hex[:8]}.json"
    s3.put_object(
        Bucket=query.get("bucket", "bench"), Key=key, Body=body, ContentType="application/json"
    )
    log.info("stored %s", key)
    return response(200, result="success", key=key)


def response(status, **body):
    """A response as API Gateway wants it."""
    headers = {"Content-Type": "application/json"}
    return {"statusCode": status, "headers": headers, "body": json.dumps(body)}
