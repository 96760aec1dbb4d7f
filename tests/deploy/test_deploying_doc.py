"""docs/deploying.md says what is so: its commands are run or checked, its tables compared."""

import json
import logging
import re
import shlex
import subprocess
import sys
import uuid
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from fnmatch import fnmatchcase
from math import ceil
from pathlib import Path
from textwrap import dedent
from typing import Any

import boto3
import click
import pytest
from botocore import xform_name
from click.testing import CliRunner
from support.lambda_runtime import needs_linux
from support.packaging import leave_out_wheels
from support.project import PROJECT, SAMPLES, TOKEN, aws_environ, reset

from app import app
from chalicelib import log, metrics, tokens
from chalicelib.models import check_apps
from chalicelib.settings import from_environment
from hookshelf import settings
from hookshelf.__main__ import main
from hookshelf.deploy import alarms as alarms_module
from hookshelf.deploy import compactor, package, plan, template
from hookshelf.deploy.alarms import alarms
from hookshelf.deploy.deployment import namespace
from hookshelf.deploy.progress import Progress
from hookshelf.deploy.stack import Stack
from hookshelf.doctor.aws_reader import PERMISSIONS
from hookshelf.doctor.canary import CANARY_CHECKS
from hookshelf.doctor.registry import all_checks
from hookshelf.reading import scheduled

pytestmark = pytest.mark.xdist_group("deploying doc")

PAGE = (PROJECT / "docs" / "deploying.md").read_text(encoding="utf-8")
ACCOUNT = "123456789012"
BIN = ".venv/bin/"
# What `aws` has beyond the calls of an API, with the options we use.
CUSTOM = {
    ("cloudformation", "deploy"): {
        "--stack-name",
        "--template-file",
        "--capabilities",
        "--parameter-overrides",
    },
    ("logs", "tail"): {"--since"},
    ("s3", "cp"): set(),
}
OF_ALL = {"--query", "--output", "--cli-binary-format"}
SERVICES = {"s3api": "s3"}  # as boto3 calls what `aws` calls otherwise
# What CloudFormation calls for a resource, with the caller's permissions: of the handlers in its
# registry's schema, as `aws cloudformation describe-type` shows it, what our properties need.
API = [f"apigateway:{method}" for method in ("GET", "POST", "PUT", "PATCH", "DELETE")]
CALLS = {
    "AWS::ApiGateway::Deployment": API,
    "AWS::ApiGateway::RestApi": API,
    "AWS::ApiGateway::Stage": API,
    "AWS::CloudWatch::Alarm": ["cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms"],
    "AWS::Events::Rule": [
        f"events:{call}"
        for call in (
            *("PutRule", "DescribeRule", "DeleteRule"),
            *("PutTargets", "RemoveTargets", "ListTargetsByRule"),
        )
    ],
    "AWS::IAM::Role": [
        f"iam:{call}"
        for call in ("CreateRole", "GetRole", "PutRolePolicy", "DeleteRolePolicy", "DeleteRole")
    ],
    "AWS::Lambda::EventInvokeConfig": [
        f"lambda:{call}FunctionEventInvokeConfig" for call in ("Put", "Get", "Update", "Delete")
    ],
    "AWS::Lambda::Function": [
        "iam:PassRole",
        "lambda:CreateFunction",
        "lambda:DeleteFunction",
        "lambda:PutFunctionConcurrency",
        "lambda:UpdateFunctionCode",
        "lambda:UpdateFunctionConfiguration",
        "s3:GetObject",
    ],
    "AWS::Lambda::Permission": ["lambda:AddPermission", "lambda:RemovePermission"],
    "AWS::Logs::LogGroup": [
        "logs:CreateLogGroup",
        "logs:DeleteLogGroup",
        "logs:DescribeIndexPolicies",
        "logs:DescribeLogGroups",
        "logs:DescribeResourcePolicies",
        "logs:PutRetentionPolicy",
    ],
    "AWS::SNS::Subscription": [
        "sns:GetSubscriptionAttributes",
        "sns:ListSubscriptionsByTopic",
        "sns:SetSubscriptionAttributes",
        "sns:Subscribe",
        "sns:Unsubscribe",
    ],
    "AWS::SNS::Topic": ["sns:CreateTopic", "sns:DeleteTopic", "sns:GetTopicAttributes"],
    "AWS::SQS::Queue": [
        "sqs:CreateQueue",
        "sqs:DeleteQueue",
        "sqs:GetQueueAttributes",
        "sqs:SetQueueAttributes",
    ],
}
# What can only be allowed for all resources.
# https://docs.aws.amazon.com/service-authorization/latest/reference/
FOR_ALL = {
    "lambda:GetAccountSettings",
    "logs:DescribeIndexPolicies",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "sns:GetSubscriptionAttributes",
    "sns:SetSubscriptionAttributes",
    "sns:Unsubscribe",
    "sts:GetCallerIdentity",
}
Json = dict[str, Any]


def section(heading: str) -> str:
    """What stands below a heading, until the next of its level or a higher one."""
    level = len(heading.partition(" ")[0])
    below = PAGE.partition(f"\n{heading}\n")[2]
    assert below, heading
    return re.split(rf"^#{{1,{level}}} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def blocks(kind: str, text: str = PAGE) -> list[str]:
    found = re.findall(rf"^( *)```{kind}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [dedent(block) for _, block in found]


def lines(text: str = PAGE) -> list[str]:
    """Every command of the `sh` blocks."""
    return [line for block in blocks("sh", text) for line in block.splitlines()]


def spans() -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))


def rows(text: str) -> list[list[str]]:
    """The cells of the first table in a text, without its heading."""
    [table, *_] = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in table.splitlines()[2:]
    ]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# --- what is named exists


def verbs_named() -> Iterator[list[str]]:
    """Each use of `hookshelf`, as words."""
    shown = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]
    for text in [*lines(), *shown, *spans()]:
        if found := re.match(r"(?:[A-Z_]+=\S+ )?(?:\.venv/bin/)?hookshelf (?=[a-z])", text):
            yield shlex.split(text[found.end() :])


def command_of(words: list[str]) -> click.Command:
    command = main.get_command(click.Context(main), words[0])
    assert command, f"there is no verb {words[0]}"
    if isinstance(command, click.Group) and words[1:]:
        assert words[1] in command.commands, words
        return command.commands[words[1]]
    return command


def options_of(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


def test_every_verb_and_option_of_the_page_exists() -> None:
    used = list(verbs_named())
    for words in used:
        named = {word for word in words if word.startswith("--")}

        assert named <= options_of(command_of(words)), words
    assert {"deploy", "destroy", "doctor", "policy", "token", "watch", "verify"} <= {
        words[0] for words in used
    }


def test_every_option_that_stands_alone_is_one_of_ours() -> None:
    every = set[str]()
    for verb in ("deploy", "doctor", "policy"):
        every |= options_of(command_of([verb]))
    every |= options_of(command_of(["token", "new"])) | options_of(command_of(["token", "revoke"]))
    alone = {span.split()[0] for span in spans() if span.startswith("--")}

    assert alone - every == {"--s3-bucket"}  # of `aws cloudformation deploy`


@pytest.mark.parametrize(
    "command", dict.fromkeys(text for text in [*lines(), *spans()] if text.startswith("make "))
)
def test_every_make_command_has_its_target_and_variables(command: str) -> None:
    makefile = (PROJECT / "Makefile").read_text()
    done = subprocess.run(
        ["make", "--dry-run", *shlex.split(command)[1:]],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    for name in re.findall(r"([A-Z]+)=", command):
        assert f"$({name})" in makefile


def aws_commands() -> list[str]:
    """Each use of `aws` here and in docs/entry-points.md, those within another command too."""
    entry_points = (
        (PROJECT / "docs" / "entry-points.md").read_text(encoding="utf-8").replace("\\\n", "")
    )
    found = []
    for text in [*lines(), *spans(), *lines(entry_points)]:
        inner = re.findall(r"\$\((aws [^()]*)\)", text)
        outer = re.sub(r"\$\(aws [^()]*\)", "X", text).removeprefix("QUEUE=")
        found += [part for part in [outer, *inner] if part.startswith("aws ")]
    return found


@pytest.mark.parametrize("command", dict.fromkeys(aws_commands()))
def test_every_aws_command_has_its_call_and_options(command: str) -> None:
    _, service, operation, *rest = command.split()
    named = {word for word in rest if word.startswith("--")} - OF_ALL
    if (service, operation) in CUSTOM:
        known = CUSTOM[service, operation]
    else:
        members = shape_of(service, operation).members
        known = {f"--{xform_name(member, '-')}" for member in members}

    assert named <= known


def shape_of(service: str, operation: str) -> Any:
    client = boto3.client(SERVICES.get(service, service), region_name="us-east-1")
    call = client.meta.method_to_api_mapping[operation.replace("-", "_")]
    return client.meta.service_model.operation_model(call).input_shape


def test_every_file_of_the_page_is_there() -> None:
    named = {span for span in spans() if re.fullmatch(r"[\w./-]+\.(?:py|md|json)", span)}
    made = {name for name in named if name.startswith((".chalice/deployed/", "chalicelib/apps"))}

    assert len(named) > 5
    assert [name for name in named - made if not (PROJECT / name).exists()] == []


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https:)([^)#]*)(?:#([^)]+))?\)", PAGE)

    assert len(links) > 15
    for file, anchor in links:
        text = (PROJECT / "docs" / (file or "deploying.md")).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        assert not anchor or anchor in {slug(heading) for heading in headings}, (file, anchor)


def slug(heading: str) -> str:
    """https://docs.github.com/en/get-started/writing-on-github/getting-started-with-writing-and-formatting-on-github/basic-writing-and-formatting-syntax#section-links"""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


# --- the commands, run one after the other in an empty account


@dataclass(frozen=True)
class Rehearsal:
    """What came of it."""

    said: dict[str, str]  # by command
    calls: set[str]  # of AWS, as IAM names them
    template: Json
    buckets: list[str]  # at the end


@pytest.fixture(
    scope="module", params=[pytest.param("in an empty account", marks=pytest.mark.slow)]
)
def rehearsal(aws: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    folder = tmp_path_factory.mktemp("deploying")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in aws_environ(aws).items():
            patch.setenv(name, value)
        patch.setattr(settings, "CONFIG", configured(folder))
        patch.setattr(package, "build", build_once(folder))
        # Without what ships beside our code: that takes a minute.
        leave_out_wheels(patch)
        reset(aws)
        boto3.setup_default_session()
        yield rehearse()
        boto3.setup_default_session()
        reset(aws)


def configured(folder: Path) -> Path:
    """A configuration that names the bucket; the policies are written beside it."""
    text = (PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8")
    file = folder / "config.json"
    file.write_text(text.replace("CHANGE-ME", "my-webhooks"), encoding="utf-8")
    return file


def build_once(folder: Path) -> plan.Build:
    real, made = package.build, {}

    def build(order: package.PackageRequest, into: Path, progress: Progress) -> package.Package:
        key = repr(order)
        if key not in made:
            made[key] = real(order, folder / str(len(made)), progress, Path(sys.executable))
        return made[key]

    return build


def rehearse() -> Rehearsal:
    calls: set[tuple[str, str]] = set()

    def called(model: Any, **_: Any) -> None:
        calls.add((model.service_model.service_name, model.name))

    transcript, _ = dry_run()
    said = {transcript: hookshelf(transcript)}
    for line in lines(section("### The role for access logs")):
        if "attach-role-policy" not in line:  # moto has none of AWS's own policies
            aws_call(line)
    boto3.DEFAULT_SESSION.events.register("before-call", called)
    made: Json = {}
    for line in filter(can_be_rehearsed, lines()):
        if " destroy " in line:
            made = Stack("hookshelf-dev").template()
        said[line] = hookshelf(line)
    done = {as_iam_says(*call) for call in calls}
    remove, delete = lines(section("## Removing everything"))[-2:]
    python(remove)
    aws_call(delete)
    buckets = [one["Name"] for one in boto3.client("s3").list_buckets()["Buckets"]]
    return Rehearsal(said, done, made, buckets)


def post_as_sendgrid() -> None:
    """What "Test Your Integration" does, with the function behind the URL."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHIVE_BUCKETS", "my-webhooks")
        assert app(sendgrid_event(b"[]"), None)["statusCode"] == 200


def can_be_rehearsed(line: str) -> bool:
    """All of ours but what posts to API Gateway."""
    return f"{BIN}hookshelf " in line and "--canary" not in line


def hookshelf(line: str) -> str:
    """What a command of the page says; it has to succeed, but that warnings may be counted."""
    before, _, rest = line.partition(f"{BIN}hookshelf ")
    environ = dict(pair.split("=") for pair in before.split())
    words = shlex.split(rest)
    if words[0] == "verify":
        post_as_sendgrid()
    done = CliRunner(env=environ).invoke(main, words)
    if "--strict" not in words:
        assert done.exit_code == 0, (line, done.output, done.exception)
    return done.output


def python(line: str) -> str:
    words = shlex.split(line)
    done = subprocess.run([sys.executable, *words[1:]], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def aws_call(line: str) -> None:
    """Do what a command of the `aws` tool does whose options are texts, JSON or key=value."""
    _, service, operation, *words = shlex.split(line.replace("ACCOUNT", ACCOUNT))
    members = shape_of(service, operation).members
    given = {}
    for option, value in zip(words[::2], words[1::2], strict=True):
        [name] = [one for one in members if f"--{xform_name(one, '-')}" == option]
        if members[name].type_name == "list":
            given[name] = [dict(pair.split("=") for pair in value.split(","))]
        else:
            given[name] = value
    getattr(boto3.client(SERVICES.get(service, service)), operation.replace("-", "_"))(**given)


def as_iam_says(service: str, call: str) -> str:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/"""
    if service == "apigateway":
        return f"apigateway:{'PATCH' if call.startswith('Update') else 'GET'}"
    others = {
        "HeadObject": "s3:GetObject",
        "PutBucketEncryption": "s3:PutEncryptionConfiguration",
        "PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
        "PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    }
    return (PERMISSIONS | others).get(call, f"{service}:{call}")


def dry_run() -> tuple[str, list[str]]:
    """The one transcript: its command, and the lines below."""
    [block] = blocks("console")
    command, *said = block.splitlines()
    return command.removeprefix("$ "), said


def test_the_dry_run_says_what_the_page_shows(rehearsal: Rehearsal) -> None:
    command, shown = dry_run()

    assert masked(rehearsal.said[command].splitlines()) == masked(shown)


def masked(said: list[str]) -> list[str]:
    """Without the size of the code, its Python, and the hash of the API's description."""
    text = re.sub(
        r"Code: [\d.]+ MB and [\d.]+ MB for the compactor, python[\d.]+", "Code: …", "\n".join(said)
    )
    return sorted(re.sub(r"(RestAPIDeployment)\w+", r"\1…", text).splitlines())


def test_the_commands_of_the_page_do_what_it_says(rehearsal: Rehearsal) -> None:
    said = rehearsal.said

    assert len(said) > 12
    assert any("For SendGrid: https://" in text for text in said.values())
    assert (
        "no access log"
        not in said[f"{BIN}hookshelf deploy --stage dev --alarms-to ops@example.com"]
    )
    assert said[f"{BIN}hookshelf token revoke --old --stage dev"].startswith("Revoked: ")
    assert (
        "Kept, with all that is archived: my-webhooks"
        in said[f"{BIN}hookshelf destroy --stage dev --yes"]
    )


def test_after_the_last_commands_nothing_is_left(rehearsal: Rehearsal) -> None:
    assert rehearsal.buckets == []


@pytest.mark.slow
def test_the_line_that_hardens_a_bucket_makes_it(aws_shell: str) -> None:
    [line, *_] = lines(section("## Plain Chalice"))

    assert "make the bucket my-webhooks" in python(line)
    assert boto3.client("s3").get_bucket_versioning(Bucket="my-webhooks")["Status"] == "Enabled"


def test_the_line_that_makes_a_token_by_hand_makes_its_hash() -> None:
    [line] = [one for one in lines() if one.startswith("python3 -c 'import hashlib")]
    token, member = python(line).split()

    tokens.check_token({"validToken": member}, None, token)  # raises where it is not accepted
    assert template.parameters(["validToken"]) == {"validToken": "ValidToken"}


def test_a_deleted_delivery_comes_back_as_the_page_says(aws_shell: str) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="my-webhooks")
    s3.put_bucket_versioning(Bucket="my-webhooks", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="my-webhooks", Key="KEY", Body=b"{}")
    marker = s3.delete_object(Bucket="my-webhooks", Key="KEY")["VersionId"]
    [_, line] = lines(section("### Bringing back what was deleted"))
    aws_call(line.replace("VERSION-OF-THE-MARKER", marker))

    assert s3.get_object(Bucket="my-webhooks", Key="KEY")["Body"].read() == b"{}"


def test_the_readme_has_the_same_command() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")

    assert f"\n{lines(section('## One command'))[0]}\n" in readme


# --- tables


def test_the_table_of_what_is_made_has_every_type_in_the_stack(rehearsal: Rehearsal) -> None:
    named = {name for row in rows(section("### What it makes")) for name in names(row[0])}

    assert named == {one["Type"] for one in rehearsal.template["Resources"].values()}


def test_the_deployer_may_do_all_that_is_done(rehearsal: Rehearsal) -> None:
    [policy] = [json.loads(text) for text in blocks("json", section("## What you need"))]
    actions = [
        (action, statement["Resource"])
        for statement in policy["Statement"]
        for action in as_list(statement["Action"])
        if statement["Effect"] == "Allow"
    ]

    def is_allowed(call: str) -> bool:
        over = [resource for action, resource in actions if fnmatchcase(call, action)]
        return "*" in over if call in FOR_ALL else bool(over)

    types = {one["Type"] for one in rehearsal.template["Resources"].values()}
    needed = rehearsal.calls | {call for one in types for call in CALLS[one]}

    assert {call for call in needed if not is_allowed(call)} == set()
    assert len(json.dumps(policy, separators=(",", ":"))) < 6144  # what IAM takes


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_the_table_of_the_doctor_has_every_check_and_no_other() -> None:
    named = [name for row in rows(section("### The doctor")) for name in names(row[0])]

    assert sorted(named) == sorted([check.id for check in all_checks()] + list(CANARY_CHECKS))


def test_the_doctor_says_what_the_table_names(rehearsal: Rehearsal) -> None:
    told = rehearsal.said[f"{BIN}hookshelf doctor --stage dev --read-only --strict --json"]
    found = [json.loads(line) for line in told.splitlines()]

    assert {one["id"] for one in found} == {check.id for check in all_checks()}
    assert [one for one in found if one["level"] == "failure"] == []


def test_the_table_of_alarms_has_every_alarm_and_what_it_goes_off_at() -> None:
    made = {
        re.sub("^Quiet.*", "Quiet…", name): one["Properties"]
        for name, one in alarms("dev", {"shop": 3600.0}, "").items()
    }
    told = {names(name)[0]: when for name, when, _ in rows(section("### Alarms"))}

    assert told.keys() == made.keys()
    for name in ("ServerErrors", "Refusals"):
        [_, stats] = made[name]["Metrics"]
        minutes = stats["MetricStat"]["Period"] // 60
        assert told[name].startswith(f"{made[name]['Threshold'] + 1} responses of ")
        assert told[name].endswith(f" within {minutes} minutes")


def test_the_table_of_metrics_has_every_metric_and_its_dimensions() -> None:
    counted = metrics.metric_fields(
        {"METRICS_NAMESPACE": namespace("dev")},
        datetime.now(UTC),
        status=503,
        app="shop",
        unconfigured=True,
    )
    of_compactor = metrics.metric(
        {"METRICS_NAMESPACE": namespace("dev")}, datetime.now(UTC), "Compacted", Apps="known"
    )
    made = [
        (directive["Metrics"][0]["Name"], dimensions)
        for line in (counted, of_compactor)
        for directive in line["_aws"]["CloudWatchMetrics"]
        for dimensions in directive["Dimensions"]
    ]

    assert [(names(row[0])[0], names(row[1])) for row in rows(section("### Metrics"))] == made
    assert "`hookshelf/dev`" in section("### Metrics")


def test_the_times_and_limits_of_the_page_are_those_of_the_stack() -> None:
    for text in (
        f"takes {template.RATE} requests a second ({template.BURST} at once)",
        f"kept for {template.KEPT_LOGS} days",
        f"kept for {template.KEPT_DEAD_LETTERS // 86400} days",
        f"{plan.RESERVED} concurrent runs are set aside",
        f"Lambda demands that {plan.UNRESERVED} stay",
    ):
        assert text in PAGE


def test_the_apps_file_of_the_page_is_in_order(tmp_path: Path) -> None:
    [text] = blocks("json", section("### SendGrid's Event Webhook"))
    (tmp_path / "apps.json").write_text(text)
    for signature in ("record", "require"):
        (tmp_path / "apps.json").write_text(text.replace("record", signature))
        found = check_apps({"APPS_FILE": str(tmp_path / "apps.json")})

        assert found["sendgrid"].signature == signature


# --- costs


@needs_linux
def test_the_table_of_weights_is_measured(
    folder_environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stated = {name: int(size) for name, size, _ in rows(section("## Costs"))}

    assert stated == weights(folder_environ, monkeypatch, caplog)


def weights(
    environ: dict[str, str], patch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> dict[str, int]:
    """Bytes of one delivery, of its key and metadata, its log lines and its response."""
    from awslambdaric.lambda_runtime_log_utils import JsonFormatter

    environ = environ | {"ARCHIVE_BUCKETS": "my-webhooks", "METRICS_NAMESPACE": "hookshelf/prod"}
    for name, value in environ.items():
        patch.setenv(name, value)
    body = b'[{"email":"ada@example.com","event":"delivered","padding":"%s"}]'
    body %= b"x" * (1024 - len(body) + len(b"%s"))
    logger = logging.getLogger("hookshelf")
    log.configure({})
    logger.addHandler(caplog.handler)
    try:
        response = app(sendgrid_event(body), None)
    finally:
        logger.removeHandler(caplog.handler)
    said = json.loads(response["body"])
    place = Path(from_environment(environ).folder or "") / said["bucket"]
    meta = json.loads((place / f"{said['key']}.meta").read_text())
    [record] = caplog.records
    record.milliseconds = 25.1
    record.aws_request_id = str(uuid.uuid4())
    return {
        "body": (place / said["key"]).stat().st_size,
        "key and metadata": rounded(len(said["key"]) + sum(map(len, [*meta, *meta.values()]))),
        "log line": rounded(len(JsonFormatter().format(record).strip())),
        "access-log line": rounded(len(access_log_line())),
        "response": rounded(len(response["body"])),
    }


def rounded(size: int) -> int:
    return ceil(size / 50) * 50


def sendgrid_event(body: bytes) -> Json:
    headers = json.loads((SAMPLES / "sendgrid" / "signed" / "headers.json").read_text())
    return {
        "requestContext": {
            "httpMethod": "POST",
            "resourcePath": "/input",
            "requestId": str(uuid.uuid4()),
        },
        "headers": headers,
        "multiValueQueryStringParameters": {"token": [TOKEN], "app": ["sendgrid"]},
        "stageVariables": {"validToken": TOKEN},
        "body": b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def access_log_line() -> str:
    usual = {
        "id": str(uuid.uuid4()),
        "time": "1795254912000",
        "method": "POST",
        "path": "/input",
        "status": "200",
        "ip": "203.0.113.25",
        "arn": "-",
        "bytes": "180",
        "milliseconds": "31",
        "lambda": "200",
        "error": "-",
    }
    return json.dumps({name: usual[name] for name in template.ACCESS_LOG}, separators=(",", ":"))


def table_of(start: str) -> list[list[str]]:
    return rows(section("## Costs").partition(start)[2])


def amount(formula: str) -> Decimal:
    """What a formula comes to, in cents' precision: numbers, + × / ( ), and units for people."""
    plain = re.sub(r"[$,]|(?<=\d|\)) (?:s|GB|B)\b", "", formula).replace("×", "*")
    assert re.fullmatch(r"[\d.+*/() ]+", plain), formula
    exact: Decimal = eval(re.sub(r"[\d.]+", r"Decimal('\g<0>')", plain), {"Decimal": Decimal})
    return exact.quantize(Decimal("0.01"), ROUND_HALF_UP)


def test_every_line_of_the_costs_is_what_its_formula_comes_to_and_the_total_their_sum() -> None:
    *costs, total = table_of("\nA million deliveries")
    *of_compactor, total_of_compactor = table_of("\nAnd the compactor")
    extra = table_of("\nWith a KMS key")

    assert len(costs) >= 12
    for line, formula, shown, *_ in [*costs, *of_compactor, *extra]:
        assert str(amount(formula)) == shown, line
    assert total[2] == f"**{sum(Decimal(row[2]) for row in costs)}**"
    assert total_of_compactor[2] == f"**{sum(Decimal(row[2]) for row in of_compactor)}**"
    for _, _, more, whole in extra:
        assert Decimal(total[2].strip("*")) + Decimal(more) == Decimal(whole)


def test_the_formulas_use_the_weights() -> None:
    weight = {name: size for name, size, _ in rows(section("## Costs"))}
    formulas = {line: formula for line, formula, *_ in table_of("\nA million deliveries")}
    uses = {
        "S3, storage": f"({weight['body']} + {weight['key and metadata']}) B",
        "CloudWatch, log lines": f" {weight['log line']} B",
        "CloudWatch, access-log lines": f" {weight['access-log line']} B",
        "CloudWatch, both": f"({weight['log line']} + {weight['access-log line']}) B",
        "data transfer out": f"({weight['response']} + 500) B",
    }
    for start, used in uses.items():
        [formula] = [formula for line, formula in formulas.items() if line.startswith(start)]
        assert used in formula


def test_the_compute_line_is_of_the_memory_that_is_configured() -> None:
    config = json.loads((PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8"))
    memory = config["lambda_functions"]["api_handler"]["lambda_memory_size"]
    [(line, formula)] = [
        row[:2] for row in table_of("\nA million deliveries") if "compute" in row[0]
    ]

    assert f" {memory} MB," in line
    assert f" × {memory / 1024:g} GB × " in formula


def test_the_compactors_line_is_of_its_memory_too() -> None:
    line, formula, _ = table_of("\nAnd the compactor")[0]

    assert f" {compactor.COMPACTOR_MEMORY} MB," in line
    assert f" × {compactor.COMPACTOR_MEMORY // 1024} GB × " in formula


def test_what_the_page_says_of_the_compactor_is_what_it_does() -> None:
    told = section("### The compactor")

    for text in (
        "At 20 past every hour",
        "At 00:40 UTC",
        f"has {compactor.COMPACTOR_TIMEOUT // 60} minutes",
        f"in the last {scheduled.RESERVE:.0f} seconds",
        f"in the last {scheduled.MARGIN:.0f}; the next",
        f"in the last {scheduled.LOOK_BACK['nightly'].days} days",
    ):
        assert text in told
    table = {names(name)[0]: when for name, when, _ in rows(section("### Alarms"))}
    assert f"for {alarms_module.STALE // 3600} hours" in table["EventsStale"]
    assert f"for {alarms_module.OTHERS_STALE // 86400} days" in table["OtherEventsStale"]


def test_the_metrics_in_the_alarms_are_counted_right() -> None:
    [formula] = [row[1] for row in table_of("\nA million deliveries") if "alarms" in row[0]]
    found = alarms("prod", {}, "").values()
    counted = sum("MetricStat" in one for alarm in found for one in alarm["Properties"]["Metrics"])

    assert formula.startswith(f"{counted} × ")
