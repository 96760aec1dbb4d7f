"""A healthy deployment on the server that plays AWS, for rehearsing what can go wrong with it."""

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from moto.apigateway.models import apigateway_backends
from moto.awslambda.models import lambda_backends
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends

from chalicelib.responses import RETRY_AFTER
from chalicelib.routes import INPUT
from hookshelf.deploy.bucket import harden
from hookshelf.deploy.deployment import HANDLERS, function_name
from hookshelf.deploy.policies import policies
from hookshelf.doctor.checks.api import GATEWAY_RESPONSES
from support.project import TOKEN

STAGE = "dev"
BUCKET = "my-webhooks"
ACCOUNT = "123456789012"
HERE = f"us-east-1:{ACCOUNT}"
MEMBER = f"sha256:{sha256(TOKEN.encode()).hexdigest()}"
ENVIRONMENT = {"ARCHIVE_BUCKETS": f"{BUCKET}/in", "ARCHIVE_BUCKET_OWNER": ACCOUNT}
AGAIN = {
    "statusCode": "503",
    "responseParameters": {"gatewayresponse.header.Retry-After": f"'{RETRY_AFTER}'"},
}
ACCESS_LOG = '{"id":"$context.requestId","path":"$context.path","status":"$context.status"}'
QUEUES = {name: f"arn:aws:sqs:{HERE}:{name}-letters" for name in ("deliver", "track_s3")}
LOGS = {name: f"arn:aws:logs:{HERE}:log-group:hookshelf-{name}:*" for name in HANDLERS}


# What is deployed there: moto's state, in this process.
SERVICES: dict[str, Any] = {
    "s3": s3_backends,
    "iam": iam_backends,
    "lambda": lambda_backends,
    "apigateway": apigateway_backends,
}
# service, account and region: the backend, and its state
Account = dict[tuple[str, str, str], tuple[Any, dict[str, Any]]]


def client(service: str) -> Any:
    """A client of our own, which hears nothing of what the tests do to boto3's default session."""
    return _client(service, os.environ["AWS_ENDPOINT_URL"])


@cache
def _client(service: str, endpoint: str) -> Any:
    return _session().client(service, endpoint_url=endpoint)


@cache
def shared_client(service: str, endpoint: str) -> Any:
    """The one client of a service that hookshelf gets: making one takes longer than its calls."""
    return _session().client(service, endpoint_url=endpoint)


@cache
def _session() -> boto3.session.Session:
    """One for all, as each reads the models of every service anew."""
    return boto3.session.Session()


def share_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `boto3.client` give the same client each time that nothing special is asked of it."""
    make = boto3.client

    def client(service: str, **arguments: Any) -> Any:
        if arguments:
            return make(service, **arguments)
        return shared_client(service, os.environ["AWS_ENDPOINT_URL"])

    monkeypatch.setattr(boto3, "client", client)


@dataclass(frozen=True, slots=True)
class Deployed:
    """What was made, and short ways to change it."""

    api: str
    project: Path  # what the doctor takes for the checkout
    described: dict[str, Any] = field(default_factory=dict)

    def stage(self, *operations: str) -> None:
        """Patch the stage: `path=value`, or `path` alone to remove."""
        patches = [operation.partition("=") for operation in operations]
        client("apigateway").update_stage(
            restApiId=self.api,
            stageName="api",
            patchOperations=[
                {"op": "replace", "path": path, "value": value}
                if equals
                else {"op": "remove", "path": path}
                for path, equals, value in patches
            ],
        )

    def function(self, handler: str, **changes: Any) -> None:
        """Change the configuration of a function."""
        client("lambda").update_function_configuration(
            FunctionName=function_name(STAGE, handler), **changes
        )

    def environment(self, *handlers: str, **variables: str | None) -> None:
        """Give functions, or all, these variables beside those they have; None takes one away."""
        for handler in handlers or HANDLERS:
            name = function_name(STAGE, handler)
            there = client("lambda").get_function_configuration(FunctionName=name)
            wanted = there["Environment"]["Variables"] | variables
            kept = {name: value for name, value in wanted.items() if value is not None}
            self.function(handler, Environment={"Variables": kept})

    def describe(self, **extensions: Any) -> None:
        """Import the API anew, its description changed by `x-amazon-apigateway-` extensions."""
        function = f"arn:aws:lambda:{HERE}:function:{function_name(STAGE, 'api_handler')}"
        self.described.update(extensions)
        put_api(self.api, function, self.described)

    def allow(self, handler: str, action: str, resource: str, policy: str = "more") -> None:
        """Add a policy to a function's role."""
        client("iam").put_role_policy(
            RoleName=function_name(STAGE, handler),
            PolicyName=policy,
            PolicyDocument=allowing(action, resource),
        )

    def variables(self) -> dict[str, str]:
        """The stage's variables as they are."""
        found = client("apigateway").get_stage(restApiId=self.api, stageName="api")
        return dict(found.get("variables") or {})


def deploy(project: Path) -> Deployed:
    """A stage as `chalice deploy` leaves it, with all that the doctor would have besides.

    It is deployed once; whoever wants it later gets the account as it was then, into an empty one.
    """
    api, account = _deploy_once(os.environ["AWS_ENDPOINT_URL"])
    themselves = {id(backend): backend for backend, _ in account.values()}  # no state copies them
    for (service, number, region), (backend, state) in account.items():
        backend.__dict__ = deepcopy(state, dict(themselves))
        SERVICES[service][number][region] = backend
        if service == "lambda":
            _index_functions(backend)
    arn = f"arn:aws:lambda:{HERE}:function:"
    noted = [
        {"name": name, "lambda_arn": f"{arn}{function_name(STAGE, name)}"} for name in HANDLERS
    ]
    url = f"https://{api}.execute-api.us-east-1.amazonaws.com/api/"
    noted.append({"name": "rest_api", "rest_api_id": api, "rest_api_url": url})
    folder = project / ".chalice" / "deployed"
    folder.mkdir(parents=True)
    (folder / f"{STAGE}.json").write_text(json.dumps({"resources": noted}))
    return Deployed(api, project)


def _index_functions(backend: Any) -> None:
    """Find functions by ARN again: moto does so by weak references, which no copy follows."""
    storage = backend._lambdas
    storage._arns.clear()
    for versions in storage._functions.values():
        storage._arns[versions["latest"].function_arn] = versions["latest"]


@cache
def _deploy_once(endpoint: str) -> tuple[str, Account]:
    """The API's id, and a copy of all that there is in the account."""
    list(harden(BUCKET, ["in"]))
    functions = {handler: _function(handler) for handler in HANDLERS}
    api = _api(functions["api_handler"])
    Deployed(api, Path()).stage(
        "/*/*/throttling/rateLimit=50",
        "/*/*/throttling/burstLimit=100",
        "/*/*/logging/loglevel=OFF",
        f"/accessLogSettings/format={ACCESS_LOG}",
    )
    there = {
        (service, number, region): backend
        for service, backends in SERVICES.items()
        for number, regions in backends.items()
        for region, backend in regions.items()
    }
    themselves = {id(backend): backend for backend in there.values()}
    return api, {
        which: (backend, deepcopy(vars(backend), dict(themselves)))
        for which, backend in there.items()
    }


def _function(handler: str) -> str:
    iam, name = client("iam"), function_name(STAGE, handler)
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    documents = policies(STAGE, ENVIRONMENT, logs=LOGS, dead_letters=QUEUES)
    document = json.dumps(documents[handler])
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=document)
    queue = {"DeadLetterConfig": {"TargetArn": QUEUES[handler]}} if handler in QUEUES else {}
    made = client("lambda").create_function(
        FunctionName=name,
        Role=role,
        Runtime="python3.13",
        Handler=f"app.{handler}",
        Code={"ZipFile": _code()},
        Timeout=15,
        MemorySize=512,
        Environment={"Variables": ENVIRONMENT},
        LoggingConfig={"LogGroup": f"hookshelf-{handler}"},
        **queue,
    )
    arn: str = made["FunctionArn"]
    return arn


def _api(function: str) -> str:
    gateway = client("apigateway")
    api: str = gateway.create_rest_api(name="hookshelf")["id"]
    put_api(api, function, {})
    gateway.create_deployment(restApiId=api, stageName="api", variables={"validToken": MEMBER})
    return api


def put_api(api: str, function: str, extensions: dict[str, Any]) -> None:
    """Import a description, as Chalice does, with what it would say otherwise in `extensions`."""
    invoke = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{function}/invocations"
    integration = {"type": "aws_proxy", "httpMethod": "POST", "uri": invoke}
    document = {
        "swagger": "2.0",
        "info": {"title": "hookshelf", "version": "1"},
        "paths": {INPUT: {"post": {"x-amazon-apigateway-integration": integration}}},
        "x-amazon-apigateway-binary-media-types": ["*/*"],
        "x-amazon-apigateway-gateway-responses": {kind: AGAIN for kind in GATEWAY_RESPONSES},
    }
    document |= {
        f"x-amazon-apigateway-{name.replace('_', '-')}": value for name, value in extensions.items()
    }
    client("apigateway").put_rest_api(
        restApiId=api, mode="overwrite", body=json.dumps(document).encode()
    )


def allowing(action: str, resource: str) -> str:
    """A policy of one statement."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@cache
def _code() -> bytes:
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("app.py", "")
    return bundle.getvalue()


# --- what AWS would say, and moto does not

REFUSED = {
    "s3": (b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>", {}),
    "iam": (b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>", {}),
    "sts": (b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>", {}),
    "kms": (b'{"__type": "AccessDeniedException"}', {}),
    "lambda": (b'{"Message": "no"}', {"x-amzn-errortype": "AccessDeniedException"}),
    "api-gateway": (b'{"message": "no"}', {"x-amzn-errortype": "AccessDeniedException"}),
}
Handler = Callable[..., AWSResponse | None]


class Bytes(io.BytesIO):
    """What botocore reads an answer from."""

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        """All of it."""
        yield self.read()


@contextmanager
def refusing(*calls: str, where: Callable[[Any], bool] = lambda _: True) -> Iterator[None]:
    """Refuse calls that are made through shared clients, as AWS does.

    A call is like `s3.GetBucketPolicy`; `where` says of a request whether it is refused.
    """
    with instead({f"before-send.{call}": _refused(call, where) for call in calls}):
        yield


@contextmanager
def instead(handlers: Mapping[str, Handler]) -> Iterator[None]:
    """Let handlers of botocore's events respond in the place of the server."""
    services = {
        event: event.split(".")[1].replace("api-gateway", "apigateway") for event in handlers
    }
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    for event, handler in handlers.items():
        shared_client(services[event], endpoint).meta.events.register(event, handler)
    yield
    for event, handler in handlers.items():
        shared_client(services[event], endpoint).meta.events.unregister(event, handler)


def _refused(call: str, where: Callable[[Any], bool]) -> Handler:
    body, headers = REFUSED[call.partition(".")[0]]

    def answer(request: Any, **_: Any) -> AWSResponse | None:
        said = b"" if request.method == "HEAD" else body
        return AWSResponse(request.url, 403, headers, Bytes(said)) if where(request) else None

    return answer
