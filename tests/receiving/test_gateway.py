"""From an event to a view and back, in Lambda and as Chalice knows the app: the same."""

import json

import pytest

from chalicelib import responses
from chalicelib.gateway import METHODS, Gateway, gateway
from chalicelib.local_gateway import ChaliceGateway

IN_LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "hookshelf-dev", "AWS_LAMBDA_LOG_FORMAT": "JSON"}


@pytest.fixture(params=[Gateway, ChaliceGateway])
def app(request):
    app = request.param(dict)

    @app.on("/input")
    def view(event, context):
        return responses.handshake_response(f"{event['stageVariables']} {context}", "text/plain")

    @app.on("/refused", signed=True)
    def refuse(event, context):
        return responses.NOT_STORED

    return app


def event(method="POST", path="/input", **more):
    return {"requestContext": {"httpMethod": method, "resourcePath": path}, **more}


@pytest.mark.parametrize("method", sorted({*METHODS} - {"HEAD"}))
def test_a_view_has_the_event_and_the_context_and_its_response_goes_out_as_it_is(app, method):
    response = app(event(method, stageVariables={"a": "b"}), "context")

    assert response == {
        "statusCode": 200,
        "headers": {
            "Content-Type": "text/plain",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        },
        "multiValueHeaders": {},
        "body": "{'a': 'b'} context",
        "isBase64Encoded": False,
    }


def test_a_response_to_head_has_no_body(app):
    assert app(event("HEAD"), None)["body"] == ""


def test_a_refusal_is_json_with_its_headers(app):
    response = app(event(path="/refused"), None)

    assert response["statusCode"] == 503
    assert response["headers"]["Content-Type"] == "application/json"
    assert response["headers"]["Retry-After"] == str(responses.RETRY_AFTER)
    assert json.loads(response["body"]) == responses.NOT_STORED.body


@pytest.mark.parametrize(
    ("sent", "status"), [(event("POST", "/nowhere"), 404), (event("TRACE"), 405)]
)
def test_what_has_no_route_is_refused_in_our_words(app, sent, status):
    response = app(sent, None)

    assert response["statusCode"] == status
    assert json.loads(response["body"])["result"] == "fail"


@pytest.mark.parametrize(("environ", "kind"), [({}, ChaliceGateway), (IN_LAMBDA, Gateway)])
def test_chalice_knows_the_app_everywhere_but_in_lambda(environ, kind):
    assert type(gateway(lambda: environ)) is kind
