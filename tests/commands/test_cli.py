"""The command line as a whole; each verb has a test file of its own."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import boto3
import pytest
from click.testing import CliRunner
from support.project import PROJECT, aws_environ

from hookshelf import commands
from hookshelf.__main__ import main

VERBS = sorted(path.stem for path in Path(commands.__path__[0]).glob("[!_]*.py"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hookshelf", *arguments],
        cwd=PROJECT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]], ids=repr)
def test_it_lists_every_verb_with_what_it_does(arguments: list[str]) -> None:
    done = run(*arguments)
    _, _, listed = (done.stdout + done.stderr).partition("Commands:\n")

    assert re.findall(r"^  (\w+)  +\w", listed, re.MULTILINE) == VERBS
    assert "Traceback" not in done.stderr


def test_a_verb_is_found_by_its_file_name() -> None:
    assert {"send", "verify"} <= set(VERBS)
    assert main.list_commands(None) == VERBS


def test_an_unknown_verb_is_misuse() -> None:
    done = run("varify")

    assert done.returncode == 2
    assert "No such command 'varify'" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    done = CliRunner().invoke(main, [verb, "--help"])

    assert done.exit_code == 0
    assert re.search(rf"^ +Examples?:\n +hookshelf {verb}\b", done.stdout, re.MULTILINE)
    assert "Exit status:" in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_says_what_it_does(verb: str) -> None:
    params = main.get_command(None, verb).params
    options = [param for param in params if param.param_type_name == "option"]

    assert [option.name for option in options if not getattr(option, "help", None)] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_example_is_made_of_options_there_are(verb: str) -> None:
    done = CliRunner().invoke(main, [verb, "--help"])
    examples = re.findall(rf"^ +hookshelf {verb}\b(.*)$", done.stdout, re.MULTILINE)
    used = set(re.findall(r"--[a-z-]+", " ".join(examples)))
    known = {name for option in main.get_command(None, verb).params for name in option.opts}

    assert examples
    assert used <= known


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_option_is_misuse(verb: str) -> None:
    done = CliRunner().invoke(main, [verb, "--no-such-option"])

    assert done.exit_code == 2
    assert "No such option" in done.stderr


def test_listing_the_verbs_needs_no_setting_and_loads_no_verb() -> None:
    program = "import sys; from hookshelf.__main__ import main; main.list_commands(None);"
    program += "print([name for name in sys.modules if name.startswith('hookshelf.commands.')])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout == "[]\n"


class ProxyPage(BaseHTTPRequestHandler):
    """Whoever is asked, this answers."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html><br>Please log in")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def logged_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in aws_environ("http://127.0.0.1:1").items():
        monkeypatch.setenv(name, value)
    before, boto3.DEFAULT_SESSION = boto3.DEFAULT_SESSION, None
    yield
    boto3.DEFAULT_SESSION = before


@pytest.mark.usefixtures("logged_in")
def test_an_endpoint_that_is_none_is_misuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    done = CliRunner().invoke(main, ["token", "list"])

    assert done.exit_code == 2
    assert "Invalid endpoint: nonsense. Look at AWS_ENDPOINT_URL" in done.stderr


@pytest.mark.usefixtures("logged_in")
def test_what_is_not_aws_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), ProxyPage) as proxy:
        Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
        done = CliRunner().invoke(main, ["token", "list"])
        proxy.shutdown()

    assert done.exit_code == 1
    assert "What answered is not AWS" in done.stderr


def configured(folder: Path, monkeypatch: pytest.MonkeyPatch, **variables: object) -> None:
    """A checkout whose stage dev has these variables."""
    config = {"stages": {"dev": {"environment_variables": variables}}}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("hookshelf.settings.CONFIG", folder / "config.json")


def test_a_disk_that_refuses_is_a_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    configured(tmp_path, monkeypatch, ARCHIVE_BUCKETS="mine")
    (tmp_path / "policy-dev-api_handler.new").mkdir()  # where a file has to go
    done = CliRunner().invoke(main, ["policy", "--stage", "dev"])

    assert done.exit_code == 1
    assert "This machine refused: [Errno 21] Is a directory" in done.stderr


def test_a_setting_that_is_no_text_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configured(tmp_path, monkeypatch, ARCHIVE_BUCKET_OWNER=123456789012)
    done = CliRunner().invoke(main, ["policy", "--stage", "dev"])

    assert done.exit_code == 2
    assert "ARCHIVE_BUCKET_OWNER of stage 'dev'" in done.stderr
    assert "has to be in quotes" in done.stderr


def test_a_stage_that_cannot_name_a_stack_is_not_asked_for() -> None:
    done = CliRunner().invoke(main, ["token", "list", "--stage", "my_stage"])

    assert done.exit_code == 2
    assert "Stage my_stage is not deployed in this region" in done.stderr
