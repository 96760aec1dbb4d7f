"""A stage with a REST API and variables, on a server of ours."""

import json
import uuid
from functools import cache
from hashlib import sha256
from typing import Any

import boto3

from hookshelf.deploy.deployment import Deployment
from support.project import CREDENTIALS

TEMPLATE = {
    "Resources": {"RestAPI": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Name": "a"}}},
    "Outputs": {
        "EndpointURL": {
            "Value": {"Fn::Sub": "https://${RestAPI}.execute-api.us-east-1.amazonaws.com/api/"}
        }
    },
}


def shell(endpoint: str) -> dict[str, str]:
    """The variables that send a verb to a server of ours."""
    return {**CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": endpoint}


@cache  # making one takes longer than all it is asked for here
def client(service: str, endpoint: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def deploy(endpoint: str, **variables: str) -> Deployment:
    """A stage of a new name, as `hookshelf deploy` leaves it: a stack with a REST API."""
    name = f"s{uuid.uuid4().hex[:12]}"
    stacks, apis = client("cloudformation", endpoint), client("apigateway", endpoint)
    stacks.create_stack(StackName=f"hookshelf-{name}", TemplateBody=json.dumps(TEMPLATE))
    [stack] = stacks.describe_stacks(StackName=f"hookshelf-{name}")["Stacks"]
    [output] = stack["Outputs"]
    url = output["OutputValue"].rstrip("/")
    api = url.removeprefix("https://").partition(".")[0]
    [root] = apis.get_resources(restApiId=api)["items"]
    method = {"restApiId": api, "resourceId": root["id"], "httpMethod": "POST"}
    apis.put_method(**method, authorizationType="NONE")
    apis.put_integration(**method, type="MOCK")
    apis.create_deployment(restApiId=api, stageName="api", variables=variables)
    return Deployment(name, "stack", api, url, {})


def live(endpoint: str, deployment: Deployment) -> dict[str, str]:
    stage = client("apigateway", endpoint).get_stage(restApiId=deployment.api, stageName="api")
    return stage.get("variables", {})


def hashed(token: str) -> str:
    return "sha256:" + sha256(token.encode()).hexdigest()
