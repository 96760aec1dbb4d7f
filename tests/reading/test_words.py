"""What events say in plain words, and what became of the newest message."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from hookshelf.reading.values import ArchivedEvent
from hookshelf.reading.words import outcome, sentence


def event(type: str, day: str, /, *, message: str = "m1", source: str = "sendgrid", **data: Any):
    time = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    return ArchivedEvent(
        id=f"{type}-{day}-{message}",
        source=source,
        type=type,
        subject="jane@example.com",
        time=time,
        app="sendgrid",
        correlation=message,
        arrived=time.astimezone(UTC),
        delivery="sendgrid/…",
        position=0,
        verdict="verified",
        times=1,
        data=json.dumps({"event": type, **data}),
    )


def said_of(*events: ArchivedEvent) -> str:
    result = outcome(events)
    assert result is not None
    return result.sentence(lambda event: event.time.strftime("%-d %B"))


@pytest.mark.parametrize(
    ("type", "data", "words"),
    [
        ("processed", {}, "processed, SendGrid took it on"),
        (
            "deferred",
            {"response": "451 try again", "attempt": "3"},
            "deferred, will be tried again (attempt 3): 451 try again",
        ),
        (
            "delivered",
            {"response": "250 OK"},
            "delivered, accepted by the recipient's server: 250 OK",
        ),
        ("bounce", {"type": "bounce", "reason": "550 unknown"}, "bounced: 550 unknown"),
        ("bounce", {"type": "blocked", "reason": "554 listed"}, "blocked for now: 554 listed"),
        ("dropped", {"reason": "Invalid"}, "dropped, SendGrid did not try: Invalid"),
        ("open", {}, "opened"),
        ("open", {"sg_machine_open": True}, "opened, by a machine"),
        ("click", {"url": "https://example.com/a"}, "clicked: https://example.com/a"),
        ("spamreport", {}, "reported as spam"),
        ("group_unsubscribe", {"asm_group_id": 10}, "unsubscribed from group: 10"),
        ("something_new", {}, "something_new"),
    ],
)
def test_sendgrid_s_events_are_said_in_plain_words(
    type: str, data: dict[str, Any], words: str
) -> None:
    assert sentence(event(type, "2026-05-03", **data)) == words


def test_an_event_of_another_source_is_said_by_its_type() -> None:
    assert sentence(event("bounce", "2026-05-03", source="stripe", reason="x")) == "bounce"


def test_a_drop_is_explained_by_the_bounce_that_caused_it() -> None:
    story = [
        event("bounce", "2026-03-12", message="m1", type="bounce", reason="550"),
        event("dropped", "2026-05-03", message="m2", reason="Bounced Address"),
    ]

    assert said_of(*story) == "Not delivered: dropped 3 May because of the bounce on 12 March"


def test_a_later_bounce_of_another_message_does_not_explain_an_earlier_drop() -> None:
    story = [
        event("dropped", "2026-05-03", message="m2", reason="Bounced Address"),
        event("bounce", "2026-05-04", message="m1", reason="550"),
        event("processed", "2026-05-01", message="m1"),
    ]

    assert said_of(*story) == "Not delivered: dropped 3 May: Bounced Address"


def test_the_newest_message_counts_and_not_the_newest_event() -> None:
    story = [
        event("processed", "2026-05-01", message="old"),
        event("delivered", "2026-05-01", message="old"),
        event("bounce", "2026-05-03", message="new", reason="550 no such user"),
        event("open", "2026-05-09", message="old"),
    ]

    assert said_of(*story) == "Not delivered: bounced 3 May: 550 no such user"


def test_a_delivered_message_tells_what_the_person_did_with_it_once_each() -> None:
    story = [
        event("processed", "2026-05-01"),
        event("delivered", "2026-05-02"),
        event("open", "2026-05-03"),
        event("open", "2026-05-04"),
        event("click", "2026-05-05"),
    ]

    assert said_of(*story) == (
        "Delivered: accepted by the recipient's server 2 May and opened 3 May and clicked 5 May"
    )


def test_a_bounce_after_the_delivery_overrules_it() -> None:
    story = [event("delivered", "2026-05-01"), event("bounce", "2026-05-02", reason="552 {full}")]

    assert said_of(*story) == "Not delivered: bounced 2 May: 552 {full}"


@pytest.mark.parametrize(
    ("type", "words"),
    [
        ("deferred", "Not known yet: deferred 3 May: 451 busy"),
        ("processed", "Not known yet: processed 3 May, nothing heard since"),
    ],
)
def test_what_is_still_under_way_is_not_known_yet(type: str, words: str) -> None:
    assert said_of(event(type, "2026-05-03", response="451 busy")) == words


def test_without_a_message_of_sendgrid_there_is_no_outcome() -> None:
    assert outcome([event("open", "2026-05-03"), event("bounce", "2026-05-04", source="x")]) is None


@pytest.mark.parametrize("data", ["", "[]", "nonsense", "[" * 100_000])
def test_data_that_is_no_object_breaks_nothing(data: str) -> None:
    broken = event("dropped", "2026-05-03")
    broken = ArchivedEvent(
        **{name: getattr(broken, name) for name in broken.__slots__} | {"data": data}
    )

    assert sentence(broken) == "dropped, SendGrid did not try"
    assert said_of(broken) == "Not delivered: dropped 3 May"


def test_a_forged_event_says_nothing_of_what_became_of_a_message() -> None:
    forged = replace(event("dropped", "2026-05-03", message="m9"), verdict="bad")
    delivered = event("delivered", "2026-05-02")

    assert said_of(delivered, forged).startswith("Delivered")
    assert outcome([forged]) is None
