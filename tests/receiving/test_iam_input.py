"""`POST /iam/input`: AWS principals, known by their signature, write to the apps that name them.

On AWS, API Gateway checks the signature and says who signed. `chalice local` lets everybody pass on
such routes, so there we check it ourselves: these tests sign with botocore and with curl.
"""

import base64
import hashlib
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from chalice.app import IAMAuthorizer
from support.project import PROJECT, TOKEN
from support.ways import start

from app import app
from chalicelib import responses
from chalicelib.delivery import Delivery
from chalicelib.events import Event
from chalicelib.guards import is_principal
from chalicelib.sources import generic

EVERY_BYTE = bytes(range(256))
USER = "arn:aws:iam::123456789012:user/sumo"
ROLE = "arn:aws:iam::123456789012:role/alerts"
SESSION = "arn:aws:sts::123456789012:assumed-role/alerts/i-0abc"
NOT_ALLOWED = {"result": "fail", "reason": responses.APP_NOT_ALLOWED.reason}
SECONDS = 60  # for a server to start, on a machine busy with other tests

STAGE = json.loads((PROJECT / ".chalice" / "config.json").read_text())["stages"]["local"]
KEY, SECRET, _ = STAGE["environment_variables"]["LOCAL_IAM_CREDENTIALS"].split(":", 2)
LOCAL_TOKEN = STAGE["environment_variables"]["STAGE_VAR_validToken"]

# What a template that names a variable without quotes, or a result with them, renders to.
NOT_JSON = b'{"name": Disk full, "results": "[{"host":"db-1","free":"2%"}]"}'


# --- `chalice local`, and requests that are really signed


@dataclass
class Server:
    """A running `chalice local`, and the archive of its project."""

    port: int
    project: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def objects(self) -> dict[str, bytes]:
        """All bodies in the archive, by key."""
        bucket = self.project / "archive" / "events"
        files = (path for path in bucket.rglob("*") if path.is_file() and path.suffix != ".meta")
        return {str(path.relative_to(bucket)): path.read_bytes() for path in files}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("local")) as server:
        yield server


@contextmanager
def serving(folder: Path, **changed: str | None) -> Iterator[Server]:
    """Serve a copy of the project, stage `local`; a variable that is None is taken away."""
    shutil.copytree(PROJECT / "chalicelib", folder / "chalicelib")
    shutil.copytree(PROJECT / ".chalice", folder / ".chalice")
    shutil.copy(PROJECT / "app.py", folder)
    config = json.loads((folder / ".chalice" / "config.json").read_text())
    variables = config["stages"]["local"]["environment_variables"] | changed
    config["stages"]["local"]["environment_variables"] = {
        name: value for name, value in variables.items() if value is not None
    }
    (folder / ".chalice" / "config.json").write_text(json.dumps(config))
    running = start(folder)
    try:
        yield Server(running.port, folder)
    finally:
        running.stop()


@dataclass
class Request:
    """A POST that botocore signed; what is changed afterwards, its signature does not cover."""

    url: str
    body: bytes
    headers: dict[str, str]

    def send(self) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(self.url)
        connection = HTTPConnection("127.0.0.1", parts.port or 80, timeout=SECONDS)
        try:
            connection.request("POST", f"{parts.path}?{parts.query}", self.body, self.headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


class SignedAt(SigV4Auth):
    """botocore's signer, with a clock of our own."""

    def __init__(self, at: datetime, *args: Any) -> None:
        super().__init__(*args)
        self._at = at.strftime("%Y%m%dT%H%M%SZ")

    def add_auth(self, request: AWSRequest) -> None:
        request.context["timestamp"] = request.headers["X-Amz-Date"] = self._at
        to_sign = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(to_sign, request))


@pytest.fixture
def signed(server: Server) -> Callable[..., Request]:
    """A request to the server, signed as it should be but for what is said otherwise."""

    def signed(
        body: bytes = b"{}",
        query: str = "app=sumo",
        *,
        path: str = "/iam/input",
        to: Server = server,
        key: str = KEY,
        secret: str = SECRET,
        service: str = "execute-api",
        minutes: float | None = None,
        **headers: str,
    ) -> Request:
        given = {"content-type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        request = AWSRequest("POST", f"{to.url}{path}?{query}", given, body)
        who = (Credentials(key, secret), service, "us-east-1")
        if minutes is None:
            SigV4Auth(*who).add_auth(request)
        else:
            SignedAt(datetime.now(UTC) + timedelta(minutes=minutes), *who).add_auth(request)
        return Request(request.url, body, dict(request.headers.items()))

    return signed


Signed = Callable[..., Request]


@pytest.fixture
def refused(server: Server) -> Callable[[Request], None]:
    """Send, and see that it is refused and that nothing was stored."""

    def refused(request: Request) -> None:
        before = server.objects()
        answer = request.send()

        assert answer == (403, NOT_ALLOWED)
        assert server.objects() == before

    return refused


Refused = Callable[[Request], None]


def test_a_signed_body_is_kept_byte_for_byte(server: Server, signed: Signed) -> None:
    status, answer = signed(EVERY_BYTE, content_type="application/octet-stream").send()

    assert (status, answer["result"], answer["bucket"]) == (200, "success", "events")
    assert server.objects()[answer["key"]] == EVERY_BYTE


@pytest.mark.parametrize("content_type", ["text/plain", "*/*"])
def test_the_content_type_makes_no_difference(
    server: Server, signed: Signed, content_type: str
) -> None:
    status, answer = signed(b"\xff\x00 b\r\n", content_type=content_type).send()

    assert status == 200
    assert server.objects()[answer["key"]] == b"\xff\x00 b\r\n"


@pytest.mark.parametrize("query", ["app=sumo&bucket=events%2Fteam%2Fa", "bucket=events&app=sumo"])
def test_the_bucket_is_signed_with_the_rest(server: Server, signed: Signed, query: str) -> None:
    status, answer = signed(EVERY_BYTE[::-1], query).send()

    assert status == 200
    assert server.objects()[answer["key"]] == EVERY_BYTE[::-1]


def test_an_unsigned_request_is_refused(signed: Signed, refused: Refused) -> None:
    request = signed()
    del request.headers["Authorization"]

    refused(request)


def test_a_wrong_secret_is_refused(signed: Signed, refused: Refused) -> None:
    refused(signed(secret=SECRET + "x"))


def test_an_unknown_key_is_refused(signed: Signed, refused: Refused) -> None:
    refused(signed(key="AKIDOFNOBODY"))


def test_a_signature_for_another_service_is_refused(signed: Signed, refused: Refused) -> None:
    refused(signed(service="lambda"))


def test_an_altered_body_is_refused(signed: Signed, refused: Refused) -> None:
    request = signed(b'{"level":1}')
    request.body = b'{"level":2}'

    refused(request)


def test_a_lie_about_the_hash_of_the_body_is_refused(signed: Signed, refused: Refused) -> None:
    said = hashlib.sha256(b"something else").hexdigest()

    refused(signed(X_Amz_Content_SHA256=said))
    refused(signed(X_Amz_Content_SHA256="UNSIGNED-PAYLOAD"))


@pytest.mark.parametrize(
    "query", ["app=sumo2", "app=sumo&bucket=events", "app=sumo&x=", "app=Sumo"]
)
def test_an_altered_query_is_refused(signed: Signed, refused: Refused, query: str) -> None:
    request = signed(query="app=sumo")
    request.url = request.url.replace("app=sumo", query)

    refused(request)


def test_the_path_is_signed_too(signed: Signed, refused: Refused) -> None:
    request = signed(path="/iam/input/")
    status, _ = request.send()
    request.url = request.url.replace("/iam/input/", "/iam/input")

    assert status == 200
    refused(request)


def test_an_altered_signed_header_is_refused(signed: Signed, refused: Refused) -> None:
    request = signed(X_Level="1")
    request.headers["X-Level"] = "2"

    refused(request)


@pytest.mark.parametrize("minutes", [-24 * 60, -6, 6, 24 * 60])
def test_an_expired_or_future_date_is_refused(
    signed: Signed, refused: Refused, minutes: float
) -> None:
    refused(signed(minutes=minutes))


@pytest.mark.parametrize("minutes", [-4, 4])
def test_a_clock_that_is_minutes_off_is_let_in(signed: Signed, minutes: float) -> None:
    status, _ = signed(minutes=minutes).send()

    assert status == 200


@pytest.mark.parametrize("name", ["github", "of-nobody"])
def test_a_principal_of_one_app_may_not_write_to_another(
    signed: Signed, refused: Refused, name: str
) -> None:
    refused(signed(query=f"app={name}"))


def test_a_token_parameter_is_ignored(signed: Signed) -> None:
    status, _ = signed(query="app=sumo&token=wrong").send()

    assert status == 200


def test_a_token_instead_of_a_signature_is_refused(signed: Signed, refused: Refused) -> None:
    request = signed(query=f"app=sumo&token={LOCAL_TOKEN}")
    request.headers["Authorization"] = f"Bearer {LOCAL_TOKEN}"

    refused(request)


def test_input_stays_closed_to_a_signed_caller_without_a_token(
    server: Server, signed: Signed
) -> None:
    before = server.objects()
    answer = signed(path="/input").send()

    assert answer == (403, {"result": "fail", "reason": responses.INVALID_TOKEN.reason})
    assert server.objects() == before


def test_a_body_that_claims_json_and_is_not_is_stored_where_the_app_says_so(
    server: Server, signed: Signed
) -> None:
    status, answer = signed(NOT_JSON).send()

    assert status == 200
    assert server.objects()[answer["key"]] == NOT_JSON


def test_without_local_credentials_nobody_is_let_in(tmp_path: Path, signed: Signed) -> None:
    with serving(tmp_path, LOCAL_IAM_CREDENTIALS=None) as bare:
        answer = signed(to=bare).send()

    assert answer == (403, NOT_ALLOWED)
    assert bare.objects() == {}


def test_malformed_local_credentials_are_named_but_not_shown(
    tmp_path: Path, signed: Signed
) -> None:
    with serving(tmp_path, LOCAL_IAM_CREDENTIALS=f"{KEY}:canary-{SECRET}") as broken:
        status, answer = signed(to=broken).send()

    assert status == 503
    assert answer["reason"] == responses.wrong_setting("LOCAL_IAM_CREDENTIALS").reason
    assert "canary" not in (tmp_path / "log").read_text()
    assert broken.objects() == {}


# --- curl

CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(CURL is None, reason="there is no curl here")


def curl(url: str, *options: str, user: str = f"{KEY}:{SECRET}") -> tuple[int, dict[str, Any]]:
    signing = ["--aws-sigv4", "aws:amz:us-east-1:execute-api", "--user", user]
    return answer_of([str(CURL), *signing, *options, url])


def answer_of(command: list[str]) -> tuple[int, dict[str, Any]]:
    printed = ["--silent", "--noproxy", "*", "--write-out", "\n%{http_code}"]
    done = subprocess.run([*command, *printed], capture_output=True, check=True, timeout=SECONDS)
    body, _, status = done.stdout.decode().rpartition("\n")
    return int(status), json.loads(body)


@needs_curl
@pytest.mark.parametrize("query", ["app=sumo", "app=sumo&bucket=events%2Fteam"])
def test_what_curl_signs_is_kept_byte_for_byte(server: Server, tmp_path: Path, query: str) -> None:
    body = tmp_path / "body"
    body.write_bytes(EVERY_BYTE)
    status, answer = curl(
        f"{server.url}/iam/input?{query}",
        *("--data-binary", f"@{body}", "--header", "Content-Type: application/octet-stream"),
    )

    assert status == 200
    assert server.objects()[answer["key"]] == EVERY_BYTE


@needs_curl
def test_what_curl_signs_with_a_wrong_secret_is_refused(server: Server) -> None:
    before = server.objects()
    answer = curl(f"{server.url}/iam/input?app=sumo", "--data", "{}", user=f"{KEY}:wrong")

    assert answer == (403, NOT_ALLOWED)
    assert server.objects() == before


@needs_curl
def test_the_curl_command_in_the_manual_works(server: Server) -> None:
    manual = (PROJECT / "docs" / "entry-points.md").read_text().replace("\\\n", " ")
    [command] = re.findall(r"^curl .*--aws-sigv4.*127\.0\.0\.1.*$", manual, re.MULTILINE)
    status, answer = answer_of(shlex.split(command.replace("127.0.0.1:8000", server.url[7:])))

    assert status == 200
    assert server.objects()[answer["key"]].startswith(b"{")


# --- what API Gateway says of who signed: events given to the app

APPS = {
    "sumo": {"principals": [USER], "any_body": True},
    "strict": {"principals": [USER]},
    "role": {"principals": [ROLE]},
    "session": {"principals": [SESSION]},
    "account": {"principals": ["arn:aws:*::123456789012:*"]},
    "everyone": {"principals": ["*"]},
    "empty": {"principals": []},
    "unnamed": {"any_body": True},
}


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's deliveries go; the stage has no token, and APPS above."""
    (tmp_path / "apps.json").write_text(json.dumps(APPS))
    monkeypatch.setenv("APPS_FILE", str(tmp_path / "apps.json"))
    monkeypatch.setenv("ARCHIVE_FOLDER", str(tmp_path / "archive"))
    monkeypatch.setenv("ARCHIVE_BUCKETS", "events")
    return tmp_path / "archive" / "events"


def stored(archive: Path) -> list[bytes]:
    files = (path for path in archive.rglob("*") if path.is_file() and path.suffix != ".meta")
    return [path.read_bytes() for path in files]


def signed_event(
    identity: Mapping[str, Any] | None, body: bytes = b"{}", method: str = "POST", **query: str
) -> dict[str, Any]:
    """What API Gateway's REST API gives a function behind AWS_IAM authorization."""
    query = {"app": "sumo"} | query
    return {
        "resource": "/iam/input",
        "path": "/iam/input",
        "httpMethod": method,
        "headers": {"content-type": "application/json", "Authorization": "AWS4-HMAC-SHA256 …"},
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()},
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghij",
            "authorizer": None,
            "httpMethod": method,
            "identity": identity,
            "path": "/api/iam/input",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "resourcePath": "/iam/input",
            "stage": "api",
        },
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def identity(arn: object) -> dict[str, Any]:
    return {
        "accessKey": "AKIAIOSFODNN7EXAMPLE",
        "accountId": "123456789012",
        "apiKey": None,
        "caller": "AIDACKCEVSQ6C2EXAMPLE",
        "cognitoIdentityId": None,
        "sourceIp": "192.0.2.1",
        "user": "AIDACKCEVSQ6C2EXAMPLE",
        "userAgent": None,
        "userArn": arn,
    }


def invoke(event: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    answer = app(event, None)
    assert answer["isBase64Encoded"] is False
    return answer["statusCode"], json.loads(answer["body"] or "{}")


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        (USER, "sumo"),
        (SESSION, "session"),
        (SESSION, "role"),
        (USER, "account"),
        (SESSION, "account"),
        ("arn:aws:iam::999999999999:root", "everyone"),
    ],
)
def test_a_principal_writes_to_an_app_that_names_it(archive: Path, arn: str, name: str) -> None:
    status, answer = invoke(signed_event(identity(arn), b"[1]", app=name))

    assert (status, answer["result"]) == (200, "success")
    assert answer["key"].startswith(f"{name}/")
    assert stored(archive) == [b"[1]"]


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        (USER, "role"),
        (USER, "session"),
        (SESSION, "sumo"),
        (SESSION + "9", "session"),
        (USER + "2", "sumo"),
        ("x" + USER, "sumo"),
        ("arn:aws:iam::999999999999:user/sumo", "account"),
        ("arn:aws:sts::999999999999:assumed-role/alerts/i-0abc", "role"),
        ("arn:aws:sts::123456789012:assumed-role/alerts2/i-0abc", "role"),
        (USER, "empty"),
        (USER, "unnamed"),
        (USER, "not-in-the-file"),
    ],
)
def test_an_app_that_does_not_name_a_principal_is_closed_to_it(
    archive: Path, arn: str, name: str
) -> None:
    answer = invoke(signed_event(identity(arn), app=name))

    assert answer == (403, NOT_ALLOWED)
    assert stored(archive) == []


@pytest.mark.parametrize("name", ["sumo", "everyone", "unnamed"])
@pytest.mark.parametrize(
    "who",
    [None, {}, {"sourceIp": "192.0.2.1"}, *map(identity, (None, "", [USER], 1))],
    ids=["null", "empty", "missing", "userArn null", "userArn empty", "a list", "a number"],
)
def test_without_a_user_arn_nobody_is_let_in(
    archive: Path, who: dict[str, Any] | None, name: str
) -> None:
    answer = invoke(signed_event(who, app=name))

    assert answer == (403, NOT_ALLOWED)
    assert stored(archive) == []


def test_what_the_caller_writes_into_headers_and_query_names_nobody(archive: Path) -> None:
    event = signed_event(identity(None), userArn=USER)
    event["headers"] |= {"userArn": USER, "x-amzn-iam-user-arn": USER}

    assert invoke(event) == (403, NOT_ALLOWED)
    assert stored(archive) == []


@pytest.mark.parametrize(
    "variables", [None, {}, {"validToken": TOKEN}, {"validToken_sumo": ""}], ids=str
)
def test_stage_variables_play_no_part(archive: Path, variables: dict[str, str] | None) -> None:
    status, _ = invoke(signed_event(identity(USER), token="wrong") | {"stageVariables": variables})

    assert status == 200


def test_on_aws_local_credentials_let_nobody_in(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_IAM_CREDENTIALS", "malformed")
    monkeypatch.setenv("AWS_CHALICE_CLI_MODE", "true")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "hookshelf-dev")

    assert invoke(signed_event(identity(USER)))[0] == 200
    assert invoke(signed_event(identity(None)))[0] == 403


def test_api_gateway_is_told_to_demand_a_signature_for_every_method() -> None:
    routes = app.routes["/iam/input"]

    assert {"POST", "GET", "OPTIONS"} < set(routes)
    assert all(isinstance(route.authorizer, IAMAuthorizer) for route in routes.values())


# --- which principals a pattern names


@pytest.mark.parametrize(
    ("pattern", "arn"),
    [
        (USER, USER),
        ("*", USER),
        ("arn:aws:iam::123456789012:user/*", USER),
        ("arn:aws:iam::123456789012:user/su?o", USER),
        ("arn:aws:iam::*:user/teams/*/sumo", "arn:aws:iam::1:user/teams/a/b/sumo"),
        (ROLE, SESSION),
        ("arn:aws:iam::123456789012:role/al*", SESSION),
        (SESSION, SESSION),
        ("arn:aws:sts::123456789012:assumed-role/alerts/*", SESSION),
        (
            "arn:aws-us-gov:iam::123456789012:role/alerts",
            "arn:aws-us-gov:sts::123456789012:assumed-role/alerts/i-0abc",
        ),
        ("arn:aws:iam::1:user/a[b]", "arn:aws:iam::1:user/a[b]"),
        ("arn:aws:iam::1:user/a+b.c", "arn:aws:iam::1:user/a+b.c"),
    ],
)
def test_a_pattern_names(pattern: str, arn: str) -> None:
    assert is_principal(arn, ["arn:aws:iam::1:user/other", pattern])


@pytest.mark.parametrize(
    ("pattern", "arn"),
    [
        ("arn:aws:iam::123456789012:user/su?", USER),
        ("arn:aws:iam::123456789012:user/", USER),
        ("user/sumo", USER),
        (USER.upper(), USER),
        (USER, USER + "\n"),
        (ROLE, "arn:aws:sts::123456789012:assumed-role/alerts"),
        ("arn:aws:iam::123456789012:role/alerts/i-0abc", SESSION),
        ("arn:aws-cn:iam::123456789012:role/alerts", SESSION),
        (SESSION, ROLE),
        ("arn:aws:iam::1:user/a[bc]", "arn:aws:iam::1:user/ab"),
        ("arn:aws:iam::1:user/a[!b]", "arn:aws:iam::1:user/ac"),
        ("arn:aws:iam::1:user/a.c", "arn:aws:iam::1:user/abc"),
        ("", USER),
    ],
)
def test_a_pattern_does_not_name(pattern: str, arn: str) -> None:
    assert not is_principal(arn, [pattern])


# --- Sumo Logic


@pytest.fixture
def template() -> str:
    """The one in the manual."""
    manual = (PROJECT / "docs" / "entry-points.md").read_text()
    [found] = re.findall(r"```json\n(\{[^`]*\{\{Name\}\}[^`]*)```", manual)
    return str(found)


def test_the_template_in_the_manual_is_json_with_its_variables_as_they_stand(
    archive: Path, template: str
) -> None:
    status, _ = invoke(signed_event(identity(USER), template.encode(), app="strict"))

    assert status == 200
    assert stored(archive) == [template.encode()]


def test_the_template_in_the_manual_tells_two_firings_of_a_monitor_apart(template: str) -> None:
    known = {"Name": "Disk full", "TriggerType": "Critical", "Id": "00000000000468D5"}
    bodies = [
        rendered(template, known | {"TriggerTimeStart": at})
        for at in ("1795218599000", "1795218659000")
    ]
    first, second = map(event_in, bodies)

    assert (first.subject, first.type) == ("Disk full", "Critical")
    assert (first.time, second.time) == ("2026-11-20T23:49:59Z", "2026-11-20T23:50:59Z")
    assert bodies[0] != bodies[1]  # which is all that tells them apart


def rendered(template: str, values: Mapping[str, str]) -> bytes:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values.get(found[1], ""), template).encode()


def event_in(body: bytes) -> Event:
    [found] = generic.events(Delivery("sumo", {}, body, datetime(2026, 1, 1, tzinfo=UTC)))
    return found


def test_a_test_call_with_variables_as_they_stand_is_stored(archive: Path) -> None:
    body = b'{"name": "{{Name}}", "results": {{ResultsJson}}, "value": {{TriggerValue}}}'
    status, _ = invoke(signed_event(identity(USER), body))

    assert status == 200
    assert stored(archive) == [body]


def test_a_template_that_renders_no_json_is_stored_where_the_app_takes_any_body(
    archive: Path,
) -> None:
    status, answer = invoke(signed_event(identity(USER), NOT_JSON))

    assert (status, answer["result"]) == (200, "success")
    assert stored(archive) == [NOT_JSON]


def test_elsewhere_it_is_refused_and_kept(archive: Path) -> None:
    status, answer = invoke(signed_event(identity(USER), NOT_JSON, app="strict"))

    assert (status, answer["reason"]) == (400, responses.NOT_JSON.reason)
    assert (archive / answer["kept"]).read_bytes() == NOT_JSON


def test_results_that_are_json_in_a_string_are_kept_as_they_came(archive: Path) -> None:
    body = json.dumps({"results": json.dumps([{"host": "db-1", "free": "2%"}])}).encode()
    status, _ = invoke(signed_event(identity(USER), body, app="strict"))

    assert status == 200
    assert stored(archive) == [body]


# --- the rest is as at /input


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ({"app": ""}, 400, "Invalid app"),
        ({"app": "a/b"}, 400, "Invalid app"),
        ({"app": "_rejected"}, 400, "Invalid app"),
        ({"bucket": "another"}, 403, responses.BUCKET_NOT_ALLOWED.reason),
        ({"bucket": ""}, 403, responses.BUCKET_NOT_ALLOWED.reason),
        ({"bucket": "events/../x"}, 403, responses.BUCKET_NOT_ALLOWED.reason),
    ],
)
def test_parameters_are_checked(
    archive: Path, query: dict[str, str], status: int, reason: str
) -> None:
    found, answer = invoke(signed_event(identity(USER), **query))

    assert found == status
    assert answer["reason"].startswith(reason)
    assert stored(archive) == []


def test_a_missing_or_repeated_app_is_told_so(archive: Path) -> None:
    event = signed_event(identity(USER))
    missing = invoke(event | {"multiValueQueryStringParameters": None})
    repeated = invoke(event | {"multiValueQueryStringParameters": {"app": ["sumo", "sumo"]}})

    assert (missing[0], repeated[0]) == (400, 400)
    assert missing[1]["reason"] == responses.MISSING_APP.reason
    assert stored(archive) == []


def test_four_mebibytes_are_stored_and_a_byte_more_is_not(archive: Path) -> None:
    body = b"x" * responses.MAX_BODY
    taken, _ = invoke(signed_event(identity(USER), body))
    refused, _ = invoke(signed_event(identity(USER), body + b"x"))

    assert (taken, refused) == (200, 413)
    assert stored(archive) == [body]


def test_base64_that_is_not_is_refused(archive: Path) -> None:
    status, _ = invoke(signed_event(identity(USER)) | {"body": "e30=!"})

    assert status == 400
    assert stored(archive) == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_405(archive: Path, method: str) -> None:
    status, _ = invoke(signed_event(identity(USER), method=method))

    assert status == 405
    assert stored(archive) == []


SUBSCRIPTION = {"hub.mode": "subscribe", "hub.challenge": "1158201444"}


@pytest.mark.parametrize(
    ("principals", "status"), [([USER], 200), ([SESSION], 403), ([], 403), (None, 403)]
)
def test_a_handshake_too_is_for_those_that_the_app_names(
    archive: Path, tmp_path: Path, principals: list[str] | None, status: int
) -> None:
    apps = {} if principals is None else {"meta": {"principals": principals}}
    (tmp_path / "apps.json").write_text(json.dumps(apps))
    answer = app(signed_event(identity(USER), b"", "GET", app="meta", **SUBSCRIPTION), None)

    assert answer["statusCode"] == status
    assert (SUBSCRIPTION["hub.challenge"] in answer["body"]) == (status == 200)


def test_a_broken_apps_file_is_503(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPS_FILE", "/nowhere/apps.json")
    status, answer = invoke(signed_event(identity(USER)))

    assert (status, answer["reason"]) == (503, responses.wrong_setting("APPS_FILE").reason)
    assert stored(archive) == []


# --- bodies of the real thing

BODIES = PROJECT.parent / "shared" / "payloads" / "sumologic"


def test_bodies_of_the_real_thing_are_kept_byte_for_byte(archive: Path) -> None:
    if not BODIES.is_dir():
        pytest.skip(f"no bodies in {BODIES}")
    bodies = [path.read_bytes() for path in sorted(BODIES.glob("*.json"))]
    statuses = [invoke(signed_event(identity(USER), body, app="strict"))[0] for body in bodies]

    assert statuses == [200] * len(bodies)
    assert sorted(stored(archive)) == sorted(bodies)
