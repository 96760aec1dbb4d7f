"""Cutting a body into events: exact text, never re-serialised, and nothing ever raises."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.delivery import Delivery
from chalicelib.events import (
    dig,
    elements,
    event,
    form_field,
    identified,
    json_text,
    members,
    parse_json,
    rfc3339,
    text,
)

ARRIVED = datetime(2026, 11, 20, 23, 50, 1, 123456, tzinfo=UTC)
DELIVERY = Delivery("shop", {}, b"", ARRIVED)

finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers() | finite | st.text(st.characters())
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
spaces = st.text(" \t\r\n", max_size=3)
written = st.builds(
    lambda value, ascii, indent: json.dumps(value, ensure_ascii=ascii, indent=indent),
    json_values,
    st.booleans(),
    st.sampled_from([None, 0, 2, "\t"]),
)


@st.composite
def arrays(draw: st.DrawFn) -> tuple[list[str], str]:
    """The texts of some values, and an array of them with white space anywhere it may be."""
    parts = draw(st.lists(written, max_size=5))
    inside = ",".join(draw(spaces) + part + draw(spaces) for part in parts) or draw(spaces)
    return parts, f"{draw(spaces)}[{inside}]{draw(spaces)}"


@st.composite
def objects(draw: st.DrawFn) -> tuple[list[tuple[str, str]], str]:
    """Some names with the texts of their values, and an object of them; names may repeat."""
    pairs = draw(st.lists(st.tuples(st.text(max_size=3), written), max_size=5))
    inside = ",".join(
        f"{draw(spaces)}{json.dumps(name)}{draw(spaces)}:{draw(spaces)}{part}{draw(spaces)}"
        for name, part in pairs
    )
    return pairs, f"{draw(spaces)}{{{inside or draw(spaces)}}}{draw(spaces)}"


# Cutting


@given(arrays())
def test_an_array_is_cut_into_its_exact_elements(array: tuple[list[str], str]) -> None:
    parts, whole = array

    assert [exact for exact, _ in elements(whole)] == parts
    assert [value for _, value in elements(whole)] == json.loads(whole)


@given(objects())
def test_an_object_is_cut_into_its_exact_members(made: tuple[list[tuple[str, str]], str]) -> None:
    pairs, whole = made

    assert members(whole) == dict(pairs)
    assert {name: json.loads(exact) for name, exact in members(whole).items()} == json.loads(whole)


def test_integers_escapes_and_repeated_names_stay_as_they_were_written() -> None:
    odd = r'{"n":18446744073709551615,"n":1.10,"s":"\u00E9\/\ud83d\ude00é","e":-0E+0}'

    assert [exact for exact, _ in elements(f"[{odd} ,\r\n\t{odd}]\r\n")] == [odd, odd]
    assert members(f'{{"a" : {odd}}}') == {"a": odd}


def test_of_a_repeated_name_the_last_value_counts() -> None:
    assert members('{"a":1,"a": [2]}') == {"a": "[2]"}


@given(arrays(), st.data())
def test_an_array_that_is_cut_off_gives_the_elements_before(
    array: tuple[list[str], str], data: st.DataObject
) -> None:
    parts, whole = array
    length = data.draw(st.integers(0, len(whole)))
    found = [exact for exact, _ in elements(whole[:length])]

    assert found == parts[: len(found)]
    assert len(found) >= len(parts) - whole[length:].count(",") - 1


def test_a_number_that_is_cut_off_is_no_element() -> None:
    assert list(elements("[1, 23")) == list(elements("[1, -2.5e")) == [("1", 1)]


@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        ("[1,2;3]", ["1"]),
        ("[1,2 3]", ["1"]),
        ("[1,2}", ["1"]),
        ("[1,,2]", ["1"]),
        ("[1,]", ["1"]),
        ("[1,2]3]", ["1", "2"]),
        ("[1,NaN,2]", ["1"]),
        ("[1,-Infinity]", ["1"]),
        ("[1,tru", ["1"]),
        ("[1,'2',3]", ["1"]),
        ('[1,"\n"]', ["1"]),
        ("[1,\x0c2]", ["1"]),
        ("[1,\xa02]", ["1"]),
        ("[,1]", []),
        ("[", []),
    ],
)
def test_a_broken_array_gives_what_came_before_the_fault(whole: str, parts: list[str]) -> None:
    assert [exact for exact, _ in elements(whole)] == parts


@pytest.mark.parametrize(
    "whole",
    ['{"a":1;"b":2}', '{"a":1,"b" 2}', '{"a":1,2:3}', '{"a":1,[]:3}', '{"a":1,{}:3}', '{"a":1,b:2}']
    + [
        '{"a":1,"b"',
        '{"a":1,"b"=2}',
        '{"a":1,"b":',
        '{"a":1,',
        '{"a":1,}',
        '{"a":1,"b":NaN}',
        '{"a":1,"b":2',
    ],
)
def test_a_broken_object_gives_what_came_before_the_fault(whole: str) -> None:
    assert {"a": "1"}.items() >= members(whole).items()
    assert members(whole) == ({} if ";" in whole else {"a": "1"})


@pytest.mark.parametrize("whole", ["", " ", "{}", "1", '"[1]"', "null", "\ufeff[1]", "x[1]", "]"])
def test_what_is_no_array_has_no_elements(whole: str) -> None:
    assert list(elements(whole)) == []


@pytest.mark.parametrize("whole", ["", " ", "[]", "1", '"{}"', "null", "\ufeff{}", "x{}", "}"])
def test_what_is_no_object_has_no_members(whole: str) -> None:
    assert members(whole) == {}


@pytest.mark.parametrize("whole", ["[" * 100_000, "[" + "[" * 50_000 + "]" * 50_000 + "]"])
def test_nesting_deeper_than_can_be_read_has_no_elements(whole: str) -> None:
    assert list(elements(whole)) == []
    assert parse_json(whole) is None
    assert members('{"a":' + whole) == {}


@given(st.text(st.characters()) | st.text('[]{}",:\\ \n1e-+.aNu', max_size=30))
def test_no_text_raises(whole: str) -> None:
    for exact, value in elements(whole):
        assert json.dumps(json.loads(exact)) == json.dumps(value)
    for exact in members(whole).values():
        assert exact in whole
    parse_json(whole)
    rfc3339(whole)
    form_field(whole, "payload")


# Reading


def test_a_body_is_read_as_utf_8_without_its_byte_order_mark() -> None:
    assert json_text(b'\xef\xbb\xbf{"a":"\xc3\xa9"}') == '{"a":"é"}'
    assert json_text(b"\xff") == json_text(b"\xed\xa0\x80") == json_text(b"") == ""


@pytest.mark.parametrize("whole", ["", "{", "NaN", "[Infinity]", "1 2", "'a'", "\ufeff1"])
def test_what_is_no_json_has_no_value(whole: str) -> None:
    assert parse_json(whole) is None


@pytest.mark.parametrize("digits", [3_998, 3_999, 4_000, 4_300, 4_301, 100_000])
def test_integers_of_any_length_are_read(digits: int) -> None:
    written = "1" * digits

    assert text(parse_json(written)) == written
    assert text(parse_json("-" + written)) == "-" + written


@given(json_values)
def test_a_value_is_found_where_it_is(value: Any) -> None:
    assert dig({"a": [0, {"b": value}]}, "a", "1", "b") == value


def test_nothing_is_found_where_nothing_is() -> None:
    obj = {"a": [1, {"b": "text"}], "": 2}

    assert dig(obj, "") == 2
    assert dig(obj) == obj
    for path in [("b",), ("a", "2"), ("a", "-1"), ("a", "x"), ("a", ""), ("a", "1", "b", "0")]:
        assert dig(obj, *path) is None
    for path in [("a", "9" * 5_000), ("a", "١"), ("a", "+1"), ("a", "1 "), ("a", "0", "0")]:
        assert dig(obj, *path) is None
    assert dig(None, "a") is None


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1), max_size=4), st.text(min_size=1))
def test_a_form_gives_its_fields(fields: dict[str, str], value: str) -> None:
    form = urlencode(fields | {"payload": value})

    assert form_field(form, "payload") == value


@pytest.mark.parametrize("form", ["", "a=1", "payload", "payload=", "xpayload=1", "=payload", "&&"])
def test_a_form_without_a_field_gives_nothing(form: str) -> None:
    assert form_field(form, "payload") == ""


# Times


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (1795218600, "2026-11-20T23:50:00Z"),
        (1795218600.25, "2026-11-20T23:50:00.250000Z"),
        ("1795218600", "2026-11-20T23:50:00Z"),
        ("1795218600.000200", "2026-11-20T23:50:00.000200Z"),  # Slack's `ts`
        (1795218600123, "2026-11-20T23:50:00.123000Z"),  # milliseconds
        ("1795218600123", "2026-11-20T23:50:00.123000Z"),
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        ("2026-11-20T23:50:00Z", "2026-11-20T23:50:00Z"),
        ("2026-11-20T23:50:00.5+01:30", "2026-11-20T22:20:00.500000Z"),
        ("2026-11-20T18:50:50.3963933-05:00", "2026-11-20T23:50:50.396393Z"),
        ("2026-11-20 23:50:00", "2026-11-20T23:50:00Z"),  # UTC where it does not say
        ("2026-11-20", "2026-11-20T00:00:00Z"),
    ],
)
def test_a_time_is_rfc_3339_in_utc(value: object, time: str) -> None:
    assert rfc3339(value) == time


NO_TIMES = ["", "yesterday", "1795218600x", "-1", "1e9", "١٢٣", "9" * 14, "2026-13-01", "NaN"]


@pytest.mark.parametrize("value", [None, True, False, [], {}, [1795218600], b"1", *NO_TIMES])
def test_what_is_no_time_is_none(value: object) -> None:
    assert rfc3339(value) == ""


@pytest.mark.parametrize(
    "value",
    [10**400, -(10**400), 1e308, -1e308, float("inf"), float("-inf"), float("nan"), 10**18]
    + ["9999999999.999999999e9", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"],
)
def test_a_time_beyond_the_calendar_is_none(value: object) -> None:
    assert rfc3339(value) == ""


@given(scalars | st.floats() | st.integers(-(10**14), 10**14) | json_values)
def test_a_time_is_rfc_3339_or_empty_whatever_it_is_made_of(value: object) -> None:
    found = rfc3339(value)

    assert found == "" or (found.endswith("Z") and datetime.fromisoformat(found))


@given(st.integers(10**8, 10**10 - 1))
def test_seconds_and_milliseconds_are_told_apart(seconds: int) -> None:
    found = rfc3339(seconds)

    assert datetime.fromisoformat(found).timestamp() == seconds
    assert {rfc3339(str(seconds)), rfc3339(seconds * 1000), rfc3339(found)} == {found}


# Events


def test_an_event_has_what_its_sender_said() -> None:
    found = event(
        DELIVERY, '{"x":1}', id=7, type="t", subject="s", time=1795218600, correlation="c"
    )

    assert (found.id, found.type, found.subject) == ("7", "t", "s")
    assert (found.correlation, found.data) == ("c", '{"x":1}')
    assert found.time == "2026-11-20T23:50:00Z"


def test_an_event_without_an_id_is_known_by_its_body_and_its_place_there() -> None:
    without, named = event(DELIVERY, "{}"), event(DELIVERY, "{}", id="evt_1")

    assert without.id == ""
    assert identified(without, "ab12", 0) == "ab12:0"
    assert identified(without, "ab12", 1) == "ab12:1"
    assert identified(named, "ab12", 1) == "evt_1"


def test_an_event_without_a_time_has_its_deliverys_arrival() -> None:
    assert event(DELIVERY, "{}").time == "2026-11-20T23:50:01.123456Z"
    assert event(DELIVERY, "{}", time="soon").time == "2026-11-20T23:50:01.123456Z"


@pytest.mark.parametrize("value", [None, True, 1.5, [], {}, ["a"], {"a": 1}, b"x", ""])
def test_what_is_no_text_or_integer_counts_as_absent(value: object) -> None:
    found = event(DELIVERY, "{}", id=value, type=value, subject=value, correlation=value)

    assert found == event(DELIVERY, "{}")


@given(json_values, json_values, json_values)
def test_an_event_is_text_whatever_it_is_made_of(id: Any, subject: Any, time: Any) -> None:
    found = event(DELIVERY, "\ud800", id=id, subject=subject, time=time)

    assert all(isinstance(value, str) for value in (found.id, found.subject, found.time))
    assert found.time
