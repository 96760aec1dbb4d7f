"""`hookshelf deploy` and `destroy`, rehearsed for real against a server that plays AWS."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result
from moto.awslambda.models import lambda_backends
from support.packaging import leave_out_wheels
from support.policies import OF_COMPACTOR as OF_COMPACTOR_ROLE
from support.policies import wide
from support.project import aws_environ, reset

from app import app
from chalicelib.errors import MisuseError
from hookshelf.__main__ import main
from hookshelf.deploy import bucket, deployment, package, plan, stage_variables, template
from hookshelf.deploy.apply import apply
from hookshelf.deploy.deploy_lock import VariablesChanged
from hookshelf.deploy.deployment import find_deployment
from hookshelf.deploy.plan import Build, DeployRequest, make_plan
from hookshelf.deploy.progress import Progress, silent
from hookshelf.deploy.stack import MAX_POLLS, Stack, StackEvent, wait_and_report, wait_until_idle

pytestmark = pytest.mark.slow  # each deploys a stage; tests/smoke keeps one for every save

DEPLOY = ["deploy", "--stage", "dev", "--no-doctor"]
FIRST = [*DEPLOY, "--bucket", "my-webhooks", "--create-bucket"]
CODE = "hookshelf-code-123456789012-us-east-1"


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Chalice's own packaging, once for each order."""
    real, made = package.build, {}

    def once(order: package.PackageRequest, into: Path, progress: Progress) -> package.Package:
        key = repr(order)
        if key not in made:
            folder = tmp_path_factory.mktemp("build")
            made[key] = real(order, folder, progress, Path(sys.executable))
        return made[key]

    return once


@pytest.fixture(autouse=True)
def account(aws_shell: str, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty account, and packages without what ships beside our code: that takes a minute."""
    leave_out_wheels(monkeypatch)
    monkeypatch.setattr(package, "build", build)


@pytest.fixture(scope="module", autouse=True)
def session(aws: str) -> Iterator[None]:
    """One for all: each new one reads the descriptions of AWS's services again."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in aws_environ(aws).items():
            patch.setenv(name, value)
        boto3.setup_default_session()
        yield
    boto3.DEFAULT_SESSION = None


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments])


def token_of(result: Result) -> str:
    return re.search(r"shown only now[^:]*: (\S+)", result.stdout)[1]


def deliver(token: str) -> int:
    """The status of a post with the deployment's stage variables and environment."""
    variables = stage_variables.read(find_deployment("dev"))
    event = {
        "requestContext": {"httpMethod": "POST", "resourcePath": "/input", "requestId": "r-1"},
        "headers": {"content-type": "application/json"},
        "multiValueQueryStringParameters": {"token": [token], "app": ["shop"]},
        "stageVariables": variables or None,
        "body": "{}",
        "isBase64Encoded": False,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in function()["Environment"]["Variables"].items():
            patch.setenv(name, value)
        return int(app(event, None)["statusCode"])


def function(name: str = "hookshelf-dev") -> dict[str, Any]:
    found: dict[str, Any] = boto3.client("lambda").get_function_configuration(FunctionName=name)
    return found


def state() -> dict[str, Any]:
    """All that a deploy leaves behind, without what differs from one account to the next."""
    s3, api = boto3.client("s3"), boto3.client("apigateway")
    bucket = {"Bucket": "my-webhooks"}
    [rest] = api.get_rest_apis()["items"]
    [stage] = api.get_stages(restApiId=rest["id"])["item"]
    template = Stack("hookshelf-dev").template()
    template["Metadata"]["hookshelf"].pop("variables")
    functions = boto3.client("lambda").list_functions()["Functions"]
    return {
        "template": template,
        "variables": {
            name: [member.kind for member in stage_variables.parse_members(value)]
            for name, value in stage["variables"].items()
        },
        "stage": (stage["stageName"], stage["methodSettings"]),
        "functions": sorted((one["FunctionName"], str(one["Environment"])) for one in functions),
        "code": [one["Key"] for one in s3.list_objects_v2(Bucket=CODE)["Contents"]],
        "public": s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"],
        "policy": json.loads(s3.get_bucket_policy(**bucket)["Policy"]),
        "lifecycle": s3.get_bucket_lifecycle_configuration(**bucket)["Rules"],
        "versioning": s3.get_bucket_versioning(**bucket)["Status"],
        "encryption": s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"],
    }


def test_one_command_goes_from_nothing_to_an_api_that_stores() -> None:
    done = run(*FIRST)

    assert done.exit_code == 0, done.output
    assert deliver(token_of(done)) == 200
    assert deliver("wrong") == 403
    assert re.search(r"https://\S+/api/input\?token=TOKEN&app=sendgrid", done.stdout)


def test_it_ends_with_the_doctor_who_finds_nothing_to_fix() -> None:
    done = run(*[argument for argument in FIRST if argument != "--no-doctor"])
    warned = set(re.findall(r"^warning +([\w-]+)", done.stdout, re.MULTILINE))

    assert done.exit_code == 0, done.output
    assert re.search(r"^\d+ checks: 0 failed, ", done.stdout, re.MULTILINE)
    assert warned <= {"runtime"}  # where these tests run on 3.11


def test_what_the_doctor_finds_is_the_end_of_it() -> None:
    """A bucket that nobody hardened is archived into, and that is said."""
    boto3.client("s3").create_bucket(Bucket="my-webhooks")
    done = run("deploy", "--stage", "dev", "--bucket", "my-webhooks")

    assert done.exit_code == 1
    assert "failure  public-access" in done.stdout
    assert "Fix: " in done.stdout


def test_it_says_first_what_it_will_do() -> None:
    done = run(*FIRST)
    said = done.stdout.partition("The first token")[0]

    assert "account 123456789012, us-east-1, stack hookshelf-dev (new)" in said
    assert "my-webhooks: + make the bucket my-webhooks" in said
    assert "+ RestAPI (AWS::ApiGateway::RestApi)" in said
    assert "Stage variables: a first token in validToken" in said


def test_a_dry_run_does_nothing() -> None:
    done = run(*FIRST, "--dry-run")

    assert done.exit_code == 0
    assert "+ RestAPI" in done.stdout
    assert "first token, shown" not in done.stdout
    assert Stack("hookshelf-dev").status() == ""
    assert boto3.client("s3").list_buckets()["Buckets"] == []


def test_what_was_deployed_is_what_was_asked_for() -> None:
    run(*FIRST)
    [rest] = boto3.client("apigateway").get_rest_apis()["items"]
    [stage] = boto3.client("apigateway").get_stages(restApiId=rest["id"])["item"]

    assert rest["name"] == "hookshelf-dev"
    assert rest["binaryMediaTypes"] == ["*/*"]
    assert (stage["stageName"], list(stage["variables"])) == ("api", ["validToken"])
    for name in ("hookshelf-dev", "hookshelf-dev-deliver", "hookshelf-dev-track_s3"):
        assert function(name)["Environment"]["Variables"] == {
            "ARCHIVE_BUCKETS": "my-webhooks",
            "ARCHIVE_BUCKET_OWNER": "123456789012",
            "METRICS_NAMESPACE": "hookshelf/dev",
        }
        assert function(name)["MemorySize"] == (512 if name.endswith("deliver") else 256)


def test_the_roles_name_the_bucket_and_nothing_wider() -> None:
    run(*FIRST)
    iam = boto3.client("iam")
    puts = {}
    for name in ("hookshelf-dev", "hookshelf-dev-deliver", "hookshelf-dev-track_s3"):
        role = function(name)["Role"].rpartition("/")[2]
        [policy] = iam.list_role_policies(RoleName=role)["PolicyNames"]
        document: Any = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        puts[name] = [
            one["Resource"] for one in document["Statement"] if one["Action"] == "s3:PutObject"
        ]

    assert puts == {
        "hookshelf-dev": [["arn:aws:s3:::my-webhooks/*"]],
        "hookshelf-dev-deliver": [["arn:aws:s3:::my-webhooks/*"]],
        "hookshelf-dev-track_s3": [],
    }


def test_deploying_again_changes_nothing_and_needs_no_option() -> None:
    run(*FIRST)
    before = state()
    again = run(*DEPLOY)

    assert again.exit_code == 0, again.output
    assert "Stack: nothing to do" in again.stdout
    assert "token, shown" not in again.stdout
    assert state() == before


# --- the scheduled compactor

OF_COMPACTOR = {
    "Compactor": "AWS::Lambda::Function",
    "CompactorErrors": "AWS::CloudWatch::Alarm",
    "CompactorHourly": "AWS::Events::Rule",
    "CompactorHourlyPermission": "AWS::Lambda::Permission",
    "CompactorLogs": "AWS::Logs::LogGroup",
    "CompactorNightly": "AWS::Events::Rule",
    "CompactorNightlyPermission": "AWS::Lambda::Permission",
    "CompactorRetries": "AWS::Lambda::EventInvokeConfig",
    "CompactorRole": "AWS::IAM::Role",
    "EventsStale": "AWS::CloudWatch::Alarm",
    "OtherEventsStale": "AWS::CloudWatch::Alarm",
}


def there_is() -> set[str]:
    return {resource.logical_id for resource in Stack("hookshelf-dev").resources()}


def test_a_stage_has_a_compactor_that_begins_at_once_and_runs_by_its_schedules() -> None:
    done = run(*FIRST)
    name = "hookshelf-dev-compactor"
    rules = boto3.client("events").list_rules()["Rules"]
    [role] = [function(name)["Role"].rpartition("/")[2]]
    [policy] = boto3.client("iam").list_role_policies(RoleName=role)["PolicyNames"]
    document: Any = boto3.client("iam").get_role_policy(RoleName=role, PolicyName=policy)

    assert done.exit_code == 0, done.output
    assert there_is() >= OF_COMPACTOR.keys()
    assert sorted(rule["ScheduleExpression"] for rule in rules) == [
        "cron(20 * * * ? *)",
        "cron(40 0 * * ? *)",
    ]
    faults = wide(document["PolicyDocument"], OF_COMPACTOR_ROLE)
    assert [fault for fault in faults if "WriteLogs" not in fault] == []  # a group of the stack's
    assert [json.loads(event) for event in invoked(name)] == [{"schedule": "nightly"}]
    run(*DEPLOY)
    assert len(invoked(name)) == 1  # it has its schedules


def invoked(name: str) -> list[Any]:
    """The events of every call of a function, as aws_server.py remembers them."""
    return getattr(lambda_backends["123456789012"]["us-east-1"].get_function(name), "invoked", [])


def test_without_a_compactor_a_stage_has_nothing_of_it_and_gets_it_later() -> None:
    run(*FIRST, "--no-compactor")
    without = there_is()
    dry, again = run(*DEPLOY, "--dry-run"), run(*DEPLOY)
    added = there_is() - without
    gone = run(*DEPLOY, "--no-compactor")

    assert not without & OF_COMPACTOR.keys()
    assert added == OF_COMPACTOR.keys()
    for name, kind in OF_COMPACTOR.items():
        assert f"Stack: + {name} ({kind})" in dry.stdout
        assert f"Stack: - {name} ({kind})" in gone.stdout
    assert (again.exit_code, gone.exit_code) == (0, 0), (again.output, gone.output)
    assert there_is() == without
    assert "Stack: nothing to do" in run(*DEPLOY, "--no-compactor").stdout
    back = run(*DEPLOY)
    assert back.exit_code == 0, back.output
    assert there_is() - without == OF_COMPACTOR.keys()


def test_a_compactor_that_was_changed_behind_the_stack_is_put_back() -> None:
    run(*FIRST)
    name = "hookshelf-dev-compactor"
    boto3.client("lambda").update_function_configuration(FunctionName=name, Timeout=3)
    done = run(*DEPLOY)

    line = f"~ {name}, changed behind the stack, is restored (Timeout)"
    assert line in done.output
    assert function(name)["Timeout"] == 900


def test_compacted_events_are_kept_for_as_long_as_deliveries_are() -> None:
    def kept() -> str | None:
        variables = function("hookshelf-dev-compactor")["Environment"]["Variables"]
        return str(variables["ARCHIVE_KEEP_DAYS"]) if "ARCHIVE_KEEP_DAYS" in variables else None

    run(*FIRST)
    for_ever = kept()
    run(*DEPLOY, "--create-bucket", "--keep", "400")
    four_hundred = kept()
    run(*DEPLOY)
    remembered = kept()
    run(*DEPLOY, "--create-bucket", "--keep", "0")

    assert (for_ever, four_hundred, remembered, kept()) == (None, "400", "400", None)


# --- tokens


def test_a_rotated_token_is_never_put_back() -> None:
    first = token_of(run(*FIRST))
    second = run("token", "rotate", "--stage", "dev").stdout.strip()
    run("token", "revoke", "--old", "--stage", "dev")
    done = run(*DEPLOY, "--alarms-to", "ops@example.com")

    assert done.exit_code == 0, done.output
    assert deliver(first) == 403
    assert deliver(second) == 200


def test_a_failed_update_does_not_put_it_back_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack rolls back to what it knows; so it is told of the rotation before anything else."""
    run(*FIRST)
    run("token", "rotate", "--stage", "dev")
    run("token", "revoke", "--old", "--stage", "dev")
    live = stage_variables.read(find_deployment("dev"))
    given = []
    real = Stack.update

    def update(self: Stack, template: Any, parameters: Any) -> bool:
        given.append(parameters)
        return real(self, template, parameters)

    monkeypatch.setattr(Stack, "update", update)
    run(*DEPLOY, "--alarms-to", "ops@example.com")

    assert [one["ValidToken"] for one in given] == [live["validToken"]] * 2
    assert given[0]["CodeKey"] is None  # only the variables, all else as it was


def test_a_token_that_is_rotated_while_a_deploy_waits_is_not_put_back() -> None:
    run(*FIRST)
    plan = make_plan(DeployRequest("dev", alarms_to="ops@example.com"), package.build, silent)
    run("token", "rotate", "--stage", "dev")
    live = stage_variables.read(find_deployment("dev"))
    with pytest.raises(VariablesChanged, match="changed meanwhile"):
        apply(plan, silent)

    assert stage_variables.read(find_deployment("dev")) == live


@pytest.mark.parametrize("change", [["rotate"], ["new"], ["revoke", "--all"]], ids=" ".join)
def test_no_token_is_changed_while_a_stack_that_knows_the_old_ones_is_at_work(
    monkeypatch: pytest.MonkeyPatch, change: list[str]
) -> None:
    run(*FIRST)
    live = stage_variables.read(find_deployment("dev"))
    monkeypatch.setattr(Stack, "status", lambda self: "UPDATE_IN_PROGRESS")
    done = run("token", *change, "--stage", "dev")

    assert done.exit_code == 1
    assert "A deploy of stage dev is under way" in done.output
    assert stage_variables.read(find_deployment("dev")) == live


def test_a_token_revoked_as_the_update_begins_does_not_come_back_without_a_word() -> None:
    """CloudFormation is handed the tokens of a moment ago; so nobody may change them any more."""
    run(*FIRST)
    run("token", "rotate", "--stage", "dev")
    revoked: list[Result] = []

    def revoke(**_: Any) -> None:
        if not revoked:
            revoked.append(run("token", "revoke", "--old", "--stage", "dev"))

    events = boto3.DEFAULT_SESSION.events
    events.register("before-call.cloudformation.UpdateStack", revoke)
    try:
        done = run(*DEPLOY, "--alarms-to", "ops@example.com")
    finally:
        events.unregister("before-call.cloudformation.UpdateStack", revoke)
    again = run("token", "revoke", "--old", "--stage", "dev")

    assert done.exit_code == 0, done.output
    assert revoked[0].exit_code == 1
    assert "A deploy of stage dev is under way" in revoked[0].output
    assert again.exit_code == 0  # the lock is gone


def test_what_was_changed_behind_the_stack_is_put_back() -> None:
    run(*FIRST)
    functions = boto3.client("lambda")
    before = functions.get_function_configuration(FunctionName="hookshelf-dev-deliver")
    functions.update_function_configuration(
        FunctionName="hookshelf-dev-deliver",
        Timeout=3,
        Environment={"Variables": {"ARCHIVE_BUCKETS": "elsewhere"}},
    )
    dry, done = run(*DEPLOY, "--dry-run"), run(*DEPLOY)
    after = functions.get_function_configuration(FunctionName="hookshelf-dev-deliver")

    line = "~ hookshelf-dev-deliver, changed behind the stack, is restored (Environment, Timeout)"
    assert line in dry.stdout
    assert line in done.stderr
    assert (after["Timeout"], after["Environment"]) == (before["Timeout"], before["Environment"])
    assert line not in run(*DEPLOY).output


def test_what_the_stack_cannot_bring_back_is_said() -> None:
    run(*FIRST)
    boto3.client("lambda").delete_function(FunctionName="hookshelf-dev-deliver")
    no_function = run(*DEPLOY)
    boto3.client("apigateway").delete_stage(restApiId=find_deployment("dev").api, stageName="api")
    no_stage = run(*DEPLOY)

    assert (no_function.exit_code, no_stage.exit_code) == (1, 1)
    assert "Function hookshelf-dev-deliver was deleted behind the stack" in no_function.output
    assert "The API or its stage was deleted behind the stack" in no_stage.output
    assert "hookshelf destroy --stage dev, then deploy again" in no_stage.output


@pytest.mark.parametrize("address", ["nonsense", " ", "arn:", "arn:aws:sqs:us-east-1:1:queue"])
def test_alarms_go_to_an_address_or_a_topic_and_nowhere_else(address: str) -> None:
    done = run(*FIRST, "--alarms-to", address)

    assert done.exit_code == 2
    assert "give an e-mail address or the ARN of an SNS topic" in done.output


def rolled_back(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Let the n-th update of a stack fail, after which it is as the stack knew it before."""
    real, begun = Stack.update, []

    def update(self: Stack, given: Any, parameters: Any) -> bool:
        before = self.template()
        is_begun = real(self, given, parameters)
        begun.append(given)
        if len(begun) == n:
            known = {
                name: old[name]
                for name in before["Resources"]["RestAPIapiStage"]["Properties"]["Variables"]
            }
            stage_variables.write(find_deployment("dev"), known)
            monkeypatch.setattr(Stack, "status", lambda self: "UPDATE_ROLLBACK_COMPLETE")
        return is_begun

    old = stage_variables.read(find_deployment("dev"))
    monkeypatch.setattr(Stack, "update", update)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2])
def test_whichever_update_is_rolled_back_a_revoked_token_stays_revoked(
    monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    run(*FIRST)
    rolled_back(monkeypatch, n)
    run("token", "rotate", "--stage", "dev")
    run("token", "revoke", "--old", "--stage", "dev")
    live = stage_variables.read(find_deployment("dev"))
    done = run(*DEPLOY, "--alarms-to", "ops@example.com")

    assert done.exit_code == 1
    assert "rolled stack hookshelf-dev back" in done.output
    assert stage_variables.read(find_deployment("dev")) == live


def test_where_an_update_was_rolled_back_and_nothing_is_left_to_do_all_is_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(*FIRST)
    monkeypatch.setattr(Stack, "status", lambda self: "UPDATE_ROLLBACK_COMPLETE")
    monkeypatch.setattr(Stack, "update", lambda self, template, parameters: False)
    done = run(*DEPLOY)

    assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_tokens_are_found_among_hundreds_of_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = {f"app-{n}": 3600.0 for n in range(120)}
    monkeypatch.setattr(plan, "usual_gaps", lambda environ: gaps)
    first = token_of(run(*FIRST))
    again = run(*DEPLOY)

    assert "token, shown" not in again.stdout
    assert deliver(first) == 200


@pytest.mark.parametrize("given", [{}, {"GH_SECRET": "s3cret-in-the-configuration"}])
def test_a_secret_that_would_stand_in_the_template_is_refused_and_the_way_out_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str]
) -> None:
    apps = {"repo": {"source": "github", "secrets": ["env:GH_SECRET"]}}
    (tmp_path / "apps.json").write_text(json.dumps(apps))
    environ = {"APPS_FILE": str(tmp_path / "apps.json"), **given}
    request = DeployRequest("dev", ("my-webhooks",), environment=environ)

    with pytest.raises(MisuseError, match="--name /hookshelf/GH_SECRET") as refused:
        make_plan(request, package.build, silent)
    assert "s3cret" not in str(refused.value)


@pytest.mark.slow
def test_a_key_for_secrets_is_given_once_and_remembered() -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    run(*FIRST, "--kms-key", key)
    run(*DEPLOY, "--alarms-to", "ops@example.com")
    role = function()["Role"].rpartition("/")[2]
    iam = boto3.client("iam")
    [name] = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document: Any = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]

    assert key in json.dumps(document)


@pytest.mark.slow
def test_every_variable_that_is_live_is_kept_even_a_plain_or_a_foreign_one() -> None:
    run(*FIRST)
    there = {"validToken": "plain-but-long-enough-to-be-used,other", "colour": "blue"}
    stage_variables.write(find_deployment("dev"), there)
    done = run(*DEPLOY, "--alarms-to", "ops@example.com")
    template = json.dumps(Stack("hookshelf-dev").template())

    assert done.exit_code == 0, done.output
    assert stage_variables.read(find_deployment("dev")) == there
    assert "plain-but-long" not in done.output + template


def test_a_stage_that_was_closed_on_purpose_stays_closed() -> None:
    first = token_of(run(*FIRST))
    run("token", "revoke", "--all", "--stage", "dev")
    done = run(*DEPLOY, "--alarms-to", "ops@example.com")

    assert "token, shown" not in done.stdout
    assert deliver(first) == 503


def test_the_token_is_shown_once_and_kept_nowhere(tmp_path: Path) -> None:
    done = run(*FIRST)
    token = token_of(done)
    again = run(*DEPLOY)
    kept = [
        json.dumps(Stack("hookshelf-dev").template()),
        json.dumps(stage_variables.read(find_deployment("dev"))),
        json.dumps(function()["Environment"]),
        *(path.read_text() for path in tmp_path.parent.rglob("*.json")),
    ]

    assert done.output.count(token) == 1
    assert token not in again.output + "".join(kept)


@pytest.mark.slow
def test_options_are_remembered_by_the_stack_itself() -> None:
    run(*FIRST, "--alarms-to", "ops@example.com")
    before = state()
    done = run(*DEPLOY)

    assert "AlarmMail" in before["template"]["Resources"]
    assert "Stack: nothing to do" in done.stdout
    assert state() == before


@pytest.mark.slow
def test_several_buckets_with_paths_are_archived_into() -> None:
    boto3.client("s3").create_bucket(Bucket="other")
    done = run(*FIRST[:-1], "--bucket", "other/team", "--create-bucket")

    assert done.exit_code == 0, done.output
    archive = function()["Environment"]["Variables"]["ARCHIVE_BUCKETS"]
    assert archive == "my-webhooks,other/team"
    assert boto3.client("s3").get_bucket_versioning(Bucket="other")["Status"] == "Enabled"


@pytest.mark.slow
def test_keep_expires_deliveries_and_zero_takes_that_back() -> None:
    s3 = boto3.client("s3")
    rules = {}
    for days in ("90", "0"):
        run(*FIRST, "--keep", days)
        found = s3.get_bucket_lifecycle_configuration(Bucket="my-webhooks")["Rules"]
        rules[days] = {rule["ID"]: rule.get("Expiration") for rule in found}

    assert rules["90"]["hookshelf-keep"] == {"Days": 90}
    assert "hookshelf-keep" not in rules["0"]


@pytest.mark.slow
def test_a_bucket_of_another_account_is_archived_into_and_left_to_its_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configured = {"ARCHIVE_BUCKETS": "theirs", "ARCHIVE_BUCKET_OWNER": "999999999999"}
    monkeypatch.setattr(plan, "stage_environment", lambda stage: dict(configured))
    done = run(*DEPLOY)

    assert done.exit_code == 0, done.output
    assert "theirs" not in [one["Name"] for one in boto3.client("s3").list_buckets()["Buckets"]]
    assert function()["Environment"]["Variables"]["ARCHIVE_BUCKET_OWNER"] == "999999999999"


@pytest.mark.slow
def test_an_access_point_is_archived_into_and_its_bucket_left_alone() -> None:
    arn = "arn:aws:s3:us-east-1:123456789012:accesspoint/webhooks"
    done = run(*DEPLOY, "--bucket", f"{arn}/team")

    assert done.exit_code == 0, done.output
    assert function()["Environment"]["Variables"]["ARCHIVE_BUCKETS"] == f"{arn}/team"


@pytest.mark.parametrize("place", ["arn:aws:s3:us-east-1:123456789012:accesspoint/webhooks"])
def test_what_is_not_ours_is_not_hardened_and_that_is_said(place: str) -> None:
    done = run(*DEPLOY, "--bucket", place, "--create-bucket")

    assert done.exit_code == 2
    assert "see to that bucket yourself" in done.output


class Lambda:
    """An account's limits, as Lambda tells them."""

    class exceptions:
        class ResourceNotFoundException(Exception):
            pass

    def __init__(self, unreserved: int, ours: int | None) -> None:
        self.unreserved, self.ours = unreserved, ours

    def get_account_settings(self) -> dict[str, Any]:
        return {"AccountLimit": {"UnreservedConcurrentExecutions": self.unreserved}}

    def get_function_concurrency(self, FunctionName: str) -> dict[str, Any]:
        if self.ours is None:
            raise self.exceptions.ResourceNotFoundException
        return {"ReservedConcurrentExecutions": self.ours}


@pytest.mark.parametrize(
    ("unreserved", "ours", "reserved"),
    [(10, None, False), (199, None, False), (200, None, True), (900, 100, True), (100, 100, True)],
)
def test_concurrency_is_reserved_only_where_a_hundred_stay_free(
    monkeypatch: pytest.MonkeyPatch, unreserved: int, ours: int | None, reserved: bool
) -> None:
    """A new account has ten in all; the stack would be rolled back."""
    monkeypatch.setattr(boto3, "client", lambda service: Lambda(unreserved, ours))

    assert plan.may_reserve("dev") is reserved


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (DEPLOY, "Give --bucket NAME"),
        ([*DEPLOY, "--bucket", "my-webhooks"], "Give --create-bucket to make it"),
        ([*DEPLOY, "--bucket", "Not_A_Bucket", "--create-bucket"], "ARCHIVE_BUCKETS"),
        ([*FIRST, "--stage", "nope"], "No stage 'nope'"),
        ([*FIRST, "--stage", "my_dev"], "cannot name a stack"),
        ([*DEPLOY, "--bucket", "b-1", "--keep", "9"], "Give --create-bucket with it"),
        ([*FIRST, "--stage", "local"], "ARCHIVE_FOLDER"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_deployed_is_said_before_anything_is_done(
    arguments: list[str], said: str
) -> None:
    done = run(*arguments)

    assert done.exit_code == 2
    assert said in done.output
    assert boto3.client("s3").list_buckets()["Buckets"] == []


def test_a_stage_that_chalice_deployed_is_not_overwritten() -> None:
    run(*FIRST)
    Stack("hookshelf-dev").delete()
    role = boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")
    boto3.client("lambda").create_function(
        FunctionName="hookshelf-dev",
        Runtime="python3.13",
        Role=role["Role"]["Arn"],
        Handler="app.app",
        Code={"ZipFile": b"zip"},
    )
    done = run(*FIRST)

    assert done.exit_code == 2
    assert "chalice delete --stage dev" in done.output


def test_a_shell_without_credentials_or_region_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    done = run(*FIRST)

    assert done.exit_code == 2
    assert "No AWS credentials" in done.output


def test_destroy_takes_the_stack_and_the_code_and_keeps_the_archive() -> None:
    token = token_of(run(*FIRST))
    deliver(token)
    done = run("destroy", "--stage", "dev", "--yes")
    s3 = boto3.client("s3")

    assert done.exit_code == 0, done.output
    assert "Kept, with all that is archived: my-webhooks" in done.stdout
    assert Stack("hookshelf-dev").status() == ""
    assert boto3.client("apigateway").get_rest_apis()["items"] == []
    assert boto3.client("lambda").list_functions()["Functions"] == []
    assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == ["my-webhooks"]
    assert s3.list_objects_v2(Bucket="my-webhooks")["KeyCount"] == 1


@pytest.mark.slow
def test_what_was_destroyed_can_be_deployed_again_over_the_same_archive() -> None:
    run(*FIRST)
    run("destroy", "--stage", "dev", "--yes")
    done = run(*DEPLOY, "--bucket", "my-webhooks")

    assert done.exit_code == 0, done.output
    assert deliver(token_of(done)) == 200


@pytest.mark.slow
def test_destroy_goes_on_where_it_was_interrupted() -> None:
    run(*FIRST)
    Stack("hookshelf-dev").delete()  # and nobody waited
    done = run("destroy", "--stage", "dev", "--yes")

    assert done.exit_code == 0, done.output
    assert CODE not in [one["Name"] for one in boto3.client("s3").list_buckets()["Buckets"]]


def test_destroying_what_is_not_there_is_misuse() -> None:
    done = run("destroy", "--stage", "dev", "--yes")

    assert done.exit_code == 2
    assert "Stage dev has no stack in this region" in done.output


def test_a_stage_that_chalice_deployed_is_left_to_chalice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    noted = tmp_path / ".chalice" / "deployed" / "dev.json"
    noted.parent.mkdir(parents=True)
    noted.touch()
    monkeypatch.setattr(deployment, "PROJECT_ROOT", tmp_path)
    done = run("destroy", "--stage", "dev", "--yes")

    assert done.exit_code == 2
    assert "chalice delete --stage dev" in done.output


def test_without_a_terminal_nothing_is_destroyed_unless_that_is_meant() -> None:
    run(*FIRST)
    done = run("destroy", "--stage", "dev")

    assert done.exit_code == 2
    assert "Give --yes" in done.output
    assert Stack("hookshelf-dev").status() == "CREATE_COMPLETE"


def test_an_empty_bucket_for_code_that_was_left_goes_too() -> None:
    boto3.client("s3").create_bucket(Bucket=CODE)
    done = run("destroy", "--stage", "dev", "--yes")

    assert done.exit_code == 0, done.output
    assert boto3.client("s3").list_buckets()["Buckets"] == []


class Killed(Exception):
    """Nothing that the code would handle."""


@contextmanager
def killed_at(n: int) -> Iterator[None]:
    """Let the n-th call that changes something be the last: AWS has it, and nobody hears so."""
    calls: list[str] = []
    events = boto3.DEFAULT_SESSION.events

    def changes(model: Any, **_: Any) -> None:
        if re.match("(Create|Put|Update|Delete)", model.name):
            calls.append(model.name)
            if len(calls) == n:
                raise Killed(model.name)

    events.register("after-call", changes)
    try:
        yield
    finally:
        events.unregister("after-call", changes)


def deploy_killed_at(n: int, *arguments: str) -> str:
    """The last call of a deploy that is killed there; empty where it came to its end."""
    with killed_at(n):
        done = run(*arguments)
    return str(done.exception) if isinstance(done.exception, Killed) else ""


@pytest.mark.parametrize(
    "there",
    [
        # The steps of hardening, too, are those of tests/deploy/test_bucket.py.
        pytest.param(True, id="into a bucket that is there", marks=pytest.mark.slow),
        pytest.param(False, id="from nothing", marks=pytest.mark.slow),
    ],
)
def test_a_first_deploy_that_is_killed_anywhere_ends_in_the_same_place_when_run_again(
    aws: str, there: bool
) -> None:
    run(*FIRST)
    whole = state()
    killed: list[str] = []
    while True:
        reset(aws)
        if there:
            list(bucket.harden("my-webhooks", [""]))
        last = deploy_killed_at(len(killed) + 1, *FIRST)
        again = run(*FIRST)
        assert again.exit_code == 0, again.output
        assert state() == whole, last
        if not last:
            break
        killed.append(last)

    # The code's bucket, and in it the functions' zip and the compactor's; the stack's; and the
    # lock's: taken to look at the variables, and given back.
    assert killed[-6:] == ["CreateBucket", *2 * ["PutObject"], "CreateStack", *2 * ["UpdateStage"]]
    assert len(killed) == (6 if there else 13)


@pytest.mark.slow
def test_an_update_that_is_killed_anywhere_ends_in_the_same_place_when_run_again(
    aws: str,
) -> None:
    def rotated() -> dict[str, str]:
        reset(aws)
        run(*FIRST)
        run("token", "rotate", "--stage", "dev")
        run("token", "revoke", "--old", "--stage", "dev")
        return stage_variables.read(find_deployment("dev"))

    update = [*DEPLOY, "--alarms-to", "ops@example.com"]
    rotated()
    run(*update)
    whole = state()
    killed = []
    while True:
        live = rotated()
        last = deploy_killed_at(len(killed) + 1, *update)
        run(*update)
        assert state() == whole, last
        assert stage_variables.read(find_deployment("dev")) == live
        if not last:
            break
        killed.append(last)

    # The stage's updates are the lock's, taken and given back.
    assert [call for call in killed if call != "UpdateStage"] == ["UpdateStack", "UpdateStack"]
    assert len(killed) > 2


@pytest.mark.slow
def test_a_token_that_was_shown_holds_though_the_deploy_was_killed() -> None:
    with killed_at(11):
        killed = run(*FIRST)
    again = run(*FIRST)

    assert str(killed.exception) == "CreateStack"
    assert "token, shown" not in again.stdout
    assert deliver(token_of(killed)) == 200


class SlowCloudFormation:
    """A stack that takes its time: each look at it is one step further.

    A step is the stack's next status, or a resource and its status, or nothing new.
    """

    def __init__(self, status: str, *steps: str) -> None:
        self.status = status
        self.steps = list(steps)
        self.events: list[dict[str, str]] = []

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        if step := self.steps.pop(0) if self.steps else "":
            *resource, status = step.split()
            self.status = self.status if resource else status
            event = {"EventId": step, "LogicalResourceId": "".join(resource) or StackName}
            self.events.insert(0, event | {"ResourceStatus": status, "ResourceStatusReason": "why"})
        return {"Stacks": [{"StackStatus": self.status}]}

    def get_paginator(self, name: str) -> "SlowCloudFormation":
        return self

    def paginate(self, StackName: str) -> list[dict[str, Any]]:
        return [{"StackEvents": list(self.events)}]

    def get_template(self, **which: str) -> dict[str, Any]:
        return {}  # as of a stack that only waits for a change set


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookshelf.deploy.stack.STACK_POLL_INTERVAL", 0)


@pytest.mark.usefixtures("at_once")
def test_what_is_under_way_is_waited_for() -> None:
    slow = SlowCloudFormation("CREATE_IN_PROGRESS", "Deliver CREATE_COMPLETE", "CREATE_COMPLETE")

    told: list[str] = []

    assert wait_until_idle(Stack("hookshelf-dev", slow), told.append) == "CREATE_COMPLETE"
    assert "still at work" in told[0]


@pytest.mark.usefixtures("at_once")
def test_every_event_is_shown_once_and_what_failed_is_said() -> None:
    slow = SlowCloudFormation("UPDATE_IN_PROGRESS", "Deliver UPDATE_FAILED", "")
    slow.steps += ["UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE"]
    told: list[str] = []
    failed = wait_and_report(Stack("hookshelf-dev", slow), "", told.append)

    assert [(event.resource, event.reason) for event in failed] == [("Deliver", "why")]
    assert [line.split()[0] for line in told] == [
        "UPDATE_FAILED",
        "UPDATE_ROLLBACK_IN_PROGRESS",
        "UPDATE_ROLLBACK_COMPLETE",
    ]


@pytest.mark.usefixtures("at_once")
def test_a_status_that_is_still_the_old_one_ends_no_wait() -> None:
    slow = SlowCloudFormation("UPDATE_COMPLETE", "", "", "UPDATE_IN_PROGRESS", "UPDATE_FAILED")
    wait_and_report(Stack("hookshelf-dev", slow), "", silent)

    assert slow.status == "UPDATE_FAILED"


@pytest.mark.usefixtures("at_once")
def test_a_stack_at_rest_that_never_says_so_is_not_waited_for_in_vain() -> None:
    slow = SlowCloudFormation("UPDATE_COMPLETE", *[""] * 100)
    wait_and_report(Stack("hookshelf-dev", slow), "", silent)

    assert len(slow.steps) == 100 - MAX_POLLS


@pytest.mark.slow
def test_a_deploy_is_done_though_something_old_could_not_be_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(*FIRST)
    real = Stack.wait

    def wait(self: Stack, since: str = "") -> Iterator[StackEvent]:
        yield from real(self, since)
        yield StackEvent("late", "OldQueue", "DELETE_FAILED", "it is in use")

    monkeypatch.setattr(Stack, "wait", wait)
    done = run(*DEPLOY, "--alarms-to", "ops@example.com")

    assert done.exit_code == 0, done.output
    assert "Left over: OldQueue, it is in use" in done.output


def test_a_stack_whose_rollback_failed_is_left_alone_and_what_helps_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Stack, "status", lambda self: "UPDATE_ROLLBACK_FAILED")
    monkeypatch.setattr(
        Stack, "template", lambda self: {"Metadata": template.metadata(kms_keys=[])}
    )
    done = run(*FIRST)

    assert done.exit_code == 1
    assert "aws cloudformation continue-update-rollback --stack-name hookshelf-dev" in done.output
    assert boto3.client("s3").list_buckets()["Buckets"] == []


@pytest.mark.usefixtures("at_once")
def test_a_stack_that_only_waits_for_a_change_set_is_not_waited_for() -> None:
    stack = Stack("hookshelf-dev", SlowCloudFormation("REVIEW_IN_PROGRESS"))

    assert wait_until_idle(stack, silent) == "REVIEW_IN_PROGRESS"
    assert stack.template() == {}


@pytest.mark.slow
def test_a_template_that_is_too_long_for_a_call_goes_by_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookshelf.deploy.code_bucket.MAX_TEMPLATE_BODY", 1000)
    done = run(*FIRST)

    assert done.exit_code == 0, done.output
    assert deliver(token_of(done)) == 200
