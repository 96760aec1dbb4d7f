"""Our part of a stage's CloudFormation template: what Chalice has no setting for.

Chalice merges it into what it packages: objects deep, ours winning, lists replaced whole. One API
stage with its variables and throttling, responses of API Gateway's own that make senders try again,
logs without query strings, dead letters, alarms. All plain values; nothing here asks AWS.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chalicelib import tokens
from chalicelib.responses import NO_SUCH_PATH, RETRY_AFTER
from chalicelib.types import Json
from hookshelf.deploy.alarms import alarms
from hookshelf.deploy.deployment import (
    ASYNCHRONOUS,
    HANDLERS,
    dead_letters,
    function_name,
    log_group,
    namespace,
    stack_name,
)
from hookshelf.deploy.stack import METADATA
from hookshelf.deploy.stage_variables import MAX_VALUE_LENGTH

KEPT_LOGS = 30  # days
KEPT_DEAD_LETTERS = 14 * 24 * 3600  # seconds, the longest SQS has
RATE, BURST = 50, 100  # requests a second, and at once
STAGE_RESOURCE = "RestAPIapiStage"  # what the SAM transform calls the API's one stage
# No variable of these holds the query string, and so no token. The path has none in it.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html
ACCESS_LOG = {
    "id": "$context.requestId",
    "time": "$context.requestTimeEpoch",
    "method": "$context.httpMethod",
    "path": "$context.resourcePath",
    "status": "$context.status",
    "ip": "$context.identity.sourceIp",
    "arn": "$context.identity.userArn",
    "bytes": "$context.responseLength",
    "milliseconds": "$context.responseLatency",
    "lambda": "$context.integration.status",
    "error": "$context.error.responseType",
}
ACCESS_LOG_FORMAT = json.dumps(ACCESS_LOG, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Options:
    """What a stage is deployed with, beside its settings and the code."""

    stage: str
    usual_gaps: Mapping[str, float] = field(default_factory=dict)  # app: seconds
    alarms_to: str = ""  # an e-mail address or an SNS topic's ARN
    access_logs: bool = True
    reserved: int = 0  # concurrent runs of api_handler; 0: whatever the account has left
    compactor: bool = True


def merge_template(options: Options) -> Json:
    """The merge template of a stage."""
    return {
        "Description": f"hookshelf, stage {options.stage}: webhooks into S3",
        "Resources": {
            "RestAPI": {"Properties": _api(options)},
            **{HANDLERS[name]: {"Properties": _function(options, name)} for name in HANDLERS},
            **{log_group(name): log_group_resource() for name in HANDLERS},
            **({"AccessLogs": log_group_resource()} if options.access_logs else {}),
            **{dead_letters(name): _queue() for name in ASYNCHRONOUS},
            **alarms(
                options.stage,
                options.usual_gaps,
                options.alarms_to,
                compactor=options.compactor,
            ),
        },
    }


def metadata(**facts: object) -> Json:
    """A template's metadata: they make the stack known as ours, and say what it was made with."""
    return {METADATA: facts}


def with_variables(template: Json, variables: Iterable[str]) -> Json:
    """An expanded template whose API stage has these variables, each from a parameter.

    Their values are never in the template: they come with the call that makes or updates a stack.
    """
    names = parameters(variables)
    stage = template["Resources"][STAGE_RESOURCE]
    before = {value["Ref"] for value in stage["Properties"].get("Variables", {}).values()}
    others = {
        name: value for name, value in template.get("Parameters", {}).items() if name not in before
    }
    references = {variable: {"Ref": name} for variable, name in names.items()}
    properties = stage["Properties"] | {"Variables": references}
    return template | {
        "Parameters": others | {name: _parameter(variable) for variable, name in names.items()},
        "Resources": template["Resources"] | {STAGE_RESOURCE: stage | {"Properties": properties}},
    }


def parameters(variables: Iterable[str]) -> dict[str, str]:
    """The template parameter of each stage variable.

    `ValidToken` is that of the stage's own tokens. A parameter's name has letters and digits only;
    six of a hash keep apart what would be the same without `_`.
    """
    own = tokens.variable_name(None)
    return {
        name: _pascal_case(name)
        + ("" if name == own else hashlib.sha256(name.encode()).hexdigest()[:6])
        for name in sorted(variables)
    }


def _pascal_case(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split("[^A-Za-z0-9]+", name))


def _parameter(variable: str) -> Json:
    """NoEcho: neither the console nor describe-stacks shows what is in it."""
    return {
        "Type": "String",
        "NoEcho": True,
        "MaxLength": MAX_VALUE_LENGTH,
        "Description": f"The stage variable {variable}: tokens, best as sha256:HASH.",
    }


def arn_of(logical_id: str) -> Json:
    """The ARN of a resource of the stack."""
    return {"Fn::GetAtt": [logical_id, "Arn"]}


def _api(options: Options) -> Json:
    name = stack_name(options.stage)  # Chalice calls the API of every stage alike
    # Not its `Arn`, which is that of the group's streams: it ends in `:*`.
    group = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:${AccessLogs}"
    logs = {"DestinationArn": {"Fn::Sub": group}, "Format": ACCESS_LOG_FORMAT}
    return {
        "Name": name,
        "EndpointConfiguration": {"Type": "REGIONAL"},
        # Without it SAM adds a second public stage, named Stage, that has no variables.
        # https://github.com/aws/chalice/issues/1655
        "OpenApiVersion": "2.0",
        "MethodSettings": [
            {
                "ResourcePath": "/*",
                "HttpMethod": "*",
                "ThrottlingRateLimit": RATE,
                "ThrottlingBurstLimit": BURST,
                "LoggingLevel": "OFF",  # execution logs print query strings, and so tokens
                "DataTraceEnabled": False,
            }
        ],
        **({"AccessLogSetting": logs} if options.access_logs else {}),
        "DefinitionBody": {
            "info": {"title": name},
            "x-amazon-apigateway-gateway-responses": gateway_responses(),
        },
    }


def gateway_responses() -> Json:
    """What API Gateway responds by itself, in our words; the rest it says in its own.

    There is none for REQUEST_TOO_LARGE, whose override it ignores.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-responses-types.html
    """
    # 429 makes some senders drop a delivery for good; 503 makes them try again. It covers what
    # Lambda throttles, too, which would reach a sender as 500.
    busy, fault = "Too many requests at once", "Something went wrong here; send it again"
    return {
        "THROTTLED": _gateway_response("503", busy),
        "QUOTA_EXCEEDED": _gateway_response("503", busy),
        "DEFAULT_5XX": _gateway_response("503", fault),
        # For a path that there is not, and for one that asks for a signature and gets none.
        "MISSING_AUTHENTICATION_TOKEN": _gateway_response("403", NO_SUCH_PATH.reason),
    }


def _gateway_response(status: str, reason: str) -> Json:
    body = json.dumps({"result": "fail", "reason": reason})  # ASCII, as CloudFormation wants it
    response: Json = {
        "statusCode": status,
        "responseTemplates": {"application/json": body},
    }
    if status == "503":
        response["responseParameters"] = {"gatewayresponse.header.Retry-After": f"'{RETRY_AFTER}'"}
    return response


def _function(options: Options, handler: str) -> Json:
    properties: Json = {
        "FunctionName": function_name(options.stage, handler),  # as `chalice deploy` has it
        "Environment": {"Variables": {"METRICS_NAMESPACE": namespace(options.stage)}},
        "LoggingConfig": {
            "LogFormat": "JSON",
            "ApplicationLogLevel": "INFO",
            "SystemLogLevel": "WARN",  # START, END and REPORT of each run cost as much as the run
            "LogGroup": {"Ref": log_group(handler)},
        },
    }
    if handler in ASYNCHRONOUS:
        queue = arn_of(dead_letters(handler))
        properties["DeadLetterQueue"] = {"Type": "SQS", "TargetArn": queue}
    elif options.reserved:
        properties["ReservedConcurrentExecutions"] = options.reserved
    return properties


def log_group_resource() -> Json:
    """A log group that forgets."""
    # Without a name: one that Lambda or an earlier deployment made is never in the way.
    return {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": KEPT_LOGS}}


def _queue() -> Json:
    return {
        "Type": "AWS::SQS::Queue",
        "Properties": {
            "MessageRetentionPeriod": KEPT_DEAD_LETTERS,
            "SqsManagedSseEnabled": True,
        },
    }
