"""APPS_FILE: what an app is configured to be, and what a mistake in it leads to."""

import json
import os
import re
import threading
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import boto3
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st
from support.loops import for_each
from support.project import CREDENTIALS, PROJECT, TOKEN

from app import app
from chalicelib import apps, models, responses
from chalicelib.delivery import Delivery
from chalicelib.settings import LambdaEnviron, SettingError
from chalicelib.sources import source_named, source_names
from chalicelib.types import Verdict

BODY = b'{"action": "opened"}'
CANARY = "canary-in-a-coal-mine"
FILES = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FILES:
    """Write an APPS_FILE, a new one each time, and set the environment to it."""
    monkeypatch.setenv("ARCHIVE_FOLDER", str(tmp_path / "archive"))
    monkeypatch.setenv("ARCHIVE_BUCKETS", "events")

    def write(text: str) -> Path:
        file = tmp_path / f"apps-{uuid4().hex}.json"
        file.write_text(text)
        monkeypatch.setenv("APPS_FILE", str(file))
        return file

    return write


def deliver(
    app_name: str, secret: str = "", *, method: str = "POST", token: str = TOKEN
) -> tuple[int, dict[str, Any]]:
    """Deliver as GitHub would, signed where there is a secret: the status, and the answer."""
    sign = source_named("github").sign
    assert sign
    query = {"token": [token], "app": [app_name]}
    event = {
        "requestContext": {"httpMethod": method, "resourcePath": "/input", "requestId": "r-1"},
        "headers": {"content-type": "application/json"} | (sign(BODY, secret, 0) if secret else {}),
        "multiValueQueryStringParameters": query,
        "stageVariables": {"validToken": TOKEN},
        "body": b64encode(BODY).decode(),
        "isBase64Encoded": True,
    }
    answer = app(event, None)
    return answer["statusCode"], json.loads(answer["body"])


def github(*secrets: str, **fields: Any) -> dict[str, Any]:
    return {"source": "github", "secrets": list(secrets), "signature": "require", **fields}


# --- rotation


def test_while_a_secret_is_rotated_the_old_and_the_new_are_accepted(write: FILES) -> None:
    write(json.dumps({"shop": github("old", "new")}))

    assert [deliver("shop", secret)[0] for secret in ("old", "new", "other")] == [200, 200, 403]


def test_a_secret_that_was_taken_out_is_refused(write: FILES) -> None:
    write(json.dumps({"shop": github("old", "new")}))
    before = deliver("shop", "old")[0]
    write(json.dumps({"shop": github("new")}))

    assert before == 200
    assert [deliver("shop", secret)[0] for secret in ("old", "new")] == [403, 200]


def test_a_changed_file_counts_from_the_next_delivery_on(write: FILES) -> None:
    file = write(json.dumps({"shop": github("old")}))
    before = deliver("shop", "newer")[0]
    file.write_text(json.dumps({"shop": github("newer")}))

    assert (before, deliver("shop", "newer")[0]) == (403, 200)


def test_in_lambda_a_changed_file_counts_too_unless_it_is_in_the_package(
    write: FILES, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(json.dumps({"shop": {}}))
    outside = LambdaEnviron(os.environ)
    before = apps.entries(outside)
    monkeypatch.setattr(apps, "ROOT", str(file.parent))
    packaged = LambdaEnviron(os.environ | {"APPS_FILE": file.name})
    assert apps.entries(packaged) == before == {"shop": {}}
    file.write_text(json.dumps({"shop": {}, "mail": {}}))

    assert apps.entries(outside) == {"shop": {}, "mail": {}}
    assert apps.entries(packaged) == {"shop": {}}  # as if nobody could have written there


def test_in_lambda_a_packaged_file_that_cannot_be_read_is_wrong_for_each_delivery(
    write: FILES, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("nonsense")
    monkeypatch.setattr(apps, "ROOT", str(file.parent))
    packaged = LambdaEnviron(os.environ)

    for _ in range(2):
        with pytest.raises(SettingError, match="is not JSON"):
            apps.entries(packaged)


def test_in_lambda_a_changed_secret_in_a_file_elsewhere_counts_from_the_next_delivery_on(
    write: FILES,
) -> None:
    file = write(json.dumps({"shop": github("old")}))
    environ = LambdaEnviron(os.environ)
    before = apps.app_named("shop", environ).keys.secrets
    file.write_text(json.dumps({"shop": github("newer")}))

    assert (before, apps.app_named("shop", environ).keys.secrets) == ((b"old",), (b"newer",))


def test_the_secret_of_one_app_is_worth_nothing_at_another(write: FILES) -> None:
    write(json.dumps({"shop": github("one"), "post": github("two")}))

    assert [deliver("shop", "two")[0], deliver("post", "two")[0]] == [403, 200]


# --- the file


def test_without_a_file_nothing_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "DEFAULT_FILE", "no-such-folder/apps.json")

    assert apps.entries({}) == {}
    assert models.check_apps({}) == {}
    assert apps.app_named("github", {}) == apps.App(source=source_named("github"))


def test_a_relative_path_is_counted_from_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert "stages" in apps.entries({"APPS_FILE": ".chalice/config.json"})


def test_what_stage_local_is_configured_with_is_in_order() -> None:
    found = models.check_apps({"HOOKSHELF_TRYOUT": "true"})

    assert {"sendgrid", "stripe", "github"} <= set(found) <= source_names() | {"payments", "sumo"}


BROKEN_FILES = {
    "not JSON": '{"shop": ',
    "empty": "",
    "a list": "[]",
    "text": '"shop"',
    "an app twice": '{"shop": {"source": "github"}, "shop": {}}',
    "a field twice": '{"shop": {"secrets": ["' + CANARY + '"], "secrets": []}}',
    "nested too deep": "[" * 100_000,
    "an integer too long": '{"shop": {"max_age": 1' + "0" * 5000 + "}}",
}


@pytest.mark.parametrize("text", BROKEN_FILES.values(), ids=BROKEN_FILES)
def test_a_file_that_is_broken_as_a_whole_is_named_and_503_for_every_app(
    write: FILES, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    write(text)
    with pytest.raises(SettingError) as caught:
        models.check_apps(os.environ)

    assert caught.value.variable == "APPS_FILE"
    assert CANARY not in str(caught.value)
    assert [deliver(name)[0] for name in ("shop", "github", "other")] == [503] * 3
    assert {setting for setting, _ in logged(capsys)} == {"APPS_FILE"}


def test_what_stands_twice_is_named(write: FILES) -> None:
    write(BROKEN_FILES["an app twice"])
    with pytest.raises(SettingError, match="names 'shop' twice"):
        models.check_apps(os.environ)


@pytest.mark.parametrize("name", ["no-such-file.json", "chalicelib", "app.py/apps.json"])
def test_a_file_that_is_named_and_cannot_be_read_is_503(
    write: FILES, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write("{}")
    monkeypatch.setenv("APPS_FILE", name)
    with pytest.raises(SettingError) as caught:
        models.check_apps(os.environ)

    assert caught.value.variable == "APPS_FILE"
    assert deliver("shop")[0] == 503


def test_an_app_whose_name_is_none_is_an_error(write: FILES) -> None:
    write('{"no app": {}}')
    with pytest.raises(SettingError, match="'no app'"):
        models.check_apps(os.environ)


# --- one entry


def spki(public_key: Any) -> str:
    der = public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return b64encode(der).decode()


P256 = spki(ec.derive_private_key(1, ec.SECP256R1()).public_key())
P384 = spki(ec.derive_private_key(1, ec.SECP384R1()).public_key())
RSA = (
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvElYu+fZsfgDQT+p58o8EIIz925zXBjEjh6m8zzaaY4q"
    "+pkuyfwks1OC2UX84KQCl9AxnOSFwqTbsUokEnAudMtniji+Fu0UfkjInnQ9CfRcY6oa8gMBt3bSog3xl7UIlBqE"
    "Y/bxgtwLcEmomP/nxJPPLVSxX3E2xIZcNGHNqKoJ7eJSsXju816N9jE8sq9Ze4Zha+IET+lTdSjWyadzjoV9yUvw"
    "RgPFnXuwkdjrG9gRiJ6+6i0SH8M2Be9FzT6TafU8+rho10xk3GYuncPTk8AZ1YuZuG68qHgChZvAHOdEGAfa1eH6"
    "wPkE6X/ioJWnWWLVlis1ITO82OkX4SMkawIDAQAB"
)
ED25519 = spki(ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32).public_key())
WHPK = "whpk_" + b64encode(b"k" * 32).decode()
PEM = f"-----BEGIN PUBLIC KEY-----\n{P256}\n-----END PUBLIC KEY-----\n"

GOOD: list[Any] = [
    {},
    {"source": "github"},
    {"source": "github", "secrets": []},
    {"source": "github", "secrets": ["one", "two"]},
    {"source": "github", "secrets": ["env:SECRET_OF_THIS_TEST"]},
    {"source": "github", "secrets": ["arn:aws:is:not:a:reference"]},
    {"source": "sendgrid", "public_keys": [P256, PEM], "signature": "require"},
    {"source": "sendgrid", "public_keys": [P256], "max_age": 300},
    {"source": "standard", "secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]},
    {"source": "standard", "public_keys": [WHPK], "max_age": 0.5},
    {"source": "slack", "max_age": None},
    {"source": "github", "signature": "record"},
    {"source": "github", "signature": "ignore", "secrets": ["env:NO_SUCH_VARIABLE"]},
    {"any_body": True, "principals": ["arn:aws:iam::123456789012:role/*"]},
    {"paths": {"id": "data.id", "time": "data.at", "subject": "data.customer.email"}},
    {"source": "generic", "paths": {}},
    {"source": "github", "paths": {}},
]
BAD: list[tuple[str, Any]] = [
    ("entry", [CANARY]),
    ("entry", CANARY),
    ("entry", None),
    ("sources", {"sources": CANARY}),
    ("Secrets", {"Secrets": [CANARY]}),
    ("source", {"source": CANARY}),
    ("source", {"source": ""}),
    ("source", {"source": None}),
    ("source", {"source": [CANARY]}),
    ("source", {"source": "SendGrid"}),
    ("secrets", {"source": "github", "secrets": CANARY}),
    ("secrets", {"source": "github", "secrets": {CANARY: 1}}),
    ("secrets", {"source": "github", "secrets": None}),
    ("secrets[1]", {"source": "github", "secrets": ["one", 2]}),
    ("secrets[0]", {"source": "github", "secrets": [""]}),
    ("secrets[0]", {"source": "github", "secrets": [" \n"]}),
    ("secrets[0]", {"source": "github", "secrets": [f"{CANARY}\ud800"]}),
    ("secrets[0]", {"source": "github", "secrets": ["env:\ud800"]}),
    ("secrets[1]", {"source": "github", "secrets": [CANARY, "env:NO_SUCH_VARIABLE"]}),
    ("secrets[0]", {"source": "standard", "secrets": [f"whsec_{CANARY}"]}),
    ("secrets[0]", {"source": "standard", "secrets": ["whsec_"]}),
    ("secrets[0]", {"source": "svix", "secrets": ["whsec_späte"]}),
    ("secrets", {"source": "sendgrid", "secrets": [CANARY]}),
    ("secrets", {"secrets": [CANARY]}),
    ("secrets[0]", {"signature": "ignore", "secrets": [7]}),
    ("public_keys[0]", {"signature": "ignore", "public_keys": [""]}),
    ("public_keys", {"source": "github", "public_keys": [P256]}),
    ("public_keys", {"source": "sendgrid", "public_keys": P256}),
    ("public_keys[0]", {"source": "sendgrid", "public_keys": [CANARY]}),
    ("public_keys[0]", {"source": "sendgrid", "public_keys": [P256[:-9]]}),
    ("public_keys[0]", {"source": "sendgrid", "public_keys": [f"-----BEGIN {CANARY}"]}),
    ("public_keys[1]", {"source": "sendgrid", "public_keys": [P256, RSA]}),
    ("public_keys[0]", {"source": "sendgrid", "public_keys": [P384]}),
    ("public_keys[0]", {"source": "sendgrid", "public_keys": [ED25519]}),
    ("public_keys[0]", {"source": "standard", "public_keys": [P256]}),
    ("public_keys[0]", {"source": "standard", "public_keys": [WHPK[:-5]]}),
    ("signature", {"source": "github", "signature": CANARY}),
    ("signature", {"source": "github", "signature": None, "secrets": [CANARY]}),
    ("signature", {"source": "github", "signature": True}),
    ("signature", {"source": "github", "signature": "require"}),
    ("signature", {"source": "github", "signature": "require", "secrets": []}),
    ("signature", {"signature": "require"}),
    ("max_age", {"source": "github", "secrets": [CANARY], "max_age": 300}),
    ("max_age", {"max_age": 300}),
    ("max_age", {"source": "slack", "max_age": 0}),
    ("max_age", {"source": "slack", "max_age": -1}),
    ("max_age", {"source": "slack", "max_age": "300"}),
    ("max_age", {"source": "slack", "max_age": True}),
    ("max_age", {"source": "slack", "max_age": False}),
    ("max_age", {"source": "slack", "max_age": float("nan")}),
    ("max_age", {"source": "slack", "max_age": float("inf")}),
    ("max_age", {"source": "slack", "max_age": 10**400}),
    ("any_body", {"any_body": 1}),
    ("any_body", {"any_body": None}),
    ("any_body", {"any_body": "true"}),
    ("principals", {"principals": "*"}),
    ("principals[0]", {"principals": [None]}),
    ("principals[0]", {"principals": [""]}),
    ("paths", {"paths": ["data.id"]}),
    ("paths", {"paths": {"id": 1}}),
    ("paths", {"paths": {"id": ""}}),
    ("paths", {"paths": {"identity": "data.id"}}),
    ("paths", {"source": "github", "paths": {"id": "data.id"}}),
]


def in_short(value: Any) -> str:
    return ascii(value)[:72]


@pytest.mark.parametrize("entry", GOOD, ids=in_short)
def test_what_receiving_accepts_the_model_accepts(
    write: FILES, monkeypatch: pytest.MonkeyPatch, entry: Any
) -> None:
    monkeypatch.setenv("SECRET_OF_THIS_TEST", CANARY)
    write(json.dumps({"shop": entry}))
    status, _ = deliver("shop")

    assert set(models.check_apps(os.environ)) == {"shop"}
    assert status == (403 if entry.get("signature") == "require" else 200)


@for_each("field, entry", BAD)
def test_a_mistake_is_an_error_that_names_app_and_field_and_no_value(
    write: FILES, field: str, entry: Any
) -> None:
    write(json.dumps({"good": {}, "shop": entry}))
    with pytest.raises(apps.AppError) as caught:
        models.check_apps(os.environ)

    assert caught.value.variable == "APPS_FILE"
    assert f"{caught.value.field}.".startswith((f"shop.{field}.", f"shop.{field}["))
    assert f" {field}" in str(caught.value)
    assert "app shop" in str(caught.value)
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value.__cause__)


@for_each("field, entry", BAD)
def test_a_mistake_in_one_app_is_503_for_that_app_and_a_log_line_without_the_value(
    write: FILES, capsys: pytest.CaptureFixture[str], field: str, entry: Any
) -> None:
    write(json.dumps({"shop": entry, "post": github("right")}))
    status, answer = deliver("shop")
    [(setting, line)] = logged(capsys)

    assert status == 503
    assert setting == f"APPS_FILE shop.{field}"
    assert answer["reason"] == responses.wrong_setting("APPS_FILE").reason
    assert CANARY not in line + json.dumps(answer)
    assert [deliver("post", "right")[0], deliver("other")[0]] == [200, 200]


ANY_TEXT = st.sampled_from(
    ["", " ", "github", "sendgrid", "standard", "slack", "generic", "meta", "require", "ignore"]
    + ["record", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "id", "data.id", "\ud800", "env:NO"]
    + [P256, P384, WHPK]
)
ANY_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([300, 10**400])
    | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ANY_TEXT, inner, max_size=2),
    max_leaves=4,
)
LIKELY_VALUES = {
    "source": st.sampled_from(sorted(source_names())),
    "secrets": st.lists(ANY_TEXT, max_size=2),
    "public_keys": st.lists(ANY_TEXT, max_size=2),
    "signature": st.sampled_from(apps.SIGNATURE_MODES),
    "max_age": st.none() | st.integers() | st.floats(),
    "any_body": st.booleans(),
    "principals": st.lists(ANY_TEXT, max_size=2),
    "paths": st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=2),
}
RECEIVING_FIELDS = sorted(apps.FIELDS.keys() - {"usual_gap"})  # which only deploying looks at
ENTRIES = (
    st.fixed_dictionaries({}, optional=LIKELY_VALUES)
    | st.fixed_dictionaries({}, optional={name: ANY_VALUE for name in RECEIVING_FIELDS})
    | st.dictionaries(st.sampled_from([*RECEIVING_FIELDS, "", "Source"]), ANY_VALUE, max_size=3)
    | ANY_VALUE
)


@given(entry=ENTRIES)
def test_the_model_and_receiving_agree_about_every_entry(
    tmp_path_factory: pytest.TempPathFactory, entry: Any
) -> None:
    file = tmp_path_factory.mktemp("apps") / "apps.json"
    file.write_text(json.dumps({"shop": entry}))
    environ = {"APPS_FILE": str(file)}

    assert accepts(lambda: models.check_apps(environ)) == accepts(
        lambda: apps.app_named("shop", environ)
    )


def accepts(read: Callable[[], object]) -> bool:
    """Whether it reads; anything but a SettingError is a fault, and passes."""
    try:
        read()
    except SettingError:
        return False
    return True


def test_the_model_and_receiving_know_the_same_fields() -> None:
    assert set(models.AppModel.model_fields) == set(apps.FIELDS)


# --- references


class Aws:
    """Hands every request on to moto, and counts them; not what boto3 asks again by itself."""

    def __init__(self, moto: str) -> None:
        self.targets: list[str] = []
        counted = self.targets

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                if "attempt=1" in self.headers["amz-sdk-request"]:  # a busy machine takes seconds
                    counted.append(self.headers["X-Amz-Target"])
                body = self.rfile.read(int(self.headers["Content-Length"]))
                kept = ("X-Amz-Target", "Content-Type", "Authorization", "X-Amz-Date")
                headers = {name: self.headers[name] for name in kept}
                request = urllib.request.Request(moto, body, headers)
                try:
                    with urllib.request.urlopen(request, timeout=60) as got:
                        status, said = got.status, got.read()
                except urllib.error.HTTPError as error:
                    with error:
                        status, said = error.code, error.read()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def aws(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """AWS as the function finds it: its credentials, and everything else at one endpoint."""
    aws = Aws(moto_endpoint)
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": aws.url}.items():
        monkeypatch.setenv(name, value)
    with aws.server:
        threading.Thread(target=aws.server.serve_forever).start()
        yield aws
        aws.server.shutdown()


@pytest.fixture
def in_aws(moto_endpoint: str) -> Callable[..., str]:
    """Put a secret into AWS; the reference to it."""

    def put(kind: str, secret: str, name: str = "") -> str:
        name = name or f"/hookshelf/{uuid4().hex}"
        client = boto3.client(
            kind,
            endpoint_url=moto_endpoint,
            region_name=CREDENTIALS["AWS_REGION"],
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        if kind == "ssm":
            client.put_parameter(Name=name, Value=secret, Type="SecureString")
        else:
            client.create_secret(Name=name, SecretString=secret)
        client.close()
        return f"{kind}:{name}"

    return put


def test_a_secret_can_be_an_environment_variable(
    write: FILES, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_SECRET", "from-the-environment")
    write(json.dumps({"shop": github("env:SHOP_SECRET")}))

    assert deliver("shop", "from-the-environment")[0] == 200
    assert deliver("shop", "env:SHOP_SECRET")[0] == 403


def test_a_public_key_can_be_a_reference_too(write: FILES, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", P256)
    write(json.dumps({"shop": {"source": "sendgrid", "public_keys": ["env:SHOP_KEY"]}}))

    assert set(models.check_apps(os.environ)) == {"shop"}
    assert deliver("shop")[0] == 200


@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_a_reference_to_no_variable_is_503_and_names_app_and_field(
    write: FILES,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    value: str | None,
) -> None:
    monkeypatch.delenv("SHOP_SECRET", raising=False)
    if value is not None:
        monkeypatch.setenv("SHOP_SECRET", value)
    write(json.dumps({"shop": github(CANARY, "env:SHOP_SECRET")}))
    status, _ = deliver("shop", CANARY)
    [(setting, line)] = logged(capsys)

    assert (status, setting) == (503, "APPS_FILE shop.secrets[1]")
    assert CANARY not in line


def test_a_variable_that_is_set_at_last_is_found(
    write: FILES, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(json.dumps({"shop": github("env:SHOP_SECRET_LATER")}))
    before = deliver("shop", "at-last")[0]
    monkeypatch.setenv("SHOP_SECRET_LATER", "at-last")

    assert (before, deliver("shop", "at-last")[0]) == (503, 200)


def test_a_changed_variable_counts_from_the_next_delivery_on(
    write: FILES, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_SECRET", "old")
    write(json.dumps({"shop": github("env:SHOP_SECRET")}))
    before = deliver("shop", "newer")[0]
    monkeypatch.setenv("SHOP_SECRET", "newer")

    assert (before, deliver("shop", "newer")[0]) == (403, 200)


@pytest.mark.parametrize(
    ("kind", "target"),
    [("ssm", "AmazonSSM.GetParameter"), ("secretsmanager", "secretsmanager.GetSecretValue")],
)
def test_a_secret_in_aws_is_fetched_decrypted_and_once(
    write: FILES, aws: Aws, in_aws: Callable[..., str], kind: str, target: str
) -> None:
    write(json.dumps({"shop": github(in_aws(kind, CANARY)), "other": github("plain")}))
    statuses = [deliver("other", "plain")[0], len(aws.targets)]
    statuses += [deliver("shop", CANARY)[0], deliver("shop", CANARY)[0], deliver("shop", "x")[0]]

    assert statuses == [200, 0, 200, 200, 403]
    assert aws.targets == [target]


def test_a_rotation_can_overlap_across_kinds_of_reference(
    write: FILES, aws: Aws, in_aws: Callable[..., str]
) -> None:
    write(json.dumps({"shop": github(in_aws("ssm", "old"), in_aws("secretsmanager", "new"))}))

    assert [deliver("shop", secret)[0] for secret in ("old", "new", "other")] == [200, 200, 403]
    assert len(aws.targets) == 2


@pytest.mark.parametrize("kind", ["ssm", "secretsmanager"])
def test_a_reference_to_nothing_in_aws_is_503_and_names_app_and_field(
    write: FILES, aws: Aws, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    write(json.dumps({"shop": github(f"{kind}:/hookshelf/{uuid4().hex}")}))
    status, _ = deliver("shop", "any")
    [(setting, _)] = logged(capsys)
    with pytest.raises(apps.AppError, match=f"the {kind}: reference fails: ") as caught:
        models.check_apps(os.environ)

    assert (status, setting) == (503, "APPS_FILE shop.secrets[0]")
    assert caught.value.field == "shop.secrets[0]"
    assert len(aws.targets) == 2


def test_aws_out_of_reach_is_503_for_that_app_and_mends_itself(
    write: FILES,
    aws: Aws,
    in_aws: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(json.dumps({"shop": github(in_aws("ssm", "right")), "other": github("plain")}))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nothing listens at discard
    down = [deliver("shop", "right")[0], deliver("other", "plain")[0]]
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)

    assert down == [503, 200]
    assert deliver("shop", "right")[0] == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_secret_is_fetched_before_the_token_is_shown(
    write: FILES, aws: Aws, in_aws: Callable[..., str], method: str
) -> None:
    entry = github(in_aws("ssm", "right")) | {"source": "meta"}
    write(json.dumps({"shop": entry}))
    status, _ = deliver("shop", "right", method=method, token="wrong")

    assert status == (403 if method == "POST" else 405)
    assert aws.targets == []


def logged(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    """What each log line of an error says about a setting, and the whole line."""
    lines = capsys.readouterr().err.splitlines()
    return [(json.loads(line).get("setting", ""), line) for line in lines if '"ERROR"' in line]


# --- docs/apps-file.md

DOC = (PROJECT / "docs" / "apps-file.md").read_text()
EXAMPLES = re.findall(r"```json\n(.*?)```", DOC, re.DOTALL)


def first_column(heading: str) -> list[str]:
    """What stands first, as code, in the rows of the table below a heading."""
    _, _, section = DOC.partition(f"\n{heading}")
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table
    return re.findall(r"^\| `([^`]+)` \|", table[0].partition("|---")[2], re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_in_the_document_is_in_order(
    write: FILES,
    aws: Aws,
    in_aws: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    example: str,
) -> None:
    for kind, name in re.findall(r'"(env|ssm|secretsmanager):([^"]+)"', example):
        if kind == "env":
            monkeypatch.setenv(name, "whsec_c2VjcmV0")
        else:
            in_aws(kind, "whsec_c2VjcmV0", name)
    write(example)
    found = models.check_apps(os.environ)

    assert found
    assert all(deliver(name)[0] in (200, 403) for name in found)


def test_the_document_has_an_example_of_everything() -> None:
    assert len(EXAMPLES) == 4
    assert all(f'"{kind}:' in "".join(EXAMPLES) for kind in ("env", "ssm", "secretsmanager"))


def test_the_documents_example_of_paths_finds_what_it_names() -> None:
    shop = json.loads(EXAMPLES[3])["shop"]
    source = apps.read_app("shop", shop, str).source
    body = b'{"meta":{"uid":"u-1","at":0},"kind":"k","order":{"customers":[{"email":"a@b.c"}]}}'
    assert source.events
    [event] = source.events(Delivery("shop", {}, body, datetime(2026, 11, 20, tzinfo=UTC)))

    assert (event.id, event.type, event.subject) == ("u-1", "k", "a@b.c")
    assert event.time == "1970-01-01T00:00:00Z"


def test_the_document_has_every_field_verdict_and_value_in_order() -> None:
    assert first_column("## Fields") == list(apps.FIELDS)
    assert first_column("## Verdicts") == list(get_args(Verdict))
    assert first_column("The verdict is kept with the object.") == list(apps.SIGNATURE_MODES)
    assert [text.partition(":")[0] for text in first_column("## References")] == [
        *("env", "ssm", "secretsmanager")
    ]


def test_the_document_says_rightly_what_each_source_is_checked_with() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (.*) \|$", DOC, re.MULTILINE))
    every = {name: source_named(name) for name in re.findall(r"`(\w+)`", rows["source"])}

    assert set(every) <= source_names()
    assert {"sendgrid", "generic"} == {name for name in every if not every[name].secret}
    assert set(re.findall(r"`(\w+)`", rows["public_keys"])) == {
        name for name in every if every[name].public_key
    }
    assert set(re.findall(r"`(\w+)`", rows["max_age"])) == {
        name for name in every if every[name].signed_at
    }
