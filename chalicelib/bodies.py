"""What a body is: JSON or not, and what to call it."""

from __future__ import annotations

import json

# A body of more bytes than this, and more values, is checked without building the values: they cost
# up to 100 bytes of memory each, and msgspec, which builds none, costs its import.
LARGE = 256 * 1024
MANY = 60_000

BOM = b"\xef\xbb\xbf"  # the utf-8-sig codec would be loaded for it

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
    if len(body) > LARGE and len(body) - len(body.translate(None, b",[{")) > MANY:
        return is_large_json(body)
    return is_small_json(body)


def is_small_json(body: bytes) -> bool:
    """See is_json. Builds the values: quick where there are few."""
    try:
        # Decoded here, because json.loads(bytes) would take UTF-16 as well.
        _DECODER.decode(body.removeprefix(BOM).decode())
    except (ValueError, RecursionError):
        return False
    return True


def is_large_json(body: bytes) -> bool:
    """See is_json. Builds nothing, whatever the body holds."""
    import msgspec  # 12 ms that only bodies of many values are worth

    try:
        body.decode()  # msgspec does not look
        body = body.removeprefix(BOM)
        try:
            msgspec.json.decode(body, type=msgspec.Raw)
        except msgspec.DecodeError:
            # It refuses half a surrogate pair. What is escaped plays no part: another letter takes
            # its place, once no escaped backslash is left that could be taken for an escape's.
            body = body.replace(rb"\\", b"x").replace(rb"\ud", rb"\ua").replace(rb"\uD", rb"\ua")
            msgspec.json.decode(body, type=msgspec.Raw)
    except (ValueError, msgspec.DecodeError, RecursionError):
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


def _refuse(constant: str) -> None:
    raise ValueError("not a JSON number")


# Nobody reads the values, and int() would refuse more than 4,300 digits: any number is True.
_DECODER = json.JSONDecoder(parse_int=bool, parse_float=bool, parse_constant=_refuse)
