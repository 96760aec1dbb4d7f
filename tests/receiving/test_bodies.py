"""What a body is: JSON or not, and what to call it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.loops import for_each

from chalicelib.bodies import (
    CONTENT_TYPES,
    LARGE,
    claims_json,
    extension_of,
    is_json,
    is_large_json,
    is_small_json,
    media_type,
)
from chalicelib.keys import EXTENSIONS

BOM = b"\xef\xbb\xbf"

JSON = {
    "an object": b"{}",
    "an array": b"[]",
    "a string": b'""',
    "zero": b"0",
    "minus zero": b"-0",
    "true": b"true",
    "false": b"false",
    "null": b"null",
    "an exponent": b"1E+2",
    "a fraction": b"-0.5e-10",
    "more than a double holds": b"1e99999",
    "5,000 digits": b"1" * 5_000,
    "5,000 decimals": b"0." + b"1" * 5_000,
    "all the white space there is": b" \t\r\n[ \t\r\n1 \t\r\n, \t\r\n2 \t\r\n] \t\r\n",
    "duplicate names": b'{"a":1,"a":2}',
    "an empty name": b'{"":1}',
    "one byte order mark": BOM + b"{}",
    "a byte order mark within a string": b'"' + BOM + b'"',
    "UTF-8": '{"é":"😀"}'.encode(),
    "every escape": rb'"\"\\\/\b\f\n\r\t\u00e9\u00E9"',
    "an escaped NUL": rb'"\u0000"',
    "an escaped pair of surrogates": rb'"\ud83d\ude00"',
    "an escaped lone high surrogate": rb'"\ud800"',
    "an escaped lone low surrogate": rb'"\udc00"',
    "escaped surrogates the wrong way round": rb'"\udc00\ud800"',
    "DEL in a string": b'"\x7f"',
    "a line separator in a string": '"\u2028"'.encode(),
    "a non-character in a string": '"\uffff"'.encode(),
    "NaN in a string": b'"NaN"',
    "an array of objects": b'[{"email":"a@b.c"},{"email":"d@e.f"}]',
}
NOT_JSON = {
    "nothing": b"",
    "white space only": b" \t\r\n",
    "a byte order mark only": BOM,
    "two byte order marks": BOM + BOM + b"{}",
    "a byte order mark behind": b"{}" + BOM,
    "UTF-16": "{}".encode("utf-16"),
    "UTF-16 without its mark": "{}".encode("utf-16-le"),
    "UTF-16, big-endian": "{}".encode("utf-16-be"),
    "UTF-32": "{}".encode("utf-32"),
    "Latin-1": '"é"'.encode("latin-1"),
    "a lone continuation byte": b'"\x80"',
    "an overlong slash": b'"\xc0\xaf"',
    "an encoded surrogate": b'"\xed\xa0\x80"',
    "a cut-off character": b'"\xf0\x9f\x98"',
    "beyond Unicode": b'"\xf4\x90\x80\x80"',
    "NaN": b"NaN",
    "NaN in an array": b"[NaN]",
    "NaN in an object": b'{"a":NaN}',
    "Infinity": b"Infinity",
    "minus Infinity": b"[-Infinity]",
    "a leading zero": b"01",
    "a negative leading zero": b"-01",
    "two zeros": b"00",
    "a plus sign": b"+1",
    "a minus sign only": b"-",
    "no digit before the point": b".5",
    "no digit behind the point": b"1.",
    "no digit in the exponent": b"1e",
    "hexadecimals": b"0x10",
    "an underscore": b"1_000",
    "Arabic digits": "١".encode(),
    "full-width digits": "１".encode(),
    "a trailing comma in an array": b"[1,]",
    "a trailing comma in an object": b'{"a":1,}',
    "a leading comma": b"[,1]",
    "two commas": b"[1,,2]",
    "no comma": b"[1 2]",
    "no colon": b'{"a" 1}',
    "no value": b'{"a":}',
    "a bare name": b"{a:1}",
    "a number for a name": b"{1:1}",
    "single quotes": b"'a'",
    "a cut-off object": b'{"a":1',
    "a cut-off string": b'"a',
    "a cut-off escape": b'"\\',
    "a bracket too many": b"[]]",
    "mismatched brackets": b"[}",
    "two texts": b"{}{}",
    "JSON lines": b"{}\n{}",
    "a comment": b"{}//",
    "a comment block": b"/**/{}",
    "a tab in a string": b'"\t"',
    "a newline in a string": b'"\n"',
    "a NUL in a string": b'"\0"',
    "a NUL behind": b"{}\0",
    "a unit separator in a string": b'"\x1f"',
    "a vertical tab between": b"[\x0b1]",
    "a form feed before": b"\x0c{}",
    "a no-break space before": "\u00a0{}".encode(),
    "a line separator behind": "{}\u2028".encode(),
    "an unknown escape": rb'"\x41"',
    "an escaped quote": rb'"\'"',
    "three hexadecimal digits": rb'"\u00e"',
    "no hexadecimal digits": rb'"\u00g0"',
    "an underscore among them": rb'"\u0_41"',
    "a capital True": b"True",
    "a capital NULL": b"NULL",
    "undefined": b"undefined",
    "a word": b"hello",
    "a form": b"a=1&b=2",
    "XML": b"<a/>",
    "gzip": b"\x1f\x8b\x08\x00",
}

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Lone surrogates too: json.dumps escapes them.
    | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


# A body is checked in one way or the other, by its size. Both give the same answer.
@pytest.fixture(params=[is_small_json, is_large_json])
def is_json_in_one_way(request):
    return request.param


@for_each("body", JSON)
def test_this_is_json(is_json_in_one_way, body):
    assert is_json_in_one_way(body)


@for_each("body", NOT_JSON)
def test_this_is_not_json(is_json_in_one_way, body):
    assert not is_json_in_one_way(body)


@for_each("body", [*JSON.values(), *NOT_JSON.values()])
def test_white_space_that_makes_a_body_large_changes_nothing(body):
    padded = body + b" " * LARGE

    assert is_json(padded) == is_small_json(padded)


@given(values)
def test_whatever_a_json_writer_writes_is_json(value):
    for body in (json.dumps(value).encode(), json.dumps(value, indent=1).encode()):
        assert is_small_json(body)
        assert is_large_json(body)


@given(values)
def test_json_cut_short_is_not_json(value):
    # Within a list, so that `12` is not cut to `1`.
    body = json.dumps([value]).encode()

    assert not is_small_json(body[:-1])
    assert not is_large_json(body[:-1])


@given(st.binary() | st.text(st.sampled_from('{}[]",:0123eE+-.\\u \n')).map(str.encode))
def test_any_bytes_get_the_same_answer_in_both_ways(body):
    assert is_small_json(body) is is_large_json(body)


@given(
    st.lists(
        st.sampled_from(["\\", "\\u", "\\ud83d", "\\ude00", "\\uD7FF", "ud800", "u", "00", '"'])
    )
)
def test_escapes_and_halves_of_surrogate_pairs_get_the_same_answer_in_both_ways(parts):
    body = ('"' + "".join(parts) + '"').encode()

    assert is_small_json(body) is is_large_json(body)


@pytest.mark.parametrize(
    ("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["arrays", "objects"]
)
def test_500_levels_are_json(is_json_in_one_way, opening, closing):
    assert is_json_in_one_way(opening * 500 + b"0" + closing * 500)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"0" + b"}" * 100_000,
    ],
    ids=["open", "arrays", "objects"],
)
def test_100_000_levels_are_not_json_and_do_no_harm(is_json_in_one_way, body):
    assert not is_json_in_one_way(body)


@pytest.mark.parametrize(
    "content_type",
    [
        *("", " ", ";charset=utf-8", "application/json", "Application/JSON; charset=utf-8"),
        *(
            "text/json",
            "TEXT/JSON",
            "application/cloudevents+json",
            "application/vnd.api+JSON; v=1",
        ),
    ],
)
def test_these_content_types_claim_json(content_type):
    assert claims_json(content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        *(
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonl",
            "application/xml",
        ),
        *("text/plain; application/json", "application/octet-stream", "json", "application/json2"),
    ],
)
def test_these_content_types_do_not_claim_json(content_type):
    assert not claims_json(content_type)


@pytest.mark.parametrize(
    ("content_type", "extension"),
    [
        ("application/x-www-form-urlencoded", "form"),
        ("Application/X-WWW-Form-Urlencoded; charset=UTF-8", "form"),
        ("application/xml", "xml"),
        ("text/xml; charset=utf-8", "xml"),
        ("application/soap+xml", "xml"),
        ("text/plain", "txt"),
        ("text/html", "txt"),
        ("application/octet-stream", "bin"),
        ("multipart/form-data; boundary=x", "bin"),
        ("application/json", "bin"),
        ("", "bin"),
        ("\0", "bin"),
        ("nonsense", "bin"),
    ],
)
def test_a_body_that_is_not_json_is_called_what_its_sender_calls_it(content_type, extension):
    assert extension_of(content_type, valid_json=False) == extension


@given(st.text(st.characters()))
def test_json_is_called_json_whatever_its_sender_calls_it(content_type):
    assert extension_of(content_type, valid_json=True) == "json"


@given(st.text(st.characters()), st.booleans())
def test_every_extension_is_one_that_keys_know(content_type, valid_json):
    assert extension_of(content_type, valid_json=valid_json) in EXTENSIONS


def test_every_extension_has_its_content_type():
    assert set(CONTENT_TYPES) == set(EXTENSIONS)


def test_a_media_type_has_no_parameters_and_no_capitals():
    assert media_type(" Text/Plain ; charset=utf-8") == "text/plain"
