"""docs/openapi.yaml is what the code does: paths, limits, statuses, headers and bodies."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from faults.table import CASES, HTTP, INVOKE, NOTHING_HEARD
from jsonschema import Draft202012Validator
from support.faulty_s3 import FaultyS3
from support.loops import for_each
from support.project import CREDENTIALS, PROJECT, TOKEN
from support.ways import Sent, Servers

from chalicelib import responses, routes
from chalicelib.keys import is_app
from chalicelib.responses import Response

pytest_plugins = ["support.ways"]

SPEC = yaml.safe_load((PROJECT / "docs" / "openapi.yaml").read_text(encoding="utf-8"))
PINNED = "schemathesis==4.32.5"
# Every response that the code has a name for, whoever gets it.
NAMED = {name: value for name, value in vars(responses).items() if isinstance(value, Response)}
# Of paths that there are not, which no description of a path can have.
OF_NO_PATH = {"NO_SUCH_PATH"}


def resolved(node: Any) -> Any:
    """A part of the description without references."""
    while isinstance(node, dict) and "$ref" in node:
        parts = node["$ref"].removeprefix("#/").split("/")
        node = SPEC
        for part in parts:
            node = node[part]
    if isinstance(node, dict):
        return {name: resolved(value) for name, value in node.items()}
    return [resolved(value) for value in node] if isinstance(node, list) else node


OPERATIONS = {path: resolved(item["post"]) for path, item in SPEC["paths"].items()}


def assert_described(path: str, response: Response) -> None:
    described = OPERATIONS[path]["responses"][str(response.status)]
    schema = described["content"]["application/json"]["schema"]
    Draft202012Validator(schema).validate(dict(response.body))
    for name, header in described.get("headers", {}).items():
        assert response.headers[name] == str(header["schema"]["const"])


@pytest.mark.parametrize("name", sorted(NAMED.keys() - OF_NO_PATH))
def test_every_response_there_is_is_described(name: str) -> None:
    for path in OPERATIONS:
        assert_described(path, NAMED[name])


@for_each("case", [c for c in CASES if {*c.via} & {*HTTP}])
def test_every_row_of_the_fault_table_gets_a_described_response(case: Any) -> None:
    response = case.response or responses.stored("events", "shop/x.json")
    if response is not NOTHING_HEARD and case.via != (INVOKE,):
        for path in OPERATIONS:
            assert_described(path, responses.kept(response, "k") if case.kept else response)


def test_every_described_status_is_one_that_the_code_has() -> None:
    statuses = {str(response.status) for response in NAMED.values()} - {"404"} | {"200"}

    for operation in OPERATIONS.values():
        assert set(operation["responses"]) == statuses


def test_the_paths_are_those_of_the_code() -> None:
    assert set(OPERATIONS) == {routes.INPUT, routes.IAM_INPUT}


def test_the_grammar_of_apps_is_that_of_the_keys() -> None:
    app = resolved(SPEC["components"]["parameters"]["app"])["schema"]
    for name in ("a", "a-b_c", "a" * 50, "a" * 51, "-a", "a-", "a--b", "_a", "", "é", "a.b", "A1"):
        matches = re.fullmatch(app["pattern"], name) and len(name) <= app["maxLength"]
        assert bool(matches) == is_app(name), name


def test_the_limits_are_those_of_the_code() -> None:
    text = (PROJECT / "docs" / "openapi.yaml").read_text(encoding="utf-8")
    numbers = {int(number.replace(",", "")) for number in re.findall(r"\d,\d{3},\d{3}", text)}

    assert numbers == {responses.MAX_BODY}


@pytest.mark.heavy
def test_schemathesis_finds_no_request_that_gets_anything_else(
    servers: Servers, tmp_path: Path
) -> None:
    venv = PROJECT / "build" / "schemathesis"
    if not (venv / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin" / "pip", "install", "--quiet", PINNED], check=True)
        (venv / "done").touch()
    with FaultyS3() as s3:  # a folder would refuse apps that differ only by case
        environ = {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL_S3": s3.endpoint,
            "ARCHIVE_BUCKETS": "events",
        }
        server = servers.server(Sent(variables={"validToken": TOKEN}, environ=environ))
        done = subprocess.run(
            [
                venv / "bin" / "schemathesis", "run", PROJECT / "docs" / "openapi.yaml",
                "--url", f"http://127.0.0.1:{server.port}", "--include-path", routes.INPUT,
                "--header", f"Authorization: Bearer {TOKEN}", "--seed", "1",
                "--max-examples", os.environ.get("CONTRACT_EXAMPLES", "300"),
                "--checks", "all", "--request-timeout", "60",
            ],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip

    assert done.returncode == 0, done.stdout.replace(TOKEN, "<token>")
    assert len(s3.writes) > 30
    assert TOKEN not in server.log()
