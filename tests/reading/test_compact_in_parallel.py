"""Days that are compacted apart, in any order and twice, become the files that `compact` writes."""

import json
import random
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.archives import archive_of, brute_force, delivered, found, moment, put, traffic

from hookshelf.reading.footers import read_footer

START = moment("2026-09-28T00:00")
NOW = moment("2026-11-02T13:30")
PERSON = "person1@example.com"


@pytest.fixture
def environ(folder_environ: dict[str, str]) -> dict[str, str]:
    """Two apps over three months, with days on which nothing came."""
    put(folder_environ, *traffic(7, START, 4.5, 20))
    put(folder_environ, *traffic(8, START + timedelta(days=32), 3.5, 20))
    other = [{"email": "x@example.org", "event": "open", "timestamp": 1}]
    put(folder_environ, delivered(other, START + timedelta(days=12), app="shop"))
    return folder_environ


def twin_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The same archive, in a folder of its own."""
    folder = Path(environ["ARCHIVE_FOLDER"])
    shutil.copytree(folder, folder.with_name("twin"))
    return {**environ, "ARCHIVE_FOLDER": str(folder.with_name("twin"))}


def written_in(environ: Mapping[str, str]) -> dict[str, Any]:
    """What compacting wrote, by key; without the ETags of replaced files, a folder's inodes."""
    root = Path(environ["ARCHIVE_FOLDER"]) / "events"
    written: dict[str, Any] = {
        str(path.relative_to(root)): path.read_bytes()
        for path in (*root.rglob("*.parquet"), *root.rglob("_manifests/*/*.json"))
    }
    for key, body in written.items():
        if key.endswith(".parquet"):
            footer = read_footer(body, len(body))
            without_etags = replace(footer, replaces=dict.fromkeys(footer.replaces, ""))
            written[key] = body[: footer.footer], without_etags
    return written


def log_of(environ: Mapping[str, str], app: str = "sendgrid") -> list[tuple[str, str, int]]:
    folder = Path(environ["ARCHIVE_FOLDER"]) / "events" / "_manifests" / app
    entries = [json.loads(path.read_bytes()) for path in sorted(folder.iterdir())]
    return [(entry["kind"], entry["day"], len(entry["added"])) for entry in entries]


def test_days_that_are_compacted_apart_become_the_files_that_compact_writes(environ):
    twin = twin_of(environ)
    list(archive_of(environ, NOW).compact())

    archive = archive_of(twin, NOW)
    days = archive.log_days()
    random.Random(1).shuffle(days)
    with ThreadPoolExecutor(3) as pool:
        changes = list(pool.map(archive_of(twin, NOW).compact_day, days))
    list(archive.compact())

    assert len(days) == 9
    assert {change.state for some in changes for change in some} == {"written"}
    assert written_in(twin) == written_in(environ)
    assert len(written_in(twin)) > 12
    assert found(archive, PERSON) == brute_force(twin, PERSON)


@pytest.mark.slow
def test_files_are_the_same_in_whatever_order_a_store_gives_metadata(environ):
    twin = twin_of(environ)
    stored = list((Path(twin["ARCHIVE_FOLDER"]) / "events").rglob("*.meta"))
    for path in stored:
        metadata = json.loads(path.read_bytes())
        path.write_text(json.dumps(dict(reversed(metadata.items()))), encoding="utf-8")

    list(archive_of(environ, NOW).compact())
    list(archive_of(twin, NOW).compact())

    assert stored
    assert written_in(twin) == written_in(environ)


@pytest.mark.slow
def test_who_is_stopped_after_the_log_is_written_logs_nothing_twice(environ):
    twin = twin_of(environ)
    list(archive_of(environ, NOW).compact())

    archive = archive_of(twin, NOW)
    days = archive.log_days()
    assert archive.log_days() == days
    archive.compact_day(days[4])
    list(archive.compact())

    assert written_in(twin) == written_in(environ)
    assert {kind for kind, _, _ in log_of(twin)} == {"day"}
    assert archive.log_days() == []


def test_a_day_that_is_compacted_twice_is_unchanged(environ):
    archive = archive_of(environ, NOW)
    [day] = archive.log_days(app="shop")

    assert [change.state for change in archive.compact_day(day)] == ["written"]
    assert [change.state for change in archive.compact_day(day)] == ["unchanged"]


@pytest.mark.slow
def test_what_comes_after_its_day_was_logged_is_logged_as_late_and_found(environ):
    archive = archive_of(environ, NOW)
    days = archive.log_days(app="sendgrid")
    late = list(traffic(9, START, 1, 3))
    put(environ, *late)

    for day in days:
        archive.compact_day(day)
    list(archive.compact())

    assert sum(added for kind, _, added in log_of(environ) if kind == "late") == len(late)
    assert found(archive, PERSON) == brute_force(environ, PERSON)


@pytest.mark.slow
def test_hours_become_their_day_wherever_that_is_compacted(environ):
    list(archive_of(environ, moment("2026-09-29T13:30")).compact())
    twin = twin_of(environ)
    list(archive_of(environ, NOW).compact())

    archive = archive_of(twin, NOW)
    for day in reversed(archive.log_days()):
        archive.compact_day(day)
    list(archive.compact())

    assert written_in(twin) == written_in(environ)


@pytest.mark.parametrize("since", ["2026-10-31", "2026-10-01"])
@pytest.mark.slow
def test_days_that_are_left_out_are_not_taken_for_compacted(environ, since):
    archive = archive_of(environ, NOW)

    list(archive.compact(since=since))
    assert found(archive, PERSON) == brute_force(environ, PERSON)

    list(archive.compact(since="2026-09-30"))
    assert found(archive, PERSON) == brute_force(environ, PERSON)

    list(archive.compact())
    assert found(archive, PERSON) == brute_force(environ, PERSON)
    assert {change.state for change in archive.compact()} == {"unchanged"}
