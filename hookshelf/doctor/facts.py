"""What AWS says of a deployment: asked when a check first needs it, and then remembered.

The one place of the doctor that asks AWS. Whatever cannot be asked raises NotChecked, so that a
check which needs it says so instead of passing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.settings import BucketPath, Settings, from_environment
from hookshelf.deploy.deployment import API_STAGE, Deployment
from hookshelf.doctor.findings import NotChecked

Json = dict[str, Any]

AGAIN = "run the doctor again"
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Forbidden", "403")
# Where IAM has another name for a call than `service:Operation`.
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
_PERMISSIONS = {
    "HeadBucket": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "GetBucketNotificationConfiguration": "s3:GetBucketNotification",
    "UpdateStage": "apigateway:PATCH",
}


class Grant(NamedTuple):
    """One Allow statement of a function's role."""

    role: str
    policy: str  # an inline policy's name, or an attached one's ARN
    statement: Json

    @property
    def is_attached(self) -> bool:
        """Whether it comes from a managed policy."""
        return self.policy.startswith("arn:")


class Facts:
    """One deployment. Every property may raise NotChecked."""

    def __init__(self, deployment: Deployment, *, read_only: bool = False) -> None:
        self.deployment = deployment
        self.read_only = read_only  # whether nothing may be put anywhere
        self._client = cache(boto3.client)

    @property
    def redeploy(self) -> str:
        """The command that puts the stage as it should be."""
        if self.deployment.made_by == "stack":
            return f"hookshelf deploy --stage {self.deployment.stage}"
        return f"chalice deploy --stage {self.deployment.stage}"

    def redeploy_after(self, step: str) -> str:
        """The same command, with what has to be done before it as a comment."""
        return f"{self.redeploy}  # first {step}"

    @cached_property
    def api(self) -> Json:
        """The REST API."""
        return self._found("apigateway", "get_rest_api", "REST API", restApiId=self.deployment.api)

    @cached_property
    def stages(self) -> dict[str, Json]:
        """The stages of the API, by name."""
        found = self._found("apigateway", "get_stages", "REST API", restApiId=self.deployment.api)
        return {one["stageName"]: one for one in found.get("item", ())}

    @property
    def api_stage(self) -> Json:
        """The one stage that there should be."""
        if API_STAGE not in self.stages:
            raise NotChecked(f"the API has no stage {API_STAGE}", self.redeploy)
        return self.stages[API_STAGE]

    @property
    def variables(self) -> dict[str, str]:
        """The variables of that stage."""
        return dict(self.api_stage.get("variables") or {})

    def gateway_response(self, kind: str) -> Json:
        """What API Gateway itself answers in one case; empty where nobody set that."""
        where = {"restApiId": self.deployment.api, "responseType": kind}
        return self.ask("apigateway", "get_gateway_response", ["NotFoundException"], **where) or {}

    @cached_property
    def functions(self) -> dict[str, Json]:
        """The configuration of each function there is, by handler."""
        absent = ["ResourceNotFoundException"]
        asked = {
            handler: self.ask("lambda", "get_function_configuration", absent, FunctionName=name)
            for handler, name in self.deployment.functions.items()
        }
        return {handler: found for handler, found in asked.items() if found is not None}

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

    @property
    def arn(self) -> dict[str, str]:
        """Where the functions are: partition, region, account."""
        _, partition, _, region, account, *_ = self.function("api_handler")["FunctionArn"].split(
            ":"
        )
        return {"partition": partition, "region": region, "account": account}

    @cached_property
    def account(self) -> str:
        """The account of whoever runs the doctor."""
        account: str = self._found("sts", "get_caller_identity", "account")["Account"]
        return account

    @cached_property
    def buckets(self) -> list[Bucket]:
        """Every bucket that is archived into, each once."""
        places: dict[str, list[BucketPath]] = {}
        for place in self.settings.bucket_paths:
            places.setdefault(place.bucket, []).append(place)
        return [Bucket(self, name, places[name]) for name in places]

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

    def key_arn(self, key: str) -> str:
        """The ARN of a KMS key that may be named otherwise."""
        if ":key/" in key:
            return key
        arn: str = self._found("kms", "describe_key", "key", KeyId=key)["KeyMetadata"]["Arn"]
        return arn

    def ask(
        self, service: str, operation: str, absent: list[str] | None = None, **arguments: Any
    ) -> Json | None:
        """What AWS answers; None where it answers with one of the codes `absent`."""
        client = self._client(service)
        try:
            with _asking(service, operation):
                answer: Json = getattr(client, operation)(**arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] in (absent or ()):
                return None
            raise not_checked(client, error) from None
        return answer

    def every(self, service: str, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
        """All that AWS lists under a key of its answers, page after page."""
        client = self._client(service)
        try:
            with _asking(service, operation):
                for page in client.get_paginator(operation).paginate(**arguments):
                    yield from page.get(key, ())
        except ClientError as error:
            raise not_checked(client, error) from None

    def status(self, service: str, operation: str, **arguments: Any) -> tuple[int, Json]:
        """The HTTP status that AWS answers with, and the answer; for what may well be refused."""
        try:
            with _asking(service, operation):
                answer: Json = getattr(self._client(service), operation)(**arguments)
        except ClientError as error:
            answer = error.response
        return answer["ResponseMetadata"]["HTTPStatusCode"], answer

    def _found(self, service: str, operation: str, what: str, **arguments: Any) -> Json:
        absent = ["NotFoundException"]
        found = self.ask(service, operation, absent, **arguments)
        if found is None:
            raise NotChecked(f"the {what} is gone", self.redeploy)
        return found

    def _inline(self, role: str) -> Iterator[tuple[str, Json]]:
        for name in self.every("iam", "list_role_policies", "PolicyNames", RoleName=role):
            found = self._found("iam", "get_role_policy", "policy", RoleName=role, PolicyName=name)
            yield name, found["PolicyDocument"]

    def _attached(self, role: str) -> Iterator[tuple[str, Json]]:
        attached = ("list_attached_role_policies", "AttachedPolicies")
        for one in self.every("iam", *attached, RoleName=role):
            arn = one["PolicyArn"]
            policy = self._found("iam", "get_policy", "policy", PolicyArn=arn)["Policy"]
            version = {"PolicyArn": arn, "VersionId": policy["DefaultVersionId"]}
            found = self._found("iam", "get_policy_version", "policy", **version)
            yield arn, found["PolicyVersion"]["Document"]


class Bucket:
    """One bucket, and the places in it that are archived into."""

    def __init__(self, facts: Facts, name: str, places: list[BucketPath]) -> None:
        self.facts = facts
        self.name = name
        self.places = places

    @property
    def arn(self) -> str:
        """Of the bucket."""
        return f"arn:{self.facts.arn['partition']}:s3:::{self.name}"

    @property
    def owner(self) -> str:
        """The account that has to own it."""
        return self.facts.settings.bucket_owner or self.facts.account

    @property
    def harden(self) -> str:
        """The command that makes it what `hookshelf deploy` would have made."""
        if self.facts.deployment.made_by == "stack":
            return f"{self.facts.redeploy} --create-bucket"
        paths = [place.path for place in self.places]
        return (
            "python -c 'from hookshelf.deploy.bucket import harden; "
            f'print(*harden("{self.name}", {json.dumps(paths)}), sep="\\n")\''
        )

    @cached_property
    def region(self) -> str | None:
        """Where it is; None where there is no such bucket."""
        found = self._ask("head_bucket", ["404", "NoSuchBucket"])
        return None if found is None else found.get("BucketRegion") or self.facts.arn["region"]

    @property
    def is_owned(self) -> bool:
        """Whether S3 says that it is this account's. Only for a bucket that we may look at anyhow.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
        """
        return self._ask("head_bucket", ["403"], ExpectedBucketOwner=self.owner) is not None

    @cached_property
    def public_access(self) -> Json:
        """What of public access is blocked."""
        absent = ["NoSuchPublicAccessBlockConfiguration"]
        found = self._ask("get_public_access_block", absent) or {}
        blocked: Json = found.get("PublicAccessBlockConfiguration", {})
        return blocked

    @cached_property
    def policy(self) -> list[Json]:
        """The statements of the bucket policy."""
        found = self._ask("get_bucket_policy", ["NoSuchBucketPolicy"])
        return statements(json.loads(found["Policy"])) if found else []

    @cached_property
    def versioning(self) -> str:
        """`Enabled`, `Suspended`, or nothing where it never was."""
        found: str = (self._ask("get_bucket_versioning") or {}).get("Status", "")
        return found

    @cached_property
    def rules(self) -> list[Json]:
        """The lifecycle rules, the disabled ones too."""
        absent = ["NoSuchLifecycleConfiguration"]
        found = self._ask("get_bucket_lifecycle_configuration", absent) or {}
        return list(found.get("Rules", ()))

    @cached_property
    def notifications(self) -> Json:
        """Whom the bucket notifies, by the kind of receiver."""
        found = self._ask("get_bucket_notification_configuration") or {}
        return {kind: those for kind, those in found.items() if kind != "ResponseMetadata"}

    @cached_property
    def kms_key(self) -> str | None:
        """The ARN of the key of your own that encrypts it, if any."""
        absent = ["ServerSideEncryptionConfigurationNotFoundError"]
        found = self._ask("get_bucket_encryption", absent) or {}
        rules = found.get("ServerSideEncryptionConfiguration", {}).get("Rules", ())
        defaults = [rule.get("ApplyServerSideEncryptionByDefault", {}) for rule in rules]
        keys = [one["KMSMasterKeyID"] for one in defaults if "KMSMasterKeyID" in one]
        return self.facts.key_arn(keys[0]) if keys else None

    def put(self, key: str, body: bytes, **conditions: str) -> tuple[int, Json]:
        """Put an object; the status, and the answer. Never into a stranger's bucket."""
        where = {"Bucket": self.name, "Key": key, "ExpectedBucketOwner": self.owner}
        return self.facts.status("s3", "put_object", Body=body, **where, **conditions)

    def remove(self, key: str, version: str) -> bool:
        """Whether one version of an object could be removed."""
        where = {"Bucket": self.name, "Key": key, "VersionId": version}
        return self.facts.status("s3", "delete_object", **where)[0] < 300

    def _ask(
        self, operation: str, absent: list[str] | None = None, **arguments: Any
    ) -> Json | None:
        if ":" in self.name:
            what = f"{self.name} is an access point, and the bucket behind it is not looked at"
            raise NotChecked(what, "Look at that bucket yourself, or name it in ARCHIVE_BUCKETS.")
        return self.facts.ask("s3", operation, absent, Bucket=self.name, **arguments)


@contextmanager
def _asking(service: str, operation: str) -> Iterator[None]:
    """Within it a call that reaches nobody raises NotChecked."""
    try:
        yield
    except BotoCoreError as error:
        what = f"{service} {operation} fails: {type(error).__name__}"
        mend = f"Look at the network and the credentials, then {AGAIN}."
        raise NotChecked(what, mend) from None


def statements(document: Json) -> list[Json]:
    """The statements of a policy, which may have one without a list around it."""
    found = document.get("Statement", [])
    return [found] if isinstance(found, dict) else found


def denied(error: ClientError) -> bool:
    """Whether AWS refuses for want of a permission."""
    return error.response["Error"]["Code"] in _DENIED


def not_checked(client: Any, error: ClientError) -> NotChecked:
    """What is said of an answer with an error: the permission that is missing, or the error."""
    code, operation = error.response["Error"]["Code"], error.operation_name
    service = client.meta.service_model.signing_name
    if denied(error):
        usual = "apigateway:GET" if service == "apigateway" else f"{service}:{operation}"
        permission = _PERMISSIONS.get(operation, usual)
        what = f"your credentials lack the permission {permission}"
        return NotChecked(what, f"Allow {permission} to whoever runs the doctor, and {AGAIN}.")
    what = f"{service} answers {operation} with {code}"
    return NotChecked(what, f"Mend that first, and {AGAIN}.")
