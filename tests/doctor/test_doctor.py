"""`hookshelf doctor` finds what is wrong with a deployment, names it, and says what fixes it.

Each fault is made in a healthy deployment on the server that plays AWS. Faults of different checks
are made at once, to save time; each has to be found, and nothing else may be.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
from botocore import xform_name
from botocore.exceptions import EndpointConnectionError
from click.testing import CliRunner, Result
from support.project import PROJECT, TOKEN
from support.rehearsal import (
    ACCESS_LOG,
    ACCOUNT,
    BUCKET,
    ENVIRONMENT,
    HERE,
    MEMBER,
    STAGE,
    Deployed,
    allowing,
    client,
    deploy,
    instead,
    refusing,
    share_clients,
)

from chalicelib import keys
from chalicelib.settings import BucketPath
from hookshelf.__main__ import main
from hookshelf.commands.doctor import print_findings
from hookshelf.deploy import template
from hookshelf.deploy.deployment import (
    API_STAGE,
    HANDLERS,
    Deployment,
    find_deployment,
    function_name,
)
from hookshelf.deploy.notifications import NOTIFICATION_ID
from hookshelf.doctor import Finding, examine, findings
from hookshelf.doctor.checks.api import GATEWAY_RESPONSES, leaking_variables
from hookshelf.doctor.checks.apps_file import env_secrets
from hookshelf.doctor.checks.buckets import public_access
from hookshelf.doctor.checks.functions import drift
from hookshelf.doctor.checks.lifecycle import lifecycle
from hookshelf.doctor.checks.policies import function_policies
from hookshelf.doctor.checks.put_once import PROBE, put_once
from hookshelf.doctor.findings import NotChecked, failure, ok, warning
from hookshelf.doctor.live_bucket import LiveBucket
from hookshelf.doctor.live_stage import LiveStage
from hookshelf.doctor.policy_coverage import covers, uncovered
from hookshelf.doctor.registry import DoctorCheck, all_checks, run_check
from hookshelf.settings import stage_environment

LONG = "a-plain-token-that-nobody-can-guess"
SHORT = "short-token"
LIST_HEADERS = "$context.requestId $context.requestOverride.header.authorization"
TRACKER = f"arn:aws:lambda:{HERE}:function:hookshelf-dev-track_s3"


class Fault(NamedTuple):
    """Something wrong, which check has to find it, and what it has to say."""

    check: str
    says: str
    make: Callable[[Deployed], Any]
    level: str = "failure"
    alone: bool = False  # it hides others, or brings them along


def s3(operation: str, **arguments: Any) -> Callable[[Deployed], Any]:
    return lambda _: getattr(client("s3"), operation)(Bucket=BUCKET, **arguments)


def policy_without(sid: str) -> Callable[[Deployed], None]:
    def change(_: Deployed) -> None:
        bucket = client("s3")
        policy = json.loads(bucket.get_bucket_policy(Bucket=BUCKET)["Policy"])
        policy["Statement"] = [one for one in policy["Statement"] if one["Sid"] != sid]
        bucket.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))

    return change


def rules(*added: dict[str, Any], without: str = "") -> Callable[[Deployed], None]:
    """Add lifecycle rules, and take one away."""

    def change(_: Deployed) -> None:
        bucket = client("s3")
        there = bucket.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
        kept = [rule for rule in there if rule["ID"] != without]
        bucket.put_bucket_lifecycle_configuration(
            Bucket=BUCKET, LifecycleConfiguration={"Rules": [*kept, *added]}
        )

    return change


def rule(id: str, prefix: str, **actions: Any) -> dict[str, Any]:
    return {"ID": id, "Status": "Enabled", "Filter": {"Prefix": prefix}, **actions}


def notify(bucket: str, prefix: str) -> None:
    one: dict[str, Any] = {
        "Id": NOTIFICATION_ID,
        "LambdaFunctionArn": TRACKER,
        "Events": ["s3:ObjectCreated:*"],
    }
    if prefix:
        one["Filter"] = {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}
    client("s3").put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"LambdaFunctionConfigurations": [one]}
    )


def loop_of_collector(deployed: Deployed) -> None:
    client("s3").create_bucket(Bucket="collected")
    deployed.environment("track_s3", SNOWPLOW_OUTPUT="collected/raw")
    notify("collected", "")


def attach(_: Deployed) -> None:
    iam = client("iam")
    made = iam.create_policy(PolicyName="wide", PolicyDocument=allowing("s3:*", "*"))
    role = function_name(STAGE, "track_s3")
    iam.attach_role_policy(RoleName=role, PolicyArn=made["Policy"]["Arn"])


def everything_but(_: Deployed) -> None:
    document = json.loads(allowing("", "*"))
    document["Statement"][0]["NotAction"] = "iam:*"
    del document["Statement"][0]["Action"]
    client("iam").put_role_policy(
        RoleName=function_name(STAGE, "deliver"),
        PolicyName="all",
        PolicyDocument=json.dumps(document),
    )


def only_logs(_: Deployed) -> None:
    name = function_name(STAGE, "deliver")
    where = f"arn:aws:logs:{HERE}:log-group:hookshelf-deliver:*"
    client("iam").put_role_policy(
        RoleName=name, PolicyName=name, PolicyDocument=allowing("logs:PutLogEvents", where)
    )


def second_stage(deployed: Deployed) -> None:
    client("apigateway").create_deployment(restApiId=deployed.api, stageName="Stage")


def no_stage(deployed: Deployed) -> None:
    client("apigateway").delete_stage(restApiId=deployed.api, stageName=API_STAGE)


def without_bucket(_: Deployed) -> None:
    resource = boto3.resource("s3").Bucket(BUCKET)
    resource.object_versions.delete()
    resource.delete()


def bucket_elsewhere(deployed: Deployed) -> None:
    boto3.client("s3", region_name="eu-west-1").create_bucket(
        Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    deployed.environment(ARCHIVE_BUCKETS="far-away")


def without_function(_: Deployed) -> None:
    client("lambda").delete_function(FunctionName=function_name(STAGE, "deliver"))


def apps_file(content: str) -> Callable[[Deployed], None]:
    def write(deployed: Deployed) -> None:
        (deployed.project / "apps.json").write_text(content)
        deployed.environment(APPS_FILE=str(deployed.project / "apps.json"))

    return write


def variable(name: str, value: str | None) -> Callable[[Deployed], None]:
    operation = f"/variables/{name}" if value is None else f"/variables/{name}={value}"
    return lambda stage: stage.stage(operation)


PUBLISHED = stage_environment("local")["STAGE_VAR_validToken"]
FAULTS = [
    Fault("stage-variable", "validToken is not set", variable("validToken", None)),
    Fault("stage-variable", "no usable token", variable("validToken", "sha256:none")),
    Fault(
        "stage-variable",
        "App my-shop responds with 503",
        variable("validToken_my__shop", "sha256:x"),
    ),
    Fault(
        "stage-variable",
        "App shop is closed",
        variable("validToken_shop", "sha256:none"),
        "warning",
    ),
    Fault("token-strength", "fewer than 22", variable("validToken_shop", SHORT)),
    Fault("token-strength", "token for trying out", variable("validToken_shop", PUBLISHED)),
    Fault("token-strength", "plain text", variable("validToken_shop", LONG), "warning"),
    Fault("token-strength", "lets in nobody", variable("validToken", f"{MEMBER},"), "warning"),
    Fault("token-name", "validToken_a___b", variable("validToken_a___b", MEMBER), "warning"),
    Fault("token-name", "validtoken", variable("validtoken", MEMBER), "warning"),
    Fault("one-stage", "one stage more: Stage", second_stage),
    Fault("one-stage", "no stage api", no_stage, alone=True),
    Fault(
        "binary-types",
        "lack */*",
        lambda stage: stage.describe(binary_media_types=["image/png"]),
    ),
    Fault("compression", "is 1024", lambda stage: stage.describe(minimum_compression_size=1024)),
    Fault(
        "execution-logs",
        "of */* is INFO",
        lambda stage: stage.stage("/*/*/logging/loglevel=INFO"),
    ),
    Fault(
        "execution-logs",
        "Data trace",
        lambda stage: stage.stage("/*/*/logging/dataTrace=true"),
    ),
    Fault(
        "access-log",
        "$context.requestOverride.header.authorization",
        lambda stage: stage.stage(f"/accessLogSettings/format={LIST_HEADERS}"),
    ),
    Fault(
        "throttling",
        "no limit",
        lambda stage: stage.stage("/*/*/throttling/rateLimit=-1"),
        "warning",
    ),
    Fault(
        "gateway-responses",
        "Who sends too much hears 429 without Retry-After",
        lambda stage: stage.describe(gateway_responses={}),
        "warning",
    ),
    Fault(
        "gateway-responses",
        "Who is sent away because Lambda has no room hears 503 without Retry-After",
        lambda stage: stage.describe(
            gateway_responses=dict.fromkeys(GATEWAY_RESPONSES, {"statusCode": "503"})
        ),
        "warning",
    ),
    Fault("functions", "no function for deliver", without_function, alone=True),
    Fault("function-limits", "30 s", lambda stage: stage.function("api_handler", Timeout=30)),
    Fault("function-limits", "9 s", lambda stage: stage.function("api_handler", Timeout=9)),
    Fault(
        "function-limits",
        "128 MB",
        lambda stage: stage.function("api_handler", MemorySize=128),
    ),
    Fault(
        "runtime",
        "deliver (python3.10)",
        lambda stage: stage.function("deliver", Runtime="python3.10"),
        "warning",
    ),
    Fault(
        "policies",
        f"api_handler may s3:GetObject on arn:aws:s3:::{BUCKET}/* by more",
        lambda stage: stage.allow("api_handler", "s3:GetObject", f"arn:aws:s3:::{BUCKET}/*"),
    ),
    Fault(
        "policies",
        f"deliver may s3:PutObject on arn:aws:s3:::{BUCKET}/*",
        lambda stage: stage.allow("deliver", "s3:PutObject", f"arn:aws:s3:::{BUCKET}/*"),
    ),
    Fault("policies", "track_s3 may s3:* on * by arn:aws:iam::123456789012:policy/wide", attach),
    Fault("policies", "deliver may * on * by all", everything_but),
    Fault("policies", "deliver has to s3:PutObject on", only_logs, alone=True),
    Fault(
        "settings",
        "api_handler: ARCHIVE_BUCKETS has the entry 'CHANGE-ME'",
        lambda stage: stage.environment(ARCHIVE_BUCKETS="CHANGE-ME"),
        alone=True,
    ),
    Fault(
        "settings",
        "deliver: ARCHIVE_FOLDER is set",
        lambda stage: stage.environment("api_handler", "deliver", ARCHIVE_FOLDER="archive"),
    ),
    Fault(
        "settings",
        "deliver: DIRECT_APP is no app's name",
        lambda stage: stage.environment("deliver", DIRECT_APP="my shop"),
    ),
    Fault(
        "settings",
        "AWS_ENDPOINT_URL_S3 is set",
        lambda stage: stage.environment(AWS_ENDPOINT_URL_S3="https://s3.example.com"),
        "warning",
    ),
    Fault(
        "settings",
        "track_s3: SNOWPLOW_OUTPUT has the entry 'No'",
        lambda stage: stage.environment(SNOWPLOW_OUTPUT="No"),
        alone=True,
    ),
    Fault("apps-file", "is not JSON", apps_file("{"), alone=True),
    Fault(
        "apps-file",
        "has a wrong source for app shop",
        apps_file('{"shop": {"source": "x"}}'),
        alone=True,
    ),
    Fault(
        "env-secrets",
        "A secret of app shop is SHOP_SECRET in the functions' environment",
        lambda deployed: (
            apps_file('{"shop": {"source": "stripe", "secrets": ["env:SHOP_SECRET"]}}')(deployed),
            deployed.environment(SHOP_SECRET="whsec_of_shop"),
        ),
        "warning",
    ),
    Fault(
        "same-settings",
        "differ in ARCHIVE_CLIENT",
        lambda stage: stage.environment("deliver", ARCHIVE_CLIENT="boto3"),
        "warning",
    ),
    Fault("bucket", f"no bucket {BUCKET}", without_bucket, alone=True),
    Fault("bucket", "is in eu-west-1, the functions in us-east-1", bucket_elsewhere, alone=True),
    Fault(
        "bucket-owner",
        "not set",
        lambda stage: stage.environment(ARCHIVE_BUCKET_OWNER=None),
        "warning",
    ),
    Fault(
        "public-access",
        "lacks BlockPublicAcls, RestrictPublicBuckets",
        s3(
            "put_public_access_block",
            PublicAccessBlockConfiguration={"IgnorePublicAcls": True, "BlockPublicPolicy": True},
        ),
    ),
    Fault("public-access", "lacks BlockPublicAcls, IgnorePublic", s3("delete_public_access_block")),
    Fault("tls-only", "without TLS", policy_without("HookshelfTlsOnly")),
    Fault(
        "versioning",
        "is suspended",
        s3("put_bucket_versioning", VersioningConfiguration={"Status": "Suspended"}),
    ),
    Fault("put-once", "be overwritten", policy_without("HookshelfPutOnce")),
    Fault(
        "lifecycle",
        f"The rule old of {BUCKET} expires deliveries after 90 days",
        rules(rule("old", "", Expiration={"Days": 90})),
    ),
    Fault(
        "lifecycle",
        "The rule shop of my-webhooks expires deliveries on 2027",
        rules(rule("shop", "in/shop", Expiration={"Date": datetime(2027, 1, 1, tzinfo=UTC)})),
    ),
    Fault(
        "lifecycle",
        "The rule cold of my-webhooks moves deliveries to GLACIER",
        rules(rule("cold", "in/", Transitions=[{"Days": 30, "StorageClass": "GLACIER"}])),
        "warning",
    ),
    Fault(
        "lifecycle",
        "No rule expires refused bodies",
        rules(without="hookshelf-rejected-in"),
        "warning",
    ),
    Fault(
        "notification-loop", f"{BUCKET}/in/shop/* notifies", lambda _: notify(BUCKET, "in/shop/")
    ),
    Fault("notification-loop", "collected/* notifies", loop_of_collector),
    Fault(
        "canary-leftover",
        "an interrupted canary",
        variable("validToken_hookshelf__doctor", MEMBER),
        "warning",
    ),
]


def rounds() -> list[list[Fault]]:
    """The faults, so that no two of a round are for the same check."""
    found: list[list[Fault]] = []
    for fault in FAULTS:
        fits = (
            faults
            for faults in found
            if not fault.alone and not any(one.alone or one.check == fault.check for one in faults)
        )
        if (faults := next(fits, None)) is None:
            found.append(faults := [])
        faults.append(fault)
    return found


@pytest.fixture
def deployed(aws_shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    """A healthy deployment."""
    monkeypatch.setattr("hookshelf.deploy.deployment.PROJECT_ROOT", tmp_path)
    monkeypatch.delenv("HOOKSHELF_TOKEN", raising=False)
    share_clients(monkeypatch)
    return deploy(tmp_path)


def run(*options: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--stage", STAGE, *options], catch_exceptions=False)


def faults_in(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level != "ok"]


def test_every_check_has_a_fault_that_it_finds() -> None:
    elsewhere = {"drift", "events-fresh"}  # the one below, the other in test_events_fresh.py
    assert {fault.check for fault in FAULTS} | elsewhere == {check.id for check in all_checks()}
    assert len({check.id for check in all_checks()}) == len(all_checks())


def test_a_healthy_deployment_is_told_so_check_by_check(deployed: Deployed) -> None:
    rules(rule("paused", "", Expiration={"Days": 1}) | {"Status": "Disabled"})(deployed)

    done = run("--strict")

    *lines, last = done.stdout.splitlines()
    assert done.exit_code == 0
    assert [line.split()[:2] for line in lines] == [["ok", check.id] for check in all_checks()]
    assert last == f"{len(all_checks())} checks: 0 failed, 0 warnings"


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(
            faults,
            id=faults[0].says.replace(" ", "-"),
            marks=[pytest.mark.slow] if faults[0].alone else [],
        )
        for faults in rounds()
    ],
)
def test_each_fault_is_found_named_and_fixed_and_nothing_else_is_found(
    deployed: Deployed, faults: list[Fault]
) -> None:
    for fault in faults:
        fault.make(deployed)

    found = faults_in(examine(STAGE))

    for fault in faults:
        mine = [finding for finding in found if finding.id == fault.check]
        assert [one for one in mine if fault.says in one.what and one.level == fault.level], fault
        assert all(one.why and is_pasted(one.fix) for one in mine)
        assert print_findings(mine) == (fault.level == "failure")
        assert print_findings(mine, strict=True) == 1
    if not faults[0].alone:
        assert {one.id for one in found} == {fault.check for fault in faults}


def is_pasted(fix: str) -> bool:
    """Whether it is commands for a shell, with advice only in a comment."""
    commands = shlex.split(fix.replace(";", " ; "), comments=True)
    first = [word for before, word in pairwise([";", *commands]) if before == ";"]
    return set(first) <= {"aws", "hookshelf", "chalice", "python"}


def test_a_warning_alone_is_exit_0_and_with_strict_1(deployed: Deployed) -> None:
    deployed.environment(ARCHIVE_BUCKET_OWNER=None)

    plain, strict = run(), run("--strict")

    assert (plain.exit_code, strict.exit_code) == (0, 1)
    assert plain.stdout == strict.stdout
    assert plain.stdout.endswith(f"{len(all_checks())} checks: 0 failed, 1 warnings\n")


def test_json_is_one_object_per_line_for_every_check(deployed: Deployed) -> None:
    deployed.function("api_handler", Timeout=60)

    done = run("--json")

    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert [one["id"] for one in found] == [check.id for check in all_checks()]
    assert {tuple(one) for one in found} == {("id", "level", "what", "why", "fix")}
    assert {one["level"] for one in found} == {"ok", "failure"}
    assert [one["id"] for one in found if one["fix"]] == ["function-limits"]


def test_a_failure_is_told_with_why_and_fix_and_the_rest_in_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fine = Finding("fine", "ok", "All is well.", "It matters.")
    broken = Finding("broken", "failure", "It is broken.", "It matters, too.", "glue --it")

    assert print_findings([fine, broken]) == 1

    assert capsys.readouterr().out.splitlines() == [
        "ok       fine              All is well.",
        "failure  broken            It is broken.",
        "         Why:  It matters, too.",
        "         Fix:  glue --it",
        "2 checks: 1 failed, 0 warnings",
    ]


@pytest.mark.parametrize("level", [warning, failure])
def test_what_no_command_fixes_is_a_fault_all_the_same(
    level: Callable[[str, str], findings.Result], capsys: pytest.CaptureFixture[str]
) -> None:
    check = DoctorCheck("broken", "All is well.", "It matters.", lambda stage: [level("No.", "")])

    found = run_check(check, stage_with())

    assert [(finding.level, finding.what) for finding in found] == [(level.__name__, "No.")]
    assert print_findings(found, strict=True) == 1
    assert "Fix:" not in capsys.readouterr().out


def test_a_check_is_one_file_in_the_folder_of_checks(tmp_path: Path) -> None:
    (tmp_path / "moon.py").write_text(
        "from hookshelf.doctor.registry import doctor_check\n"
        "@doctor_check('moon', good='It is full.', why='Tides.')\n"
        "def moon(stage):\n"
        "    return []\n"
    )
    program = (
        f"from hookshelf.doctor import checks; checks.__path__.append({str(tmp_path)!r});"
        "from hookshelf.doctor.registry import all_checks; print(*[c.id for c in all_checks()])"
    )

    run = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )

    assert sorted(run.stdout.split()) == sorted(["moon", *[check.id for check in all_checks()]])


def test_a_check_is_counted_once_whatever_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings([Finding("a", "warning", "", ""), Finding("a", "failure", "", "")])

    assert capsys.readouterr().out.splitlines()[-1] == "1 checks: 1 failed, 0 warnings"


def test_what_is_not_deployed_is_misuse(aws_shell: str) -> None:
    done = CliRunner().invoke(main, ["doctor", "--stage", "prod"])

    assert done.exit_code == 2
    assert "Stage prod is not deployed in this region. Deploy it: hookshelf deploy" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--canary", "--read-only"], "--canary stores deliveries"),
        (["--url", "http://127.0.0.1/api"], "Give --canary with it"),
        (["--canary", "--url", "https://example.com/api?token=abc"], "no query"),
        (["--canary", "--url", "example.com"], "no query"),
        (["--canary", "--url", "http://[/api"], "no query"),
    ],
)
def test_options_that_cannot_be_meant_are_misuse(options: list[str], said: str) -> None:
    done = run(*options)

    assert done.exit_code == 2
    assert said in done.stderr
    assert "token=abc" not in done.stderr


def test_a_policy_that_is_not_ours_is_taken_away_as_the_stack_could_not_delete_its_role(
    deployed: Deployed,
) -> None:
    deployed.allow("api_handler", "s3:GetObject", f"arn:aws:s3:::{BUCKET}/*")

    [fault] = faults_in(examine(STAGE))

    role = function_name(STAGE, "api_handler")
    assert fault.fix == f"aws iam delete-role-policy --role-name {role} --policy-name more"


# --- what was changed by hand


def as_a_stack() -> LiveStage:
    """The deployment as if `hookshelf deploy` had made it."""
    stage = LiveStage(find_deployment(STAGE)._replace(made_by="stack"), read_only=True)
    stage.template = {
        "Resources": {
            logical_id: {
                "Type": "AWS::Lambda::Function",
                "Properties": {
                    "FunctionName": function_name(STAGE, handler),
                    "Timeout": 15,
                    "Environment": {"Variables": ENVIRONMENT},
                },
            }
            for handler, logical_id in HANDLERS.items()
        }
    }
    return stage


def test_functions_that_are_as_the_stack_made_them_have_not_drifted(deployed: Deployed) -> None:
    assert list(drift.run(as_a_stack())) == []


def test_a_bucket_that_was_set_by_hand_is_a_failure_and_gets_no_policy(deployed: Deployed) -> None:
    deployed.environment("api_handler", ARCHIVE_BUCKETS="of-somebody-else")

    stage = as_a_stack()
    [changed] = drift.run(stage)
    allowed = list(function_policies.run(stage))

    assert changed.level == "failure"
    assert "it is 'of-somebody-else', and 'my-webhooks/in' was deployed" in changed.what
    assert changed.fix.startswith("hookshelf deploy --stage dev ")
    assert allowed == []


def test_a_role_that_was_changed_gets_the_policy_of_the_bucket_that_was_deployed(
    deployed: Deployed,
) -> None:
    deployed.environment("api_handler", ARCHIVE_BUCKETS="of-somebody-else")
    only_logs(deployed)

    wrong = list(function_policies.run(as_a_stack()))

    put = f"deliver has to s3:PutObject on arn:aws:s3:::{BUCKET}/in/*, and may not."
    [fix] = [result.fix for result in wrong if result.what == put]
    assert f"arn:aws:s3:::{BUCKET}/in/*" in fix
    assert "of-somebody-else" not in str(wrong)


def test_what_else_was_changed_by_hand_is_a_warning(deployed: Deployed) -> None:
    deployed.function("deliver", Timeout=29)

    [changed] = drift.run(as_a_stack())

    assert (changed.level, changed.what) == ("warning", "deliver was changed by hand: Timeout.")


def test_without_a_stack_only_the_checkout_knows_which_bucket_is_right(deployed: Deployed) -> None:
    deployed.environment("api_handler", ARCHIVE_BUCKETS="of-somebody-else")

    fixes = {result.fix for result in function_policies.run(LiveStage(find_deployment(STAGE)))}

    assert fixes == {"hookshelf policy --stage dev; chalice deploy --stage dev"}


# --- secrets


def test_what_fixes_a_secret_in_the_environment_keeps_it_in_parameter_store(
    deployed: Deployed,
) -> None:
    apps_file('{"shop": {"source": "stripe", "secrets": ["env:SHOP_SECRET", "ssm:/mine"]}}')(
        deployed
    )
    deployed.environment(SHOP_SECRET="whsec_of_shop")

    [secret] = env_secrets.run(LiveStage(find_deployment(STAGE)))

    assert secret.fix.startswith(
        "aws ssm put-parameter --name /hookshelf/dev/shop/SHOP_SECRET --type SecureString "
        '--value "$SHOP_SECRET"; chalice deploy --stage dev'
    )
    assert 'write "ssm:/hookshelf/dev/shop/SHOP_SECRET" for "env:SHOP_SECRET"' in secret.fix
    assert "whsec" not in secret.fix + secret.what


# --- put once


def versions() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client("s3").list_object_versions(Bucket=BUCKET)["Versions"]
    return found


def test_the_probe_is_put_once_a_day_among_the_refused_bodies(deployed: Deployed) -> None:
    first, second = run("--strict"), run("--strict")

    version, *others = versions()
    assert version["Key"] not in {one["Key"] for one in others}  # at midnight there may be another
    assert (first.exit_code, second.exit_code) == (0, 0)
    key = keys.parse_key(version["Key"])
    assert isinstance(key, keys.RejectedKey)
    assert (key.prefix, key.app) == ("in/", "doctor")


@pytest.mark.parametrize(
    "about",
    [
        {"Resource": f"arn:aws:s3:::{BUCKET}/in/_rejected/*"},
        {"NotResource": f"arn:aws:s3:::{BUCKET}/in/sendgrid/*"},
    ],
    ids=str,
)
def test_a_plain_put_that_is_refused_in_one_place_only_proves_too_little(
    deployed: Deployed, about: dict[str, str]
) -> None:
    policy = json.loads(client("s3").get_bucket_policy(Bucket=BUCKET)["Policy"])
    [once] = [one for one in policy["Statement"] if one["Sid"] == "HookshelfPutOnce"]
    del once["NotResource"]
    once.update(about)
    client("s3").put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))

    found = {one.id: one for one in examine(STAGE)}

    assert found["put-once"].level == "failure"
    assert "was refused" in found["put-once"].what


def test_a_version_that_should_not_have_been_put_is_removed_again(deployed: Deployed) -> None:
    policy_without("HookshelfPutOnce")(deployed)

    found = {one.id: one for one in examine(STAGE)}

    assert "(that version is removed again)" in found["put-once"].what
    assert len(versions()) == 1


def test_without_versions_the_probe_stays_as_it_was(deployed: Deployed) -> None:
    bucket = boto3.resource("s3").create_bucket(Bucket="no-versions")
    deployed.environment(ARCHIVE_BUCKETS="no-versions")

    found = {one.id: one for one in examine(STAGE)}

    assert found["put-once"].level == "failure"
    assert found["versioning"].what == "Versioning of bucket no-versions is off."
    assert [one.get()["Body"].read() for one in bucket.objects.all()] == [PROBE]


def test_read_only_puts_nothing_and_says_that_nothing_was_proved(deployed: Deployed) -> None:
    done = run("--read-only", "--strict")

    assert done.exit_code == 0
    assert "refuses to overwrite; it was not proved." in done.stdout
    assert client("s3").list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


@pytest.mark.parametrize(
    "statement",
    [
        {},
        {"Effect": "Allow"},
        {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/one"}},
        {"Action": "s3:DeleteObject"},
        {"NotResource": f"arn:aws:s3:::{BUCKET}/in/*"},
        {"NotResource": [f"arn:aws:s3:::{BUCKET}/_events/*", f"arn:aws:s3:::{BUCKET}/*/x.json"]},
        {"NotResource": f"arn:aws:s3:::{BUCKET}/in/sendgrid/*"},
        {"NotResource": f"arn:aws:s3:::{BUCKET}/in/layer*"},
        {"NotResource": f"arn:aws:s3:::{BUCKET}/*.json"},
        {"Condition": {"Null": {"s3:if-none-match": "false"}}},
        {"Condition": {"Null": {"s3:if-none-match": "true"}, "Bool": {"aws:ViaAWSService": "no"}}},
    ],
    ids=str,
)
def test_read_only_believes_no_policy_that_is_narrower(statement: dict[str, Any]) -> None:
    good = {
        "Effect": "Deny",
        "Principal": {"AWS": ["*"]},
        "Action": ["s3:PutObject*"],
        "NotResource": f"arn:aws:s3:::{BUCKET}/_events/*",
        "Condition": {"Null": {"s3:if-none-match": True}},
    }
    results = put_once.run(stage_with(policy=[good | statement]))

    assert [result.level for result in results] == ["failure" if statement else "ok"]


def test_compacted_files_may_be_replaced_as_the_deliveries_stay() -> None:
    spared = [f"arn:aws:s3:::{BUCKET}/{below}layer=events/*" for below in ("", "*/")]
    once = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "NotResource": spared,
        "Condition": {"Null": {"s3:if-none-match": "true"}},
    }
    [result] = put_once.run(stage_with(policy=[once]))

    assert result.level == "ok"


# --- lifecycle


@pytest.mark.parametrize(
    "harmless",
    [
        rule("more", "in/_rejected/", Expiration={"Days": 7}),
        rule("rejected elsewhere", "in/deeper/_rejected/", Expiration={"Days": 7}),
        rule("events", "_events/", Expiration={"Days": 7}),
        rule("compacted", "in/layer=events/", Expiration={"Days": 7}),
        rule("compacted of an app", "in/layer=events/app=shop/", Expiration={"Days": 7}),
        rule("compacted deeper", "in/deeper/layer=events/", Expiration={"Days": 7}),
        rule("not ours", "other/", Expiration={"Days": 7}),
        rule("old versions", "", NoncurrentVersionExpiration={"NoncurrentDays": 7}),
        rule("instant", "", Transitions=[{"Days": 0, "StorageClass": "GLACIER_IR"}]),
        {
            "ID": "tagged",
            "Status": "Enabled",
            "Filter": {"Tag": {"Key": "a", "Value": "b"}},
            "Expiration": {"Days": 7},
        },
    ],
    ids=lambda rule: rule["ID"],
)
def test_a_rule_that_reaches_no_delivery_is_no_fault(harmless: dict[str, Any]) -> None:
    here = [rule("hookshelf-rejected-in", "in/_rejected/", Expiration={"Days": 30}), harmless]

    assert judged(here) == []


@pytest.mark.parametrize(
    "harmful",
    [
        rule("", "", Expiration={"Days": 7}),
        rule("", "i", Expiration={"Days": 7}),
        rule("", keys.day_prefix("in/", "shop", date(2026, 11, 20))[:-4], Expiration={"Days": 7}),
        rule("", "in/deeper", Expiration={"Days": 7}),
        rule("", "in/layer", Expiration={"Days": 7}),  # an app may be called so
        {"ID": "", "Status": "Enabled", "Prefix": "in/", "Expiration": {"Days": 7}},
        {
            "ID": "",
            "Status": "Enabled",
            "Filter": {"And": {"Prefix": "in/", "ObjectSizeGreaterThan": 9}},
            "Expiration": {"Days": 7},
        },
    ],
    ids=str,
)
def test_a_rule_that_reaches_deliveries_is_a_fault(harmful: dict[str, Any]) -> None:
    here = [rule("hookshelf-rejected-in", "in/_rejected/", Expiration={"Days": 30}), harmful]

    assert judged(here) == ["failure"]


def paste(command: str) -> None:
    """Do what a command of `aws s3api` does."""
    _, _, operation, *words = shlex.split(command)
    members = (
        client("s3")
        .meta.service_model.operation_model(
            "".join(part.capitalize() for part in operation.split("-"))
        )
        .input_shape.members
    )
    given = {}
    for option, value in zip(words[::2], words[1::2], strict=True):
        [name] = [one for one in members if f"--{xform_name(one, '-')}" == option]
        given[name] = json.loads(value) if members[name].type_name == "structure" else value
    getattr(client("s3"), operation.replace("-", "_"))(**given)


@pytest.mark.parametrize("alone", [True, False])
def test_what_fixes_a_rule_takes_it_out_and_leaves_the_others(
    deployed: Deployed, alone: bool
) -> None:
    off = rule("off", "in/", Expiration={"Date": datetime(2030, 1, 1, tzinfo=UTC)}) | {
        "Status": "Disabled"
    }
    there = [rule("old", "in/", Expiration={"Days": 7}), *([] if alone else [off])]
    client("s3").put_bucket_lifecycle_configuration(
        Bucket=BUCKET, LifecycleConfiguration={"Rules": there}
    )
    [fix] = [one.fix for one in examine(STAGE) if "The rule old" in one.what]
    paste(fix)
    after = {one.id: one for one in examine(STAGE)}

    assert "expires deliveries" not in after["lifecycle"].what
    if not alone:
        found = client("s3").get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
        assert [one["ID"] for one in found] == ["off"]


def test_what_fixes_a_loop_takes_that_notification_out_and_leaves_the_others(
    deployed: Deployed,
) -> None:
    def one(id: str, prefix: str) -> dict[str, Any]:
        where = {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}
        events = ["s3:ObjectCreated:*"]
        return {"Id": id, "LambdaFunctionArn": TRACKER, "Events": events, "Filter": where}

    both = [one("by hand", "in/shop/"), one("of others", "uploads/")]
    client("s3").put_bucket_notification_configuration(
        Bucket=BUCKET, NotificationConfiguration={"LambdaFunctionConfigurations": both}
    )
    [fault] = faults_in(examine(STAGE, read_only=True))
    paste(fault.fix)
    left = client("s3").get_bucket_notification_configuration(Bucket=BUCKET)

    assert [one["Id"] for one in left["LambdaFunctionConfigurations"]] == ["of others"]
    assert faults_in(examine(STAGE, read_only=True)) == []


def test_a_rule_for_all_does_not_count_as_one_for_refused_bodies() -> None:
    assert judged([rule("hookshelf-keep-in", "in/", Expiration={"Days": 30})]) == ["ok", "warning"]


def judged(there: list[dict[str, Any]]) -> list[str]:
    """The levels of what the check says of a bucket with these rules."""
    return [result.level for result in lifecycle.run(stage_with(rules=there))]


def stage_with(name: str = BUCKET, **known: Any) -> LiveStage:
    """A stage with one bucket, of which some is known already, so that nobody is asked."""
    stage = LiveStage(Deployment(STAGE, "chalice", "api", "", {}), read_only=True)
    arn = f"arn:aws:lambda:{HERE}:function:{function_name(STAGE, 'api_handler')}"
    stage.functions = {"api_handler": {"FunctionArn": arn}}
    bucket = LiveBucket(stage, name, [BucketPath(name, "in")])
    for attribute, value in known.items():
        setattr(bucket, attribute, value)
    stage.buckets = [bucket]
    return stage


def test_what_deploy_keep_made_is_in_order_and_told_with_its_days() -> None:
    kept = rule("hookshelf-keep-in", "in/", Expiration={"Days": 400})

    result = next(iter(lifecycle.run(stage_with(rules=[kept]))))

    assert result == ok(f"Deliveries in {BUCKET} expire after 400 days, as deploy --keep made it.")


# --- what the doctor may not see

# The call, the permission that it needs, and the checks that cannot be made without it.
UNSEEN = {
    "api-gateway.GetRestApi": ("apigateway:GET", {"binary-types", "compression"}),
    "api-gateway.GetStages": (
        "apigateway:GET",
        {
            "stage-variable",
            "token-strength",
            "token-name",
            "one-stage",
            "execution-logs",
            "access-log",
            "throttling",
            "canary-leftover",
        },
    ),
    "api-gateway.GetGatewayResponse": ("apigateway:GET", {"gateway-responses"}),
    "iam.ListRolePolicies": ("iam:ListRolePolicies", {"policies"}),
    "s3.HeadBucket": ("s3:ListBucket", {"bucket"}),
    "s3.GetPublicAccessBlock": ("s3:GetBucketPublicAccessBlock", {"public-access"}),
    "s3.GetBucketPolicy": ("s3:GetBucketPolicy", {"tls-only"}),
    "s3.GetBucketVersioning": ("s3:GetBucketVersioning", {"versioning"}),
    "s3.GetBucketLifecycleConfiguration": ("s3:GetLifecycleConfiguration", {"lifecycle"}),
    "s3.GetBucketNotificationConfiguration": ("s3:GetBucketNotification", {"notification-loop"}),
    "s3.PutObject": ("s3:PutObject", {"put-once"}),
}


def test_what_may_not_be_looked_at_is_a_warning_with_the_permission(deployed: Deployed) -> None:
    with refusing(*UNSEEN):
        done = run("--json")

    found = [json.loads(line) for line in done.stdout.splitlines()]
    warned = {one["id"] for one in found if one["level"] == "warning"}
    assert done.exit_code == 0
    assert warned == {check for _, checks in UNSEEN.values() for check in checks}
    for permission, checks in UNSEEN.values():
        for one in found:
            if one["id"] in checks:
                assert f"your credentials lack the permission {permission}" in one["what"]
                assert f"Allow {permission} to whoever runs the doctor" in one["fix"]


def test_without_the_functions_nothing_of_theirs_is_ok(deployed: Deployed) -> None:
    with refusing("lambda.GetFunctionConfiguration"):
        found = {one.id: one for one in examine(STAGE)}

    assert not any(one.level == "failure" for one in found.values())
    assert found["settings"].level == found["bucket"].level == found["put-once"].level == "warning"
    assert "the permission lambda:GetFunctionConfiguration" in found["policies"].what


def test_a_strangers_bucket_is_a_failure_and_gets_no_probe(deployed: Deployed) -> None:
    deployed.environment(ARCHIVE_BUCKET_OWNER="111122223333")

    def is_for_its_owner(request: Any) -> bool:  # moto does not look at that header
        return request.headers.get("x-amz-expected-bucket-owner") == b"111122223333"

    with refusing("s3.HeadBucket", "s3.PutObject", where=is_for_its_owner):
        found = {one.id: one for one in examine(STAGE)}

    assert found["bucket"].what == f"The bucket {BUCKET} is not of account 111122223333."
    assert found["bucket"].level == "failure"
    assert found["put-once"].level == "warning"


def test_a_network_that_is_down_is_no_check_either(deployed: Deployed) -> None:
    stage = LiveStage(Deployment(STAGE, "chalice", "api", "", {}))

    def down(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://sts.amazonaws.com")

    with (
        instead({"before-send.sts": down}),
        pytest.raises(NotChecked, match="sts cannot be asked: EndpointConnectionError"),
    ):
        stage.account  # noqa: B018


def test_an_access_point_is_said_not_to_be_looked_at() -> None:
    point = f"arn:aws:s3:us-east-1:{ACCOUNT}:accesspoint/hooks"
    [result] = public_access.run(stage_with(point))

    assert result.level == "warning"
    assert f"{point} is an access point" in result.what


def test_no_token_and_no_secret_is_in_anything_that_is_printed(deployed: Deployed) -> None:
    deployed.stage(f"/variables/validToken={LONG},{SHORT}", f"/variables/validToken_shop={LONG}")
    apps_file('{"shop": {"source": "stripe", "secrets": ["whsec_very", 7]}}')(deployed)
    deployed.environment("deliver", SECRET_OF_SHOP="whsec_very_secret")

    printed = run().output + run("--json").output

    assert "in plain text" in printed
    assert "fewer than 22" in printed
    assert "SECRET_OF_SHOP" in printed
    assert not [word for word in (LONG, SHORT, "whsec_", MEMBER, TOKEN) if word in printed]


# --- plain values


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("s3:PutObject", "s3:PutObject", True),
        ("s3:Put*", "s3:PutObject", True),
        ("s3:PutObject", "s3:Put*", False),
        ("*", "s3:*", True),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b/in/*", True),
        ("arn:aws:s3:::b/in/*", "arn:aws:s3:::b/*", False),
        ("arn:aws:s3:::b/in/*", "arn:aws:s3:::b/i?/*", False),
        ("secret-??????", "secret-abcdef", True),
        ("secret-??????", "secret-*", False),
        ("a?c", "a*c", False),
        ("a?c", "a?c", True),
        ("a.c", "abc", False),
        ("a*", "a\nb", True),
    ],
)
def test_a_pattern_covers_another_only_if_it_matches_all_of_it(
    wide: str, narrow: str, expected: bool
) -> None:
    assert covers(wide, narrow) == expected


def test_a_statement_is_covered_by_action_resource_and_condition() -> None:
    via = {"StringLike": {"kms:ViaService": ["s3.*.amazonaws.com"]}}
    wide = {"Action": ["kms:GenerateDataKey"], "Resource": ["key"], "Condition": via}

    assert (
        list(
            uncovered(
                {"Action": "KMS:generatedatakey", "Resource": "key"} | {"Condition": via}, [wide]
            )
        )
        == []
    )
    assert list(uncovered({"Action": "kms:GenerateDataKey", "Resource": "key"}, [wide])) == [
        ("kms:GenerateDataKey", "key")
    ]
    assert list(uncovered({"NotAction": "iam:*", "NotResource": "key"}, [wide])) == [("*", "*")]


@pytest.mark.parametrize(
    ("log_format", "found"),
    [
        (ACCESS_LOG, []),
        ("$context.identity.sourceIp - $context.httpMethod $context.path. -", []),
        ("$context.authorizer.principalId", ["$context.authorizer.principalId"]),
        ("$input.params('token')", ["$input.params"]),
        ("${stageVariables.validToken}", ["$stageVariables.validToken"]),
        (
            "$context.requestOverride.querystring.token",
            ["$context.requestOverride.querystring.token"],
        ),
        ("$context.statusAndMore", ["$context.statusAndMore"]),
    ],
)
def test_an_access_log_may_hold_only_what_is_known_to_be_harmless(
    log_format: str, found: list[str]
) -> None:
    assert leaking_variables(log_format) == found


def test_our_own_access_log_is_harmless() -> None:
    assert leaking_variables(" ".join(template.ACCESS_LOG.values())) == []
