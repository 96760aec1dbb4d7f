"""`verify` over compacted files, and against what the manifest log says there is."""

import json
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result
from support.archives import Objects, archive_of, moment

from chalicelib.apps import App
from chalicelib.archive import to_object
from chalicelib.delivery import Delivery
from chalicelib.settings import from_environment
from chalicelib.signatures import hmac_sha256
from chalicelib.sources import Keys, Source, source_named
from chalicelib.store import open_store
from hookshelf.__main__ import main
from hookshelf.reading import checking
from hookshelf.reading.checking import Kept, checked

SECRET = "It's a Secret to Everybody"
DAY = moment("2026-11-18T00:00")
NOW = moment("2026-11-20T12:00")


# Over S3 it is the same, with a request for each object.
@pytest.fixture(params=["folder", pytest.param("obstore", marks=pytest.mark.slow)])
def environ(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    apps = tmp_path / "apps.json"
    apps.write_text(json.dumps({"shop": {"source": "github", "secrets": [SECRET]}}))
    name = "folder_environ" if request.param == "folder" else "s3_environ"
    client = {} if request.param == "folder" else {"ARCHIVE_CLIENT": request.param}
    return {**request.getfixturevalue(name), **client, "APPS_FILE": str(apps)}


@pytest.fixture
def in_folder(folder_environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    apps = tmp_path / "apps.json"
    apps.write_text(json.dumps({"shop": {"source": "github", "secrets": [SECRET]}}))
    return {**folder_environ, "APPS_FILE": str(apps)}


def received(environ: dict[str, str], n: int, arrived: datetime, app: str = "shop") -> str:
    """Archive what GitHub signed; its key."""
    github = source_named("github")
    assert github.example and github.sign
    body = github.example(n, 0)
    obj = to_object(Delivery(app, github.sign(body, SECRET, 0), body, arrived), github)
    open_store(from_environment(environ), environ["ARCHIVE_BUCKETS"]).put(obj)
    return obj.key


def two_days(environ: dict[str, str]) -> list[str]:
    """Six deliveries of two days, compacted and in the log; their keys."""
    keys = [received(environ, n, DAY + timedelta(hours=8 * n)) for n in range(6)]
    list(archive_of(environ, NOW).compact())
    return keys


def states(environ: dict[str, str], **options: Any) -> dict[str, str]:
    """Verdict and state of each key."""
    return {
        line.key: f"{line.verdict} {line.state}".strip()
        for line in archive_of(environ, NOW).verify(**options)
    }


def faults(environ: dict[str, str], **options: Any) -> set[tuple[str, str]]:
    """Keys and states of what is not in order."""
    lines = archive_of(environ, NOW).verify(**options)
    return {(line.key, line.state) for line in lines if not line.in_order}


def verify(environ: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(main, ["verify", *arguments], env=environ)


# --- from compacted files


def test_what_is_compacted_gives_the_verdicts_that_raw_objects_gave(environ):
    raw = {received(environ, n, DAY + timedelta(hours=8 * n)): n for n in range(6)}
    before = states(environ)
    list(archive_of(environ, NOW).compact())
    beside = states(environ)
    Objects(environ).delete_deliveries()

    assert before == beside == states(environ) == dict.fromkeys(raw, "verified")


def test_a_day_is_one_request_and_not_one_for_each_delivery(in_folder):
    for n in range(40):
        received(in_folder, n, DAY + timedelta(minutes=n))
    archive = archive_of(in_folder, NOW)
    list(archive.compact())
    Objects(in_folder).delete_deliveries()
    verified = archive_of(in_folder, NOW).verify()
    count = len(list(verified))

    assert count == 40
    assert (verified.read.files, verified.read.raw_objects) == (1, 0)
    assert verified.read.requests < 12


def test_raw_objects_in_s3_beside_a_file_are_listed_and_not_read(s3_environ, tmp_path):
    keys = two_days(s3_environ)
    verified = archive_of(s3_environ, NOW).verify()

    assert len(list(verified)) == len(keys)
    assert verified.read.raw_objects == 0


def test_with_raw_each_raw_object_is_asked_for(environ):
    keys = two_days(environ)
    verified = archive_of(environ, NOW).verify(raw=True)

    assert len(list(verified)) == len(keys)
    assert verified.read.raw_objects == len(keys)


def test_only_what_arrived_in_a_time_range_is_checked(environ):
    keys = two_days(environ)
    since, until = DAY + timedelta(hours=8), DAY + timedelta(hours=32)

    assert list(states(environ, since=since, until=until)) == keys[1:4]


def test_signatures_are_checked_in_other_processes_where_there_are_many(in_folder, monkeypatch):
    keys = two_days(in_folder)
    Objects(in_folder).delete_deliveries()
    monkeypatch.setattr(checking, "PAYS", 2)
    monkeypatch.setattr(checking, "AT_A_TIME", 1)

    assert states(in_folder, processes=2) == dict.fromkeys(keys, "verified")


def test_a_wrong_secret_is_said_before_anything_is_read(in_folder):
    two_days(in_folder)
    apps = {"shop": {"source": "github", "secrets": ["env:NOT_SET"]}}
    Path(in_folder["APPS_FILE"]).write_text(json.dumps(apps))
    done = verify(in_folder)

    assert done.exit_code == 2
    assert "APPS_FILE has a wrong secrets[0] for app shop" in done.stderr


# --- what is not as it was


def test_what_was_removed_added_and_altered_by_hand_is_named(environ):
    keys = two_days(environ)
    objects = Objects(environ)
    objects.delete(keys[0], *objects.keys("layer=events/app=shop/month=2026-11/2026-11-18"))
    objects.write(keys[1], objects.body(keys[1]) + b" ")
    added = received(environ, 9, DAY + timedelta(hours=1))

    assert faults(environ) == {(keys[0], "missing"), (keys[1], "altered"), (added, "added")}


def test_what_was_altered_beside_a_file_is_named_by_its_size_and_hash(environ):
    keys = two_days(environ)
    objects = Objects(environ)
    longer, same_size = keys[1], keys[4]
    objects.write(longer, objects.body(longer) + b" ")
    objects.write(same_size, objects.body(same_size)[:-1] + b" ")

    assert faults(environ) == {(longer, "altered"), (same_size, "altered")}


def test_a_raw_object_that_is_gone_is_missing_only_where_raw_is_asked_for(environ):
    keys = two_days(environ)
    Objects(environ).delete(keys[2])

    assert faults(environ) == set()
    assert faults(environ, raw=True) == {(keys[2], "missing")}


def test_without_raw_a_removed_file_is_what_it_held_that_is_missing(environ):
    keys = two_days(environ)
    objects = Objects(environ)
    objects.delete_deliveries()
    objects.delete(*objects.keys("/2026-11-19.parquet"))

    assert faults(environ) == {(key, "missing") for key in keys[3:]}


def edited(path: Path, change: str, to: Path) -> None:
    """A compacted file as somebody with DuckDB would change it, its footer kept."""
    sql = duckdb.connect()
    footer = sql.execute(
        "SELECT decode(value) FROM parquet_kv_metadata(?) WHERE decode(key) = 'hookshelf_footer'",
        [str(path)],
    ).fetchone()
    assert footer
    sql.execute(
        f"COPY (SELECT * REPLACE ({change}) "
        f"FROM read_parquet('{path}', hive_partitioning = false)) "
        f"TO '{to}' (FORMAT parquet, KV_METADATA {{hookshelf_footer: '{footer[0]}'}})"
    )


def test_without_raw_what_was_altered_in_a_file_is_named(in_folder, tmp_path):
    keys = two_days(in_folder)
    objects = Objects(in_folder)
    objects.delete_deliveries()
    assert objects.folder
    file = objects.folder / objects.keys("/2026-11-18.parquet")[0]
    edited(
        file,
        f"CASE delivery WHEN '{keys[1]}' THEN replace(data, 'main', 'mean') ELSE data END AS data",
        tmp_path / "edited.parquet",
    )
    file.write_bytes((tmp_path / "edited.parquet").read_bytes())

    assert faults(in_folder) == {(keys[1], "altered")}


def test_without_raw_a_delivery_put_in_a_file_by_hand_is_added_and_the_other_missing(
    in_folder, tmp_path
):
    keys = two_days(in_folder)
    objects = Objects(in_folder)
    objects.delete_deliveries()
    assert objects.folder
    file = objects.folder / objects.keys("/2026-11-18.parquet")[0]
    renamed = keys[1].replace("T080000.000000", "T080001.000000")
    edited(
        file,
        f"CASE delivery WHEN '{keys[1]}' THEN '{renamed}' ELSE delivery END AS delivery",
        tmp_path / "edited.parquet",
    )
    file.write_bytes((tmp_path / "edited.parquet").read_bytes())

    assert faults(in_folder) == {(keys[1], "missing"), (renamed, "added")}


@pytest.mark.parametrize("spoil", [lambda b: b[:-9] + b"x" + b[-8:], lambda b: b[:40] + b[60:]])
def test_a_file_that_cannot_be_read_is_named_and_what_it_held(in_folder, spoil):
    keys = two_days(in_folder)
    objects = Objects(in_folder)
    objects.delete_deliveries()
    (file,) = objects.keys("/2026-11-18.parquet")
    objects.write(file, spoil(objects.body(file)))

    assert (file, "altered") in faults(in_folder)
    assert {key for key, _ in faults(in_folder)} <= {file, *keys[:3]}


def test_nothing_is_said_of_a_day_that_the_log_does_not_tell_about(environ):
    keys = two_days(environ)
    today = received(environ, 7, NOW - timedelta(hours=1))

    assert states(environ) == dict.fromkeys([*keys, today], "verified")


def test_what_retention_deleted_is_expired_and_in_order(environ):
    keys = two_days(environ)
    list(archive_of(environ, NOW).compact(keep=timedelta(days=1, hours=12)))
    Objects(environ).delete_deliveries("2026-11-18")

    assert states(environ) == {
        **dict.fromkeys(keys[:3], "None expired"),
        **dict.fromkeys(keys[3:], "verified"),
    }
    assert faults(environ) == set()


def test_the_command_names_what_is_not_in_order_and_counts_it_apart(in_folder):
    keys = two_days(in_folder)
    objects = Objects(in_folder)
    objects.delete(keys[0], *objects.keys("2026-11-18.parquet"))
    added = received(in_folder, 9, DAY + timedelta(hours=1))
    done, in_json = verify(in_folder), verify(in_folder, "--json")

    assert (done.exit_code, in_json.exit_code) == (1, 1)
    assert done.stdout == (
        f"verified (added)  {added}\nmissing  {keys[0]}\n"
        "7 deliveries: 1 missing, 5 verified, 1 verified (added)\n"
    )
    lines = [json.loads(line) for line in in_json.stdout.splitlines()]
    assert {"key": keys[0], "verdict": None, "state": "missing"} in lines
    assert {"key": added, "verdict": "verified", "state": "added"} in lines


# --- the log itself


def heads(environ: dict[str, str]) -> list[str]:
    done = CliRunner().invoke(main, ["manifest", "--json"], env=environ)
    assert done.exit_code == 0, done.stderr
    return [json.loads(line)["sha256"] for line in done.stdout.splitlines()]


def rewritten(environ: dict[str, str]) -> None:
    """The whole log anew, without the first key it names, every link of its chain right."""
    objects, previous = Objects(environ), ""
    for key in objects.keys("_manifests/"):
        entry = json.loads(objects.body(key))
        entry["added"].pop(next(iter(entry["added"])))
        entry["previous"] = previous
        body = (json.dumps(entry, separators=(",", ":")) + "\n").encode()
        previous = sha256(body).hexdigest()
        objects.write(key, body)


def test_the_head_of_the_log_is_printed_to_be_kept_elsewhere(environ):
    two_days(environ)
    done = CliRunner().invoke(main, ["manifest"], env=environ)

    assert done.exit_code == 0
    assert done.stdout == f"{heads(environ)[0]}         2  {environ['ARCHIVE_BUCKETS']}/shop\n"
    assert "hookshelf verify --manifest" in done.stderr


def test_without_a_log_there_is_no_head_and_it_is_said_how_one_comes_about(in_folder):
    received(in_folder, 1, NOW)
    done = CliRunner().invoke(main, ["manifest"], env=in_folder)

    assert done.exit_code == 1
    assert "hookshelf compact" in done.stderr


def test_a_log_that_has_grown_still_holds_the_head_that_was_kept(environ):
    two_days(environ)
    (head,) = heads(environ)
    received(environ, 7, DAY + timedelta(hours=2))
    list(archive_of(environ, NOW).compact())

    assert heads(environ) != [head]
    assert verify(environ, "--manifest", head).exit_code == 0


def test_a_log_that_was_rewritten_as_a_whole_is_caught_by_the_head_that_was_kept(environ):
    keys = two_days(environ)
    (head,) = heads(environ)
    objects = Objects(environ)
    objects.delete(*objects.keys("layer=events/"), keys[0], keys[3])
    rewritten(environ)

    assert verify(environ).exit_code == 0  # by itself it is a log like another
    done = verify(environ, "--manifest", head)
    assert done.exit_code == 1
    assert f"No entry of the manifest log has {head}" in done.stderr


def test_a_log_that_was_cut_is_caught_too(in_folder):
    two_days(in_folder)
    (head,) = heads(in_folder)
    objects = Objects(in_folder)
    objects.delete(objects.keys("_manifests/")[-1])

    assert verify(in_folder, "--manifest", head).exit_code == 1


@pytest.mark.parametrize("how", ["altered", "missing"])
def test_an_entry_of_the_log_that_was_altered_or_removed_is_named(environ, how):
    two_days(environ)
    objects = Objects(environ)
    first, _ = objects.keys("_manifests/")
    if how == "missing":
        objects.delete(first)
    else:
        objects.write(first, objects.body(first).replace(b'"reason":""', b'"reason":"x"'))

    assert (first, how) in faults(environ)


def test_what_is_no_sha256_is_misuse(in_folder):
    two_days(in_folder)

    assert verify(in_folder, "--manifest", "abc").exit_code == 2


# --- what cannot be proved again


def test_where_the_sender_signs_its_url_the_verdict_of_the_arrival_counts():
    """The URL holds a token, and is not archived."""
    twilio = Source(
        name="twilio",
        signature_headers=("x-twilio-signature",),
        secret=str.encode,
        verify=lambda delivery, keys: (
            delivery.headers["x-twilio-signature"]
            == hmac_sha256(keys.secrets[0], delivery.url.encode() + delivery.body).hex()
        ),
        signs_url=True,
    )
    app = App(twilio, Keys(secrets=(b"s",)), signature="record")
    delivery = Delivery("calls", {"x-twilio-signature": "0"}, b"{}", DAY)
    for recorded, in_order in (("verified", True), ("bad", False)):
        obj = to_object(delivery, twilio, verdict=recorded)
        verification = checked(Kept(obj.key, obj.body, obj.metadata), app)

        assert verification[:3] == (recorded, "recorded", in_order)
