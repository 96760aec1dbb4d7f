"""A moto server that carries what hookshelf deploys, for rehearsals without an AWS account.

moto refuses the swagger that Chalice imports, drops half of it, and its CloudFormation knows some
types of our stack not at all. What is added here says each time what moto lacks:

- API Gateway: swagger 2.0, binary media types, gateway responses, AWS_IAM on methods; a new
  deployment leaves the stage's variables alone, which we take AWS to do and have not seen yet.
- CloudFormation: REST APIs with a body, their deployments and stages, alarms; functions with
  logging and dead letters; updates of roles, log groups and topics; NoEcho parameters as `****`.
  A type that nobody models is an error and not a warning.
- S3: a bucket policy's Deny is obeyed where it has no condition, or that of a put without
  If-None-Match. No other policy is, nor any role's: those have to be tested as they read.

Still unlike AWS: a stack is made at once and never rolled back, has no events of its resources and
keeps no two of one name apart; a stage that a stack updates gets the template's variables and no
others, which is the worst that AWS may do; nothing throttles, alarms or runs a function (see
support/lambda_runtime.py); execution and access logs stay empty; whoever signs wrongly is let in.

Its state is moto's own, which all servers of one process share. POST /moto-api/reset empties it.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ClassVar

from moto.apigateway.models import APIGatewayBackend, RestAPI, apigateway_backends
from moto.awslambda.models import LambdaFunction, Permission, lambda_backends
from moto.cloudformation import parsing
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import Stack
from moto.cloudwatch.models import (
    Dimension,
    Metric,
    MetricDataQuery,
    MetricStat,
    cloudwatch_backends,
)
from moto.iam.access_control import PermissionResult
from moto.iam.models import Role
from moto.logs.models import LogGroup
from moto.s3.exceptions import S3AccessDeniedError
from moto.s3.models import FakeBucket
from moto.s3.responses import S3Response
from moto.sns.models import Topic, sns_backends

Json = dict[str, Any]


def around(owner: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put a function in the place of a method of the same name, which it is given first."""

    def put(function: Callable[..., Any]) -> Callable[..., Any]:
        before = getattr(owner, function.__name__)

        @wraps(before)
        def after(*args: Any, **kwargs: Any) -> Any:
            return function(before, *args, **kwargs)

        setattr(owner, function.__name__, after)
        return function

    return put


# --- API Gateway

BINARY_TYPES = "x-amazon-apigateway-binary-media-types"
COMPRESSION = "x-amazon-apigateway-minimum-compression-size"
GATEWAY_RESPONSES = "x-amazon-apigateway-gateway-responses"


@around(APIGatewayBackend)
def import_rest_api(before: Any, backend: Any, document: Json, fail_on_warnings: bool) -> RestAPI:
    return before(backend, openapi(document), fail_on_warnings)


@around(APIGatewayBackend)
def put_rest_api(
    before: Any, backend: Any, api_id: str, document: Json, *args: Any, **kwargs: Any
) -> RestAPI:
    api: RestAPI = before(backend, api_id, openapi(document), *args, **kwargs)
    # All below: moto reads paths and integrations, and nothing else of a document.
    api.name = document["info"]["title"]
    api.binaryMediaTypes = document.get(BINARY_TYPES, [])
    api.minimum_compression_size = document.get(COMPRESSION)
    api.gateway_responses.clear()
    for name, response in document.get(GATEWAY_RESPONSES, {}).items():
        api.put_gateway_response(
            name,
            response.get("statusCode"),
            response.get("responseParameters", {}),
            response.get("responseTemplates", {}),
        )
    for resource in api.resources.values():
        for name, method in resource.resource_methods.items():
            described = document["paths"][resource.get_path()][name.lower()]
            method.authorization_type = authorization(described)
    return api


def openapi(document: Json) -> Json:
    """The same document as moto takes it: it wants a description, and no swagger, which it reads
    all the same."""
    rest = {name: value for name, value in document.items() if name != "swagger"}
    return rest | {"openapi": "3.0.1", "info": {"description": "", **document["info"]}}


def authorization(method: Json) -> str:
    """What API Gateway makes of the security schemes that Chalice writes."""
    named = {name for scheme in method.get("security", []) for name in scheme}
    return "AWS_IAM" if "sigv4" in named else "NONE"


@around(RestAPI)
def create_deployment(
    before: Any, api: RestAPI, name: str, description: str, stage_variables: Any = None
) -> Any:
    # moto makes the stage anew, without what was set in it.
    stage = api.stages.get(name)
    deployment = before(api, name, description, stage_variables)
    if stage:
        stage.deployment_id = deployment.id
        stage.variables |= stage_variables or {}
        api.stages[name] = stage
    return deployment


# --- CloudFormation


@around(parsing)
def resource_class_from_type(before: Any, name: str) -> Any:
    # moto warns, and makes a stack without it.
    found = before(name)
    if found is None:
        raise ValidationError(message=f"{name} is modelled neither by moto nor by aws_server.py")
    return found


@around(parsing)
def parse_and_update_resource(
    before: Any, logical_id: str, resource: Json, resources: Any, **kwargs: Any
) -> Any:
    # Of a type that it cannot update, moto forgets the resource.
    return before(logical_id, resource, resources, **kwargs) or resources[logical_id]


@around(parsing.ResourceMap)
def update(before: Any, resources: Any, template: Json, parameters: Any = None) -> None:
    # What an earlier update took away moto takes for made, should it be wanted again.
    for name in template["Resources"].keys() - resources._resource_json_map.keys():
        resources._parsed_resources.pop(name, None)
    before(resources, template, parameters)


def parameter_list(stack: Stack) -> list[Json]:
    """As describe_stacks tells it; moto means to hide NoEcho, and compares the wrong thing."""
    hidden = stack.resource_map.no_echo_parameter_keys
    return [
        {"ParameterKey": name, "ParameterValue": "****" if name in hidden else value}
        for name, value in stack.resource_map.resolved_parameters.items()
    ]


Stack.parameter_list = property(parameter_list)


class Model:
    """A type of CloudFormation as moto calls it; an instance is one resource of a stack."""

    type: ClassVar[str]
    name_property: ClassVar[str] = ""
    name: str
    account: str
    region: str

    def put(self, properties: Json) -> None:
        """Make it, or make it so."""
        raise NotImplementedError

    def delete(self, account: str, region: str) -> None:
        """Take it away; where something else took it along, all is well."""
        raise NotImplementedError

    def get_cfn_attribute(self, name: str) -> str:
        """What Fn::GetAtt finds."""
        raise NotImplementedError(f"Fn::GetAtt of {self.type}: {name}")

    @property
    def physical_resource_id(self) -> str:
        """What Ref finds."""
        return self.name

    @classmethod
    def cloudformation_type(cls) -> str:
        return cls.type

    @classmethod
    def cloudformation_name_type(cls) -> str:
        return cls.name_property

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return True

    def is_created(self) -> bool:
        return True

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Json,
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> "Model":
        made = cls()
        made.name, made.account, made.region = resource_name, account_id, region_name
        made.put(cloudformation_json["Properties"])
        return made

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: "Model", cloudformation_json: Json, **_: Any
    ) -> "Model":
        original_resource.put(cloudformation_json["Properties"])
        return original_resource


class Api(Model):
    """moto reads its name alone, never changes it, and leaves it when the stack goes."""

    type = "AWS::ApiGateway::RestApi"
    id = ""

    @property
    def backend(self) -> APIGatewayBackend:
        return apigateway_backends[self.account][self.region]

    @property
    def physical_resource_id(self) -> str:
        return self.id

    def put(self, properties: Json) -> None:
        body = properties.get("Body")
        name = body["info"]["title"] if body else properties["Name"]
        self.id = self.id or self.backend.create_rest_api(name, "").id
        api = self.backend.get_rest_api(self.id)
        if body:
            api = self.backend.put_rest_api(self.id, body, fail_on_warnings=False, mode="overwrite")
        types = properties.get("EndpointConfiguration", {}).get("Types", ["EDGE"])
        api.endpoint_configuration = {"types": types}

    def get_cfn_attribute(self, name: str) -> str:
        return {"RestApiId": self.id}[name]

    def delete(self, account: str, region: str) -> None:
        self.backend.apis.pop(self.id, None)


class Deployment(Model):
    """moto's own has no id that a stage could refer to, and stays when the stack goes."""

    type = "AWS::ApiGateway::Deployment"
    api, name = "", ""

    def put(self, properties: Json) -> None:
        backend = apigateway_backends[self.account][self.region]
        self.api = properties["RestApiId"]
        made = backend.create_deployment(self.api, "", properties.get("Description", ""))
        self.name = made.id

    def delete(self, account: str, region: str) -> None:
        if api := apigateway_backends[account][region].apis.get(self.api):
            api.deployments.pop(self.name, None)


class Stage(Model):
    """moto has stages, but no stack can make them."""

    type = "AWS::ApiGateway::Stage"
    name_property = "StageName"
    api = ""

    def put(self, properties: Json) -> None:
        backend = apigateway_backends[self.account][self.region]
        self.api = properties["RestApiId"]
        stages = backend.get_rest_api(self.api).stages
        stage = stages.get(self.name) or backend.create_stage(self.api, self.name, "")
        stage.deployment_id = properties["DeploymentId"]
        stage.variables = dict(properties.get("Variables", {}))
        stage.tracing_enabled = properties.get("TracingEnabled")
        stage.method_settings = {
            method_key(setting): lower(setting) for setting in properties.get("MethodSettings", [])
        }
        logs = properties.get("AccessLogSetting")
        stage.access_log_settings = lower(logs) if logs else None

    def delete(self, account: str, region: str) -> None:
        if api := apigateway_backends[account][region].apis.get(self.api):
            api.stages.pop(self.name, None)


def method_key(setting: Json) -> str:
    """`*/*` for all methods.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-apigateway-stage-methodsetting.html
    """
    return f"{setting['ResourcePath'].removeprefix('/')}/{setting['HttpMethod']}"


def lower(setting: Json) -> Json:
    """CloudFormation's names as API Gateway spells them."""
    return {
        name[0].lower() + name[1:]: value
        for name, value in setting.items()
        if name not in ("ResourcePath", "HttpMethod")
    }


class Function(Model):
    """moto takes some of the properties, and has no room for logging and dead letters."""

    type = "AWS::Lambda::Function"
    name_property = "FunctionName"

    def put(self, properties: Json) -> None:
        backend = lambda_backends[self.account][self.region]
        tags = {tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])}
        properties = properties | {"FunctionName": self.name, "Tags": tags}
        if self.name in {function.function_name for function in backend.list_functions()}:
            function = backend.get_function(self.name)
            function.update_configuration(properties)
            function.update_function_code(properties["Code"])
            function.reserved_concurrency = properties.get("ReservedConcurrentExecutions")
            function.tags = tags
        else:
            backend.create_function(properties)

    def get_cfn_attribute(self, name: str) -> str:
        arn = lambda_backends[self.account][self.region].get_function(self.name).function_arn
        return {"Arn": arn}[name]

    def delete(self, account: str, region: str) -> None:
        lambda_backends[account][region].delete_function(self.name)


KEPT_OF_FUNCTIONS = ("LoggingConfig", "DeadLetterConfig")


@around(LambdaFunction)
def __init__(
    before: Any, function: Any, account_id: str, spec: Json, *args: Any, **more: Any
) -> None:
    before(function, account_id, spec, *args, **more)
    function.kept = {name: spec[name] for name in KEPT_OF_FUNCTIONS if name in spec}


@around(LambdaFunction)
def update_configuration(before: Any, function: Any, changes: Json) -> Json:
    function.kept |= {name: changes[name] for name in KEPT_OF_FUNCTIONS if name in changes}
    configuration: Json = before(function, changes)
    return configuration


@around(LambdaFunction)
def get_configuration(before: Any, function: Any, *args: Any, **kwargs: Any) -> Json:
    logs = {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{function.function_name}"}
    return {**before(function, *args, **kwargs), "LoggingConfig": logs, **function.kept}


@around(LambdaFunction)
def invoke(before: Any, function: Any, body: Any, *args: Any) -> Any:
    # moto would run it in Docker.
    function.invoked = [*getattr(function, "invoked", []), body]
    return ""


class Retries(Model):
    """moto has them, for its own calls alone."""

    type = "AWS::Lambda::EventInvokeConfig"

    def put(self, properties: Json) -> None:
        backend = lambda_backends[self.account][self.region]
        self.function = properties["FunctionName"]
        backend.put_function_event_invoke_config(
            self.function, {"MaximumRetryAttempts": properties["MaximumRetryAttempts"]}
        )

    def delete(self, account: str, region: str) -> None:
        pass  # they go with the function


class Alarm(Model):
    """moto has alarms, but no stack can make them."""

    type = "AWS::CloudWatch::Alarm"
    name_property = "AlarmName"

    def put(self, properties: Json) -> None:
        cloudwatch_backends[self.account][self.region].put_metric_alarm(
            name=self.name,
            namespace=properties.get("Namespace"),
            metric_name=properties.get("MetricName"),
            metric_data_queries=[query(metric) for metric in properties.get("Metrics", [])],
            comparison_operator=properties["ComparisonOperator"],
            evaluation_periods=properties["EvaluationPeriods"],
            period=properties.get("Period"),
            threshold=properties.get("Threshold"),
            statistic=properties.get("Statistic"),
            description=properties.get("AlarmDescription", ""),
            dimensions=properties.get("Dimensions", []),
            alarm_actions=properties.get("AlarmActions", []),
            ok_actions=properties.get("OKActions", []),
            treat_missing_data=properties.get("TreatMissingData"),
        )

    def get_cfn_attribute(self, name: str) -> str:
        return {"Arn": cloudwatch_backends[self.account][self.region].alarms[self.name].alarm_arn}[
            name
        ]

    def delete(self, account: str, region: str) -> None:
        cloudwatch_backends[account][region].alarms.pop(self.name, None)


def query(metric: Json) -> MetricDataQuery:
    """One of an alarm's Metrics."""
    found = None
    if stat := metric.get("MetricStat"):
        of = stat["Metric"]
        dimensions = [Dimension(one["Name"], one["Value"]) for one in of.get("Dimensions", [])]
        found = MetricStat(
            Metric(of["MetricName"], of["Namespace"], dimensions),
            stat["Period"],
            stat["Stat"],
            stat.get("Unit"),
        )
    return MetricDataQuery(
        query_id=metric["Id"],
        label=metric.get("Label"),
        period=metric.get("Period"),
        return_data=metric.get("ReturnData", True),
        expression=metric.get("Expression"),
        metric_stat=found,
    )


class Subscription(Model):
    """moto has none."""

    type = "AWS::SNS::Subscription"
    arn = ""

    @property
    def physical_resource_id(self) -> str:
        return self.arn

    def put(self, properties: Json) -> None:
        backend = sns_backends[self.account][self.region]
        if self.arn:  # AWS replaces it
            backend.unsubscribe(self.arn)
        to = properties["TopicArn"], properties["Endpoint"], properties["Protocol"]
        self.arn = backend.subscribe(*to).arn

    def delete(self, account: str, region: str) -> None:
        sns_backends[account][region].unsubscribe(self.arn)


for model in (Api, Deployment, Stage, Function, Retries, Alarm, Subscription):
    parsing.get_model_map()[model.type] = model
    parsing.get_model_list().insert(0, model)


def update_role(original_resource: Role, cloudformation_json: Json, **_: Any) -> Role:
    """moto would change the description alone."""
    properties = cloudformation_json["Properties"]
    original_resource.policies = {
        policy["PolicyName"]: json.dumps(policy["PolicyDocument"])
        for policy in properties.get("Policies", [])
    }
    return original_resource


_put_policy = Role.put_policy


def put_policy(self: Role, policy_name: str, policy_json: Any) -> None:
    """moto's CloudFormation hands on an object, which is then read back as Python and not JSON."""
    _put_policy(
        self, policy_name, policy_json if isinstance(policy_json, str) else json.dumps(policy_json)
    )


def update_log_group(original_resource: LogGroup, cloudformation_json: Json, **_: Any) -> LogGroup:
    """moto has no update."""
    original_resource.retention_in_days = cloudformation_json["Properties"].get("RetentionInDays")
    return original_resource


_log_group_attribute = LogGroup.get_cfn_attribute


def log_group_attribute(self: LogGroup, attribute_name: str) -> Any:
    """An ARN as CloudFormation gives it is that of the group's streams, which moto's is not.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-logs-loggroup.html
    """
    found = _log_group_attribute(self, attribute_name)
    return f"{found}:*" if attribute_name == "Arn" else found


def update_topic(original_resource: Topic, **_: Any) -> Topic:
    """moto makes a new one, of another ARN, while alarms go on to name the old."""
    return original_resource


Permission.physical_resource_id = "permission"  # moto has none
Role.put_policy = put_policy
Role.update_from_cloudformation_json = staticmethod(update_role)
LogGroup.get_cfn_attribute = log_group_attribute  # type: ignore[method-assign]
LogGroup.update_from_cloudformation_json = staticmethod(update_log_group)
Topic.update_from_cloudformation_json = staticmethod(update_topic)


# --- S3


@around(FakeBucket)
def get_permission(before: Any, bucket: FakeBucket, action: str, arn: str) -> PermissionResult:
    # moto takes no notice of NotResource, and takes every Deny with a condition for one that holds.
    denied = bucket.policy and denies(json.loads(bucket.policy), action, arn, {})
    return PermissionResult.DENIED if denied else PermissionResult.NEUTRAL


@around(S3Response)
def put_object(before: Any, request: S3Response) -> Any:
    obey_policy(request)
    return before(request)


@around(S3Response)
def copy_object(before: Any, request: S3Response) -> Any:
    obey_policy(request)
    return before(request)


@around(S3Response)
def _key_response_post(before: Any, request: S3Response, *args: Any) -> Any:
    if request._get_param("uploadId"):  # what completes a multipart upload
        obey_policy(request)
    return before(request, *args)


def obey_policy(request: S3Response) -> None:
    """Refuse what the bucket's policy denies to a request that makes an object."""
    policy = request.backend.get_bucket(request.bucket_name).policy
    arn = f"arn:aws:s3:::{request.bucket_name}/{request.parse_key_name()}"
    facts = {
        ("Null", "s3:if-none-match"): str("If-None-Match" not in request.headers).lower(),
        ("Bool", "s3:ObjectCreationOperation"): "true",
    }
    if policy and denies(json.loads(policy), "s3:PutObject", arn, facts):
        raise S3AccessDeniedError


Facts = Mapping[tuple[str, str], str]  # (operator, condition key): the value for which it holds


def denies(policy: Json, action: str, arn: str, facts: Facts) -> bool:
    """Whether a bucket policy denies an action to everybody; a condition on what is not among the
    facts is not met.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
    """
    return any(
        statement["Effect"] == "Deny"
        and names(statement, "Action", action)
        and names(statement, "Resource", arn)
        and all(
            facts.get((operator, key)) == str(value).lower()
            for operator, keys in statement.get("Condition", {}).items()
            for key, value in keys.items()
        )
        for statement in as_list(policy["Statement"])
    )


def names(statement: Mapping[str, Any], element: str, text: str) -> bool:
    """Whether a statement is about an action or a resource, `*` and `?` and Not… understood."""
    if element in statement:
        return any(matches(pattern, text) for pattern in as_list(statement[element]))
    return not any(matches(pattern, text) for pattern in as_list(statement[f"Not{element}"]))


def matches(pattern: str, text: str) -> bool:
    """In patterns of IAM, `[` is a letter like any other."""
    found = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(found, text, re.DOTALL) is not None


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
