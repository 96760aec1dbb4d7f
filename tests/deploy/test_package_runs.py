"""The zip that goes to Lambda, unzipped and run as Lambda runs it, behind what API Gateway does.

Nothing is imported from here: the interpreter sees the zip, Lambda's own runtime client and its
standard library, and puts what it is sent into an S3 server over HTTP.
"""

import json
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import findpython
import pytest
from click.testing import CliRunner
from support.api_gateway import Front
from support.lambda_runtime import Function, needs_linux, needs_x86_64, running, runtime_of
from support.packaging import AARCH64, X86_64, machines
from support.project import SAMPLES, TOKEN

from chalicelib.responses import INVALID_TOKEN
from chalicelib.sources import source_named
from hookshelf.__main__ import main
from hookshelf.deploy.package import (
    RUNTIMES,
    Package,
    PackageRequest,
    best_python,
    build,
)
from hookshelf.local import tryout

LARGEST_ZIP = 15_000_000
EVERY_BYTE = bytes(range(256))
BATCH = (SAMPLES / "sendgrid" / "batch" / "body.json").read_bytes()
BATCHES = {
    "source": "sendgrid",
    "public_keys": [tryout.public_key_of(tryout.private_key())],
    "signature": "require",
}
ORDER = PackageRequest(
    stage="dev", environment={"ARCHIVE_BUCKETS": "my-webhooks"}, architecture="x86_64"
)

pytestmark = [needs_linux, needs_x86_64, pytest.mark.xdist_group("package")]


@dataclass(frozen=True)
class Built:
    """A package for one Python, and where it lies unzipped."""

    package: Package
    folder: Path
    python: list[str | Path]  # runs the interpreter, without what is installed for it here
    client: Path  # Lambda's runtime client, for it


@pytest.fixture(
    scope="module",
    params=[pytest.param(which, marks=pytest.mark.slow) for which in ("newest", "other")],
)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    python = best_python() if request.param == "newest" else other_python()
    package = build(ORDER, tmp_path_factory.mktemp("build"), python=python)
    folder = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(package.zip) as archive:
        archive.extractall(folder)
    (folder / "chalicelib" / "apps.json").write_text(json.dumps({"batches": BATCHES}))
    return Built(package, folder, [python, "-S"], runtime_of(python))


def other_python() -> Path:
    """The interpreter of the runtime that is not the newest here."""
    newest = findpython.PythonVersion(best_python())
    others = [one for one in RUNTIMES if one != (newest.major, newest.minor)]
    for runtime in others:
        if found := findpython.find(*runtime):
            return Path(found.executable)
    missing = " and no ".join(f"Python {major}.{minor}" for major, minor in others)
    pytest.skip(f"there is no {missing} here: only {newest.version} was tried")


@dataclass(frozen=True)
class Api:
    """The function behind its URL, and the bucket behind the function."""

    url: str
    environ: Mapping[str, str]
    function: Function

    def post(self, body: bytes, headers: Mapping[str, str], **query: str) -> tuple[int, Any]:
        """The status, and what the answer says."""
        url = f"{self.url}/input?{urlencode({'token': TOKEN} | query)}"
        request = urllib.request.Request(url, body, dict(headers), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def kept(self) -> dict[str, bytes]:
        """All that is in the bucket, by key."""
        client = boto3.client("s3", endpoint_url=self.environ["AWS_ENDPOINT_URL_S3"])
        bucket = self.environ["ARCHIVE_BUCKETS"]
        listed = client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return {
            thing["Key"]: client.get_object(Bucket=bucket, Key=thing["Key"])["Body"].read()
            for thing in listed
        }


@contextmanager
def run(built: Built, logical_id: str, environ: Mapping[str, str], log: Path) -> Iterator[Function]:
    """Run a function as the package's template says."""
    properties = built.package.template["Resources"][logical_id]["Properties"]
    given = {
        **properties["Environment"]["Variables"],
        **environ,
        "PYTHONPATH": str(built.client),
    }
    with running(built.folder, properties["Handler"], given, log, built.python) as function:
        yield function


@pytest.fixture
def api(
    built: Built, s3_environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Api]:
    for name, value in s3_environ.items():
        monkeypatch.setenv(name, value)
    with (
        run(built, "APIHandler", s3_environ, tmp_path / "log") as function,
        Front(function.result, lambda: {"validToken": TOKEN}) as front,
    ):
        yield Api(front.url, s3_environ, function)


def signed(body: bytes) -> dict[str, str]:
    """The headers that SendGrid would send with it now."""
    sign = source_named("sendgrid").sign
    assert sign
    headers = sign(body, tryout.private_key(), int(time.time()))
    return {"Content-Type": "application/json", **headers}


# --- it runs


def test_a_signed_delivery_is_kept_byte_for_byte_and_proves_itself_again(
    api: Api, tmp_path: Path
) -> None:
    status, answer = api.post(BATCH, signed(BATCH), app="batches")
    apps_file = tmp_path / "apps.json"
    apps_file.write_text(json.dumps({"batches": BATCHES}))
    environ = {**api.environ, "APPS_FILE": str(apps_file)}
    verified = CliRunner().invoke(main, ["verify", "--app", "batches"], env=environ)

    assert (status, answer["result"]) == (200, "success"), api.function.output.read_text()
    assert api.kept() == {answer["key"]: BATCH}
    assert (verified.exit_code, verified.stdout) == (0, "1 delivery: 1 verified\n")


def test_every_byte_comes_through(api: Api) -> None:
    status, answer = api.post(EVERY_BYTE, {"Content-Type": "application/octet-stream"}, app="shop")

    assert status == 200, api.function.output.read_text()
    assert api.kept() == {answer["key"]: EVERY_BYTE}


def test_a_wrong_token_is_refused_and_nothing_is_kept(api: Api) -> None:
    status, answer = api.post(BATCH, signed(BATCH), app="batches", token="another-token")

    assert (status, answer["reason"]) == (403, INVALID_TOKEN.body["reason"])
    assert api.kept() == {}


def test_a_bad_signature_is_refused_and_its_bytes_are_kept(api: Api) -> None:
    status, answer = api.post(BATCH, signed(BATCH + b" "), app="batches")

    assert (status, answer["reason"]) == (403, "Invalid signature")
    assert api.kept() == {answer["kept"]: BATCH}
    assert answer["kept"].startswith("_rejected/batches/")


def test_no_token_is_in_the_functions_log(api: Api) -> None:
    api.post(BATCH, signed(BATCH), app="batches")
    api.post(BATCH, {}, app="batches", token="another-token")
    log = api.function.output.read_text()

    assert '"status": 200' in log
    assert '"status": 403' in log
    assert TOKEN not in log
    assert "another-token" not in log


def test_the_other_functions_run_too(
    built: Built, s3_environ: dict[str, str], tmp_path: Path
) -> None:
    with run(built, "Deliver", s3_environ, tmp_path / "deliver") as deliver:
        delivered = deliver.invoke({"app": "shop", "body": {"hello": "world"}})
    collector = {"SNOWPLOW_COLLECTOR": "https://collector.example"}
    with run(built, "TrackS3", s3_environ | collector, tmp_path / "track") as track:
        tracked = track.invoke({"Records": []})

    assert (delivered[0], delivered[1]["result"]) == ("response", "success")
    assert tracked[0] == "response", tracked


# --- what is in it


def test_the_zip_is_small_and_for_the_machine_it_was_asked_for(built: Built) -> None:
    assert built.package.zip.stat().st_size <= LARGEST_ZIP
    assert machines(built.package.zip) == {X86_64}


@pytest.mark.slow
def test_there_is_one_for_arm64_as_well(tmp_path: Path) -> None:
    package = build(replace(ORDER, architecture="arm64"), tmp_path)

    assert package.zip.stat().st_size <= LARGEST_ZIP
    assert machines(package.zip) == {AARCH64}


# --- the front is as we know API Gateway


@pytest.fixture
def front() -> Iterator[Front]:
    """A function that returns the event it gets."""
    with Front(lambda event: {"statusCode": 200, "body": json.dumps(event)}) as front:
        yield front


def test_what_no_route_is_for_is_refused_by_the_front(front: Front) -> None:
    nowhere = [front.url + "/other", front.url + "/iam/input", front.url[:-3] + "Stage/input"]

    for url in nowhere:
        assert answer_to(url) == (403, {"message": "Missing Authentication Token"})


def test_an_event_is_null_where_there_is_nothing(front: Front) -> None:
    _, event = answer_to(front.url + "/input")

    for name in ("queryStringParameters", "multiValueQueryStringParameters", "pathParameters"):
        assert event[name] is None
    assert (event["stageVariables"], event["body"], event["isBase64Encoded"]) == (None, None, False)
    assert event["requestContext"]["path"] == "/api/input"


def test_a_body_is_base64_and_a_parameter_has_all_its_values(front: Front) -> None:
    _, event = answer_to(front.url + "/input?a=1&a=2", b"\xff\x00")

    assert (event["body"], event["isBase64Encoded"]) == ("/wA=", True)
    assert event["queryStringParameters"] == {"a": "2"}
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"]}


@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        {"statusCode": "x"},
        {"statusCode": 200, "body": {}},
        {"statusCode": 200, "body": 1},
    ],
)
def test_a_malformed_result_is_a_502(result: object) -> None:
    with Front(lambda event: result) as front:
        assert answer_to(front.url + "/input") == (502, {"message": "Internal server error"})


def test_what_is_too_large_for_api_gateway_never_reaches_the_function(front: Front) -> None:
    assert answer_to(front.url + "/input", b"x" * (10 * 2**20 + 1))[0] == 413


def answer_to(url: str, body: bytes | None = None) -> tuple[int, Any]:
    try:
        request = urllib.request.Request(url, body, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
