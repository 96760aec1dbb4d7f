"""`python -m hookshelf.local.serve`, which is what `make run` runs, in a copy of the project."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from support.local_server import (
    SECONDS,
    Server,
    copy_of_project,
    curl,
    free_port,
    serving,
)
from support.project import PROJECT, SAMPLES
from support.stores import CLIENTS

from chalicelib import apps
from chalicelib.apps import AppError, app_named
from chalicelib.models import check_apps, read_apps
from chalicelib.settings import SettingError
from chalicelib.tryout import PUBLIC_KEY, SECRET
from hookshelf import settings
from hookshelf.local import address, serve, tryout

SENT = (SAMPLES / "sendgrid" / "batch" / "body.json").read_bytes()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """As much of the project as is looked at before it is served."""
    (tmp_path / ".chalice").mkdir()
    (tmp_path / "chalicelib").mkdir()
    shutil.copy(PROJECT / ".chalice" / "config.json", tmp_path / ".chalice")
    return tmp_path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy whose path needs quoting in a shell."""
    return copy_of_project(tmp_path / "it's my project")


@pytest.fixture
def server(copy: Path) -> Iterator[Server]:
    with serving(copy) as server:
        yield server


def test_the_printed_curl_line_archives_the_sample_byte_for_byte(server: Server) -> None:
    status, response = curl(server)

    assert (status, response["result"], response["bucket"]) == (200, "success", "events")
    assert (server.project / "archive" / "events" / response["key"]).read_bytes() == SENT


def test_the_curl_line_is_printed_before_the_app_is_loaded_and_the_port_opened(
    copy: Path,
) -> None:
    (copy / "app.py").write_text("raise SystemExit(7)")
    done = subprocess.run(
        [sys.executable, "-m", "hookshelf.local.serve", f"--port={free_port()}"],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )

    assert done.returncode == 7
    assert "\ncurl " in done.stdout
    assert "Serving on" not in done.stdout


def test_it_says_where_the_archive_is(server: Server) -> None:
    assert str(server.project / "archive") in server.welcome


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_it_quietly_and_frees_the_port(server: Server, ending: int) -> None:
    curl(server)
    server.process.send_signal(ending)
    _, errors = server.process.communicate(timeout=SECONDS)

    assert server.process.returncode == (0 if ending == signal.SIGINT else -ending)
    assert not re.search("Traceback|Aborted", errors)
    with socket.create_server(("127.0.0.1", server.port)):  # raises if anything still listens
        pass


def test_a_port_in_use_is_named_with_what_to_do(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(project, "--port", str(port))

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"Error: Port {port}: ")
    assert done.stderr.endswith("Try: PORT=8001 make run\n")


def test_a_number_that_is_no_port_is_named(project: Path) -> None:
    for port in ("80000", "0", "-1", "http", "80000000000000000000"):
        done = run(project, f"--port={port}")

        assert done.returncode == 1
        assert done.stderr == (
            f"Error: Port {port}: use a number from 1 to 65535. Try: PORT=8001 make run\n"
        )


@pytest.mark.parametrize(
    ("variable", "value", "fix"),
    [
        ("ARCHIVE_BUCKETS", "events/", "Write each as bucket or bucket/path"),
        ("ARCHIVE_CLIENT", "curl", f"Use {CLIENTS}"),
        ("ARCHIVE_BUCKET_OWNER", "me", "Use an account id of 12 digits"),
    ],
)
def test_a_broken_setting_stops_it_with_the_variable_the_value_and_the_fix(
    project: Path, variable: str, value: str, fix: str
) -> None:
    configure(project, **{variable: value})
    done = run(project, "--port", str(free_port()))

    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {variable} ")
    assert repr(value) in done.stderr
    assert fix in done.stderr
    assert done.stdout == ""


def test_a_setting_of_the_shell_is_checked_too(project: Path) -> None:
    done = run(project, "--port", str(free_port()), ARCHIVE_CLIENT="ftp")

    assert done.stderr.startswith("Error: ARCHIVE_CLIENT is 'ftp'")


def test_a_stage_without_a_token_is_not_served(project: Path) -> None:
    configure(project, STAGE_VAR_validToken=" , ")
    done = run(project, "--port", str(free_port()))

    assert done.returncode == 1
    assert done.stderr.startswith("Error: STAGE_VAR_validToken is not set. ")


def test_a_mistake_in_the_apps_file_is_named_by_app_and_field(project: Path) -> None:
    file = project / "chalicelib" / "apps.json"
    file.write_text('{\n"shop": {"source": "sendgrid",\n"public_keys": ["canary"]}}')
    done = run(project, "--port", str(free_port()))

    assert done.returncode == 1
    assert "shop" in done.stderr
    assert "public_keys[0]" in done.stderr
    assert f"({file}, line 3)" in done.stderr
    assert "canary" not in done.stderr + done.stdout


def test_a_config_that_is_not_json_is_named(project: Path) -> None:
    file = project / ".chalice" / "config.json"
    file.write_text("{stages}")
    done = run(project, "--port", str(free_port()))

    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {file} has no readable stage `local`: ")


@pytest.mark.slow
@pytest.mark.parametrize("named", ["", "of-my-own.json"])
def test_there_is_one_apps_file_which_is_named_and_counts(copy: Path, named: str) -> None:
    """An app that it configures keeps what it says; the others keep their keys for trying out."""
    file = copy / (named or "chalicelib/apps.json")
    file.write_text('{"sendgrid": {"signature": "require", "public_keys": ["' + PUBLIC_KEY + '"]}}')
    with serving(copy, environ={"APPS_FILE": named} if named else {}) as server:
        status, response = curl(server)

    assert (status, response["reason"]) == (403, "Invalid signature")
    assert f"\nApps file: {file}: sendgrid.\n" in server.welcome
    assert "\nApps with a key for trying out: github, meta, payments, slack, " in server.welcome


def test_the_apps_file_is_named_with_what_it_configures(project: Path) -> None:
    file = project / "chalicelib" / "apps.json"
    without = run(project, f"--port={free_port()}").stdout
    file.write_text('{"shop": {}, "github": {}}')
    with_two = run(project, f"--port={free_port()}").stdout

    assert f"\nApps file: {file}, which need not be there.\n" in without
    assert "\nApps with a key for trying out: github, meta, payments, sendgrid, " in without
    assert f"\nApps file: {file}: shop, github.\n" in with_two
    assert "\nApps with a key for trying out: meta, payments, sendgrid, " in with_two


def test_a_setting_of_the_shell_that_does_not_count_is_said(project: Path) -> None:
    served = run(
        project,
        f"--port={free_port()}",
        ARCHIVE_BUCKETS="mine",
        DIRECT_APP="ours-privacy",
        STAGE_VAR_validToken="a-token-of-mine",
    )
    config = project / ".chalice" / "config.json"

    assert served.stdout.splitlines()[:2] == [
        f"{name} of the shell does not count: stage local of {config} sets it."
        for name in ("ARCHIVE_BUCKETS", "STAGE_VAR_validToken")
    ]
    assert "a-token-of-mine" not in served.stdout + served.stderr


TYPOS = {
    "a field": ('{\n "shop": {\n  "signatur": "require"}}', "signatur", 3),
    "a value": ('{"shop":\n {"any_body": false,\n\n "signature": "yes"}}', "signature", 4),
    "a source": ('{"x": {"source": "github"},\n"shop": {"source": "sendgrit"}}', "source", 2),
    "a number": ('{"shop": {"source": "stripe", "max_age": 0}}', "max_age", 1),
    "a kind": ('{"shop": {"secrets": "abc"}}', "secrets", 1),
}


@pytest.mark.parametrize(("text", "field", "line"), TYPOS.values(), ids=TYPOS)
def test_the_same_typo_has_the_same_message_wherever_it_is_met(
    tmp_path: Path, text: str, field: str, line: int
) -> None:
    """`make run` and the doctor check the whole file, deploy its shape, verify the app it reads."""
    file = tmp_path / "apps.json"
    file.write_text(text)
    environ = {"APPS_FILE": str(file)}
    messages = []
    for check in (check_apps, read_apps, lambda environ: app_named("shop", environ)):
        with pytest.raises(AppError) as caught:
            check(environ)
        messages.append(str(caught.value))

    assert len(set(messages)) == 1
    assert messages[0].startswith(f"APPS_FILE has a wrong {field} for app shop: ")
    assert messages[0].endswith(f" ({file}, line {line})")


def test_what_is_no_json_is_told_with_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "apps.json"
    file.write_text('{"shop": {\n"source" "github"}}')
    with pytest.raises(SettingError) as caught:
        check_apps({"APPS_FILE": str(file)})

    assert str(caught.value).startswith("APPS_FILE is not JSON: Expecting ':' delimiter (")
    assert str(caught.value).endswith(f"({file}, line 2)")


# --- keys for trying out


def test_the_keys_for_trying_out_are_those_that_send_signs_with() -> None:
    assert tryout.tryout_secret() == SECRET
    assert tryout.public_key_of(tryout.private_key()) == PUBLIC_KEY


def test_no_lambda_function_takes_a_key_for_trying_out() -> None:
    environ = {"HOOKSHELF_TRYOUT": "true", "AWS_LAMBDA_FUNCTION_NAME": "hookshelf-dev"}

    assert app_named("github", environ).keys == app_named("github", {}).keys
    assert app_named("github", {"HOOKSHELF_TRYOUT": "true"}).keys.secrets


@pytest.mark.slow
def test_the_curl_line_carries_the_configured_token_quoted(copy: Path) -> None:
    configure(copy, STAGE_VAR_validToken=f"sha256:{'0' * 64}, it's&mine")
    with serving(copy) as server:
        status, _ = curl(server)

    assert status == 200


def test_no_token_is_in_what_the_server_logs(server: Server) -> None:
    curl(server)
    server.process.send_signal(signal.SIGINT)
    output, errors = server.process.communicate(timeout=SECONDS)

    assert '"POST /input" 200' in errors
    assert "local-token" not in output + errors


def configure(project: Path, **variables: str) -> None:
    file = project / ".chalice" / "config.json"
    config = json.loads(file.read_text())
    config["stages"]["local"]["environment_variables"] |= variables
    file.write_text(json.dumps(config))


def run(project: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """All that is done before anything is served, as if the project were this one."""
    out, err, code = StringIO(), StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for module in (settings, serve, address):
            patch.setattr(module, "CONFIG", project / ".chalice" / "config.json")
        for module in (settings, serve):
            patch.setattr(module, "PROJECT_ROOT", project)
        patch.setattr(apps, "ROOT", str(project))
        for name, value in environ.items():
            patch.setenv(name, value)
        try:
            serve.main(arguments, serve=lambda environ, port: None)
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
