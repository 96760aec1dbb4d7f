"""Suites that others wrote: JSON that is and is not, and strings that break things.

JSON_SUITE names a folder of https://github.com/nst/JSONTestSuite (test_parsing, or one above it),
NAUGHTY_STRINGS one with blns.txt or blns.json of
https://github.com/minimaxir/big-list-of-naughty-strings. A few of each kind stand here.
"""

import json
import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.loops import for_each
from support.project import PROJECT, TOKEN

from app import app
from chalicelib import responses
from chalicelib.routes import INPUT
from chalicelib.settings import from_environment
from chalicelib.store import open_store

SUITES = PROJECT.parent / "shared" / "suites"
# y_ has to be accepted, n_ refused, i_ either; as the suite names its files.
BUILT_IN = {
    "y_array": b"[1, 2]",
    "y_string_nul": rb'"\u0000"',
    "y_string_lone_surrogate": rb'"\uDFAA"',
    "y_number_huge": b"1e9999",
    "y_number_minus_zero": b"-0",
    "y_object_duplicated_key": b'{"a":1,"a":2}',
    "y_structure_white_space": b" [] \n",
    "n_empty": b"",
    "n_number_NaN": b"[NaN]",
    "n_number_minus_infinity": b"[-Infinity]",
    "n_number_leading_zero": b"[012]",
    "n_string_tab": b'["\t"]',
    "n_string_single_quotes": b"['a']",
    "n_object_trailing_comma": b'{"a":1,}',
    "n_structure_open_arrays": b"[" * 100_000,
    "n_structure_two_values": b"[][]",
    "n_structure_form_feed": b"[\x0c]",
    "i_string_utf8_invalid": b'["\xff"]',
    "i_string_utf16": '["é"]'.encode("utf-16"),
    "i_structure_bom": b"\xef\xbb\xbf{}",
}
NAUGHTY = [
    "undefined", "null", "\\", "0", "-1", "1e1000", "NaN", "0x0", "Infinity", "١٢٣", "Ω≈ç√∫",
    "\u202etest\u202c", "Ṱ̺̺̕o͞", "😍", "🇺🇸", "ʎsǝɹp", "<script>alert(1)</script>", "' OR 1=1 --",
    "%s%n", "{{7*7}}", "../../../etc/passwd", "/dev/null; echo", "$(touch /tmp/x)", "CON", "\x00",
    "\x1b[31m", "\u2028", "\ufeff", "\ud800", "a" * 5_000, "", " ", "\t", "System.out", "`ls`",
]  # fmt: skip
DOCUMENTED = {200, 400, 403, 405, 413}


@pytest.fixture(autouse=True)
def archive(folder_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in folder_environ.items():
        monkeypatch.setenv(name, value)


def post(body: bytes, query: dict[str, str], headers: dict[str, str]) -> tuple[int, Any]:
    """Post as API Gateway does; every response is one that is documented."""
    answer = app(
        {
            "requestContext": {"httpMethod": "POST", "resourcePath": INPUT, "requestId": "r-1"},
            "headers": headers,
            "multiValueQueryStringParameters": {name: [value] for name, value in query.items()},
            "stageVariables": {"validToken": TOKEN},
            "body": b64encode(body).decode(),
            "isBase64Encoded": True,
        },
        None,
    )
    said = json.loads(answer["body"])
    assert answer["statusCode"] in DOCUMENTED, said
    return answer["statusCode"], said


def kept(key: str) -> bytes:
    return open_store(from_environment(os.environ), "events").get(key).body


def json_cases() -> Iterator[tuple[str, bytes]]:
    folder = Path(os.environ.get("JSON_SUITE") or SUITES)
    for path in sorted(folder.rglob("[yni]_*.json")):
        yield path.name, path.read_bytes()


def naughty_strings() -> list[str]:
    folder = Path(os.environ.get("NAUGHTY_STRINGS") or SUITES)
    strings: list[str] = []
    for path in sorted(folder.rglob("blns.json")):
        strings += json.loads(path.read_bytes())
    for path in sorted(folder.rglob("blns.txt")):
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
        strings += [line for line in lines if not line.startswith("#")]
    return strings


def assert_as_the_suite_says(name: str, body: bytes) -> None:
    query = {"token": TOKEN, "app": "shop"}
    status, said = post(body, query, {"content-type": "application/json"})

    assert status == {"y": 200, "n": 400}.get(name[0], status), name
    if status == 400:
        assert said["reason"] == responses.NOT_JSON.reason
    assert kept(said["key"] if status == 200 else said["kept"]) == body, name


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_json_is_stored_and_what_is_not_is_kept(name: str) -> None:
    assert_as_the_suite_says(name, BUILT_IN[name])


def test_every_file_of_the_json_suite_is_stored_or_kept_as_it_says() -> None:
    cases = dict(json_cases())
    if not cases:
        pytest.skip(f"no JSONTestSuite in {SUITES}; name a folder in JSON_SUITE")
    for name, body in cases.items():
        assert_as_the_suite_says(name, body)


def assert_documented_everywhere(text: str) -> None:
    query, headers = {"token": TOKEN, "app": "shop"}, {"content-type": "text/plain"}
    body = text.encode("utf-8", "surrogatepass")
    assert post(b"{}", query | {"token": text}, headers)[0] == 403
    for name in ("app", "bucket", "another"):
        post(b"{}", query | {name: text}, headers)
    for name in ("content-type", "user-agent", "x-request-id", "authorization"):
        status, said = post(b"{}", query, headers | {name: text})
        assert (status, kept(said["key"])) == (200, b"{}")
    status, said = post(body, query, headers)
    assert (status, kept(said["key"])) == (200, body)
    as_json = json.dumps({text: [text]}).encode()
    status, said = post(as_json, query, {"content-type": "application/json"})
    assert (status, kept(said["key"])) == (200, as_json)


@for_each("text", NAUGHTY)
def test_a_naughty_string_gets_a_documented_response_in_every_position(text: str) -> None:
    assert_documented_everywhere(text)


def test_every_naughty_string_of_the_list_gets_a_documented_response() -> None:
    strings = naughty_strings()
    if not strings:
        pytest.skip(f"no list of naughty strings in {SUITES}; name a folder in NAUGHTY_STRINGS")
    for text in strings:
        assert_documented_everywhere(text)
