"""Who may come in: what a guard makes of a request, without a server around it."""

from collections.abc import Mapping

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from support.project import TOKEN

from chalicelib import guards, responses
from chalicelib.apps import App
from chalicelib.guards import MayWrite, single_value
from chalicelib.responses import Refused, Response
from chalicelib.sources import source_named

OWN = "a-token-of-one-app-alone"
VARIABLES = {"validToken": TOKEN, "validToken_my__shop": OWN}
ANY_APP = App(source=source_named("generic"))


# --- by the stage's token


def let_in_by_token(
    authorization: str | None = None,
    variables: Mapping[str, str] | None = VARIABLES,
    **query: str | list[str],
) -> MayWrite:
    values = {name: value if isinstance(value, list) else [value] for name, value in query.items()}
    headers = {} if authorization is None else {"authorization": authorization}
    return guards.by_token({"stageVariables": variables}, values, headers, {})


def refusal(
    authorization: str | None = None,
    variables: Mapping[str, str] | None = VARIABLES,
    **query: str | list[str],
) -> Response:
    with pytest.raises(Refused) as refused:
        let_in_by_token(authorization, variables, **query)
    assert str(refused.value) == refused.value.response.reason
    return refused.value.response


def test_who_has_the_stage_s_token_may_write_to_every_app() -> None:
    assert let_in_by_token(token=TOKEN)(ANY_APP) is True
    assert let_in_by_token(token=TOKEN, app="shop")(ANY_APP) is True


def test_an_app_with_tokens_of_its_own_is_known_by_its_name() -> None:
    assert let_in_by_token(token=OWN, app="my-shop")(ANY_APP) is True
    assert refusal(token=TOKEN, app="my-shop") is responses.INVALID_TOKEN
    assert refusal(token=OWN, app="my_shop") is responses.INVALID_TOKEN


@pytest.mark.parametrize("app", ["my__shop", "", ["my-shop", "my-shop"], []])
def test_what_names_no_app_is_let_in_by_the_stage_s_token_alone(app: str | list[str]) -> None:
    """`my__shop` is no app, though the variable of `my-shop` is written like it."""
    assert let_in_by_token(token=TOKEN, app=app)
    assert refusal(token=OWN, app=app) is responses.INVALID_TOKEN


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + " ", [TOKEN, TOKEN], [TOKEN, "wrong"], []])
def test_a_token_is_given_once_and_is_the_right_one(token: str | list[str]) -> None:
    assert refusal(token=token) is responses.INVALID_TOKEN
    assert refusal(f"Bearer {TOKEN}", token=token) is responses.INVALID_TOKEN


@pytest.mark.parametrize(
    "authorization", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER  {TOKEN} "]
)
def test_without_a_token_in_the_query_a_bearer_is_read(authorization: str) -> None:
    assert let_in_by_token(authorization)
    assert let_in_by_token("Bearer of-somebody-else", token=TOKEN)


@pytest.mark.parametrize(
    "authorization",
    [None, "", TOKEN, "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer{TOKEN}"],
)
def test_any_other_authorization_lets_nobody_in(authorization: str | None) -> None:
    assert refusal(authorization) is responses.INVALID_TOKEN


@pytest.mark.parametrize("variables", [None, {}, {"validToken": " , "}, {"validToken_shop": ""}])
def test_a_stage_without_a_token_says_so_to_everyone(variables: dict[str, str] | None) -> None:
    assert refusal(None, variables, app="shop") is responses.NO_TOKEN
    assert refusal(None, variables, app="shop", token=TOKEN) is responses.NO_TOKEN


# --- by a signature, on your machine: nothing in an event has been checked by API Gateway

USER = "arn:aws:iam::123456789012:user/sumo"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ON_YOUR_MACHINE = {
    "AWS_CHALICE_CLI_MODE": "true",
    "LOCAL_IAM_CREDENTIALS": f"AKIDEXAMPLE:{SECRET}:{USER}",
}
IN_LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "hookshelf-dev"}


def signer(secret: str, environ: Mapping[str, str], **identity: str) -> MayWrite:
    """Let in a request that botocore has signed, with an identity that a caller could write."""
    request = AWSRequest(
        "POST", "http://127.0.0.1:8000/iam/input?app=sumo", {"host": "127.0.0.1:8000"}, b"{}"
    )
    SigV4Auth(Credentials("AKIDEXAMPLE", secret), "execute-api", "us-east-1").add_auth(request)
    event = {
        "requestContext": {"httpMethod": "POST", "path": "/iam/input", "identity": identity},
        "body": "{}",
    }
    headers = {name.lower(): value for name, value in request.headers.items()}
    return guards.by_iam(event, {"app": ["sumo"]}, headers, environ)


def may_write(letting_in: MayWrite, *principals: str) -> bool:
    return letting_in(ANY_APP._replace(principals=principals))


def test_on_your_machine_the_signature_says_who_writes() -> None:
    sumo = signer(SECRET, ON_YOUR_MACHINE, userArn="arn:aws:iam::123456789012:root")

    assert may_write(sumo, USER)
    assert not may_write(sumo, "arn:aws:iam::123456789012:root")
    assert not may_write(sumo)


def test_on_your_machine_nobody_is_taken_for_whom_an_event_names() -> None:
    with pytest.raises(Refused) as refused:
        signer("of-somebody-else", ON_YOUR_MACHINE, userArn=USER)

    assert refused.value.response is responses.APP_NOT_ALLOWED


def test_in_lambda_api_gateway_says_who_writes_and_nothing_else_does() -> None:
    root = signer("api-gateway-has-checked", IN_LAMBDA, userArn="arn:aws:iam::123456789012:root")

    assert may_write(root, "arn:aws:iam::*:root")
    assert not may_write(root, USER)
    with pytest.raises(Refused) as refused:
        signer(SECRET, ON_YOUR_MACHINE | IN_LAMBDA)
    assert refused.value.response is responses.APP_NOT_ALLOWED


# --- parameters


def test_a_parameter_has_a_value_where_it_is_given_exactly_once() -> None:
    query = {"once": ["a"], "twice": ["a", "a"], "empty": [""], "never": []}

    assert {name: single_value(query, name) for name in (*query, "missing")} == {
        "once": "a",
        "twice": None,
        "empty": "",
        "never": None,
        "missing": None,
    }
