"""What lies in an archive acts on nobody's terminal, spreadsheet, browser or disk."""

import csv
import json
from datetime import timedelta
from io import StringIO
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result
from support.archives import archive_of, delivered, moment, put

from chalicelib.archive import to_rejected
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.keys import day_folder, parse_key
from chalicelib.settings import from_environment
from chalicelib.sources import source_named
from chalicelib.store import open_store
from hookshelf.__main__ import main

ARRIVED = moment("2026-05-03T12:00")
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\x08\r\u202e\u2066\x7f\ud800"
FORMULA = "=cmd|'/c calc'!A1"
HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>"
NASTY = f"{FORMULA}{ESCAPES}{HTML}../../etc/passwd\n"
HEADERS = {"content-type": "application/json", "x-twilio-email-event-webhook-signature": NASTY}
EVENT = {
    "email": NASTY,
    "event": NASTY,
    "sg_event_id": NASTY,
    "sg_message_id": NASTY,
    "timestamp": 1777809600,
    NASTY: NASTY,
    "reason": NASTY,
    "response": NASTY,
    "url": NASTY,
}
KNOWN = EVENT | {"event": "dropped", "sg_event_id": "e2"}
SUBJECT = NASTY.lower()  # an argument can hold no lone surrogate
COMMANDS = {
    "find": ["find", "--type", "dropped"],
    "find, all of it": ["find", "--type", "dropped", "--all"],
    "find as JSON": ["find", "--type", "dropped", "--json"],
    "find as CSV": ["find", "--type", "dropped", "--csv"],
    "find what is not there": ["find", SUBJECT.replace("\ud800", ""), "--id", ESCAPES[:-1]],
    "show": ["show", "HASH"],
    "show as JSON": ["show", "HASH", "--json"],
    "show its headers": ["show", "HASH", "--headers"],
    "show an event": ["show", "HASH", "--event", "0"],
    "show what is not there": ["show", ESCAPES[:-1]],
    "show one with hostile metadata": ["show", "FOREIGN"],
    "show that as JSON": ["show", "FOREIGN", "--json"],
    "show its headers too": ["show", "FOREIGN", "--headers"],
    "tail": ["tail"],
    "tail as JSON": ["tail", "--json"],
    "count": ["count", "--by", "app,source,day,type,verdict,subject,domain,correlation"],
    "count as JSON": ["count", "--by", "subject,type", "--json"],
    "count by what is not there": ["count", "--by", ESCAPES[:-1]],
    "status": ["status"],
    "status as JSON": ["status", "--json"],
    "refused": ["refused"],
    "refused as JSON": ["refused", "--json"],
    "export": ["export"],
    "export as CSV": ["export", "--format", "csv"],
    "export what is not there": ["export", "--columns", ESCAPES[:-1]],
    "sql": ["sql", "select * from events"],
    "sql as JSON": ["sql", "select * from deliveries", "--json"],
    "sql that names a column": ["sql", f'select 1 as "{ESCAPES[:-1]}"'],
    "sql that is wrong": ["sql", f"select '{ESCAPES[:-1]}' from nothing"],
    "sql that casts": ["sql", "select type::integer from events"],
    "compact": ["compact"],
    "compact as JSON": ["compact", "--json"],
    "compact, without doing it": ["compact", "--dry-run"],
    "an app": ["find", "x", "--app", ESCAPES[:-1]],
    "a bucket": ["find", "x", "--bucket", ESCAPES[:-1]],
    "a time": ["find", "x", "--since", ESCAPES[:-1]],
}
# Nothing obeys these; a line break is ours where it ends a line.
HARMLESS = {"\n", "\t", "\ufeff"}


def an_hour_later(key: str) -> str:
    """The key of the same body, had it arrived then."""
    return str(parse_key(key)._replace(arrived=ARRIVED + timedelta(hours=1)))


@pytest.fixture
def archive(folder_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ArchiveObject:
    """A delivery, a refused one, and foreign objects whose names and bytes are hostile."""
    for name, value in folder_environ.items():
        monkeypatch.setenv(name, value)
    obj = delivered([EVENT, KNOWN], ARRIVED, headers=HEADERS)
    metadata = {"source": "%1b[2J", "verdict": "\x1b[2J", "h-%1b[2J": "%1b[2J", "h-x": "%zz%1b"}
    foreign = ArchiveObject(an_hour_later(obj.key), NASTY.encode("utf-8", "replace"), "", metadata)
    put(folder_environ, obj, foreign, delivered([KNOWN], ARRIVED.replace(minute=1)))
    refused = Delivery("shop", HEADERS, NASTY.encode("utf-8", "replace"), ARRIVED)
    open_store(from_environment(folder_environ), "events").put(
        to_rejected(refused, source_named("sendgrid"), prefix="", verdict="bad", reason=NASTY)
    )
    root = Path(folder_environ["ARCHIVE_FOLDER"]) / "events"
    no_day = day_folder(ARRIVED.date()).replace("2026", "\x1b[2J")
    for name in ("\x1b[2J", "=1+1", "layer=events/app=\x1b[2J", f"sendgrid/{no_day}"):
        (root / name).mkdir(parents=True)
        (root / name / f"{ESCAPES[:-1]}.json").write_bytes(b"{}")
    return obj


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("state", ["raw", pytest.param("compacted", marks=pytest.mark.slow)])
def test_nothing_in_an_archive_speaks_to_a_terminal(archive, folder_environ, state):
    if state == "compacted":
        list(archive_of(folder_environ, moment("2026-12-02")).compact())
    values = {"HASH": archive.key, "FOREIGN": an_hour_later(archive.key)}

    for name, words in COMMANDS.items():
        result = run(*(values.get(word, word) for word in words))

        assert result.exit_code in (0, 1, 2), (name, result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), name
        obeyed = {char for char in result.output if not char.isprintable()} - HARMLESS
        assert not obeyed, (name, obeyed)


def test_no_cell_is_a_formula_in_any_spreadsheet(archive):
    for words in (["find", "--type", "dropped", "--csv"], ["export", "--format", "csv"]):
        rows = list(csv.reader(StringIO(run(*words).stdout.removeprefix("\ufeff"))))
        assert len(rows) > 1
        assert all(len(row) == len(rows[0]) for row in rows)
        assert not any(cell[:1] in "=+-@\t\r" for row in rows for cell in row if cell)


FORMULAS = [
    *(
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "  =1",
        "\t=1",
        "\r=1",
        "\n=1",
        "\x00=1",
        "\u202e=1",
        "\ufeff=1",
    ),
    *("\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20SUM(A1)", "\u3000=1", "\xa0=1"),
    *("a;=1+1", 'a";=1', "a,=1", "a\n=1", '","=1', "'=1", '"=1"', "%=1"),
]


def test_no_cell_is_a_formula_however_its_signs_are_written_and_cells_are_parted(
    archive, folder_environ
):
    events = [{"email": "x@x", "event": text, "sg_event_id": text} for text in FORMULAS]
    put(folder_environ, delivered(events, ARRIVED))

    table = run("export", "x@x", "--format", "csv", "--columns", "type,id,subject").stdout
    lines = table.removeprefix("\ufeff").splitlines()
    assert len(lines) == len(FORMULAS) + 1
    signs = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
    for separator in ",;":  # the second is what spreadsheets take in half of Europe
        for row in csv.reader(lines[1:], delimiter=separator):
            assert not any(cell.strip().startswith(signs) for cell in row), row


def test_a_table_of_sql_keeps_its_columns(archive):
    rows = [line.split("\t") for line in run("sql", "select * from events").stdout.splitlines()]

    assert len(rows) > 1
    assert {len(row) for row in rows} == {len(rows[0])}


def test_what_a_script_reads_is_exact(archive, tmp_path):
    """Escaped for terminals and exact all the same, as JSON has escapes of its own."""
    lines = [json.loads(line) for line in run("export").stdout.splitlines()]
    assert {line["data"]["reason"] for line in lines if isinstance(line["data"], dict)} == {NASTY}

    out = tmp_path / "out.parquet"
    run("export", "--format", "parquet", "--out", str(out))
    texts = duckdb.sql(f"SELECT data FROM read_parquet('{out}')").fetchall()
    assert HTML in texts[0][0]


def test_no_name_in_an_archive_becomes_a_name_on_disk(archive, tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    before = sorted(tmp_path.rglob("*"))

    for words in COMMANDS.values():
        if words[0] != "compact":
            run(*(archive.key if word == "HASH" else word for word in words))

    assert sorted(tmp_path.rglob("*")) == before


def test_exact_bytes_are_for_files_and_pipes(archive):
    assert run("show", archive.key, "--body").stdout_bytes == archive.body
