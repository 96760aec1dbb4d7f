"""What a check is given: the stage, its tokens, the bucket, AWS, and time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any, TypeVar

import boto3
from botocore.exceptions import ClientError

from chalicelib.errors import HookshelfError
from chalicelib.routes import input_url
from chalicelib.tokens import variable_name
from chalicelib.types import Json
from hookshelf import web
from hookshelf.aws import Account
from hookshelf.deploy import stage_variables
from hookshelf.deploy.deployment import API_STAGE, Deployment, stack_name
from hookshelf.web import HttpRequest, HttpResponse, Unreachable, unusual_json

SMOKE_APP = "smoke"
PROPAGATION_TIMEOUT = 90.0  # seconds until API Gateway has a change everywhere
PROPAGATION_INTERVAL = 2.0  # seconds between two looks at whether it has
JSON = "application/json"

T = TypeVar("T")


class CommandFailed(HookshelfError):
    """What a command of ours said last before it failed."""


def run_command(words: list[str], environ: Mapping[str, str]) -> str:
    """What a program of ours prints. Raises CommandFailed."""
    python = [sys.executable, "-m", *words]
    done = subprocess.run(python, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(f"{words[1]}: {done.stderr.strip().rpartition(chr(10))[2]}")
    return done.stdout


@dataclass
class Target:
    """One stage that was made for the checks. Everything outside comes through a field."""

    deployment: Deployment
    account: Account
    bucket: str
    tokens: list[str] = field(repr=False)  # that are valid, the newest last
    redeploy: Callable[[], None]  # update the stack
    client: Callable[[str], Any] = field(default_factory=lambda: cache(boto3.client))
    send: Callable[[HttpRequest], HttpResponse] = web.send
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    command: Callable[[list[str], Mapping[str, str]], str] = run_command
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    # Every token that was ever sent, wrong ones too.
    sent: set[str] = field(default_factory=set, repr=False)
    statuses: list[int] = field(default_factory=list)  # of every response

    def post(
        self,
        body: bytes,
        *,
        token: str = "",
        content_type: str = JSON,
        accept: str | None = "*/*",
        encoding: str = "",
    ) -> HttpResponse:
        """Post to `/input`, with the newest token if no other is given. Raises Unreachable.

        `accept` None sends no such header; `encoding` is the Content-Encoding, if any.
        """
        headers = {"content-type": content_type}
        if encoding:
            headers["content-encoding"] = encoding
        url = self.input_url(SMOKE_APP, token)
        return self.request(HttpRequest("POST", url, _with_accept(headers, accept), body))

    def get(self, app: str, *, accept: str | None = "*/*", **query: str) -> HttpResponse:
        """A GET, as of a sender that wants a handshake. Raises Unreachable."""
        return self.request(
            HttpRequest("GET", self.input_url(app, **query), _with_accept({}, accept))
        )

    def request(self, request: HttpRequest) -> HttpResponse:
        """Send whatever it is. Raises Unreachable."""
        response = self.send(request)
        self.statuses.append(response.status)
        return response

    def input_url(self, app: str, token: str = "", **query: str) -> str:
        """The URL of `/input` for an app, with the newest token if no other is given."""
        token = token or self.tokens[-1]
        self.sent.add(token)
        return input_url(self.deployment.url, token=token, app=app, **query)

    def until(
        self, ask: Callable[[], T], good: Callable[[T], bool], seconds: float = PROPAGATION_TIMEOUT
    ) -> T:
        """What `ask` gives once it is good, or when the time is over."""
        end = self.clock() + seconds
        while not good(value := ask()) and self.clock() < end:
            self.sleep(PROPAGATION_INTERVAL)
        return value

    def status(self, token: str = "", wanted: int = 200) -> int:
        """The status of a small post, once it is the one wanted; 0: no response."""
        return self.until(lambda: self._status(token), lambda status: status == wanted)

    def _status(self, token: str) -> int:
        try:
            return self.post(unusual_json(SMOKE_APP), token=token).status
        except Unreachable:
            return 0

    def rotate(self) -> None:
        """Add a token to the stage's, as `hookshelf token rotate` does."""
        token, member = stage_variables.new_token()
        name = variable_name(None)
        live = stage_variables.read(self.deployment).get(name)
        stage_variables.write(self.deployment, {name: stage_variables.added(live, member)})
        self.tokens.append(token)

    def variables(self) -> dict[str, str]:
        """The stage's variables as they are."""
        return stage_variables.read(self.deployment)

    def hookshelf(self, *words: str) -> str:
        """What a command prints, run over the bucket with the operator's own rights."""
        ours = {"ARCHIVE_BUCKETS": self.bucket, "ARCHIVE_FOLDER": "", "APPS_FILE": ""}
        environ = {**os.environ, **ours}
        return self.command(["hookshelf", *words], environ)

    @property
    def stage(self) -> dict[str, str]:
        """What calls of API Gateway want to hear of the stage."""
        return {"restApiId": self.deployment.api, "stageName": API_STAGE}

    @property
    def named(self) -> dict[str, str]:
        """What every call about the bucket is given."""
        return self.account.named(self.bucket)

    def keys(self, body: bytes) -> list[str]:
        """Where the archive has a body."""
        digest = sha256(body).hexdigest()
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(**self.named)
        return [
            obj["Key"] for page in pages for obj in page.get("Contents", ()) if digest in obj["Key"]
        ]

    def has_kept(self, body: bytes, response: HttpResponse) -> bool:
        """Whether a response says that it was stored, and the object there holds these bytes."""
        if response.status != 200 or not response.text("key"):
            return False
        obj = self.client("s3").get_object(**self.named, Key=response.text("key"))
        with obj["Body"] as stream:
            return bool(stream.read() == body)

    def metadata(self, response: HttpResponse) -> dict[str, str]:
        """The user metadata of the object that a response names; empty where it names none."""
        if not response.text("key"):
            return {}
        obj = self.client("s3").head_object(**self.named, Key=response.text("key"))
        return dict(obj["Metadata"])

    def put(self, key: str, body: bytes, **conditions: Any) -> int:
        """Put an object with the operator's own rights; the status."""
        return self._status_of("put_object", Key=key, Body=body, **conditions)

    def copy(self, source: str, key: str, **conditions: str) -> int:
        """Copy an object with the operator's own rights; the status."""
        where = {"Bucket": self.bucket, "Key": source}
        return self._status_of("copy_object", Key=key, CopySource=where, **conditions)

    def _status_of(self, operation: str, **arguments: Any) -> int:
        try:
            getattr(self.client("s3"), operation)(**self.named, **arguments)
        except ClientError as error:
            return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        return 200

    def function(self, handler: str) -> Json:
        """The configuration of a function."""
        name = self.deployment.functions[handler]
        response: Json = self.client("lambda").get_function_configuration(FunctionName=name)
        return response

    def resources(self, type: str) -> dict[str, str]:
        """The stack's resources of a type: the physical id by the logical one."""
        name = stack_name(self.deployment.stage)
        response = self.client("cloudformation").describe_stack_resources(StackName=name)
        return {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for resource in response["StackResources"]
            if resource["ResourceType"] == type
        }

    def events(self, group: str, pattern: str = "") -> Iterator[str]:
        """The lines of a log group since the beginning; a pattern is CloudWatch's."""
        pages = self.client("logs").get_paginator("filter_log_events")
        since = int(self.started.timestamp() * 1000)
        wanted: Mapping[str, Any] = {"filterPattern": pattern} if pattern else {}
        for page in pages.paginate(logGroupName=group, startTime=since, **wanted):
            yield from (event["message"] for event in page["events"])


def asks_to_retry(response: HttpResponse) -> bool:
    """Whether a sender that hears this tries again, and when: 503, in JSON, with Retry-After."""
    is_readable = response.text("result") == "fail"
    return response.status == 503 and is_readable and "retry-after" in response.headers


def _with_accept(headers: dict[str, str], accept: str | None) -> dict[str, str]:
    return headers if accept is None else headers | {"accept": accept}
