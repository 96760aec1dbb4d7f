"""The net under all other tests sees a token where one has leaked."""

import os

import pytest
from support.canary import TOKEN
from support.project import PROJECT

pytest_plugins = ["pytester"]

TESTS = f"""
import logging
from chalicelib import log

def test_that_prints():
    print({TOKEN!r})

def test_that_logs_a_field():
    log.line(40, "delivery", app={TOKEN!r})

def test_that_logs_an_exception():
    try:
        raise ValueError({TOKEN!r})
    except ValueError:
        logging.getLogger("hookshelf").exception("fault")

def test_that_names_a_file(tmp_path):
    (tmp_path / "x-{TOKEN}.json").touch()

def test_that_keeps_metadata(tmp_path):
    (tmp_path / "x.json.meta").write_text({TOKEN!r})

def test_that_leaks_nothing(tmp_path):
    (tmp_path / "x.json").write_text({TOKEN!r})
    print("another")
"""


def test_a_test_in_which_the_token_leaks_fails(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")  # where pytest shortens no line of its summary
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), str(PROJECT / "tests")]))
    pytester.makeconftest("from support.canary import pytest_runtest_makereport, tmp_path")
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--tb=no", "-rfEp")
    told = verdicts(result)

    assert told == {
        "test_that_prints": "FAILED",
        "test_that_logs_a_field": "FAILED",
        "test_that_logs_an_exception": "FAILED",
        "test_that_names_a_file": "ERROR",  # seen when the test had passed
        "test_that_keeps_metadata": "ERROR",
        "test_that_leaks_nothing": "PASSED",
    }
    assert TOKEN not in result.stdout.str()
    assert "appears in x-<token>.json" in result.stdout.str()


def verdicts(result: pytest.RunResult) -> dict[str, str]:
    """PASSED, FAILED or ERROR, by test; a test that passed and then erred has erred."""
    lines = [line.split() for line in result.outlines if "::test_" in line]
    lines.sort(key=lambda words: words[0] == "ERROR")
    return {words[1].partition("::")[2]: words[0] for words in lines}
