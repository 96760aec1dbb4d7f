"""Whether a text holds somebody's address, however it is written there."""

import base64
import html
import json
import quopri
from collections.abc import Callable
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.loops import for_each

from hookshelf.reading.errors import BadQuestion
from hookshelf.reading.traces import Traces

JANE = "jane@example.com"
TRACES = Traces(JANE)


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def in_lines(text: str) -> str:
    """As mail has it: with a line break after 76 characters."""
    return base64.encodebytes(text.encode()).decode()


WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "as JSON": json.dumps,
    "in JSON in JSON": lambda text: json.dumps(json.dumps(f"é {text}")),
    "escaped": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "percent-encoded": lambda text: quote(text, safe=""),
    "as HTML": lambda text: html.escape(text).replace("@", "&#64;"),
    "quoted-printable": lambda text: quopri.encodestring(text.encode(), True).decode(),
    "in base64": in_base64,
    "in base64 for URLs": lambda text: base64.urlsafe_b64encode(f"?>{text}".encode()).decode(),
    "in base64 in lines": lambda text: in_lines("x" * 99 + f" {text} " + "y" * 99),
    "in base64 twice": lambda text: in_base64(in_base64(text)),
    "in JSON in base64": lambda text: in_base64(json.dumps({"to": text}).replace("@", "\\u0040")),
    "in lines in JSON": lambda text: json.dumps({"raw": in_lines("x" * 99 + f" {text} ")}),
}  # fmt: skip


@for_each("write", WRITTEN)
@for_each("around", ["{}", "to=<{}>, ", "/path/{}", 'x: "{}".', "\n{}\n"])
def test_it_is_seen_however_it_is_written(write, around):
    written = write(around.format(JANE))

    assert TRACES.in_text(written)
    assert TRACES.in_text(f'{{"a": 1, "b": "{written}"}}'.encode())
    assert not TRACES.in_text(write(around.format("joe@example.com")))


@given(st.text(), st.sampled_from(sorted(WRITTEN)), st.text())
def test_whatever_stands_around_it(before, how, after):
    assert TRACES.in_text(f"{before} {WRITTEN[how](JANE)} {after}")


@given(st.binary())
def test_no_bytes_make_it_fail(body):
    assert not TRACES.in_text(body)
    assert TRACES.in_text(body + b" jane@example.com " + body)


@pytest.mark.parametrize(
    "other",
    ["mary.jane@example.com", "mary-jane@example.com", "maryjane@example.com", "x+jane@example.com",
     "jane@example.com.au", "jane@example.community", "jane@example.com-x.org", "jane@example.co"],
)  # fmt: skip
def test_a_part_of_another_address_is_not_it(other):
    assert not TRACES.in_text(other)
    assert not TRACES.in_text(json.dumps({"email": other}))
    assert not TRACES.in_text(quote(other, safe=""))


def test_a_sentence_may_end_with_it():
    assert TRACES.in_text("Write to jane@example.com.")


def test_umlauts_and_pairs_of_surrogates_are_read_too():
    person = Traces("jürgen😀@example.com")

    assert person.in_text(json.dumps({"to": "JÜRGEN😀@example.com"}))
    assert person.in_text(in_base64("jürgen😀@example.com"))


@pytest.mark.parametrize("short", ["42", "a/b", "cus_123"])
def test_what_is_short_is_in_no_text(short):
    traces = Traces(short)

    assert not traces.in_texts
    assert not traces.in_text(f" {short} ")
    assert traces.in_value(short)


@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
def test_nobody_is_called_nothing(empty):
    with pytest.raises(BadQuestion):
        Traces(empty)


def test_of_what_never_ends_only_so_much_is_read():
    noise = Random(1).randbytes(60_000)
    for body in (base64.b64encode(noise), noise, b'"\\u0041%41&amp;=41' * 4_000):
        assert not TRACES.in_text(body)
