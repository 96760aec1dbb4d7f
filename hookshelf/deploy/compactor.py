"""The scheduled compactor of a stage: what the stack has of it, beside a zip of its own.

A Lambda function, its role and log, and two schedules. It is no entry point and Chalice knows
nothing of it, so its resources join the template after Chalice's are expanded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.types import Json
from hookshelf.deploy.deployment import COMPACTOR, LOGICAL_IDS, function_name, log_group, namespace

HANDLER = "hookshelf.reading.scheduled.handler"
COMPACTOR_MEMORY = 2_048  # MB, which is a little more than one CPU
COMPACTOR_TIMEOUT = 900  # seconds, the longest Lambda has
# MB of /tmp: a month's days and their merge, 512 MB each, and what sorting puts aside. The most
# there is costs cents: https://aws.amazon.com/lambda/pricing/
COMPACTOR_DISK = 10_240
# In UTC. An hour's file waits 2 minutes for late keys, a day's 15: see hookshelf/reading/compact.py
SCHEDULES = {"hourly": "cron(20 * * * ? *)", "nightly": "cron(40 0 * * ? *)"}


def schedule_id(schedule: str) -> str:
    """The logical id of a schedule."""
    return f"{LOGICAL_IDS[COMPACTOR]}{schedule.title()}"


def compactor_resources(
    stage: str, environ: Mapping[str, str], policy: Json, log_group_resource: Json
) -> Json:
    """By logical id, all but what packaging knows: the function's code, runtime and architecture.

    `environ` are the stage's settings.
    """
    name = LOGICAL_IDS[COMPACTOR]
    return {
        name: {"Type": "AWS::Lambda::Function", "Properties": _function(stage, environ)},
        f"{name}Role": _role(f"{name}RolePolicy", policy),
        log_group(COMPACTOR): log_group_resource,
        f"{name}Retries": {
            "Type": "AWS::Lambda::EventInvokeConfig",
            "Properties": {
                "FunctionName": {"Ref": name},
                "Qualifier": "$LATEST",
                "MaximumRetryAttempts": 0,  # the next run does what this one could not
            },
        },
        **{
            logical_id: resource
            for schedule in SCHEDULES
            for logical_id, resource in _schedule(schedule).items()
        },
    }


def _function(stage: str, environ: Mapping[str, str]) -> Json:
    variables = {**environ, "METRICS_NAMESPACE": namespace(stage)}
    return {
        "FunctionName": function_name(stage, COMPACTOR),
        "Handler": HANDLER,
        "MemorySize": COMPACTOR_MEMORY,
        "Timeout": COMPACTOR_TIMEOUT,
        "EphemeralStorage": {"Size": COMPACTOR_DISK},
        "Role": {"Fn::GetAtt": [f"{LOGICAL_IDS[COMPACTOR]}Role", "Arn"]},
        "Environment": {"Variables": variables},
        "LoggingConfig": {
            "LogFormat": "JSON",
            "ApplicationLogLevel": "INFO",
            "SystemLogLevel": "WARN",
            "LogGroup": {"Ref": log_group(COMPACTOR)},
        },
    }


def _role(name: str, policy: Json) -> Json:
    trust: dict[str, Any] = {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
            "Policies": [{"PolicyName": name, "PolicyDocument": policy}],
        },
    }


def _schedule(schedule: str) -> Json:
    """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html"""
    rule = schedule_id(schedule)
    function = {"Fn::GetAtt": [LOGICAL_IDS[COMPACTOR], "Arn"]}
    target = {"Id": rule, "Arn": function, "Input": f'{{"schedule": "{schedule}"}}'}
    return {
        rule: {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "ScheduleExpression": SCHEDULES[schedule],
                "State": "ENABLED",
                "Targets": [target],
            },
        },
        f"{rule}Permission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "FunctionName": function,
                "Action": "lambda:InvokeFunction",
                "Principal": "events.amazonaws.com",
                "SourceArn": {"Fn::GetAtt": [rule, "Arn"]},
            },
        },
    }
