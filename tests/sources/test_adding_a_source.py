"""docs/adding-a-source.md, followed to the letter in a copy of the project."""

import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import PROJECT

from chalicelib.sources import Source

DOC = (PROJECT / "docs" / "adding-a-source.md").read_text()
WHOLE, STANDARD = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
RECORD, PROVE = re.findall(r"```sh\n(.*?)```", DOC, re.DOTALL)
SECRET = "the secret it was signed with"
BODY = b'{"event":"order.paid","at":1795218600,"customer":{"email":"a@example.com"}}\r\n'
EXPECTED = "acme and as_expected"
SECONDS = 600


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, with the interpreter of this test as its virtual environment."""
    project = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("chalicelib", "hookshelf", ".chalice", "tests/samples", "tests/support"):
        shutil.copytree(PROJECT / name, project / name, ignore=ignored)
    (project / "tests" / "sources").mkdir()
    tests = ("tests/conftest.py", "tests/sources/test_sources.py")
    for name in ("app.py", "pyproject.toml", *tests):
        shutil.copy(PROJECT / name, project / name)
    bin = project / ".venv" / "bin"
    bin.mkdir(parents=True)
    for name in ("python", "pytest"):
        module = "-m pytest -p no:cacheprovider" if name == "pytest" else ""
        (bin / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        (bin / name).chmod(0o755)
    return project


def run(project: Path, command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-euc", command],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project)} | environ,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def prove(project: Path, *, only: str = "") -> subprocess.CompletedProcess[str]:
    """The one command; `only` some of its tests, where that is all there is to see."""
    return run(project, f"{PROVE.strip()} -q" + (f" -k '{only}'" if only else ""))


def write_module(project: Path, text: str = WHOLE) -> None:
    (project / "chalicelib" / "sources" / "acme.py").write_text(text)


DELIVER = """
import sys
from base64 import b64encode
from app import app
event = {
    "requestContext": {"httpMethod": "POST", "resourcePath": "/input"},
    "headers": {
        "content-type": "application/json",
        "authorization": "Bearer local-token",
        "x-acme-delivery": "d-1",
        "x-acme-signature": sys.argv[2],
    },
    "multiValueQueryStringParameters": {"app": ["acme"]},
    "stageVariables": {"validToken": "local-token"},
    "body": b64encode(sys.argv[1].encode()).decode(),
    "isBase64Encoded": True,
}
sys.exit(app(event, None)["statusCode"] != 200)
"""


def deliver(project: Path) -> None:
    """What the sender does, to the app that `make run` serves."""
    signature = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()
    subprocess.run(
        [sys.executable, "-c", DELIVER, BODY.decode(), signature],
        cwd=project,
        env=os.environ | {"ARCHIVE_FOLDER": "./archive", "ARCHIVE_BUCKETS": "events"},
        check=True,
        timeout=SECONDS,
    )


def record(project: Path) -> Path:
    """Deliver and follow the document; the sample, whose expected.json is not yet whole."""
    deliver(project)
    done = run(project, RECORD)
    assert done.returncode == 0, done.stderr
    return project / "tests" / "samples" / "acme" / "order-paid"


def printed(done: subprocess.CompletedProcess[str]) -> object:
    """What the failing suite says that came out."""
    _, _, after = done.stdout.partition("differs from what comes out now, which is:\n")
    lines = [line[1:] for line in after.splitlines() if line.startswith("E")]
    found, _ = json.JSONDecoder().raw_decode("\n".join(lines).strip())
    return found


@pytest.mark.slow
def test_one_module_and_one_sample_add_a_source(project: Path) -> None:
    write_module(project)
    sample = record(project)
    first = prove(project, only=EXPECTED)
    (sample / "expected.json").write_text(json.dumps(printed(first)))
    then = prove(project, only="acme or has_a_sample")

    assert first.returncode == 1
    assert then.returncode == 0, then.stdout
    assert (sample / "body.json").read_bytes() == BODY
    assert "authorization" not in json.loads((sample / "headers.json").read_text())
    assert json.loads((sample / "expected.json").read_text()) == {
        "keys": {"secrets": [SECRET]},
        "verdict": "verified",
        "events": [
            {
                "id": "d-1",
                "type": "order.paid",
                "subject": "a@example.com",
                "time": "2026-11-20T23:50:00Z",
                "correlation": "",
                "data": BODY.decode().strip(),
            }
        ],
    }


@pytest.mark.slow
def test_the_one_command_passes_as_it_stands(project: Path) -> None:
    write_module(project)
    sample = record(project)
    (sample / "expected.json").write_text(json.dumps(printed(prove(project, only=EXPECTED))))
    done = prove(project)

    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_module_without_a_sample_fails(project: Path) -> None:
    write_module(project)
    done = prove(project, only="every_source_has_a_sample")

    assert done.returncode == 1
    assert "Record what acme sends" in done.stdout


@pytest.mark.slow
def test_a_sample_that_is_not_verified_is_not_enough(project: Path) -> None:
    write_module(project)
    sample = record(project)
    expected = printed(prove(project, only=EXPECTED))
    assert isinstance(expected, dict)
    (sample / "expected.json").write_text(
        json.dumps({"verdict": "unchecked", "events": expected["events"]})
    )
    done = prove(project, only="acme and verified_sample")

    assert done.returncode == 1
    assert "test_every_source_that_verifies_has_a_verified_sample[acme]" in done.stdout


def test_a_scheme_that_is_known_takes_two_lines(project: Path) -> None:
    write_module(project, STANDARD)
    done = run(
        project,
        f"{sys.executable} -c '"
        'from chalicelib.sources import source_named; s = source_named("acme");'
        'headers = s.sign(b"{}", "whsec_c2VjcmV0", 1614265330);'
        "print(s.name, *sorted(headers), *s.signature_headers)'",
    )

    assert done.stdout.split() == [
        *("acme", "acme-id", "acme-signature", "acme-timestamp"),
        *("acme-signature", "acme-timestamp", "acme-id"),
    ]


def test_stage_local_verifies_what_send_signs_as_a_source_that_was_just_added(
    project: Path,
) -> None:
    write_module(project, STANDARD)
    done = run(
        project,
        f"{sys.executable} -c '"
        "from datetime import datetime, UTC; from chalicelib import apps, signatures;"
        "from chalicelib.delivery import Delivery; from hookshelf.local import tryout;"
        'app = apps.app_named("acme", {"HOOKSHELF_TRYOUT": "true"}); at = datetime.now(UTC);'
        'signed = app.source.sign(b"{}", tryout.signing_key(app.source), int(at.timestamp()));'
        'print(signatures.verdict(Delivery("acme", signed, b"{}", at), app))\'',
    )

    assert done.stdout.strip() == "verified", done.stderr


def test_the_document_names_every_field_of_a_source() -> None:
    named = re.findall(r"^\| `(\w+)` \|", DOC, re.MULTILINE)

    assert named == list(Source._fields)


def test_the_modules_to_copy_are_there() -> None:
    table = re.findall(r"^\|[^|]+\| `(\w+\.py)` \|", DOC, re.MULTILINE)

    assert table == ["sendgrid.py", "github.py", "slack.py", "svix.py"]
    assert all((PROJECT / "chalicelib" / "sources" / name).exists() for name in table)
