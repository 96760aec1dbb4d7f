"""Every response, to the letter. Senders and scripts match on these words: change them knowingly.

This is the one test that spells them; all others import them.
"""

import json

from chalicelib import responses
from chalicelib.responses import Response

FROZEN = """
400 "Body is not valid JSON"
400 "Invalid app: in this folder archive another name differs from it only by case"
400 "Invalid app: missing; name the stream of webhooks with app=NAME"
400 "Invalid app: use ASCII letters and digits with single - or _ between them, at most 50 characters"
400 "Invalid body: it came chunked. Send Content-Length" {"Connection": "close"}
400 "Invalid body: it is marked as base64 and is not"
400 "Invalid body: it is marked as text and is not UTF-8"
400 "Invalid query: a parameter is given more than once; give each once"
403 "App not allowed"
403 "Bucket not allowed"
403 "Invalid signature"
403 "Invalid token provided"
404 "No such path: POST /input?token=\\u2026&app=\\u2026"
405 "Method not allowed: send POST" {"Allow": "POST"}
413 "Body is larger than 4194304 bytes"
415 "Unsupported Media Type: the body is said to be gzip, and is not"
503 "No token is configured for this stage" {"Retry-After": "30"}
503 "Setting NAME is missing or wrong" {"Retry-After": "30"}
503 "Something went wrong here; nothing was lost if you send it again" {"Retry-After": "30"}
503 "Unable to upload file to S3" {"Retry-After": "30"}
"""  # noqa: E501


def test_every_refusal_has_the_words_it_had() -> None:
    constants = [value for value in vars(responses).values() if isinstance(value, Response)]
    constants.append(responses.wrong_setting("NAME"))
    lines = [
        f"{status} {json.dumps(body['reason'])} {json.dumps(dict(headers)) if headers else ''}"
        for status, body, headers in constants
        if not isinstance(body, str) and body["result"] == "fail"
    ]

    assert sorted(line.strip() for line in lines) == FROZEN.strip().splitlines()


def test_a_refusal_has_two_fields_and_a_third_where_the_bytes_are_kept() -> None:
    refusal = responses.INVALID_TOKEN
    kept = responses.kept(responses.NOT_JSON, "_rejected/shop/x.bin")

    assert refusal.body == {"result": "fail", "reason": "Invalid token provided"}
    assert kept.body == {
        "result": "fail",
        "reason": "Body is not valid JSON",
        "kept": "_rejected/shop/x.bin",
    }


def test_success_names_bucket_and_key() -> None:
    assert responses.stored("events", "shop/x.json") == (
        200,
        {"result": "success", "bucket": "events", "key": "shop/x.json"},
        {},
    )


def test_what_is_no_refusal_has_no_reason() -> None:
    handshake = responses.handshake_response("challenge", "text/plain")

    assert handshake == (200, "challenge", {"Content-Type": "text/plain"})
    assert responses.stored("events", "shop/x.json").reason == handshake.reason == ""


def test_what_can_never_be_accepted_says_what_it_is_and_why() -> None:
    assert responses.invalid("body", "it is upside down") == (
        400,
        {"result": "fail", "reason": "Invalid body: it is upside down"},
        {},
    )


def test_what_is_raised_says_its_reason_and_no_more() -> None:
    assert str(responses.Refused(responses.INVALID_TOKEN)) == "Invalid token provided"
