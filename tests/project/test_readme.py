"""The README says what is so: its commands are run, its figures are those of the other pages."""

import re
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
from support.local_server import copy_of_project, curl, fresh_shell, serving
from support.pages import commands, section, table, text_of, transcript
from support.project import PROJECT, SAMPLES
from support.shell import installed_copy, pip_from_wheels, run, shape

README = text_of("README.md")
SENT = SAMPLES / "sendgrid" / "batch" / "body.json"
MAKE_RUN, MAKE_TEST, DEPLOY = commands(README)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_of_project(tmp_path / "hookshelf")


def test_the_transcript_comes_out_as_it_says(project: Path) -> None:
    with serving(project) as server:
        said = [(command, run(command, server)) for command, _ in transcript(README)]

    assert shape(said) == shape(transcript(README))


def test_every_other_command_is_run_by_a_test() -> None:
    assert [MAKE_RUN, MAKE_TEST] == ["make run", "make test"]
    assert DEPLOY.startswith(".venv/bin/hookshelf deploy ")  # by tests/deploy/test_deploying_doc.py


def test_make_run_serves_what_is_installed(tmp_path: Path) -> None:
    installed = installed_copy(tmp_path / "hookshelf")
    with serving(installed, f"{MAKE_RUN} PORT={{port}}") as server:
        status, response = curl(server)

    assert status == 200
    assert (installed / "archive/events" / response["key"]).read_bytes() == SENT.read_bytes()


@pytest.mark.slow
def test_the_two_commands_work_from_nothing(project: Path) -> None:
    # Installed first, as what that prints is not the server's.
    environ = fresh_shell() | pip_from_wheels(project)
    subprocess.run(["make", ".venv/run.done"], cwd=project, env=environ, check=True)
    with serving(project, f"{MAKE_RUN} PORT={{port}}") as server:
        status, _ = curl(server)
    # The tests are only collected: this one would run itself for ever.
    environ["PYTEST_ADDOPTS"] = "--collect-only"
    done = subprocess.run(
        MAKE_TEST.split(), cwd=project, env=environ, capture_output=True, text=True
    )

    assert status == 200
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_first_screen_says_what_has_not_been_seen() -> None:
    """In sight before the first chapter, as long as the page of proof says so too."""
    first_screen = README.partition("\n## ")[0]

    assert ("Seen on AWS: not yet" in first_screen) == (
        "\n## On AWS: not yet\n" in text_of("docs/proof.md")
    )


def test_what_a_million_deliveries_cost_is_the_total_of_the_costs() -> None:
    totals = re.findall(r"\| \*\*total\*\* \| \| \*\*(.+)\*\* \|", text_of("docs/deploying.md"))
    [figure] = re.findall(r"cost some \$(\d+) ", section(README, "## Put it on AWS"))

    assert round(sum(map(Decimal, totals))) == int(figure)


def test_every_promise_links_to_its_line_of_proof_and_every_line_is_linked() -> None:
    """A line has what tries it, what was seen and when, and what nobody has seen."""
    promises = re.findall(r"^- (.+)$", section(README, "## What it promises"), re.MULTILINE)
    rows = table(text_of("docs/proof.md"), "Promise")
    ids = [re.findall(r'^<a id="(\w+)"></a>', promise) for promise, *_ in rows]
    linked = re.findall(r"\]\(docs/proof\.md#(\w+)\)", README)

    assert promises
    assert all("](docs/proof.md#" in promise for promise in promises)
    assert sorted(linked) == sorted(name for [name] in ids)
    for _, commands_, seen, not_proved in rows:
        assert re.search(r"`(make|python -m bench)\b[^`]*`", commands_), commands_
        assert re.search(r"\(.*\d{4}-\d\d-\d\d\)|\]\(simulation\.md\)", seen), seen
        assert not_proved


def test_it_is_short() -> None:
    assert len(README.split()) < 900


def test_every_drawing_reads_in_the_dark_too() -> None:
    pictures = re.findall(r"!\[.+\]\((docs/.+\.svg)\)", README)
    assert pictures
    for picture in pictures:
        drawing = (PROJECT / picture).read_text(encoding="utf-8")
        light, dark = drawing.split("@media (prefers-color-scheme: dark)")
        classes = set(re.findall(r'class="(\w+)"', drawing)) - {"name"}  # a weight, no colour

        assert all(f".{name} {{" in light and f".{name} {{" in dark for name in classes), picture
