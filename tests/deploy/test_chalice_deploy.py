"""Plain `chalice deploy`, for real, in a copy of the project, against a server that plays AWS.

One rehearsal goes through a deployment's whole life and looks at the account after each step; the
tests only read what it saw. tests/support/aws_server.py says where that server and AWS differ.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.local_server import copy_of_project
from support.project import aws_environ, reset

from app import app

# One worker, so one rehearsal.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chalice deploy")]

BUCKET = "my-webhooks"
HANDLERS = {"": "app.app", "-deliver": "app.deliver", "-track_s3": "app.track_s3"}
FUNCTIONS = {f"hookshelf-dev{name}" for name in HANDLERS}
Json = dict[str, Any]


@dataclass(frozen=True)
class Account:
    """What is in the account."""

    apis: Mapping[str, Json]  # by id
    methods: Mapping[tuple[str, str], Json]  # by path and method, of all APIs
    stages: list[Json]
    functions: Mapping[str, Json]  # by name
    allowed: Mapping[str, set[tuple[str, str]]]  # role: actions and resources, of inline policies
    attached: list[Json]  # managed policies of these roles


@dataclass(frozen=True)
class Rehearsal:
    """What came of each step."""

    project: Path
    token: str
    said: str  # by all steps but the one that shows the token
    deployed: Account
    with_token: Account
    again: Account  # a setting was changed, and the whole deployed once more
    gone: Account


@pytest.fixture(scope="module")
def rehearsal(aws: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    project = copy_of_project(tmp_path_factory.mktemp("chalice") / "hookshelf")
    shell = {**os.environ, **aws_environ(aws)}

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command], cwd=project, env=shell, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout + done.stderr)
        return done.stdout.strip()

    def chalice(verb: str) -> Account:
        run("-c", "from chalice.cli import main; main()", verb, "--stage", "dev")
        return look(shell)

    said: list[str] = []
    reset(aws)
    configure(project, ARCHIVE_BUCKETS=BUCKET)
    # What ships beside our code takes a minute to fetch; tests/deploy/test_package_runs.py has it.
    (project / "requirements.txt").write_text("")
    run("-m", "hookshelf", "policy", "--stage", "dev")
    deployed = chalice("deploy")
    token = run("-m", "hookshelf", "token", "new", "--stage", "dev")
    said.pop()
    with_token = look(shell)
    configure(project, ARCHIVE_BUCKETS=BUCKET, DIRECT_APP="orders")
    again = chalice("deploy")
    run("-m", "hookshelf", "token", "list", "--stage", "dev")
    gone = chalice("delete")
    yield Rehearsal(project, token, "".join(said), deployed, with_token, again, gone)
    reset(aws)


def configure(project: Path, **variables: str) -> None:
    """Do what the manual says: edit .chalice/config.json."""
    file = project / ".chalice" / "config.json"
    config = json.loads(file.read_text())
    config["stages"]["dev"]["environment_variables"] |= variables
    file.write_text(json.dumps(config))


def look(shell: Mapping[str, str]) -> Account:
    """Read everything back, as anyone with a login could."""
    session = boto3.Session("testing", "testing", region_name="us-east-1")
    url = shell["AWS_ENDPOINT_URL"]
    gateway, functions, iam = (
        session.client(name, endpoint_url=url) for name in ("apigateway", "lambda", "iam")
    )
    apis = {api["id"]: api for api in gateway.get_rest_apis()["items"]}
    roles = [role["RoleName"] for role in iam.list_roles()["Roles"]]
    policies = {
        role: [
            iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
        ]
        for role in roles
    }
    return Account(
        apis=apis,
        methods={
            (resource["path"], name): method
            for api in apis
            for resource in gateway.get_resources(restApiId=api, embed=["methods"])["items"]
            for name, method in resource.get("resourceMethods", {}).items()
        },
        stages=[stage for api in apis for stage in gateway.get_stages(restApiId=api)["item"]],
        functions={one["FunctionName"]: one for one in functions.list_functions()["Functions"]},
        allowed={
            role: {pair for document in documents for pair in pairs(document)}
            for role, documents in policies.items()
        },
        attached=[
            policy
            for role in roles
            for policy in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        ],
    )


def pairs(document: Json) -> Iterator[tuple[str, str]]:
    """Each action that a policy allows, with each resource."""
    for statement in document["Statement"]:
        assert statement["Effect"] == "Allow"
        for action in as_list(statement["Action"]):
            for resource in as_list(statement["Resource"]):
                yield action, resource


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# --- deployed


def test_every_route_is_there_with_every_method_and_leads_to_the_function(
    rehearsal: Rehearsal,
) -> None:
    methods = rehearsal.deployed.methods
    arn = rehearsal.deployed.functions["hookshelf-dev"]["FunctionArn"]

    assert set(methods) == {(path, name) for path, route in app.routes.items() for name in route}
    for method in methods.values():
        integration = method["methodIntegration"]
        assert integration["type"].lower() == "aws_proxy"
        assert integration["uri"].endswith(f"/functions/{arn}/invocations")


def test_only_the_iam_route_asks_aws_who_comes(rehearsal: Rehearsal) -> None:
    found = {
        path: method["authorizationType"]
        for (path, _), method in rehearsal.deployed.methods.items()
    }

    assert found == {"/input": "NONE", "/iam/input": "AWS_IAM"}


def test_bodies_come_in_as_bytes(rehearsal: Rehearsal) -> None:
    [api] = rehearsal.deployed.apis.values()

    assert api["binaryMediaTypes"] == ["*/*"]
    assert "minimumCompressionSize" not in api


def test_there_is_one_stage_and_it_is_closed_until_it_has_a_token(rehearsal: Rehearsal) -> None:
    [stage] = rehearsal.deployed.stages

    assert stage["stageName"] == "api"
    assert stage.get("variables", {}) == {}


def test_each_function_has_its_environment_memory_timeout_and_handler(rehearsal: Rehearsal) -> None:
    functions = rehearsal.deployed.functions
    timeouts = {name: function["Timeout"] for name, function in functions.items()}

    assert {name: function["Handler"] for name, function in functions.items()} == {
        f"hookshelf-dev{name}": handler for name, handler in HANDLERS.items()
    }
    assert timeouts == {
        "hookshelf-dev": 15,
        "hookshelf-dev-deliver": 15,
        "hookshelf-dev-track_s3": 30,
    }
    for function in functions.values():
        assert function["MemorySize"] in (256, 512)
        assert function["Environment"]["Variables"] == {"ARCHIVE_BUCKETS": BUCKET}
        assert function["Runtime"] == f"python3.{sys.version_info[1]}"


def test_each_function_may_do_what_it_has_to_and_nothing_else(rehearsal: Rehearsal) -> None:
    account = rehearsal.deployed
    roles = {
        name: function["Role"].rpartition("/")[2] for name, function in account.functions.items()
    }
    put = {("s3:PutObject", f"arn:aws:s3:::{BUCKET}/*")}
    describe = {
        (
            "lambda:GetFunctionConfiguration",
            "arn:aws:lambda:*:*:function:hookshelf-dev-track_s3",
        )
    }

    assert set(account.allowed) == set(roles.values())
    assert {name: account.allowed[role] for name, role in roles.items()} == {
        "hookshelf-dev": put | logs("hookshelf-dev"),
        "hookshelf-dev-deliver": put | logs("hookshelf-dev-deliver"),
        "hookshelf-dev-track_s3": describe | logs("hookshelf-dev-track_s3"),
    }
    assert account.attached == []


def logs(function: str) -> set[tuple[str, str]]:
    own = f"arn:aws:logs:*:*:log-group:/aws/lambda/{function}:*"
    actions = ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents")
    return {(action, own) for action in actions}


# --- a token


def test_a_new_token_is_kept_as_its_hash_alone(rehearsal: Rehearsal) -> None:
    [stage] = rehearsal.with_token.stages
    digest = hashlib.sha256(rehearsal.token.encode()).hexdigest()

    assert stage["variables"] == {"validToken": f"sha256:{digest}"}


def test_the_token_is_in_no_file_and_in_no_other_output(rehearsal: Rehearsal) -> None:
    token = rehearsal.token.encode()
    files = [path for path in rehearsal.project.rglob("*") if path.is_file()]

    assert len(token) >= 32
    assert rehearsal.token not in rehearsal.said
    assert [path for path in files if token in path.read_bytes()] == []


# --- deployed again


def test_deploying_again_keeps_the_url_and_the_tokens(rehearsal: Rehearsal) -> None:
    before, after = rehearsal.with_token, rehearsal.again

    assert set(after.apis) == set(before.apis)
    assert [(stage["stageName"], stage["variables"]) for stage in after.stages] == [
        (stage["stageName"], stage["variables"]) for stage in before.stages
    ]
    assert after.methods.keys() == before.methods.keys()
    assert after.allowed == before.allowed


def test_deploying_again_brings_changed_settings(rehearsal: Rehearsal) -> None:
    changed = {"ARCHIVE_BUCKETS": BUCKET, "DIRECT_APP": "orders"}

    assert set(rehearsal.again.functions) == FUNCTIONS
    for function in rehearsal.again.functions.values():
        assert function["Environment"]["Variables"] == changed


# --- deleted


def test_deleting_leaves_no_api_no_function_and_no_role(rehearsal: Rehearsal) -> None:
    gone = rehearsal.gone

    assert (gone.apis, gone.stages, gone.functions, gone.allowed) == ({}, [], {}, {})
