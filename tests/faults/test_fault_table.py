"""Whatever goes wrong: 200 means that the bytes are there, and nobody hears a token or a secret.

`make faults` prints table.py with what came of each row, for each entry point and client.
"""

import base64
import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from faults.table import (
    APP_SECRET,
    APPS,
    CASES,
    IAM,
    INPUT,
    INVOKE,
    LOCAL,
    LOCAL_IAM,
    Case,
)
from support.canary import TOKEN
from support.faulty_s3 import FaultyS3, Stored
from support.ways import Context, Sent, Server, Servers, event

import app
from chalicelib import routes
from chalicelib.settings import from_environment
from chalicelib.store import PUT_TIMEOUT, open_store

pytest_plugins = ["support.ways"]

SLACK = 45  # seconds a busy machine may add; the servers that stall do so for longer
ARN = "arn:aws:iam::123456789012:user/sender"
LOCAL_SECRET = "a-local-secret-that-only-the-fault-table-uses"
S3_SECRET = "an-s3-secret-that-only-the-fault-table-uses"
SECRETS = [TOKEN, APP_SECRET, LOCAL_SECRET, S3_SECRET]
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAFAULTTABLE",
    "AWS_SECRET_ACCESS_KEY": S3_SECRET,
    "AWS_REGION": "us-east-1",
}
EARLIER = b'"here before"'
OBSTORE, BOTO3 = "obstore", "boto3"
# Whoever sees S3 fail does so with both clients; the local server takes the one that ships.
CELLS = [
    pytest.param(
        client,
        way,
        case,
        marks=pytest.mark.xdist_group(f"fault table, {client}"),
        id=f"{case.name}-{way}-{client}",
    )
    for client in (OBSTORE, BOTO3)
    for case in CASES
    for way in case.via
    if client == OBSTORE or (case.s3 and way not in (LOCAL, LOCAL_IAM))
]


class Heard(NamedTuple):
    """What one sender heard. Status 0: nothing, the connection was closed."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def json(self) -> dict[str, str]:
        said: dict[str, str] = json.loads(self.text) if self.text else {}
        return said


class Outcome(NamedTuple):
    """What all of a case heard, and what was sent."""

    heard: list[Heard]
    bodies: list[bytes]
    seconds: float


class Table:
    """One S3, one local server, and a place in the archive for each case and entry point."""

    def __init__(
        self, s3: FaultyS3, log: "Log", server: Server | None, environ: dict[str, str]
    ) -> None:
        self.s3, self.log, self.server, self.environ = s3, log, server, environ
        self.began: dict[str, Any] = {}  # futures, by place

    def outcome(self, case: Case, way: str) -> Outcome:
        """What came of it; where S3 fails it has been sent already."""
        place = place_of(case, way)
        return self.began[place].result() if place in self.began else self.send(case, way)

    def send(self, case: Case, way: str) -> Outcome:
        """Send a case through an entry point, as often at once as it says."""
        marks = range(case.times)
        bodies = [case.body if case.same else case.body + b" " * n for n in marks]
        began = time.monotonic()
        with ThreadPoolExecutor(case.times) as senders:
            heard = senders.map(lambda body: self._send_one(case, way, body), bodies)
            return Outcome(list(heard), bodies, time.monotonic() - began)

    def _send_one(self, case: Case, way: str, body: bytes) -> Heard:
        path = routes.IAM_INPUT if way in (IAM, LOCAL_IAM) else routes.INPUT
        query = {"token": TOKEN, "app": "shop", "bucket": f"events/{place_of(case, way)}"}
        if path == routes.IAM_INPUT:
            del query["token"]
        chosen = {name: value for name, value in (query | case.query).items() if value is not None}
        pairs = [
            (n, v)
            for n, some in chosen.items()
            for v in ([some] if isinstance(some, str) else some)
        ]
        headers = dict(case.headers)
        if case.content_type:
            headers["Content-Type"] = case.content_type
        sent = Sent(body, pairs, headers, case.method, case.variables, {}, case.seconds)
        if way == INVOKE:
            return self._invoke(case, chosen, body)
        if way in (LOCAL, LOCAL_IAM):
            return self._post(case, sent, path)
        return self._handle(case, sent, path)

    def _handle(self, case: Case, sent: Sent, path: str) -> Heard:
        asked = event(sent)
        asked["requestContext"] |= {"resourcePath": path, "identity": {"userArn": ARN}}
        if case.base64 is not None:
            asked |= {"body": case.base64, "isBase64Encoded": True}
        answer = app.app(asked, Context(case.seconds))
        return Heard(answer["statusCode"], answer["body"], answer["headers"])

    def _invoke(self, case: Case, query: dict[str, Any], body: bytes) -> Heard:
        text = base64.b64encode(body).decode() if case.base64 is None else case.base64
        envelope = {"app": query["app"], "bucket": query["bucket"], "body_base64": text}
        try:
            return Heard(200, json.dumps(app.deliver(envelope, Context(case.seconds))), {})
        except Exception as error:
            return Heard(500, json.dumps({"reason": str(error)}), {})

    def _post(self, case: Case, sent: Sent, path: str) -> Heard:
        assert self.server
        target = f"{path}?{urlencode(sent.query)}"
        if case.raw:
            return _read(self.server.send_raw(case.raw.replace(b"%b", target.encode())))
        headers = {**sent.headers, "Content-Length": str(len(sent.body))}
        if path == routes.IAM_INPUT:
            url = f"http://127.0.0.1:{self.server.port}{target}"
            request = AWSRequest(sent.method, url, data=sent.body, headers=headers)
            who = Credentials("sender", LOCAL_SECRET)
            SigV4Auth(who, "execute-api", "us-east-1").add_auth(request)
            headers = dict(request.headers)
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            connection.request(sent.method, target, sent.body, headers)
            answer = connection.getresponse()
            return Heard(answer.status, answer.read().decode(), dict(answer.getheaders()))
        finally:
            connection.close()


def _read(raw: bytes) -> Heard:
    head, _, text = raw.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        head, _, text = text.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return Heard(
        int(lines[0].split()[1]) if head else 0,
        text.decode(),
        dict(line.split(": ", 1) for line in lines[1:]),
    )


def place_of(case: Case, way: str) -> str:
    """The path below the bucket that only this case and entry point write to."""
    return f"c{CASES.index(case)}-{way}"


class Log(logging.Handler):
    """All that is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(repr(vars(record)))


@pytest.fixture(scope="module")
def tables(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Table]]:
    """The table of a client, set up once: where S3 fails it is sent at once, as that takes time."""
    made: dict[str, Table] = {}
    with ExitStack() as ending:

        def table_of(client: str) -> Table:
            if client not in made:
                for earlier in made.values():
                    wait(earlier.began.values())
                apps = tmp_path_factory.mktemp("apps") / "apps.json"
                apps.write_text(json.dumps(APPS))
                cells = [item.callspec.params for item in request.session.items
                         if hasattr(item, "callspec")]  # fmt: skip
                selected = [(cell["case"], cell["way"]) for cell in cells
                            if "case" in cell and cell.get("client") == client]  # fmt: skip
                made[client] = _set_up(client, selected, str(apps), servers, ending)
            return made[client]

        yield table_of


def _set_up(
    client: str, cells: list[tuple[Case, str]], apps: str, servers: Servers, ending: ExitStack
) -> Table:
    log = Log()
    scripts = {place_of(case, way): case.s3() for case, way in cells if case.s3}
    s3 = ending.enter_context(FaultyS3((), scripts, CREDENTIALS))
    environ = {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL_S3": s3.endpoint,
        "ARCHIVE_BUCKETS": "events",
        "ARCHIVE_CLIENT": client,
        "APPS_FILE": apps,
    }
    for case, way in cells:
        s3.objects[f"{place_of(case, way)}/shop/earlier.json"] = Stored(EARLIER, {})
    # Here and not within the time a put has: on a busy machine boto3 may need seconds for it.
    open_store(from_environment(environ), "events")
    local = {"LOCAL_IAM_CREDENTIALS": f"sender:{LOCAL_SECRET}:{ARN}"}
    of_local = Sent(variables={"validToken": TOKEN}, environ=environ | local)
    is_local = any(way in (LOCAL, LOCAL_IAM) for _, way in cells)
    table = Table(s3, log, servers.server(of_local) if is_local else None, environ)
    # Alone: what threads print between two tests would be printed for all to see.
    logger = logging.getLogger("hookshelf")
    ending.callback(setattr, logger, "handlers", logger.handlers)
    logger.handlers = [log]
    # All together what only waits; a few at a time of the others, whose time is counted.
    waiting = ending.enter_context(ThreadPoolExecutor(len(cells) or 1))
    senders = ending.enter_context(ThreadPoolExecutor(3))
    patch = ending.enter_context(pytest.MonkeyPatch.context())
    for name, value in environ.items():
        patch.setenv(name, value)
    for case, way in cells:
        if case.s3:
            pool = waiting if case.waits else senders
            table.began[place_of(case, way)] = pool.submit(table.send, case, way)
    return table


@pytest.mark.parametrize(("client", "way", "case"), CELLS)
def test_what_is_acknowledged_is_kept_and_what_fails_is_said(
    tables: Callable[[str], Table],
    client: str,
    way: str,
    case: Case,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    table = tables(client)
    if case.environ:
        wait(table.began.values())
    for name, value in (table.environ | case.environ).items():
        monkeypatch.setenv(name, value)
    outcome = table.outcome(case, way)
    place = place_of(case, way)
    objects = {
        key: o.body for key, o in table.s3.objects.copy().items() if key.startswith(place + "/")
    }
    puts = [r.key for r in [*table.s3.requests] if r.key.startswith(place + "/")]
    cell = f"{outcome.heard[0].status} {len(objects) - 1} {len(puts)}"
    row = (CASES.index(case), case.name, f"{way} {client}" if case.s3 else way, cell)
    record_property("fault", row)

    for heard, body in zip(outcome.heard, outcome.bodies, strict=True):
        assert_heard(case, way, heard)
        key = heard.json.get("key") or heard.json.get("kept")
        if key:  # acknowledged, or kept: there, byte for byte
            assert objects[key] == (body if case.stored_body is None else case.stored_body)
    assert objects.pop(f"{place}/shop/earlier.json") == EARLIER
    told = {heard.json.get("key") or heard.json.get("kept") for heard in outcome.heard} - {None}
    assert len(objects) == (len(told) if case.objects is None else case.objects)
    assert sorted(k for k in [*table.s3.writes] if k in objects) == sorted(objects)  # each once
    assert not case.requests or len(puts) in case.requests
    assert outcome.seconds < min(case.seconds, PUT_TIMEOUT) + SLACK


def assert_heard(case: Case, way: str, heard: Heard) -> None:
    """It is what the table says, in the words of this entry point."""
    assert not [secret for secret in SECRETS if secret in repr(heard)]
    if case.response is None:
        assert (heard.status, heard.json["result"]) == (200, "success")
        return
    assert ("kept" in heard.json) == case.kept
    if way == INVOKE:  # which knows success and failure alone
        assert (heard.status, heard.json) == (500, {"reason": case.response.reason})
        return
    assert heard.status == case.response.status
    if case.method != "HEAD" and heard.status:
        assert (heard.json["result"], heard.json["reason"]) == ("fail", case.response.reason)
    assert case.response.headers.items() <= heard.headers.items()


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(client, marks=pytest.mark.xdist_group(f"fault table, {client}"))
        for client in (OBSTORE, BOTO3)
    ],
)
def test_no_token_and_no_secret_is_in_anything_that_was_written_or_logged(
    tables: Callable[[str], Table], client: str
) -> None:
    table = tables(client)
    wait(table.began.values())
    server = [table.server.log()] if table.server else []
    written = [*table.log.records, *map(repr, table.s3.requests), *server]

    assert table.s3.requests
    assert not [secret for secret in SECRETS for text in written if secret in text]


def test_the_table_has_at_least_72_cases_and_every_entry_point() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 72
    assert {way for case in CASES for way in case.via} == {INPUT, IAM, INVOKE, LOCAL, LOCAL_IAM}
