"""What Lambda does when it runs our code, and when it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from statistics import median

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from chalicelib.responses import APP_NOT_ALLOWED, NO_SUCH_PATH
from chalicelib.routes import IAM_INPUT, input_url
from chalicelib.types import Json
from hookshelf.deploy.deployment import dead_letters, log_group, namespace
from hookshelf.smoke.registry import Outcome, smoke_check
from hookshelf.smoke.target import JSON, SMOKE_APP, Target, asks_to_retry
from hookshelf.web import HttpRequest, HttpResponse, unreadable, unusual_json

COLD, WARM = 5, 50  # posts
MAX_COLD_START = 3000.0  # milliseconds that a cold start may take
SIGNED_APP = "smoke-iam"  # names whoever runs this, in the apps file of resources.py
UNSIGNED_APP = "smoke-nobody"  # and this one nobody
DEAD_LETTER_TIMEOUT = (
    300.0  # seconds for a retry, which comes after one minute, and the dead letter
)
LOG_TIMEOUT = 120.0  # seconds until a line can be found


@smoke_check("obstore finds CA roots in Lambda", "stored and read back with ARCHIVE_CLIENT=obstore")
def certificates(target: Target) -> Outcome:
    """Without any its client cannot be made. With obstore forced, boto3 does not stand in."""
    client = target.function("api_handler")["Environment"]["Variables"].get("ARCHIVE_CLIENT")
    body = unusual_json(SMOKE_APP)
    response = target.post(body)
    is_kept = target.has_kept(body, response)
    seen = f"{response.status}, {'read back' if is_kept else 'NOT read back'}, client {client}"
    return Outcome(seen, is_kept and client == "obstore")


@smoke_check(
    "Cold start and warm latency",
    f"median of {COLD} cold posts below {MAX_COLD_START / 1000:g} s; of {WARM} warm ones, recorded",
)
def latency(target: Target) -> Outcome:
    """As a sender here sees it: each post makes a connection of its own, with TLS."""
    before = target.function("api_handler")["Environment"]["Variables"]
    try:
        cold = [_cold(target, before, n) for n in range(COLD)]
        warm = [_timed(target) for _ in range(WARM)]
    finally:
        _set_environment(target, before)
    statuses = sorted({status for status, _ in cold + warm})
    slow, usual = (median(took for _, took in them) for them in (cold, warm))
    seen = f"cold {slow:.0f} ms, warm {usual:.0f} ms; status {', '.join(map(str, statuses))}"
    return Outcome(seen, statuses == [200] and slow < MAX_COLD_START)


def _cold(target: Target, variables: dict[str, str], n: int) -> tuple[int, float]:
    """A post to a function that has just been changed: none of its containers is left."""
    _set_environment(target, variables | {"SMOKE_COLD": str(n)})
    return _timed(target)


def _set_environment(target: Target, variables: dict[str, str]) -> None:
    client, name = target.client("lambda"), target.deployment.functions["api_handler"]
    environment = {"Variables": variables}
    client.update_function_configuration(FunctionName=name, Environment=environment)
    client.get_waiter("function_updated_v2").wait(FunctionName=name)


def _timed(target: Target) -> tuple[int, float]:
    """Status and milliseconds of a post."""
    start = target.clock()
    response = target.post(unusual_json(SMOKE_APP))
    return response.status, (target.clock() - start) * 1000


@smoke_check(
    "The entry point with AWS_IAM",
    "unsigned 403 of API Gateway's, in the words for no such path; signed 200 for the app that "
    "names us, 403 of ours for another",
)
def signed_requests(target: Target) -> Outcome:
    """Signed by botocore, with whatever credentials this runs with."""
    unsigned = target.request(
        HttpRequest(
            "POST",
            input_url(target.deployment.url, IAM_INPUT, app=SIGNED_APP),
            _PLAIN,
            unusual_json(SMOKE_APP),
        )
    )
    body = unusual_json(SMOKE_APP)
    named, other = (_post_signed(target, app, body) for app in (SIGNED_APP, UNSIGNED_APP))
    # API Gateway takes a request that should be signed, and is not, for one to no path of its own.
    is_theirs = (unsigned.status, unsigned.json) == (403, NO_SUCH_PATH.body)
    is_ours = (other.status, other.text("reason")) == (403, APP_NOT_ALLOWED.reason)
    is_kept = target.has_kept(body, named)
    whose = "API Gateway" if is_theirs else "ANOTHER, or in other words"
    seen = (
        f"unsigned {unsigned.status} of {whose}; "
        f"named {named.status}, {'kept' if is_kept else 'NOT kept'}; not named {other.status}"
    )
    return Outcome(seen, is_theirs and is_kept and is_ours)


_PLAIN = {"content-type": JSON, "accept": "*/*"}


def _post_signed(target: Target, app: str, body: bytes) -> HttpResponse:
    url = input_url(target.deployment.url, IAM_INPUT, app=app)
    request = AWSRequest("POST", url, headers=dict(_PLAIN), data=body)
    credentials = boto3.Session().get_credentials().get_frozen_credentials()
    SigV4Auth(credentials, "execute-api", target.account.region).add_auth(request)
    return target.request(HttpRequest("POST", request.url, dict(request.headers.items()), body))


@smoke_check(
    "Lambda without room for one more run",
    "503 with Retry-After in readable JSON, with an Accept header and without",
)
def no_room(target: Target) -> Outcome:
    """The function may not run at all for the moment: what Lambda throttles is no THROTTLED.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
    """
    client, which = (
        target.client("lambda"),
        {"FunctionName": target.deployment.functions["api_handler"]},
    )
    before = client.get_function_concurrency(**which).get("ReservedConcurrentExecutions")
    client.put_function_concurrency(**which, ReservedConcurrentExecutions=0)
    try:
        with_accept, without = (
            target.until(partial(target.post, unusual_json(SMOKE_APP), accept=accept), _is_refused)
            for accept in ("*/*", None)
        )
    finally:
        if before is None:
            client.delete_function_concurrency(**which)
        else:
            client.put_function_concurrency(**which, ReservedConcurrentExecutions=before)
        target.status()  # wait until it runs again
    seen = [
        f"{response.status}, Retry-After {response.headers.get('retry-after', 'none')}"
        + (f", {fault}" if (fault := unreadable(response)) else "")
        for response in (with_accept, without)
    ]
    return Outcome("; ".join(seen), asks_to_retry(with_accept) and asks_to_retry(without))


def _is_refused(response: HttpResponse) -> bool:
    return response.status != 200


@smoke_check(
    "An asynchronous invoke that fails",
    "202; run again by Lambda, then in the dead-letter queue",
)
def dead_letter(target: Target) -> Outcome:
    """One retry instead of two, for the moment: it saves two minutes."""
    client, name = target.client("lambda"), target.deployment.functions["deliver"]
    client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1)
    try:
        invoked = client.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
        id = invoked["ResponseMetadata"]["RequestId"]
        is_dead = target.until(lambda: _is_dead(target, id), bool, DEAD_LETTER_TIMEOUT)
    finally:
        client.delete_function_event_invoke_config(FunctionName=name)
    runs = len(target.until(lambda: _runs(target, id), lambda lines: len(lines) > 1, LOG_TIMEOUT))
    seen = f"{invoked['StatusCode']}; runs: {runs}; {'' if is_dead else 'NOT '}in the queue"
    return Outcome(seen, invoked["StatusCode"] == 202 and runs > 1 and is_dead)


def _is_dead(target: Target, request_id: str) -> bool:
    """Take what is in the queue; whether the event of an invoke is among it.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    sqs = target.client("sqs")
    queue = {"QueueUrl": target.resources("AWS::SQS::Queue")[dead_letters("deliver")]}
    received = sqs.receive_message(**queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
    messages = received.get("Messages", ())
    for message in messages:
        sqs.delete_message(**queue, ReceiptHandle=message["ReceiptHandle"])
    ids = [message.get("MessageAttributes", {}).get("RequestID", {}) for message in messages]
    return any(id.get("StringValue") == request_id for id in ids)


def _runs(target: Target, request_id: str) -> list[str]:
    """Our own log lines of an invoke; a retry has the same request id."""
    group = target.resources("AWS::Logs::LogGroup")[log_group("deliver")]
    lines = target.events(group, f'"{request_id}"')
    return [line for line in lines if _json(line).get("message") == "invoke"]


@smoke_check(
    "The logs", "no token in any log group of the stage; every response counted as a metric"
)
def logs(target: Target) -> Outcome:
    """Read once the line of a last post is there, and so those before it."""
    last = target.post(unusual_json(SMOKE_APP)).text("key")
    ours = target.resources("AWS::Logs::LogGroup")
    is_there = target.until(
        lambda: _is_logged(target, ours[log_group("api_handler")], last), bool, LOG_TIMEOUT
    )
    groups = sorted({*ours.values(), *_other_groups(target)})
    lines = [line for group in groups for line in target.events(group)]
    leaks = sum(any(token in line for token in target.sent) for line in lines)
    counted = sum(_is_counted(target, line) for line in lines)
    seen = (
        f"lines: {len(lines)}, in groups: {len(groups)}, the last post "
        f"{'' if is_there else 'NOT '}among them; with a token: {leaks}; with a metric: {counted}"
    )
    if not is_there and not leaks:
        return Outcome(seen, None)  # who has not read all of it cannot say that there is none
    return Outcome(seen, not leaks and counted > 0)


def _is_logged(target: Target, group: str, key: str) -> bool:
    return any(_json(line).get("key") == key for line in target.events(group))


def _other_groups(target: Target) -> Iterator[str]:
    """Those that Lambda or API Gateway would make by themselves: there should be none."""
    name = target.deployment.functions["api_handler"]
    pages = target.client("logs").get_paginator("describe_log_groups")
    for prefix in (f"/aws/lambda/{name}", f"API-Gateway-Execution-Logs_{target.deployment.api}"):
        for page in pages.paginate(logGroupNamePrefix=prefix):
            yield from (group["logGroupName"] for group in page["logGroups"])


def _is_counted(target: Target, line: str) -> bool:
    """Whether CloudWatch can read a metric of ours from a line.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    fields = _json(line)
    metrics = fields["_aws"]["CloudWatchMetrics"] if "_aws" in fields else []
    namespaces = {metric.get("Namespace") for metric in metrics}
    return "Responses" in fields and namespace(target.deployment.stage) in namespaces


def _json(line: str) -> Json:
    try:
        fields = json.loads(line)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}
