"""The API: its one stage, and what API Gateway does before our code is asked."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator

from chalicelib.responses import RETRY_AFTER, unavailable
from hookshelf.deploy.deployment import API_STAGE
from hookshelf.deploy.template import ACCESS_LOG_FORMAT, BURST, RATE
from hookshelf.doctor.findings import Result, failure, ok, warning
from hookshelf.doctor.fixes import update_api, update_stage
from hookshelf.doctor.live_stage import LiveStage
from hookshelf.doctor.registry import doctor_check

# The variables of access logs that hold nothing a sender put into its query, headers or body.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html
HARMLESS = re.compile(
    r"(?:accountId|apiId|awsEndpointRequestId2?|customDomain\.basePathMatched|deploymentId"
    r"|domainName|domainPrefix|error\.(?:message|messageString|responseType)|extendedRequestId"
    r"|httpMethod|identity\.(?:accountId|apiKeyId|caller|principalOrgId|sourceIp|user|userAgent"
    r"|userArn|vpcId|vpceId)|integration\.(?:error|integrationStatus|latency|requestId|status)"
    r"|integrationErrorMessage|integrationLatency|integrationStatus|path|protocol|requestId"
    r"|requestTime|requestTimeEpoch|resourceId|resourcePath|responseLatency|responseLength|stage"
    r"|status|tlsVersion|cipherSuite|waf\.(?:error|latency|status)|wafResponseCode|webaclArn"
    r"|xrayTraceId|(?:authorize|authenticate)\.(?:error|latency|status))"
)
_VARIABLE = re.compile(r"\$\{?([A-Za-z][\w.-]*)")
# Who hears what of API Gateway where nobody set it: at 429 some senders drop a delivery for good,
# and where Lambda throttles, which is no THROTTLED, it is a 500 without Retry-After.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-responses-types.html
GATEWAY_RESPONSES = {
    "THROTTLED": ("Who sends too much", 429),
    "QUOTA_EXCEEDED": ("Who is over a quota", 429),
    "DEFAULT_5XX": ("Who is sent away because Lambda has no room", 500),
}
UNAVAILABLE = str(unavailable("").status)  # as API Gateway writes a status
RETRY_AFTER_PARAMETER = "gatewayresponse.header.Retry-After"


@doctor_check(
    "one-stage",
    good=f"The API has one stage, {API_STAGE}.",
    why="Another stage is another public URL, without these tokens and limits.",
)
def one_stage(stage: LiveStage) -> Iterator[Result]:
    """There is the stage `api`, and no other."""
    if API_STAGE not in stage.api_stages:
        yield failure(f"The API has no stage {API_STAGE}.", stage.redeploy)
    for name in sorted(stage.api_stages.keys() - {API_STAGE}):
        which = f"--rest-api-id {stage.deployment.api} --stage-name {name}"
        yield failure(
            f"The API has one stage more: {name}.", f"aws apigateway delete-stage {which}"
        )


@doctor_check(
    "binary-types",
    good="The API hands over every body byte for byte.",
    why="Otherwise bodies are decoded as text on the way, and bytes change.",
)
def binary_types(stage: LiveStage) -> Iterator[Result]:
    """API Gateway treats every body as bytes."""
    if "*/*" not in stage.api.get("binaryMediaTypes", ()):
        change = "--patch-operations 'op=add,path=/binaryMediaTypes/*~1*'"
        yield failure("The binary media types of the API lack */*.", update_api(stage, change))


@doctor_check(
    "compression",
    good="The API does not compress responses.",
    why="With a minimum compression size API Gateway changes encodings by rules of its own, "
    "and Chalice's deployments break.",
)
def compression(stage: LiveStage) -> Iterator[Result]:
    """minimumCompressionSize is unset."""
    size = stage.api.get("minimumCompressionSize")
    if size is not None:
        unset = "--patch-operations op=replace,path=/minimumCompressionSize"
        what = f"The minimum compression size of the API is {size}."
        yield failure(what, update_api(stage, unset))


@doctor_check(
    "execution-logs",
    good="The API writes no execution log.",
    why="Execution logs print query strings, and so tokens.",
)
def execution_logs(stage: LiveStage) -> Iterator[Result]:
    """Execution logging and data trace are off for every method."""
    for method, setting in sorted((stage.api_stage.get("methodSettings") or {}).items()):
        path = f"op=replace,path=/{method}/logging"
        if setting.get("loggingLevel", "OFF") != "OFF":
            what = f"Execution logging of {method} is {setting['loggingLevel']}."
            yield failure(what, update_stage(stage, f"{path}/loglevel,value=OFF"))
        if setting.get("dataTraceEnabled"):
            what = f"Data trace of {method} is on: whole requests are logged."
            yield failure(what, update_stage(stage, f"{path}/dataTrace,value=false"))


@doctor_check(
    "access-log",
    good="The access log holds no token.",
    why="Whoever reads the log could deliver.",
)
def access_log(stage: LiveStage) -> Iterator[Result]:
    """Every variable of the access log's format is one that holds nothing of the sender's."""
    log = stage.api_stage.get("accessLogSettings") or {}
    if not log.get("format"):
        yield ok("There is no access log.")
    elif leaks := leaking_variables(log["format"]):
        what = f"The access log writes {', '.join(leaks)}, which may hold a token or a body."
        patch = {"op": "replace", "path": "/accessLogSettings/format", "value": ACCESS_LOG_FORMAT}
        yield failure(what, update_stage(stage, json.dumps([patch])))


@doctor_check(
    "throttling",
    good="The stage has a limit of requests.",
    why="Without one, anybody with the URL can use up the account's limit, and its money.",
)
def throttling(stage: LiveStage) -> Iterator[Result]:
    """The stage has a rate limit of its own."""
    setting = (stage.api_stage.get("methodSettings") or {}).get("*/*", {})
    # -1 is none; 10,000 is the account's, which API Gateway puts in where none was given.
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
    if not 0 < setting.get("throttlingRateLimit", 0) < 10_000:
        limits = [
            f"op=replace,path=/*/*/throttling/{limit}"
            for limit in (f"rateLimit,value={RATE}", f"burstLimit,value={BURST}")
        ]
        yield warning("The stage has no limit of requests.", update_stage(stage, *limits))


@doctor_check(
    "gateway-responses",
    good=f"Who is sent away by API Gateway or Lambda hears {UNAVAILABLE}, and tries again.",
    why="At 429 some senders drop a delivery for good, and at a bare 500 some try again at once.",
)
def own_responses(stage: LiveStage) -> Iterator[Result]:
    """What API Gateway says instead of us has status and Retry-After, as when we say it."""
    for kind, (who, usual_status) in GATEWAY_RESPONSES.items():
        response = stage.gateway_response(kind)
        status = response.get("statusCode", str(usual_status))
        says_when = RETRY_AFTER_PARAMETER in response.get("responseParameters", {})
        if status != UNAVAILABLE or not says_when:
            heard = status if says_when else f"{status} without Retry-After"
            parameters = json.dumps({RETRY_AFTER_PARAMETER: f"'{RETRY_AFTER}'"})
            change = (
                f"--response-type {kind} --status-code {UNAVAILABLE} "
                f"--response-parameters {shlex.quote(parameters)}"
            )
            yield warning(
                f"{who} hears {heard}.", update_api(stage, change, "put-gateway-response")
            )


def leaking_variables(log_format: str) -> list[str]:
    """The variables of an access log's format that are not known to be harmless."""
    variables = dict.fromkeys(_VARIABLE.findall(log_format))
    return [
        f"${name}"
        for name in variables
        if not (name.startswith("context.") and HARMLESS.fullmatch(name[8:].rstrip(".-")))
    ]
