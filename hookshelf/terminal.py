"""What is shown to a person: one place, so that nothing from outside speaks to the terminal."""

from __future__ import annotations

import sys


def printable(text: str) -> str:
    r"""The text with all that a terminal might obey, or not show, escaped: ESC is `\u001b`.

    That is whatever Unicode does not call printable: control and format characters, line breaks
    too, C1, text direction, and halves of surrogate pairs. https://cwe.mitre.org/data/definitions/150
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable()
        else f"\\u{ord(char):04x}"
        if ord(char) < 0x10000
        else f"\\U{ord(char):08x}"
        for char in text
    )


def show(line: str, *, err: bool = False) -> None:
    """Print one line, wherever its parts came from; what the terminal cannot write is escaped."""
    stream = sys.stderr if err else sys.stdout
    encoding = stream.encoding or "utf-8"
    text = printable(line).encode(encoding, "backslashreplace").decode(encoding)
    print(text, file=stream)
