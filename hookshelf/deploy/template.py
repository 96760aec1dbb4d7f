"""Our part of a stage's CloudFormation template: what Chalice has no setting for.

Chalice merges it into what it packages: objects deep, ours winning, lists replaced whole. One API
stage with its variables and throttling, answers of API Gateway's own that make senders try again,
logs without query strings, dead letters, alarms. All plain values; nothing here asks AWS.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hookshelf.deploy.deployment import API_STAGE, HANDLERS, function_name, stack_name

Json = dict[str, Any]

KEPT_LOGS = 30  # days
KEPT_DEAD_LETTERS = 14 * 24 * 3600  # seconds, the longest SQS has
RATE, BURST = 50, 100  # requests a second, and at once
STAGE = "RestAPIapiStage"  # what the SAM transform calls the API's one stage
ASYNCHRONOUS = ("deliver", "track_s3")  # a caller of these does not wait: what fails is kept
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


def merge_template(options: Options) -> Json:
    """The merge template of a stage."""
    return {
        "Description": f"hookshelf, stage {options.stage}: webhooks into S3",
        "Resources": {
            "RestAPI": {"Properties": _api(options)},
            **{HANDLERS[name]: {"Properties": _function(options, name)} for name in HANDLERS},
            **{log_group(name): _log_group() for name in HANDLERS},
            **({"AccessLogs": _log_group()} if options.access_logs else {}),
            **{dead_letters(name): _queue() for name in ASYNCHRONOUS},
            **alarms(options),
        },
    }


def with_variables(template: Json, variables: Iterable[str]) -> Json:
    """An expanded template whose API stage has these variables, each from a parameter.

    Their values are never in the template: they come with the call that makes or updates a stack.
    """
    given = parameters(variables)
    others = {
        name: value
        for name, value in template.get("Parameters", {}).items()
        if not re.fullmatch(r"Variable\d+", name)
    }
    stage = template["Resources"][STAGE]
    wanted = {variable: {"Ref": name} for variable, name in given.items()}
    return template | {
        # NoEcho: neither the console nor describe-stacks shows what is in them.
        "Parameters": others
        | {name: {"Type": "String", "NoEcho": True, "MaxLength": 512} for name in given.values()},
        "Resources": template["Resources"]
        | {STAGE: stage | {"Properties": stage["Properties"] | {"Variables": wanted}}},
    }


def parameters(variables: Iterable[str]) -> dict[str, str]:
    """The template parameter of each stage variable; no `_` may be in a parameter's name."""
    return {name: f"Variable{number}" for number, name in enumerate(sorted(variables), 1)}


def log_group(handler: str) -> str:
    """The logical id of a function's log group."""
    return f"{HANDLERS[handler]}Logs"


def dead_letters(handler: str) -> str:
    """The logical id of an asynchronous function's dead-letter queue."""
    return f"{HANDLERS[handler]}DeadLetters"


def arn_of(logical_id: str) -> Json:
    """The ARN of a resource of the stack."""
    return {"Fn::GetAtt": [logical_id, "Arn"]}


def namespace(stage: str) -> str:
    """Where the metrics of a stage are in CloudWatch."""
    return f"hookshelf/{stage}"


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
            "x-amazon-apigateway-gateway-responses": {
                # 429 makes some senders drop a delivery for good; 503 makes them try again.
                "THROTTLED": _gateway_response("Too many requests at once", status="503"),
                "QUOTA_EXCEEDED": _gateway_response("Too many requests at once", status="503"),
                "DEFAULT_5XX": _gateway_response("Something went wrong here; send it again"),
            },
        },
    }


def _gateway_response(reason: str, status: str | None = None) -> Json:
    return {
        **({"statusCode": status} if status else {}),
        "responseParameters": {"gatewayresponse.header.Retry-After": "'30'"},
        "responseTemplates": {"application/json": f'{{"result":"fail","reason":"{reason}"}}'},
    }


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


def _log_group() -> Json:
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


def alarms(options: Options) -> Json:
    """The alarms of a stage by logical id, and the topic they go to where an address is given."""
    stage = options.stage
    ours = namespace(stage)
    api = _metric("AWS/ApiGateway", "5XXError", ApiName=stack_name(stage), Stage=API_STAGE)
    found = {
        "ServerErrors": _alarm(
            "Senders hear 5xx and try again; find out why before they give up.", [api], above=4
        ),
        "Refusals": _alarm(
            "Many deliveries are refused with 403: a sender may still use an old token or key.",
            [_metric(ours, "Responses", Status="403")],
            above=9,
            seconds=900,
        ),
        "Unconfigured": _alarm(
            "No token is configured, or a setting is wrong: run hookshelf doctor.",
            [_metric(ours, "Unconfigured")],
        ),
        "Throttles": _alarm(
            "Lambda has no room for more runs at once.",
            [_of_function("Throttles", stage, handler) for handler in HANDLERS],
        ),
        "DeadLetters": _alarm(
            "An event failed three times, and lies in a dead-letter queue or is lost.",
            [
                *(_letters(handler) for handler in ASYNCHRONOUS),
                *(_of_function("AsyncEventsDropped", stage, name) for name in ASYNCHRONOUS),
            ],
        ),
        **{
            _quiet(app): _alarm(
                f"App {app} has had no delivery for longer than its usual gap.",
                [_metric(ours, "Responses", App=app, Status="200")],
                gap=gap,
            )
            for app, gap in sorted(options.usual_gaps.items())
        },
    }
    if not options.alarms_to:
        return found
    topic, extra = _topic(options.alarms_to)
    for alarm in found.values():
        alarm["Properties"] |= {"AlarmActions": [topic], "OKActions": [topic]}
    return found | extra


def _topic(alarms_to: str) -> tuple[Any, Json]:
    if alarms_to.startswith("arn:"):
        return alarms_to, {}
    # Of its own: one inside the topic would outlive it, and an address that was replaced.
    topic = {"Ref": "AlarmTopic"}
    subscription = {"TopicArn": topic, "Protocol": "email", "Endpoint": alarms_to}
    return topic, {
        "AlarmTopic": {"Type": "AWS::SNS::Topic"},
        "AlarmMail": {"Type": "AWS::SNS::Subscription", "Properties": subscription},
    }


def _quiet(app: str) -> str:
    """A logical id that no other app has: names that differ only by - and _ are two apps."""
    letters = re.sub("[^A-Za-z0-9]", "", app)
    return f"Quiet{letters}{hashlib.sha256(app.encode()).hexdigest()[:6]}"


def _metric(namespace: str, name: str, **dimensions: Any) -> Json:
    return {
        "Namespace": namespace,
        "MetricName": name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
    }


def _of_function(name: str, stage: str, handler: str) -> Json:
    return _metric("AWS/Lambda", name, FunctionName=function_name(stage, handler))


def _letters(handler: str) -> Json:
    queue = {"Fn::GetAtt": [dead_letters(handler), "QueueName"]}
    return _metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", QueueName=queue)


def _alarm(
    description: str,
    metrics: list[Json],
    *,
    above: int = 0,
    seconds: int = 300,
    gap: float = 0,
) -> Json:
    """An alarm on the sum of metrics: above a count, or, with a gap, at nothing for as long."""
    if gap:
        # CloudWatch looks back one day with periods under an hour, and seven days with an hour.
        seconds = 300 if gap <= 24 * 3600 else 3600
    periods = math.ceil(gap / seconds) if gap else 1
    stats = [
        {
            "Id": f"m{number}",
            "MetricStat": {"Metric": metric, "Period": seconds, "Stat": "Sum"},
            "ReturnData": False,
        }
        for number, metric in enumerate(metrics)
    ]
    summed = {
        "Id": "total",
        "Expression": "+".join(f"FILL({stat['Id']},0)" for stat in stats),
        "Label": "total",
    }
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmDescription": description,
            "Metrics": [summed, *stats],
            "ComparisonOperator": "LessThanThreshold" if gap else "GreaterThanThreshold",
            "Threshold": 1 if gap else above,
            "EvaluationPeriods": periods,
            "TreatMissingData": "breaching" if gap else "notBreaching",
        },
    }
