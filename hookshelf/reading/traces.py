"""Whether a text holds what a person is known by, however it is written there.

Senders and formats write an address as it is, in capitals, percent-encoded in a form, with escapes
in JSON (and in JSON within JSON), as HTML, quoted-printable or in base64. Each text is read in all
of these ways, and what comes out is read again.
"""

from __future__ import annotations

import html
import quopri
import re
from binascii import a2b_base64
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote, unquote_plus

from hookshelf.reading.errors import BadQuestion

_DEPTH = 4  # readings of what a reading gave
_LEAST_READ, _MOST_READ = 2_000_000, 8  # characters in all; of long texts, as many times as long
_SHORTEST = 8  # characters of what may be looked for in texts: `42` is in nearly all of them
# What would make it a part of another address, name or number.
_BEFORE = r"(?<![\w.+-])"
_AFTER = r"(?![\w-]|\.\w)"

_JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SHORT_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_QUOTED_PRINTABLE = re.compile(r"=(?:[0-9A-Fa-f]{2}|\r?\n)")
_HEX = re.compile(r"[0-9a-f-]+|[0-9A-F-]+")  # ids and hashes
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
        return self._is_in(text if isinstance(text, str) else _decoded(text))

    def in_value(self, value: str) -> bool:
        """Whether a value of metadata is it, or holds it."""
        return unquote(value).lower() == self._plain or self.in_text(value)

    def in_metadata(self, metadata: Mapping[str, str]) -> bool:
        """Whether a value is it, or holds it."""
        return any(map(self.in_value, metadata.values()))

    def _is_in(self, text: str) -> bool:
        """Plain readings first, those of readings after them, until enough was read."""
        seen: set[str] = set()
        left = max(_LEAST_READ, _MOST_READ * len(text))
        waiting: deque[tuple[Iterable[str], int]] = deque([([text], _DEPTH)])
        while waiting:
            readings, depth = waiting.popleft()
            for reading in readings:
                if self._is_plain(reading):
                    return True
                left -= len(reading)
                if left < 0:
                    return False
                if depth and reading not in seen:
                    seen.add(reading)
                    waiting.append((_readings(reading), depth - 1))
                    waiting.append((self._from_base64(reading), depth - 1))
        return False

    def _is_plain(self, text: str) -> bool:
        lower = text.lower()
        return self._plain in lower and self._exact.search(lower) is not None

    def _from_base64(self, text: str) -> Iterator[str]:
        """What may be base64 in a text, from each of the four places where it may begin.

        A path, or the name of a field, may come right before it. Of what is no text the reading is
        given only where it holds the plain text: it is not worth to be read again.
        """
        runs = self._base64.findall(text)
        if "\n" in text:  # as mail wraps it
            runs += self._base64.findall("".join(map(str.strip, text.splitlines())))
        for encoded in runs:
            if _HEX.fullmatch(encoded):
                continue
            plain = encoded.translate(_FROM_URL_SAFE)
            for start in range(4):
                end = len(plain) - (len(plain) - start) % 4
                body = a2b_base64(plain[start:end] + _rest(plain[end:]))
                decoded = body.decode("utf-8", "replace")
                if _is_text(body) or self._plain in decoded.lower():
                    yield decoded


def _rest(encoded: str) -> str:
    """The last two or three characters, filled up; one alone says nothing."""
    return encoded + "=" * (4 - len(encoded)) if len(encoded) > 1 else ""


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
