"""Where a stage lives on AWS: its REST API and its functions, whoever put them there.

`hookshelf deploy` makes one CloudFormation stack per stage; plain `chalice deploy` keeps what it
made in .chalice/deployed/<stage>.json. The names of functions are the same in both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import boto3
import click
from botocore.exceptions import ClientError

from hookshelf.project import PROJECT_ROOT

API_STAGE = "api"  # of API Gateway; api_gateway_stage in .chalice/config.json
_STACK = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
HANDLERS = {"api_handler": "APIHandler", "deliver": "Deliver", "track_s3": "TrackS3"}


class Deployment(NamedTuple):
    """What exists of one Chalice stage."""

    stage: str
    made_by: Literal["stack", "chalice"]
    api: str  # the REST API's id
    url: str  # of the API's stage, without a slash at the end
    functions: Mapping[str, str]  # handler: the Lambda function's name


class NotDeployed(click.UsageError):
    """Nothing of the stage is on AWS, as far as this checkout and the account know."""

    def __init__(self, stage: str) -> None:
        super().__init__(
            f"Stage {stage} is not deployed in this region. "
            f"Deploy it: hookshelf deploy --stage {stage} --bucket NAME"
        )


def find(stage: str) -> Deployment:
    """The deployment of a stage: its stack, else what `chalice deploy` noted. Or NotDeployed."""
    found = _of_stack(stage) or _of_chalice(stage)
    if found is None:
        raise NotDeployed(stage)
    return found


def stack_name(stage: str) -> str:
    """The name of the stack that `hookshelf deploy` makes for a stage."""
    return f"hookshelf-{stage}"


def function_name(stage: str, handler: str) -> str:
    """The name Chalice gives a function; the stack's are called the same."""
    return f"hookshelf-{stage}" + ("" if handler == "api_handler" else f"-{handler}")


def _of_stack(stage: str) -> Deployment | None:
    if not _STACK.fullmatch(stack_name(stage)):
        return None  # a name that Chalice takes and CloudFormation does not
    cloudformation = boto3.client("cloudformation")
    try:
        [stack] = cloudformation.describe_stacks(StackName=stack_name(stage))["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):  # a ValidationError, as are others
            return None
        raise
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", ())}
    # All pages: a stack may have hundreds of alarms.
    pages = cloudformation.get_paginator("list_stack_resources")
    ids = {
        one["LogicalResourceId"]: one.get("PhysicalResourceId", "")
        for page in pages.paginate(StackName=stack_name(stage))
        for one in page["StackResourceSummaries"]
    }
    if not ids.get("RestAPI") or "EndpointURL" not in outputs:
        return None  # still being made, or being taken down
    functions = {handler: ids[logical] for handler, logical in HANDLERS.items() if logical in ids}
    return Deployment(stage, "stack", ids["RestAPI"], outputs["EndpointURL"].rstrip("/"), functions)


def _of_chalice(stage: str) -> Deployment | None:
    path = PROJECT_ROOT / ".chalice" / "deployed" / f"{stage}.json"
    try:
        noted: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{path} cannot be read: {error}") from None
    resources = {one["name"]: one for one in noted.get("resources", ())}
    if "rest_api" not in resources:
        return None
    api = resources["rest_api"]
    functions = {
        handler: resources[handler]["lambda_arn"].rpartition(":")[2]
        for handler in HANDLERS
        if handler in resources
    }
    return Deployment(
        stage, "chalice", api["rest_api_id"], api["rest_api_url"].rstrip("/"), functions
    )
