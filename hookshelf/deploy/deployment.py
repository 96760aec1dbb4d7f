"""Where a stage lives on AWS: its REST API and its functions, whoever put them there.

`hookshelf deploy` makes one CloudFormation stack per stage; plain `chalice deploy` keeps what it
made in .chalice/deployed/<stage>.json. The names of functions are the same in both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import boto3
from botocore.exceptions import ClientError

from chalicelib.errors import MisuseError
from chalicelib.types import Json
from hookshelf.deploy.stack import Stack
from hookshelf.project import PROJECT_ROOT

API_STAGE = "api"  # of API Gateway; api_gateway_stage in .chalice/config.json
# https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateStack.html
_STACK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
# The logical id of each function in a stack, which is what Chalice calls it there.
HANDLERS = {"api_handler": "APIHandler", "deliver": "Deliver", "track_s3": "TrackS3"}
COMPACTOR = "compactor"  # no handler of app.py: it has a zip of its own, in a stack alone
LOGICAL_IDS = {**HANDLERS, COMPACTOR: "Compactor"}
ASYNCHRONOUS = ("deliver", "track_s3")  # a caller of these does not wait: what fails is kept


class Deployment(NamedTuple):
    """What exists of one Chalice stage."""

    stage: str
    made_by: Literal["stack", "chalice"]
    api: str  # the REST API's id
    url: str  # of the API's stage, without a slash at the end
    functions: Mapping[str, str]  # handler: the Lambda function's name


class NotDeployed(MisuseError):
    """Nothing of the stage is on AWS, as far as this checkout and the account know."""

    def __init__(self, stage: str) -> None:
        super().__init__(
            f"Stage {stage} is not deployed in this region. "
            f"Deploy it: hookshelf deploy --stage {stage} --bucket NAME"
        )


def find_deployment(stage: str) -> Deployment:
    """The deployment of a stage: its stack, else what `chalice deploy` noted. Or NotDeployed."""
    deployment = _made_by_stack(stage) or _made_by_chalice(stage)
    if deployment is None:
        raise NotDeployed(stage)
    return deployment


def stack_name(stage: str) -> str:
    """The name of the stack that `hookshelf deploy` makes for a stage."""
    return f"hookshelf-{stage}"


def function_name(stage: str, handler: str) -> str:
    """The name Chalice gives a function; the stack's are called the same."""
    return f"hookshelf-{stage}" + ("" if handler == "api_handler" else f"-{handler}")


def log_group(handler: str) -> str:
    """The logical id of a function's log group."""
    return f"{LOGICAL_IDS[handler]}Logs"


def dead_letters(handler: str) -> str:
    """The logical id of an asynchronous function's dead-letter queue."""
    return f"{HANDLERS[handler]}DeadLetters"


def namespace(stage: str) -> str:
    """Where the metrics of a stage are in CloudWatch."""
    return f"hookshelf/{stage}"


def chalice_record(stage: str) -> Path:
    """The file in which `chalice deploy` notes what it made of a stage."""
    return PROJECT_ROOT / ".chalice" / "deployed" / f"{stage}.json"


def _made_by_stack(stage: str) -> Deployment | None:
    if not _STACK_NAME.fullmatch(stack_name(stage)):
        return None  # a name that Chalice takes and CloudFormation does not
    cloudformation = boto3.client("cloudformation")
    try:
        [described] = cloudformation.describe_stacks(StackName=stack_name(stage))["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):  # a ValidationError, as are others
            return None
        raise
    outputs = {
        output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())
    }
    ids = {
        resource.logical_id: resource.physical_id
        for resource in Stack(stack_name(stage), cloudformation).resources()
    }
    if not ids.get("RestAPI") or "EndpointURL" not in outputs:
        return None  # still being made, or being taken down
    functions = {
        handler: ids[logical] for handler, logical in LOGICAL_IDS.items() if logical in ids
    }
    return Deployment(stage, "stack", ids["RestAPI"], outputs["EndpointURL"].rstrip("/"), functions)


def _made_by_chalice(stage: str) -> Deployment | None:
    path = chalice_record(stage)
    try:
        record: Json = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise MisuseError(f"{path} cannot be read: {error}") from None
    resources = {resource["name"]: resource for resource in record.get("resources", ())}
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
