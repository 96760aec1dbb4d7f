"""`python -m hookshelf.local.serve`, which is what `make run` runs, in a copy of the project."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
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
from support.project import SAMPLES

SENT = (SAMPLES / "sendgrid" / "batch" / "body.json").read_bytes()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy whose path needs quoting in a shell."""
    return copy_of_project(tmp_path / "it's my project")


@pytest.fixture
def server(project: Path) -> Iterator[Server]:
    with serving(project) as server:
        yield server


def test_the_printed_curl_line_archives_the_sample_byte_for_byte(server: Server) -> None:
    status, answer = curl(server)

    assert (status, answer["result"], answer["bucket"]) == (200, "success", "events")
    assert (server.project / "archive" / "events" / answer["key"]).read_bytes() == SENT


def test_the_curl_line_is_printed_before_the_app_is_loaded_and_the_port_opened(
    project: Path,
) -> None:
    (project / "app.py").write_text("raise SystemExit(7)")
    done = run(project, "--port", str(free_port()))

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
    done = run(project, "--port", "99999")

    assert done.returncode == 1
    assert done.stderr.startswith("Error: Port 99999: ")


@pytest.mark.parametrize(
    ("variable", "value", "mend"),
    [
        ("ARCHIVE_BUCKETS", "events/", "Write each as bucket or bucket/path"),
        ("ARCHIVE_CLIENT", "curl", "Use auto, obstore or boto3"),
        ("ARCHIVE_BUCKET_OWNER", "me", "Use an account id of 12 digits"),
    ],
)
def test_a_broken_setting_stops_it_with_the_variable_the_value_and_the_mend(
    project: Path, variable: str, value: str, mend: str
) -> None:
    configure(project, **{variable: value})
    done = run(project, "--port", str(free_port()))

    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {variable} ")
    assert repr(value) in done.stderr
    assert mend in done.stderr
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


def test_the_curl_line_carries_the_configured_token_quoted(project: Path) -> None:
    configure(project, STAGE_VAR_validToken=f"sha256:{'0' * 64}, it's&mine")
    with serving(project) as server:
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
    return subprocess.run(
        [sys.executable, "-m", "hookshelf.local.serve", *arguments],
        cwd=project,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
