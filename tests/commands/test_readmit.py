"""`hookshelf readmit`: refused deliveries, accepted after all."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.archives import Killed, Objects, archive_of, dying, moment

from chalicelib.archive import to_object, to_rejected
from chalicelib.delivery import Delivery
from chalicelib.settings import from_environment
from chalicelib.sources import source_named
from chalicelib.store import open_store
from hookshelf.__main__ import main
from hookshelf.reading import manifest, readmitting
from hookshelf.reading.values import ArchivedDelivery, Read

NOON = moment("2026-11-18T12:00")
NOW = moment("2026-11-20T12:00")
OLD, NEW = "the old secret", "the new secret"


@pytest.fixture(params=["folder", pytest.param("obstore", marks=pytest.mark.slow)])
def environ(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    name = "folder_environ" if request.param == "folder" else "s3_environ"
    environ = {**request.getfixturevalue(name), "APPS_FILE": str(tmp_path / "apps.json")}
    configure(environ, secrets=[OLD])
    return environ


def configure(environ: dict[str, str], **fields: object) -> None:
    apps = {"shop": {"source": "github", "signature": "require", **fields}}
    Path(environ["APPS_FILE"]).write_text(json.dumps(apps))


def delivery(n: int, arrived: datetime, secret: str = NEW, body: bytes = b"") -> Delivery:
    github = source_named("github")
    assert github.example and github.sign
    body = body or github.example(n, 0)
    headers = github.sign(body, secret, 0) | {
        "content-type": "application/json",
        "x-github-delivery": f"delivery-{n}",
    }
    return Delivery("shop", headers, body, arrived)


def refused(
    environ: dict[str, str], sent: Delivery, reason: str = "Invalid signature", prefix: str = ""
) -> str:
    obj = to_rejected(sent, source_named("github"), reason=reason, verdict="bad", prefix=prefix)
    open_store(from_environment(environ), environ["ARCHIVE_BUCKETS"]).put(obj)
    return obj.key


def readmit(environ: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(main, ["readmit", *arguments], env=environ)


def states(environ: dict[str, str], *arguments: str) -> dict[str, str]:
    lines = map(json.loads, readmit(environ, "--json", *arguments).stdout.splitlines())
    return {line["refused"]: line["state"] for line in lines}


def verdicts(environ: dict[str, str], **options: bool) -> list[tuple[str, str | None, str]]:
    lines = archive_of(environ, NOW).verify(**options)  # type: ignore[arg-type]
    return [(line.key, line.verdict, line.state) for line in lines]


@pytest.mark.parametrize("compacted", [False, True], ids=["raw", "compacted"])
def test_after_a_rotation_what_was_refused_is_verified_and_found_at_its_original_time(
    environ, compacted
):
    accepted = delivery(0, NOON, OLD)
    store = open_store(from_environment(environ), environ["ARCHIVE_BUCKETS"])
    store.put(to_object(accepted, source_named("github"), verdict="verified"))
    genuine = [refused(environ, delivery(n, NOON + timedelta(hours=n))) for n in (1, 2)]
    forged = refused(environ, delivery(3, NOON + timedelta(hours=3), "a guess"))
    if compacted:
        list(archive_of(environ, NOW).compact())
    configure(environ, secrets=[OLD, NEW])
    done = readmit(environ)

    assert done.exit_code == 1  # one is still refused
    assert done.stdout.endswith("Refused deliveries: 2 readmitted, 1 still refused.\n")
    found = list(archive_of(environ, NOW).deliveries())
    assert [d.arrived for d in found] == [NOON + timedelta(hours=n) for n in range(3)]
    assert [verdict for _, verdict, _ in verdicts(environ)] == ["verified"] * 3
    events = list(archive_of(environ, NOW).find("example/hookshelf"))
    assert [event.arrived for event in events] == [d.arrived for d in found]
    assert [event.verdict for event in events] == ["verified"] * 3
    assert {key for key, _, _ in verdicts(environ, rejected=True)} == {*genuine, forged}


def test_it_is_kept_as_it_came_and_says_that_it_was_readmitted(environ):
    sent = delivery(1, NOON)
    refused(environ, sent)
    configure(environ, secrets=[NEW])
    assert readmit(environ).exit_code == 0
    (listed,) = archive_of(environ, NOW).deliveries()
    whole = archive_of(environ, NOW).delivery(listed.key)
    metadata = whole.metadata or {}

    assert whole.body == sent.body
    assert metadata["h-x-github-delivery"] == "delivery-1"
    assert (metadata["verdict"], "reason" in metadata) == ("verified", False)
    assert metadata["readmitted"] > metadata["arrived"]


def test_a_second_run_has_no_effect(environ):
    key = refused(environ, delivery(1, NOON))
    configure(environ, secrets=[NEW])
    readmit(environ)
    before = list(archive_of(environ, NOW).manifests())
    done = readmit(environ)

    assert (done.exit_code, done.stdout) == (0, "Refused deliveries: 1 there already.\n")
    assert states(environ) == {key: "there"}
    assert list(archive_of(environ, NOW).manifests()) == before
    assert len(list(archive_of(environ, NOW).deliveries())) == 1


def test_where_raw_has_gone_since_it_is_not_put_again(environ):
    refused(environ, delivery(1, NOON))
    configure(environ, secrets=[NEW])
    readmit(environ)
    list(archive_of(environ, NOW).compact())
    Objects(environ).delete_deliveries("2026-11-18")
    readmit(environ)

    assert [d.state for d in archive_of(environ, NOW).deliveries()] == ["compacted"]


def test_a_dry_run_says_what_would_be_and_changes_nothing(environ):
    refused(environ, delivery(1, NOON))
    configure(environ, secrets=[NEW])
    done = readmit(environ, "--dry-run")

    assert "1 would be readmitted" in done.stdout
    assert list(archive_of(environ, NOW).deliveries()) == []


def test_a_forged_one_stays_refused_though_signatures_are_no_longer_required(environ):
    key = refused(environ, delivery(1, NOON, "a guess"))
    configure(environ, secrets=[NEW], signature="record")

    assert states(environ) == {key: "refused"}


def test_what_is_no_json_is_accepted_once_the_app_takes_any_body(environ):
    key = refused(environ, delivery(1, NOON, OLD, b"{"), "Body is not valid JSON")
    assert states(environ) == {key: "refused"}
    configure(environ, secrets=[OLD], any_body=True)

    assert states(environ) == {key: "readmitted"}


def test_as_is_needs_a_reason_and_keeps_it_in_the_log(environ):
    key = refused(environ, delivery(1, NOON, "a guess"), prefix="trials/")
    assert readmit(environ, "--as-is").exit_code == 2
    assert states(environ, "--as-is", "--reason", "seen on the phone") == {key: "readmitted"}
    (line,) = archive_of(environ, NOW).verify()

    assert (line.verdict, line.key.startswith("trials/shop/")) == ("bad", True)
    archive = archive_of(environ, NOW)
    ((bucket, stream),) = archive._opened(Read(), None)
    (entry,) = manifest.log_entries(bucket, Read(), stream)
    assert (entry.kind, entry.reason, list(entry.added)) == (
        "readmit", "seen on the phone", [line.key]
    )  # fmt: skip


def test_no_more_bodies_are_in_memory_than_one_entry_of_the_log_is_about(environ, monkeypatch):
    monkeypatch.setattr(readmitting, "_AT_ONCE", 3)
    for n in range(8):
        refused(environ, delivery(n, NOON + timedelta(minutes=n)))
    configure(environ, secrets=[NEW])
    done = readmit(environ)
    archive = archive_of(environ, NOW)
    ((bucket, stream),) = archive._opened(Read(), None)
    entries = list(manifest.log_entries(bucket, Read(), stream))

    assert done.exit_code == 0, done.output
    assert [len(entry.added) for entry in entries] == [3, 3, 2]
    assert "Checked 8 refused deliveries" in done.stderr
    assert [verdict for _, verdict, _ in verdicts(environ)] == ["verified"] * 8


def test_large_bodies_are_read_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(readmitting, "_BYTES_AT_ONCE", 10)
    sizes = [4, 4, 4, 20, 1]
    each = [ArchivedDelivery("b", "k", "shop", NOON, "", "rejected", size) for size in sizes]

    parts = readmitting.at_once(each)
    assert [[one.size for one in part] for part in parts] == [[4, 4, 4], [20], [1]]


def test_where_nothing_was_refused_that_is_said(environ):
    done = readmit(environ)

    assert (done.exit_code, done.stdout) == (1, "Nothing was refused there.\n")


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_interrupted_anywhere_it_is_named_and_the_next_run_finishes_it(
    folder_environ, tmp_path, after
):
    environ = {**folder_environ, "APPS_FILE": str(tmp_path / "apps.json")}
    configure(environ, secrets=[NEW])
    store = open_store(from_environment(environ), "events")
    store.put(to_object(delivery(0, NOON), source_named("github"), verdict="verified"))
    list(archive_of(environ, NOW).compact())
    kills = 0
    for rounds, n in enumerate(range(1, 37, 3), 1):
        refused(environ, delivery(n, NOON + timedelta(seconds=n)))
        try:
            list(archive_of(environ, NOW, open_store=dying(n, after=after)).readmit())
        except Killed:
            kills += 1
            faults = [line for line in archive_of(environ, NOW).verify() if not line.in_order]
            assert {line.state for line in faults} <= {"missing"}
        list(archive_of(environ, NOW).readmit())
        lines = list(archive_of(environ, NOW).verify())
        assert all(line.in_order for line in lines)
        assert len(lines) == rounds + 1

    assert kills > 5
