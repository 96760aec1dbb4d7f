"""No block of code stands in two places."""

import re
from collections.abc import Iterator, Mapping

import pytest
from support.modules import PRODUCT, relative

BLOCK = 8  # lines that say something, one after the other
# What says nothing: brackets, and what a line of its own does to a block.
_THIN = re.compile(r"[\W_]*|(else|try|finally|return|pass|None|True|False)\W*")
_IMPORT = re.compile(r"(from [\w.]+ )?import\b")


def saying(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a module that say something, without indentation, by number; no imports."""
    importing = False
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        importing = importing or bool(_IMPORT.match(line))
        if not importing and not line.startswith("#") and not _THIN.fullmatch(line):
            yield number, line
        if importing and not line.endswith(("(", ",", "\\")):
            importing = False


def repeated(modules: Mapping[str, str]) -> list[str]:
    """Each block that stands in two places, by both."""
    first: dict[tuple[str, ...], tuple[str, int, int]] = {}
    pairs: list[str] = []
    for name, text in modules.items():
        lines, told = list(saying(text)), 0
        for start in range(len(lines) - BLOCK + 1):
            block = tuple(line for _, line in lines[start : start + BLOCK])
            home, at, number = first.setdefault(block, (name, start, lines[start][0]))
            is_elsewhere = home != name or at + BLOCK <= start
            if is_elsewhere and start >= told:
                pairs.append(f"{home}:{number} and {name}:{lines[start][0]}")
                told = start + BLOCK
    return pairs


def product() -> dict[str, str]:
    return {relative(path): path.read_text(encoding="utf-8") for path in PRODUCT}


def test_no_block_of_lines_stands_in_two_places() -> None:
    pairs = repeated(product())

    assert not pairs, "\n".join(pairs)


@pytest.mark.parametrize("indented", ["", "    "])
@pytest.mark.parametrize("where", ["the same module", "another"])
def test_a_block_that_is_pasted_is_named_with_where_it_comes_from(
    where: str, indented: str
) -> None:
    modules = product()
    source = modules["chalicelib/keys.py"].splitlines()
    number = [n for n, _ in saying(modules["chalicelib/keys.py"])][30]
    pasted = "\n".join(indented + line for line in source[number - 1 : number + 19])
    name = "chalicelib/keys.py" if where == "the same module" else "hookshelf/pasted.py"
    modules[name] = modules.get(name, "") + "\nif True:\n" + pasted + "\n"

    pairs = repeated(modules)
    assert pairs
    assert pairs[0].startswith(f"chalicelib/keys.py:{number} and {name}:")


def test_imports_brackets_and_comments_are_no_block() -> None:
    thin = "from a import (\n    b,\n    c,\n)\nimport d\n\n# e\n" + "]\n)\n},\nelse:\n" * 5

    assert list(saying(thin)) == []
    assert [line for _, line in saying("import a\nb = 1  # c\n    d()")] == ["b = 1  # c", "d()"]
