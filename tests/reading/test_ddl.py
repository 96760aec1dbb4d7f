"""What `hookshelf ddl` prints: the table of the files that are there, and a view over it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner
from support.archives import archive_of, delivered, moment, put, traffic
from support.project import PROJECT
from support.tables import check_properties, in_json, printed, projected, properties_of

from hookshelf.__main__ import main
from hookshelf.reading.columns import COLUMNS
from hookshelf.reading.ddl import MOST_LISTED, EventsTable, athena, once, spark

START = moment("2026-10-30T00:00")
NOW = moment("2026-12-03T13:30")
TABLE = EventsTable("events", "my-webhooks", "", ("sendgrid", "shop"), "2026-11")


@pytest.fixture(scope="module")
def compacted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two apps: one over a month's end and into today, one with a body that is no JSON."""
    folder = tmp_path_factory.mktemp("archive")
    environ = {"ARCHIVE_FOLDER": str(folder), "ARCHIVE_BUCKETS": "events"}
    put(environ, *traffic(7, START, 2.5, 30), *traffic(8, NOW - timedelta(days=1), 0.8, 9))
    put(environ, delivered(b"\x00\xff", moment("2026-11-05T12:00"), app="Shop-2"))
    list(archive_of(environ, NOW).compact())
    return environ


@pytest.fixture
def environ(compacted: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The same for every test, and what the shell says; nothing is changed there."""
    for name, value in compacted.items():
        monkeypatch.setenv(name, value)
    return compacted


def ddl(*args: str) -> str:
    result = CliRunner().invoke(main, ["ddl", *args])
    assert result.exit_code == 0, result.output
    return result.stdout


def files_of(environ: Mapping[str, str]) -> Path:
    return Path(environ["ARCHIVE_FOLDER"]) / "events" / "layer=events"


def over(files: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB with a view `events` of what the files hold."""
    connection = duckdb.connect()
    connection.execute(
        "CREATE VIEW events AS SELECT * EXCLUDE (layer) "
        f"FROM read_parquet('{files}/*/*/*.parquet', "
        "hive_partitioning = true, hive_types_autocast = false)"
    )
    return connection


def test_the_view_gives_the_rows_of_events_once_in_sql(environ):
    connection = over(files_of(environ))
    connection.execute(printed(ddl("spark"))[-1])
    names = "app, month, type, id, delivery, position, verdict, subject, time, arrived, times, data"
    wanted = f"SELECT {names}, before, after, metadata FROM events_once ORDER BY ALL"
    archive = archive_of(environ, NOW)

    rows = connection.execute(wanted).fetchall()

    assert rows == list(archive.query(wanted))
    assert len(rows) > 80
    assert max(row[10] for row in rows) > 2


def test_a_row_that_is_read_twice_is_one(environ, tmp_path):
    shutil.copytree(files_of(environ), tmp_path / "layer=events")
    connection = over(tmp_path / "layer=events")
    connection.execute(once(TABLE))
    rows = connection.execute("SELECT * FROM events_once ORDER BY ALL").fetchall()

    for path in [*tmp_path.rglob("*.parquet")]:
        shutil.copy(path, path.with_name(f"again-{path.name}"))

    assert connection.execute("SELECT * FROM events_once ORDER BY ALL").fetchall() == rows


def test_a_table_has_every_column_of_the_files_by_its_name_and_type(environ):
    described = over(files_of(environ)).execute("DESCRIBE events").fetchall()
    in_files = [(name, kind) for name, kind, *_ in described]
    hive = {
        "VARCHAR": "string",
        "TIMESTAMP_MS": "timestamp",
        "TIMESTAMP": "timestamp",
        "INTEGER": "int",
        "BOOLEAN": "boolean",
        "BLOB": "binary",
        "MAP(VARCHAR, VARCHAR)": "map<string,string>",
    }
    columns = [f"`{name}` {hive[kind]}" for name, kind in in_files]

    create = printed(ddl("athena"))[0]

    assert len(columns) == len(COLUMNS) + 2
    assert [column for column in columns if create.count(column) != 1] == []
    ours = printed(ddl("spark"))[0].replace("timestamp_ntz", "timestamp")
    assert all(column in ours for column in columns)


def test_athena_projects_the_folders_that_were_written(environ):
    create, _ = printed(ddl("athena"))
    written = {
        f"s3://events/layer=events/{path.parent.relative_to(files_of(environ))}/"
        for path in files_of(environ).rglob("*.parquet")
    }

    check_properties(create)
    folders = projected(create, NOW.date())

    assert len(written) == 4
    assert written <= folders
    assert len(folders) == 6  # two apps, three months
    assert len(projected(create, date(2027, 1, 1)) - folders) == 2


@pytest.mark.parametrize(
    "typo",
    [
        ("projection.month.range", "projection.month.rnge"),
        ("'projection.enabled' = 'true'", "'projection.enable' = 'true'"),
        ("month=${month}/'", "month=${month}'"),
        ("${app}", "app"),
        ("'projection.app.values'", "'projection.apps.values'"),
        ("'enum'", "'enums'"),
        ("LOCATION 's3://my", "LOCATION 's3://our"),
    ],
)
def test_a_property_that_athena_would_ignore_is_seen(typo):
    create = athena(TABLE)[0]
    check_properties(create)

    with pytest.raises((AssertionError, KeyError)):
        check_properties(create.replace(*typo))


def test_many_apps_are_injected_as_are_those_to_come():
    few = replace(TABLE, apps=tuple(f"a{n}" for n in range(MOST_LISTED)))
    many = replace(TABLE, apps=(*few.apps, "one-more"))

    assert properties_of(athena(few)[0])["projection.app.type"] == "enum"
    for statement in (athena(many)[0], athena(few, injected=True)[0]):
        check_properties(statement)
        assert properties_of(statement)["projection.app.type"] == "injected"
        assert "projection.app.values" not in statement


def test_what_is_printed_as_json_is_what_is_printed_to_paste(environ):
    assert in_json(ddl("athena", "--json")) == printed(ddl("athena"))
    assert in_json(ddl("spark", "--json")) == printed(ddl("spark"))


def test_one_app_has_a_table_of_its_own(environ):
    properties = properties_of(printed(ddl("athena", "--app", "Shop-2"))[0])

    assert properties["projection.app.values"] == "Shop-2"
    assert properties["projection.month.range"] == "2026-11,NOW"


def test_each_place_is_a_table_of_its_own_with_a_name_that_differs(folder_environ, monkeypatch):
    places = ["events", "events/a.b", "events/a-b", "events/x/Y"]
    for number, place in enumerate(places):
        path = place.partition("/")[2]
        prefix = f"{path}/" if path else ""
        put(folder_environ, delivered([], START + timedelta(hours=number), prefix=prefix))
    for name, value in folder_environ.items():
        monkeypatch.setenv(name, value)

    create = [text for text in printed(ddl("athena")) if text.startswith("CREATE EXTERNAL")]
    names = [text.split("`")[1] for text in create]
    templates = {properties_of(text)["storage.location.template"] for text in create}

    assert len(set(names)) == 4
    assert {name for name in names if not name.endswith("__2")} == {
        "events_events",
        "events_events_a_b",
        "events_events_x_y",
    }
    assert templates == {
        f"s3://{place}/layer=events/app=${{app}}/month=${{month}}/" for place in places
    }
    assert "TABLE `events` (" in ddl("athena", "--bucket", "events/x/Y")


def test_a_location_cannot_leave_its_quotes():
    folder = replace(TABLE, folder="/home/o'neil/a\\b")

    assert "LOCATION 'file:///home/o\\'neil/a\\\\b/my-webhooks/layer=events/'" in (spark(folder)[0])
    assert "LOCATION 's3a://my-webhooks/layer=events/'" in spark(TABLE, scheme="s3a")[0]


def test_what_is_not_compacted_yet_is_told_of_by_its_month(folder_environ, monkeypatch):
    put(folder_environ, delivered([], moment("2025-12-31T23:59")))
    for name, value in folder_environ.items():
        monkeypatch.setenv(name, value)

    assert "'2025-12,NOW'" in ddl("athena")


def test_a_folder_is_told_to_be_none_of_athenas(environ):
    assert "is a folder" in CliRunner().invoke(main, ["ddl", "athena"]).stderr
    assert re.fullmatch("Read .*\n", CliRunner().invoke(main, ["ddl", "spark"]).stderr)


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["oracle"], 2, "athena"),
        ([], 2, "athena"),
        (["athena", "--app", "nobody"], 1, "sendgrid"),
        (["athena", "--bucket", "no where"], 2, "bucket"),
    ],
)
def test_what_cannot_be_printed_is_told(environ, args, code, says):
    result = CliRunner().invoke(main, ["ddl", *args])

    assert result.exit_code == code
    assert says in result.output


def test_an_empty_archive_has_no_table(folder_environ, monkeypatch):
    for name, value in folder_environ.items():
        monkeypatch.setenv(name, value)

    result = CliRunner().invoke(main, ["ddl", "spark"])

    assert result.exit_code == 1
    assert "No deliveries" in result.output


def test_printing_needs_no_engine(environ):
    line = (
        "import sys; from hookshelf.__main__ import main; "
        "main(['ddl', 'spark'], standalone_mode=False); "
        "print({'duckdb', 'boto3', 'pyspark'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", line],
        cwd=PROJECT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines()[-1] == "set()"
