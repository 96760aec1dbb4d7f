"""The CloudFormation template of a stage: packaged by Chalice, merged with ours, SAM expanded."""

import json
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.packaging import leave_out_wheels
from support.policies import ALLOWED, OF_COMPACTOR, wide
from support.project import PROJECT

from chalicelib import metrics
from chalicelib.responses import NO_SUCH_PATH, RETRY_AFTER
from hookshelf.deploy import __main__ as deploy_main
from hookshelf.deploy import package, template
from hookshelf.deploy.alarms import alarms
from hookshelf.deploy.deployment import LOGICAL_IDS
from hookshelf.deploy.plan import package_request
from hookshelf.deploy.stack import stack_metadata

pytestmark = [pytest.mark.xdist_group("template"), pytest.mark.slow]

ENVIRON = {"ARCHIVE_BUCKETS": "my-webhooks/team", "ARCHIVE_BUCKET_OWNER": "123456789012"}
OPTIONS = template.Options(
    stage="dev", usual_gaps={"shop": 3600, "my-shop": 90_000}, alarms_to="ops@example.com"
)


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> package.Package:
    """Stage dev, packaged for a bucket of its own."""
    with pytest.MonkeyPatch.context() as patch:
        leave_out_wheels(patch)
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # or Chalice would leave none
        into = tmp_path_factory.mktemp("package")
        return package.build(package_request(ENVIRON, OPTIONS), into)


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_wheels(monkeypatch)


@pytest.fixture(scope="module")
def whole(packaged: package.Package) -> dict[str, Any]:
    return template.with_variables(packaged.template, ["validToken", "validToken_my__shop"])


def of_type(whole: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """The properties of every resource of a type, by logical id."""
    return {
        name: resource["Properties"]
        for name, resource in whole["Resources"].items()
        if resource["Type"] == kind
    }


def errors(document: str) -> list[str]:
    import cfnlint.api  # two seconds, for two slow tests

    return [str(match) for match in cfnlint.api.lint(document, regions=["us-east-1"])]


def test_the_template_passes_cfn_lint_before_and_after_sam(
    packaged: package.Package, whole: dict[str, Any]
) -> None:
    sam = packaged.zip.with_name("sam.json").read_text()

    assert errors(sam) == []
    assert errors(json.dumps(whole)) == []


def test_cfn_lint_would_say_what_is_wrong(whole: dict[str, Any]) -> None:
    broken = json.dumps(whole).replace('"Timeout": 15', '"Timeout": 1500')

    assert "1500" in errors(broken)[0]


@pytest.mark.usefixtures("light")
def test_make_package_makes_a_template_of_every_deployable_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_package(monkeypatch, "--into", str(tmp_path), "--arch", "x86_64", "--bucket", "mine")
    said = capsys.readouterr().out.splitlines()

    assert [line.partition(":")[0] for line in said] == ["dev", "prod"]
    for stage in ("dev", "prod"):
        document = (tmp_path / stage / "package" / "template.json").read_text()
        assert errors(document) == []
        assert list(of_type(json.loads(document), "AWS::ApiGateway::Stage")) == ["RestAPIapiStage"]
        assert not any(faults_of_roles(json.loads(document)).values())
        assert "CHANGE-ME" not in document
        assert set(json.loads(document)["Parameters"]) == {
            "CodeBucket",
            "CodeKey",
            "CompactorKey",
            "ValidToken",
        }
        assert (tmp_path / stage / "package" / "compactor.zip").is_file()
        assert stack_metadata(json.loads(document))  # so that `hookshelf deploy` takes it over


def test_make_package_refuses_a_configuration_that_names_no_bucket(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as ended:
        make_package(monkeypatch, "--into", str(tmp_path))

    assert ended.value.code == 2
    assert "make package BUCKET=NAME" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def make_package(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["hookshelf.deploy", *arguments])
    deploy_main.main()


def test_the_api_has_exactly_one_stage_with_its_variables_and_throttling(
    whole: dict[str, Any],
) -> None:
    stages = of_type(whole, "AWS::ApiGateway::Stage")
    [stage] = stages.values()
    [deployment] = of_type(whole, "AWS::ApiGateway::Deployment").values()

    assert stage["StageName"] == "api"
    assert set(stage["Variables"]) == {"validToken", "validToken_my__shop"}
    assert stage["MethodSettings"][0]["ThrottlingRateLimit"] == 50
    assert "StageName" not in deployment  # which would make a second, public one


def test_without_our_part_sam_would_add_a_second_stage(packaged: package.Package) -> None:
    sam = json.loads(packaged.zip.with_name("sam.json").read_text())
    del sam["Resources"]["RestAPI"]["Properties"]["OpenApiVersion"]
    [deployment] = of_type(package.expand(sam), "AWS::ApiGateway::Deployment").values()

    assert deployment["StageName"] == "Stage"


def test_values_of_stage_variables_are_parameters_that_nobody_is_shown(
    whole: dict[str, Any],
) -> None:
    [stage] = of_type(whole, "AWS::ApiGateway::Stage").values()

    for value in stage["Variables"].values():
        assert whole["Parameters"][value["Ref"]]["NoEcho"] is True


def test_another_set_of_variables_takes_the_place_of_the_first(whole: dict[str, Any]) -> None:
    again = template.with_variables(whole, ["validToken"])
    [stage] = of_type(again, "AWS::ApiGateway::Stage").values()

    assert list(stage["Variables"]) == ["validToken"]
    assert [name for name in again["Parameters"] if name.startswith("Valid")] == ["ValidToken"]
    assert {"CodeBucket", "CodeKey"} < set(again["Parameters"])


def test_each_function_has_a_role_of_its_own_with_nothing_too_wide(whole: dict[str, Any]) -> None:
    functions = of_type(whole, "AWS::Lambda::Function")
    roles = [function["Role"]["Fn::GetAtt"][0] for function in functions.values()]

    assert len(set(roles)) == len(functions) == len(LOGICAL_IDS)
    assert set(roles) == set(of_type(whole, "AWS::IAM::Role"))
    assert faults_of_roles(whole) == {role: [] for role in roles}
    assert not any(
        "ManagedPolicyArns" in role for role in of_type(whole, "AWS::IAM::Role").values()
    )


def test_only_api_gateway_may_invoke_the_function_and_only_for_this_api(
    whole: dict[str, Any],
) -> None:
    permission = of_type(whole, "AWS::Lambda::Permission")["APIHandlerInvokePermission"]

    assert permission["Principal"] == "apigateway.amazonaws.com"
    assert permission["SourceArn"]["Fn::Sub"][1] == {"RestAPIId": {"Ref": "RestAPI"}}


def test_functions_run_on_arm_within_their_time_and_log_json(whole: dict[str, Any]) -> None:
    for name, function in of_type(whole, "AWS::Lambda::Function").items():
        assert function["Architectures"] == ["arm64"]
        if name == "Compactor":  # tests/deploy/test_compactor.py
            continue
        # A first direct invoke loads pydantic: with 256 MB it would take twice as long.
        assert function["MemorySize"] == (512 if function["Handler"] == "app.deliver" else 256)
        assert function["Timeout"] == (30 if name == "TrackS3" else 15)
        assert function["LoggingConfig"]["LogFormat"] == "JSON"
        assert "ReservedConcurrentExecutions" not in function


def test_concurrency_is_reserved_for_the_http_function_where_it_is_asked_for() -> None:
    merged = template.merge_template(template.Options("dev", reserved=50))["Resources"]

    assert merged["APIHandler"]["Properties"]["ReservedConcurrentExecutions"] == 50
    assert "ReservedConcurrentExecutions" not in merged["Deliver"]["Properties"]


def test_functions_are_called_as_chalice_deploy_calls_them(whole: dict[str, Any]) -> None:
    names = {one["FunctionName"] for one in of_type(whole, "AWS::Lambda::Function").values()}

    of_chalice = {"hookshelf-dev", "hookshelf-dev-deliver", "hookshelf-dev-track_s3"}
    assert names == {*of_chalice, "hookshelf-dev-compactor"}


def test_what_fails_without_a_caller_waiting_lies_in_a_queue_the_function_may_send_to(
    whole: dict[str, Any],
) -> None:
    queues = of_type(whole, "AWS::SQS::Queue")
    functions = of_type(whole, "AWS::Lambda::Function")

    for name in ("Deliver", "TrackS3"):
        target = functions[name]["DeadLetterConfig"]["TargetArn"]
        role = whole["Resources"][functions[name]["Role"]["Fn::GetAtt"][0]]
        assert target["Fn::GetAtt"][0] in queues
        assert {"sqs:SendMessage": [target]} == {
            statement["Action"]: statement["Resource"]
            for statement in role["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
            if statement["Action"] == "sqs:SendMessage"
        }


def test_every_log_group_forgets_and_every_function_writes_into_its_own(
    whole: dict[str, Any],
) -> None:
    groups = of_type(whole, "AWS::Logs::LogGroup")
    functions = of_type(whole, "AWS::Lambda::Function").values()

    assert len(groups) == 5
    assert all(group["RetentionInDays"] == 30 for group in groups.values())
    assert len({one["LoggingConfig"]["LogGroup"]["Ref"] for one in functions}) == 4


def test_no_log_holds_a_query_string(whole: dict[str, Any]) -> None:
    [stage] = of_type(whole, "AWS::ApiGateway::Stage").values()
    [settings] = stage["MethodSettings"]
    shown = stage["AccessLogSetting"]["Format"]

    assert settings["LoggingLevel"] == "OFF"
    assert settings["DataTraceEnabled"] is False
    assert set(re.findall(r"\$[\w.]+", shown)) == set(template.ACCESS_LOG.values())
    assert json.loads(shown)  # one line of JSON
    assert not re.search(
        "query|header|input|override|authorizer|stageVariables|context.path", shown
    )


def test_an_account_that_cannot_write_access_logs_is_not_asked_to() -> None:
    merged = template.merge_template(template.Options("dev", access_logs=False))["Resources"]

    assert "AccessLogSetting" not in merged["RestAPI"]["Properties"]
    assert "AccessLogs" not in merged


def test_api_gateways_own_refusals_make_senders_try_again(whole: dict[str, Any]) -> None:
    [api] = of_type(whole, "AWS::ApiGateway::RestApi").values()
    responses = api["Body"]["x-amazon-apigateway-gateway-responses"]

    # DEFAULT_5XX is also what a sender hears of a function that Lambda throttles: 500 otherwise.
    for kind in ("THROTTLED", "QUOTA_EXCEEDED", "DEFAULT_5XX"):
        assert responses[kind]["statusCode"] == "503"
        assert responses[kind]["responseParameters"] == {
            "gatewayresponse.header.Retry-After": f"'{RETRY_AFTER}'"
        }
    for response in responses.values():
        assert json.loads(response["responseTemplates"]["application/json"])["result"] == "fail"


def test_a_wrong_path_is_told_the_right_one(whole: dict[str, Any]) -> None:
    [api] = of_type(whole, "AWS::ApiGateway::RestApi").values()
    responses = api["Body"]["x-amazon-apigateway-gateway-responses"]
    body = responses["MISSING_AUTHENTICATION_TOKEN"]["responseTemplates"]["application/json"]

    assert json.loads(body)["reason"] == NO_SUCH_PATH.reason
    assert body.isascii()  # CloudFormation makes question marks of the rest


def test_nothing_is_said_that_api_gateway_ignores(whole: dict[str, Any]) -> None:
    [api] = of_type(whole, "AWS::ApiGateway::RestApi").values()

    assert "REQUEST_TOO_LARGE" not in api["Body"]["x-amazon-apigateway-gateway-responses"]


def test_bodies_reach_the_function_as_bytes_and_compression_stays_unset(
    whole: dict[str, Any],
) -> None:
    [api] = of_type(whole, "AWS::ApiGateway::RestApi").values()

    assert api["Body"]["x-amazon-apigateway-binary-media-types"] == ["*/*"]
    assert "MinimumCompressionSize" not in api
    assert api["Body"]["paths"]["/iam/input"]["post"]["security"] == [{"sigv4": []}]


def test_there_is_an_alarm_for_everything_that_loses_deliveries(whole: dict[str, Any]) -> None:
    alarms = of_type(whole, "AWS::CloudWatch::Alarm")
    metrics = {
        name: sorted(stat["MetricStat"]["Metric"]["MetricName"] for stat in alarm["Metrics"][1:])
        for name, alarm in alarms.items()
        if not name.startswith("Quiet")
    }

    assert metrics == {
        "ServerErrors": ["5XXError"],
        "Refusals": ["Responses"],
        "Unconfigured": ["Unconfigured"],
        "Throttles": ["Throttles"] * 3,
        "DeadLetters": ["ApproximateNumberOfMessagesVisible"] * 2 + ["AsyncEventsDropped"] * 2,
        "CompactorErrors": ["Errors"],
        "EventsStale": ["Compacted"],
        "OtherEventsStale": ["Compacted"],
    }
    assert all(alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}] for alarm in alarms.values())


def test_alarms_watch_what_the_functions_write(whole: dict[str, Any]) -> None:
    """Names of namespace, metrics and dimensions, as chalicelib/metrics.py spells them."""
    function = of_type(whole, "AWS::Lambda::Function")["APIHandler"]
    environ = function["Environment"]["Variables"]
    line = metrics.metric_fields(
        environ, datetime.now(UTC), status=403, app="shop", unconfigured=True
    )
    compacted = metrics.metric(environ, datetime.now(UTC), "Compacted", Apps="known")
    written = {
        (one["Namespace"], metric["Name"], tuple(sorted(names)))
        for one in (*line["_aws"]["CloudWatchMetrics"], *compacted["_aws"]["CloudWatchMetrics"])
        for metric in one["Metrics"]
        for names in one["Dimensions"]
    }
    watched = {
        (
            metric["Namespace"],
            metric["MetricName"],
            tuple(sorted(one["Name"] for one in metric["Dimensions"])),
        )
        for alarm in of_type(whole, "AWS::CloudWatch::Alarm").values()
        for metric in (stat["MetricStat"]["Metric"] for stat in alarm["Metrics"][1:])
        if not metric["Namespace"].startswith("AWS/")
    }

    assert watched == written


def test_an_app_that_is_silent_for_longer_than_usual_is_an_alarm(whole: dict[str, Any]) -> None:
    quiet = {
        name: alarm
        for name, alarm in of_type(whole, "AWS::CloudWatch::Alarm").items()
        if name.startswith("Quiet")
    }
    windows = {
        alarm["AlarmDescription"].split()[1]: (
            alarm["EvaluationPeriods"] * alarm["Metrics"][1]["MetricStat"]["Period"]
        )
        for alarm in quiet.values()
    }

    assert windows == {"shop": 3600, "my-shop": 90_000}
    assert all(alarm["TreatMissingData"] == "breaching" for alarm in quiet.values())


def test_apps_that_differ_only_by_their_signs_have_alarms_of_their_own() -> None:
    gaps = {"a-b": 300, "a_b": 300, "ab": 300}

    assert sum(name.startswith("Quiet") for name in alarms("dev", gaps, "")) == 3


@pytest.mark.parametrize("gap", [300, 301, 86_400, 86_401, 604_800])
def test_cloudwatch_looks_back_as_far_as_it_can_and_no_further(gap: float) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html"""
    found = alarms("dev", {"shop": gap}, "")
    [alarm] = [one["Properties"] for name, one in found.items() if name.startswith("Quiet")]
    period = alarm["Metrics"][1]["MetricStat"]["Period"]
    window = alarm["EvaluationPeriods"] * period

    assert gap <= window <= (86_400 if period < 3600 else 604_800)


def test_alarms_go_to_a_topic_that_is_there_already() -> None:
    arn = "arn:aws:sns:us-east-1:123456789012:pager"
    found = alarms("dev", {}, arn)

    assert "AlarmTopic" not in found
    assert found["Refusals"]["Properties"]["AlarmActions"] == [arn]


def test_two_stages_share_no_name(whole: dict[str, Any]) -> None:
    names = {
        value for kind in ("FunctionName", "Name") for value in values_of(kind, whole["Resources"])
    } - {"Status", "App", "Apps", "ApiName", "Stage", "FunctionName", "QueueName"}

    assert names
    assert all("dev" in name for name in names)


def test_the_zip_has_bytecode_for_what_a_post_loads(packaged: package.Package) -> None:
    with zipfile.ZipFile(packaged.zip) as archive:
        names = archive.namelist()
        compiled = next(name for name in names if re.fullmatch(r"__pycache__/app\..*\.pyc", name))
        content = archive.read(compiled)

    assert len(names) == len(set(names))
    assert int.from_bytes(content[4:8], "little") == 1  # a hash, and it is not checked
    assert b"/var/task/app.py" in content
    assert any(name.startswith("chalicelib/__pycache__/receive.") for name in names)
    assert not any(name.startswith(("hookshelf/", "tests/")) for name in names)


@pytest.mark.usefixtures("light")
def test_packaging_twice_makes_the_same_zip(tmp_path: Path) -> None:
    order = package_request(ENVIRON, OPTIONS)
    first = package.build(order, tmp_path).zip.read_bytes()

    assert package.build(order, tmp_path).zip.read_bytes() == first


def test_packaging_edits_nothing_that_git_tracks(packaged: package.Package) -> None:
    config = json.loads((PROJECT / ".chalice" / "config.json").read_text())

    assert config["stages"]["dev"]["environment_variables"] == {"ARCHIVE_BUCKETS": "CHANGE-ME"}
    assert "build/" in (PROJECT / ".gitignore").read_text().splitlines()


def faults_of_roles(whole: dict[str, Any]) -> dict[str, list[str]]:
    """What each role may that it may not, by logical id."""
    return {
        name: [
            fault
            for policy in role["Policies"]
            for fault in wide(
                policy["PolicyDocument"], OF_COMPACTOR if name == "CompactorRole" else ALLOWED
            )
        ]
        for name, role in of_type(whole, "AWS::IAM::Role").items()
    }


def values_of(name: str, tree: Any) -> list[str]:
    if isinstance(tree, list):
        return [found for item in tree for found in values_of(name, item)]
    if not isinstance(tree, dict):
        return []
    own = [tree[name]] if isinstance(tree.get(name), str) else []
    return own + [found for item in tree.values() for found in values_of(name, item)]
