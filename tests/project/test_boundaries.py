"""Who may know whom: the lines between folders, and where each library may be imported."""

import json
import os
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from support import modules
from support.modules import EVERYTHING, PRODUCT, arguments_of, imports_of, relative
from support.project import PROJECT

pytestmark = pytest.mark.xdist_group("syntax trees")  # which are read once

HEAVY = {"boto3", "botocore", "pydantic", "cryptography", "click"}
OUTSIDE = HEAVY | {"chalice", "obstore", "urllib3"}
CORE = ["keys", "archive", "tokens", "metadata", "bodies", "responses", "settings"]
IN_LAMBDA = [path for path in PRODUCT if relative(path).startswith(("app.py", "chalicelib/"))]

CONFIG = json.loads((PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8"))

# A room is a folder of hookshelf/; `shared` are the modules directly in it.
BELOW = {"chalicelib", "shared"}
KNOWS = {
    "app.py": {"chalicelib"},
    "chalicelib": set[str](),
    "shared": {"chalicelib"},
    "the library": {"reading"},  # hookshelf/__init__.py: `from hookshelf import Archive`
    "reading": BELOW,
    "deploy": BELOW,
    "replay": BELOW,
    "page": BELOW | {"reading"},
    "local": BELOW | {"app.py"},  # which it serves
    "doctor": BELOW | {"deploy"},
    "smoke": BELOW | {"deploy"},
    "commands": BELOW
    | {"the library", "reading", "replay", "page", "deploy", "local"}
    | {"doctor"},
    "the command line": BELOW | {"commands"},  # hookshelf/__main__.py
}

# Where importing a module may load a library. Elsewhere it is imported in the function that needs
# it, or not at all.
LIBRARIES = {
    "boto3": ["chalicelib/store/*", "hookshelf/aws.py", "hookshelf/deploy/*"]
    + ["hookshelf/doctor/*", "hookshelf/smoke/*"],
    "botocore": ["chalicelib/sigv4.py", "chalicelib/store/*", "hookshelf/aws.py"]
    + [
        "hookshelf/deploy/*",
        "hookshelf/doctor/*",
        "hookshelf/smoke/*",
        "hookshelf/reading/store/*",
    ],
    "cryptography": ["chalicelib/ecdsa.py", "hookshelf/local/traffic.py"],
    "chalice": ["chalicelib/local*.py"],
    "waitress": ["chalicelib/local_server.py", "hookshelf/page/*"],
    **dict.fromkeys(("flask", "markupsafe", "werkzeug"), ["hookshelf/page/*"]),
    "click": ["hookshelf/commands/*", "hookshelf/*__main__.py"],
    "duckdb": ["hookshelf/reading/*"],
    "findpython": ["hookshelf/deploy/*"],
    "msgspec": ["hookshelf/reading/*"],
    "obstore": ["chalicelib/store/*", "hookshelf/reading/*"],
    "pydantic": ["chalicelib/direct.py", "chalicelib/models.py"],
    "requests": ["chalicelib/snowplow.py"],
    "snowplow_tracker": ["chalicelib/snowplow.py"],
}
# What `hookshelf --help` must not wait for, though it loads every command.
SLOW_TO_LOAD = set(LIBRARIES) - {"click"} | {"cryptography", "samtranslator", "urllib3"}


# --- the lines between folders


def room_of(name: str) -> str:
    """Where a module is, by its path or its dotted name."""
    first, *rest = name.removesuffix(".py").replace("/", ".").split(".")
    if first != "hookshelf":
        return "app.py" if first == "app" else first
    if not rest or rest == ["__init__"]:
        return "the library"
    if rest == ["__main__"]:
        return "the command line"
    if (PROJECT / "hookshelf" / rest[0]).is_dir():
        return rest[0]
    return "shared" if (PROJECT / "hookshelf" / f"{rest[0]}.py").is_file() else "the library"


def rooms_known_by(path: Path) -> set[str]:
    """The rooms that a module imports anything of, its own apart."""
    ours = {
        name
        for name in imports_of(path)
        if name.split(".")[0] in ("app", "chalicelib", "hookshelf")
    }
    # `from hookshelf import settings` asks the package for a module, and not for the library.
    wider = {name.rpartition(".")[0] for name in ours}
    return {room_of(name) for name in ours - wider} - {room_of(relative(path))}


def test_a_module_knows_only_rooms_below_its_own():
    above = {
        relative(path): known
        for path in PRODUCT
        if (known := rooms_known_by(path) - KNOWS[room_of(relative(path))])
    }

    assert above == {}


def test_every_folder_of_hookshelf_is_a_room():
    folders = {path.parent.name for path in (PROJECT / "hookshelf").glob("*/*.py")}

    assert folders - set(KNOWS) == set()


@pytest.mark.parametrize(
    ("code", "known"),
    [
        ("from chalicelib.keys import parse", {"chalicelib"}),
        ("from hookshelf import settings", {"shared"}),
        ("from hookshelf.deploy import stack", {"deploy"}),
        ("import hookshelf.doctor.findings as f", {"doctor"}),
        ("def f():\n    from hookshelf.reading.deliveries import find", {"reading"}),
        ("from hookshelf import Archive", {"the library"}),
        ("import app", {"app.py"}),
    ],
)
def test_no_way_to_import_a_room_escapes_the_lines(code, known, tmp_path, monkeypatch):
    monkeypatch.setattr(modules, "PROJECT", tmp_path)
    path = tmp_path / "tests" / "code.py"
    path.parent.mkdir()
    path.write_text(code)

    assert rooms_known_by(path) == known


# --- libraries


def libraries_not_allowed(path: Path) -> set[str]:
    own = {"app", "chalicelib", "hookshelf"} | set(sys.stdlib_module_names)
    loaded = {name.split(".")[0] for name in imports_of(path, lazy=False)} - own
    allowed = {
        name
        for name, places in LIBRARIES.items()
        if any(fnmatchcase(relative(path), place) for place in places)
    }
    return loaded - allowed


def test_a_library_is_imported_only_where_it_may_be():
    strays = {relative(path): names for path in PRODUCT if (names := libraries_not_allowed(path))}

    assert strays == {}


def test_click_is_named_nowhere_but_in_commands_and_the_command_line():
    """Not within a function either: what is below raises, and `__main__` turns it into messages."""
    named = [
        relative(path)
        for path in PRODUCT
        if "click" in {name.split(".")[0] for name in imports_of(path)}
        if not any(fnmatchcase(relative(path), place) for place in LIBRARIES["click"])
    ]

    assert named == []


def test_asking_for_help_loads_no_library_that_is_slow_to_load():
    line = "from hookshelf.__main__ import main; main(['--help'], standalone_mode=False)"

    assert SLOW_TO_LOAD & loaded_by(line) == set()


@pytest.mark.parametrize("name", CORE)
def test_the_core_imports_no_library(name):
    assert OUTSIDE & loaded_by(f"import chalicelib.{name}") == set()


def test_importing_the_app_loads_nothing_heavy():
    assert HEAVY & loaded_by("import app") == set()


def test_importing_the_app_loads_nothing_of_your_machine():
    assert "hookshelf" not in loaded_by("import app")


def test_the_app_imports_where_the_environment_is_empty():
    assert "chalice" in loaded_by("import app", environ={})


def test_the_check_of_imports_sees_an_import():
    assert "urllib3" in loaded_by("import urllib3")


def test_the_scan_reads_the_whole_project():
    scanned = {relative(path) for path in IN_LAMBDA}

    assert {"app.py", "chalicelib/keys.py", "chalicelib/store/folder.py"} <= scanned
    assert "hookshelf/commands/send.py" in {relative(path) for path in PRODUCT}
    assert relative(Path(__file__)) in {relative(path) for path in EVERYTHING}


# --- mocks


def test_nothing_is_mocked():
    """A mock agrees with whatever it is told; a fake or a real server can disagree."""
    mocks = {"unittest.mock", "mock", "pytest_mock"}
    mocking = [
        relative(path)
        for path in EVERYTHING
        if "mock" in path.read_text(encoding="utf-8")  # most need not be parsed
        if mocks & imports_of(path) or "mocker" in arguments_of(path)
    ]

    assert mocking == []


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


# --- Chalice's configuration


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


def loaded_by(line, environ=None):
    """The top-level names of all modules that running one line loads, in a new interpreter."""
    if environ is None:
        environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{line}\nprint(*sys.modules)"],
        cwd=PROJECT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def values_of(name, tree):
    """Every value that has this name, at any depth of a JSON document."""
    if isinstance(tree, list):
        return [value for item in tree for value in values_of(name, item)]
    if not isinstance(tree, dict):
        return []
    own = [tree[name]] if name in tree else []
    return own + [value for item in tree.values() for value in values_of(name, item)]
