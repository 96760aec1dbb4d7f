"""Whether a text holds what a person is known by, however it is written there.

Senders and formats write an address as it is, in capitals, percent-encoded in a form, with escapes
in JSON (and in JSON within JSON), as HTML, quoted-printable or in base64. Each text is read in all
of these ways, and what comes out is read again.
"""

from __future__ import annotations

import html
import quopri
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from urllib.parse import unquote, unquote_plus

from hookshelf.reading.errors import BadQuestion

_DEPTH = 4  # readings of what a reading gave
_SHORTEST = 8  # characters of what may be looked for in texts: `42` is in nearly all of them
# What would make it a part of another address, name or number.
_BEFORE = r"(?<![\w.+-])"
_AFTER = r"(?![\w-]|\.\w)"

_JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SHORT_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_QUOTED_PRINTABLE = re.compile(r"=(?:[0-9A-Fa-f]{2}|\r?\n)")
_FROM_URL_SAFE = str.maketrans("-_", "+/")
_PRINTABLE = bytes([*b"\t\r\n", *range(0x20, 0x7F)])


class Traces:
    """What to look for: the subject of events, and its text wherever else it is."""

    def __init__(self, subject: str) -> None:
        """Raises BadQuestion for an empty subject."""
        self.subject = subject.strip()
        if not self.subject:
            raise BadQuestion("The subject is empty")
        # Whether its text is looked for everywhere, and not only the events whose subject it is.
        self.in_texts = "@" in self.subject or len(self.subject) >= _SHORTEST
        self._plain = self.subject.lower()
        self._exact = re.compile(_BEFORE + re.escape(self._plain) + _AFTER)
        encoded = -(-len(self.subject.encode()) * 4 // 3)
        self._base64 = re.compile(rf"[A-Za-z0-9+/_-]{{{encoded},}}")

    def in_text(self, text: str | bytes) -> bool:
        """Whether it is in a text; never, where it is too short to be looked for."""
        if not self.in_texts:
            return False
        return self._is_in(text if isinstance(text, str) else _decoded(text), _DEPTH, set())

    def in_value(self, value: str) -> bool:
        """Whether a value of metadata is it, or holds it."""
        return unquote(value).lower() == self._plain or self.in_text(value)

    def in_metadata(self, metadata: Mapping[str, str]) -> bool:
        """Whether a value is it, or holds it."""
        return any(map(self.in_value, metadata.values()))

    def _is_in(self, text: str, depth: int, seen: set[str]) -> bool:
        if text in seen:
            return False
        seen.add(text)
        lower = text.lower()
        if self._plain in lower and self._exact.search(lower):
            return True
        if not depth:
            return False
        return any(self._is_in(each, depth - 1, seen) for each in _readings(text)) or any(
            self._is_in(_decoded(each), depth - 1 if _is_text(each) else 0, seen)
            for each in self._from_base64(text)
        )

    def _from_base64(self, text: str) -> Iterator[bytes]:
        """What may be base64 in a text, from each of the four places where it may begin.

        A path, or the name of a field, may come right before it.
        """
        for encoded in self._base64.findall(re.sub(r"\s", "", text)):
            for start in range(4):
                part = encoded[start:].translate(_FROM_URL_SAFE)
                part = part[:-1] if len(part) % 4 == 1 else part
                yield b64decode(part + "=" * (-len(part) % 4))


def _readings(text: str) -> Iterator[str]:
    if "%" in text:
        yield unquote(text)
        yield unquote_plus(text)
    if "\\" in text:
        plain = _JSON_ESCAPE.sub(_unescaped, text)
        yield plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if "&" in text and ";" in text:
        yield html.unescape(text)
    if _QUOTED_PRINTABLE.search(text):
        yield _decoded(quopri.decodestring(text.encode("utf-8", "replace")))


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return _SHORT_ESCAPES.get(match[2], match[2])


def _decoded(body: bytes) -> str:
    return body.decode("utf-8", "replace")


def _is_text(body: bytes) -> bool:
    """Whether bytes are worth reading again: what is no base64 decodes to noise."""
    return len(body.translate(None, _PRINTABLE)) * 8 <= len(body) or _is_utf8(body)


def _is_utf8(body: bytes) -> bool:
    try:
        return body.decode().isprintable()
    except UnicodeDecodeError:
        return False
