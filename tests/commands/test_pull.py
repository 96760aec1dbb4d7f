"""`hookshelf pull`: part of an archive in a folder, which every command reads as an archive."""

import gzip
import json
import zipfile
from collections.abc import Iterable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support import killing
from support.archives import (
    Objects,
    archive_of,
    delivered,
    is_delivery,
    moment,
    put,
    traffic,
)

from chalicelib.archive import to_object, to_rejected
from chalicelib.delivery import Delivery
from chalicelib.keys import hour_folder
from chalicelib.settings import from_environment
from chalicelib.sources import source_named
from chalicelib.store import open_store
from hookshelf.__main__ import main
from hookshelf.reading import pulling

START = moment("2026-11-16T00:00")
NOW = moment("2026-11-20T12:00")
SECRET = "It's a Secret to Everybody"
COMMANDS = [
    ["find", "person1@example.com", "--json"],
    ["find", "person1@example.com", "--all", "--csv"],
    ["find", "--type", "bounce", "--since", "2026-11-17", "--json"],
    ["show", "{hash}", "--json"],
    ["show", "{hash}", "--body"],
    ["count", "--by", "day,type", "--json"],
    ["count", "person1@example.com", "--by", "app,verdict", "--json"],
    ["verify", "--json"],
    ["verify", "--rejected", "--json"],
    ["refused", "--json"],
    ["readmit", "--dry-run", "--json"],
    ["status", "--json"],
    ["tail", "--since", "2026-11-01", "--json"],
    ["export", "--format", "ndjson"],
    ["export", "--format", "csv", "--since", "2026-11-17"],
    ["sql", "select count(*), sum(length(data)) from events_once", "--json"],
    ["sql", "select delivery, metadata from deliveries", "--json"],
    ["manifest", "--json"],
    ["replay", "--to", "https://10.0.0.1/", "--allow-private", "--dry-run", "--json"],
    ["erase", "person1@example.com", "--reason", "asked", "--dry-run", "--json"],
    ["pull", "elsewhere", "--dry-run", "--json"],
]


@pytest.fixture(params=["folder", pytest.param("obstore", marks=pytest.mark.slow)])
def environ(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    environ = request.getfixturevalue(
        "folder_environ" if request.param == "folder" else "s3_environ"
    )
    put(environ, *traffic(3, START, 2, 16))
    apps = tmp_path / "apps.json"
    apps.write_text(json.dumps({"shop": {"source": "github", "secrets": [SECRET]}}))
    environ = {**environ, "APPS_FILE": str(apps)}
    github = source_named("github")
    assert github.sign
    signed = Delivery("shop", github.sign(b'{"n": 1}', SECRET, 0), b'{"n": 1}', START)
    put(environ, to_object(signed, github, verdict="verified"))
    refused = Delivery("mail", {"x-hub-signature-256": "x"}, b"{}", START)
    store = open_store(from_environment(environ), environ["ARCHIVE_BUCKETS"])
    store.put(to_rejected(refused, github, reason="Invalid signature", verdict="bad"))
    list(archive_of(environ, NOW).compact())
    put(environ, delivered([{"email": "late@x"}], NOW - timedelta(minutes=5)))
    return environ


def run(environ: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=environ)


def pulled(environ: dict[str, str], folder: Path) -> dict[str, str]:
    """The settings to read a pulled folder with."""
    same = {name: environ[name] for name in ("ARCHIVE_BUCKETS", "APPS_FILE") if name in environ}
    return {**same, "ARCHIVE_FOLDER": str(folder)}


def output(environ: dict[str, str], command: list[str]) -> list[str]:
    """What a command prints, without what depends on whether it is compacted."""
    done = run(environ, *(word.format(hash=sha256(b'{"n": 1}').hexdigest()) for word in command))
    assert done.exit_code != 2, done.output
    lines = done.stdout.splitlines()
    if command[0] == "status":
        facts = [json.loads(line) for line in lines]
        same = ("app", "first", "last", "deliveries", "bytes", "log")
        lines = [json.dumps({name: fact[name] for name in same}) for fact in facts]
    if command[0] == "show" and command[-1] == "--json":  # raw, or put together from a file
        lines = [json.dumps({**json.loads(line), "state": ""}) for line in lines]
    if command[0] in ("tail", "pull"):  # of what is compacted the size is not listed
        lines = [json.dumps({**json.loads(line), "size": 0}) for line in lines]
    if command[0] in ("erase", "pull"):  # which name compacted files and log, too
        lines = [line for line in lines if is_delivery(json.loads(line)["key"])]
    return [*sorted(lines), str(done.exit_code)]


@pytest.mark.slow
@pytest.mark.parametrize("compacted", [[], ["--compacted"]], ids=["raw", "compacted"])
def test_every_command_gives_the_same_over_the_pulled_folder(environ, tmp_path, compacted):
    done = run(environ, "pull", str(tmp_path / "laptop"), *compacted)
    assert done.exit_code == 0, done.output
    there = pulled(environ, tmp_path / "laptop")

    for command in COMMANDS:
        assert output(there, command) == output(environ, command) != ["0"], command
    assert cases(there, tmp_path / "there") == cases(environ, tmp_path / "here") != {}


def cases(environ: dict[str, str], folder: Path) -> dict[str, bytes]:
    """What `prove` puts into its zip, but for what says when it did, and the hashes of that."""
    folder.mkdir()
    short = sha256(b'{"n": 1}').hexdigest()[:12]
    done = run(environ, "prove", short, "--out", str(folder / "case.zip"))
    assert done.exit_code == 0, done.output
    with zipfile.ZipFile(folder / "case.zip") as case:
        when = ("README.txt", "SHA256SUMS", "verify.sh")
        return {name: b"" if name in when else case.read(name) for name in case.namelist()}


@pytest.mark.parametrize("compacted", [[], ["--compacted"]], ids=["raw", "compacted"])
@pytest.mark.slow
def test_where_raw_is_gone_it_is_put_together_from_files(environ, tmp_path, compacted):
    before = output(environ, COMMANDS[0])
    objects = Objects(environ)
    today = objects.deliveries("2026-11-20")
    gone = [key for key in objects.deliveries() if key not in today]
    assert today and gone
    objects.delete(*gone)
    run(environ, "pull", str(tmp_path / "laptop"), *compacted)

    assert output(pulled(environ, tmp_path / "laptop"), COMMANDS[0]) == before


def test_a_range_is_that_range(environ, tmp_path):
    done = run(
        environ, "pull", str(tmp_path / "l"), "--since", "2026-11-17", "--until", "2026-11-17"
    )
    objects = Objects(pulled(environ, tmp_path / "l"))

    assert done.exit_code == 0
    assert objects.keys() == objects.deliveries("2026-11-17") != []


def test_a_second_run_reads_only_what_is_missing_or_broken(environ, tmp_path):
    laptop = tmp_path / "laptop"
    run(environ, "pull", str(laptop))
    bucket = laptop / environ["ARCHIVE_BUCKETS"]
    broken, gone, _ = [bucket / key for key in Objects(pulled(environ, laptop)).deliveries()[:3]]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:10])
    gone.unlink()
    done = run(environ, "pull", str(laptop), "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    states = {line["key"]: line["state"] for line in lines if is_delivery(line["key"])}

    assert broken.read_bytes() == whole
    assert {key for key, state in states.items() if state == "pulled"} == {
        str(path.relative_to(bucket)) for path in (broken, gone)
    }


@pytest.mark.slow
@pytest.mark.parametrize("compacted", ["", "yes"], ids=["raw", "compacted"])
def test_killed_again_and_again_it_is_resumed_where_it_was(environ, tmp_path, compacted):
    folder, bucket = tmp_path / "laptop", environ["ARCHIVE_BUCKETS"]
    task = {**environ, "PULL_TO": str(folder), "COMPACTED": compacted}
    kills, pulled_before = 0, 0
    while killing.is_killed(
        task, "2026-11-20T12:00", "pull", at=9 if compacted else 13, after=False
    ):
        kills += 1
        left = [path for path in folder.rglob("*") if path.name.startswith(".hookshelf-")]
        there = Objects(pulled(environ, folder)).deliveries()
        assert len(left) == 1  # what was being written, without its name
        assert len(there) >= pulled_before
        pulled_before = len(there)
    run(environ, "pull", str(tmp_path / "whole"), *(["--compacted"] if compacted else []))

    assert kills > (0 if compacted else 2)
    whole, laptop = tmp_path / "whole" / bucket, folder / bucket
    files = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file()}
    assert {path.relative_to(laptop) for path in laptop.rglob("*") if path.is_file()} == files
    assert all((laptop / path).read_bytes() == (whole / path).read_bytes() for path in files)


@pytest.mark.slow
def test_interrupted_anywhere_the_next_run_makes_it_whole(environ, tmp_path, monkeypatch):
    run(environ, "pull", str(tmp_path / "whole"))
    whole = Objects(pulled(environ, tmp_path / "whole")).keys()
    written = []
    write = pulling.write_whole

    def dying(path: Path, parts: Iterable[bytes]) -> None:
        if len(written) % 7 == 6:
            written.append(path)
            raise KeyboardInterrupt
        written.append(path)
        write(path, parts)

    monkeypatch.setattr(pulling, "write_whole", dying)
    for _ in range(100):
        if run(environ, "pull", str(tmp_path / "laptop")).exit_code == 0:
            break

    assert Objects(pulled(environ, tmp_path / "laptop")).keys() == whole
    assert not list((tmp_path / "laptop").rglob(".hookshelf-*"))


def test_hostile_keys_stay_inside(environ, tmp_path):
    objects = Objects(environ)
    name = "20261117T120000.000000Z-" + "0" * 64 + ".json"
    hour = hour_folder(moment("2026-11-17T12:00"))
    for key in (f"mail/{hour}/..%2f..%2fx", f"a/b/c/d/e/f/g/h/i/j/{name}"):
        objects.write(key, b"hostile")
    if not objects.folder:
        for key in (f"../../outside/{hour}/{name}", f"/etc/{hour}/{name}"):
            objects.client.put_object(Bucket=objects.bucket, Key=key, Body=b"hostile")
    run(environ, "pull", str(tmp_path / "deep" / "laptop"))
    outside = [
        path for path in tmp_path.rglob("*")
        if path.is_file() and path.read_bytes() == b"hostile"
        and not path.is_relative_to(tmp_path / "archive")
    ]  # fmt: skip

    assert outside == []


def test_a_link_that_leads_out_of_the_folder_is_not_followed(environ, tmp_path):
    laptop = tmp_path / "laptop"
    (tmp_path / "elsewhere").mkdir()
    laptop.mkdir()
    (laptop / environ["ARCHIVE_BUCKETS"]).symlink_to(tmp_path / "elsewhere")
    done = run(environ, "pull", str(laptop))

    assert done.exit_code == 2
    assert "leads out of" in done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_was_altered_is_pulled_as_it_is_and_named(folder_environ, tmp_path):
    put(folder_environ, delivered([{"email": "a@x"}], START))
    (key,) = Objects(folder_environ).deliveries()
    Objects(folder_environ).write(key, b"[]")
    done = run(folder_environ, "pull", str(tmp_path / "laptop"))

    assert done.exit_code == 1
    assert f"altered  events/{key}" in done.stdout


def test_a_dry_run_writes_nothing(environ, tmp_path):
    done = run(environ, "pull", str(tmp_path / "laptop"), "--dry-run")

    assert done.exit_code == 0
    assert "would be pulled" in done.stdout
    assert not (tmp_path / "laptop").exists()


# --- adopt


def adopt(environ: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(main, ["adopt", *arguments], env=environ)


@pytest.fixture
def pile(tmp_path: Path) -> Path:
    folder = tmp_path / "pile"
    folder.mkdir()
    return folder


def original(pile: Path, count: int, app: str = "mail") -> list[Path]:
    """What the original routeToS3 wrote: `<app>_<millis>.json`."""
    paths = []
    for n in range(count):
        millis = 1_763_000_000_000 + n * 61_003
        body = [{"email": f"p{n % 50}@x", "event": "delivered", "sg_event_id": f"e{n}"}]
        paths.append(pile / f"{app}_{millis}.json")
        paths[-1].write_text(json.dumps(body))
    return paths


@pytest.mark.slow
def test_of_a_thousand_original_keys_none_is_lost_and_find_sees_them(folder_environ, pile):
    paths = original(pile, 1_000)
    apps = pile.parent / "apps.json"
    apps.write_text(json.dumps({"mail": {"source": "sendgrid"}}))
    environ = {**folder_environ, "APPS_FILE": str(apps)}
    done = adopt(environ, str(pile), "--app", "mail")
    archive = archive_of(environ, NOW)

    assert done.exit_code == 0, done.output
    assert "1,000 adopted" in done.stdout
    assert "Read 1,000 deliveries of the pile" in done.stderr
    assert len(list(archive.deliveries())) == 1_000
    events = list(archive.find("p7@x"))
    assert len(events) == 20
    assert events[0].arrived.timestamp() * 1000 == 1_763_000_000_000 + 7 * 61_003
    bodies = {archive.delivery(event.delivery).body for event in events}
    assert bodies <= {path.read_bytes() for path in paths}


def test_what_is_adopted_twice_is_there_once(folder_environ, pile):
    original(pile, 5)
    (pile / "mail_1763000000000.json").write_text("{}")
    (pile / "other_1763000000000.json").write_text("{}")  # the same bytes at the same time
    first = adopt(folder_environ, str(pile), "--app", "mail")
    second = adopt(folder_environ, str(pile), "--app", "mail")

    assert "6 adopted" in first.stdout
    assert "6 there already" in second.stdout
    assert len(list(archive_of(folder_environ, NOW).deliveries())) == 6
    assert all(line.in_order for line in archive_of(folder_environ, NOW).verify())


def test_lines_and_what_firehose_wrote_are_a_delivery_each(folder_environ, pile):
    (pile / "hand.ndjson").write_text('{"n": 1}\n\n{"n": 2}\n')
    (pile / "stream-1-2026-11-17-10-30-00-uuid").write_bytes(b'{"n":3}{"n":4}')
    (pile / "stream-1-2026-11-17-11-30-00-uuid.gz").write_bytes(gzip.compress(b'{"n":5}\n'))
    done = adopt(folder_environ, str(pile), "--app", "stream")
    archive = archive_of(folder_environ, NOW)
    found = [archive.delivery(d.key) for d in archive.deliveries()]

    assert done.exit_code == 0, done.output
    assert sorted(json.loads(d.body or b"")["n"] for d in found) == [1, 2, 3, 4, 5]
    by_n = {json.loads(d.body or b"")["n"]: d.arrived for d in found}
    assert by_n[3] == moment("2026-11-17T10:30") and by_n[3] < by_n[4]
    assert by_n[5] == moment("2026-11-17T11:30")


def test_what_cannot_be_read_is_reported_and_the_rest_adopted(folder_environ, pile):
    original(pile, 2)
    (pile / "picture.png").write_bytes(b"\x89PNG")
    (pile / "empty.json").write_bytes(b"")
    (pile / "cut.gz").write_bytes(b"\x1f\x8b\x08")
    done = adopt(folder_environ, str(pile), "--app", "mail")

    assert done.exit_code == 1
    for name in ("picture.png", "empty.json", "cut.gz"):
        assert name in done.stdout
    assert "2 adopted" in done.stdout


def test_what_is_adopted_into_compacted_days_is_found_at_once(folder_environ, pile):
    put(folder_environ, *traffic(3, START, 2, 8))
    list(archive_of(folder_environ, NOW).compact())
    millis = int((START + timedelta(hours=30)).timestamp() * 1000)
    body = [{"email": "new@x", "event": "open", "sg_event_id": "e"}]
    (pile / f"sendgrid_{millis}.json").write_text(json.dumps(body))
    assert adopt(folder_environ, str(pile), "--app", "sendgrid").exit_code == 0
    archive = archive_of(folder_environ, NOW)

    assert [event.type for event in archive.find("new@x")] == ["open"]
    assert {line.state for line in archive.verify()} == {""}


def test_no_name_of_the_pile_is_written_into_the_log_which_nobody_can_change(folder_environ, pile):
    (pile / "jane@example.com_1763000000000.json").write_text("{}")
    adopt(folder_environ, str(pile), "--app", "mail")
    objects = Objects(folder_environ)
    (listed,) = archive_of(folder_environ, NOW).deliveries()
    whole = archive_of(folder_environ, NOW).delivery(listed.key)

    assert (whole.metadata or {})["adopted"] == "jane@example.com_1763000000000.json"
    assert all(b"jane" not in objects.body(key) for key in objects.keys("_manifests/"))


def test_a_pile_in_a_bucket_is_adopted_too(s3_environ):
    objects = Objects(s3_environ)
    objects.write("old/mail_1763000000000.json", b"{}")
    objects.write("old/deeper/mail_1763000000001.json", b"[]")
    objects.write("older/mail_1763000000002.json", b"[]")
    done = adopt(s3_environ, f"{objects.bucket}/old", "--app", "mail")

    assert done.exit_code == 0, done.output
    assert len(list(archive_of(s3_environ, NOW).deliveries())) == 2


def test_a_dry_run_adopts_nothing(folder_environ, pile):
    original(pile, 3)
    done = adopt(folder_environ, str(pile), "--app", "mail", "--dry-run")

    assert "3 would be adopted" in done.stdout
    assert Objects(folder_environ).keys() == []


@pytest.mark.parametrize("arguments", [["--app", "no app"], ["--app", "mail", "--into", "other!"]])
def test_what_makes_no_sense_is_misuse(folder_environ, pile, arguments):
    original(pile, 1)

    assert adopt(folder_environ, str(pile), *arguments).exit_code == 2


def test_a_pile_that_is_not_there_is_said(folder_environ, tmp_path):
    assert adopt(folder_environ, str(tmp_path / "nowhere"), "--app", "mail").exit_code == 2
