"""Checks of the API: its one stage, the tokens in it, and what it does before we are asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from chalicelib import tokens
from hookshelf import settings
from hookshelf.deploy.deployment import API_STAGE
from hookshelf.deploy.stage_variables import CLOSED, Member, members, token_variables
from hookshelf.deploy.template import ACCESS_LOG_FORMAT, BURST, RATE
from hookshelf.doctor.facts import Facts
from hookshelf.doctor.findings import Said, check, failure, ok, warning

SHORTEST = 22  # characters: 128 bits in base64
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


@check(
    "stage-variable",
    good="The stage has a token, and so has every app with tokens of its own.",
    why="Without a usable token the door answers 503 to everybody it is for.",
)
def stage_variable(facts: Facts) -> Iterator[Said]:
    """The door lets in somebody, for the stage and for each app with a variable of its own."""
    stage, own = facts.deployment.stage, tokens.variable_name(None)
    variables = facts.variables
    if not _usable(variables.get(own, "")):
        state = "has no usable token" if own in variables else "is not set"
        yield failure(f"The stage variable {own} {state}.", f"hookshelf token new --stage {stage}")
    for name, app in token_variables(variables).items():
        if app and variables[name] == CLOSED:
            what = f"App {app} is closed: its tokens were revoked, and it answers 503."
            yield warning(what, f"hookshelf token new --stage {stage} --app {app}")
        elif app and not _usable(variables[name]):
            what = f"App {app} answers 503: the stage variable {name} has no usable token."
            yield failure(what, f"hookshelf token new --stage {stage} --app {app}")


@check(
    "token-strength",
    good="Every token is kept as its SHA-256.",
    why="Whoever may look at the API reads its variables, and a short token can be guessed.",
)
def token_strength(facts: Facts) -> Iterator[Said]:
    """Tokens are hashed, long, nobody else's, and each member of a list counts."""
    for name, app in token_variables(facts.variables).items():
        found = members(facts.variables[name])
        whose = f"--stage {facts.deployment.stage}" + (f" --app {app}" if app else "")
        revoke = f"once senders use the new one: hookshelf token revoke --old {whose}"
        mend = f"hookshelf token rotate {whose}  # and {revoke}"
        for is_bad, say, what in (
            (_is_weak, failure, f"holds a plain token of fewer than {SHORTEST} characters"),
            (_is_published, failure, "holds the token for trying out, which is in the source"),
            (_is_plain, warning, "holds a token in plain text"),
        ):
            if any(map(is_bad, found)):
                yield say(f"The stage variable {name} {what}.", mend)
                break
        useless = [one.fingerprint for one in found if not one.usable]
        if useless and len(useless) < len(found):
            what = f"The stage variable {name} has a member that lets in nobody."
            yield warning(what, f"hookshelf token revoke {' '.join(useless)} {whose}")


@check(
    "token-name",
    good="Every variable for tokens is that of an app.",
    why="A variable that is no app's does nothing: the stage's tokens count for the app it is for.",
)
def token_name(facts: Facts) -> Iterator[Said]:
    """No variable looks like tokens of an app and is not."""
    known = token_variables(facts.variables)
    for name in sorted(facts.variables):
        if name.lower().startswith("validtoken") and name not in known:
            what = f"The stage variable {name} is no app's: write - as __, and keep its case."
            yield warning(what, _update_stage(facts, f"op=remove,path=/variables/{name}"))


@check(
    "one-stage",
    good=f"The API has one stage, {API_STAGE}.",
    why="Another stage is another public URL, without these tokens and limits.",
)
def one_stage(facts: Facts) -> Iterator[Said]:
    """There is the stage `api`, and no other."""
    if API_STAGE not in facts.stages:
        yield failure(f"The API has no stage {API_STAGE}.", facts.redeploy)
    for name in sorted(facts.stages.keys() - {API_STAGE}):
        api = facts.deployment.api
        mend = f"aws apigateway delete-stage --rest-api-id {api} --stage-name {name}"
        yield failure(f"The API has one stage more: {name}.", mend)


@check(
    "binary-types",
    good="The API hands over every body byte for byte.",
    why="Otherwise bodies are decoded as text on the way, and bytes change.",
)
def binary_types(facts: Facts) -> Iterator[Said]:
    """API Gateway treats every body as bytes."""
    if "*/*" not in facts.api.get("binaryMediaTypes", ()):
        change = "--patch-operations 'op=add,path=/binaryMediaTypes/*~1*'"
        what = "The binary media types of the API lack */*."
        yield failure(what, _update_api(facts, change))


@check(
    "compression",
    good="The API does not compress answers.",
    why="With a minimum compression size API Gateway changes encodings by rules of its own, "
    "and Chalice's deployments break.",
)
def compression(facts: Facts) -> Iterator[Said]:
    """minimumCompressionSize is unset."""
    size = facts.api.get("minimumCompressionSize")
    if size is not None:
        unset = "--patch-operations op=replace,path=/minimumCompressionSize"
        what = f"The minimum compression size of the API is {size}."
        yield failure(what, _update_api(facts, unset))


@check(
    "execution-logs",
    good="The API writes no execution log.",
    why="Execution logs print query strings, and so tokens.",
)
def execution_logs(facts: Facts) -> Iterator[Said]:
    """Execution logging and data trace are off for every method."""
    for method, found in sorted((facts.api_stage.get("methodSettings") or {}).items()):
        path = f"op=replace,path=/{method}/logging"
        if found.get("loggingLevel", "OFF") != "OFF":
            what = f"Execution logging of {method} is {found['loggingLevel']}."
            yield failure(what, _update_stage(facts, f"{path}/loglevel,value=OFF"))
        if found.get("dataTraceEnabled"):
            mend = _update_stage(facts, f"{path}/dataTrace,value=false")
            yield failure(f"Data trace of {method} is on: whole requests are logged.", mend)


@check(
    "access-log",
    good="The access log holds no token.",
    why="Whoever reads the log could deliver.",
)
def access_log(facts: Facts) -> Iterator[Said]:
    """Every variable of the access log's format is one that holds nothing of the sender's."""
    log = facts.api_stage.get("accessLogSettings") or {}
    if not log.get("format"):
        yield ok("There is no access log.")
        return
    if leaks := leaking(log["format"]):
        what = f"The access log writes {', '.join(leaks)}, which may hold a token or a body."
        patch = {"op": "replace", "path": "/accessLogSettings/format"}
        yield failure(
            what, _update_stage(facts, json.dumps([patch | {"value": ACCESS_LOG_FORMAT}]))
        )


@check(
    "throttling",
    good="The stage has a limit of requests.",
    why="Without one, anybody with the URL can use up the account's limit, and its money.",
)
def throttling(facts: Facts) -> Iterator[Said]:
    """The stage has a rate limit of its own."""
    found = (facts.api_stage.get("methodSettings") or {}).get("*/*", {})
    # -1 is none; 10,000 is the account's, which API Gateway puts in where none was given.
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
    if not 0 < found.get("throttlingRateLimit", 0) < 10_000:
        limits = [
            f"op=replace,path=/*/*/throttling/{limit}"
            for limit in (f"rateLimit,value={RATE}", f"burstLimit,value={BURST}")
        ]
        yield warning("The stage has no limit of requests.", _update_stage(facts, *limits))


@check(
    "throttled-answer",
    good="Who sends too much hears 503, and tries again.",
    why="API Gateway itself answers 429, at which some senders drop a delivery for good.",
)
def throttled_answer(facts: Facts) -> Iterator[Said]:
    """The gateway response THROTTLED is a 503."""
    if facts.gateway_response("THROTTLED").get("statusCode") != "503":
        change = "--response-type THROTTLED --status-code 503"
        mend = _update_api(facts, change, by="put-gateway-response")
        yield warning("Who sends too much hears 429.", mend)


def leaking(log_format: str) -> list[str]:
    """The variables of an access log's format that are not known to be harmless."""
    found = dict.fromkeys(_VARIABLE.findall(log_format))
    return [
        f"${name}"
        for name in found
        if not (name.startswith("context.") and HARMLESS.fullmatch(name[8:].rstrip(".-")))
    ]


def _usable(value: str) -> bool:
    return any(one.usable for one in members(value))


def _is_plain(member: Member) -> bool:
    return member.kind == "plain"


def _is_weak(member: Member) -> bool:
    return _is_plain(member) and len(member.text) < SHORTEST


def _is_published(member: Member) -> bool:
    token = settings.stage_environment(settings.LOCAL_STAGE).get("STAGE_VAR_validToken", "")
    return bool(token) and member.digest == tokens.digest(token).hex()


def _update_api(facts: Facts, change: str, by: str = "update-rest-api") -> str:
    """What changes the API counts from the next deployment of it."""
    api = f"--rest-api-id {facts.deployment.api}"
    deploy = f"create-deployment {api} --stage-name {API_STAGE}"
    return f"aws apigateway {by} {api} {change}; aws apigateway {deploy}"


def _update_stage(facts: Facts, *operations: str) -> str:
    return (
        f"aws apigateway update-stage --rest-api-id {facts.deployment.api} "
        f"--stage-name {API_STAGE} --patch-operations {_quoted(operations)}"
    )


def _quoted(operations: Sequence[str]) -> str:
    return " ".join(f"'{operation}'" for operation in operations)  # a shell would expand the stars
