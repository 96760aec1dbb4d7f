"""What a cold start loads: a fence that does not time.

A module that is not listed here costs every cold start its milliseconds, which `make bench` prints.
Either a delivery does not need it, and it is imported where it is needed, or it gets a reason.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import chalice
import pytest
from support.project import PROJECT

from bench.receive import deliveries
from bench.receive.bucket import Bucket
from chalicelib import bodies, prepare

# By top-level name, where a family is of the standard library and one of its parts brings it along.
OF_THE_RUNTIME = {
    "Lambda's runtime client has loaded these before us": (
        "atexit collections contextlib copyreg decimal enum functools genericpath importlib "
        "itertools json keyword linecache logging math numbers operator os posixpath re reprlib "
        "stat string textwrap threading token tokenize traceback types warnings weakref"
    ),
}
TO_IMPORT = {
    "ours": "app chalicelib",
    "named tuples, and obstore": "typing",
    "when a delivery arrived": "datetime",
    "bodies come and signatures are written in base64": "base64 binascii struct",
    "tokens are compared, bodies hashed": "hashlib hmac",
    "no collection while all this is loaded": "gc",
}
NOT_IN_LAMBDA = {
    "Chalice: routes, packaging, the local server": "chalice",
    "Chalice imports these": "copy ipaddress urllib",
}
TO_STORE = {
    "puts, in Rust": "obstore",
}
TO_VERIFY = {
    "ECDSA and Ed25519, in Rust; ec alone, without serialization": "cryptography",
    "cryptography's own": "abc",
}
PACKAGES = Path(chalice.__file__).parents[1]
HEAVY = {"inspect", "dataclasses", "boto3", "botocore", "pydantic", "click", "cryptography"}
# Nor these, which cost from one to ten milliseconds each and have come in by the back door before.
UNWANTED = {"ast", "asyncio", "msgspec", "pathlib", "pkgutil", "random", "requests", "tempfile"}

PROGRAM = """
import sys
before = set(sys.modules)
import json
from app import app
class Context:
    aws_request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    def get_remaining_time_in_millis(self):
        return 15000
event = sys.stdin.read()
imported = set(sys.modules) - before
response = app(json.loads(event), Context()) if event else None
delivered = set(sys.modules) - before
print(json.dumps([sorted(imported), sorted(delivered), response]))
"""


def families(*reasons):
    """The top-level names that are listed with a reason."""
    return {name for listed in reasons for names in listed.values() for name in names.split()}


def load(environ, event=b""):
    """What is loaded by importing the app, by a first delivery too, and the response to it."""
    done = subprocess.run(
        # -S: an editable install loads modules of its own.
        [sys.executable, "-S", "-c", PROGRAM],
        cwd=PROJECT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{PROJECT}{os.pathsep}{PACKAGES}",
            **environ,
        },
        input=event,
        stdout=subprocess.PIPE,
        check=True,
    )
    imported, delivered, response = json.loads(done.stdout)
    return set(imported), set(delivered), response


def top_level(modules):
    """The families of modules; the interpreter's own, in C, come along with others."""
    return {name.partition(".")[0] for name in modules if not name.startswith("_")}


@pytest.fixture(scope="module")
def in_lambda():
    """The environment of a function, whose puts are taken."""
    with Bucket() as bucket:
        yield {
            "ARCHIVE_BUCKETS": "bench",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_ENDPOINT_URL_S3": bucket.url,
            "AWS_LAMBDA_FUNCTION_NAME": "hookshelf-dev",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_REGION": "us-east-1",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "METRICS_NAMESPACE": "hookshelf/dev",
            "NO_PROXY": "127.0.0.1",
        }


@pytest.fixture
def signed(in_lambda, tmp_path):
    """The same, with a public key for the app that delivers."""
    apps_file = tmp_path / "apps.json"
    apps_file.write_text(json.dumps(deliveries.APPS_FILE))
    return in_lambda | {"APPS_FILE": str(apps_file)}


EVENT = deliveries.event(deliveries.batch())


def test_importing_the_app_loads_what_is_listed_and_nothing_heavy():
    imported, _, _ = load({})

    assert top_level(imported) - families(OF_THE_RUNTIME, TO_IMPORT, NOT_IN_LAMBDA) == set()
    assert top_level(imported) & (HEAVY | UNWANTED) == set()


def test_a_first_delivery_loads_what_is_listed(in_lambda):
    _, delivered, response = load(in_lambda, EVENT)

    assert response["statusCode"] == 200
    assert top_level(delivered) - families(OF_THE_RUNTIME, TO_IMPORT, TO_STORE) == set()


def test_a_first_signed_delivery_loads_cryptography_and_no_more(signed):
    _, delivered, response = load(signed, EVENT)

    listed = families(OF_THE_RUNTIME, TO_IMPORT, TO_STORE, TO_VERIFY)
    assert response["statusCode"] == 200
    assert top_level(delivered) - listed == set()
    for module in ("serialization", "asymmetric.rsa", "ciphers"):
        assert f"cryptography.hazmat.primitives.{module}" not in delivered


def test_in_lambda_a_configured_app_has_loaded_all_it_needs_before_its_first_delivery(signed):
    imported, delivered, _ = load(signed, EVENT)

    assert delivered - imported == set()


@pytest.mark.parametrize(
    ("body", "checker"),
    [
        (b"[" + b"1," * bodies.MANY + b"1]", False),
        (b'"' + b"x" * bodies.LARGE + b'"', False),
        (b"[" + b" 12345," * bodies.MANY + b"1]", True),
        (b"[" + b"[[[]]]  ," * (bodies.MANY // 4) + b"1" * bodies.LARGE + b"]", True),
    ],
    ids=["a small body", "a large one of one value", "of many values", "of many arrays"],
)
def test_only_a_large_body_of_many_values_is_worth_a_checker_without_a_tree(
    in_lambda, body, checker
):
    _, delivered, response = load(in_lambda, deliveries.event(body))

    assert response["statusCode"] == 200
    assert ("msgspec" in delivered) is checker


def test_what_is_listed_is_loaded(signed):
    _, delivered, _ = load(signed, EVENT)

    listed = families(TO_IMPORT, TO_STORE)
    assert listed - top_level(delivered) == set()


@pytest.mark.parametrize(
    ("wrong", "variable"),
    [
        ({"ARCHIVE_BUCKETS": "-"}, "ARCHIVE_BUCKETS"),
        ({"ARCHIVE_BUCKETS": ""}, "ARCHIVE_BUCKETS"),
        ({"ARCHIVE_CLIENT": "nonsense"}, "ARCHIVE_CLIENT"),
        ({"APPS_FILE": "nowhere.json"}, "APPS_FILE"),
        ({"AWS_ENDPOINT_URL_S3": "nonsense"}, "AWS_ENDPOINT_URL_S3"),
    ],
)
def test_in_lambda_a_wrong_setting_stops_no_import_and_is_a_503_for_what_it_concerns(
    in_lambda, wrong, variable
):
    _, _, response = load(in_lambda | wrong, EVENT)

    assert response["statusCode"] == 503
    assert json.loads(response["body"])["reason"] == f"Setting {variable} is missing or wrong"


@pytest.mark.parametrize(
    "entry",
    ["text", {"nonsense": 1}, {"secrets": 1}, {"secrets": [1]}, {"public_keys": ["nonsense"]}],
)
def test_in_lambda_a_wrong_app_is_a_503_for_itself_alone(in_lambda, tmp_path, entry):
    apps_file = tmp_path / "apps.json"
    apps_file.write_text(json.dumps({"other": entry} | deliveries.APPS_FILE))
    wrong = in_lambda | {"APPS_FILE": str(apps_file)}
    other = json.loads(EVENT)
    other["multiValueQueryStringParameters"]["app"] = ["other"]

    assert load(wrong, EVENT)[2]["statusCode"] == 200
    assert load(wrong, json.dumps(other).encode())[2]["statusCode"] == 503


@pytest.mark.parametrize("roots", [None, "/where/the/operator/says.pem"])
def test_in_lambda_garbage_is_collected_again_and_a_file_of_ca_roots_is_named(in_lambda, roots):
    program = "import app, gc, os; print(gc.isenabled(), os.environ.get('SSL_CERT_FILE'))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env=in_lambda | {"PATH": os.environ["PATH"]} | ({"SSL_CERT_FILE": roots} if roots else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    there = [path for path in prepare.CA_ROOTS if Path(path).exists()]

    assert done.stdout.split() == ["True", roots or next(iter(there), "None")]


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="Linux alone lets a process choose"
)
def test_in_lambda_all_that_a_delivery_needs_takes_turns_on_one_core(in_lambda):
    program = """
import os, sys
import json, pathlib
from app import app
assert app(json.load(sys.stdin), None)["statusCode"] == 200
threads = [int(task.name) for task in pathlib.Path("/proc/self/task").iterdir()]
print(*(sorted(os.sched_getaffinity(thread)) for thread in threads), sep="\\n")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env=in_lambda | {"PATH": os.environ["PATH"]},
        input=EVENT,
        capture_output=True,
        check=True,
    )

    this, obstore = map(json.loads, done.stdout.splitlines())
    assert this == obstore
    assert len(this) == 1


@pytest.mark.parametrize("reference", ["ssm:/name", "secretsmanager:name"])
def test_in_lambda_no_secret_is_looked_up_before_it_is_needed(in_lambda, tmp_path, reference):
    apps_file = tmp_path / "apps.json"
    apps_file.write_text(json.dumps({"shop": {"source": "github", "secrets": [reference]}}))
    imported, _, _ = load(in_lambda | {"APPS_FILE": str(apps_file)})

    assert "boto3" not in imported
