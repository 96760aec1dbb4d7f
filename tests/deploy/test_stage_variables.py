"""What a stage's variables hold, what API Gateway takes, and that a change is really there."""

from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.stage import deploy, hashed, live, shell

from chalicelib import tokens
from chalicelib.errors import HookshelfError, MisuseError
from chalicelib.keys import is_app
from hookshelf.deploy import stage_variables
from hookshelf.deploy.deployment import Deployment
from hookshelf.deploy.stage_variables import (
    CLOSED,
    added,
    app_of_variable,
    check_variables,
    new_token,
    parse_members,
    patch_operations,
    token_variables,
    without,
)


@pytest.fixture
def endpoint(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in shell(moto_endpoint).items():
        monkeypatch.setenv(name, value)
    return moto_endpoint


def test_variables_are_read_added_changed_and_taken_away(endpoint: str) -> None:
    deployment = deploy(endpoint, validToken="one", region="eu", validToken_shop="two")
    stage_variables.write(deployment, {"validToken": "new", "more": "yes", "region": None})

    expected = {"validToken": "new", "validToken_shop": "two", "more": "yes"}
    assert live(endpoint, deployment) == expected
    assert stage_variables.read(deployment) == expected


def test_a_stage_without_variables_reads_as_none(endpoint: str) -> None:
    assert stage_variables.read(deploy(endpoint)) == {}


def test_a_change_is_told_as_a_patch_and_what_is_so_already_is_not_told() -> None:
    live = {"same": "1", "other": "2", "old": "3"}
    changes = {"same": "1", "other": "5", "new": "6", "old": None, "never": None, "a/b~c": "7"}

    assert patch_operations(live, changes) == [
        {"op": "replace", "path": "/variables/other", "value": "5"},
        {"op": "replace", "path": "/variables/new", "value": "6"},
        {"op": "remove", "path": "/variables/old"},
        {"op": "replace", "path": "/variables/a~1b~0c", "value": "7"},
    ]


class Forgetful(BaseHTTPRequestHandler):
    """An API Gateway that takes every change and keeps none."""

    changes: list[bytes]

    def do_PATCH(self) -> None:
        self.changes.append(self.rfile.read(int(self.headers["content-length"])))
        self.do_GET()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"stageName": "api", "variables": {"validToken": "one"}}')

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    handler = type("Handler", (Forgetful,), {"changes": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        for name, value in shell(f"http://127.0.0.1:{server.server_port}").items():
            monkeypatch.setenv(name, value)
        thread = Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield handler.changes
        server.shutdown()
        thread.join()


def test_a_change_that_is_not_there_when_read_back_is_an_error(forgetful: list[bytes]) -> None:
    deployment = Deployment("dev", "stack", "api-id", "https://example.org/api", {})
    with pytest.raises(HookshelfError, match=r"validToken reads otherwise.*token list"):
        stage_variables.write(deployment, {"validToken": "two"})

    assert len(forgetful) == 1


def test_nothing_is_sent_where_nothing_changes(forgetful: list[bytes]) -> None:
    deployment = Deployment("dev", "stack", "api-id", "https://example.org/api", {})
    stage_variables.write(deployment, {"validToken": "one", "other": None})

    assert forgetful == []


REFUSED = {
    "a name too long": ({"validToken_" + "a" * 54: "x"}, "API Gateway takes 64"),
    "an empty name": ({"": "x"}, "cannot name a stage variable"),
    "a name with a dash": ({"validToken_my-shop": "x"}, "cannot name a stage variable"),
    "a name beyond ASCII": ({"tökén": "x"}, "cannot name a stage variable"),
    "a name with a line end": ({"a\n": "x"}, "cannot name a stage variable"),
    "a value too long": ({"a": "x" * 513}, "Revoke one first"),
    "an empty value": ({"a": ""}, "would be empty"),
    "a value with a blank": ({"a": "canary-x y"}, "does not take"),
    "a value with a plus": ({"a": "canary-x+y"}, "does not take"),
    "a value with a line end": ({"a": "canary-x\n"}, "does not take"),
    "a value beyond ASCII": ({"a": "canary-é"}, "does not take"),
    "too many": ({f"v{n}": "x" for n in range(101)}, "API Gateway takes 100"),
}


@pytest.mark.parametrize(("variables", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_api_gateway_refuses_is_refused_before(variables, reason) -> None:
    with pytest.raises(MisuseError, match=reason) as refused:
        check_variables(variables)

    assert "https://docs.aws.amazon.com/apigateway/" in str(refused.value)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"a" * 64: "x" * 512},
        {"validToken_my__shop": "A-Za-z0-9._~:/?#&=,"},
        {f"v{n}": "x" for n in range(100)},
        {"validToken": CLOSED},
    ],
)
def test_what_api_gateway_takes_is_taken(variables) -> None:
    check_variables(variables)


def test_a_refused_change_changes_nothing(endpoint: str) -> None:
    full = {f"v{n}": "x" for n in range(100)}
    deployment = deploy(endpoint, **full)
    with pytest.raises(MisuseError, match="101 stage variables"):
        stage_variables.write(deployment, {"one_more": "x"})
    with pytest.raises(MisuseError, match="513 characters"):
        stage_variables.write(deployment, {"v0": "y", "v1": "x" * 513})

    assert live(endpoint, deployment) == full


def test_one_variable_for_another_fits_into_a_full_stage(endpoint: str) -> None:
    deployment = deploy(endpoint, **{f"v{n}": "x" for n in range(100)})
    stage_variables.write(deployment, {"one_more": "x", "v0": None})

    assert len(live(endpoint, deployment)) == 100


def test_a_new_token_is_long_its_own_and_let_in_by_its_member() -> None:
    made = [new_token() for _ in range(100)]

    assert len({token for token, _ in made}) == 100
    for token, member in made:
        assert len(token) == 43
        check_variables({"plain": token, "validToken": member})
        tokens.check_token({"validToken": member}, None, token)


def test_members_say_what_they_are_and_show_no_token() -> None:
    listed = parse_members(f" canary , {hashed('canary')},sha256:canary,, {hashed('')} ,{CLOSED}")

    kinds = ["plain", "hashed", "unusable", "unusable", "unusable", "unusable"]
    assert [one.kind for one in listed] == kinds
    assert [one.usable for one in listed] == [True, True, False, False, False, False]
    assert listed[0].fingerprint == listed[1].fingerprint == sha256(b"canary").hexdigest()[:12]
    assert "canary" not in repr(listed)


def test_the_fingerprint_of_a_hash_in_capitals_is_the_same() -> None:
    capitals = "sha256:" + sha256(b"one").hexdigest().upper()

    assert parse_members(capitals)[0].digest == parse_members("one")[0].digest


@given(st.text(st.sampled_from("ab,: \t\0é\ud800") | st.characters(), max_size=40))
@example("sha256:" + "A" * 64)
@example(f"sha256:,{CLOSED},sha256:{sha256(b'').hexdigest()}")
def test_a_member_is_usable_exactly_where_someone_is_let_in(value: str) -> None:
    try:
        tokens.check_token({"validToken": value}, None, "nobody-s")
    except tokens.NoToken:
        is_open = False
    except tokens.WrongToken:
        is_open = True

    assert any(one.usable for one in parse_members(value)) == is_open


def test_a_member_is_added_last_and_all_others_stay() -> None:
    assert added(None, "new") == "new"
    assert added("", "new") == "new"
    assert added("one, sha256:bad,two", "new") == "one,sha256:bad,two,new"


def test_opening_a_closed_stage_takes_away_what_closed_it() -> None:
    assert added(CLOSED, "new") == "new"
    assert added(f"one,{CLOSED},", "new") == "one,new"


def test_members_are_taken_out_however_they_are_written() -> None:
    [one] = parse_members("one")

    assert without(f"one,two,{hashed('one')},sha256:bad", {one.digest}) == "two,sha256:bad"


def test_a_list_without_members_is_closed_and_never_empty() -> None:
    [one] = parse_members("one")

    assert without("one", {one.digest}) == CLOSED
    with pytest.raises(tokens.NoToken):
        tokens.check_token({"validToken": "two", "validToken_shop": CLOSED}, "shop", "two")


@given(st.from_regex(r"[A-Za-z0-9]+([-_][A-Za-z0-9]+)*", fullmatch=True).filter(is_app))
def test_the_app_of_a_variable_is_the_one_it_is_named_for(app: str) -> None:
    assert app_of_variable(tokens.variable_name(app)) == app


@pytest.mark.parametrize(
    "name",
    ["validToken", "validToken_", "validToken_a___b", "validToken_a-b", "validtoken_a", "shop"],
)
def test_any_other_variable_is_of_no_app(name: str) -> None:
    assert app_of_variable(name) is None


def test_the_variables_with_tokens_are_found_the_stage_s_first() -> None:
    variables = dict.fromkeys(["validToken_my__shop", "url", "validToken_Z", "validToken"], "x")

    assert list(token_variables(variables).items()) == [
        ("validToken", None),
        ("validToken_Z", "Z"),
        ("validToken_my__shop", "my-shop"),
    ]
