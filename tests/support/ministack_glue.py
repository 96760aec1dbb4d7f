"""ministack, with what it lacks of AWS for our stack: run under the Python it is installed for.

Each function stands in for one gap, which its first line names; docs/proof.md lists them. Whatever
is not here behaves as ministack's authors wrote it, which is what these tests are for.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ministack import app
from ministack.core import iam_actions, tls
from ministack.services import apigateway_v1, lambda_svc
from ministack.services.cloudformation import provisioners

Json = dict[str, Any]
EXTENSION = "x-amazon-apigateway-"
REFUSED = "MINISTACK_REFUSES"  # a file with the logical id of a resource that cannot be made


def instead_of(owner: Any, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put the decorated function, which is given the original first, in the original's place."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        original = getattr(owner, name)

        def replacement(*args: Any, **options: Any) -> Any:
            return function(original, *args, **options)

        setattr(owner, name, replacement)
        for handlers in getattr(owner, "_RESOURCE_HANDLERS", {}).values():
            for operation, handler in handlers.items():
                if handler is original:
                    handlers[operation] = replacement
        return replacement

    return decorate


@instead_of(provisioners, "_cw_metric_alarm_record")
def alarm_with_metric_math(original: Any, name: str, properties: Json) -> Json:
    """An alarm's Metrics, in place of a MetricName and a Namespace: ministack refuses them.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-cloudwatch-alarm.html
    """
    refused = Path(os.environ[REFUSED])
    if refused.exists() and refused.read_text() in name:  # no gap: for tests of a rollback
        raise ValueError("Resource handler returned message: refused by the test")
    metrics = properties.get("Metrics")
    if not metrics:
        return dict(original(name, properties))
    plain = {key: value for key, value in properties.items() if key != "Metrics"}
    named = {"MetricName": "of its expression", "Namespace": "of its expression"}
    return original(name, plain | named) | {"Metrics": metrics}


@instead_of(apigateway_v1, "_import_rest_api")
def import_of_extensions(original: Any, document: Json, data: Json | None = None) -> str:
    """Binary media types and gateway responses of an imported document: ministack drops them.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions.html
    """
    given = dict(data or {})
    types = document.get(f"{EXTENSION}binary-media-types", [])
    api: str = original(document, given | {"binaryMediaTypes": types})
    for kind, response in document.get(f"{EXTENSION}gateway-responses", {}).items():
        apigateway_v1._put_gateway_response(api, kind, response)
    return api


def _complete(name: str, properties: Json) -> None:
    function = lambda_svc._functions[name]
    function["config"].pop("DeadLetterConfig", None)
    if "DeadLetterConfig" in properties:
        function["config"]["DeadLetterConfig"] = properties["DeadLetterConfig"]
    function["concurrency"] = properties.get("ReservedConcurrentExecutions")


@instead_of(provisioners, "_lambda_create")
def new_function(original: Any, logical_id: str, properties: Json, stack: str) -> Any:
    """A function's dead-letter queue and reserved concurrency: ministack's stacks drop them."""
    created = original(logical_id, properties, stack)
    _complete(created[0], properties)
    return created


@instead_of(provisioners, "_lambda_update")
def updated_function(original: Any, name: str, before: Json, after: Json, *rest: Any) -> Any:
    """The same when a stack is updated."""
    updated = original(name, before, after, *rest)
    _complete(updated[0] if isinstance(updated, tuple) else name, after)
    return updated


@instead_of(iam_actions, "s3_service_context")
def conditions_of_puts(
    original: Any, action: str, query: Json | None, path: str = "", headers: Json | None = None
) -> Json:
    """The condition keys s3:if-none-match and s3:ObjectCreationOperation: ministack has neither.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
    """
    context = dict(original(action, query, path, headers))
    if action == "s3:PutObject" and path.lstrip("/").partition("/")[2]:
        given = {name.lower(): value for name, value in (headers or {}).items()}
        if "if-none-match" in given:
            context["s3:if-none-match"] = given["if-none-match"]
        creates = not {"partNumber", "uploads"} & set(query or {})
        context["s3:ObjectCreationOperation"] = str(creates).lower()
    return context


@instead_of(tls, "trust_gateway_cert")
def certificate_of_the_system(original: Any, environ: dict[str, str]) -> None:
    """Not a gap: it names the certificate in AWS_CA_BUNDLE, for which hookshelf takes boto3."""


@instead_of(app, "_port_is_bindable")
def no_port_of_the_machine(original: Any, host: str, port: int) -> bool:
    """Not a gap: with TLS it would take port 443 too, which is not ours to take."""
    return False


if __name__ == "__main__":
    sys.argv[0] = "ministack"
    sys.exit(app.main())
