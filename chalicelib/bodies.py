"""What a body is: JSON or not, and what to call it."""

from __future__ import annotations

import json

CONTENT_TYPES = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "xml": "application/xml",
    "txt": "text/plain",
    "bin": "application/octet-stream",
}


def is_json(body: bytes) -> bool:
    """Whether `body` is one JSON text: RFC 8259, in UTF-8, after at most one BOM.

    Integers of any length, duplicate names and escaped lone surrogates are JSON; `NaN`,
    `Infinity` and the empty body are not. Nesting deeper than this interpreter can check
    (some hundreds of levels) counts as not JSON.
    """
    try:
        # Decoded here, because json.loads(bytes) would take UTF-16 as well. Numbers stay text:
        # int() refuses more than 4,300 digits, and nobody reads the values.
        json.loads(
            body.decode("utf-8-sig"),
            parse_int=_ignore,
            parse_float=_ignore,
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError):
        return False
    return True


def claims_json(content_type: str) -> bool:
    """Whether a sender's Content-Type promises JSON; one that says nothing does."""
    kind = media_type(content_type)
    return kind in ("", "application/json", "text/json") or kind.endswith("+json")


def extension_of(content_type: str, *, valid_json: bool) -> str:
    """The key's extension: what the bytes are where that is known, else what was claimed."""
    kind = media_type(content_type)
    if valid_json:
        return "json"
    if kind == "application/x-www-form-urlencoded":
        return "form"
    if kind in ("application/xml", "text/xml") or kind.endswith("+xml"):
        return "xml"
    return "txt" if kind.startswith("text/") else "bin"


def media_type(content_type: str) -> str:
    """`Application/JSON; charset=utf-8` is `application/json`."""
    return content_type.partition(";")[0].strip().lower()


def _ignore(number: str) -> None:
    return None


def _refuse(constant: str) -> None:
    raise ValueError("not a JSON number")
