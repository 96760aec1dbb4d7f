"""`hookshelf doctor --canary` posts to the live stage, and reads back what it stored."""

import base64
import copy
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.api_gateway import Front
from support.project import PROJECT, TOKEN
from support.rehearsal import (
    BUCKET,
    ENVIRONMENT,
    MEMBER,
    STAGE,
    Deployed,
    client,
    deploy,
    refusing,
    share_clients,
)

from app import app
from chalicelib import keys
from hookshelf.__main__ import main
from hookshelf.commands.doctor import print_findings
from hookshelf.deploy.deployment import find_deployment
from hookshelf.doctor import Finding, canary
from hookshelf.doctor.live_stage import LiveStage

pytestmark = pytest.mark.slow  # a stage on a server of AWS's, for each

CHECKS = list(canary.CANARY_CHECKS)
OTHER = "sha256:" + sha256(b"some other token").hexdigest()

Json = dict[str, Any]
Invoke = Callable[[Json], Any]
Doctor = Callable[..., Result]


@pytest.fixture
def deployed(aws_shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """A healthy deployment, whose function's environment is ours, too."""
    monkeypatch.setattr("hookshelf.deploy.deployment.PROJECT_ROOT", tmp_path)
    monkeypatch.delenv("HOOKSHELF_TOKEN", raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    share_clients(monkeypatch)
    yield deploy(tmp_path)


@pytest.fixture
def doctor(deployed: Deployed) -> Doctor:
    """Run the doctor with a canary at a front of the app, or of something that is wrong."""

    def run(*options: str, invoke: Invoke = lambda event: app(event, None)) -> Result:
        with Front(invoke, deployed.variables) as front:
            arguments = ["doctor", "--stage", STAGE, "--canary", "--url", front.url, *options]
            return CliRunner().invoke(main, arguments, catch_exceptions=False)

    return run


def found(result: Result) -> dict[str, list[Json]]:
    """What the canary found, by check."""
    every = [json.loads(line) for line in result.stdout.splitlines()]
    return {check: [one for one in every if one["id"] == check] for check in CHECKS}


def stored() -> list[str]:
    """The keys of what the canary stored."""
    listed = client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"in/{canary.CANARY_APP}/")
    return [one["Key"] for one in listed.get("Contents", [])]


def run_canary(url: str, token_timeout: float = canary.TOKEN_TIMEOUT) -> list[Finding]:
    stage = LiveStage(find_deployment(STAGE))
    return canary.run_canary(stage, url, progress=print, token_timeout=token_timeout)


def presented(event: Json) -> str | None:
    return (event["queryStringParameters"] or {}).get("token")


def with_token(event: Json, token: str | None) -> Json:
    """The same request with another token."""
    event = copy.deepcopy(event)
    event["multiValueQueryStringParameters"] |= {"token": [token]}
    return event


def test_a_healthy_stage_refuses_three_and_stores_two(deployed: Deployed, doctor: Doctor) -> None:
    done = doctor("--strict")

    first, second = stored()
    assert done.exit_code == 0
    assert "No token, an empty and a wrong one are answered with 403" in done.stdout
    assert f"read back byte for byte: {BUCKET}/{first}." in done.stdout
    assert f"read back byte for byte: {BUCKET}/{second}." in done.stdout
    assert keys.parse_key(first).app == "hookshelf-doctor"
    assert done.stdout.endswith("checks: 0 failed, 0 warnings\n")


def test_its_token_is_there_only_while_it_is_out_and_is_never_printed(
    deployed: Deployed, doctor: Doctor, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[str | None, Json]] = []

    def watching(event: Json) -> Any:
        seen.append((presented(event), deployed.variables()))
        return app(event, None)

    done = doctor("--json", invoke=watching)

    tokens = {token for token, _ in seen if token}
    assert done.exit_code == 0
    assert len(tokens) == 2  # the wrong one, and the right one
    for _, variables in seen:
        assert variables["validToken"] == MEMBER
        assert variables[canary.VARIABLE].startswith("sha256:")
    assert deployed.variables() == {"validToken": MEMBER}
    said = done.output + caplog.text + "".join(stored())
    assert not [token for token in tokens if token in said]


def test_the_token_of_the_environment_is_used_and_no_variable_is_touched(
    deployed: Deployed, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOKSHELF_TOKEN", TOKEN)
    before: list[Json] = []

    def watching(event: Json) -> Any:
        before.append(deployed.variables())
        return app(event, None)

    done = doctor("--strict", invoke=watching)

    assert done.exit_code == 0
    assert TOKEN not in done.output
    assert [variables for variables in before if variables != {"validToken": MEMBER}] == []


@pytest.mark.parametrize("token", [None, TOKEN])
def test_what_an_interrupted_canary_left_behind_is_taken_out_by_the_next(
    deployed: Deployed, doctor: Doctor, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed.stage(f"/variables/{canary.VARIABLE}={OTHER}")
    if token:
        monkeypatch.setenv("HOOKSHELF_TOKEN", token)

    done = doctor("--strict")

    assert done.exit_code == 0
    assert deployed.variables() == {"validToken": MEMBER}


def test_the_operators_own_token_for_the_canary_is_no_leftover(
    deployed: Deployed, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed.stage(f"/variables/{canary.VARIABLE}={OTHER}")
    monkeypatch.setenv("HOOKSHELF_TOKEN", "some other token")

    done = doctor("--strict")

    assert done.exit_code == 0
    assert deployed.variables()[canary.VARIABLE] == OTHER


def test_it_waits_until_the_stage_knows_the_new_token(deployed: Deployed, doctor: Doctor) -> None:
    late = iter([True])

    def hesitating(event: Json) -> Any:
        right = sha256((presented(event) or "").encode()).hexdigest()
        if right in deployed.variables()[canary.VARIABLE] and next(late, False):
            return app(with_token(event, "not yet"), None)
        return app(event, None)

    assert doctor("--strict", invoke=hesitating).exit_code == 0


def lets_everybody_in(event: Json) -> Any:
    return app(with_token(event, TOKEN), None)


def hears_nobody(event: Json) -> Any:
    return {"statusCode": 401, "body": "{}"}


def stores_nothing(event: Json) -> Any:
    if presented(event) != TOKEN:
        return app(event, None)
    body = {"result": "success", "bucket": BUCKET, "key": "in/not-there"}
    return {"statusCode": 200, "body": json.dumps(body)}


def stores_elsewhere(event: Json) -> Any:
    if presented(event) != TOKEN:
        return app(event, None)
    body = {"result": "success", "bucket": "theirs", "key": "in/not-there"}
    return {"statusCode": 200, "body": json.dumps(body)}


def responds_with_text(event: Json) -> Any:
    return {"statusCode": 200, "body": "fine"} if presented(event) == TOKEN else app(event, None)


def answers_something_else(event: Json) -> Any:
    return {"statusCode": 200, "body": "{}"} if presented(event) == TOKEN else app(event, None)


def leaves_base64(event: Json) -> Any:
    """As API Gateway does where it sees no Accept header: a sender hears eyJyZXN1bHQ…"""
    response = app(event, None)
    body = response["body"]
    encoded = body if response["isBase64Encoded"] else base64.b64encode(body.encode()).decode()
    return {"statusCode": response["statusCode"], "body": encoded}


def leaves_base64_without_accept(event: Json) -> Any:
    has_accept = "accept" in map(str.lower, event["headers"])
    return app(event, None) if has_accept else leaves_base64(event)


def refuses_in_other_words(event: Json) -> Any:
    if presented(event) == TOKEN:
        return app(event, None)
    return {"statusCode": 403, "body": '{"message":"Forbidden"}'}


def writes_it_anew(event: Json) -> Any:
    body = json.dumps(json.loads(base64.b64decode(event["body"])))
    return app({**event, "body": base64.b64encode(body.encode()).decode()}, None)


def stores_what_it_refuses(event: Json) -> Any:
    app(with_token(event, TOKEN), None)
    return app(event, None)


def wants_accept(event: Json) -> Any:
    """As Chalice does by itself, after the view has run."""
    said = app(event, None)
    return said if "accept" in map(str.lower, event["headers"]) else {"statusCode": 400, "body": ""}


@pytest.mark.parametrize(
    ("invoke", "checks", "says"),
    [
        (lets_everybody_in, {"canary-refusals"}, "No token is answered with 200, not 403."),
        (lets_everybody_in, {"canary-refusals"}, "A wrong token, and the delivery was stored: my-"),
        (hears_nobody, set(CHECKS), "An empty token is answered with 401, not 403."),
        (hears_nobody, set(CHECKS), "The right token is answered with 401, not 200."),
        (stores_nothing, set(CHECKS[1:]), "my-webhooks/in/not-there does not hold the bytes"),
        (stores_elsewhere, set(CHECKS[1:]), "theirs/in/not-there does not hold the bytes"),
        (
            responds_with_text,
            set(CHECKS[1:]),
            "The right token: the response with 200 is unreadable: 4 bytes of application/json are",
        ),
        (answers_something_else, set(CHECKS[1:]), "names no bucket and key"),
        (
            leaves_base64,
            set(CHECKS),
            "A wrong token: the response with 403 is unreadable: it is in",
        ),
        (
            leaves_base64_without_accept,
            {"canary-no-accept"},
            "The right token: the response with 200 is unreadable: it is in base64",
        ),
        (refuses_in_other_words, {"canary-refusals"}, "not in the words of every refusal"),
        (writes_it_anew, set(CHECKS[1:]), "does not hold the bytes that were sent"),
        (
            stores_what_it_refuses,
            {"canary-refusals"},
            "An empty token, and the delivery was stored",
        ),
        (wants_accept, {"canary-no-accept"}, "The right token is answered with 400, not 200."),
    ],
)
def test_a_stage_that_is_wrong_is_found(
    deployed: Deployed,
    monkeypatch: pytest.MonkeyPatch,
    invoke: Invoke,
    checks: set[str],
    says: str,
) -> None:
    monkeypatch.setenv("HOOKSHELF_TOKEN", TOKEN)

    with Front(invoke, deployed.variables) as front:
        findings = run_canary(front.url)

    failed = [one for one in findings if one.level == "failure"]
    assert {one.id for one in failed} == checks
    assert [one for one in failed if says in one.what and one.why and one.fix]
    assert print_findings(findings) == 1


def test_a_failed_canary_is_exit_1(doctor: Doctor) -> None:
    done = doctor("--json", invoke=hears_nobody)

    assert done.exit_code == 1
    assert found(done)["canary-delivery"][0]["level"] == "failure"


def test_a_token_that_is_never_accepted_is_a_failure_and_is_taken_out(deployed: Deployed) -> None:
    with Front(lambda event: app(event, None), lambda: {"validToken": MEMBER}) as front:
        findings = run_canary(front.url, token_timeout=0)

    assert [one.level for one in findings] == ["ok", "failure", "failure"]
    assert findings[1].what == "The right token is answered with 403, not 200."
    assert deployed.variables() == {"validToken": MEMBER}


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/api", "https://127.0.0.1:9/api"])
def test_a_stage_that_is_not_there_is_a_failure_without_the_query(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HOOKSHELF_TOKEN", TOKEN)

    findings = run_canary(url)

    assert {one.level for one in findings} == {"failure"}
    assert {one.what for one in findings} == {
        "127.0.0.1 cannot be reached: ConnectionRefusedError."
    }


def test_without_leave_to_set_its_token_nothing_is_posted(deployed: Deployed) -> None:
    stage = LiveStage(find_deployment(STAGE))
    with refusing("api-gateway.UpdateStage"):
        findings = canary.run_canary(stage, "http://127.0.0.1:9/api", progress=print)

    assert [one.id for one in findings] == CHECKS
    assert {one.level for one in findings} == {"warning"}
    assert "the permission apigateway:PATCH" in findings[0].what
    assert "HOOKSHELF_TOKEN" in findings[0].fix


@pytest.mark.parametrize(
    ("call", "permission", "checks"),
    [
        ("s3.GetObject", "s3:GetObject", CHECKS[1:]),
        ("s3.ListObjectsV2", "s3:ListBucket", CHECKS[:1]),
    ],
)
def test_what_cannot_be_read_back_is_not_said_to_be_well(
    deployed: Deployed,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    permission: str,
    checks: list[str],
) -> None:
    monkeypatch.setenv("HOOKSHELF_TOKEN", TOKEN)

    with Front(lambda event: app(event, None), deployed.variables) as front, refusing(call):
        findings = run_canary(front.url)

    assert [one.id for one in findings if one.level == "warning"] == checks
    assert all(permission in one.what for one in findings if one.level == "warning")


def test_ctrl_c_takes_the_token_out_again(deployed: Deployed, aws_shell: str) -> None:
    posted, go_on = threading.Event(), threading.Event()

    def hanging(event: Json) -> Any:
        posted.set()
        go_on.wait(60)

    program = (
        "import pathlib, signal, sys, hookshelf.deploy.deployment as deployment;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # a shell's job may ignore it
        "deployment.PROJECT_ROOT = pathlib.Path(sys.argv.pop(1));"
        "from hookshelf.__main__ import main; main()"
    )
    with Front(hanging, deployed.variables) as front:
        words = ["doctor", "--stage", STAGE, "--canary", "--url", front.url]
        running = subprocess.Popen(
            [sys.executable, "-c", program, str(deployed.project), *words],
            cwd=PROJECT,
            env=os.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert posted.wait(60)
        during = deployed.variables()
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=60)
        go_on.set()

    assert during.keys() == {"validToken", canary.VARIABLE}
    assert deployed.variables() == {"validToken": MEMBER}
    assert running.returncode == 130
    assert said.splitlines()[-1] == "Aborted!"
