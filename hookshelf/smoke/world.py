"""What a check is given: the door, the stage's tokens, the bucket, AWS, and time."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any, TypeVar
from urllib.parse import urlencode

import boto3
from botocore.exceptions import ClientError

from chalicelib.tokens import variable_name
from hookshelf import web
from hookshelf.aws import Account
from hookshelf.deploy import stage_variables
from hookshelf.deploy.deployment import API_STAGE, Deployment, stack_name
from hookshelf.web import Answer, Request, Unreachable

APP = "smoke"
PATIENCE = 90.0  # seconds until API Gateway has a change everywhere
PAUSE = 2.0
JSON = "application/json"

T = TypeVar("T")


@dataclass
class World:
    """One stage that was made for the checks. Everything outside comes through a field."""

    deployment: Deployment
    account: Account
    bucket: str
    tokens: list[str] = field(repr=False)  # that are valid, the newest last
    redeploy: Callable[[], None]  # update the stack
    client: Callable[[str], Any] = field(default_factory=lambda: cache(boto3.client))
    send: Callable[[Request], Answer] = web.send
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    # Every token that was ever sent, wrong ones too.
    sent: set[str] = field(default_factory=set, repr=False)

    def post(
        self,
        body: bytes,
        *,
        token: str = "",
        content_type: str = JSON,
        accept: bool = True,
    ) -> Answer:
        """Post to `/input`, with the newest token if no other is given. Raises Unreachable."""
        headers = {"content-type": content_type} | ({"accept": "*/*"} if accept else {})
        return self.send(Request("POST", self._input(APP, token), headers, body))

    def get(self, app: str, **query: str) -> Answer:
        """A GET, as of a sender that wants a handshake. Raises Unreachable."""
        return self.send(Request("GET", self._input(app, **query), {"accept": "*/*"}))

    def _input(self, app: str, token: str = "", **query: str) -> str:
        token = token or self.tokens[-1]
        self.sent.add(token)
        query = {"token": token, "app": app, **query}
        return f"{self.deployment.url}/input?{urlencode(query)}"

    def until(
        self, ask: Callable[[], T], good: Callable[[T], bool], seconds: float = PATIENCE
    ) -> T:
        """What `ask` gives once it is good, or when patience is at its end."""
        end = self.clock() + seconds
        while not good(found := ask()) and self.clock() < end:
            self.sleep(PAUSE)
        return found

    def status(self, token: str = "", wanted: int = 200) -> int:
        """The status of a small post, once it is the one wanted; 0: no answer."""
        return self.until(lambda: self._status(token), lambda status: status == wanted)

    def _status(self, token: str) -> int:
        try:
            return self.post(new_body(), token=token).status
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
            one["Key"] for page in pages for one in page.get("Contents", ()) if digest in one["Key"]
        ]

    def has_kept(self, body: bytes, answer: Answer) -> bool:
        """Whether the object that an answer names holds these bytes."""
        if answer.status != 200:
            return False
        found = self.client("s3").get_object(**self.named, Key=answer.said("key"))
        with found["Body"] as stream:
            return bool(stream.read() == body)

    def put(self, key: str, body: bytes, **conditions: str) -> int:
        """Put an object with the operator's own rights; the status."""
        try:
            self.client("s3").put_object(**self.named, Key=key, Body=body, **conditions)
        except ClientError as error:
            return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        return 200

    def function(self, handler: str) -> dict[str, Any]:
        """The configuration of a function."""
        name = self.deployment.functions[handler]
        found: dict[str, Any] = self.client("lambda").get_function_configuration(FunctionName=name)
        return found

    def resources(self, type: str) -> dict[str, str]:
        """The stack's resources of a type: the physical id by the logical one."""
        name = stack_name(self.deployment.stage)
        found = self.client("cloudformation").describe_stack_resources(StackName=name)
        return {
            one["LogicalResourceId"]: one["PhysicalResourceId"]
            for one in found["StackResources"]
            if one["ResourceType"] == type
        }

    def events(self, group: str, pattern: str = "") -> Iterator[str]:
        """The lines of a log group since the beginning; a pattern is CloudWatch's."""
        pages = self.client("logs").get_paginator("filter_log_events")
        since = int(self.started.timestamp() * 1000)
        wanted: Mapping[str, Any] = {"filterPattern": pattern} if pattern else {}
        for page in pages.paginate(logGroupName=group, startTime=since, **wanted):
            yield from (one["message"] for one in page["events"])


def new_body() -> bytes:
    """JSON that no program would write just so: whoever parses it and writes it again is caught."""
    return b'{ "smoke" : "%s", "number":1.10 }\r\n' % secrets.token_hex(16).encode()
