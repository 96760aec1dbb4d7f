"""No test waits for ever."""

import ast
import subprocess
import sys

import pytest
from support.modules import EVERYTHING, relative, tree_of

pytestmark = pytest.mark.xdist_group("syntax trees")  # which are read once

# What waits for somebody at the other end, for ever where it is given no time.
CONNECTING = {"urlopen", "HTTPConnection", "HTTPSConnection", "create_connection"}


@pytest.mark.parametrize("options", [{}, {"capture_output": True}], ids=["its end", "its output"])
def test_a_process_that_hangs_fails_the_test_and_is_named(options, monkeypatch):
    conftest = sys.modules[subprocess.Popen.wait.__module__]
    monkeypatch.setattr(conftest, "_LONGEST", 0.1)

    with pytest.raises(subprocess.TimeoutExpired, match="time.sleep"):
        subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"], **options)


def connecting(tree: ast.AST) -> list[ast.Call]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if ast.unparse(call.func).rpartition(".")[2] in CONNECTING]


def test_every_connection_of_the_tests_and_the_bench_is_given_a_time():
    paths = [
        path
        for path in EVERYTHING
        if relative(path).startswith(("tests/", "bench/"))
        and any(name in path.read_text(encoding="utf-8") for name in CONNECTING)  # quicker to see
    ]
    calls = [(relative(path), call) for path in paths for call in connecting(tree_of(path))]
    for_ever = [
        f"{name}:{call.lineno}"
        for name, call in calls
        if "timeout" not in [keyword.arg for keyword in call.keywords]
    ]

    assert len(calls) > 10
    assert not for_ever, for_ever
