"""One JSON line per request, and never a token: in Lambda, at your desk, whatever is sent."""

import json
import logging
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from support.project import CREDENTIALS, PROJECT, TOKEN
from support.ways import Sent, Server, Servers, Way, by_event, event, invoke

from chalicelib import log, responses
from chalicelib.log import JsonLines

pytest_plugins = ["support.ways"]

Line = dict[str, Any]
JSON = {"Content-Type": "application/json"}
VARIABLES = {"validToken": TOKEN, "validToken_shut": ""}
SECRET = "a-token-mistyped-by-its-owner"


@pytest.fixture(scope="session")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One folder for all tests, so that they share a server."""
    folder = tmp_path_factory.mktemp("archive")
    return {"ARCHIVE_FOLDER": str(folder), "ARCHIVE_BUCKETS": "events"}


@pytest.fixture
def ask(environ: dict[str, str]) -> Callable[..., Sent]:
    """A good delivery, but for what is said otherwise."""

    def ask(body: bytes = b"{}", *, token=TOKEN, app="shop", more=(), **rest) -> Sent:
        query = [("token", token), ("app", app), *more]
        stage = {"headers": JSON, "variables": VARIABLES, "environ": environ} | rest
        return Sent(body, [pair for pair in query if pair[1] is not None], **stage)

    return ask


@pytest.fixture
def server(servers: Servers, ask: Callable[..., Sent]) -> Server:
    return servers.server(ask())


@pytest.fixture(params=["test client", "event", "http"])
def printed(
    request: pytest.FixtureRequest,
    ways: dict[str, Way],
    servers: Servers,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[Sent], str]:
    """Send a request, and hand out all that was printed because of it."""

    def by_http(sent: Sent) -> str:
        server = servers.server(sent)
        before = len(server.log())
        server.send(sent)
        return server.log()[before:]

    def in_process(sent: Sent) -> str:
        capsys.readouterr()
        ways[request.param](sent)
        return "".join(capsys.readouterr())

    return by_http if request.param == "http" else in_process


@pytest.fixture
def line(printed: Callable[[Sent], str]) -> Callable[[Sent], Line]:
    """Send a request, and hand out its one JSON line."""

    def line(sent: Sent) -> Line:
        (only,) = json_lines(printed(sent))
        return only

    return line


def json_lines(text: str) -> list[Line]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


# --- one line per request


def test_a_stored_delivery_is_one_line_that_says_where_and_how_fast(line, ask):
    body = b'{"event": "open"}'
    said = line(ask(body))

    assert re.fullmatch(r"[0-9a-f-]{36}", said.pop("request_id"))
    assert said.pop("milliseconds") >= 0
    key = said.pop("key")
    assert key.startswith("shop/")
    assert key.endswith(f"-{sha256(body).hexdigest()}.json")
    assert said == {
        "level": "INFO",
        "verdict": "unchecked",
        "message": "delivery",
        "app": "shop",
        "status": 200,
        "reason": "stored",
        "bytes": len(body),
        "attempts": 1,
    }


def test_a_rejected_delivery_is_one_line_that_says_why_and_where_it_is_kept(line, ask):
    said = line(ask(b"not JSON"))

    assert said["key"].startswith("_rejected/shop/")
    assert (said["level"], said["status"], said["app"], said["bytes"], said["attempts"]) == (
        "INFO",
        400,
        "shop",
        8,
        1,
    )
    assert said["reason"] == responses.NOT_JSON.reason


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"token": "wrong"}, 403, responses.INVALID_TOKEN.reason),
        ({"token": None}, 403, responses.INVALID_TOKEN.reason),
        ({"more": [("bucket", "other")]}, 403, responses.BUCKET_NOT_ALLOWED.reason),
        ({"more": [("x", "1"), ("x", "2")]}, 400, "Invalid query: a parameter is given more"),
        ({"app": "a b"}, 400, "Invalid app: "),
        ({"body": b"1" * (responses.MAX_BODY + 1)}, 413, responses.TOO_LARGE.reason),
        ({"method": "PUT"}, 405, responses.METHOD_NOT_ALLOWED.reason),
    ],
)
def test_a_refused_request_is_one_line_that_says_why(line, ask, change, status, reason):
    said = line(ask(**change))

    assert (said["level"], said["status"]) == ("INFO", status)
    assert said["reason"].startswith(reason)
    assert said["request_id"]
    assert said["milliseconds"] >= 0
    assert "key" not in said


def test_a_fault_of_ours_is_an_error(line, ask):
    said = line(ask(app="shut"))

    assert (said["level"], said["status"]) == ("ERROR", 503)
    assert said["reason"] == responses.NO_TOKEN.reason


def test_a_wrong_setting_is_an_error_that_names_it(line, ask):
    said = line(ask(environ={"ARCHIVE_BUCKETS": "s3://no"}))

    assert (said["level"], said["status"]) == ("ERROR", 503)
    assert "ARCHIVE_BUCKETS" in said["reason"]


def test_where_s3_is_gone_the_line_has_the_attempts_and_a_short_reason(printed, ask):
    environ = {
        **CREDENTIALS,
        "ARCHIVE_CLIENT": "obstore",
        "ARCHIVE_BUCKETS": "events",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
    }
    text = printed(ask(environ=environ, seconds=3))
    (said,) = json_lines(text)

    assert (said["level"], said["status"], said["attempts"]) == ("ERROR", 503, 1)
    assert (said["app"], said["bytes"]) == ("shop", 2)
    assert re.fullmatch(r"[\w ]{1,80}", said["why"])
    assert "key" not in said
    assert "127.0.0.1:1/" not in text


def test_a_fault_nobody_thought_of_is_named_by_its_type_alone(ask, capsys):
    sent = ask()
    invoke(event(sent), sent, context=object())
    (said,) = json_lines(capsys.readouterr().err)

    assert (said["level"], said["status"], said["why"]) == ("ERROR", 503, "AttributeError")


def test_the_line_and_the_answer_agree_on_the_key(ask, capsys):
    got = by_event(ask())
    (said,) = json_lines(capsys.readouterr().err)

    assert said["key"] == got.json["key"]


def test_an_event_s_request_id_is_the_one_api_gateway_gave(ask, capsys):
    by_event(ask())
    (said,) = json_lines(capsys.readouterr().err)

    assert said["request_id"] == "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"


def test_without_api_gateway_s_request_id_there_is_lambda_s(ask, capsys):
    sent = ask()
    whole = event(sent)
    del whole["requestContext"]["requestId"]
    invoke(whole, sent)
    (said,) = json_lines(capsys.readouterr().err)

    assert said["request_id"] == "6bc28136-xmpl-4365-b021-0ce6b2e64ab0"


def test_a_made_up_request_id_is_not_repeated(ask, capsys):
    sent = ask()
    whole = event(sent)
    whole["requestContext"]["requestId"] = 'x\n{"status": 200}'
    invoke(whole, sent)
    (said,) = json_lines(capsys.readouterr().err)

    assert said["request_id"] == ""


# --- a line is a line

ODD = "".join(map(chr, [*range(0x20), 0x7F, 0x85, 0xA0, 0x2028, 0x2029, 0xFEFF])) + "\ud83dé🔑"


def emit(capsys: pytest.CaptureFixture[str], **record: object) -> str:
    JsonLines().emit(logging.makeLogRecord({"levelname": "INFO", **record}))
    return capsys.readouterr().err


def test_a_line_stays_one_line_whatever_is_in_it(capsys):
    text = emit(capsys, msg="before%safter", args=(ODD,), app=ODD)

    assert text.isascii()
    assert len(text.splitlines()) == 1
    assert text[:-1].isprintable()
    assert json.loads(text) == {"level": "INFO", "message": f"before{ODD}after", "app": ODD}


def test_a_line_below_the_level_that_is_logged_is_not_written(capsys, caplog):
    caplog.set_level(logging.ERROR, "hookshelf")
    log.line(logging.WARNING, "not asked for")
    log.line(logging.ERROR, "asked for")

    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == [
        "asked for"
    ]


def test_what_json_cannot_write_is_written_as_text(capsys):
    text = emit(capsys, msg="odd", where=Path("a\nb"), what=b"\n")

    assert json_lines(text) == [
        {"level": "INFO", "message": "odd", "where": "a\nb", "what": "b'\\n'"}
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"app": 'shop\n{"status": 200}'},
        {"app": "shop\r\n\u2028\x1b[31m"},
        {"token": 'x\n{"status": 200}'},
        {"more": [("bucket", 'events\n{"status": 200}')]},
        {"more": [('x\n{"status": 200}', "1")]},
        {"body": b'{\n{"status": 200}\n'},
        {"headers": {**JSON, "User-Agent": '{"status": 200}'}},
    ],
)
def test_a_sender_cannot_write_lines_of_its_own(printed, ask, change):
    text = printed(ask(**change))

    assert len(json_lines(text)) == 1
    assert '{"status": 200}' not in text.replace("\\", "")
    assert "\x1b" not in text


# --- no tokens

TOKENS_SENT = {
    "right": {},
    "wrong": {"token": SECRET},
    "wrong, with much around it": {"token": f'"{SECRET}"\n?&%'},
    "right, with a wrong one": {"more": [("token", SECRET)]},
    "no app": {"app": None},
    "for a closed app": {"app": "shut"},
    "as Bearer": {"token": None, "headers": {**JSON, "Authorization": f"Bearer {TOKEN}"}},
    "as a wrong Bearer": {"token": None, "headers": {**JSON, "Authorization": f"Bearer {SECRET}"}},
    "as another scheme": {"headers": {**JSON, "Authorization": f"Basic {SECRET}"}},
    "as a malformed app": {"app": f"{SECRET}!"},
    "as a bucket": {"more": [("bucket", SECRET)]},
    "as a parameter's name": {"more": [(SECRET, "x")]},
    "under another name": {"token": None, "more": [("Token", TOKEN)]},
    "in a body that is not JSON": {"body": SECRET.encode()},
    "in a header": {"headers": {"Content-Type": SECRET, "X-Token": SECRET, "User-Agent": SECRET}},
    "with a method we refuse": {"method": "GET"},
}


@pytest.mark.parametrize("change", TOKENS_SENT.values(), ids=TOKENS_SENT)
def test_no_token_is_ever_logged(printed, ask, change):
    text = printed(ask(**change))

    assert len(json_lines(text)) == 1
    assert TOKEN not in text
    assert SECRET not in text


REQUEST_LINES = {
    "a blank in the query": "POST /input?app=a token={} HTTP/1.1",
    "a blank before the version": "POST /input?app=a&token={}  HTTP/1.1 x",
    "a percent-encoded name": "POST /input?app=a&%74oken={} HTTP/1.1",
    "a second question mark": "POST /input?app=a?token={} HTTP/1.1",
    "a whole address": "POST http://127.0.0.1/input?app=a&token={} HTTP/1.1",
    "a path that is not ours": "POST /elsewhere?app=a&token={} HTTP/1.1",
    "a method that is none": "BREW /input?app=a&token={} HTTP/1.1",
    "no version": "POST /input?app=a&token={}",
    "a version that is none": "POST /input?app=a&token={} HTTP/x",
    "a version to come": "POST /input?app=a&token={} HTTP/2.0",
    "an ampersand for the question mark": "POST /input&token={} HTTP/1.1",
    "a semicolon for the question mark": "POST /input;token={} HTTP/1.1",
    "an encoded question mark": "POST /input%3Fapp=a&token={} HTTP/1.1",
    "a hash for the question mark": "POST /input#token={} HTTP/1.1",
    "a blank for the question mark": "POST /input token={} HTTP/1.1",
    "a path like a query": "POST /input/token={} HTTP/1.1",
    "the query alone": "token={}&app=a",
}


@pytest.mark.parametrize("request_line", REQUEST_LINES.values(), ids=REQUEST_LINES)
def test_the_local_server_logs_no_token_of_a_mistyped_request(server, request_line):
    token = f"mistyped-{uuid.uuid4().hex}"
    request = f"{request_line.format(token)}\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}"
    before = len(server.log())
    server.send_raw(request.encode())
    printed = server.log()[before:]

    assert printed  # it was noticed
    assert token not in printed


def test_the_local_server_still_says_what_was_asked_and_how_it_went(server, ask):
    before = len(server.log())
    server.send(ask())

    assert re.search(r'"POST /input" 200', server.log()[before:])


# --- in Lambda

FUNCTION = """
import json, logging, sys

class Collect(logging.Handler):
    def emit(self, record):
        print(json.dumps(vars(record), default=str))

logging.getLogger().addHandler(Collect())  # as the runtime adds its own

from app import app

app(json.load(sys.stdin), None)
print(len(logging.getLogger("hookshelf").handlers))
"""


@pytest.fixture
def in_lambda(ask: Callable[..., Sent]) -> Callable[..., subprocess.CompletedProcess]:
    """Run the function in an interpreter of its own, with the runtime's logger in place."""

    def in_lambda(**more: str) -> subprocess.CompletedProcess:
        sent = ask(b"[1]")
        return subprocess.run(
            [sys.executable, "-c", FUNCTION],
            cwd=PROJECT,
            env={**os.environ, **sent.environ, "AWS_LAMBDA_FUNCTION_NAME": "hookshelf", **more},
            input=json.dumps(event(sent)),
            capture_output=True,
            text=True,
            check=True,
        )

    return in_lambda


def test_where_lambda_writes_json_the_fields_go_in_as_extra(in_lambda):
    run = in_lambda(AWS_LAMBDA_LOG_FORMAT="JSON")
    *records, handlers = map(json.loads, run.stdout.splitlines())
    (record,) = records

    assert handlers == 0
    assert run.stderr == ""
    assert (record["name"], record["levelname"], record["msg"]) == (
        "hookshelf",
        "INFO",
        "delivery",
    )
    assert record["app"] == "shop"
    assert record["status"] == 200
    assert record["reason"] == "stored"
    assert record["bytes"] == 3
    assert record["attempts"] == 1
    assert record["key"].startswith("shop/")
    assert record["milliseconds"] >= 0
    assert record["request_id"] == "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"
    assert TOKEN not in run.stdout


@pytest.mark.parametrize("more", [{}, {"AWS_LAMBDA_LOG_FORMAT": "Text"}], ids=["unset", "Text"])
def test_where_lambda_writes_text_one_line_of_json_is_written_and_not_twice(in_lambda, more):
    run = in_lambda(**more)
    (said,) = json_lines(run.stderr)

    assert run.stdout.splitlines() == ["1"]
    assert (said["message"], said["app"], said["status"]) == ("delivery", "shop", 200)
    assert TOKEN not in run.stderr
