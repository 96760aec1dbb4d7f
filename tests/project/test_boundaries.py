"""What may know what: the pure core knows no library, Lambda knows no desk."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import PROJECT

HEAVY = {"boto3", "botocore", "pydantic", "cryptography", "click"}
OUTSIDE = HEAVY | {"chalice", "obstore", "urllib3"}
CORE = ["keys", "archive", "tokens", "metadata", "bodies", "responses", "settings"]

# Folders with other people's code, or none.
NOT_OURS = {".venv", "venv", "build", "archive", "node_modules", "deployments"}
SOURCES = sorted(
    path
    for path in PROJECT.rglob("*.py")
    if not any(part in NOT_OURS or part.startswith(".") for part in path.relative_to(PROJECT).parts)
)
IN_LAMBDA = [
    path for path in SOURCES if path.relative_to(PROJECT).parts[0] in ("app.py", "chalicelib")
]

CONFIG = json.loads((PROJECT / ".chalice" / "config.json").read_text())


def relative(path):
    return str(path.relative_to(PROJECT))


@pytest.mark.parametrize("name", CORE)
def test_the_core_imports_no_library(name):
    assert OUTSIDE & loaded_by(f"chalicelib.{name}") == set()


def test_importing_the_app_loads_nothing_heavy():
    assert HEAVY & loaded_by("app") == set()


def test_importing_the_app_loads_nothing_of_the_desk():
    assert "hookshelf" not in loaded_by("app")


def test_the_app_imports_where_the_environment_is_empty():
    assert "chalice" in loaded_by("app", environ={})


def test_the_check_of_imports_sees_an_import():
    assert "urllib3" in loaded_by("urllib3")


@pytest.mark.parametrize("path", IN_LAMBDA, ids=relative)
def test_what_runs_in_lambda_imports_nothing_of_the_desk(path):
    assert "hookshelf" not in {name.partition(".")[0] for name in imports_of(path)}


def test_the_scan_reads_the_whole_package():
    scanned = {relative(path) for path in IN_LAMBDA}

    assert {"app.py", "chalicelib/keys.py", "chalicelib/store/folder.py"} <= scanned
    assert relative(Path(__file__)) in {relative(path) for path in SOURCES}


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_nothing_is_mocked(path):
    """A mock agrees with whatever it is told; a fake or a real server can disagree."""
    mocks = {"unittest.mock", "mock", "pytest_mock"}

    assert not mocks & imports_of(path)
    assert "mocker" not in arguments_of(path)


@pytest.mark.parametrize(
    "code",
    [
        "import unittest.mock",
        "import unittest.mock as m",
        "from unittest import mock",
        "from unittest.mock import patch",
        "def f():\n    from unittest import mock as m",
    ],
)
def test_no_way_to_import_a_mock_escapes_the_scan(code, tmp_path):
    path = tmp_path / "code.py"
    path.write_text(code)

    assert "unittest.mock" in imports_of(path)


@pytest.mark.parametrize("handler", ["api_handler", "deliver", "track_s3"])
@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_each_function_of_a_stage_has_a_policy_of_its_own(stage, handler):
    policy = CONFIG["stages"][stage]["lambda_functions"][handler]["iam_policy_file"]

    assert policy == f"policy-{stage}-{handler}.json"
    assert (PROJECT / ".chalice" / policy).is_file()


def test_no_policy_is_guessed_from_the_code():
    """Chalice's guess sees app.py alone, and asks for every resource."""
    assert CONFIG["autogen_policy"] is False
    assert True not in values_of("autogen_policy", CONFIG)


@pytest.mark.parametrize("setting", ["log_retention_in_days", "minimum_compression_size"])
def test_a_setting_that_breaks_deployments_is_nowhere_set(setting):
    assert values_of(setting, CONFIG) == []


def test_the_search_for_a_setting_looks_everywhere():
    assert values_of("x", {"x": 1, "a": {"x": 2}, "b": [{"x": 3}]}) == [1, 2, 3]


def loaded_by(module, environ=None):
    """The top-level names of all modules that importing one module loads, in a new interpreter."""
    if environ is None:
        environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
        cwd=PROJECT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


def imports_of(path):
    """Every dotted name that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def arguments_of(path):
    return {node.arg for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.arg)}


def values_of(name, tree):
    """Every value that has this name, at any depth of a JSON document."""
    if isinstance(tree, list):
        return [found for item in tree for found in values_of(name, item)]
    if not isinstance(tree, dict):
        return []
    own = [tree[name]] if name in tree else []
    return own + [found for item in tree.values() for found in values_of(name, item)]
