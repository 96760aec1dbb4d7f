"""The command line as a whole; each verb has a test file of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import PROJECT

from hookshelf import verbs
from hookshelf.__main__ import main

VERBS = sorted(path.stem for path in Path(verbs.__path__[0]).glob("[!_]*.py"))


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
    program += "print([name for name in sys.modules if name.startswith('hookshelf.verbs.')])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout == "[]\n"
