"""The CloudWatch alarms of a stage: each is one entry of `_alarms`, and a row in the documents.

An alarm is on the sum of metrics over a time: above a count, or, with a gap, at nothing for as
long. FILL makes zeros of missing values: without it an alarm may stay as it was for hours.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from chalicelib.types import Json
from hookshelf.deploy.deployment import (
    API_STAGE,
    ASYNCHRONOUS,
    COMPACTOR,
    HANDLERS,
    dead_letters,
    function_name,
    namespace,
    stack_name,
)

DAY = 24 * 3600  # seconds
# Without a run of the compactor that ended, for apps that somebody has named, and for others. They
# are due every hour and every night.
STALE, OTHERS_STALE = 6 * 3600, 2 * DAY


class Alarm(NamedTuple):
    """One alarm."""

    description: str  # what is wrong, for whoever gets the mail
    metrics: list[Json]  # that are added up
    above: int = 0  # goes off at more than that
    seconds: int = 300  # over which is added up
    gap: float = 0  # goes off after so many seconds at nothing, instead


def _alarms(stage: str) -> dict[str, Alarm]:
    """By logical id."""
    ours = namespace(stage)
    return {
        "ServerErrors": Alarm(
            "Senders hear 5xx and try again; find out why before they give up.",
            [_metric("AWS/ApiGateway", "5XXError", ApiName=stack_name(stage), Stage=API_STAGE)],
            above=4,
        ),
        "Refusals": Alarm(
            "Many deliveries are refused with 403: a sender may still use an old token or key.",
            [_metric(ours, "Responses", Status="403")],
            above=9,
            seconds=900,
        ),
        "Unconfigured": Alarm(
            "No token is configured, or a setting is wrong: run hookshelf doctor.",
            [_metric(ours, "Unconfigured")],
        ),
        "Throttles": Alarm(
            "Lambda has no room for more runs at once.",
            [_of_function("Throttles", stage, handler) for handler in HANDLERS],
        ),
        "DeadLetters": Alarm(
            "An event failed three times, and lies in a dead-letter queue or is lost.",
            [
                *(_queued(handler) for handler in ASYNCHRONOUS),
                *(_of_function("AsyncEventsDropped", stage, name) for name in ASYNCHRONOUS),
            ],
        ),
    }


def _of_compactor(stage: str) -> dict[str, Alarm]:
    """Those of a stage that has a compactor; it counts each round of apps that it ends."""
    ours, look = namespace(stage), f"hookshelf doctor --stage {stage} says how far it got."
    return {
        "CompactorErrors": Alarm(
            "The compactor fails, time after time; its log says which app, and why.",
            [_of_function("Errors", stage, COMPACTOR)],
            above=1,
            seconds=3 * 3600,
        ),
        "EventsStale": Alarm(
            f"Apps that you have named were not compacted for {STALE // 3600} hours: {look}",
            [_metric(ours, "Compacted", Apps="known")],
            gap=STALE,
        ),
        "OtherEventsStale": Alarm(
            f"Other apps were not compacted for {OTHERS_STALE // DAY} days: {look}",
            [_metric(ours, "Compacted", Apps="others")],
            gap=OTHERS_STALE,
        ),
    }


def _silence(stage: str, app: str, gap: float) -> Alarm:
    """That of an app which says in the apps file how long it is silent at most."""
    return Alarm(
        f"App {app} has had no delivery for longer than its usual gap.",
        [_metric(namespace(stage), "Responses", App=app, Status="200")],
        gap=gap,
    )


def alarms(
    stage: str, usual_gaps: Mapping[str, float], alarms_to: str, *, compactor: bool = True
) -> Json:
    """The resources of a stage's alarms by logical id; with an address, the topic they go to too.

    `usual_gaps` are seconds by app. `alarms_to` is an e-mail address, a topic's ARN, or empty.
    """
    silences = {_silence_id(app): _silence(stage, app, gap) for app, gap in usual_gaps.items()}
    of_compactor = _of_compactor(stage) if compactor else {}
    every = _alarms(stage) | of_compactor | dict(sorted(silences.items()))
    resources = {name: _resource(alarm) for name, alarm in every.items()}
    if not alarms_to:
        return resources
    topic: Any = alarms_to if alarms_to.startswith("arn:") else {"Ref": "AlarmTopic"}
    for resource in resources.values():
        resource["Properties"] |= {"AlarmActions": [topic], "OKActions": [topic]}
    if topic == alarms_to:
        return resources
    # Of its own: one inside the topic would outlive it, and an address that was replaced.
    subscription = {"TopicArn": topic, "Protocol": "email", "Endpoint": alarms_to}
    return resources | {
        "AlarmTopic": {"Type": "AWS::SNS::Topic"},
        "AlarmMail": {"Type": "AWS::SNS::Subscription", "Properties": subscription},
    }


def _silence_id(app: str) -> str:
    """A logical id that no other app has: names that differ only by - and _ are two apps."""
    letters = re.sub("[^A-Za-z0-9]", "", app)
    return f"Quiet{letters}{hashlib.sha256(app.encode()).hexdigest()[:6]}"


def _resource(alarm: Alarm) -> Json:
    seconds = alarm.seconds
    if alarm.gap:
        # CloudWatch looks back one day with periods under an hour, and seven days with an hour.
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
        seconds = 300 if alarm.gap <= DAY else 3600
    stats = [
        {
            "Id": f"m{number}",
            "MetricStat": {"Metric": metric, "Period": seconds, "Stat": "Sum"},
            "ReturnData": False,
        }
        for number, metric in enumerate(alarm.metrics)
    ]
    total = {
        "Id": "total",
        "Expression": "+".join(f"FILL({stat['Id']},0)" for stat in stats),
        "Label": "total",
    }
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmDescription": alarm.description,
            "Metrics": [total, *stats],
            "ComparisonOperator": "LessThanThreshold" if alarm.gap else "GreaterThanThreshold",
            "Threshold": 1 if alarm.gap else alarm.above,
            "EvaluationPeriods": math.ceil(alarm.gap / seconds) if alarm.gap else 1,
            "TreatMissingData": "breaching" if alarm.gap else "notBreaching",
        },
    }


def _metric(namespace: str, name: str, **dimensions: Any) -> Json:
    return {
        "Namespace": namespace,
        "MetricName": name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
    }


def _of_function(name: str, stage: str, handler: str) -> Json:
    return _metric("AWS/Lambda", name, FunctionName=function_name(stage, handler))


def _queued(handler: str) -> Json:
    queue = {"Fn::GetAtt": [dead_letters(handler), "QueueName"]}
    return _metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", QueueName=queue)
