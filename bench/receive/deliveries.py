"""What is sent: events as API Gateway makes them, with usual and with hostile bodies."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from chalicelib.responses import MAX_BODY
from chalicelib.routes import INPUT
from chalicelib.sources.sendgrid import sign
from hookshelf.local import tryout

TOKEN = "a-token-for-measuring-0123456789"
APP = "sendgrid"
APPS_FILE = {
    APP: {
        "source": "sendgrid",
        "public_keys": [tryout.public_key_of(tryout.private_key())],
        "signature": "require",
    }
}


def batch(events: int = 5) -> bytes:
    """A SendGrid batch, laid out as SendGrid does."""
    return (
        b"["
        + b",\r\n".join(
            json.dumps(
                {
                    "email": f"recipient-{n}@example.com",
                    "timestamp": 1_760_000_000 + n,
                    "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
                    "event": "delivered",
                    "category": ["cat facts"],
                    "sg_event_id": "ZGVsaXZlcmVkLTAtMTUwNTY5NDgtYWJjZGVm",
                    "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
                    "response": "250 OK",
                },
                separators=(",", ":"),
            ).encode()
            for n in range(events)
        )
        + b"]\r\n"
    )


def event(body: bytes) -> bytes:
    """The proxy event of a signed delivery, `*/*` being binary."""
    headers = {
        "Accept": "*/*",
        "Accept-Encoding": "gzip",
        "Content-Type": "application/json",
        "Host": "abcdef1234.execute-api.us-east-1.amazonaws.com",
        "User-Agent": "SendGrid Event API",
        "X-Amzn-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Port": "443",
        "X-Forwarded-Proto": "https",
        **sign(body, tryout.private_key(), int(time.time())),
    }
    query = {"token": TOKEN, "app": APP, "bucket": "bench"}
    whole: dict[str, Any] = {
        "resource": INPUT,
        "path": INPUT,
        "httpMethod": "POST",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": query,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()},
        "pathParameters": None,
        "stageVariables": {"validToken": TOKEN},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdef1234",
            "domainName": "abcdef1234.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "abcdef1234",
            "extendedRequestId": "ABCDEFGHIJKL=",
            "httpMethod": "POST",
            "identity": {
                "accountId": None,
                "sourceIp": "192.0.2.1",
                "userAgent": "SendGrid Event API",
                "userArn": None,
            },
            "path": f"/api{INPUT}",
            "protocol": "HTTP/1.1",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "requestTime": "21/Nov/2026:12:00:00 +0000",
            "requestTimeEpoch": 1_795_262_400_000,
            "resourceId": "abc123",
            "resourcePath": INPUT,
            "stage": "api",
        },
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }
    return json.dumps(whole).encode()


def _array_of(element: bytes) -> bytes:
    """A JSON array of equal elements, as long as a body may be."""
    return b"[" + b",".join([element] * ((MAX_BODY - 2) // (len(element) + 1))) + b"]"


def _names() -> bytes:
    names: Iterator[bytes] = (b'"%07x":0' % n for n in range((MAX_BODY - 2) // 12))
    return b"{" + b",".join(names) + b"}"


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a batch of usual events": lambda: _array_of(batch(1).strip()[1:-1]),
    "arrays 480 deep": lambda: _array_of(b"[" * 480 + b"]" * 480),
    "objects 480 deep": lambda: _array_of(b'{"":' * 480 + b"0" + b"}" * 480),
    "empty arrays": lambda: _array_of(b"[]"),
    "objects of one name": lambda: _array_of(b'{"a":0}'),
    "one object of many names": _names,
    "numbers of one digit": lambda: _array_of(b"0"),
    "decimal fractions": lambda: _array_of(b"0.1"),
    "strings of one letter": lambda: _array_of(b'"a"'),
    "escaped letters": lambda: b'"' + b"\\u0041" * ((MAX_BODY - 2) // 6) + b'"',
    "halves of surrogate pairs": lambda: b'"' + b"\\ud800" * ((MAX_BODY - 2) // 6) + b'"',
    "one long string": lambda: b'"' + b"x" * (MAX_BODY - 2) + b'"',
}
