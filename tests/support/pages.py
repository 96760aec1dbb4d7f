"""What a page of the documentation says: its tables, its commands, its transcripts."""

import re
from collections.abc import Iterator
from textwrap import dedent

import click

from support.project import PROJECT

PAGES = ["README.md", "CONTRIBUTING.md"] + sorted(
    str(path.relative_to(PROJECT)) for path in (PROJECT / "docs").glob("*.md")
)


def text_of(page: str) -> str:
    """A page, named by its path from the project's root."""
    return (PROJECT / page).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands below a heading, until the next of its level or a higher one."""
    level = len(heading.partition(" ")[0])
    below = text.partition(f"\n{heading}\n")[2]
    assert below, heading
    return re.split(rf"^#{{1,{level}}} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def blocks(text: str, kind: str) -> list[str]:
    """The code blocks of one kind, `sh` for one."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [dedent(block) for _, of, block in found if of == kind]


def commands(text: str) -> list[str]:
    """Every command of the `sh` blocks."""
    return [line for block in blocks(text, "sh") for line in block.splitlines()]


def transcript(text: str) -> list[tuple[str, str]]:
    """Every command of the `console` blocks, with the output shown below it."""
    shown = "".join(blocks(text, "console"))
    return re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", shown, re.MULTILINE)


def spans(text: str) -> list[str]:
    """What is written as code within a sentence or a table."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each table, row by row, without its heading."""
    found = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    return [
        [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in table.splitlines()[2:]
        ]
        for table in found
    ]


def table(text: str, first: str) -> list[list[str]]:
    """The cells of the table whose first column has this heading."""
    [found] = re.findall(rf"^\| {re.escape(first)} \|.*\n\|.*\n((?:\|.*\n?)+)", text, re.MULTILINE)
    return tables(f"|\n|\n{found}")[0]


def anchors(text: str) -> set[str]:
    """What a link may name after its `#`: `<a id=…>`, and headings as GitHub writes them.

    https://docs.github.com/en/get-started/writing-on-github/getting-started-with-writing-and-formatting-on-github/basic-writing-and-formatting-syntax#section-links
    """
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    named = set(re.findall(r'<a id="([\w-]+)"></a>', text))
    return named | {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings
    }


def leaves(command: click.Command, *names: str) -> Iterator[tuple[str, click.Command]]:
    """Each command that does something, with the words that call it."""
    if not isinstance(command, click.Group):
        yield " ".join(names), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner
        yield from leaves(inner, *names, name)
