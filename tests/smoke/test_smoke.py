"""`make smoke-aws`, rehearsed: each check by fakes, the whole on the server that plays AWS.

What only AWS can show is not shown here; what the checks would say of it is.
"""

import gzip
import io
import json
import os
import re
import shutil
import socket
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zipfile import ZipFile

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result
from support.api_gateway import Front
from support.packaging import leave_out_wheels
from support.project import PROJECT

from app import app
from chalicelib import responses
from chalicelib.keys import parse_key
from hookshelf import web
from hookshelf.aws import Account
from hookshelf.deploy import package as packaging
from hookshelf.deploy import plan, stage_variables, template
from hookshelf.deploy.deployment import COMPACTOR, Deployment, find_deployment, function_name
from hookshelf.deploy.progress import Progress
from hookshelf.deploy.stack import Stack
from hookshelf.smoke import api_gateway, metrics, registry, resources, table
from hookshelf.smoke import compactor as compactor_checks
from hookshelf.smoke import functions as functions_checks
from hookshelf.smoke import s3 as s3_checks
from hookshelf.smoke.__main__ import main
from hookshelf.smoke.athena import reads_in_place
from hookshelf.smoke.checks import CHECKS
from hookshelf.smoke.registry import Outcome, SmokeCheck, TableRow
from hookshelf.smoke.resources import Dependencies
from hookshelf.smoke.target import Target
from hookshelf.web import HttpRequest, HttpResponse, Unreachable

pytestmark = pytest.mark.xdist_group("smoke")

ACCOUNT = Account("123456789012", "us-east-1", "aws")
BUCKET = "hookshelf-smoke-0a1b2c3d"
THROTTLED = {"result": "fail", "reason": "Too many requests at once"}
NO_SUCH_PATH = {"result": "fail", "reason": "No such path: POST /input?token=…&app=…"}
API_GATEWAYS_OWN = {"message": "Missing Authentication Token"}  # where a stack says nothing else


class Time:
    """Nobody waits: sleeping moves the clock, by far, and so does looking at it, a little."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += 100 * seconds

    def clock(self) -> float:
        self.now += 0.01
        return self.now


# --- the whole, on the server that plays AWS


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., packaging.Package]:
    """Chalice's own packaging, once; other buckets and variables are written into what it made."""
    made: list[tuple[packaging.PackageRequest, packaging.Package]] = []

    def packaged(
        order: packaging.PackageRequest, into: Path, progress: Progress
    ) -> packaging.Package:
        if not made:
            folder = tmp_path_factory.mktemp("build")
            made.append((order, packaging.build(order, folder, python=Path(sys.executable))))
        first, built = made[0]
        old, new = (one.environment["ARCHIVE_BUCKETS"] for one in (first, order))
        changed = json.loads(json.dumps(built.template).replace(old, new))
        for resource in changed["Resources"].values():
            if resource["Type"] == "AWS::Lambda::Function":
                resource["Properties"]["Environment"]["Variables"] |= order.environment
        copy = tmp_path_factory.mktemp("zip") / "deployment.zip"
        return packaging.Package(Path(shutil.copy(built.zip, copy)), changed, built.compactor)

    return packaged


@pytest.fixture(scope="module")
def session() -> boto3.Session:
    """One for all, as each reads the models of every service anew."""
    found = boto3.Session()
    found.events.register("before-call.lambda.Invoke", accepted)
    return found


@pytest.fixture
def dependencies(
    aws_shell: str,
    session: boto3.Session,
    build: Callable[..., packaging.Package],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Dependencies]:
    """An empty account, and a way to the code, with the settings of whatever is deployed there."""
    leave_out_wheels(monkeypatch)
    monkeypatch.setattr("chalicelib.apps.ROOT", str(tmp_path))
    monkeypatch.setattr("hookshelf.smoke.resources.PROJECT_ROOT", tmp_path)
    # Each client once: to make them would take longer than all that they ask.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
    monkeypatch.setattr(boto3, "client", cache(session.client))
    monkeypatch.setattr(plan, "account", cache(plan.account))
    before, one_at_a_time = dict(os.environ), threading.Lock()

    functions, deployed = boto3.client("lambda"), cache(lambda: find_deployment("smoke"))

    def invoke(event: dict[str, Any]) -> Any:
        found = functions.get_function_configuration(FunctionName="hookshelf-smoke")
        with one_at_a_time:
            os.environ.update(found["Environment"]["Variables"])
            return app(event, None)

    principal = boto3.client("sts").get_caller_identity()["Arn"]
    time = Time()
    with Front(
        invoke,
        lambda: stage_variables.read(deployed()),
        principal=principal,
        gateway_responses=template.gateway_responses(),
    ) as front:

        def send(request: HttpRequest) -> HttpResponse:
            url = re.sub(r"https://[^/]+/api", front.url, request.url)
            return web.send(request._replace(url=url))

        yield Dependencies(build, send, time.sleep, time.clock)
    os.environ.clear()
    os.environ.update(before)


def accepted(**_: Any) -> tuple[Any, dict[str, Any]]:
    """Lambda takes an asynchronous invoke; moto would look for Docker."""
    said = {
        "StatusCode": 202,
        "Payload": io.BytesIO(b"{}"),
        "ResponseMetadata": {"RequestId": "r-1", "HTTPStatusCode": 202},
    }
    return SimpleNamespace(status_code=202), said


def smoke(dependencies: Dependencies | None, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments], obj=dependencies)


def standing() -> dict[str, Any]:
    """What is in the account."""
    return {
        "stack": Stack("hookshelf-smoke").status(),
        "buckets": [one["Name"] for one in boto3.client("s3").list_buckets()["Buckets"]],
        "apis": boto3.client("apigateway").get_rest_apis()["items"],
        "functions": boto3.client("lambda").list_functions()["Functions"],
        "queues": boto3.client("sqs").list_queues().get("QueueUrls", []),
    }


# What is deployed on the server that plays AWS takes seconds each time.
rehearsal = pytest.mark.slow
NOTHING: dict[str, Any] = {"stack": "", "buckets": [], "apis": [], "functions": [], "queues": []}


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every token that is made."""
    made: list[str] = []
    real = stage_variables.new_token

    def new_token() -> tuple[str, str]:
        token, member = real()
        made.append(token)
        return token, member

    monkeypatch.setattr(stage_variables, "new_token", new_token)
    return made


@rehearsal
def test_a_rehearsal_sees_what_can_be_seen_without_aws_and_says_what_cannot(
    dependencies: Dependencies, tokens: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions_checks, "WARM", 5)
    done = smoke(dependencies)
    lines = done.stdout.splitlines()
    rows = {int(cells[1]): cells[4:6] for cells in map(cells_of, lines[4:])}
    others = {number: row for number, row in rows.items() if row[1] != "ok"}

    assert done.exit_code == 1, done.output
    assert re.fullmatch(r"Seen on \S+ \S+ UTC in us-east-1, python3\.\d+, arm64:", lines[0])
    assert list(rows) == list(range(1, len(CHECKS) + 1))
    titles = {number: check.title for number, check in enumerate(CHECKS, 1)}
    assert {titles[number]: row for number, row in others.items()} == {
        "More requests than the stage takes": ["8 × 200; Retry-After none", "FAILED"],
        "Lambda without room for one more run": [  # nothing throttles
            "200, Retry-After none; 200, Retry-After none",
            "FAILED",
        ],
        "A copy under the put-once policy": [  # moto does not hear a copy's condition
            "plain 403, conditional 200, onto a taken key 200",
            "FAILED",
        ],
        "Put once, by policy": ["ResponseParserError", "FAILED"],  # moto's IAM simulates nothing
        # nothing runs a function
        "An asynchronous invoke that fails": ["202; runs: 0; NOT in the queue", "FAILED"],
        "The logs": [  # nor logs what it would say
            "lines: 0, in groups: 4, the last post NOT among them; with a token: 0; "
            "with a metric: 0",
            "not seen",
        ],
        "Which metric counts an overridden status": [  # nor does anything count
            "heard 15 of 4xx and 1 of 5xx; counted 0 and 0 of 0",
            "not seen",
        ],
        "The scheduled compactor": ["ResponseParserError", "FAILED"],  # as above
        "Athena reads compacted files": ["listed []; injected []", "FAILED"],  # nor queries
    }
    [large] = [n for n, title in titles.items() if title == "Bodies above the largest size"]
    assert rows[large][0].endswith("11,000,000 bytes 413, objects: 0")
    assert len(tokens) == 2
    assert not any(token in done.output for token in tokens)
    assert standing() == NOTHING


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]


def only(monkeypatch: pytest.MonkeyPatch, *checks: SmokeCheck) -> None:
    monkeypatch.setattr("hookshelf.smoke.__main__.CHECKS", checks)


@pytest.mark.slow
def test_all_ok_is_exit_0_and_json_is_one_object(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, api_gateway.no_accept)
    done = smoke(dependencies, "--json", "--yes", "--region", "us-east-1")
    said = json.loads(done.stdout)

    assert done.exit_code == 0, done.output
    assert (said["region"], said["architecture"]) == ("us-east-1", "arm64")
    assert [(row["number"], row["verdict"]) for row in said["checks"]] == [(1, "ok")]


@rehearsal
def test_on_a_terminal_it_says_what_it_will_make_and_what_that_costs_and_asks(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    class Said:
        """click's runner has a standard input that is no terminal."""

        stdin = Terminal("n\n")

        def __getattr__(self, name: str) -> Any:
            return getattr(sys, name)

    monkeypatch.setattr("hookshelf.smoke.__main__.sys", Said())
    done = CliRunner().invoke(main, [], obj=dependencies, input="n\n")

    assert done.exit_code == 1
    assert "account 123456789012, us-east-1" in done.stderr
    assert re.search("bucket hookshelf-smoke-[0-9a-f]{8}\n", done.stderr)
    assert "stack hookshelf-smoke" in done.stderr
    assert "less than five cents" in done.stderr
    assert "Go on? [Y/n]: n" in done.stderr
    assert standing() == NOTHING


@rehearsal
def test_keep_leaves_it_standing_and_clean_removes_it(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, api_gateway.every_byte)
    boto3.client("s3").create_bucket(Bucket="hookshelf-smoke-00000000")  # nobody's: without a tag
    kept, left = smoke(dependencies, "--keep"), standing()
    again = smoke(dependencies)
    cleaned = smoke(dependencies, "--clean", "--yes")

    assert kept.exit_code == 0, kept.output
    assert "make smoke-aws ARGS=--clean" in kept.stderr
    assert left["stack"] == "CREATE_COMPLETE"
    assert again.exit_code == 2
    assert "An earlier run has left stack hookshelf-smoke, hookshelf-smoke-" in again.stderr
    assert cleaned.exit_code == 0, cleaned.output
    assert standing() == NOTHING | {"buckets": ["hookshelf-smoke-00000000"]}


def test_clean_has_nothing_to_do_where_nothing_is_left(dependencies: Dependencies) -> None:
    done = smoke(dependencies, "--clean")

    assert done.exit_code == 0
    assert "Leftovers in us-east-1: nothing" in done.stderr


@pytest.mark.parametrize("other", ["--keep", "--json"])
def test_clean_with_what_is_for_checks_is_misuse(other: str) -> None:
    assert smoke(None, "--clean", other).exit_code == 2


@pytest.mark.usefixtures("aws_shell")
def test_a_shell_without_credentials_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    boto3.setup_default_session()
    done = smoke(None)
    boto3.setup_default_session()

    assert done.exit_code == 2
    assert "No AWS credentials" in done.stderr


def interrupt_at(operation: str, error: type[BaseException] = KeyboardInterrupt) -> None:
    """Let AWS have one call of this kind, and the one who made it not hear of it any more."""
    events = boto3.DEFAULT_SESSION.events

    def stop(model: Any, **_: Any) -> None:
        if model.name == operation:
            events.unregister("after-call", stop)
            raise error

    events.register("after-call", stop)


@rehearsal
@pytest.mark.parametrize(
    "operation",
    ["CreateBucket", "PutBucketTagging", "PutBucketPolicy", "CreateStack"],
)
def test_nothing_is_left_after_ctrl_c_while_it_is_made(
    dependencies: Dependencies, operation: str
) -> None:
    interrupt_at(operation)
    done = smoke(dependencies)

    assert done.exit_code == 1
    assert "Aborted!" in done.output
    assert standing() == NOTHING


@rehearsal
def test_nothing_is_left_after_a_fault_of_ours(dependencies: Dependencies) -> None:
    interrupt_at("PutObject", RuntimeError)  # the code is there, and no stack
    done = smoke(dependencies)

    assert isinstance(done.exception, RuntimeError)
    assert standing() == NOTHING


@rehearsal
def test_after_ctrl_c_in_a_check_what_was_seen_is_printed_and_all_is_removed(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, api_gateway.no_accept, api_gateway.survives_redeploy, api_gateway.every_byte)
    interrupt_at("UpdateStack")
    done = smoke(dependencies)
    verdicts = [cells_of(line)[5] for line in done.stdout.splitlines()[4:]]

    assert done.exit_code == 1
    assert verdicts == ["ok", "not seen", "not seen"]
    assert standing() == NOTHING


@rehearsal
def test_a_stage_that_stays_closed_is_said_and_all_is_removed(dependencies: Dependencies) -> None:
    closed = Dependencies(
        dependencies.build, FakeStage(status=403), dependencies.sleep, dependencies.clock
    )
    done = smoke(closed)

    assert done.exit_code == 1
    assert "The new stage responds with 403, not 200" in done.stderr
    assert standing() == NOTHING


@rehearsal
def test_what_cannot_be_removed_is_named_and_the_rest_is_removed(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Stack) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "DeleteStack")

    only(monkeypatch, api_gateway.no_accept)
    monkeypatch.setattr(Stack, "delete", refuse)
    done = smoke(dependencies)

    assert done.exit_code == 1
    assert "Perhaps left: stack hookshelf-smoke. Remove it: make smoke-aws" in done.stderr
    assert [name for name in standing()["buckets"] if "smoke" in name] == []


def test_every_version_goes_with_the_bucket_and_no_other_bucket(dependencies: Dependencies) -> None:
    s3 = boto3.client("s3")
    resources.create_bucket(BUCKET, ACCOUNT)
    s3.create_bucket(Bucket="hookshelf-smoke-of-mine")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"1", b"2"):
        s3.put_object(Bucket=BUCKET, Key="k", Body=body)
    s3.delete_object(Bucket=BUCKET, Key="k")
    found = resources.leftovers(ACCOUNT)
    kept = resources.clean_up(found.buckets, ACCOUNT, print)

    assert (found.stack, found.buckets, kept) == ("", [BUCKET], [])
    assert standing()["buckets"] == ["hookshelf-smoke-of-mine"]


@rehearsal
def test_the_code_is_packaged_with_an_apps_file_that_names_whoever_runs_it(
    dependencies: Dependencies,
) -> None:
    resources.create_bucket(BUCKET, ACCOUNT)
    resources.deploy(BUCKET, ACCOUNT, dependencies, print)
    environment = boto3.client("lambda").get_function_configuration(FunctionName="hookshelf-smoke")[
        "Environment"
    ]["Variables"]
    s3, code = boto3.client("s3"), {"Bucket": f"hookshelf-code-{ACCOUNT.id}-us-east-1"}
    zips = [
        ZipFile(io.BytesIO(s3.get_object(**code, Key=zipped["Key"])["Body"].read()))
        for zipped in s3.list_objects_v2(**code)["Contents"]
    ]
    [of_app] = [zipped for zipped in zips if "app.py" in zipped.namelist()]
    with of_app as archive:
        apps = json.loads(archive.read(environment["APPS_FILE"]))
        mode = archive.getinfo(environment["APPS_FILE"]).external_attr >> 16

    assert apps == {"smoke-iam": {"principals": [boto3.client("sts").get_caller_identity()["Arn"]]}}
    assert mode == 0o644  # Lambda's user is not the file's owner
    assert environment["ARCHIVE_CLIENT"] == "obstore"


# --- each check, by fakes


class FakeStage:
    """Our stage and the archive behind it, as one function of requests."""

    def __init__(
        self,
        status: int = 200,
        *,
        change: Callable[[bytes], bytes] = bytes,
        times: int = 1,
        reject: Callable[[HttpRequest], HttpResponse | None] = lambda request: None,
    ) -> None:
        self.status, self.change, self.times, self.reject = status, change, times, reject
        self.objects: dict[str, bytes] = {}
        self.requests: list[HttpRequest] = []

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        if (rejected := self.reject(request)) is not None:
            return rejected
        if request.method == "GET":
            challenge = parse_qs(urlsplit(request.url).query)["hub.challenge"][0]
            return HttpResponse(self.status, {"content-type": "text/plain"}, challenge.encode())
        keys = [f"{n}-{sha256(request.body).hexdigest()}" for n in range(self.times)]
        self.objects |= {key: self.change(request.body) for key in keys}
        return said(self.status, {"result": "success", "key": keys[0] if keys else ""})


def said(status: int, body: Mapping[str, str], **headers: str) -> HttpResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, named, json.dumps(body).encode())


class Aws:
    """Every client at once: what each operation answers, as a value or a function."""

    def __init__(self, fake: FakeStage, **operations: Any) -> None:
        archive = {
            "list_objects_v2": lambda **_: {"Contents": [{"Key": key} for key in fake.objects]},
            "get_object": lambda Key, **_: {"Body": io.BytesIO(fake.objects[Key])},
            "head_object": {"Metadata": {}},
        }
        self.operations = archive | operations
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, service: str) -> "Aws":
        return self

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            self.calls.append((operation, arguments))
            answer = self.operations[operation]
            return answer(**arguments) if callable(answer) else answer

        return call

    def get_paginator(self, operation: str) -> Any:
        return SimpleNamespace(paginate=lambda **given: [getattr(self, operation)(**given)])

    def get_waiter(self, name: str) -> Any:
        return SimpleNamespace(wait=lambda **_: None)


@dataclass
class Played(Target):
    """A target whose stage variables are here."""

    live: dict[str, str] = field(default_factory=lambda: {"validToken": "old"})

    def variables(self) -> dict[str, str]:
        return dict(self.live)

    def rotate(self) -> None:
        self.live["validToken"] += ",new"
        self.tokens.append("new")


def target(fake: FakeStage, **operations: Any) -> Played:
    time = Time()
    functions = {
        name: function_name("smoke", name) for name in ("api_handler", "deliver", COMPACTOR)
    }
    deployment = Deployment("smoke", "stack", "api-1", "https://api.example/api", functions)
    return Played(
        deployment,
        ACCOUNT,
        BUCKET,
        tokens=["old"],
        redeploy=lambda: None,
        client=Aws(fake, **operations),
        send=fake,
        sleep=time.sleep,
        clock=time.clock,
    )


def guarded(played: Played, fake: FakeStage) -> Played:
    """Let in who has a token of the live variables."""

    def reject(request: HttpRequest) -> HttpResponse | None:
        token = parse_qs(urlsplit(request.url).query)["token"][0]
        is_valid = token in played.live.get("validToken", "").split(",")
        return None if is_valid else said(403, {"result": "fail"})

    fake.reject = reject
    return played


def test_stage_variables_that_survive_a_redeploy_are_ok() -> None:
    played = guarded(target(fake := FakeStage()), fake)

    assert api_gateway.survives_redeploy.run(played) == Outcome(
        "tokens 200, 200; wrong 403; variables unchanged", True
    )


@pytest.mark.parametrize(
    ("after", "seen"),
    [
        ({}, "tokens 403, 403; wrong 403; variables CHANGED"),
        ({"validToken": "old"}, "tokens 200, 403; wrong 403; variables CHANGED"),
        ({"validToken": "new,old"}, "tokens 200, 200; wrong 403; variables CHANGED"),
    ],
    ids=["all lost", "the rotated one lost", "written anew"],
)
def test_stage_variables_that_a_redeploy_changes_fail(after: dict[str, str], seen: str) -> None:
    played = guarded(target(fake := FakeStage()), fake)
    played.redeploy = lambda: setattr(played, "live", after)

    assert api_gateway.survives_redeploy.run(played) == Outcome(seen, False)


def test_a_token_that_the_stage_does_not_know_fails_though_the_variables_are_there() -> None:
    def reject(request: HttpRequest) -> HttpResponse | None:
        return None if "token=old" in request.url else said(403, {"result": "fail"})

    assert api_gateway.survives_redeploy.run(target(FakeStage(reject=reject))) == Outcome(
        "tokens 200, 403; wrong 403; variables unchanged", False
    )


def test_a_new_deployment_of_the_api_is_forced_and_may_take_the_variables() -> None:
    kept = guarded(target(fake := FakeStage(), create_deployment={}), fake)
    lost = guarded(target(fake := FakeStage()), fake)
    lost.client.operations["create_deployment"] = lambda **_: lost.live.clear()

    assert api_gateway.survives_new_deployment.run(kept).ok is True
    assert ("create_deployment", {"restApiId": "api-1", "stageName": "api"}) in kept.client.calls
    assert api_gateway.survives_new_deployment.run(lost).ok is False


def test_a_wrong_token_that_is_let_in_fails() -> None:
    seen = api_gateway.survives_redeploy.run(target(FakeStage()))

    assert seen == Outcome("tokens 200, 200; wrong 200; variables unchanged", False)


def test_the_request_without_accept_has_none() -> None:
    played = target(fake := FakeStage())

    assert api_gateway.no_accept.run(played) == Outcome("200, objects: 1; key named", True)
    assert "accept" not in fake.requests[0].headers


@pytest.mark.parametrize(
    ("fake", "seen"),
    [
        (FakeStage(400), "400, objects: 1; key named"),
        (FakeStage(times=2), "200, objects: 2; key NOT named"),
        (FakeStage(times=0), "200, objects: 0; key NOT named"),
    ],
    ids=["stored yet refused", "twice", "never"],
)
def test_another_outcome_without_accept_fails(fake: FakeStage, seen: str) -> None:
    assert api_gateway.no_accept.run(target(fake)) == Outcome(seen, False)


def in_base64(response: HttpResponse) -> HttpResponse:
    return response._replace(body=b64encode(response.body))


class Accepting(FakeStage):
    """A stage that refuses the wrong token, and may leave responses in base64 for some Accept."""

    def __init__(self, encoded_for: tuple[str | None, ...] = ()) -> None:
        super().__init__(reject=self.refuse)
        self.encoded_for = encoded_for

    def refuse(self, request: HttpRequest) -> HttpResponse | None:
        is_wrong = api_gateway.WRONG_TOKEN in request.url
        return said(403, {**responses.INVALID_TOKEN.body}) if is_wrong else None

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = super().__call__(request)
        return (
            in_base64(response) if request.headers.get("accept") in self.encoded_for else response
        )


def test_a_response_without_accept_that_stays_in_base64_fails_and_is_said_to() -> None:
    seen = api_gateway.no_accept.run(target(Accepting(encoded_for=(None,))))

    assert seen.ok is False
    assert "is unreadable: it is in base64" in seen.seen


def test_the_same_text_for_every_accept_is_ok() -> None:
    stage = Accepting()

    assert api_gateway.whatever_accept.run(target(stage)).ok is True
    assert {request.headers.get("accept") for request in stage.requests} == {*api_gateway.ACCEPTS}


@pytest.mark.parametrize("accept", [None, "application/octet-stream"])
def test_a_response_that_differs_by_accept_fails(accept: str | None) -> None:
    seen = api_gateway.whatever_accept.run(target(Accepting(encoded_for=(accept,))))

    named = f"{accept or 'none'}: NOT as they should be: stored, refused, handshake"
    assert seen == Outcome(named, False)


def test_a_path_that_there_is_not_is_refused_in_readable_json() -> None:
    def refuse(request: HttpRequest) -> HttpResponse:
        assert request.url == "https://api.example/api/no-such-path"
        return said(403, NO_SUCH_PATH)

    def refuse_without_accept(request: HttpRequest) -> HttpResponse:
        return refuse(request) if request.headers else in_base64(refuse(request))

    def usual(request: HttpRequest) -> HttpResponse:
        return said(403, API_GATEWAYS_OWN)

    readable, encoded, theirs = (
        api_gateway.responses_of_its_own.run(target(FakeStage(reject=reject)))
        for reject in (refuse, refuse_without_accept, usual)
    )
    assert readable == Outcome("with 403; without 403", True)
    assert encoded.ok is False
    assert "without 403, the response with 403 is unreadable: it is in base64" in encoded.seen
    assert theirs == Outcome("with 403, not ours; without 403, not ours", False)


def unpacked(body: bytes) -> bytes:
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body


def test_a_gzip_body_is_kept_unpacked_and_what_of_its_header_arrives_is_recorded() -> None:
    stage = FakeStage(change=unpacked)
    kept = {"Metadata": {"h-content-encoding": "gzip"}}

    assert api_gateway.compressed.run(target(stage, head_object=kept)) == Outcome(
        "gzip 200, kept unpacked, Content-Encoding gzip; br 200", True
    )
    assert [request.headers["content-encoding"] for request in stage.requests] == ["gzip", "br"]


def test_a_gzip_body_that_is_kept_packed_fails_and_415_for_another_coding_is_recorded() -> None:
    def refuse(request: HttpRequest) -> HttpResponse | None:
        is_br = request.headers["content-encoding"] == "br"
        return HttpResponse(415, {}, b"") if is_br else None

    packed = api_gateway.compressed.run(target(FakeStage()))
    refused = api_gateway.compressed.run(target(FakeStage(change=unpacked, reject=refuse)))

    assert packed.ok is False
    assert packed.seen.startswith("gzip 200, kept NOT unpacked")
    assert refused == Outcome("gzip 200, kept unpacked, Content-Encoding gone; br 415", True)


def test_plain_text_comes_back_as_sent() -> None:
    played = target(fake := FakeStage())

    assert api_gateway.plain_text.run(played) == Outcome(
        "body 200, kept as sent; handshake 200, as text", True
    )
    assert fake.requests[0].headers["content-type"] == "text/plain"


def test_a_handshake_in_base64_or_a_changed_body_fails() -> None:
    def encoded(request: HttpRequest) -> HttpResponse | None:
        body = b64encode(request.url.encode())
        is_get = request.method == "GET"
        return HttpResponse(200, {"content-type": "text/plain"}, body) if is_get else None

    in_base64 = api_gateway.plain_text.run(target(FakeStage(reject=encoded)))
    changed = api_gateway.plain_text.run(target(FakeStage(change=bytes.strip)))

    assert in_base64 == Outcome(
        "body 200, kept as sent; handshake 200, NOT the text asked for", False
    )
    assert changed == Outcome("body 200, NOT kept as sent; handshake 200, as text", False)


@pytest.mark.parametrize(
    "check", [api_gateway.every_byte, api_gateway.largest], ids=lambda check: check.title
)
def test_bytes_that_come_back_otherwise_fail(check: SmokeCheck) -> None:
    def recoded(body: bytes) -> bytes:
        return body.decode(errors="replace").encode()

    assert check.run(target(FakeStage())) == Outcome("200, kept as sent", True)
    assert check.run(target(FakeStage(change=recoded))) == Outcome("200, NOT kept as sent", False)
    assert check.run(target(FakeStage(413))) == Outcome("413, NOT kept as sent", False)


def test_the_bodies_have_every_byte_and_exactly_4_mib() -> None:
    played = target(fake := FakeStage())
    api_gateway.every_byte.run(played)
    api_gateway.largest.run(played)

    assert set(fake.requests[0].body) == set(range(256))
    assert len(fake.requests[1].body) == responses.MAX_BODY


def limits(request: HttpRequest) -> HttpResponse | None:
    if len(request.body) > 10_000_000:
        raise Unreachable("ConnectionResetError")
    if len(request.body) >= 6_000_000:
        return said(413, {"message": "HttpRequest Too Long"})
    too_large = len(request.body) > responses.MAX_BODY
    return said(413, {"reason": responses.TOO_LARGE.reason}) if too_large else None


def test_whatever_aws_says_to_large_bodies_is_recorded() -> None:
    assert api_gateway.too_large.run(target(FakeStage(reject=limits))) == Outcome(
        "4,194,305 bytes 413, objects: 0; 6,000,000 bytes 413, objects: 0; "
        "11,000,000 bytes no response, objects: 0",
        True,
    )


def test_a_large_body_that_is_taken_or_not_refused_by_us_fails() -> None:
    def by_aws(request: HttpRequest) -> HttpResponse:
        return said(413, {"message": "HttpRequest Too Long"})

    def yet_stored(request: HttpRequest) -> HttpResponse | None:
        storing.objects[sha256(request.body).hexdigest()] = request.body
        return limits(request)

    storing = FakeStage(reject=yet_stored)

    assert api_gateway.too_large.run(target(storing)).ok is False
    assert api_gateway.too_large.run(target(FakeStage())).ok is False
    assert api_gateway.too_large.run(target(FakeStage(reject=by_aws))).ok is False


class Throttle:
    """A stage with a throttle, and a gateway that keeps to it from the second burst on."""

    def __init__(self, refusal: HttpResponse) -> None:
        self.refusal = refusal
        self.stage = {"throttlingRateLimit": 50.0, "throttlingBurstLimit": 100}
        self.taken = 0
        self.one_at_a_time = threading.Lock()
        self.patches: list[list[str]] = []

    def get_stage(self, **_: Any) -> dict[str, Any]:
        return {"methodSettings": {"*/*": self.stage}}

    def update_stage(self, patchOperations: list[dict[str, str]], **_: Any) -> None:
        self.patches.append([f"{one['path']}={one['value']}" for one in patchOperations])

    def reject(self, request: HttpRequest) -> HttpResponse | None:
        with self.one_at_a_time:
            self.taken += 1
            is_lowered = len(self.patches) == 1 and self.taken > api_gateway.BURST + 1
        return self.refusal if is_lowered else None


def throttled_by(refusal: HttpResponse) -> tuple[Outcome, Throttle]:
    throttle = Throttle(refusal)
    operations = {"get_stage": throttle.get_stage, "update_stage": throttle.update_stage}
    return api_gateway.throttled.run(
        target(FakeStage(reject=throttle.reject), **operations)
    ), throttle


def test_throttling_is_waited_for_and_the_throttle_put_back() -> None:
    seen, throttle = throttled_by(said(503, THROTTLED, retry_after="30"))

    assert seen == Outcome("1 × 200, 7 × 503; Retry-After 30", True)
    assert throttle.patches == [
        ["/*/*/throttling/rateLimit=1", "/*/*/throttling/burstLimit=1"],
        ["/*/*/throttling/rateLimit=50.0", "/*/*/throttling/burstLimit=100"],
    ]


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (said(429, {"message": "Too Many Requests"}), "429; Retry-After none"),
        (said(503, THROTTLED), "503; Retry-After none"),
        (said(503, {"reason": "other"}, retry_after="30"), "503; Retry-After 30"),
    ],
    ids=["429", "no Retry-After", "another 503"],
)
def test_throttling_that_is_said_otherwise_fails(refusal: HttpResponse, text: str) -> None:
    seen, throttle = throttled_by(refusal)

    assert seen.ok is False
    assert text in seen.seen
    assert len(throttle.patches) == 2


def no_room(refusal: HttpResponse, before: int | None = None) -> tuple[Outcome, Aws]:
    """A function that may not run, as its stage says so with this response."""
    taken: list[int] = []
    stage = FakeStage(reject=lambda request: refusal if taken else None)
    found = {} if before is None else {"ReservedConcurrentExecutions": before}

    def give(ReservedConcurrentExecutions: int, **_: Any) -> None:
        taken[:] = [] if ReservedConcurrentExecutions else [0]

    played = target(
        stage,
        get_function_concurrency=found,
        put_function_concurrency=give,
        delete_function_concurrency=lambda **_: taken.clear(),
    )
    return functions_checks.no_room.run(played), played.client


@pytest.mark.parametrize("before", [None, 100])
def test_what_lambda_throttles_is_heard_as_503_and_the_function_runs_again(
    before: int | None,
) -> None:
    seen, aws = no_room(said(503, {"result": "fail"}, retry_after="30"), before)

    assert seen == Outcome("503, Retry-After 30; 503, Retry-After 30", True)
    last, arguments = aws.calls[-1]
    if before is None:
        assert last == "delete_function_concurrency"
    else:
        assert (last, arguments["ReservedConcurrentExecutions"]) == (
            "put_function_concurrency",
            100,
        )


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (said(500, {"message": "Internal server error"}), "500, Retry-After none"),
        (said(503, {"result": "fail"}), "503, Retry-After none"),
        (in_base64(said(503, {"result": "fail"}, retry_after="30")), "is unreadable"),
    ],
    ids=["500", "no Retry-After", "base64"],
)
def test_what_lambda_throttles_fails_where_a_sender_cannot_tell_that_it_should_retry(
    refusal: HttpResponse, text: str
) -> None:
    seen, _ = no_room(refusal)

    assert seen.ok is False
    assert text in seen.seen


class Keys:
    """S3 with conditional puts; what a second one hears is given, and what a plain one does."""

    def __init__(self, second: int = 412, plain: int = 403) -> None:
        self.second, self.plain = second, plain
        self.taken: set[str] = set()
        self.one_at_a_time = threading.Lock()

    def put_object(self, Key: str, IfNoneMatch: str = "", **_: Any) -> dict[str, Any]:
        with self.one_at_a_time:
            status = self.status(Key, IfNoneMatch)
            self.taken.add(Key)
        if status == 200:
            return {}
        answer = {"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(answer, "PutObject")

    def status(self, key: str, condition: str) -> int:
        if not condition:
            return self.plain
        return self.second if key in self.taken else 200


class Racing(Keys):
    """Two at the same time are both let in."""

    def put_object(self, Body: bytes = b"", **given: Any) -> dict[str, Any]:
        return {} if Body == b"2" else super().put_object(**given)


def kept(request: HttpRequest) -> HttpResponse:
    key = f"_rejected/{sha256(request.body).hexdigest()}"
    return said(400, {"reason": responses.NOT_JSON, "kept": key})


def taken(
    keys: Keys, versions: int = 1, reject: Callable[[HttpRequest], HttpResponse] = kept
) -> Outcome:
    found = {"Versions": [{}] * versions}
    fake = FakeStage(reject=reject)
    return s3_checks.taken.run(target(fake, put_object=keys.put_object, list_object_versions=found))


def test_a_taken_key_is_412_and_success_to_the_function() -> None:
    assert taken(Keys()) == Outcome(
        "twice 200, 412; at once 200, 412; the function 400, 400, keys: 1, versions: 1", True
    )


@pytest.mark.parametrize(
    "seen",
    [
        lambda: taken(Keys(second=200)),
        lambda: taken(Keys(second=409)),
        lambda: taken(Racing()),
        lambda: taken(Keys(), versions=2),
        lambda: taken(Keys(), reject=lambda request: said(503, {"reason": "Unable"})),
    ],
    ids=[
        "overwritten",
        "409 for one after the other",
        "both at once",
        "two versions",
        "503 by the function",
    ],
)
def test_a_taken_key_that_is_anything_else_fails(seen: Callable[[], Outcome]) -> None:
    assert seen().ok is False


def copied(*statuses: int) -> Outcome:
    left = list(statuses)

    def copy_object(**given: Any) -> dict[str, Any]:
        conditions.append(given.get("IfNoneMatch", ""))
        if (status := left.pop(0)) == 200:
            return {}
        response = {"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(response, "CopyObject")

    conditions: list[str] = []
    seen = s3_checks.copied.run(target(FakeStage(), put_object={}, copy_object=copy_object))
    assert conditions == ["", "*", "*"]
    return seen


def test_a_copy_passes_the_policy_only_where_it_could_not_overwrite() -> None:
    assert copied(403, 200, 412) == Outcome(
        "plain 403, conditional 200, onto a taken key 412", True
    )
    assert copied(200, 200, 412).ok is False
    assert copied(403, 200, 200).ok is False


def simulated(wrong: Mapping[str, str]) -> Callable[..., Any]:
    """IAM's simulator: right, but for these."""

    def simulate(ActionNames: list[str], ResourceArns: list[str], **_: Any) -> dict[str, Any]:
        [action], [resource] = ActionNames, ResourceArns
        assert resource.startswith(f"arn:aws:s3:::{BUCKET}")
        usual = "allowed" if action == "s3:PutObject" else "implicitDeny"
        return {"EvaluationResults": [{"EvalDecision": wrong.get(action, usual)}]}

    return simulate


def put_once(keys: Keys, wrong: Mapping[str, str] | None = None) -> Outcome:
    operations = {
        "put_object": keys.put_object,
        "get_function_configuration": {"Role": "arn:aws:iam::123456789012:role/r"},
        "simulate_principal_policy": simulated(wrong or {}),
    }
    return s3_checks.put_once_policy.run(target(FakeStage(), **operations))


def test_a_plain_put_is_refused_and_the_roles_may_only_put() -> None:
    keys = Keys()
    keys.status = lambda key, condition: 200 if condition else 403  # type: ignore[method-assign]

    assert put_once(keys) == Outcome("plain 403, conditional 200; roles as expected", True)


@pytest.mark.parametrize(
    ("plain", "wrong", "said"),
    [
        (200, {}, "plain 200"),
        (403, {"s3:GetObject": "allowed"}, "api_handler MAY s3:GetObject"),
        (403, {"s3:PutObject": "explicitDeny"}, "deliver may NOT s3:PutObject"),
    ],
    ids=["no policy", "a role that reads", "a role that cannot put"],
)
def test_a_bucket_or_a_role_that_lets_more_or_less_fails(
    plain: int, wrong: dict[str, str], said: str
) -> None:
    keys = Keys()
    keys.status = lambda key, condition: 200 if condition else plain  # type: ignore[method-assign]
    seen = put_once(keys, wrong)

    assert seen.ok is False
    assert said in seen.seen


def compacted(summary: dict[str, Any], files: int, wrong: Mapping[str, str]) -> Outcome:
    asked: list[str] = []

    def simulate(ActionNames: list[str], ResourceArns: list[str], **_: Any) -> dict[str, Any]:
        [action], [resource] = ActionNames, ResourceArns
        asked.append(resource)
        usual = "allowed" if action in ("s3:GetObject", "s3:ListBucket") else "implicitDeny"
        return {"EvaluationResults": [{"EvalDecision": wrong.get(action, usual)}]}

    keys = Keys()
    outcome = compactor_checks.compactor.run(
        target(
            FakeStage(),
            put_object=keys.put_object,
            invoke=lambda **_: {"Payload": io.BytesIO(json.dumps(summary).encode())},
            list_objects_v2={"KeyCount": files},
            get_function_configuration={"Role": "arn:aws:iam::123456789012:role/r"},
            simulate_principal_policy=simulate,
        )
    )
    below = {resource.partition("/")[2] for resource in asked}
    assert {key and parse_key(key).app for key in below} == {"", "smoke"}
    return outcome


@pytest.mark.parametrize(
    ("summary", "files", "wrong", "said"),
    [
        ({"finished": False}, 0, {}, "NOT finished, files: 0"),
        ({"errorType": "SettingError"}, 0, {}, "SettingError, files: 0"),
        ({"finished": True}, 0, {}, "finished, files: 0"),
        ({"finished": True}, 1, {"s3:DeleteObject": "allowed"}, "compactor MAY s3:DeleteObject"),
        ({"finished": True}, 1, {"s3:GetObject": "implicitDeny"}, "may NOT s3:GetObject"),
    ],
)
def test_a_compactor_that_does_not_work_or_may_do_more_fails(
    summary: dict[str, Any], files: int, wrong: dict[str, str], said: str
) -> None:
    outcome = compacted(summary, files, wrong)

    assert outcome.ok is False
    assert said in outcome.seen


def test_a_compactor_is_seen_by_the_file_that_it_makes() -> None:
    assert compacted({"finished": True}, 1, {}) == Outcome(
        "finished, files: 1; role as expected", True
    )


@pytest.mark.parametrize(
    ("client", "fake", "seen"),
    [
        ("obstore", FakeStage(), Outcome("200, read back, client obstore", True)),
        ("obstore", FakeStage(503), Outcome("503, NOT read back, client obstore", False)),
        ("auto", FakeStage(), Outcome("200, read back, client auto", False)),
    ],
    ids=["obstore", "obstore without roots", "perhaps boto3"],
)
def test_ca_roots_are_proved_by_a_post_that_only_obstore_can_have_stored(
    client: str, fake: FakeStage, seen: Outcome
) -> None:
    found = {"Environment": {"Variables": {"ARCHIVE_CLIENT": client}}}

    assert functions_checks.certificates.run(target(fake, get_function_configuration=found)) == seen


def latency(cold: float, *, status: int = 200) -> tuple[Outcome, list[Any]]:
    """Posts of 20 ms; the first after a change takes `cold` seconds."""
    played = target(fake := FakeStage(status))
    time, changes, after = Time(), [], [""]

    def update(FunctionName: str, Environment: Any) -> None:
        changes.append(Environment["Variables"])
        after.append("a change")

    def send(request: HttpRequest) -> HttpResponse:
        time.now += cold if after.pop() else 0.01
        after.append("")
        return fake(request)

    found = {"Environment": {"Variables": {"A": "1"}}}
    played.client.operations |= {
        "get_function_configuration": found,
        "update_function_configuration": update,
    }
    played.send, played.clock = send, time.clock
    return functions_checks.latency.run(played), changes


def test_cold_starts_are_forced_timed_and_the_environment_put_back() -> None:
    seen, changes = latency(0.5)

    assert seen == Outcome("cold 510 ms, warm 20 ms; status 200", True)
    assert changes == [{"A": "1", "SMOKE_COLD": str(n)} for n in range(5)] + [{"A": "1"}]


def test_a_slow_cold_start_or_a_refused_post_fails() -> None:
    assert latency(3.5)[0] == Outcome("cold 3510 ms, warm 20 ms; status 200", False)
    assert latency(0.5, status=503)[0].ok is False


def signed_requests(
    monkeypatch: pytest.MonkeyPatch, *, unsigned: HttpResponse | None = None, other: str = ""
) -> Outcome:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")

    def reject(request: HttpRequest) -> HttpResponse | None:
        authorization = {name.lower(): value for name, value in request.headers.items()}.get(
            "authorization", ""
        )
        if "/us-east-1/execute-api/aws4_request" not in authorization:
            return unsigned or said(403, NO_SUCH_PATH)
        is_named = urlsplit(request.url).query == "app=smoke-iam"
        return (
            None
            if is_named
            else said(403, {"result": "fail", "reason": other or "App not allowed"})
        )

    return functions_checks.signed_requests.run(target(FakeStage(reject=reject)))


def test_only_the_signed_request_to_the_app_that_names_us_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert signed_requests(monkeypatch) == Outcome(
        "unsigned 403 of API Gateway; named 200, kept; not named 403", True
    )


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, {"result": "fail", "reason": "App not allowed"}),  # it reached our code
        (403, API_GATEWAYS_OWN),
        (404, NO_SUCH_PATH),
    ],
)
def test_an_unsigned_request_that_api_gateway_does_not_refuse_in_our_words_fails(
    monkeypatch: pytest.MonkeyPatch, status: int, body: dict[str, str]
) -> None:
    seen = signed_requests(monkeypatch, unsigned=said(status, body))

    assert seen.ok is False
    assert f"unsigned {status} of ANOTHER" in seen.seen


def test_a_signed_request_that_another_refuses_than_we_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert signed_requests(monkeypatch, other="Invalid token provided").ok is False


QUEUE, GROUPS = "AWS::SQS::Queue", "AWS::Logs::LogGroup"
RESOURCES = {
    "StackResources": [
        {"LogicalResourceId": logical, "PhysicalResourceId": id, "ResourceType": type}
        for logical, id, type in [
            ("DeliverDeadLetters", "https://sqs/queue", QUEUE),
            ("APIHandlerLogs", "api-logs", GROUPS),
            ("DeliverLogs", "deliver-logs", GROUPS),
        ]
    ]
}


def dead_letter(*, runs: int = 2, in_queue: str = "r-1") -> tuple[Outcome, Aws]:
    letter = {"MessageAttributes": {"RequestID": {"StringValue": in_queue}}, "ReceiptHandle": "h"}
    lines = [{"message": json.dumps({"message": "invoke", "request_id": "r-1"})}] * runs
    lines.append({"message": json.dumps({"message": "platform.report", "requestId": "r-1"})})
    played = target(
        FakeStage(),
        describe_stack_resources=RESOURCES,
        put_function_event_invoke_config={},
        delete_function_event_invoke_config={},
        invoke={"StatusCode": 202, "ResponseMetadata": {"RequestId": "r-1"}},
        receive_message={"Messages": [letter]},
        delete_message={},
        filter_log_events={"events": lines},
    )
    return functions_checks.dead_letter.run(played), played.client


def test_a_failing_invoke_is_run_again_and_ends_in_the_queue() -> None:
    seen, aws = dead_letter()
    names = [name for name, _ in aws.calls]

    assert seen == Outcome("202; runs: 2; in the queue", True)
    assert names.index("put_function_event_invoke_config") < names.index("invoke")
    assert "delete_function_event_invoke_config" in names
    assert "delete_message" in names


def test_an_invoke_that_is_not_run_again_or_not_kept_fails() -> None:
    assert dead_letter(runs=1)[0] == Outcome("202; runs: 1; in the queue", False)
    assert dead_letter(in_queue="another")[0] == Outcome("202; runs: 2; NOT in the queue", False)


def logs(*, leak: str = "", metrics: str = "hookshelf/smoke", is_there: bool = True) -> Outcome:
    fake = FakeStage()

    def lines(logGroupName: str, **_: Any) -> dict[str, Any]:
        counted = {"Responses": 1, "_aws": {"CloudWatchMetrics": [{"Namespace": metrics}]}}
        keys = fake.objects if is_there and logGroupName == "api-logs" else ()
        written = [json.dumps({"key": key} | counted) for key in keys]
        own = ["not JSON", leak] if logGroupName == "API-Gateway-Execution-Logs_api-1/api" else []
        return {"events": [{"message": line} for line in written + own]}

    def groups(logGroupNamePrefix: str) -> dict[str, Any]:
        return {"logGroups": [{"logGroupName": f"{logGroupNamePrefix}/api"}]}

    return functions_checks.logs.run(
        target(
            fake,
            describe_stack_resources=RESOURCES,
            filter_log_events=lines,
            describe_log_groups=groups,
        )
    )


def test_logs_without_a_token_and_with_metrics_are_ok() -> None:
    assert logs() == Outcome(
        "lines: 3, in groups: 4, the last post among them; with a token: 0; with a metric: 1", True
    )


def test_a_token_in_any_group_fails_even_where_not_all_is_there_yet() -> None:
    assert logs(leak="GET /input?token=old&app=x").ok is False
    assert logs(leak="GET /input?token=old&app=x", is_there=False).ok is False


def test_logs_without_metric_lines_fail_and_logs_that_do_not_come_are_not_seen() -> None:
    assert logs(metrics="other").ok is False
    assert logs(is_there=False).ok is None


def overridden(count: float) -> Outcome:
    sums = {"Count": count, "4XXError": 2.0, "5XXError": 1.0}

    def statistics(MetricName: str, **_: Any) -> dict[str, Any]:
        return {"Datapoints": [{"Sum": sums[MetricName]}] if count else []}

    played = target(FakeStage(), get_metric_statistics=statistics)
    played.statuses += [200, 403, 503, 503]
    return metrics.overridden_status.run(played)


def test_what_overridden_statuses_count_as_is_recorded_once_there_are_metrics() -> None:
    assert overridden(4) == Outcome("heard 1 of 4xx and 2 of 5xx; counted 2 and 1 of 4", True)
    assert overridden(0).ok is None


@pytest.mark.parametrize(
    ("states", "ok"),
    [(["INSUFFICIENT_DATA", "OK"], True), (["INSUFFICIENT_DATA"] * 9, False), (["ALARM"], False)],
    ids=["at last", "never judged", "off"],
)
def test_an_alarm_on_what_never_happened_has_to_be_quiet(states: list[str], ok: bool) -> None:
    left = iter(states)
    resource = {"LogicalResourceId": "Unconfigured", "PhysicalResourceId": "smoke-Unconfigured"}
    resource["ResourceType"] = "AWS::CloudWatch::Alarm"

    def describe(AlarmNames: list[str]) -> dict[str, Any]:
        return {
            "MetricAlarms": [{"AlarmName": AlarmNames[0], "StateValue": next(left, states[-1])}]
        }

    resources = {"StackResources": [resource]}
    played = target(FakeStage(), describe_stack_resources=resources, describe_alarms=describe)

    assert metrics.quiet_alarms.run(played).ok is ok


# --- running them, and the table


def boom(error: BaseException) -> SmokeCheck:
    def run(target: Target) -> Outcome:
        raise error

    return SmokeCheck("boom", "no", run)


OK = SmokeCheck("fine", "yes", lambda target: Outcome("yes", True))


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (ValueError("https://api/input?token=old"), "ValueError"),
        (Unreachable("TimeoutError"), "no response: TimeoutError"),
        (
            ClientError({"Error": {"Code": "AccessDenied", "Message": "old"}}, "PutObject"),
            "ClientError: AccessDenied at PutObject",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_check_that_raises_has_failed_and_the_others_run(error: Exception, seen: str) -> None:
    rows = registry.run_checks([boom(error), OK], target(FakeStage()), print)

    assert rows == [
        TableRow(1, "boom", "no", seen, "FAILED"),
        TableRow(2, "fine", "yes", "yes", "ok"),
    ]


def test_no_token_is_in_a_row_or_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    played = target(FakeStage())
    played.tokens = ["a-token-of-the-stage"]
    leaky = SmokeCheck("leaky", "", lambda target: Outcome(f"said {target.tokens[0]}", False))
    [row] = registry.run_checks([leaky], played, print)
    shown = capsys.readouterr()

    assert row.seen == "said …"
    assert played.tokens[0] not in shown.out + shown.err


def test_the_table_is_markdown_whatever_was_seen() -> None:
    rows = [TableRow(1, "a | b", "one\nline", "", "not seen")]
    report = table.Report("2026-11-21 09:00 UTC", "eu-west-1", "python3.13", "arm64", rows)

    assert table.markdown(report).splitlines() == [
        "Seen on 2026-11-21 09:00 UTC in eu-west-1, python3.13, arm64:",
        "",
        "| # | Check | Expected | Seen | Verdict |",
        "| --: | --- | --- | --- | --- |",
        r"| 1 | a \| b | one line |  | not seen |",
    ]
    assert not report.is_ok


def in_athena(rows: list[list[str]], refused: str = "nothing") -> tuple[Played, list[str]]:
    """A target whose Athena gives these rows, below names, and refuses a statement; and commands.

    The commands are those that the check runs.
    """
    table = [{"Data": [{"VarCharValue": value} for value in row]} for row in [["names"], *rows]]
    played = target(
        FakeStage(),
        put_object={},
        start_query_execution=lambda QueryString, **_: {"QueryExecutionId": QueryString},
        get_query_execution=lambda QueryExecutionId: {
            "QueryExecution": {
                "Status": {"State": "FAILED", "StateChangeReason": "line 1:8: no such type"}
                if refused in QueryExecutionId
                else {"State": "SUCCEEDED"}
            }
        },
        get_query_results={"ResultSet": {"Rows": table}},
    )
    commands = []

    def command(words: list[str], environ: Mapping[str, str]) -> str:
        assert environ["ARCHIVE_BUCKETS"] == BUCKET
        commands.append(" ".join(words))
        return '{"sql": "CREATE EXTERNAL TABLE"}\n' if "ddl" in words else ""

    played.command = command
    played.started = datetime(2026, 11, 21, 20, 5, 6, tzinfo=UTC)
    return played, commands


def test_athena_that_gives_what_was_delivered_is_ok_and_its_tables_go() -> None:
    data = '{"email": "a@example.com", "event": "open", "sg_event_id": "e1"}'
    row = ["e1", "2", "5B", data, "5D", "verified", "2026-11-20 12:05:06.123"]
    played, commands = in_athena([row])

    assert reads_in_place.run(played) == ("listed as delivered; injected as delivered", True)
    statements = [
        given["QueryString"] for _, given in played.client.calls if "QueryString" in given
    ]
    assert statements[-1].startswith("DROP DATABASE")
    assert statements.count("CREATE EXTERNAL TABLE") == 2
    assert commands == [
        f"hookshelf compact --bucket {BUCKET} --app sendgrid",
        f"hookshelf ddl athena --bucket {BUCKET} --json",
        f"hookshelf ddl athena --bucket {BUCKET} --json --injected",
    ]


@pytest.mark.parametrize(
    ("rows", "refused", "seen"),
    [
        ([], "nothing", "listed []"),
        ([["e1", "1"]], "nothing", "listed [['e1', '1']]"),
        ([], "EXTERNAL", "listed FAILED: line 1:8: no such type"),
    ],
)
def test_athena_that_gives_anything_else_fails_and_it_is_said(
    rows: list[list[str]], refused: str, seen: str
) -> None:
    outcome = reads_in_place.run(in_athena(rows, refused)[0])

    assert seen in outcome.seen
    assert outcome.ok is False


def test_docs_proof_has_a_row_for_each_check() -> None:
    proof = (PROJECT / "docs" / "proof.md").read_text(encoding="utf-8")
    checks = proof.partition("\n`FAILED` is")[0]  # below it, figures have tables of their own
    rows = [cells_of(line) for line in checks.splitlines() if re.match(r"\| \d+ \|", line)]
    rows = rows[: len(CHECKS)]  # what the bench measured comes below

    assert [(int(cells[1]), *cells[2:4]) for cells in rows] == [
        (number, check.title, check.expected) for number, check in enumerate(CHECKS, 1)
    ]
    assert len(CHECKS) == len({check.title for check in CHECKS}) == 24


def test_every_file_that_docs_proof_names_is_there() -> None:
    proof = (PROJECT / "docs" / "proof.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|docs|hookshelf|bench)/[\w./-]+)`", proof)

    assert len(named) > 8
    assert [name for name in named if not (PROJECT / name).exists()] == []


def test_an_answer_is_heard_though_the_connection_closes_before_the_whole_body_is_sent() -> None:
    """API Gateway may refuse what is too large while it is still being sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:  # what is not read when it closes resets the connection
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api/input?token=t"
        answer = web.send(HttpRequest("POST", url, {}, bytes(30_000_000)))
        thread.join()

    assert answer.status == 413


def test_where_nobody_answers_no_url_is_told() -> None:
    with pytest.raises(Unreachable) as caught:
        web.send(HttpRequest("POST", "http://127.0.0.1:1/input?token=secret", {}, b""))

    assert str(caught.value) == "ConnectionRefusedError"
    assert caught.value.__cause__ is None
