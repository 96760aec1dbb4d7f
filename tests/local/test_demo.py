"""`make demo`: a month of webhooks, received as they would be, with a story to find in it."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.local_server import copy_of_project, fresh_shell

from chalicelib.apps import app_named
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.ingest import decide
from chalicelib.keys import DeliveryKey, RejectedKey, parse_key
from chalicelib.settings import BucketPath, from_environment
from chalicelib.store import Store, open_store
from hookshelf.local.demo import BUCKET, JANE, deliveries, fill, jane

UNTIL = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
LOCAL = {"HOOKSHELF_TRYOUT": "true"}


@pytest.fixture(scope="module")
def month() -> list[Delivery]:
    return list(deliveries(UNTIL, events=2_000))


def test_the_same_end_gives_the_same_month(month: list[Delivery]) -> None:
    assert list(deliveries(UNTIL, events=2_000)) == month


def test_everything_arrives_in_order_within_the_month(month: list[Delivery]) -> None:
    arrivals = [delivery.arrived for delivery in month]

    assert arrivals == sorted(arrivals)
    assert UNTIL - timedelta(days=30) <= arrivals[0] < arrivals[-1] <= UNTIL


@pytest.mark.parametrize("until", ["2026-03-01T00:00", "2028-02-29T23:59", "2026-11-20T15:30"])
def test_janes_story_fits_into_the_month_whenever_it_ends(until: str) -> None:
    end = datetime.fromisoformat(until).replace(tzinfo=UTC)

    assert all(end - timedelta(days=30) < delivery.arrived < end for delivery in jane(end))


def test_jane_bounced_and_was_dropped_because_of_it(month: list[Delivery]) -> None:
    story = sorted(events_of(JANE, month), key=lambda event: event["timestamp"])

    assert [event["event"] for event in story] == [
        *("processed", "delivered", "open", "click", "open"),
        *("processed", "processed", "delivered", "delivered"),
        *("processed", "deferred", "deferred", "bounce", "dropped", "dropped"),
    ]
    assert story[-3]["type"] == "bounce"
    assert story[-3]["reason"].startswith("550 5.1.1 ")
    assert [event["reason"] for event in story[-2:]] == ["Bounced Address"] * 2


def test_one_event_of_jane_arrives_three_weeks_late(month: list[Delivery]) -> None:
    lateness = [
        delivery.arrived.timestamp() - event["timestamp"]
        for delivery in month
        for event in events_of(JANE, [delivery])
    ]

    assert sum(timedelta(seconds=late) > timedelta(days=20) for late in lateness) == 1
    assert timedelta(seconds=max(lateness)).days == 21


def test_one_delivery_about_jane_comes_again_after_midnight(month: list[Delivery]) -> None:
    about_jane = [delivery for delivery in month if events_of(JANE, [delivery])]
    [first, again] = [
        delivery
        for delivery in about_jane
        if sum(delivery.body == other.body for other in about_jane) == 2
    ]

    assert again.arrived.date() - first.arrived.date() == timedelta(days=1)
    assert again.headers != first.headers


def test_janes_events_share_their_deliveries_with_others(month: list[Delivery]) -> None:
    for delivery in month:
        if events_of(JANE, [delivery]):
            assert len({event["email"] for event in json.loads(delivery.body)}) > 3


def test_one_event_writes_her_address_another_way(month: list[Delivery]) -> None:
    assert {event["email"] for event in events_of(JANE, month)} == {JANE, "Jane@Example.com"}


def test_all_is_verified_but_one_forgery_and_what_was_refused(month: list[Delivery]) -> None:
    objects = stored(month)
    accepted = [obj for obj in objects if isinstance(parse_key(obj.key), DeliveryKey)]
    refused = [obj for obj in objects if isinstance(parse_key(obj.key), RejectedKey)]

    assert [obj.metadata["verdict"] for obj in accepted].count("bad") == 1
    assert {obj.metadata["verdict"] for obj in accepted} == {"verified", "bad"}
    assert {(parse_key(obj.key).app, obj.metadata["reason"]) for obj in refused} == {
        ("payments", "Invalid signature"),
        ("standard", "Body is not valid JSON"),
    }


def test_several_apps_and_a_form_are_in_it(month: list[Delivery]) -> None:
    objects = stored(month)

    assert {parse_key(obj.key).app for obj in objects} == {
        *("github", "payments", "sendgrid", "standard", "stripe"),
    }
    assert [obj.key for obj in objects if obj.key.endswith(".form")]


def test_filling_counts_deliveries_and_events(tmp_path: Path, month: list[Delivery]) -> None:
    store = folder_store(tmp_path)
    count, events = fill(store, month[:200], LOCAL)

    assert count == 200 == len(list(store.list()))
    assert events == sum(len(json.loads(d.body)) if d.app == "sendgrid" else 1 for d in month[:200])


def test_the_command_fills_a_bucket_and_ends_with_the_next_command(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path / "project")
    done = demo(project, "--events", "500", "--until", "2026-11-20T15:30")
    lines = done.stdout.splitlines()

    assert "deliveries with" in lines[0]
    assert lines[-5].endswith("hookshelf find jane@example.com --bucket demo")
    assert lines[-6] == lines[-4] == lines[-2] == ""
    assert lines[-1].endswith("hookshelf browse --bucket demo")
    assert list(folder_store(project / "archive").list("sendgrid/"))
    assert [path.name for path in (project / "archive").iterdir()] == ["demo"]


@pytest.mark.slow
def test_a_second_run_adds_nothing_and_a_replacement_is_the_same(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path / "project")
    store = folder_store(project / "archive")
    usual = ("--events", "500", "--until", "2026-11-20T15:30")
    demo(project, *usual)
    first = list(store.list())
    again = demo(project, "--events", "900")

    assert "is there already" in again.stdout
    assert "hookshelf find jane@example.com" in again.stdout
    assert list(store.list()) == first
    demo(project, "--replace", *usual)
    assert list(store.list()) == first


@pytest.mark.slow
def test_where_the_shell_names_other_buckets_the_next_command_asks_for_the_stage(
    tmp_path: Path,
) -> None:
    project = copy_of_project(tmp_path / "project")
    done = demo(project, "--events", "500", ARCHIVE_BUCKETS="mine")

    assert done.stdout.rstrip().endswith("--bucket demo --stage local")


def demo(project: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hookshelf.local.demo", *args],
        cwd=project,
        env=fresh_shell() | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def folder_store(folder: Path) -> Store:
    environ = {"ARCHIVE_FOLDER": str(folder), "ARCHIVE_BUCKETS": BUCKET}
    return open_store(from_environment(environ), BUCKET)


def stored(month: list[Delivery]) -> list[ArchiveObject]:
    """What receiving makes of a month."""
    decisions = (decide(d, app_named(d.app, LOCAL), BucketPath(BUCKET)) for d in month)
    return [decision.obj for decision in decisions if decision.obj]


def events_of(address: str, month: list[Delivery]) -> list[dict[str, object]]:
    return [
        event
        for delivery in month
        if delivery.app == "sendgrid"
        for event in json.loads(delivery.body)
        if event["email"].lower() == address
    ]
