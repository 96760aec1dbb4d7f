"""Whatever the pages name is there: files, commands, options, variables, links."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

import pytest
from support.local_server import fresh_shell
from support.pages import (
    PAGES,
    anchors,
    commands,
    leaves,
    section,
    spans,
    table,
    text_of,
    transcript,
)
from support.project import PROJECT

from hookshelf.__main__ import main

pages = pytest.mark.parametrize("page", PAGES)

# What no checkout has: an operator's own, or what a command of the page makes.
MADE = (
    "chalicelib/apps.json",
    "chalicelib/sources/acme.py",
    "build/",
    "archive/",
    ".venv/",
    ".chalice/deployed/",
)
# A variable of ours, and what else is written like one.
VARIABLE = re.compile(r"(?:[A-Z][A-Z0-9]*_)+[A-Z0-9]+")
COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?hookshelf (?=[a-z])")
GROUPS = {name.split()[0] for name, _ in leaves(main) if " " in name}


def uses(page: str) -> list[str]:
    """Everything on a page that is meant to be typed or looked up, one line each."""
    text = text_of(page)
    shown = [command for command, _ in transcript(text)]
    return [*commands(text), *shown, *spans(text)]


def hookshelf_uses(page: str) -> Iterator[list[str]]:
    """Each use of `hookshelf`, as words."""
    for text in uses(page):
        if found := COMMAND.match(text):
            yield shlex.split(text[found.end() :])


def code() -> str:
    """All that could know a variable."""
    files = [
        PROJECT / "Makefile",
        *(PROJECT / ".chalice").glob("*.json"),
        *[path for folder in ("chalicelib", "hookshelf") for path in (PROJECT / folder).rglob("*")],
    ]
    return "\n".join(
        file.read_text(encoding="utf-8")
        for file in files
        if file.is_file() and file.suffix in (".py", ".json", "")
    )


@pages
def test_every_command_and_option_of_the_pages_exists(page: str) -> None:
    every = dict(leaves(main))
    for words in hookshelf_uses(page):
        name = " ".join(words[:2] if words[0] in GROUPS else words[:1])
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        known: set[str] = {"--help"}
        if name in every:
            known |= {name for parameter in every[name].params for name in parameter.opts}

        assert name in every or name in GROUPS, words
        assert options <= known, words


@pages
def test_every_make_command_has_its_target_and_variables(page: str) -> None:
    makefile = text_of("Makefile")
    for command in dict.fromkeys(text for text in uses(page) if text.startswith("make ")):
        done = subprocess.run(
            ["make", "--dry-run", *shlex.split(command)[1:]],
            cwd=PROJECT,
            env=fresh_shell(),
            capture_output=True,
            text=True,
        )

        assert done.returncode == 0, done.stderr
        for name in re.findall(r"([A-Z]+)=", command):
            assert f"$({name})" in makefile


@pages
def test_every_file_of_the_pages_is_there(page: str) -> None:
    words = {word for text in uses(page) for word in re.split(r"[\s'\"=@,]+", text)}
    named = {word for word in words if is_of_the_project(word) and not word.startswith(MADE)}

    assert [name for name in sorted(named) if not is_there(name)] == []


def is_of_the_project(word: str) -> bool:
    """Whether it is written like a module, a page, or anything below a folder of the project."""
    folder = re.fullmatch(r"(\.?[\w-]+)/(?:[\w./-]*/|[\w./-]*\.\w+)?", word)
    name = re.fullmatch(r"[\w-]+\.(?:py|md|toml|yml)|requirements[\w-]*\.txt", word)
    return bool(name or (folder and (PROJECT / folder[1]).is_dir()))


def is_there(name: str) -> bool:
    """From the root; a name alone may be that of a file anywhere in what is ours."""
    if "/" in name or (PROJECT / name).exists():
        return (PROJECT / name).exists()
    ours = ("chalicelib", "hookshelf", "tests", "docs")
    return any(True for folder in ours for _ in (PROJECT / folder).rglob(name))


@pages
def test_every_variable_of_the_pages_is_read_by_the_code(page: str) -> None:
    known = code()
    spelled = {word for span in spans(text_of(page)) for word in VARIABLE.findall(span)}
    assigned = {word for text in uses(page) for word in re.findall(r"(?:^| )([A-Z_]+)=", text)}
    words = spelled | {word for word in assigned if "_" in word}

    assert [word for word in sorted(words) if word not in known] == []


@pages
def test_every_python_name_of_the_pages_is_there(page: str) -> None:
    dotted = r"((?:chalicelib|hookshelf)(?:\.[a-z_]\w*)+)(?:\(\))?"
    matches = [re.fullmatch(dotted, span) for span in spans(text_of(page))]
    for name in {
        match[1] for match in matches if match and not match[1].endswith((".py", ".json"))
    }:
        module, _, attribute = name.rpartition(".")

        assert find_spec(name) or hasattr(import_module(module), attribute), name


@pages
def test_every_link_leads_somewhere(page: str) -> None:
    home = (PROJECT / page).parent
    for file, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", text_of(page)):
        target = home / file if file else PROJECT / page

        assert target.exists(), file
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), (file, anchor)


def test_the_index_of_the_decisions_names_each_where_it_stands() -> None:
    text = text_of("docs/decisions.md")
    index, *topics = re.split(r"^## ", text, flags=re.MULTILINE)
    named = re.findall(r"^- \*\*(.+)\*\*|^  - \[(.+)\]\(#.+\)$", index, re.MULTILINE)
    there = re.findall(r"^## (.+)|^### (.+) \(\d{4}-\d\d-\d\d\)$", text, re.MULTILINE)

    assert topics
    assert named == there


def test_each_decision_is_dated_and_short() -> None:
    text = text_of("docs/decisions.md")
    titles = re.findall(r"^### .+$", text, re.MULTILINE)

    assert titles
    for title in titles:
        lines = [line for line in section(text, title).splitlines() if line]
        assert re.search(r" \(\d{4}-\d\d-\d\d\)$", title)
        assert 1 <= len(lines) <= 8, title


def test_everything_that_stands_in_for_what_ministack_lacks_is_named() -> None:
    glue = (PROJECT / "tests/support/ministack_glue.py").read_text(encoding="utf-8")
    rows = table(text_of("docs/proof.md"), "Stands in")

    assert spans(" ".join(row[0] for row in rows)) == re.findall(
        r"^@instead_of\(.+\)\ndef (\w+)", glue, re.MULTILINE
    )
