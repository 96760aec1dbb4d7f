"""`hookshelf erase`: a person is removed from everything the archive holds, and nobody else is."""

import json
from base64 import b64encode
from datetime import timedelta
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support import killing
from support.archives import (
    Killed,
    Objects,
    archive_of,
    delivered,
    dying,
    found,
    hooked,
    moment,
    put,
    requests_of,
    watched,
)

from chalicelib.archive import to_object, to_rejected
from chalicelib.delivery import Delivery
from chalicelib.keys import EVENTS_FOLDER, MANIFESTS_FOLDER, parse_key, redacted_key
from chalicelib.settings import from_environment
from chalicelib.sources import source_named
from chalicelib.store import open_store
from hookshelf.__main__ import main
from hookshelf.reading.errors import Taken

JANE = "jane@example.com"
OTHERS = [f"person{n}@example.com" for n in range(7)]
START = moment("2026-11-17T09:00")
NOW = moment("2026-11-20T12:00")
REASON = "request of 2026-11-19"


def event(email: str, n: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "email": email,
        "timestamp": int(START.timestamp()) + n,
        "event": "delivered",
        "sg_event_id": f"event-{email}-{n}",
        **more,
    }


def batch(n: int = 0) -> list[dict[str, Any]]:
    """Eight events, the fourth of which is Jane's."""
    people = [*OTHERS[:3], JANE, *OTHERS[3:]]
    return [event(person, n, sg_event_id=f"e-{n}-{i}") for i, person in enumerate(people)]


# Over S3 it is the same, with a request for each version.
@pytest.fixture(
    params=[
        "folder",
        pytest.param("obstore", marks=pytest.mark.slow),
        pytest.param("versioned", marks=pytest.mark.slow),
    ]
)
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "folder":
        return dict(request.getfixturevalue("folder_environ"))
    environ = dict(request.getfixturevalue("s3_environ"))
    if request.param == "versioned":
        Objects(environ).client.put_bucket_versioning(
            Bucket=environ["ARCHIVE_BUCKETS"], VersioningConfiguration={"Status": "Enabled"}
        )
    return environ


def erase(environ: dict[str, str], *arguments: str, subject: str = JANE) -> Result:
    return CliRunner().invoke(main, ["erase", subject, "--reason", REASON, *arguments], env=environ)


def everything(environ: dict[str, str]) -> dict[str, bytes]:
    """Every object there is or was, with its metadata: all versions; in a folder all files."""
    objects = Objects(environ)
    if objects.folder:
        files = [path for path in objects.folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(objects.folder)): path.read_bytes() for path in files}
    listed = objects.client.list_object_versions(Bucket=objects.bucket).get("Versions", [])
    bodies = {}
    for entry in listed:
        there = objects.client.get_object(
            Bucket=objects.bucket, Key=entry["Key"], VersionId=entry["VersionId"]
        )
        metadata = json.dumps(there["Metadata"]).encode()
        bodies[f"{entry['Key']} {entry['VersionId']}"] = metadata + there["Body"].read()
    return bodies


def forms(address: str) -> list[bytes]:
    """How an address may be written."""
    escaped = address.replace("@", "\\u0040")
    percent = address.replace("@", "%40")
    whole = "".join(f"\\u{ord(char):04x}" for char in address)
    plain = [address, address.upper(), escaped, percent, whole]
    parts = [b64encode(b"x" * n + address.encode())[n and 4 : -4] for n in range(3)]
    return [*(text.encode() for text in plain), *parts]


def holding(environ: dict[str, str], address: str = JANE) -> list[str]:
    """The objects that hold an address, in compacted files too."""
    rows = archive_of(environ, NOW).query("select * from deliveries, events").rows
    assert address not in str(list(rows)).lower()
    return [
        key
        for key, body in everything(environ).items()
        if any(form in body for form in forms(address)) or address in key
    ]


def test_a_person_in_a_batch_of_eight_is_gone_and_seven_others_are_untouched(environ):
    put(environ, *(delivered(batch(n), START + timedelta(hours=n)) for n in range(3)))
    archive = archive_of(environ, NOW)
    before = {person: found(archive, person) for person in OTHERS}
    assert len(found(archive, JANE)) == 3
    done = erase(environ, "--yes")

    assert done.exit_code == 0, done.output
    assert found(archive_of(environ, NOW), JANE) == []
    assert {person: found(archive_of(environ, NOW), person) for person in OTHERS} == before
    assert holding(environ) == []
    states = [(line.verdict, line.state) for line in archive_of(environ, NOW).verify()]
    assert states == [("verified", "redacted")] * 3


def compacted(environ: dict[str, str]) -> None:
    list(archive_of(environ, NOW).compact())


def test_from_compacted_days_she_is_gone_too_whether_raw_is_there_or_not(environ):
    put(environ, *(delivered(batch(n), START + timedelta(hours=15 * n)) for n in range(3)))
    compacted(environ)
    Objects(environ).delete_deliveries("2026-11-17")
    before = {person: found(archive_of(environ, NOW), person) for person in OTHERS}
    done = erase(environ, "--yes")

    assert done.exit_code == 0, done.output
    assert "in 3 deliveries, 2 compacted files" in done.stdout
    archive = archive_of(environ, NOW)
    assert found(archive, JANE) == []
    assert {person: found(archive, person) for person in OTHERS} == before
    assert holding(environ) == []
    assert {(line.verdict, line.state) for line in archive.verify()} == {("verified", "redacted")}
    assert {change.state for change in archive.compact()} == {"unchanged"}


def test_of_her_event_type_and_time_are_left(folder_environ):
    put(folder_environ, delivered(batch(5), START))
    erase(folder_environ, "--yes")
    (listed,) = archive_of(folder_environ, NOW).deliveries()
    archive = archive_of(folder_environ, NOW)
    whole = archive.delivery(listed.key)
    events = archive.events_of(whole)

    assert json.loads(events[3].data) == {
        "redacted": True, "type": "delivered", "time": "2026-11-17T09:00:05.000Z"
    }  # fmt: skip
    assert (events[3].type, events[3].subject) == ("delivered", "")
    assert events[3].time == START + timedelta(seconds=5)
    kept = [each.data.encode() for each in events if each is not events[3]]
    assert all(data in delivered(batch(5), START).body for data in kept)
    assert (whole.altered, whole.sha256) == (False, listed.sha256)


def test_a_second_run_finds_nothing_and_changes_nothing(environ):
    put(environ, *(delivered(batch(n), START + timedelta(hours=n)) for n in range(2)))
    compacted(environ)
    erase(environ, "--yes")
    before = everything(environ)
    done = erase(environ, "--yes")

    assert (done.exit_code, done.stdout) == (1, "Nothing of it is there.\n")
    assert everything(environ) == before


def test_two_people_of_one_delivery_are_erased_one_after_the_other(environ):
    put(environ, delivered(batch(), START))
    archive = archive_of(environ, NOW)
    for person in OTHERS[1:]:
        before = found(archive, person)
    erase(environ, "--yes")
    compacted(environ)
    erase(environ, "--yes", subject=OTHERS[0])

    archive = archive_of(environ, NOW)
    assert found(archive, OTHERS[0]) == found(archive, JANE) == []
    assert found(archive, OTHERS[-1]) == before
    assert holding(environ) == holding(environ, OTHERS[0]) == []
    assert [line.state for line in archive.verify()] == ["redacted"]


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


TEXT, FORM = "text/plain", "application/x-www-form-urlencoded"
CLOUD = {"ce-specversion": "1", "ce-subject": "Jane@example.com"}
BODIES: dict[str, tuple[dict[str, str], bytes]] = {
    "a form": ({"content-type": FORM}, b"to=jane%40example.com&text=hello"),
    "escapes": ({}, b'{"a": "\\u006aane\\u0040example.com"}'),
    "JSON in JSON": ({}, as_json({"m": json.dumps({"to": "\u00e9 <jane@example.com>"})})),
    "base64": ({}, as_json({"raw": b64encode(b"To: Jane@Example.com, x").decode()})),
    "a name": ({}, b'{"jane@example.com": {"name": "J"}}'),
    "text": ({"content-type": TEXT}, b"From: JANE@EXAMPLE.COM\n"),
    "bytes": ({"content-type": "image/png"}, b"\xff\x00jane@example.com\x00"),
    "a header": (CLOUD, b'{"n": 1}'),
}


@pytest.mark.parametrize(
    ("is_compacted", "kind"),
    [
        pytest.param(
            is_compacted,
            kind,
            id=f"{'compacted' if is_compacted else 'raw'}-{kind}",
            marks=[pytest.mark.slow] * (is_compacted and kind != "text"),
        )
        for is_compacted in (False, True)
        for kind in BODIES
    ],
)
def test_she_is_found_in_whatever_form(folder_environ, kind, is_compacted):
    sent = Delivery("mail", *BODIES[kind], START)
    other = sent._replace(body=b'{"subject": "joe@example.com"}', headers={})
    generic = source_named("generic")
    put(folder_environ, to_object(sent, generic), to_object(other, generic))
    if is_compacted:
        compacted(folder_environ)
    done = erase(folder_environ, "--yes")
    archive = archive_of(folder_environ, NOW)

    assert done.exit_code == 0, done.output
    assert holding(folder_environ) == []
    assert sorted(line.state for line in archive.verify()) == ["", "redacted"]
    assert len(list(archive.find("joe@example.com"))) == 1


@pytest.mark.parametrize(
    "other",
    ["mary.jane@example.com", "xjane@example.com", "jane@example.com.au", "jane@example.community"],
)
def test_who_only_has_a_similar_address_is_left_alone(folder_environ, other):
    put(folder_environ, delivered([event(other), event(JANE)], START))
    before = found(archive_of(folder_environ, NOW), other)
    erase(folder_environ, "--yes")

    assert found(archive_of(folder_environ, NOW), other) == before != []
    assert found(archive_of(folder_environ, NOW), JANE) == []


def test_an_envelope_that_names_her_loses_that_text_alone(folder_environ):
    body = b'{"by": "jane@example.com", "entry": [{"id": "1", "changes": [{"x": 1}]}]}'
    put(folder_environ, delivered(body, START, app="meta", source="meta"))
    erase(folder_environ, "--yes")
    archive = archive_of(folder_environ, NOW)
    (listed,) = archive.deliveries()

    assert archive.delivery(listed.key).body == body.replace(b"jane@example.com", b"redacted")


def test_a_refused_delivery_that_holds_her_is_deleted_and_others_stay(environ):
    store = open_store(from_environment(environ), environ["ARCHIVE_BUCKETS"])
    github = source_named("github")
    for body in (b'{"to": "jane@example.com"}', b'{"to": "joe@example.com"}'):
        sent = Delivery("mail", {}, body, START)
        store.put(to_rejected(sent, github, reason="Invalid signature", verdict="bad"))
    done = erase(environ, "--yes")
    (left,) = archive_of(environ, NOW).refused()

    assert done.exit_code == 0, done.output
    assert left.body == b'{"to": "joe@example.com"}'
    assert holding(environ) == []


def test_nothing_of_her_is_in_the_receipt_the_log_or_what_verify_says(environ, tmp_path):
    put(environ, delivered(batch(), START))
    done = erase(environ, "--yes", "--receipt", str(tmp_path / "receipt.json"))
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    (line,) = archive_of(environ, NOW).verify()

    assert done.exit_code == 0, done.output
    assert receipt["reason"] == REASON
    assert list(receipt["apps"][0]["deliveries"]) == [line.key]
    (head,) = archive_of(environ, NOW).manifests()
    assert receipt["apps"][0]["manifest"] == {"number": head.number, "sha256": head.sha256}
    assert "jane" not in (tmp_path / "receipt.json").read_text().lower()


def test_it_shows_what_there_is_and_asks(folder_environ):
    put(folder_environ, delivered(batch(), START))
    before = everything(folder_environ)
    dry = erase(folder_environ, "--dry-run")
    unasked = erase(folder_environ)

    assert dry.exit_code == 0
    assert "There: 1 events, in 1 delivery." in dry.stdout
    assert (unasked.exit_code, "--yes" in unasked.stderr) == (2, True)
    assert everything(folder_environ) == before


def test_each_object_is_a_line_of_json(folder_environ):
    put(folder_environ, delivered(batch(), START))
    done = erase(folder_environ, "--dry-run", "--json")

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["kind"], line["events"]) for line in lines] == [("delivery", 1)]
    assert parse_key(lines[0]["key"]).app == "sendgrid"


@pytest.mark.parametrize(
    "arguments",
    [[""], [" "], [JANE, "--reason", ""], [JANE, "--reason", "for Jane@example.com"]],
)
def test_what_makes_no_sense_is_misuse(folder_environ, arguments):
    put(folder_environ, delivered(batch(), START))
    line = [
        "erase",
        *arguments,
        "--yes",
        *(["--reason", "x"] if "--reason" not in arguments else []),
    ]

    assert CliRunner().invoke(main, line, env=folder_environ).exit_code == 2


def test_a_short_subject_is_not_looked_for_in_texts(folder_environ):
    put(
        folder_environ,
        delivered(b'{"subject": "42", "n": 1}', START, app="a", source="generic"),
        delivered(b'{"subject": "43", "n": 42, "at": "42"}', START, app="a", source="generic"),
    )
    done = erase(folder_environ, "--yes", subject="42")

    assert done.exit_code == 0
    assert "SUBJECT is short" in done.stderr
    assert len(list(archive_of(folder_environ, NOW).find("43"))) == 1
    assert list(archive_of(folder_environ, NOW).find("42")) == []


def test_only_the_time_and_the_app_asked_for_are_erased(folder_environ):
    put(folder_environ, *(delivered(batch(n), START + timedelta(days=n)) for n in range(2)))
    put(folder_environ, delivered(batch(), START, app="other"))
    erase(folder_environ, "--yes", "--app", "sendgrid", "--since", "2026-11-18")
    left = list(archive_of(folder_environ, NOW).find(JANE, all=True))

    assert sorted((each.app, each.arrived) for each in left) == [
        ("other", START), ("sendgrid", START)
    ]  # fmt: skip


def test_what_lies_in_old_versions_only_is_erased(s3_environ):
    objects = Objects(s3_environ)
    objects.client.put_bucket_versioning(
        Bucket=objects.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    put(s3_environ, delivered(batch(), START), delivered([event("joe@x")], START))
    compacted(s3_environ)
    for key in objects.keys("sendgrid"):
        objects.delete(key)  # a marker over it, as a lifecycle puts
    done = erase(s3_environ, "--yes")

    assert done.exit_code == 0, done.output
    assert "2 objects with old versions" in done.stdout
    assert holding(s3_environ) == []


def test_local_copies_that_a_killed_process_left_are_cleared(folder_environ, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    left = tmp_path / "tmp" / f"hookshelf-{2**22 + 1}-x"
    left.mkdir(parents=True)
    (left / "part.parquet").write_bytes(b"jane@example.com")
    put(folder_environ, delivered(batch(), START))
    erase(folder_environ, "--yes")

    assert not left.exists()


def test_a_pulled_archive_has_what_is_left(environ, tmp_path):
    put(environ, *(delivered(batch(n), START + timedelta(hours=n)) for n in range(2)))
    compacted(environ)
    erase(environ, "--yes")
    for arguments in ([], ["--compacted"]):
        folder = tmp_path / f"laptop{len(arguments)}"
        done = CliRunner().invoke(main, ["pull", str(folder), *arguments], env=environ)
        there = {"ARCHIVE_FOLDER": str(folder), "ARCHIVE_BUCKETS": environ["ARCHIVE_BUCKETS"]}
        again = CliRunner().invoke(main, ["pull", str(folder), *arguments], env=environ)

        assert done.exit_code == 0, done.output
        # Of a folder's log no hash says that it is the same.
        there_already = 2 if "ARCHIVE_FOLDER" in environ else 5
        assert f"{there_already} there already" in again.stdout or arguments, again.output
        assert {line.state for line in archive_of(there, NOW).verify()} == {"redacted"}
        assert found(archive_of(there, NOW), OTHERS[0]) == found(
            archive_of(environ, NOW), OTHERS[0]
        )


# --- by hand, afterwards


def faults(environ: dict[str, str], **options: bool) -> dict[str, str]:
    lines = archive_of(environ, NOW).verify(**options)  # type: ignore[arg-type]
    return {line.key: line.state for line in lines if not line.in_order}


@pytest.mark.parametrize("is_compacted", [False, True], ids=["raw", "compacted"])
def test_what_somebody_does_to_what_is_left_is_named(environ, is_compacted):
    sent = [delivered(batch(n), START + timedelta(minutes=n)) for n in range(4)]
    put(environ, *sent)
    erase(environ, "--yes")
    if is_compacted:
        compacted(environ)
    objects = Objects(environ)
    altered, gone, back, kept = (redacted_key(parse_key(obj.key)) for obj in sent)
    objects.write(altered, objects.body(altered).replace(b"delivered", b"bounced"))
    objects.delete(gone)
    objects.write(sent[2].key, sent[2].body)

    state = "redacted" if is_compacted else "missing"
    assert faults(environ) == {
        sent[0].key: "altered", sent[2].key: "added",
        **({} if is_compacted else {sent[1].key: "missing"}),
    }  # fmt: skip
    lines = {line.key: line.state for line in archive_of(environ, NOW).verify()}
    assert (lines[sent[1].key], lines[sent[3].key]) == (state, "redacted")
    assert objects.body(kept)


def test_a_body_that_somebody_else_put_there_is_named_and_hides_no_original(environ):
    sent = delivered(batch(), START)
    put(environ, sent)
    Objects(environ).write(redacted_key(parse_key(sent.key)), b"[]")

    assert faults(environ) == {sent.key: "altered"}
    erase(environ, "--yes")
    assert len(found(archive_of(environ, NOW), OTHERS[0])) == 1
    assert holding(environ) == []
    assert faults(environ) == {}


def test_of_what_is_redacted_nothing_is_proved_or_replayed(folder_environ, tmp_path):
    put(folder_environ, delivered(batch(), START))
    erase(folder_environ, "--yes")
    (listed,) = archive_of(folder_environ, NOW).deliveries()
    case, receipt = str(tmp_path / "case.zip"), str(tmp_path / "receipt")
    proved = CliRunner().invoke(main, ["prove", listed.key, "--out", case], env=folder_environ)
    line = ["replay", "--to", "https://127.0.0.1:9/", "--allow-private", "--receipt", receipt]
    replayed = CliRunner().invoke(main, line, env=folder_environ)

    assert proved.exit_code == 1
    assert "(redacted)" in proved.stderr
    assert replayed.exit_code == 0, replayed.output
    assert f"redacted, and not sent  {listed.key}" in replayed.stdout


# --- interrupted, and beside others


def slow(*values: Any) -> list[Any]:
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def people(environ: dict[str, str]) -> dict[str, Any]:
    archive = archive_of(environ, NOW)
    return {person: found(archive, person) for person in OTHERS}


def settled(environ: dict[str, str]) -> dict[str, bytes]:
    """What lies there in the end, but for files and log, which tell of how it came about."""
    return {
        key.partition(" ")[0]: body
        for key, body in everything(environ).items()
        if not key.startswith((EVENTS_FOLDER, MANIFESTS_FOLDER, "."))
    }


@pytest.fixture
def half_compacted(folder_environ: dict[str, str]) -> dict[str, str]:
    """Of a month, of days whose raw deliveries are gone in part, and of today; and refused."""
    times = [
        START - timedelta(days=30),
        START,
        START + timedelta(hours=20),
        NOW - timedelta(hours=3),
    ]
    put(folder_environ, *(delivered(batch(n), at) for n, at in enumerate(times)))
    put(folder_environ, *(delivered(batch(9), NOW - timedelta(minutes=9)) for _ in range(1)))
    compacted(folder_environ)
    Objects(folder_environ).delete_deliveries("2026-11-18")
    sent = Delivery("sendgrid", {}, as_json([event(JANE)]), START)
    rejected = to_rejected(sent, source_named("sendgrid"), reason="Invalid signature")
    open_store(from_environment(folder_environ), "events").put(rejected)
    return folder_environ


def copy_of(environ: dict[str, str], folder: Path) -> dict[str, str]:
    copytree(environ["ARCHIVE_FOLDER"], folder)
    return {**environ, "ARCHIVE_FOLDER": str(folder)}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(30))
def test_killed_at_any_of_30_points_and_run_again_it_ends_the_same(
    half_compacted, tmp_path, number
):
    before = people(half_compacted)
    whole = copy_of(half_compacted, tmp_path / "whole")
    requests = len(requests_of(whole, NOW, killing.erase))
    environ = copy_of(half_compacted, tmp_path / "killed")
    at, after = 1 + number * (requests - 2) // 29, bool(number % 2)

    assert killing.is_killed(environ, NOW.isoformat()[:19], "erase", at=at, after=after)
    verified = archive_of(environ, NOW).verify()
    faults = [line for line in verified if not line.in_order]
    is_untouched = settled(environ) == settled(half_compacted)
    assert is_untouched or verified.unfinished == [("erase", "sendgrid")]
    assert people(environ) == before
    if number % 3 == 0:  # the compactor of the stage comes before the second run
        compacted(environ)
        assert people(environ) == before
    killing.erase(archive_of(environ, NOW))

    assert settled(environ) == settled(whole)
    assert people(environ) == before
    assert holding(environ) == []
    archive = archive_of(environ, NOW)
    verified = archive.verify()
    assert {(line.state, line.in_order) for line in verified} == {("redacted", True)}, faults
    assert verified.unfinished == []
    assert killing.erase(archive) == []
    assert {change.state for change in archive.compact()} == {"unchanged"}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_in_a_bucket_with_versions_it_is_resumed_too(s3_environ, number):
    objects = Objects(s3_environ)
    objects.client.put_bucket_versioning(
        Bucket=objects.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    put(s3_environ, *(delivered(batch(n), START + timedelta(hours=9 * n)) for n in range(3)))
    compacted(s3_environ)
    objects.delete_deliveries("2026-11-17")  # a marker over each, as a lifecycle puts
    before = people(s3_environ)
    store = dying(5 + 6 * number, after=bool(number % 2))
    with pytest.raises(Killed):
        killing.erase(archive_of(s3_environ, NOW, open_store=store))
    assert people(s3_environ) == before
    killing.erase(archive_of(s3_environ, NOW))

    assert people(s3_environ) == before
    assert holding(s3_environ) == []
    verified = archive_of(s3_environ, NOW).verify()
    assert {(line.state, line.in_order) for line in verified} == {("redacted", True)}
    assert verified.unfinished == []


@pytest.mark.parametrize("at", [60, *slow(1, 30, 90, 120)])
def test_a_delivery_that_arrives_meanwhile_is_kept(half_compacted, at):
    arriving = delivered([event(JANE, 77), event(OTHERS[0], 77)], NOW + timedelta(seconds=2))
    store = hooked(lambda: put(half_compacted, arriving), at)
    killing.erase(archive_of(half_compacted, NOW, open_store=store))
    later = archive_of(half_compacted, NOW + timedelta(minutes=1))

    assert later.delivery(arriving.key).body == arriving.body
    assert [each.delivery for each in later.find(JANE)] == [arriving.key]
    assert len(list(later.find(OTHERS[0]))) == 6
    assert {line.in_order for line in later.verify()} == {True}


@pytest.mark.parametrize("at", slow(20, 40, 50, 60, 80, 100, 120))
def test_a_compactor_in_the_midst_of_it_loses_nothing_and_brings_nothing_back(half_compacted, at):
    before = people(half_compacted)
    late = delivered([event("late@example.com", 5)], START + timedelta(hours=1))
    put(half_compacted, late)
    store = hooked(lambda: compacted(half_compacted), at)
    killing.erase(archive_of(half_compacted, NOW, open_store=store))

    assert people(half_compacted) == before
    assert holding(half_compacted) == []
    assert len(list(archive_of(half_compacted, NOW).find("late@example.com"))) == 1
    verified = archive_of(half_compacted, NOW).verify()
    assert {line.in_order for line in verified} == {True}
    assert verified.unfinished == []


def find_other(archive: Any) -> Any:
    return found(archive, OTHERS[0])


@pytest.mark.parametrize("deliveries", [1, *slow(3)])
@pytest.mark.parametrize(
    "do",
    [find_other, *slow(lambda archive: list(archive.compact()))],
    ids=["a look-up", "a compaction"],
)
def test_whenever_in_the_midst_of_something_she_is_erased_nobody_else_is_missed(
    folder_environ, tmp_path, do, deliveries
):
    put(folder_environ, *(delivered(batch(n), START + timedelta(n)) for n in range(deliveries)))
    before = find_other(archive_of(folder_environ, NOW))
    for at in range(1, len(requests_of(copy_of(folder_environ, tmp_path / "0"), NOW, do)) + 1):
        environ = copy_of(folder_environ, tmp_path / str(at))
        store = hooked(lambda there=environ: killing.erase(archive_of(there, NOW)), at)
        seen = do(archive_of(environ, NOW, open_store=store))

        assert do is not find_other or seen == before, at
        assert find_other(archive_of(environ, NOW)) == before, at
    assert holding(environ) == []


def test_what_a_compactor_had_logged_before_it_was_killed_is_not_made_anew_twice(folder_environ):
    put(folder_environ, delivered(batch(), START))

    def die(name: str, key: str) -> None:
        if name == "put_file" and key.startswith(EVENTS_FOLDER):
            raise Killed

    with pytest.raises(Killed):
        list(archive_of(folder_environ, NOW, open_store=watched(before=die)).compact())
    erase(folder_environ, "--yes")
    compacted(folder_environ)

    changes = archive_of(folder_environ, NOW).compact()
    assert {change.state for change in changes} == {"unchanged"}


def test_a_conflict_with_a_put_that_came_to_nothing_is_tried_again(folder_environ):
    put(folder_environ, delivered(batch(), START))
    conflicts = iter([True])

    def conflict(name: str, key: str) -> None:
        if name == "put_object" and next(conflicts, False):
            raise Taken(key)  # S3 answers 409, and nothing is there

    killing.erase(archive_of(folder_environ, NOW, open_store=watched(before=conflict)))

    assert next(conflicts, None) is None
    assert holding(folder_environ) == []


@pytest.mark.parametrize("at", slow(30, 40, 50, 60, 80, 110, 135))
def test_two_people_who_are_erased_at_the_same_time_are_both_gone(half_compacted, at):
    def other() -> None:
        killing.erase(archive_of(half_compacted, NOW), OTHERS[0])

    killing.erase(archive_of(half_compacted, NOW, open_store=hooked(other, at)))
    archive = archive_of(half_compacted, NOW)
    killing.erase(archive)

    assert holding(half_compacted) == holding(half_compacted, OTHERS[0]) == []
    assert len(found(archive, OTHERS[1])) == 5
    assert {line.state for line in archive.verify()} == {"redacted"}


def test_what_an_interrupted_erasure_left_is_finished_by_one_of_somebody_else(half_compacted):
    with pytest.raises(Killed):
        killing.erase(archive_of(half_compacted, NOW, open_store=dying(80, after=True)))
    verify = CliRunner().invoke(main, ["verify"], env=half_compacted)
    done = erase(half_compacted, "--yes", subject="nobody@example.com")

    assert verify.exit_code == 1
    assert "hookshelf erase --app sendgrid" in verify.stderr
    assert done.exit_code == 0, done.output
    assert "An erasure was interrupted" in done.stderr
    assert holding(half_compacted) == []
    assert archive_of(half_compacted, NOW).verify().unfinished == []
