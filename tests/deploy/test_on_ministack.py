"""The whole of a stage's life on an AWS that somebody else wrote, through the URL that is printed.

Whoever deploys is an IAM user with the policy of docs/deploying.md and no other, and policies are
enforced: on users, on the functions' roles, by the bucket. docs/proof.md says what is not shown.
"""

import json
import platform
import re
import shutil
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from support import ministack
from support.lambda_runtime import needs_linux
from support.local_server import copy_of_project
from support.ministack import ACCOUNT, Ministack
from support.pages import blocks, section, text_of
from support.project import SAMPLES

from chalicelib.archive import to_object
from chalicelib.responses import INVALID_TOKEN, MAX_BODY
from chalicelib.sources import source_named
from hookshelf.deploy.package import MACHINES
from hookshelf.local.traffic import Traffic

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(1_800),  # each may wait for several commands
    needs_linux,  # functions run under this machine's Python
]

BUCKET, UPLOADS = "my-webhooks", "my-uploads"
TIMEOUT = 300.0  # seconds for what happens by itself, which takes some
DEPLOY = ("deploy", "--stage", "dev", "--yes")


def documented_policy() -> dict[str, Any]:
    """What whoever deploys needs, as docs/deploying.md says it."""
    [policy] = blocks(section(text_of("docs/deploying.md"), "## What you need"), "json")
    return json.loads(policy.replace("ACCOUNT", ACCOUNT).replace("BUCKET", BUCKET))


class Collector(BaseHTTPRequestHandler):
    """Snowplow's collector, as far as the tracker sees it."""

    received: list[dict[str, Any]] = []

    def do_POST(self) -> None:
        self.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@dataclass(frozen=True)
class Stage:
    """A stage that was deployed by one command, and who did."""

    aws: Ministack
    project: Path
    shell: dict[str, str]
    printed: str

    @property
    def token(self) -> str:
        return shown_token(self.printed)

    def run(self, *words: str, status: int | None = 0) -> str:
        """What a command says, run by whoever deployed."""
        done = self.aws.hookshelf(self.project, self.shell, *words, status=status)
        return done.stdout + done.stderr

    def levels(self, status: int = 0) -> dict[str, str]:
        """What the doctor makes of each of its checks."""
        words = ("doctor", "--stage", "dev", "--json")
        done = self.aws.hookshelf(self.project, self.shell, *words, status=status)
        findings = map(json.loads, done.stdout.splitlines())
        return {finding["id"]: finding["level"] for finding in findings}

    def new_token(self, *words: str) -> str:
        """The token that a command prints, and nothing else, on its standard output."""
        return self.aws.hookshelf(self.project, self.shell, *words).stdout.strip()

    def post(
        self, body: bytes, token: str = "", app: str = "sendgrid", kind: str = "application/json"
    ) -> Any:
        """The status of a post through the printed URL, and what the response says."""
        [url] = set(re.findall(r"https://\S+/api/input\?token=TOKEN&app=\w+", self.printed))
        url = url.replace("TOKEN", token or self.token).replace("app=sendgrid", f"app={app}")
        file = self.project / f"{sha256(body).hexdigest()}.body"
        file.write_bytes(body)
        options = ("-H", f"content-type: {kind}", "--data-binary", f"@{file}")
        status, response = self.aws.curl(url, *options)
        return status, json.loads(response)

    def archived(self) -> dict[str, bytes]:
        """Every delivery in the bucket, by key."""
        s3 = self.aws.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return {
            key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            for key in keys
            if "layer=" not in key and not key.startswith("_")
        }


def shown_token(printed: str) -> str:
    """The token that a command shows once."""
    return re.findall(r"shown only now[^:]*: (\S+)", printed)[0]


def eventually(look: Callable[[], Any]) -> Any:
    """What is looked for, once it is there."""
    end = time.monotonic() + TIMEOUT
    while not (value := look()):
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.5)
    return value


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    folder = tmp_path_factory.mktemp("ministack")
    with ministack.serving(folder) as aws:
        yield aws
    shutil.rmtree(folder, ignore_errors=True)  # unpacked functions, some 100 MB each


@pytest.fixture(scope="module")
def collector() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, collector: str) -> Path:
    """A checkout with settings of its own; functions run on this machine's processor."""
    project = copy_of_project(tmp_path_factory.mktemp("checkout") / "hookshelf")
    file = project / ".chalice" / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    architectures = {machine: name for name, machine in MACHINES.items()}
    config["lambda_architecture"] = architectures[platform.machine()]
    config["stages"]["dev"]["environment_variables"]["SNOWPLOW_COLLECTOR"] = collector
    file.write_text(json.dumps(config), encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def stage(aws: Ministack, project: Path) -> Stage:
    """From nothing to a stage, by the command of the README."""
    shell = aws.user("deployer", documented_policy())
    words = (*DEPLOY, "--bucket", BUCKET, "--create-bucket")
    done = aws.hookshelf(project, shell, *words)
    return Stage(aws, project, shell, done.stdout)


def test_the_doctor_finds_nothing_to_fix_after_the_first_deploy(stage: Stage) -> None:
    assert re.search(r"^\d+ checks: 0 failed, ", stage.printed, re.MULTILINE)


def test_whoever_lacks_the_documented_policy_deploys_nothing(stage: Stage) -> None:
    shell = stage.aws.user("somebody", None)
    words = ("deploy", "--stage", "prod", "--yes", "--bucket", BUCKET)
    done = stage.aws.hookshelf(stage.project, shell, *words, status=1)

    assert re.search(r"AccessDenied|not authorized", done.stderr)


def test_whoever_has_it_may_do_nothing_else(stage: Stage) -> None:
    iam = stage.aws.client("iam", stage.shell)
    s3 = stage.aws.client("s3", stage.shell)
    for call in (
        lambda: iam.create_user(UserName="another"),
        lambda: s3.create_bucket(Bucket="of-somebody-else"),
        lambda: s3.delete_bucket(Bucket=BUCKET),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()


BODIES = {
    "a batch": (SAMPLES / "sendgrid" / "batch" / "body.json").read_bytes(),
    "odd spaces": b'\r\n{ "a" : 1.10 ,"b":"\\u00e9 \xc3\xa9" }\r\n',
    "a BOM": b"\xef\xbb\xbf[]",
    "a large one": b"[" + b"0," * 1_000_000 + b"0]",
}


@pytest.mark.parametrize("name", BODIES)
def test_what_is_posted_to_the_printed_url_is_stored_byte_for_byte(stage: Stage, name: str) -> None:
    status, response = stage.post(BODIES[name])
    obj = stage.aws.client("s3").get_object(Bucket=BUCKET, Key=response["key"])

    assert (status, response["bucket"]) == (200, BUCKET)
    assert obj["Body"].read() == BODIES[name]
    assert obj["ContentType"] == "application/json"
    assert obj["Metadata"]["source"] == "sendgrid"


def test_every_byte_value_is_stored(stage: Stage) -> None:
    body = bytes(range(256))
    status, response = stage.post(body, app="shop", kind="application/octet-stream")

    assert status == 200
    assert stage.archived()[response["key"]] == body


def test_a_body_above_the_limit_is_refused(stage: Stage) -> None:
    status, response = stage.post(b'"%s"' % (b"x" * MAX_BODY))

    assert status == 413
    assert response["result"] == "fail"


def test_without_the_token_nothing_is_stored(stage: Stage) -> None:
    before = stage.archived().keys()
    responses = [stage.post(b"[1]", token) for token in ("wrong", "%20", f"{stage.token}x")]

    assert responses == [(403, INVALID_TOKEN.body)] * 3
    assert stage.archived().keys() == before


def test_without_a_signature_and_at_a_path_that_there_is_not_the_words_are_ours(
    stage: Stage,
) -> None:
    [url] = set(re.findall(r"https://\S+/api/input", stage.printed))
    unsigned = stage.aws.curl(f"{url.replace('/input', '/iam/input')}?app=shop", "-d", "{}")
    nowhere = stage.aws.curl(url.replace("/input", "/nowhere"))

    assert (unsigned[0], nowhere[0]) == (403, 403)
    assert json.loads(nowhere[1])["result"] == "fail"


def test_the_canary_is_stored_and_read_back(stage: Stage) -> None:
    printed = stage.run("doctor", "--stage", "dev", "--canary")

    assert printed.count("read back byte for byte") == 2
    assert re.search(r"^\d+ checks: 0 failed, ", printed, re.MULTILINE)


def test_the_bucket_takes_no_put_that_could_overwrite(stage: Stage) -> None:
    s3 = stage.aws.client("s3", stage.shell)
    new = {"Bucket": BUCKET, "Key": "put-once/x.json", "Body": b"1"}

    with pytest.raises(ClientError, match="AccessDenied"):
        s3.put_object(**new)
    s3.put_object(**new, IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(**new | {"Body": b"2"}, IfNoneMatch="*")


def test_tokens_are_rotated_without_a_gap_and_revoked(stage: Stage) -> None:
    ours = ("--stage", "dev", "--app", "rotated")  # of an app, as the others go on with the first

    def status(token: str) -> int:
        return stage.post(b"[2]", token, "rotated")[0]

    before = stage.new_token("token", "new", *ours, "--yes")
    added = stage.new_token("token", "rotate", *ours)
    both = [status(token) for token in (before, added)]
    stage.run("token", "revoke", *ours, "--old")
    after = [status(token) for token in (before, added, stage.token)]
    stage.run(*DEPLOY)  # which puts nothing back
    redeployed = [status(token) for token in (before, added, stage.token)]

    assert both == [200, 200]
    assert after == redeployed == [403, 200, 403]
    assert stage.post(b"[2]")[0] == 200


def test_what_is_changed_behind_the_stack_is_found_and_restored(stage: Stage) -> None:
    functions = stage.aws.client("lambda")
    functions.update_function_configuration(FunctionName="hookshelf-dev", Timeout=3)

    drifted = stage.levels(status=1)["drift"]
    stage.run(*DEPLOY)

    assert drifted != "ok"
    assert set(stage.levels().values()) == {"ok"}
    assert functions.get_function_configuration(FunctionName="hookshelf-dev")["Timeout"] == 15


def test_an_update_that_fails_is_rolled_back_and_the_stage_goes_on(stage: Stage) -> None:
    stage.aws.refused.write_text("Throttles")
    to = ("--alarms-to", "ops@example.com")
    try:
        printed = stage.run(*DEPLOY, *to, status=1)
    finally:
        stage.aws.refused.unlink()

    assert "UPDATE_ROLLBACK_COMPLETE" in printed
    assert stage.post(b"[3]")[0] == 200
    stage.run(*DEPLOY, *to)
    assert stage.post(b"[4]")[0] == 200


def test_a_direct_invoke_is_stored_and_one_that_fails_raises(stage: Stage) -> None:
    name = "hookshelf-dev-deliver"
    arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{name}"
    statement = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": arn}
    invoker = stage.aws.user("invoker", {"Version": "2012-10-17", "Statement": [statement]})
    functions = stage.aws.client("lambda", invoker)

    def invoke(event: Any, kind: str = "RequestResponse") -> Any:
        payload = json.dumps(event).encode()
        return functions.invoke(FunctionName=name, InvocationType=kind, Payload=payload)

    body = bytes(range(255, -1, -1))
    done = invoke({"app": "direct", "body_base64": b64encode(body).decode()})
    failed = invoke({"nothing": "of ours"})
    later = invoke({"app": "direct", "body": {"later": True}}, "Event")
    with pytest.raises(ClientError, match="AccessDenied"):
        functions.invoke(FunctionName="hookshelf-dev", Payload=b"{}")

    assert "FunctionError" not in done
    assert stage.archived()[json.loads(done["Payload"].read())["key"]] == body
    assert failed["FunctionError"]
    assert later["StatusCode"] == 202
    eventually(lambda: b'{"later":true}' in map(squeezed, stage.archived().values()))


def squeezed(body: bytes) -> bytes:
    return body.replace(b" ", b"")


def test_an_asynchronous_invoke_that_keeps_failing_ends_in_the_dead_letter_queue(
    stage: Stage,
) -> None:
    stage.aws.client("lambda").invoke(
        FunctionName="hookshelf-dev-deliver", InvocationType="Event", Payload=b'{"nobody": "s"}'
    )
    sqs = stage.aws.client("sqs")
    [queue] = [url for url in sqs.list_queues()["QueueUrls"] if "DeliverDeadLetters" in url]

    [letter] = eventually(lambda: sqs.receive_message(QueueUrl=queue).get("Messages"))
    assert "nobody" in letter["Body"]


def test_a_watched_bucket_tells_the_collector_and_no_longer_once_it_is_off(stage: Stage) -> None:
    uploads = f"arn:aws:s3:::{UPLOADS}"
    tracker = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:hookshelf-dev-track_s3"
    statements = [  # what docs/snowplow.md says that this needs
        {
            "Effect": "Allow",
            "Action": ["s3:GetBucketNotification", "s3:PutBucketNotification"],
            "Resource": uploads,
        },
        {
            "Effect": "Allow",
            "Action": [
                *("lambda:GetFunctionConfiguration", "lambda:GetPolicy"),
                *("lambda:AddPermission", "lambda:RemovePermission"),
            ],
            "Resource": tracker,
        },
    ]
    watcher = stage.aws.user("watcher", {"Version": "2012-10-17", "Statement": statements})
    s3 = stage.aws.client("s3")
    s3.create_bucket(Bucket=UPLOADS)
    stage.aws.hookshelf(stage.project, watcher, "watch", UPLOADS, "--stage", "dev")
    s3.put_object(Bucket=UPLOADS, Key="a flower.csv", Body=b"1")
    [sent] = eventually(lambda: list(Collector.received))
    stage.aws.hookshelf(stage.project, watcher, "watch", UPLOADS, "--stage", "dev", "--off")

    [event] = sent["data"]
    assert event["e"] == "ue"
    assert s3.get_bucket_notification_configuration(Bucket=UPLOADS).keys() == {"ResponseMetadata"}


def test_the_compactor_runs_by_what_its_rule_says_and_events_are_found(stage: Stage) -> None:
    """Of the day before yesterday, as whatever came today is not settled."""
    aws = stage.aws
    until = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    traffic = Traffic(events=600, until=until - timedelta(days=1), days=1, recipients=40)
    s3, events = aws.client("s3"), []
    for delivery in traffic.deliveries():
        obj = to_object(delivery, source_named("sendgrid"), verdict="unchecked")
        s3.put_object(
            Bucket=BUCKET, Key=obj.key, Body=obj.body, ContentType=obj.content_type,
            Metadata=obj.metadata, IfNoneMatch="*",
        )  # fmt: skip
        events += json.loads(delivery.body)
    [rule] = [
        rule["Name"]
        for rule in aws.client("events").list_rules()["Rules"]
        if "CompactorNightly" in rule["Name"]
    ]
    [target] = aws.client("events").list_targets_by_rule(Rule=rule)["Targets"]
    done = aws.client("lambda").invoke(FunctionName=target["Arn"], Payload=target["Input"].encode())
    result = json.loads(done["Payload"].read())
    assert "FunctionError" not in done, result
    assert result["finished"]
    address = events[0]["email"]
    lines = aws.hookshelf(
        stage.project, stage.shell, "find", address, "--stage", "dev", "--app", "sendgrid", "--json"
    ).stdout  # fmt: skip
    files = s3.list_objects_v2(Bucket=BUCKET, Prefix="layer=events/app=sendgrid/")["Contents"]

    day = f"{until - timedelta(days=2):%Y-%m-%d}"  # other tests' days and hours may be there too
    # … and a month that has ended is one file.
    names = {Path(file["Key"]).name for file in files}
    assert names & {f"{day}.parquet", f"{day[:7]}.parquet"}
    assert {json.loads(line)["id"] for line in lines.splitlines()} >= {
        event["sg_event_id"] for event in events if event["email"] == address
    }


def test_a_first_deploy_that_fails_is_rolled_back_ends_when_it_is_run_again_and_is_destroyed(
    stage: Stage,
) -> None:
    words = ("deploy", "--stage", "prod", "--yes", "--bucket", BUCKET)
    stage.aws.refused.write_text("ServerErrors")
    try:
        failed = stage.run(*words, status=1)
    finally:
        stage.aws.refused.unlink()
    printed = stage.run(*words)
    token = shown_token(printed if "shown only now" in printed else failed)
    prod = Stage(stage.aws, stage.project, stage.shell, printed)
    status, response = prod.post(b'["prod"]', token)
    stage.run("destroy", "--stage", "prod", "--yes")
    gone = stage.run("doctor", "--stage", "prod", status=None)

    assert "ROLLBACK_COMPLETE" in failed
    assert (status, response["result"]) == (200, "success")
    assert stage.archived()[response["key"]] == b'["prod"]'
    assert "not deployed" in gone
    names = [
        each["FunctionName"] for each in stage.aws.client("lambda").list_functions()["Functions"]
    ]
    assert [name for name in names if "prod" in name] == []
    assert stage.post(b"[5]")[0] == 200  # the other stage is as it was


def test_no_token_is_in_any_log(stage: Stage) -> None:
    logs = stage.aws.client("logs")
    lines = [
        event["message"]
        for group in logs.describe_log_groups()["logGroups"]
        for event in logs.filter_log_events(logGroupName=group["logGroupName"])["events"]
    ]

    assert any('"status"' in line for line in lines)
    assert [line for line in lines if stage.token in line] == []
