"""Counts that take longer than a page may are made beside it."""

from threading import Event

import pytest

from hookshelf.page.charts import chart
from hookshelf.page.figures import Figures
from hookshelf.page.pretty import indented


def test_a_page_does_not_wait_for_what_takes_long_and_gets_it_later() -> None:
    figures, may_end = Figures(), Event()

    def count() -> str:
        may_end.wait()
        return "counted"

    assert figures.get("q", 1, count, wait_for=0) is None
    may_end.set()
    figure = figures.get("q", 1, count, wait_for=None)
    assert figure
    assert (figure.value, figure.is_newest) == ("counted", True)
    figures.close()


def test_what_was_counted_before_is_shown_while_it_is_counted_anew() -> None:
    figures, may_end = Figures(), Event()
    figures.get("q", 1, lambda: "old", wait_for=None)
    older = figures.get("q", 2, lambda: may_end.wait() and "new", wait_for=0)
    may_end.set()
    newer = figures.get("q", 2, lambda: "never asked", wait_for=None)

    assert older
    assert (older.value, older.is_newest) == ("old", False)
    assert newer
    assert (newer.value, newer.is_newest) == ("new", True)
    figures.close()


def test_nothing_is_counted_twice_in_the_same_state() -> None:
    figures, counted = Figures(), []
    for _ in range(3):
        figures.get("q", 1, lambda: counted.append(1), wait_for=None)

    assert counted == [1]
    figures.close()


def test_a_count_that_failed_is_said_and_tried_again() -> None:
    figures = Figures()
    with pytest.raises(ZeroDivisionError):
        figures.get("q", 1, lambda: 1 / 0, wait_for=None)
    figure = figures.get("q", 1, lambda: 7, wait_for=None)

    assert figure
    assert figure.value == 7
    figures.close()


def test_a_chart_has_a_bar_for_every_day_and_says_what_is_left_out() -> None:
    counts = {("2026-05-01", f"type {n}"): 10 - n for n in range(8)} | {("2026-05-04", "type 0"): 1}
    drawn = chart(counts)

    assert [bar.label for bar in drawn.bars] == [f"2026-05-0{day}" for day in (1, 2, 3, 4)]
    assert [bar.total for bar in drawn.bars] == [52, 0, 0, 1]
    assert drawn.names[0] == ("type 0", 11)
    assert drawn.names[-1] == ("other", 7)
    assert drawn.bars[0].parts[-1].y == 0


def test_years_are_drawn_by_month() -> None:
    drawn = chart({("2024-01-31", "a"): 1, ("2026-02-01", "a"): 2})

    assert len(drawn.bars) == 26
    assert (drawn.bars[1].since, drawn.bars[1].until) == ("2024-02-01", "2024-02-29")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"a":1.0,"b":[]}', '{\n  "a": 1.0,\n  "b": []\n}'),
        ("[9007199254740993,1E400,-0]", "[\n  9007199254740993,\n  1E400,\n  -0\n]"),
        ('{"a":"x , {y} \\" [z]"}', '{\n  "a": "x , {y} \\" [z]"\n}'),
        ('{"a":1,"a":2}', '{\n  "a": 1,\n  "a": 2\n}'),
        ('{"cut', '{\n  "cut'),
        ("]]]", "\n]\n]\n]"),
    ],
)
def test_json_is_indented_and_nothing_else(text: str, shown: str) -> None:
    assert indented(text, 10_000) == (shown, True)


def test_a_long_body_is_indented_only_as_far_as_it_is_shown() -> None:
    text, is_all = indented("[" + "1," * 2_000_000 + "1]", 100)

    assert (len(text), is_all) == (100, False)


def test_the_deepest_json_is_indented() -> None:
    text, is_all = indented("[" * 10_000 + "]" * 10_000, 10**7)

    assert is_all
    assert "".join(text.split()) == "[" * 10_000 + "]" * 10_000
