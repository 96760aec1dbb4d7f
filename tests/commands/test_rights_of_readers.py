"""Every command that reads: with a profile's credentials and region, and with no more rights than
`hookshelf policy` prints."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.archives import delivered, put
from support.guarded_s3 import GuardedS3, guarded_s3
from support.policies import allows
from support.project import PROJECT

from hookshelf import Archive
from hookshelf.__main__ import main

# The time is that of the clock, as commands look at it; both days have ended.
pytestmark = pytest.mark.slow  # a stage on a server of AWS's, for each

DAYS = [datetime.now(UTC) - timedelta(days=ago) for ago in (5, 3)]
EVENT = [{"email": "jane@example.com", "event": "open", "timestamp": 1, "sg_event_id": "e1"}]
OBJECTS = [delivered(EVENT, day) for day in DAYS]
KEY = OBJECTS[0].key
HASH = OBJECTS[0].key.rpartition("-")[2][:12]
READERS = [
    ["count", "--by", "day"],
    ["export", "--format", "ndjson"],
    ["find", "jane@example.com"],
    ["find", "--id", "e1"],
    ["manifest"],
    ["prove", HASH, "--out", "case.zip"],
    ["pull", "laptop"],
    ["refused"],
    ["show", HASH],
    ["sql", "select count(*) from events"],
    ["status"],
    ["tail"],
    ["verify", "--since", "30d"],
]
NOT_IN_ORDER = {"prove"}  # nobody signed what is there


@pytest.fixture
def bucket(s3_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Two days, of which one is compacted; and a shell with no credentials but a profile's."""
    put(s3_environ, *OBJECTS)
    list(Archive(environ=s3_environ).compact(until=DAYS[0] + timedelta(days=1)))
    config = tmp_path / "config"
    config.write_text(
        "[profile team]\nregion = eu-north-1\n"
        "aws_access_key_id = AKIDTEAM\naws_secret_access_key = secret\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "team")
    monkeypatch.chdir(tmp_path)
    return s3_environ["ARCHIVE_BUCKETS"]


def policy(purpose: str, bucket: str) -> dict[str, object]:
    printed = CliRunner().invoke(main, ["policy", "--for", purpose, "--bucket", bucket])
    document: dict[str, object] = json.loads(printed.stdout)
    return document


def run(s3: GuardedS3, bucket: str, *arguments: str) -> Result:
    environ = {"AWS_ENDPOINT_URL_S3": s3.endpoint, "ARCHIVE_BUCKETS": bucket}
    return CliRunner(env=environ).invoke(main, [*arguments])


@pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])
def test_who_may_read_reads_with_the_keys_and_the_region_of_a_profile(
    bucket: str, command: list[str]
) -> None:
    with guarded_s3(policy("read", bucket)) as s3:
        done = run(s3, bucket, *command)

    assert done.exit_code == (command[0] in NOT_IN_ORDER), (done.output, done.exception)
    assert s3.refused == []
    assert s3.allowed
    assert s3.signed_by == {("AKIDTEAM", "eu-north-1")}


def test_who_may_read_cannot_compact_and_who_may_compact_can(bucket: str) -> None:
    with guarded_s3(policy("read", bucket)) as s3:
        refused = run(s3, bucket, "compact")
    with guarded_s3(policy("compact", bucket)) as may:
        done = run(may, bucket, "compact")

    assert refused.exit_code == 1
    assert {action for action, _ in s3.refused} == {"s3:PutObject"}
    assert done.exit_code == 0, done.output
    assert may.refused == []
    assert may.signed_by == {("AKIDTEAM", "eu-north-1")}


def test_who_may_erase_erases_and_may_not_put_deliveries(bucket: str) -> None:
    line = ["erase", "jane@example.com", "--reason", "asked", "--yes"]
    with guarded_s3(policy("compact", bucket)) as s3:
        refused = run(s3, bucket, *line)
    with guarded_s3(policy("erase", bucket)) as may:
        done = run(may, bucket, *line)

    assert refused.exit_code == 1
    assert {action for action, _ in s3.refused} == {"s3:ListBucketVersions"}
    assert done.exit_code == 0, done.output
    assert may.refused == []
    assert not allows(policy("erase", bucket), "s3:PutObject", f"arn:aws:s3:::{bucket}/{KEY}")


@pytest.mark.parametrize("purpose", ["readmit", "adopt"])
def test_who_may_adopt_or_readmit_does(bucket: str, purpose: str, tmp_path: Path) -> None:
    (tmp_path / "pile").mkdir()
    (tmp_path / "pile" / "sendgrid_1763000000000.json").write_text("[]")
    with guarded_s3(policy("compact", bucket)) as s3:
        refused = run(s3, bucket, "adopt", "pile", "--app", "sendgrid")
    with guarded_s3(policy(purpose, bucket)) as may:
        done = run(may, bucket, "adopt", "pile", "--app", "sendgrid")

    assert (refused.exit_code, s3.refused != []) == (1, True)
    assert done.exit_code == 0, done.output
    assert may.refused == []


@contextmanager
def sso_portal() -> Iterator[str]:
    """Hands out a role's credentials to whoever has the token of a login.

    https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_GetRoleCredentials.html
    """

    class Portal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_login = self.headers["x-amz-sso_bearer_token"] == "a-login"
            credentials = {
                "accessKeyId": "ASIASSO",
                "secretAccessKey": "secret",
                "sessionToken": "token",
                "expiration": int((datetime.now(UTC) + timedelta(days=1)).timestamp() * 1000),
            }
            body = json.dumps({"roleCredentials": credentials}).encode()
            self.send_response(200 if is_login else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_login_by_sso_will_do(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start = "https://team.awsapps.example/start"
    (tmp_path / "config").write_text(
        f"[profile team]\nregion = eu-west-3\nsso_start_url = {start}\nsso_region = eu-west-1\n"
        "sso_account_id = 123456789012\nsso_role_name = Reader\n"
    )
    cache = tmp_path / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    (cache / f"{sha1(start.encode(), usedforsecurity=False).hexdigest()}.json").write_text(
        json.dumps({"accessToken": "a-login", "expiresAt": "2999-01-01T00:00:00Z"})
    )
    with sso_portal() as portal, guarded_s3(policy("read", bucket)) as s3:
        environ = {
            **os.environ,
            "HOME": str(tmp_path),
            "AWS_ENDPOINT_URL_SSO": portal,
            "AWS_ENDPOINT_URL_S3": s3.endpoint,
            "ARCHIVE_BUCKETS": bucket,
        }
        # A process of its own: botocore looks for HOME as it is imported.
        command = [sys.executable, "-m", "hookshelf", "find", "jane@example.com"]
        done = subprocess.run(command, env=environ, cwd=PROJECT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert s3.signed_by == {("ASIASSO", "eu-west-3")}


def test_keys_in_the_environment_leave_the_region_to_the_configuration(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[default]\nregion = ap-south-1\n")
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDSHELL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with guarded_s3(policy("read", bucket)) as s3:
        done = run(s3, bucket, "count")

    assert done.exit_code == 0, done.output
    assert s3.signed_by == {("AKIDSHELL", "ap-south-1")}
