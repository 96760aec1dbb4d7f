"""The command line as a whole; each command has a test file of its own."""

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
import click
import pytest
from click.testing import CliRunner
from support.project import PROJECT, aws_environ

from chalicelib.errors import HookshelfError
from hookshelf import commands
from hookshelf.__main__ import main
from hookshelf.terminal import printable

COMMANDS = sorted(path.stem for path in Path(commands.__path__[0]).glob("[!_]*.py"))


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
def test_it_lists_every_command_with_what_it_does(arguments: list[str]) -> None:
    done = run(*arguments)
    _, _, listed = (done.stdout + done.stderr).partition("Commands:\n")

    assert re.findall(r"^  (\w+)  +\w", listed, re.MULTILINE) == COMMANDS
    assert "Traceback" not in done.stderr


def test_a_command_is_found_by_its_file_name() -> None:
    assert {"send", "verify"} <= set(COMMANDS)
    assert main.list_commands(None) == COMMANDS


def test_an_unknown_command_is_misuse() -> None:
    done = run("varify")

    assert done.returncode == 2
    assert "No such command 'varify'" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    done = CliRunner().invoke(main, [name, "--help"])

    assert done.exit_code == 0
    assert re.search(rf"^ +Examples?:\n +hookshelf {name}\b", done.stdout, re.MULTILINE)
    assert "Exit status:" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    params = main.get_command(None, name).params
    options = [param for param in params if param.param_type_name == "option"]

    assert [option.name for option in options if not getattr(option, "help", None)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_is_made_of_options_there_are(name: str) -> None:
    done = CliRunner().invoke(main, [name, "--help"])
    examples = re.findall(rf"^ +hookshelf {name}\b(.*)$", done.stdout, re.MULTILINE)
    used = set(re.findall(r"--[a-z-]+", " ".join(examples)))
    known = {opt for option in main.get_command(None, name).params for opt in option.opts}

    assert examples
    assert used <= known


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_misuse(name: str) -> None:
    done = CliRunner().invoke(main, [name, "--no-such-option"])

    assert done.exit_code == 2
    assert "No such option" in done.stderr


def test_help_needs_no_setting_loads_no_command_and_nothing_heavy() -> None:
    program = (
        "import sys; from hookshelf.__main__ import main\n"
        "try: main(['--help'], standalone_mode=False)\n"
        "finally: print([name for name in sys.modules if name.startswith('hookshelf.commands.')"
        " or name in ('boto3', 'pydantic', 'chalice', 'obstore', 'cryptography')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout.endswith("\n[]\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_with_the_first_line_of_its_module(name: str) -> None:
    path = Path(commands.__path__[0], f"{name}.py")
    first_line = path.read_text().partition("\n")[0]

    assert re.fullmatch(rf'"""`hookshelf {name}`: \w.*\."""', first_line)


def test_whoever_stops_reading_ends_it_quietly() -> None:
    """`hookshelf --help | head -1`, and likewise in the middle of a long listing."""
    program = (
        "import os, sys; from hookshelf.__main__ import main\n"
        "from hookshelf.terminal import show; import click\n"
        "@main.command('many')\n"
        "def many():\n    for n in range(100_000): show(str(n))\n"
        "main.get_command = lambda ctx, name: many\n"
        "main(['many'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()

        assert process.stderr.read() == ""


# --- what is printed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode 🔑", "plain, ünïcode 🔑"),
        ("\x1b[31m", "\\u001b[31m"),
        ("a\nb\r\tc\x00\x7f", "a\\u000ab\\u000d\\u0009c\\u0000\\u007f"),
        ("\x9b2J", "\\u009b2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_a_terminal_might_obey_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_the_terminal_cannot_write_is_escaped_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from hookshelf.terminal import show; show('\u00fc \u20ac')"],
        cwd=PROJECT,
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        timeout=60,
    )

    assert done.stdout == b"\xfc \\u20ac\n"


def test_an_error_that_quotes_what_came_from_outside_is_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @click.command()
    def failing() -> None:
        raise HookshelfError("first line\nno app \x1b]0;owned\x07")

    monkeypatch.setattr(main, "get_command", lambda ctx, name: failing)
    done = CliRunner().invoke(main, ["failing"])

    assert done.exit_code == 1
    assert done.stderr == "Error: first line\nno app \\u001b]0;owned\\u0007\n"


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
    assert "What responded is not AWS" in done.stderr


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


@pytest.mark.parametrize("module", ["click", "hookshelf.commands.count", "duckdb", "json.decoder"])
def test_ctrl_c_while_modules_are_imported_ends_it_quietly(
    module: str, folder_environ: dict[str, str]
) -> None:
    interrupting = (
        "import os, runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "sys.modules.pop('json.decoder', None)\n"
        "sys.argv = ['hookshelf', 'count']\n"
        "runpy.run_module('hookshelf', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", interrupting],
        cwd=PROJECT,
        env=os.environ | folder_environ,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (130, "")
    assert "Traceback" not in done.stderr
