"""`hookshelf watch` adds our notification beside others of a bucket, and takes it away again."""

import io
import json
import uuid
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.project import CREDENTIALS
from support.stage import client as client_of

from hookshelf.__main__ import main
from hookshelf.deploy.notifications import EVENTS, NOTIFICATION_ID, with_ours, without_ours

ACCOUNT = "arn:aws:{}:us-east-1:123456789012:{}"
QUEUE = {
    "Id": "a-queue",
    "QueueArn": ACCOUNT.format("sqs", "thumbnails"),
    "Events": ["s3:ObjectCreated:*"],
    "Filter": {"Key": {"FilterRules": [{"Name": "suffix", "Value": ".jpg"}]}},
}
TOPIC = {
    "Id": "a-topic",
    "TopicArn": ACCOUNT.format("sns", "audit"),
    "Events": ["s3:ObjectRemoved:Delete"],
}
OTHER_LAMBDA = {
    "Id": "another-lambda",
    "LambdaFunctionArn": ACCOUNT.format("lambda", "function:theirs"),
    "Events": ["s3:ObjectCreated:Put"],
    "Filter": {
        "Key": {
            "FilterRules": [
                {"Name": "prefix", "Value": "theirs/"},
                {"Name": "suffix", "Value": ".csv"},
            ]
        }
    },
}
FOREIGN = {
    "QueueConfigurations": [QUEUE],
    "TopicConfigurations": [TOPIC],
    "LambdaFunctionConfigurations": [OTHER_LAMBDA],
}
Client = Callable[[str], Any]
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def client(moto_endpoint: str) -> Client:
    return lambda service: client_of(service, moto_endpoint)


@pytest.fixture
def run(moto_endpoint: str) -> Run:
    """Run `hookshelf watch` as a shell with these variables does."""
    shell = {
        **CREDENTIALS,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": moto_endpoint,
        "ARCHIVE_BUCKETS": None,
        "SNOWPLOW_OUTPUT": None,
    }
    return lambda *words, **more: CliRunner().invoke(main, ["watch", *words], env=shell | more)


@pytest.fixture
def bucket(client: Client) -> str:
    name = f"uploads-{uuid.uuid4().hex}"
    client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="module")
def role(client: Client) -> str:
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    made = client("iam").create_role(
        RoleName=f"role-{uuid.uuid4().hex}", AssumeRolePolicyDocument=trust
    )
    return made["Role"]["Arn"]


@pytest.fixture
def deployed(client: Client, role: str) -> Callable[..., tuple[str, str]]:
    """Deploy a tracker with these variables: its stage's name and its ARN."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as bundle:
        bundle.writestr("app.py", "")

    def deploy(**variables: str) -> tuple[str, str]:
        stage = f"stage{uuid.uuid4().hex[:12]}"
        made = client("lambda").create_function(
            FunctionName=f"hookshelf-{stage}-track_s3",
            Role=role,
            Runtime="python3.12",
            Handler="app.track_s3",
            Code={"ZipFile": code.getvalue()},
            Environment={"Variables": variables},
        )
        return stage, made["FunctionArn"]

    return deploy


@pytest.fixture
def exact_s3() -> Iterator[str]:
    """An S3 that keeps a notification configuration as it was put; moto loses EventBridge's."""
    kept = {"body": b"<NotificationConfiguration/>"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(kept["body"])

        def do_PUT(self) -> None:
            kept["body"] = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(b"")

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def notifications(s3: Any, bucket: str) -> dict[str, Any]:
    found = s3.get_bucket_notification_configuration(Bucket=bucket)
    return {name: value for name, value in found.items() if name != "ResponseMetadata"}


def permissions(client: Client, arn: str) -> list[dict[str, Any]]:
    return json.loads(client("lambda").get_policy(FunctionName=arn)["Policy"])["Statement"]


def test_watch_notifies_the_tracker_of_puts_and_deletes(
    run: Run, client: Client, bucket: str, deployed: Any
) -> None:
    stage, arn = deployed()

    result = run(bucket, "--stage", stage)

    assert (result.exit_code, result.output) == (0, f"{bucket}/* notifies {arn}.\n")
    assert notifications(client("s3"), bucket) == {
        "LambdaFunctionConfigurations": [
            {"Id": NOTIFICATION_ID, "LambdaFunctionArn": arn, "Events": EVENTS}
        ]
    }


def test_a_prefix_becomes_a_filter(run: Run, client: Client, bucket: str, deployed: Any) -> None:
    stage, _ = deployed()

    assert run(bucket, "--stage", stage, "--prefix", "incoming/").exit_code == 0

    (ours,) = notifications(client("s3"), bucket)["LambdaFunctionConfigurations"]
    assert ours["Filter"] == {"Key": {"FilterRules": [{"Name": "prefix", "Value": "incoming/"}]}}


def test_foreign_notifications_survive_adding_repeating_and_removing_ours(
    run: Run, client: Client, bucket: str, deployed: Any
) -> None:
    s3 = client("s3")
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=FOREIGN)
    before = notifications(s3, bucket)
    stage, arn = deployed()

    assert run(bucket, "--stage", stage).exit_code == 0
    added = notifications(s3, bucket)
    assert run(bucket, "--stage", stage).exit_code == 0
    repeated = notifications(s3, bucket)
    assert run(bucket, "--off").exit_code == 0

    ours = {"Id": NOTIFICATION_ID, "LambdaFunctionArn": arn, "Events": EVENTS}
    assert before == FOREIGN
    assert added == {**FOREIGN, "LambdaFunctionConfigurations": [OTHER_LAMBDA, ours]}
    assert repeated == added
    assert notifications(s3, bucket) == FOREIGN


def test_eventbridge_survives_too(
    run: Run, client: Client, exact_s3: str, bucket: str, deployed: Any
) -> None:
    stage, arn = deployed()
    s3 = client_of("s3", exact_s3)
    # AWS answers with names of filters that begin with a capital, and takes them so.
    rule = {"Key": {"FilterRules": [{"Name": "Suffix", "Value": ".jpg"}]}}
    foreign = {"EventBridgeConfiguration": {}, "QueueConfigurations": [QUEUE | {"Filter": rule}]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=foreign)

    assert run(bucket, "--stage", stage, AWS_ENDPOINT_URL_S3=exact_s3).exit_code == 0
    added = notifications(s3, bucket)
    assert run(bucket, "--off", AWS_ENDPOINT_URL_S3=exact_s3).exit_code == 0

    ours = {"Id": NOTIFICATION_ID, "LambdaFunctionArn": arn, "Events": EVENTS}
    assert added == {**foreign, "LambdaFunctionConfigurations": [ours]}
    assert notifications(s3, bucket) == foreign


def test_adding_and_removing_ours_are_pure() -> None:
    configuration = {"ResponseMetadata": {}, "EventBridgeConfiguration": {}, **FOREIGN}

    added = with_ours(configuration, "arn", "a/")

    assert without_ours(added) == {"EventBridgeConfiguration": {}, **FOREIGN}
    assert with_ours(added, "arn", "a/") == added
    assert configuration["LambdaFunctionConfigurations"] == [OTHER_LAMBDA]


def test_watching_again_replaces_the_prefix(
    run: Run, client: Client, bucket: str, deployed: Any
) -> None:
    stage, _ = deployed()

    run(bucket, "--stage", stage, "--prefix", "old/")
    run(bucket, "--stage", stage, "--prefix", "new/")

    (ours,) = notifications(client("s3"), bucket)["LambdaFunctionConfigurations"]
    assert ours["Filter"]["Key"]["FilterRules"] == [{"Name": "prefix", "Value": "new/"}]


def test_the_permission_is_added_once_for_this_bucket_and_account_alone(
    run: Run, client: Client, bucket: str, deployed: Any
) -> None:
    stage, arn = deployed()

    run(bucket, "--stage", stage)
    run(bucket, "--stage", stage)

    (statement,) = permissions(client, arn)
    assert statement["Effect"] == "Allow"
    assert statement["Action"] == "lambda:InvokeFunction"
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert statement["Condition"] == {
        "ArnLike": {"AWS:SourceArn": f"arn:aws:s3:::{bucket}"},
        "StringEquals": {"AWS:SourceAccount": "123456789012"},
    }


def test_off_takes_away_our_permission_and_no_other(
    run: Run, client: Client, bucket: str, deployed: Any
) -> None:
    stage, arn = deployed()
    client("lambda").add_permission(
        FunctionName=arn,
        StatementId="theirs",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
    )
    run(bucket, "--stage", stage)

    assert run(bucket, "--off").exit_code == 0

    assert [one["Sid"] for one in permissions(client, arn)] == ["theirs"]


def test_off_is_in_order_where_there_is_nothing_of_ours(
    run: Run, client: Client, bucket: str
) -> None:
    client("s3").put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration=FOREIGN
    )

    result = run(bucket, "--off")

    assert (result.exit_code, result.output) == (0, f"{bucket} does not notify hookshelf.\n")
    assert notifications(client("s3"), bucket) == FOREIGN


def test_off_works_after_the_function_is_gone(
    run: Run, client: Client, bucket: str, deployed: Any
) -> None:
    stage, arn = deployed()
    run(bucket, "--stage", stage)
    client("lambda").delete_function(FunctionName=arn)

    assert run(bucket, "--off").exit_code == 0
    assert notifications(client("s3"), bucket) == {}


@pytest.mark.parametrize("by_name", [True, False])
def test_a_function_is_named_by_name_or_arn(
    run: Run, client: Client, bucket: str, deployed: Any, by_name: bool
) -> None:
    stage, arn = deployed()

    result = run(bucket, "--function", f"hookshelf-{stage}-track_s3" if by_name else arn)

    assert result.exit_code == 0
    (ours,) = notifications(client("s3"), bucket)["LambdaFunctionConfigurations"]
    assert ours["LambdaFunctionArn"] == arn


@pytest.mark.parametrize(
    ("written", "prefix"),
    [
        ("", ""),
        ("", "incoming/"),
        ("/landing", ""),
        ("/landing", "land"),
        ("/landing", "landing/"),
        ("/landing", "landing/shop/"),
    ],
)
def test_a_prefix_that_covers_the_archive_is_refused(
    run: Run, client: Client, bucket: str, deployed: Any, written: str, prefix: str
) -> None:
    stage, arn = deployed(ARCHIVE_BUCKETS=f"elsewhere,{bucket}{written}")

    result = run(bucket, "--stage", stage, "--prefix", prefix)

    assert result.exit_code == 2
    assert f"{bucket}/{prefix}* covers {bucket}{written}/" in result.output
    assert "(ARCHIVE_BUCKETS)" in result.output
    assert notifications(client("s3"), bucket) == {}
    with pytest.raises(client("lambda").exceptions.ResourceNotFoundException):
        permissions(client, arn)


@pytest.mark.parametrize("variable", ["ARCHIVE_BUCKETS", "SNOWPLOW_OUTPUT"])
@pytest.mark.parametrize("where", ["function", "shell"])
def test_both_the_function_and_the_shell_say_what_is_written(
    run: Run, bucket: str, deployed: Any, variable: str, where: str
) -> None:
    place = {variable: f"elsewhere, {bucket}/landing"}
    stage, _ = deployed(**(place if where == "function" else {}))

    result = run(bucket, "--stage", stage, **(place if where == "shell" else {}))

    assert result.exit_code == 2
    assert f"covers {bucket}/landing" in result.output
    assert f"({variable})" in result.output


def test_a_prefix_beside_what_is_written_is_watched(run: Run, bucket: str, deployed: Any) -> None:
    stage, _ = deployed(
        ARCHIVE_BUCKETS=f"elsewhere,{bucket}/hooks", SNOWPLOW_OUTPUT=f"{bucket}/enriched/"
    )

    result = run(bucket, "--stage", stage, "--prefix", "incoming/")

    assert result.exit_code == 0


@pytest.mark.parametrize("variable", ["ARCHIVE_BUCKETS", "SNOWPLOW_OUTPUT"])
def test_a_place_that_cannot_be_read_is_no_place_to_guess_about(
    run: Run, client: Client, bucket: str, deployed: Any, variable: str
) -> None:
    stage, _ = deployed(**{variable: f"s3://{bucket}/landing"})

    result = run(bucket, "--stage", stage)

    assert result.exit_code == 2
    assert variable in result.output
    assert notifications(client("s3"), bucket) == {}


def test_off_is_never_refused_as_a_loop(
    run: Run, client: Client, bucket: str, deployed: Any
) -> None:
    stage, _ = deployed()
    run(bucket, "--stage", stage)

    assert run(bucket, "--off", ARCHIVE_BUCKETS=bucket).exit_code == 0
    assert notifications(client("s3"), bucket) == {}


@pytest.mark.parametrize("words", [["--stage", "nowhere"], ["--function", "nobody"]])
def test_an_unknown_function_is_a_clear_error(
    run: Run, client: Client, bucket: str, words: list[str]
) -> None:
    result = run(bucket, *words)

    assert result.exit_code == 2
    assert "No function" in result.output
    assert words[1] in result.output
    assert notifications(client("s3"), bucket) == {}


def test_an_unknown_bucket_is_a_clear_error_and_nothing_is_permitted(
    run: Run, client: Client, deployed: Any
) -> None:
    stage, arn = deployed()

    result = run("no-such-bucket-anywhere", "--stage", stage)

    assert result.exit_code == 2
    assert "No bucket no-such-bucket-anywhere" in result.output
    with pytest.raises(client("lambda").exceptions.ResourceNotFoundException):
        permissions(client, arn)


def test_what_aws_refuses_is_an_error_without_a_traceback(run: Run) -> None:
    result = run("not a bucket's name")

    assert result.exit_code == 1
    assert result.output.startswith("Error: AWS refused: ")
    assert isinstance(result.exception, SystemExit)
