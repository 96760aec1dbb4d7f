"""The README says what is so: its commands are run, its tables are compared with the code."""

import ast
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from pkgutil import iter_modules
from threading import Thread

import pytest
from support.local_server import SECONDS, Server, copy_of_project, curl, fresh_shell, serving
from support.project import PROJECT, SAMPLES
from support.stage import deploy, live, shell

from chalicelib import receive, responses, settings, tokens
from chalicelib.guards import by_token
from chalicelib.responses import Response
from hookshelf import commands

README = (PROJECT / "README.md").read_text(encoding="utf-8")
SENT = SAMPLES / "sendgrid" / "batch" / "body.json"
MAKE_RUN, MAKE_TEST = "make run", "make test"
BY_HAND = [
    "python3 -m venv .venv",
    ".venv/bin/pip install -r requirements-dev.txt",
    ".venv/bin/chalice local --stage local --no-autoreload --port 8000",
]


def blocks(kind: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [block for of, block in found if of == kind]


def transcript() -> list[tuple[str, str]]:
    """Every command of the console blocks, with the output shown below it."""
    parts = re.findall(
        r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", "".join(blocks("console")), re.MULTILINE
    )
    return [(command, output) for command, output in parts]


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its own heading."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_of_project(tmp_path / "hookshelf")


def test_every_transcript_of_the_readme_comes_out_as_it_says(project: Path) -> None:
    with serving(project) as server:
        said = [(command, run(command, server)) for command, _ in transcript()]

    assert len(said) >= 7
    assert shape(said) == shape(transcript())


def test_every_other_command_of_the_readme_is_run_by_a_test() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]

    assert lines[:5] == [MAKE_RUN, MAKE_TEST, *BY_HAND]
    assert "hookshelf deploy" in lines[8]  # run by tests/deploy/test_deploying_doc.py
    assert len(lines) == 13  # and three doors and four for tokens, see below


def test_the_command_for_iam_delivers(project: Path) -> None:
    with serving(project) as server:
        answer = json.loads(run(doors()[0], server))

    assert answer["result"] == "success"
    assert (project / "archive/events" / answer["key"]).read_bytes() == b'{"alert": 1}'


def test_the_command_for_a_direct_invoke_delivers(installed: Path) -> None:
    done = subprocess.run(
        doors()[1], shell=True, cwd=installed, env=fresh_shell(), capture_output=True, text=True
    )
    result = ast.literal_eval(done.stdout)

    assert result["result"] == "success"
    assert (installed / "archive/events" / result["key"]).read_bytes().startswith(b'{"event":')


def test_the_command_for_a_notification_posts_to_the_collector(installed: Path) -> None:
    posts = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posts.append(self.path)
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        Thread(target=collector.serve_forever, daemon=True).start()
        command = doors()[2].replace(":9090", f":{collector.server_port}")
        done = subprocess.run(
            command, shell=True, cwd=installed, env=fresh_shell(), capture_output=True, text=True
        )
        collector.shutdown()

    assert ast.literal_eval(done.stdout) == {"sent": 1, "skipped": 0}
    assert posts == ["/com.snowplowanalytics.snowplow/tp2"]


def test_the_token_commands_make_a_token_and_leave_only_the_newest(moto_endpoint: str) -> None:
    stage = deploy(moto_endpoint)
    commands = [line for block in blocks("sh") for line in block.splitlines()][9:]
    new, rotated, listed, revoked = [
        subprocess.run(
            command.replace(".venv/bin/hookshelf", f"{sys.executable} -m hookshelf").replace(
                "--stage dev", f"--stage {stage.stage}"
            ),
            shell=True,
            cwd=PROJECT,
            env=fresh_shell() | shell(moto_endpoint),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for command in commands
    ]
    variables = live(moto_endpoint, stage)

    assert listed.count(" hashed\n") == 2
    assert revoked.startswith("Revoked: ")
    tokens.check_token(variables, None, rotated.strip())  # raises where it is not accepted
    with pytest.raises(tokens.WrongToken):
        tokens.check_token(variables, None, new.strip())


def test_make_run_serves_what_is_installed(installed: Path) -> None:
    with serving(installed, "make run PORT={port}") as server:
        status, answer = curl(server)

    assert status == 200
    assert (installed / "archive/events" / answer["key"]).read_bytes() == SENT.read_bytes()


def test_the_last_of_the_lines_by_hand_serves(installed: Path) -> None:
    assert serves_by_hand(installed)


@pytest.mark.slow
def test_the_three_lines_by_hand_serve_from_nothing(project: Path) -> None:
    for line in BY_HAND[:2]:
        subprocess.run(line, shell=True, cwd=project, env=fresh_shell(), check=True)

    assert serves_by_hand(project)


@pytest.mark.slow
def test_the_two_commands_work_from_nothing(project: Path) -> None:
    # Installed first, as what that prints is not the server's.
    subprocess.run(["make", ".venv/run.done"], cwd=project, env=fresh_shell(), check=True)
    with serving(project, "make run PORT={port}") as server:
        status, _ = curl(server)
    # The tests are only collected: this one would run itself for ever.
    environ = fresh_shell() | {"PYTEST_ADDOPTS": "--collect-only"}
    done = subprocess.run(
        ["make", "test"], cwd=project, env=environ, capture_output=True, text=True
    )

    assert status == 200
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_of_settings_names_every_variable_of_ours_and_no_other() -> None:
    named = [variable.strip("`") for variable, *_ in rows("Settings")]

    assert set(named) == set(settings._OWN) | read_elsewhere()


def test_the_table_of_answers_has_every_reason_the_code_gives_and_no_other() -> None:
    told = {(int(status), reason.strip("`")) for status, reason, _ in rows("Every answer")}

    assert told == given()


def test_the_readme_names_no_verb_that_does_not_exist_and_all_that_do() -> None:
    code = "\n".join(
        [*re.findall(r"^```.*?^```", README, re.M | re.S), *re.findall("`.+?`", README)]
    )
    named = set(re.findall(r"(?:bin/|\$ |`|^)hookshelf ([a-z]+)", code, re.MULTILINE))

    modules = {module.name for module in iter_modules(commands.__path__)}
    assert named == {name for name in modules if not name.startswith("_")}


def test_every_file_the_readme_names_is_there() -> None:
    code = " ".join(re.findall(r"`([^`\n]+)`", README))
    named = set(re.findall(r"(?<![\w./<>-])\.?\w[\w/.-]*(?:\.(?:py|md|json|txt)|/)(?= |$)", code))

    assert len(named) > 12
    # The last is an operator's own, where there is one.
    named -= {"_rejected/", "chalicelib/apps.json"}
    assert [name for name in named if not (PROJECT / name).exists()] == []


def test_the_annotated_key_is_the_one_of_the_transcript() -> None:
    [drawing] = [block for block in blocks("") if block.startswith("sendgrid/")]
    pattern = re.escape(drawing.splitlines()[0]).replace(re.escape("..."), "[0-9a-f]+")

    assert re.search(pattern, transcript()[0][1])


def test_each_decision_is_dated_and_short() -> None:
    decisions = (PROJECT / "docs" / "decisions.md").read_text(encoding="utf-8").split("\n## ")[1:]

    assert decisions
    for decision in decisions:
        title, _, text = decision.partition("\n")
        assert re.match(r"\d{4}-\d\d-\d\d: ", title)
        assert 1 <= len(text.strip().splitlines()) <= 8, title


def doors() -> list[str]:
    """The commands for the doors other than `/input`."""
    return [line for block in blocks("sh") for line in block.splitlines()][5:8]


@pytest.fixture
def installed(project: Path) -> Path:
    """A copy with a .venv made of the environment that runs this test, instead of by pip."""
    venv = project / ".venv"
    venv.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.suffix != ".done":  # pip must not run: it would write to where these links lead
            (venv / entry.name).symlink_to(entry)
    for name in ("run.done", "test.done"):
        (venv / name).touch()
    return project


def run(command: str, server: Server) -> str:
    command = command.replace(":8000/", f":{server.port}/")
    command = command.replace(" send ", f" send --port {server.port} ")
    command = command.replace(".venv/bin/hookshelf", f"{sys.executable} -m hookshelf")
    done = subprocess.run(
        command, shell=True, cwd=server.project, capture_output=True, text=True, timeout=SECONDS
    )
    return done.stdout


def shape(parts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without what differs from run to run: when a delivery arrived."""
    when = re.compile(r"dt=\d{4}-\d\d-\d\d(/hh=\d\d/\d{8}T\d{6}\.\d{6}Z)?")
    return [(command, when.sub("dt=…", output).removesuffix("\n")) for command, output in parts]


def serves_by_hand(project: Path) -> bool:
    """Run the third line on a free port, and send it the first curl of the README."""
    with serving(project, BY_HAND[2].replace("8000", "{port}")) as server:
        return shape([("", run(transcript()[0][0], server))]) == shape([("", transcript()[0][1])])


def given() -> set[tuple[int, str]]:
    """Status and reason of every answer that something in chalicelib asks for."""
    code = "".join(file.read_text() for file in (PROJECT / "chalicelib").rglob("*.py"))
    asked_for = set(re.findall(r"\bresponses\.(\w+)", code))
    found = [value for name, value in vars(responses).items() if name in asked_for]
    made = [value for value in found if isinstance(value, Response)]
    made += [responses.stored("bucket", "key"), answer_without_settings()]
    return {(answer.status, answer.reason.replace("ARCHIVE_BUCKETS", "NAME")) for answer in made}


def read_elsewhere() -> set[str]:
    """The variables that something in chalicelib other than settings.py asks for."""
    code = "".join(file.read_text() for file in (PROJECT / "chalicelib").rglob("*.py"))
    return {name for name in re.findall(r'environ\.get\("(\w+)"', code) if name[:4] != "AWS_"}


def answer_without_settings() -> Response:
    event = {"requestContext": {"httpMethod": "POST"}}
    return receive.respond(event, None, environ={}, arrived=datetime.now(UTC), guard=by_token)
