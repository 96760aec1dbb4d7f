"""Checks 11 to 15: what Lambda does when it runs our code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from statistics import median
from typing import Any
from urllib.parse import urlencode

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from chalicelib.responses import APP_NOT_ALLOWED as NOT_ALLOWED
from hookshelf.deploy.deployment import dead_letters, log_group, namespace
from hookshelf.smoke.registry import Seen, check
from hookshelf.smoke.world import JSON, World, new_body
from hookshelf.web import Answer, Request

COLD, WARM = 5, 50  # posts
SLOWEST = 3000.0  # milliseconds that a cold start may take
SIGNED_APP = "smoke-iam"  # names whoever runs this, in the apps file of site.py
UNSIGNED_APP = "smoke-nobody"  # and this one nobody
TO_FAIL = 300.0  # seconds for a retry, which comes after one minute, and the dead letter
TO_LOG = 120.0  # seconds until a line can be found


@check("obstore finds CA roots in Lambda", "stored and read back with ARCHIVE_CLIENT=obstore")
def certificates(world: World) -> Seen:
    """Without any its client cannot be made. With obstore forced, boto3 does not stand in."""
    client = world.function("api_handler")["Environment"]["Variables"].get("ARCHIVE_CLIENT")
    body = new_body()
    answer = world.post(body)
    is_kept = world.has_kept(body, answer)
    seen = f"{answer.status}, {'read back' if is_kept else 'NOT read back'}, client {client}"
    return Seen(seen, is_kept and client == "obstore")


@check(
    "Cold start and warm latency",
    f"median of {COLD} cold posts below {SLOWEST / 1000:g} s; of {WARM} warm ones, recorded",
)
def latency(world: World) -> Seen:
    """As a sender here sees it: each post makes a connection of its own, with TLS."""
    before = world.function("api_handler")["Environment"]["Variables"]
    try:
        cold = [_cold(world, before, n) for n in range(COLD)]
        warm = [_timed(world) for _ in range(WARM)]
    finally:
        _set_environment(world, before)
    statuses = sorted({status for status, _ in cold + warm})
    slow, usual = (median(took for _, took in them) for them in (cold, warm))
    seen = f"cold {slow:.0f} ms, warm {usual:.0f} ms; status {', '.join(map(str, statuses))}"
    return Seen(seen, statuses == [200] and slow < SLOWEST)


def _cold(world: World, variables: dict[str, str], n: int) -> tuple[int, float]:
    """A post to a function that has just been changed: none of its containers is left."""
    _set_environment(world, variables | {"SMOKE_COLD": str(n)})
    return _timed(world)


def _set_environment(world: World, variables: dict[str, str]) -> None:
    client, name = world.client("lambda"), world.deployment.functions["api_handler"]
    environment = {"Variables": variables}
    client.update_function_configuration(FunctionName=name, Environment=environment)
    client.get_waiter("function_updated_v2").wait(FunctionName=name)


def _timed(world: World) -> tuple[int, float]:
    """Status and milliseconds of a post."""
    start = world.clock()
    answer = world.post(new_body())
    return answer.status, (world.clock() - start) * 1000


@check(
    "The signed door",
    "unsigned 403 of API Gateway's; signed 200 for the app that names us, 403 of ours for another",
)
def signed_door(world: World) -> Seen:
    """Signed by botocore, with whatever credentials this runs with."""
    unsigned = world.send(Request("POST", _iam_url(world, SIGNED_APP), _PLAIN, new_body()))
    body = new_body()
    named, other = (_post_signed(world, app, body) for app in (SIGNED_APP, UNSIGNED_APP))
    is_theirs = unsigned.status == 403 and not unsigned.said("result")
    is_ours = (other.status, other.said("reason")) == (403, NOT_ALLOWED.reason)
    is_kept = world.has_kept(body, named)
    seen = (
        f"unsigned {unsigned.status} of {'API Gateway' if is_theirs else 'ANOTHER'}; "
        f"named {named.status}, {'kept' if is_kept else 'NOT kept'}; not named {other.status}"
    )
    return Seen(seen, is_theirs and is_kept and is_ours)


_PLAIN = {"content-type": JSON, "accept": "*/*"}


def _iam_url(world: World, app: str) -> str:
    return f"{world.deployment.url}/iam/input?{urlencode({'app': app})}"


def _post_signed(world: World, app: str, body: bytes) -> Answer:
    request = AWSRequest("POST", _iam_url(world, app), headers=dict(_PLAIN), data=body)
    credentials = boto3.Session().get_credentials().get_frozen_credentials()
    SigV4Auth(credentials, "execute-api", world.account.region).add_auth(request)
    return world.send(Request("POST", request.url, dict(request.headers.items()), body))


@check(
    "An asynchronous invoke that fails",
    "202; run again by Lambda, then in the dead-letter queue",
)
def dead_letter(world: World) -> Seen:
    """One retry instead of two, for the moment: it saves two minutes."""
    client, name = world.client("lambda"), world.deployment.functions["deliver"]
    client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1)
    try:
        invoked = client.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
        id = invoked["ResponseMetadata"]["RequestId"]
        is_dead = world.until(lambda: _is_dead(world, id), bool, TO_FAIL)
    finally:
        client.delete_function_event_invoke_config(FunctionName=name)
    runs = len(world.until(lambda: _runs(world, id), lambda found: len(found) > 1, TO_LOG))
    seen = f"{invoked['StatusCode']}; runs: {runs}; {'' if is_dead else 'NOT '}in the queue"
    return Seen(seen, invoked["StatusCode"] == 202 and runs > 1 and is_dead)


def _is_dead(world: World, request_id: str) -> bool:
    """Take what is in the queue; whether the event of an invoke is among it.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    sqs = world.client("sqs")
    queue = {"QueueUrl": world.resources("AWS::SQS::Queue")[dead_letters("deliver")]}
    found = sqs.receive_message(**queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"]).get(
        "Messages", ()
    )
    for one in found:
        sqs.delete_message(**queue, ReceiptHandle=one["ReceiptHandle"])
    ids = [one.get("MessageAttributes", {}).get("RequestID", {}) for one in found]
    return any(one.get("StringValue") == request_id for one in ids)


def _runs(world: World, request_id: str) -> list[str]:
    """Our own log lines of an invoke; a retry has the same request id."""
    group = world.resources("AWS::Logs::LogGroup")[log_group("deliver")]
    lines = world.events(group, f'"{request_id}"')
    return [line for line in lines if _json(line).get("message") == "invoke"]


@check("The logs", "no token in any log group of the stage; every answer counted as a metric")
def logs(world: World) -> Seen:
    """Read once the line of a last post is there, and so those before it."""
    last = world.post(new_body()).said("key")
    ours = world.resources("AWS::Logs::LogGroup")
    is_there = world.until(
        lambda: _is_logged(world, ours[log_group("api_handler")], last), bool, TO_LOG
    )
    groups = sorted({*ours.values(), *_other_groups(world)})
    lines = [line for group in groups for line in world.events(group)]
    leaks = sum(any(token in line for token in world.sent) for line in lines)
    counted = sum(_is_counted(world, line) for line in lines)
    seen = (
        f"lines: {len(lines)}, in groups: {len(groups)}, the last post "
        f"{'' if is_there else 'NOT '}among them; with a token: {leaks}; with a metric: {counted}"
    )
    if not is_there and not leaks:
        return Seen(seen, None)  # who has not read all of it cannot say that there is none
    return Seen(seen, not leaks and counted > 0)


def _is_logged(world: World, group: str, key: str) -> bool:
    return any(_json(line).get("key") == key for line in world.events(group))


def _other_groups(world: World) -> Iterator[str]:
    """Those that Lambda or API Gateway would make by themselves: there should be none."""
    name = world.deployment.functions["api_handler"]
    pages = world.client("logs").get_paginator("describe_log_groups")
    for prefix in (f"/aws/lambda/{name}", f"API-Gateway-Execution-Logs_{world.deployment.api}"):
        for page in pages.paginate(logGroupNamePrefix=prefix):
            yield from (one["logGroupName"] for one in page["logGroups"])


def _is_counted(world: World, line: str) -> bool:
    """Whether CloudWatch can read a metric of ours from a line.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    said = _json(line)
    metrics = said["_aws"]["CloudWatchMetrics"] if "_aws" in said else []
    spaces = {one.get("Namespace") for one in metrics}
    return "Responses" in said and namespace(world.deployment.stage) in spaces


def _json(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
