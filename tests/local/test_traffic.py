"""SendGrid traffic that was never sent: as in the real thing, and the same each time."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median

import pytest

from chalicelib.apps import app_named
from chalicelib.delivery import Delivery
from chalicelib.signatures import verdict
from hookshelf.local.traffic import LARGEST_BATCH, Traffic, email_of

UNTIL = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
LOCAL = {"HOOKSHELF_TRYOUT": "true"}


@pytest.fixture(scope="module")
def day() -> list[Delivery]:
    """A day at half the pace of two million events a month."""
    return list(Traffic(events=30_000, days=1, until=UNTIL).deliveries())


@pytest.fixture(scope="module")
def events(day: list[Delivery]) -> list[dict[str, object]]:
    return [event for delivery in day for event in json.loads(delivery.body)]


def test_the_same_seed_and_size_give_the_same_bytes_times_and_signatures(
    day: list[Delivery],
) -> None:
    again = Traffic(events=30_000, days=1, until=UNTIL).deliveries()

    assert all(first == second for first, second in zip(day, again, strict=True))


@pytest.mark.parametrize(
    "other",
    [
        Traffic(events=500, days=1, until=UNTIL, seed=2),
        Traffic(events=501, days=1, until=UNTIL),
    ],
    ids=["seed", "size"],
)
def test_another_seed_or_size_gives_other_traffic(other: Traffic) -> None:
    usual = {d.body for d in Traffic(events=500, days=1, until=UNTIL).deliveries()}

    assert not usual & {delivery.body for delivery in other.deliveries()}


def test_every_signature_is_sendgrids_with_the_key_for_trying_out() -> None:
    app = app_named("sendgrid", LOCAL)
    few = Traffic(events=3_000, days=2, until=UNTIL).deliveries()

    assert {verdict(delivery, app) for delivery in few} == {"verified"}


def test_there_are_about_as_many_events_as_asked_for(events: list[dict[str, object]]) -> None:
    assert len({event["sg_event_id"] for event in events}) == pytest.approx(
        30_000, rel=0.1
    )  # the newest are on their way


def test_it_arrives_in_order_within_the_days_asked_for(day: list[Delivery]) -> None:
    arrivals = [delivery.arrived for delivery in day]

    assert arrivals == sorted(arrivals)
    assert UNTIL - timedelta(days=1) <= arrivals[0] < arrivals[-1] <= UNTIL


def test_batches_are_of_lognormal_size(day: list[Delivery]) -> None:
    sizes = [len(json.loads(delivery.body)) for delivery in day]

    assert 5 <= median(sizes) <= 9
    assert 200 < max(sizes) <= LARGEST_BATCH


def test_recipients_follow_zipf_without_one_that_gets_everything(
    events: list[dict[str, object]],
) -> None:
    """The thousandth recipient gets about a sixth of what the first does."""
    counts = Counter(event["email"] for event in events)
    first, thousandth = (
        sum(counts[email_of(rank)] for rank in range(at, at + 100)) for at in (0, 1000)
    )

    assert 3 < first / thousandth < 8
    assert counts.most_common(1)[0][1] < len(events) / 200


def test_every_kind_of_event_is_there_with_sendgrids_reasons(
    events: list[dict[str, object]],
) -> None:
    assert {event["event"] for event in events} == {
        *("processed", "delivered", "deferred", "bounce", "dropped"),
        *("open", "click", "unsubscribe", "group_unsubscribe", "spamreport"),
    }
    assert {"Bounced Address", "Unsubscribed Address"} <= {
        event["reason"] for event in events if event["event"] == "dropped"
    }
    assert {event["type"] for event in events if event["event"] == "bounce"} == {
        *("bounce", "blocked"),
    }


def test_every_event_has_what_sendgrid_always_sends(events: list[dict[str, object]]) -> None:
    always = {"email", "timestamp", "event", "category", "sg_event_id", "sg_message_id", "smtp-id"}

    assert all(always <= set(event) for event in events)


def test_fields_that_nobody_knows_and_integers_beyond_a_double_are_there(
    day: list[Delivery],
) -> None:
    orders = [
        order["id"]
        for delivery in day
        for event in json.loads(delivery.body)
        if isinstance(order := event.get("order"), dict)
    ]

    assert any(float(id) != id for id in orders)
    assert any(b"\\u0416 \\/ \xe6\xb3\xa8" in delivery.body for delivery in day)


def test_some_deliveries_come_again_byte_for_byte_and_signed_anew(day: list[Delivery]) -> None:
    times = Counter(delivery.body for delivery in day)
    repeats = [delivery for delivery in day if times[delivery.body] == 2]

    assert 0.005 < sum(count > 1 for count in times.values()) / len(day) < 0.04
    assert len({str(delivery.headers) for delivery in repeats}) == len(repeats)
    assert len({delivery.arrived.date() for delivery in repeats}) > 1


def test_some_deliveries_are_hours_late(day: list[Delivery]) -> None:
    first = {delivery.body: delivery.arrived for delivery in reversed(day)}
    lateness = [
        arrived.timestamp() - max(event["timestamp"] for event in json.loads(body))
        for body, arrived in first.items()
    ]

    assert max(lateness) > 3600
    assert median(lateness) < 60


def test_some_events_are_in_the_wrong_order(events: list[dict[str, object]]) -> None:
    overtaken = sum(
        first["sg_message_id"] == second["sg_message_id"]
        and (first["event"], second["event"]) == ("delivered", "processed")
        for first, second in pairwise(events)
    )

    assert overtaken > 0


def test_some_events_come_again_in_another_batch(day: list[Delivery]) -> None:
    bodies = {delivery.body for delivery in day}
    times = Counter(event["sg_event_id"] for body in bodies for event in json.loads(body))

    assert any(count > 1 for count in times.values())
