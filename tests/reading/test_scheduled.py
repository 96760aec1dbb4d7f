"""The scheduled compactor: which apps, how far, and what it says of it."""

import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import chain, repeat
from typing import Any

import pytest
from support.archives import archive_of, delivered, moment, put, traffic

from hookshelf.deploy import alarms
from hookshelf.reading import compact, scheduled
from hookshelf.reading.archive import Archive
from hookshelf.reading.scheduled import CompactionFailed, Run, TimeIsUp, TimeLimit

NOW = moment("2026-11-03T10:20")
PLENTY = 900.0


@pytest.fixture
def environ(folder_environ: dict[str, str]) -> dict[str, str]:
    """Two days of one app that is known by its name, and one that somebody has made up."""
    put(folder_environ, *traffic(7, moment("2026-11-02T00:00"), 1.4, 20))
    event = {"email": "a@example.com", "event": "open", "timestamp": 1}
    put(folder_environ, delivered([event], moment("2026-11-02T05:00"), app="made-up"))
    return {**folder_environ, "METRICS_NAMESPACE": "hookshelf/dev"}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The lines of the log, as fields."""
    said: list[dict[str, Any]] = []

    def line(level: int, message: str, **fields: Any) -> None:
        said.append({"level": logging.getLevelName(level), "message": message, **fields})

    monkeypatch.setattr(scheduled.log, "line", line)
    return said


def run(
    environ: dict[str, str],
    schedule: str = "nightly",
    remaining: Callable[[], float] = lambda: PLENTY,
    archive: Archive | None = None,
) -> dict[str, Any]:
    archive = archive or archive_of(environ, NOW)
    return Run(archive, schedule, TimeLimit(remaining), environ).run()


def compacted(environ: dict[str, str]) -> set[str]:
    """The apps of which there are compacted files."""
    return {s.stream.app for s in archive_of(environ, NOW).status() if s.files}


def test_every_hour_the_apps_that_somebody_has_named_and_every_night_all(
    environ: dict[str, str],
) -> None:
    assert run(environ, "hourly")["finished"]
    assert compacted(environ) == {"sendgrid"}

    assert run(environ, "nightly")["finished"]
    assert compacted(environ) == {"sendgrid", "made-up"}


def test_the_apps_file_names_apps(environ: dict[str, str], tmp_path: Any) -> None:
    file = tmp_path / "apps.json"
    file.write_text(json.dumps({"made-up": {}}))
    run({**environ, "APPS_FILE": str(file)}, "hourly")

    assert compacted(environ) == {"sendgrid", "made-up"}


def test_a_run_with_nothing_to_do_changes_nothing(environ: dict[str, str]) -> None:
    first, again = run(environ), run(environ)

    assert first["written"] > 0
    assert again == {"written": 0, "deleted": 0, "unchanged": first["written"], "finished": True}


def test_no_file_is_begun_that_close_to_the_deadline_and_the_next_run_goes_on(
    environ: dict[str, str],
) -> None:
    left = chain([PLENTY, PLENTY, PLENTY], repeat(1.0))  # the timer, then two files
    first = run(environ, remaining=lambda: next(left))
    second = run(environ)

    assert (first["written"], first["finished"]) == (2, False)
    assert (second["written"] > 0, second["finished"]) == (True, True)
    assert {s.raw_objects for s in archive_of(environ, NOW).status()} == {0}


@pytest.mark.slow
def test_a_busy_day_is_compacted_by_the_hour_so_that_what_was_done_is_not_lost(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "HOURS_FIRST", 5)
    before = archive_of(environ, NOW).count().rows
    left = chain(repeat(PLENTY, 3), repeat(1.0))
    run(environ, "hourly", lambda: next(left))
    [stream] = [s for s in archive_of(environ, NOW).status() if s.files]

    assert stream.files == 2
    assert run(environ)["finished"]
    assert archive_of(environ, NOW).count().rows == before
    assert {s.raw_objects for s in archive_of(environ, NOW).status()} == {0}


class Interrupted(Archive):
    """An archive at which the timer goes off, once so many files have been written."""

    def __init__(self, after: int, environ: dict[str, str]) -> None:
        super().__init__(environ=environ, now=lambda: NOW)
        self.after = after

    def compact(self, **options: Any) -> Iterator[compact.FileChange]:
        for change in super().compact(**options):
            yield change
            self.after -= change.state == "written"
            if self.after == 0:
                os.kill(os.getpid(), signal.SIGALRM)


def test_what_is_under_way_at_the_deadline_is_given_up_and_done_by_the_next(
    environ: dict[str, str], lines: list[dict[str, Any]]
) -> None:
    before = signal.getsignal(signal.SIGALRM)
    first = run(environ, archive=Interrupted(1, environ))
    second = run(environ)

    assert (first["finished"], second["finished"]) == (False, True)
    assert not [line for line in lines if line["level"] == "ERROR"]
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_library_may_give_the_interruption_another_name(
    environ: dict[str, str], lines: list[dict[str, Any]]
) -> None:
    class Renamed(Interrupted):
        def compact(self, **options: Any) -> Iterator[compact.FileChange]:
            try:
                yield from super().compact(**options)
            except TimeIsUp:
                raise RuntimeError("Query interrupted") from None

    assert run(environ, archive=Renamed(1, environ))["finished"] is False
    assert not [line for line in lines if line["level"] == "ERROR"]


def test_an_app_that_cannot_be_compacted_stops_no_other_and_fails_the_run(
    environ: dict[str, str], lines: list[dict[str, Any]]
) -> None:
    class Broken(Archive):
        def compact(self, **options: Any) -> Iterator[compact.FileChange]:
            [stream] = options["streams"]
            if stream.app == "sendgrid":
                raise ValueError("jane@example.com has no such column")
            yield from super().compact(**options)

    archive = Broken(environ=environ, now=lambda: NOW)
    with pytest.raises(CompactionFailed, match="1 apps could not be compacted: events/sendgrid"):
        run(environ, archive=archive)
    [error] = [line for line in lines if line["level"] == "ERROR"]

    assert compacted(environ) == {"made-up"}
    assert error["why"] == "ValueError"  # whose text may hold what was archived
    assert [line["finished"] for line in lines if "finished" in line] == [False, True]


def test_the_alarms_count_the_rounds_that_ended(
    environ: dict[str, str], lines: list[dict[str, Any]]
) -> None:
    run(environ, "nightly", lambda: 1.0)
    assert not any("_aws" in line for line in lines)

    run(environ, "nightly")
    written = {
        (directive["Namespace"], metric["Name"], tuple((n, line[n]) for n in names))
        for line in lines
        if "_aws" in line
        for directive in line["_aws"]["CloudWatchMetrics"]
        for names in directive["Dimensions"]
        for metric in directive["Metrics"]
    }
    made = alarms.alarms("dev", {}, "")
    watched = {
        (stat["Namespace"], stat["MetricName"], tuple(d.values()))
        for name in ("EventsStale", "OtherEventsStale")
        for stat in [made[name]["Properties"]["Metrics"][1]["MetricStat"]["Metric"]]
        for d in [{one["Name"]: (one["Name"], one["Value"]) for one in stat["Dimensions"]}]
    }

    assert written == watched


def test_no_compacted_row_outlives_the_days_that_deliveries_are_kept(
    environ: dict[str, str],
) -> None:
    later = archive_of(environ, NOW + timedelta(days=10))
    run(environ)
    run({**environ, "ARCHIVE_KEEP_DAYS": "5"}, archive=later)

    assert compacted(environ) == set()


def test_the_handler_takes_its_settings_from_the_environment(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 900_000

    assert scheduled.handler({}, Context())["finished"] is True
    assert compacted(environ) == {"sendgrid", "made-up"}
