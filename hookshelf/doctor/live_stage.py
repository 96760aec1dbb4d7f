"""A deployed stage as AWS has it: asked when a check first needs it, and then kept."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

from chalicelib.settings import BucketPath, Settings, from_environment
from chalicelib.types import Json
from hookshelf.deploy.deployment import API_STAGE, LOGICAL_IDS, Deployment, stack_name
from hookshelf.deploy.stack import Stack
from hookshelf.doctor.aws_reader import AwsReader, reading
from hookshelf.doctor.findings import NotChecked
from hookshelf.doctor.live_bucket import LiveBucket
from hookshelf.doctor.policy_coverage import statements


class Grant(NamedTuple):
    """One Allow statement of a function's role."""

    role: str
    policy: str  # an inline policy's name, or an attached one's ARN
    statement: Json

    @property
    def is_attached(self) -> bool:
        """Whether it comes from a managed policy."""
        return self.policy.startswith("arn:")


class LiveStage:
    """One deployment. Every property may raise NotChecked."""

    def __init__(self, deployment: Deployment, *, read_only: bool = False) -> None:
        self.deployment = deployment
        self.read_only = read_only  # whether nothing may be put anywhere
        self.aws = AwsReader()

    @property
    def is_stack(self) -> bool:
        """Whether `hookshelf deploy` made it, not plain `chalice deploy`."""
        return self.deployment.made_by == "stack"

    @property
    def redeploy(self) -> str:
        """The command that puts the stage as it should be."""
        tool = "hookshelf" if self.is_stack else "chalice"
        return f"{tool} deploy --stage {self.deployment.stage}"

    def redeploy_after(self, step: str) -> str:
        """The same command, with what has to be done before it as a comment."""
        return f"{self.redeploy}  # first {step}"

    @cached_property
    def api(self) -> Json:
        """The REST API."""
        return self._get("apigateway", "get_rest_api", "REST API", restApiId=self.deployment.api)

    @cached_property
    def api_stages(self) -> dict[str, Json]:
        """The stages of the API, by name."""
        listed = self._get("apigateway", "get_stages", "REST API", restApiId=self.deployment.api)
        return {api_stage["stageName"]: api_stage for api_stage in listed.get("item", ())}

    @property
    def api_stage(self) -> Json:
        """The one stage of the API that there should be."""
        if API_STAGE not in self.api_stages:
            raise NotChecked(f"the API has no stage {API_STAGE}", self.redeploy)
        return self.api_stages[API_STAGE]

    @property
    def variables(self) -> dict[str, str]:
        """The variables of that stage."""
        return dict(self.api_stage.get("variables") or {})

    def gateway_response(self, kind: str) -> Json:
        """How API Gateway itself responds in one case; empty where nobody set that."""
        where = {"restApiId": self.deployment.api, "responseType": kind}
        absent = ["NotFoundException"]
        return self.aws.get("apigateway", "get_gateway_response", absent, **where) or {}

    @cached_property
    def functions(self) -> dict[str, Json]:
        """The configuration of each function there is, by handler."""
        absent = ["ResourceNotFoundException"]
        configurations = {
            handler: self.aws.get("lambda", "get_function_configuration", absent, FunctionName=name)
            for handler, name in self.deployment.functions.items()
        }
        return {name: there for name, there in configurations.items() if there is not None}

    def function(self, handler: str) -> Json:
        """The configuration of one function."""
        if handler not in self.functions:
            raise NotChecked(f"there is no function {handler}", self.redeploy)
        return self.functions[handler]

    def environment(self, handler: str) -> dict[str, str]:
        """The variables that a function runs with."""
        return dict(self.function(handler).get("Environment", {}).get("Variables", {}))

    @property
    def settings(self) -> Settings:
        """The settings of the HTTP function. Raises SettingError."""
        return from_environment(self.environment("api_handler"))

    @cached_property
    def template(self) -> Json:
        """The template that the stack was last made with; empty without a stack."""
        if not self.is_stack:
            return {}
        with reading("cloudformation"):
            return Stack(stack_name(self.deployment.stage)).template()

    def deployed_environment(self, handler: str) -> dict[str, str]:
        """The variables that the stack gave a function; without a stack, those that it has."""
        resource = self.template.get("Resources", {}).get(LOGICAL_IDS[handler], {})
        variables = resource.get("Properties", {}).get("Environment", {}).get("Variables")
        return self.environment(handler) if variables is None else dict(variables)

    @property
    def arn(self) -> dict[str, str]:
        """Where the functions are: partition, region, account."""
        arn = self.function("api_handler")["FunctionArn"]
        _, partition, _, region, account, *_ = arn.split(":")
        return {"partition": partition, "region": region, "account": account}

    @cached_property
    def account(self) -> str:
        """The account of whoever runs the doctor."""
        account: str = self._get("sts", "get_caller_identity", "account")["Account"]
        return account

    @cached_property
    def buckets(self) -> list[LiveBucket]:
        """Every bucket that is archived into, each once."""
        by_name: dict[str, list[BucketPath]] = {}
        for bucket_path in self.settings.bucket_paths:
            by_name.setdefault(bucket_path.bucket, []).append(bucket_path)
        return [LiveBucket(self, name, paths) for name, paths in by_name.items()]

    def grants(self, handler: str) -> list[Grant]:
        """What the role of a function allows it: inline policies, then attached ones."""
        role = self.function(handler)["Role"].rpartition("/")[2]
        documents = [*self._inline(role), *self._attached(role)]
        return [
            Grant(role, policy, statement)
            for policy, document in documents
            for statement in statements(document)
            if statement.get("Effect") == "Allow"
        ]

    def _get(self, service: str, operation: str, what: str, **arguments: Any) -> Json:
        """What has to be there."""
        response = self.aws.get(service, operation, ["NotFoundException"], **arguments)
        if response is None:
            raise NotChecked(f"the {what} is gone", self.redeploy)
        return response

    def _inline(self, role: str) -> Iterator[tuple[str, Json]]:
        for name in self.aws.list_all("iam", "list_role_policies", "PolicyNames", RoleName=role):
            which = {"RoleName": role, "PolicyName": name}
            yield name, self._get("iam", "get_role_policy", "policy", **which)["PolicyDocument"]

    def _attached(self, role: str) -> Iterator[tuple[str, Json]]:
        listing = ("iam", "list_attached_role_policies", "AttachedPolicies")
        for attached in self.aws.list_all(*listing, RoleName=role):
            arn = attached["PolicyArn"]
            policy = self._get("iam", "get_policy", "policy", PolicyArn=arn)["Policy"]
            which = {"PolicyArn": arn, "VersionId": policy["DefaultVersionId"]}
            version = self._get("iam", "get_policy_version", "policy", **which)["PolicyVersion"]
            yield arn, version["Document"]
