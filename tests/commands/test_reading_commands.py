"""The commands that read an archive, over a folder: what is printed, and how they end."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result
from support.archives import Objects

from chalicelib.archive import to_object, to_rejected
from chalicelib.delivery import Delivery
from chalicelib.settings import from_environment
from chalicelib.sources import source_named
from chalicelib.store import open_store
from hookshelf.__main__ import main

JANE = "jane@example.com"
HOSTILE = "\x1b[2J=1+1\u202e<script>"


def event(
    kind: str, at: str, *, to: str = JANE, message: str = "m1", **more: Any
) -> dict[str, Any]:
    moment = datetime.fromisoformat(f"{at}+00:00")
    return {
        "email": to,
        "timestamp": int(moment.timestamp()),
        "event": kind,
        "sg_event_id": f"{kind}-{at}-{to}",
        "sg_message_id": f"{message}.recvd-1-1.0",
        **more,
    }


@pytest.fixture
def archive(folder_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Put deliveries where `make run` puts them; the shell says so."""
    for name, value in folder_environ.items():
        monkeypatch.setenv(name, value)
    store = open_store(from_environment(folder_environ), "events")

    def put(
        arrived: str, *events: dict[str, Any], body: bytes | None = None, app: str = "sendgrid"
    ):
        body = json.dumps(events).encode() if body is None else body
        delivery = Delivery(app, {"content-type": "application/json"}, body, utc(arrived), "r-1")
        obj = to_object(delivery, source_named("sendgrid"), prefix="", verdict="verified")
        store.put(obj, seconds=5)
        return obj.key

    put.store = store  # type: ignore[attr-defined]
    return put


@pytest.fixture
def story(archive: Any) -> Any:
    archive("2026-03-12T12:00:01", event("bounce", "2026-03-12T12:00", reason="550 no such user"))
    drop = event("dropped", "2026-05-03T12:00", message="m2", reason="Bounced Address")
    archive("2026-05-03T12:00:05", drop, event("delivered", "2026-05-03T12:00", to="bo@x.org"))
    archive("2026-05-03T12:04:00", drop, event("delivered", "2026-05-03T12:00", to="bo@x.org"), {})
    archive("2026-05-24T09:00:00", event("open", "2026-03-01T09:00", message="m0"))
    return archive


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_find_begins_with_what_became_of_the_last_message(story: Any) -> None:
    result = run("find", JANE)
    first, _, *timeline = result.stdout.splitlines()

    assert result.exit_code == 0
    assert first.startswith("Not delivered: dropped 3 May")
    assert "because of the bounce on 12 March" in first
    assert [line[:10] for line in timeline] == ["2026-03-01", "2026-03-12", "2026-05-03"]
    assert "arrived 12 weeks later" in timeline[0]
    assert "bounced: 550 no such user" in timeline[1]
    assert "×2" in timeline[2]


def test_find_says_last_what_was_read(story: Any) -> None:
    assert run("find", JANE).stderr.splitlines()[-1].startswith("Read 0 files, 4 raw objects")
    read = json.loads(run("find", JANE, "--json").stderr.splitlines()[-1])
    assert set(read) == {"files", "raw_objects", "bytes", "requests", "ms"}


def test_find_shows_every_copy_when_asked(story: Any) -> None:
    events = [json.loads(line) for line in run("find", JANE, "--all", "--json").stdout.splitlines()]

    assert [event["type"] for event in events] == ["open", "bounce", "dropped", "dropped"]


def test_find_keeps_the_newest_and_prints_them_oldest_first(story: Any) -> None:
    events = [
        json.loads(line) for line in run("find", JANE, "-n", "2", "--json").stdout.splitlines()
    ]

    assert [event["type"] for event in events] == ["bounce", "dropped"]


def test_json_holds_the_sender_s_numbers_and_names_unchanged(archive: Any) -> None:
    data = (
        '{"email":"jane@example.com","event":"open",'
        '"n":90071992547409931234,"n":1e400,"é":"\\ud800"}'
    )
    archive("2026-05-03T12:00:00", body=f"[{data}]".encode())
    [line] = run("find", JANE, "--json").stdout.splitlines()

    assert '"n":90071992547409931234,"n":1e400,"\\u00e9":"\\ud800"}' in line
    assert list(json.loads(line)) == [
        *("id", "source", "type", "subject", "time", "app", "correlation"),
        *("arrived", "delivery", "position", "verdict", "times", "data"),
    ]


def test_an_empty_answer_says_what_it_stands_on_and_exits_1(story: Any) -> None:
    result = run("find", "nobody@example.com")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "4 deliveries that arrived from 2026-03-12 12:00 to 2026-05-24 09:00" in result.stderr


@pytest.mark.parametrize("arguments", [["find"], ["find", " "], ["find", JANE, "--json", "--csv"]])
def test_a_question_that_says_nothing_is_misuse(story: Any, arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_an_app_that_is_not_there_is_named_with_those_that_are(story: Any) -> None:
    result = run("find", JANE, "--app", "shop")

    assert result.exit_code == 1
    assert "sendgrid" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["find", "--type", "x"], ["find", "--type", "x", "--csv"], ["count", "--by", "subject"],
     ["export", "--format", "csv"], ["sql", "select subject, type, data from events"]],
)  # fmt: skip
def test_what_senders_wrote_acts_on_no_terminal_and_no_spreadsheet(
    archive: Any, arguments: list[str]
) -> None:
    archive("2026-05-03T12:00:00", event("x", "2026-05-03T12:00", to=HOSTILE))
    result = run(*arguments)
    cells = [cell for row in csv.reader(StringIO(result.stdout)) for cell in row]

    assert result.exit_code == 0
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output
    assert not any(cell.startswith(("=", "+", "@")) for cell in cells)


def test_a_cell_that_would_be_a_formula_begins_with_an_apostrophe(archive: Any) -> None:
    archive("2026-05-03T12:00:00", event("=cmd|'/c calc'!A1", "2026-05-03T12:00"))
    table = run("export", JANE, "--format", "csv", "--columns", "type").stdout

    assert table.splitlines()[1] == "'=cmd|'/c calc'!A1"


def test_show_takes_the_beginning_of_a_hash_and_gives_the_exact_bytes(archive: Any) -> None:
    body = b'\xef\xbb\xbf[{"email":"jane@example.com","event":"open"}]\r\n '
    key = archive("2026-05-03T12:00:00", body=body)
    digits = key.rpartition("-")[2][:8]

    assert run("show", digits, "--body").stdout_bytes == body
    assert run("show", key, "--body").stdout_bytes == body
    assert "verdict  verified" in run("show", digits).stdout
    assert run("show", digits, "--headers").stdout == "content-type: application/json\n"
    assert json.loads(run("show", digits, "--event", "0").stdout)["type"] == "open"
    assert run("show", digits, "--event", "1").exit_code == 2
    assert run("show", "00000000").exit_code == 1


def test_count_counts_each_event_once_and_says_how_many_were_repeats(story: Any) -> None:
    result = run("count", "--by", "day,type", "--json")

    assert [json.loads(line) for line in result.stdout.splitlines()][:2] == [
        {"day": "2026-03-01", "type": "open", "events": 1, "repeats": 0},
        {"day": "2026-03-12", "type": "bounce", "events": 1, "repeats": 0},
    ]
    assert "repeats of them are not counted" in run("count").stderr


def test_count_by_what_cannot_be_counted_by_is_misuse(story: Any) -> None:
    assert run("count", "--by", "colour").exit_code == 2


def test_export_writes_what_find_sees(story: Any, tmp_path: Path) -> None:
    lines = run("export", JANE).stdout.splitlines()
    assert lines == run("find", JANE, "--json").stdout.splitlines()

    table = run("export", JANE, "--format", "csv", "--columns", "type,times").stdout
    assert table == "\ufefftype,times\nopen,1\nbounce,1\ndropped,2\n"

    out = tmp_path / "jane's.parquet"
    assert run("export", JANE, "--format", "parquet", "--out", str(out)).exit_code == 0
    rows = duckdb.sql(f"SELECT type, times, data FROM read_parquet($${out}$$)").fetchall()
    assert [row[:2] for row in rows] == [("open", 1), ("bounce", 1), ("dropped", 2)]
    assert [row[2] for row in rows] == [json.dumps(json.loads(line)["data"]) for line in lines]
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_export_refuses_a_column_that_is_not_there(story: Any) -> None:
    result = run("export", "--columns", "type,colour")

    assert result.exit_code == 2
    assert "colour" in result.stderr


def test_tail_shows_the_newest_oldest_first(story: Any) -> None:
    lines = [json.loads(line) for line in run("tail", "-n", "2", "--json").stdout.splitlines()]

    assert [line["arrived"][:16] for line in lines] == ["2026-05-03T12:04", "2026-05-24T09:00"]


def test_refused_says_why_and_what_to_do(story: Any) -> None:
    delivery = Delivery("shop", {}, b"{", utc("2026-05-24T09:00:00"), "r-2")
    obj = to_rejected(
        delivery, source_named("generic"), prefix="", verdict="bad", reason="Invalid signature"
    )
    story.store.put(obj, seconds=5)
    result = run("refused")

    assert result.exit_code == 1
    assert "shop  Invalid signature" in result.stdout
    assert "APPS_FILE" in result.stderr
    assert run("refused", "--app", "sendgrid").exit_code == 0


def test_compact_then_every_question_has_the_same_answer(story: Any) -> None:
    questions = [
        ["find", JANE, "--json"],
        ["tail"],
        ["tail", "-n", "3", "--json"],
        ["count", "--by", "month,type", "--json"],
        ["sql", "select type, times from events_once order by all", "--json"],
    ]
    before = [run(*question).stdout for question in questions]
    dry = run("compact", "--dry-run")
    assert run("find", JANE, "--json").stderr.count('"files": 0')
    first = [json.loads(line) for line in run("compact", "--json").stdout.splitlines()]

    assert "would be written" in dry.stdout
    assert {change["state"] for change in first} >= {"written"}
    assert [run(*question).stdout for question in questions] == before
    assert json.loads(run("find", JANE, "--json").stderr.splitlines()[-1])["raw_objects"] == 0
    assert all(
        json.loads(line)["state"] == "unchanged"
        for line in run("compact", "--json").stdout.splitlines()
    )


def test_sql_cannot_reach_a_file_beside_the_archive(story: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\nb\n")
    result = run("sql", f"select * from read_csv('{secret}')")

    assert result.exit_code == 2
    assert "b" not in result.stdout


def test_status_says_what_there_is_and_what_it_costs(story: Any) -> None:
    [status] = [json.loads(line) for line in run("status", "--json").stdout.splitlines()]

    assert (status["app"], status["deliveries"], status["raw_objects"]) == ("sendgrid", 4, 4)
    assert "4 deliveries" in run("status").stdout
    assert "a month, list price" in run("status").stdout


def test_every_command_that_reads_says_last_what_it_read(story: Any) -> None:
    key = story("2026-05-24T10:00:00", event("open", "2026-05-24T10:00"))
    for words in (["find", JANE], ["show", key], ["tail"], ["count"], ["status"], ["refused"],
                  ["export"], ["sql", "select 1"], ["compact"], ["ddl", "athena"],
                  ["ddl", "spark"]):  # fmt: skip
        assert run(*words).stderr.splitlines()[-1].startswith("Read "), words
        last = json.loads(run(*words, "--json").stderr.splitlines()[-1])
        assert list(last) == ["files", "raw_objects", "bytes", "requests", "ms"], words


def test_an_empty_answer_names_the_days_on_which_nothing_arrived(story: Any) -> None:
    stderr = run("find", "nobody@example.com", "--since", "2026-05-01", "--tz", "Asia/Tokyo").stderr

    assert "Nothing matches in what arrived from 2026-05-01 00:00." in stderr
    assert "(UTC): 2026-03-13 to 2026-05-02, 2026-05-04 to 2026-05-23" in stderr


def test_a_place_without_deliveries_is_said_to_have_none(story: Any) -> None:
    for words in (["find", JANE], ["count"], ["status"]):
        assert "No app has any deliveries in nowhere/" in run(*words, "--bucket", "nowhere").stderr


def test_compact_gives_for_each_file_what_became_of_it(story: Any) -> None:
    change, *_ = [json.loads(line) for line in run("compact", "--json").stdout.splitlines()]

    assert change == {
        "file": "layer=events/app=sendgrid/month=2026-03/2026-03-12.parquet",
        "state": "written",
        "events": 1,
        "deliveries": 1,
    }


def test_find_says_what_became_of_the_last_message_however_few_events_are_shown(
    story: Any,
) -> None:
    story("2026-05-30T09:00:00", event("open", "2026-05-30T08:59", message="m0"))

    first, _, *timeline = run("find", JANE, "-n", "1").stdout.splitlines()

    assert first.startswith("Not delivered: dropped 3 May")
    assert [line[:10] for line in timeline] == ["2026-05-30"]


def test_find_says_no_outcome_where_it_was_asked_for_one_type(story: Any) -> None:
    assert "elivered" not in run("find", JANE, "--type", "bounce").stdout


def test_a_range_that_ends_before_it_begins_is_misuse(story: Any) -> None:
    for command in (("find", JANE), ("count",), ("export",)):
        result = run(*command, "--since", "2026-05-04", "--until", "2026-05-02")

        assert result.exit_code == 2
        assert "is after" in result.stderr


@pytest.mark.parametrize(
    ("zone", "day", "hour"),
    [
        ("UTC", "2026-03-01", "2026-03-01T23"),
        ("Asia/Kolkata", "2026-03-02", "2026-03-02T05"),
        ("America/New_York", "2026-03-01", "2026-03-01T18"),
    ],
)
def test_count_takes_days_and_hours_of_the_time_zone(
    archive: Any, zone: str, day: str, hour: str
) -> None:
    archive("2026-03-02T00:00:00", event("open", "2026-03-01T23:59"))

    result = run("count", "--by", "day,hour", "--tz", zone, "--json")

    assert json.loads(result.stdout) == {"day": day, "hour": hour, "events": 1, "repeats": 0}


@pytest.mark.parametrize("statement", ["", " ; ", "select type::int from events"])
def test_sql_that_fails_only_as_it_runs_is_misuse_and_no_traceback(
    story: Any, statement: str
) -> None:
    result = run("sql", statement)

    assert result.exit_code == 2
    assert result.stderr.startswith(("Error: ", "Usage: "))


def test_sql_as_json_is_json_whatever_the_values(story: Any) -> None:
    columns = "'nan'::double as n, encode('ü') as raw, 1.10::decimal(5, 2) as d, null as z"

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    row = json.loads(run("sql", "--json", f"select {columns}").stdout, parse_constant=no_constant)

    assert row == {"n": "nan", "raw": "ü", "d": "1.10", "z": None}


def test_sql_as_json_is_json_in_lists_and_maps_too(story: Any) -> None:
    columns = {
        "l": "[1.5, 'nan'::double, '-inf'::double, null]",
        "s": "{'raw': '\\xFFa'::blob, 'd': 1.10::decimal(5, 2), 'on': date '2026-05-03'}",
        "m": "map {1: true, 2: false}",
        "i": "interval '26 hours'",
        "t": "timestamp '2026-05-03 12:00:00.5'",
        "z": "timestamptz '2026-05-03 12:00:00+00'",
        "u": "18446744073709551615::ubigint",
    }
    selected = ", ".join(f"{sql} as {name}" for name, sql in columns.items())

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    row = json.loads(run("sql", "--json", f"select {selected}").stdout, parse_constant=no_constant)

    assert row.pop("z")[:10] == "2026-05-03"
    assert row == {
        "l": [1.5, "nan", "-inf", None],
        "s": {"raw": "\\xffa", "d": "1.10", "on": "2026-05-03"},
        "m": {"1": True, "2": False},
        "i": "1 day, 2:00:00",
        "t": "2026-05-03 12:00:00.500000",
        "u": 18446744073709551615,
    }


def test_sql_as_json_loses_no_column_whose_name_another_has(story: Any) -> None:
    result = run("sql", "--json", "select 1 as a, 2 as a, 3 as a_1, 4 as a")

    assert json.loads(result.stdout) == {"a": 1, "a_2": 2, "a_1": 3, "a_3": 4}
    assert run("sql", "select 1 as a, 2 as a").stdout == "a\ta\n1\t2\n"


def test_sql_that_fails_after_some_rows_says_that_they_are_not_all(story: Any) -> None:
    # The engine computes a megabyte ahead of what is printed, and this is far behind it.
    failing = "case when n = 90000 then error('boom') else repeat(n::varchar, 40) end"
    result = run("sql", f"select {failing} from range(200000) t(n)")

    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) > 1_000
    assert result.stderr.startswith("Error: These are not all rows: ")
    assert "boom" in result.stderr


def test_status_is_about_what_arrived_in_the_time_that_is_asked_for(story: Any) -> None:
    def status(*words: str) -> dict[str, Any]:
        line = json.loads(run("status", "--json", *words).stdout)
        return {name: line[name] for name in ("deliveries", "first", "last", "bytes", "gaps")}

    ranges = (["--since", "2026-05-03T12:01"], ["--until", "2026-05-03T12:01"],
              ["--since", "2026-05-03", "--until", "2026-05-23"])  # fmt: skip
    raw = [status(*words) for words in ranges]

    assert [line["deliveries"] for line in raw] == [2, 2, 2]
    assert [line["last"][:10] for line in raw] == ["2026-05-24", "2026-05-03", "2026-05-03"]
    assert sum(line["bytes"] for line in raw[:2]) == status()["bytes"]
    assert raw[0]["gaps"] == [["2026-05-04", "2026-05-23"]]
    run("compact")
    assert [status(*words) for words in ranges] == raw
    assert status("--since", "2026-06-01")["deliveries"] == 0


def test_a_bucket_s_path_is_read_alone_and_all_below_where_none_is_named(
    archive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive("2026-05-03T12:00:00", event("open", "2026-05-03T12:00"))
    below = Delivery("sendgrid", {}, json.dumps([event("click", "2026-05-03T12:01")]).encode(),
                     utc("2026-05-03T12:01:00"), "r-2")  # fmt: skip
    obj = to_object(below, source_named("sendgrid"), prefix="shop/", verdict="verified")
    archive.store.put(obj, seconds=5)

    def types(*place: str) -> list[str]:
        lines = run("find", JANE, "--json", *place).stdout.splitlines()
        return [json.loads(line)["type"] for line in lines]

    for _ in ("raw", "compacted"):
        assert types() == ["open", "click"]
        assert types("--bucket", "events") == ["open"]
        assert types("--bucket", "events/shop") == ["click"]
        assert len(run("status", "--bucket", "events", "--json").stdout.splitlines()) == 1
        for words in (["count"], ["sql", "select count(*) as events, 0 as repeats from events"]):
            counted = json.loads(run(*words, "--bucket", "events", "--json").stdout)
            assert counted == {"events": 1, "repeats": 0}
        run("compact")


def test_with_every_raw_object_gone_each_command_answers_as_before(
    story: Any, folder_environ: dict[str, str]
) -> None:
    story("2026-05-24T10:00:00", body=b"\xef\xbb\xbfno JSON\r\n")
    objects = Objects(folder_environ)
    keys = objects.deliveries()
    questions = [
        *(["find", JANE, *form] for form in ([], ["--json"], ["--csv"], ["--all"])),
        ["find", "--correlation", "m2"],
        *(["show", key, "--body"] for key in keys),
        *(["show", key, "--headers"] for key in keys),
        *(["show", key.rpartition("-")[2][:12], "--event", "0"] for key in keys[:2]),
        ["count", "--by", "day,type,verdict"],
        *(["export", "--format", form] for form in ("csv", "ndjson")),
        ["sql", "select * exclude (repeat) from events order by delivery, position"],
        ["sql", "select * from events_once order by delivery, position", "--json"],
        ["sql", "select * from deliveries order by delivery"],
        ["verify"],
    ]

    def answers() -> list[tuple[int, str]]:
        return [(done.exit_code, done.stdout) for done in (run(*words) for words in questions)]

    before = answers()
    assert all(text for _, text in before)
    run("compact")
    objects.delete_deliveries()

    for question, one, other in zip(questions, before, answers(), strict=True):
        assert other == one, question
