"""One meaning for each name, and one place for each fact."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import PurePath

import pytest
from support.modules import EVERYTHING, PRODUCT, relative, tree_of

from chalicelib import routes
from chalicelib.keys import day_folder, hour_folder, month_prefix

pytestmark = pytest.mark.xdist_group("syntax trees")  # which are read once


@cache
def trees_of(*folders: str) -> dict[str, ast.Module]:
    """The modules of some folders, by name; those of the product without any."""
    paths = [p for p in EVERYTHING if relative(p).startswith(folders)] if folders else PRODUCT
    return {relative(path): tree_of(path) for path in paths}


# What the modules of a folder are asked for by name, so that each of them has it.
PROTOCOLS = {
    "chalicelib/sources": {"SOURCE", "SIGNATURE", "TIMESTAMP"}
    | {"message", "verify", "sign", "handshake", "events", "example"},
    "chalicelib/store": {"STORE"},
    "hookshelf/commands": {"command"},
    "hookshelf/page/views": {"VIEW"},
    "hookshelf/reading/store": {"READING_STORE"},
}
# The names of the functions in Lambda, which senders' and operators' settings hold; each hands on
# to a function that may be called the same.
ENTRY_POINTS = "app.py"


def in_lines(homes: Mapping[object, list[str]]) -> str:
    return "".join(f"\n{name}: {', '.join(places)}" for name, places in homes.items())


# --- names


def defined_in(tree: ast.Module) -> Iterator[str]:
    """The public functions, classes and constants of a module."""
    for node in tree.body:
        names: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not is_type_variable(node):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
        yield from (name for name in names if not name.startswith("_"))


def is_type_variable(node: ast.Assign | ast.AnnAssign) -> bool:
    """`T = TypeVar("T")`, which means whatever its function says."""
    return isinstance(node.value, ast.Call) and "TypeVar" in ast.unparse(node.value.func)


def is_program(tree: ast.Module) -> bool:
    """Whether `python -m` runs it, so that it may have a `main` of its own."""
    return any(isinstance(node, ast.If) and "__main__" in ast.unparse(node) for node in tree.body)


def is_protocol(name: str, module: str, tree: ast.Module) -> bool:
    folder = str(PurePath(module).parent)
    return name in PROTOCOLS.get(folder, ()) or (name == "main" and is_program(tree))


def names_with_two_meanings(trees: Mapping[str, ast.Module]) -> dict[str, list[str]]:
    """Each name that two modules define, with them; a protocol's is defined once, by its folder."""
    homes = defaultdict[str, set[str]](set)
    for module, tree in trees.items():
        for name in defined_in(tree) if module != ENTRY_POINTS else ():
            protocol = is_protocol(name, module, tree)
            home = "a program" if name == "main" else f"{PurePath(module).parent}/"
            homes[name].add(home if protocol else module)
    return {name: sorted(found) for name, found in sorted(homes.items()) if len(found) > 1}


def test_no_public_name_has_two_meanings() -> None:
    twice = names_with_two_meanings(trees_of())

    assert not twice, in_lines(twice)


@pytest.mark.parametrize("folder", PROTOCOLS)
def test_every_name_of_a_protocol_is_one_that_two_of_its_modules_have(folder: str) -> None:
    inside = [tree for module, tree in trees_of().items() if str(PurePath(module).parent) == folder]
    for name in PROTOCOLS[folder]:
        assert sum(name in defined_in(tree) for tree in inside) > 1, name


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ("class Event: ...", "class Event: ...", ["Event"]),
        ("STAGE = 'dev'", "STAGE: str = 'local'", ["STAGE"]),
        ("def check(): ...", "async def check(): ...", ["check"]),
        ("Query = dict", "class Query: ...", ["Query"]),
        ("command = 1", "command = 2", []),
        ("def main(): ...\nif __name__ == '__main__': ...", "def main(): ...", ["main"]),
        ("def _check(): ...", "def _check(): ...", []),
        ("from x import Event", "class Event: ...", []),
        ("T = TypeVar('T')", "T = TypeVar('T')", []),
    ],
)
def test_the_search_for_names_sees_them(first: str, second: str, names: list[str]) -> None:
    trees = {
        "hookshelf/commands/a.py": ast.parse(first),
        "hookshelf/commands/b.py": ast.parse(second),
    }

    assert list(names_with_two_meanings(trees)) == names


def test_a_name_of_a_protocol_is_no_other_folders() -> None:
    trees = {
        "chalicelib/sources/a.py": ast.parse("def verify(): ..."),
        "chalicelib/sources/b.py": ast.parse("def verify(): ..."),
        "hookshelf/commands/a.py": ast.parse("def verify(): ..."),
    }

    assert names_with_two_meanings(trees) == {
        "verify": ["chalicelib/sources/", "hookshelf/commands/a.py"]
    }


# --- facts

# How many of one unit are another, and the usual buffer: no facts of ours.
OF_UNITS = {1000, 1024, 3600, 65_536, 86_400, 1_000_000}


def texts(tree: ast.Module) -> Iterator[str]:
    """Every text in a module, the pieces of f-strings too, but for docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in docstrings:
            yield node.value


def wordings(tree: ast.Module) -> Iterator[str]:
    """Sentences, and most of one: four words or more."""
    yield from (text for text in texts(tree) if len(text) >= 20 and text.strip().count(" ") >= 3)


def addresses(tree: ast.Module) -> Iterator[str]:
    """ARNs and URLs, and what they begin with."""
    yield from (text for text in texts(tree) if re.match(r"arn:aws\S{5,}|https?://\S", text))


def patterns(tree: ast.Module) -> Iterator[str]:
    """Regular expressions that are more than a letter or two."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
            pattern = ast.unparse(node.args[0]) if node.args else ""
            if len(pattern) > 10:
                yield pattern


def numbers(tree: ast.Module) -> Iterator[float]:
    """Large numbers; small ones meet by chance."""
    for node in ast.walk(tree):
        is_number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
        if is_number and node.value >= 1000 and node.value not in OF_UNITS:
            yield node.value


def values(tree: ast.Module) -> Iterator[str]:
    """What a module gives a name to, where it is written out and more than a word or a number."""
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        try:
            value = ast.literal_eval(node.value)
        except ValueError:
            continue
        if (
            isinstance(value, str)
            and len(value) >= 8
            or isinstance(value, tuple | list | dict | set)
            and value
        ):
            yield repr(value)


FACTS = [wordings, addresses, patterns, numbers, values]


def said_twice(trees: Mapping[str, ast.Module], facts: object) -> dict[object, list[str]]:
    """What two modules both say, with them."""
    homes = defaultdict[object, set[str]](set)
    for module, tree in trees.items():
        found: Iterable[object] = facts(tree)  # type: ignore[operator]
        for fact in found:
            homes[fact].add(module)
    return {fact: sorted(places) for fact, places in homes.items() if len(places) > 1}


@pytest.mark.parametrize("facts", FACTS, ids=lambda facts: facts.__name__)
def test_no_fact_is_written_in_two_modules(facts: object) -> None:
    twice = said_twice(trees_of(), facts)

    assert not twice, in_lines(twice)


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (wordings, "raise ValueError('There is no such bucket here')"),
        (wordings, "print(f'{x} is missing or wrong, it seems')"),
        (addresses, "POLICY = 'arn:aws:iam::aws:policy/ReadOnlyAccess'"),
        (addresses, "url = f'http://127.0.0.1:{port}'"),
        (patterns, "import re\ndef f(x):\n    return re.fullmatch(r'[0-9]{12}/.+', x)"),
        (numbers, "def f(port=8000): ..."),
        (numbers, "x = 4_194_304"),
        (values, "FLAGS = ('BlockPublicAcls', 'BlockPublicPolicy')"),
        (values, "HEADER = 'x-hub-signature-256'"),
    ],
)
def test_the_search_for_facts_sees_them(facts: object, code: str) -> None:
    trees = {"a.py": ast.parse(code), "b.py": ast.parse(code)}

    assert list(said_twice(trees, facts).values()) == [["a.py", "b.py"]]


@pytest.mark.parametrize(
    "code",
    ["def f():\n    'There is no such bucket here.'", "x = 200", "KINDS = 'json'", "x = 1024"],
)
def test_what_anybody_may_write_is_no_fact(code: str) -> None:
    trees = {"a.py": ast.parse(code), "b.py": ast.parse(code)}

    assert [said_twice(trees, facts) for facts in FACTS] == [{}] * len(FACTS)


# --- keys

AT = datetime(2026, 11, 20, 23, tzinfo=UTC)
# What folders of days and hours are called, but for what those of compacted files are, too.
OF_DAYS = sorted(
    {*re.findall(r"\w+=", hour_folder(AT))} - {*re.findall(r"\w+=", month_prefix("", "a", "m"))}
)
# What keys are made of. Docstrings and comments may show a key; only the grammar may spell one.
OF_KEYS = re.compile(rf"\b({'|'.join(OF_DAYS)}|month=|layer=)|\b_(rejected|redacted|manifests)\b")
GRAMMAR = "chalicelib/keys.py"
FROZEN = "tests/receiving/test_keys.py"  # what that grammar has to give


def spelled_keys(tree: ast.Module, parts: re.Pattern[str] = OF_KEYS) -> list[str]:
    """The texts of a module that hold a part of a key."""
    return [text for text in texts(tree) if parts.search(text)]


def test_no_module_but_the_grammar_spells_a_key() -> None:
    everywhere = trees_of() | trees_of("bench/")
    trees = {module: tree for module, tree in everywhere.items() if module != GRAMMAR}

    assert "bench/reading/generated.py" in trees
    assert {name: found for name, tree in trees.items() if (found := spelled_keys(tree))} == {}


def test_no_test_but_that_of_the_grammar_spells_the_folders_of_days() -> None:
    """Another layout of days is a change of two files: no test fails, or passes for nothing."""
    of_days = re.compile(rf"\b({'|'.join(OF_DAYS)})")
    may_spell = [
        path
        for path in EVERYTHING
        if relative(path).startswith("tests/") and of_days.search(path.read_text(encoding="utf-8"))
    ]
    trees = {relative(path): tree_of(path) for path in may_spell}  # most need not be parsed

    assert OF_DAYS
    assert spelled_keys(trees[FROZEN], of_days)
    assert {name for name, tree in trees.items() if spelled_keys(tree, of_days)} == {FROZEN}


@pytest.mark.parametrize(
    "code",
    [
        f'folder.startswith("{OF_DAYS[0]}")',
        f'f"{{prefix}}{{app}}/{day_folder(AT.date())[:-2]}{{day}}/"',
        f'key.rpartition("/{OF_DAYS[-1]}")',
        'events = f"layer=events/app={app}/month={month}/"',
        '(root / "_rejected").glob("*")',
        'f"_manifests/{app}/"',
    ],
)
def test_the_search_for_spelled_keys_sees_them(code: str) -> None:
    assert spelled_keys(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        f"'Below _rejected/, by {OF_DAYS[0]}.'",
        f"def f():\n    'By {OF_DAYS[0]}.'",
        "to_rejected('&app=shop')",
    ],
)
def test_what_spells_no_key_is_let_be(code: str) -> None:
    assert not spelled_keys(ast.parse(code))


# --- paths

# Peers are measured as their own makers would write them.
OF_PATHS = re.compile(r"/input\b")
PATHS = "chalicelib/routes.py"


def test_the_paths_of_the_entry_points_are_as_senders_know_them() -> None:
    assert (routes.INPUT, routes.IAM_INPUT) == ("/input", "/iam/input")


def test_no_module_but_the_routes_spells_a_path() -> None:
    trees = trees_of() | trees_of("bench/", "tests/support/")
    spelling = {
        name
        for name, tree in trees.items()
        if not name.startswith("bench/receive/peers/") and spelled_keys(tree, OF_PATHS)
    }

    assert {"app.py", "bench/receive/deliveries.py", "tests/support/ways.py"} <= set(trees)
    assert spelling == {PATHS}


@pytest.mark.parametrize(
    "code", ["app.on('/input')", "f'{url}/input?app={app}'", "url + '/iam/input'"]
)
def test_the_search_for_spelled_paths_sees_them(code: str) -> None:
    assert spelled_keys(ast.parse(code), OF_PATHS)
