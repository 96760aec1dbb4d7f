"""The reference says what is so: its tables are compared with the code, its commands are run."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.local_server import copy_of_project, fresh_shell, serving
from support.pages import blocks, commands, leaves, section, table, text_of, transcript
from support.project import PROJECT, post
from support.shell import installed_copy, pip_from_wheels, run, shape
from support.stage import deploy, live, shell

from chalicelib import bodies, keys, metadata, responses, sources, tokens
from chalicelib.delivery import Delivery
from chalicelib.store import store_names
from hookshelf.__main__ import main

REFERENCE = text_of("docs/reference.md")
BY_HAND = commands(section(REFERENCE, "## Run it on your machine"))
ENTRY_POINTS = commands(section(REFERENCE, "## Entry points"))
TOKENS = commands(section(REFERENCE, "## Tokens"))
IN_LAMBDA = [path for path in (PROJECT / "chalicelib").rglob("*.py")]
VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")


def texts_of(paths: Any) -> set[str]:
    """Every piece of text in these modules."""
    return {
        node.value
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def code_spans(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_of_project(tmp_path / "hookshelf")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    return installed_copy(tmp_path / "hookshelf")


# --- responses


@pytest.fixture
def refusing(folder_environ: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """Settings under which the app `signed` takes only what GitHub signed."""
    apps = tmp_path / "apps.json"
    entry = {"source": "github", "secrets": ["a secret of ours"], "signature": "require"}
    apps.write_text(json.dumps({"signed": entry}), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**folder_environ, "APPS_FILE": str(apps)}.items():
            patch.setenv(name, value)
        yield


def written_down() -> set[tuple[int, str]]:
    """Status and reason of every response that chalicelib has ready for use."""
    others = "\n".join(
        path.read_text(encoding="utf-8") for path in IN_LAMBDA if path.name != "responses.py"
    )
    ready = {
        name: value
        for name, value in vars(responses).items()
        if hasattr(value, "status") and hasattr(value, "reason") and not isinstance(value, type)
    }
    unused = [name for name in ready if not re.search(rf"\b{name}\b", others)]
    assert unused == []
    return {(value.status, value.reason) for value in ready.values()}


def heard(body: bytes, **query: str) -> tuple[int, str]:
    """Status and reason that a sender gets."""
    status, _, said = post(body, **query)
    return status, said.get("reason", "")


def test_the_table_of_responses_has_every_reason_there_is_and_no_other(refusing: None) -> None:
    named = {(int(status), reason.strip("`")) for status, reason, _ in table(REFERENCE, "Status")}
    made_on_the_way = {heard(b"{}"), heard(b"{"), heard(b"{}", app="signed")}

    assert named == written_down() | made_on_the_way | {without_settings()}


def without_settings() -> tuple[int, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ARCHIVE_BUCKETS")
        status, reason = heard(b"{}")
    return status, reason.replace("ARCHIVE_BUCKETS", "NAME")


def test_a_503_says_when_to_try_again(refusing: None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ARCHIVE_BUCKETS")
        _, headers, _ = post(b"{}")

    assert f"`Retry-After: {headers['Retry-After']}`" in section(REFERENCE, "## Responses")


# --- settings


def test_the_table_of_settings_names_every_variable_of_ours_and_no_other() -> None:
    named = {variable.strip("`") for variable, *_ in rows("Variable", "Unset")}
    # What WSGI calls the parts of a request, in chalicelib/local_server.py.
    wsgi = re.compile("(HTTP|REQUEST|CONTENT)_|(TRANSFER_ENCODING|PATH_INFO|QUERY_STRING)$")
    texts = {text for text in texts_of(IN_LAMBDA) if VARIABLE.fullmatch(text)}
    read = {text for text in texts if not wsgi.match(text)}

    assert named == {name for name in read if not name.startswith("AWS_")} | {
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL",
    }


def test_the_table_of_settings_names_every_store() -> None:
    [line] = [line for variable, *_, line in rows("Variable", "Unset") if "CLIENT" in variable]

    assert store_names() | {"auto"} <= set(re.findall("`([a-z0-9]+)`", line))


def test_the_table_of_what_commands_read_names_every_such_variable() -> None:
    named = {variable.strip("`") for variable, *_ in rows("Variable", "Command")}
    read = texts_of((PROJECT / "hookshelf").rglob("*.py"))

    assert named == {name for name in read if re.fullmatch(r"HOOKSHELF_[A-Z_]+", name)}


def rows(first: str, second: str) -> list[list[str]]:
    """The cells of the table that begins with these two headings."""
    heading = rf"^\| {first} \| {second} \|.*\n\|.*\n((?:\|.*\n)+)"
    [found] = re.findall(heading, REFERENCE, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found.splitlines()]


# --- what is in the bucket


def test_every_key_of_the_reference_is_one_that_the_grammar_writes() -> None:
    shown = [code_spans(key)[0] for key, _ in table(REFERENCE, "Key")]
    whole = [key.replace("<sha256>", "5f" * 32) for key in shown]

    assert [str(keys.parse_key(key)) for key in whole] == whole
    assert {type(keys.parse_key(key)) for key in whole} == {keys.DeliveryKey, keys.RejectedKey}


def test_the_annotated_key_is_the_one_of_the_transcript() -> None:
    [drawing] = [block for block in blocks(REFERENCE, "") if block.startswith("sendgrid/")]
    pattern = re.escape(drawing.splitlines()[0]).replace(re.escape("..."), "[0-9a-f]+")

    assert re.search(pattern, transcript(REFERENCE)[0][1])


def test_the_table_of_extensions_is_the_code_s() -> None:
    named = {
        code_spans(name)[0]: code_spans(kind)[0] for name, kind in table(REFERENCE, "Extension")
    }

    assert named == bodies.CONTENT_TYPES


def test_the_table_of_metadata_names_all_that_is_written() -> None:
    headers = {"x-signature": "0f3a", "user-agent": "x" * metadata.MAX_METADATA}
    delivery = Delivery("shop", headers, b"{", datetime.now(UTC), "r-1")
    written = metadata.describe(
        delivery, source="generic", verdict="bad", keep=headers, reason="Invalid signature"
    )
    named = {code_spans(name)[0] for name, _ in table(REFERENCE, "Metadata")}

    assert {re.sub("^h-.+", "h-<name>", name) for name in written} == named


def test_the_size_of_metadata_and_of_bodies_is_the_code_s() -> None:
    limits = section(REFERENCE, "## Limits")

    assert f"({responses.MAX_BODY:,} bytes)" in limits
    assert f"{metadata.MAX_METADATA:,} bytes" in limits


# --- sources, commands


def test_the_table_of_sources_has_every_source_and_how_it_signs() -> None:
    named = {code_spans(name)[0]: text for name, text in table(REFERENCE, "Source")}

    assert set(named) == set(sources.source_names())
    unsigned = {name for name in named if sources.source_named(name).verify is None}
    assert {name for name, text in named.items() if text == "none"} == unsigned


def test_the_table_of_commands_has_every_command_and_no_other() -> None:
    named = [
        code_spans(name)[0].removeprefix("hookshelf ") for name, _ in table(REFERENCE, "Command")
    ]

    assert named == sorted(name for name, _ in leaves(main))


def test_the_table_of_targets_has_every_target_of_the_makefile() -> None:
    named = {code_spans(name)[0].removeprefix("make ") for name, _ in table(REFERENCE, "Target")}
    [phony] = re.findall(r"^\.PHONY: (.*)$", text_of("Makefile"), re.MULTILINE)

    assert named == set(phony.split())


# --- its commands


def test_every_command_of_the_reference_is_run_by_a_test() -> None:
    assert commands(REFERENCE) == [*BY_HAND, *ENTRY_POINTS, *TOKENS]


def test_every_transcript_of_the_reference_comes_out_as_it_says(project: Path) -> None:
    with serving(project) as server:
        said = [(command, run(command, server)) for command, _ in transcript(REFERENCE)]

    assert len(said) >= 5
    assert shape(said) == shape(transcript(REFERENCE))


def test_the_last_of_the_lines_by_hand_serves(installed: Path) -> None:
    assert serves_by_hand(installed)


@pytest.mark.slow
def test_the_lines_by_hand_serve_from_nothing(project: Path) -> None:
    environ = fresh_shell() | pip_from_wheels(project)
    for line in BY_HAND[:2]:
        subprocess.run(line, shell=True, cwd=project, env=environ, check=True)

    assert serves_by_hand(project)


def serves_by_hand(project: Path) -> bool:
    """Run the last line on a free port, and send it the first curl of the page."""
    command, output = transcript(REFERENCE)[0]
    with serving(project, BY_HAND[-1].replace("8000", "{port}")) as server:
        return shape([("", run(command, server))]) == shape([("", output)])


def test_the_command_for_iam_delivers(project: Path) -> None:
    with serving(project) as server:
        response = json.loads(run(ENTRY_POINTS[0], server))

    assert response["result"] == "success"
    assert (project / "archive/events" / response["key"]).read_bytes() == b'{"alert": 1}'


def in_the_checkout(command: str, checkout: Path) -> Any:
    """What a command prints, as Python reads it."""
    done = subprocess.run(
        command, shell=True, cwd=checkout, env=fresh_shell(), capture_output=True, text=True
    )
    return ast.literal_eval(done.stdout)


def test_the_command_for_a_direct_invoke_delivers(installed: Path) -> None:
    result = in_the_checkout(ENTRY_POINTS[1], installed)

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
        command = ENTRY_POINTS[2].replace(":9090", f":{collector.server_port}")
        result = in_the_checkout(command, installed)
        collector.shutdown()

    assert result == {"sent": 1, "skipped": 0}
    assert posts == ["/com.snowplowanalytics.snowplow/tp2"]


@pytest.mark.slow
def test_the_token_commands_make_a_token_and_leave_only_the_newest(moto_endpoint: str) -> None:
    stage = deploy(moto_endpoint)
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
        for command in TOKENS
    ]
    variables = live(moto_endpoint, stage)

    assert listed.count(" hashed\n") == 2
    assert revoked.startswith("Revoked: ")
    tokens.check_token(variables, None, rotated.strip())  # raises where it is not accepted
    with pytest.raises(tokens.WrongToken):
        tokens.check_token(variables, None, new.strip())
