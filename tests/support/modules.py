"""The project's modules as text: what each defines, imports, and says."""

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from support.project import PROJECT

# Folders with other people's code, or none.
_NOT_OURS = {".venv", "venv", "build", "archive", "mutants", "node_modules", "deployments"}


def _modules() -> Iterator[Path]:
    for folder, folders, files in os.walk(PROJECT):
        # Not entered at all: a virtual environment has tens of thousands of files.
        folders[:] = [name for name in folders if name not in _NOT_OURS and name[0] != "."]
        yield from (Path(folder, name) for name in files if name.endswith(".py"))


EVERYTHING = sorted(_modules())


def relative(path: Path) -> str:
    """`hookshelf/deploy/stack.py`, as the tests name a module."""
    return path.relative_to(PROJECT).as_posix()


# What is run: in Lambda, or as a command.
PRODUCT = [
    path
    for path in EVERYTHING
    if relative(path).startswith(("app.py", "chalicelib/", "hookshelf/"))
]


@cache
def tree_of(path: Path) -> ast.Module:
    """A module's syntax."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path, *, lazy: bool = True) -> set[str]:
    """Every dotted name that a module imports; without `lazy` only what importing it loads."""
    names = set[str]()
    for node in nodes(tree_of(path)) if not lazy else ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: no function's body, and nothing for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from nodes(node)


def arguments_of(path: Path) -> set[str]:
    """The names of all parameters of all functions."""
    return {node.arg for node in ast.walk(tree_of(path)) if isinstance(node, ast.arg)}
