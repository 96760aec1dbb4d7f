"""`hookshelf verify`: signatures proved again, from what is archived alone."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result
from support.loops import for_each
from support.project import PROJECT, aws_environ
from support.rehearsal import ENVIRONMENT, deploy

from chalicelib.archive import to_object, to_rejected
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.keys import day_prefix, hour_prefix
from chalicelib.settings import from_environment
from chalicelib.sources import source_named
from chalicelib.store import open_store
from hookshelf.__main__ import main
from hookshelf.reading import values

SECRET = "It's a Secret to Everybody"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass
class Archive:
    """An archive that already holds deliveries, and the settings to read it with."""

    environ: dict[str, str]
    folder: Path  # of this test

    def configure(self, **apps: Any) -> None:
        file = self.folder / "apps.json"
        file.write_text(json.dumps(apps))
        self.environ["APPS_FILE"] = str(file)

    def put(self, obj: ArchiveObject, bucket: str = "") -> str:
        settings = from_environment(self.environ)
        open_store(settings, bucket or settings.bucket_paths[0].bucket).put(obj)
        return obj.key

    def holds(
        self,
        app: str = "shop",
        *,
        n: int = 1,
        arrived: datetime = NOON,
        secret: str = SECRET,
        prefix: str = "",
        rejected: bool = False,
    ) -> str:
        """Archive what GitHub sent, its signature good or, with another secret, bad."""
        delivery = signed(app, n, arrived, secret)
        github = source_named("github")
        if rejected:
            return self.put(to_rejected(delivery, github, reason="Invalid signature"))
        return self.put(to_object(delivery, github, prefix=prefix))

    def verify(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["verify", *arguments], env=self.environ)

    def lines(self, *arguments: str) -> list[tuple[str, str]]:
        """Key and verdict of each line of `--json`."""
        said = self.verify("--json", *arguments).stdout.splitlines()
        return [(line["key"], line["verdict"]) for line in map(json.loads, said)]


def signed(app: str, n: int = 1, arrived: datetime = NOON, secret: str = SECRET) -> Delivery:
    github = source_named("github")
    assert github.example and github.sign
    body = github.example(n, 0)
    return Delivery(app, github.sign(body, secret, 0), body, arrived)


GITHUB = {"source": "github", "secrets": [SECRET], "signature": "record"}


@pytest.fixture
def in_folder(folder_environ: dict[str, str], tmp_path: Path) -> Archive:
    archive = Archive(folder_environ, tmp_path)
    archive.configure(shop=GITHUB)
    return archive


@pytest.fixture
def in_s3(s3_environ: dict[str, str], tmp_path: Path) -> Archive:
    archive = Archive(s3_environ, tmp_path)
    archive.configure(shop=GITHUB)
    return archive


@pytest.fixture(params=["in_folder", pytest.param("in_s3", marks=pytest.mark.slow)])
def archive(request: pytest.FixtureRequest) -> Archive:
    found: Archive = request.getfixturevalue(request.param)
    return found


# --- what it says


def test_it_counts_the_deliveries_of_each_verdict(archive: Archive) -> None:
    for n in range(3):
        archive.holds(n=n)
    archive.holds("other")
    done = archive.verify()

    assert done.exit_code == 0
    assert done.stdout == "4 deliveries: 1 unchecked, 3 verified\n"


def test_it_names_the_keys_of_what_is_not_in_order(archive: Archive) -> None:
    archive.holds()
    bad = archive.holds(n=2, arrived=NOON + timedelta(hours=1), secret="wrong")
    done = archive.verify()

    assert done.exit_code == 1
    assert done.stdout == f"bad  {bad}\n2 deliveries: 1 bad, 1 verified\n"


def test_in_json_each_delivery_is_a_line_and_the_summary_goes_elsewhere(archive: Archive) -> None:
    keys = [archive.holds(arrived=NOON + timedelta(hours=hour)) for hour in range(3)]
    done = archive.verify("--json")

    assert done.exit_code == 0
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"key": key, "verdict": "verified"} for key in keys
    ]
    assert done.stderr.startswith("3 deliveries: 3 verified\n{")
    assert json.loads(done.stderr.splitlines()[-1])["raw_objects"] == 3


def test_one_delivery_is_not_counted_as_deliveries(archive: Archive) -> None:
    archive.holds()

    assert archive.verify().stdout == "1 delivery: 1 verified\n"


def test_where_there_is_nothing_it_says_what_to_try(archive: Archive) -> None:
    done = archive.verify()

    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: There is no delivery in ")
    assert "Try another --bucket or --stage" in done.stderr


def test_where_nothing_can_be_checked_it_says_what_is_missing(archive: Archive) -> None:
    archive.configure()
    archive.holds()

    assert archive.verify().stdout.endswith("\nNo keys or secrets: name them in APPS_FILE.\n")


def test_unsigned_is_in_order_unless_its_app_requires_signatures(archive: Archive) -> None:
    unsigned = signed("shop")._replace(headers={})
    archive.put(to_object(unsigned, source_named("github")))
    recorded = archive.verify()
    archive.configure(shop={**GITHUB, "signature": "require"})
    required = archive.verify()

    assert (recorded.exit_code, required.exit_code) == (0, 1)
    assert required.stdout.startswith("unsigned  shop/")


def test_a_delivery_was_fresh_when_it_arrived_however_long_ago_that_is(archive: Archive) -> None:
    slack = source_named("slack")
    assert slack.sign
    long_ago = datetime(2018, 7, 12, 18, 36, 58, tzinfo=UTC)
    for n, late in enumerate([0, 299, 301]):
        headers = slack.sign(b"%d" % n, SECRET, int(long_ago.timestamp()))
        delivery = Delivery("chat", headers, b"%d" % n, long_ago + timedelta(seconds=late))
        archive.put(to_object(delivery, slack))
    archive.configure(chat={"source": "slack", "secrets": [SECRET], "max_age": 300})

    assert [verdict for _, verdict in archive.lines()] == ["verified", "verified", "stale"]


def test_the_verdict_is_todays_and_not_the_one_that_was_recorded(archive: Archive) -> None:
    archive.put(to_object(signed("shop"), source_named("github"), verdict="bad"))

    assert [verdict for _, verdict in archive.lines()] == ["verified"]


# --- what it looks at


def test_only_the_deliveries_of_one_app(archive: Archive) -> None:
    shop = archive.holds("shop")
    archive.holds("shop2")
    archive.holds("sho")

    assert archive.lines("--app", "shop") == [(shop, "verified")]


@pytest.fixture
def hours(archive: Archive) -> dict[int, str]:
    """A delivery in each hour around noon."""
    return {h: archive.holds(n=h, arrived=NOON + timedelta(hours=h)) for h in range(-2, 3)}


@for_each("app", [[], ["--app", "shop"]])
@for_each(
    "arguments, expected",
    [
        (["--since", "2026-11-20T12:00"], [0, 1, 2]),
        (["--since", "2026-11-20T12:00:00.000001"], [1, 2]),
        (["--until", "2026-11-20T12:00"], [-2, -1]),
        (["--until", "2026-11-20T12:00:00.000001Z"], [-2, -1, 0]),
        (["--since", "2026-11-20T11:30", "--until", "2026-11-20T12:30"], [0]),
        (["--since", "2026-11-20T13:00+01:00", "--until", "2026-11-20T14:00+01:00"], [0]),
        (["--since", "2026-11-20T13:00", "--tz", "Europe/Berlin"], [0, 1, 2]),
        (["--until", "2026-11-20T13:00Z", "--tz", "Asia/Tokyo"], [-2, -1, 0]),
        (["--since", "2026-11-20"], [-2, -1, 0, 1, 2]),
        (["--since", "2026-11-21"], []),
        (["--until", "2026-11-20"], [-2, -1, 0, 1, 2]),
        (["--until", "2026-11-19"], []),
        (["--since", "2026-11-20", "--until", "2026-11-20"], [-2, -1, 0, 1, 2]),
        # In Honolulu it is the 20th from 10:00 UTC on, and in Kiritimati the 21st.
        (["--until", "2026-11-19", "--tz", "Pacific/Honolulu"], []),
        (["--since", "2026-11-21", "--tz", "Pacific/Kiritimati"], [-2, -1, 0, 1, 2]),
        (["--since", "2026-11-20T13:00", "--until", "2026-11-20T11:00"], []),
    ],
)
def test_only_what_arrived_in_a_time_range(
    archive: Archive,
    hours: dict[int, str],
    app: list[str],
    arguments: list[str],
    expected: list[int],
) -> None:
    found = archive.lines(*app, *arguments)

    assert found == [(hours[hour], "verified") for hour in expected]


@pytest.mark.parametrize("app", [[], ["--app", "shop"]], ids=["every app", "one app"])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--since", "90m"], [0, 1]),
        (["--since", "1d"], [0, 1, 2]),
        (["--until", "90m"], [2, 30]),
        (["--since", "1w", "--until", "86400s"], [30]),
    ],
)
def test_a_duration_is_counted_back_from_now(
    archive: Archive, app: list[str], arguments: list[str], expected: list[int]
) -> None:
    now = datetime.now(UTC)
    keys = {h: archive.holds(n=h, arrived=now - timedelta(hours=h)) for h in (0, 1, 2, 30)}

    assert sorted(archive.lines(*app, *arguments)) == sorted(
        (keys[hour], "verified") for hour in expected
    )


def test_only_what_lies_at_the_path_that_is_asked_for(archive: Archive) -> None:
    bucket = archive.environ["ARCHIVE_BUCKETS"]
    top = archive.holds()
    below = archive.holds(prefix="trials/one/")
    archive.holds(prefix="trials/")

    assert archive.lines("--bucket", bucket) == [(top, "verified")]
    assert archive.lines("--bucket", f"{bucket}/trials/one") == [(below, "verified")]
    assert len(archive.lines()) == 3


def test_only_the_bucket_that_is_asked_for(in_folder: Archive) -> None:
    in_folder.holds()
    obj = to_object(signed("shop", n=2), source_named("github"))
    in_folder.put(obj, "another")

    assert in_folder.lines("--bucket", "another") == [(obj.key, "verified")]


def test_what_was_refused_and_kept_is_checked_only_when_asked_for(archive: Archive) -> None:
    archive.holds()
    good = archive.holds(n=2, rejected=True)
    bad = archive.holds(n=3, rejected=True, secret="wrong")
    other = archive.holds("other", rejected=True)

    assert archive.verify().exit_code == 0
    assert len(archive.lines()) == 1
    assert archive.verify("--rejected").exit_code == 1
    assert sorted(archive.lines("--rejected")) == sorted(
        [(good, "verified"), (bad, "bad"), (other, "unchecked")]
    )
    assert archive.lines("--rejected", "--app", "other") == [(other, "unchecked")]


def test_what_was_refused_is_found_by_its_day(archive: Archive) -> None:
    days = [
        archive.holds(rejected=True, arrived=NOON + timedelta(days=day)) for day in range(-1, 2)
    ]

    assert [key for key, _ in archive.lines("--rejected", "--since", "2026-11-21")] == days[2:]
    assert [key for key, _ in archive.lines("--rejected", "--until", "2026-11-19")] == days[:1]


def test_objects_that_are_not_ours_are_passed_over(archive: Archive) -> None:
    kept = archive.holds()
    sha = "0" * 64
    hour, next_hour = (hour_prefix("", "shop", NOON + timedelta(hours=n)) for n in range(2))
    for key in (
        "README.txt",
        "shop/notes.json",
        f"{next_hour}20261120T120000.000000Z-{sha}.json",
        f"{hour}20261120T120000.000000Z-{sha}.exe",
        f"_redacted/{day_prefix('', 'shop', NOON.date())}{sha}.json",
        f"_rejected/shop/{sha}.bin",
        "_events/shop/2026-11-20.parquet",
    ):
        archive.put(ArchiveObject(key, b"not ours", "text/plain", {}))

    assert archive.lines() == [(kept, "verified")]
    assert archive.lines("--app", "shop") == [(kept, "verified")]
    assert archive.lines("--rejected") == []


# --- what no other key may hide


def test_apps_at_paths_named_like_an_app_hide_none_of_its_deliveries(archive: Archive) -> None:
    """`bucket=events/shop&app=a` is stored below `shop/`, between what shop itself receives."""
    shop = {day: archive.holds(n=day, arrived=NOON + timedelta(days=day)) for day in range(3)}
    for app in ("a", "zebra"):
        archive.holds(app, arrived=NOON + timedelta(days=9), prefix="shop/")
    archive.put(
        to_rejected(
            signed("a", arrived=NOON + timedelta(days=9)),
            source_named("github"),
            reason="Invalid signature",
            prefix="shop/",
        )
    )
    until = ["--app", "shop", "--until", "2026-11-21"]

    assert archive.lines(*until) == [(shop[0], "verified"), (shop[1], "verified")]
    assert archive.lines("--bucket", archive.environ["ARCHIVE_BUCKETS"], *until) == [
        (shop[0], "verified"),
        (shop[1], "verified"),
    ]


def test_without_a_bucket_every_entry_and_all_below_it_is_read_once(in_folder: Archive) -> None:
    in_folder.environ["ARCHIVE_BUCKETS"] = "events,events/shop,other/deep,events"
    keys = [in_folder.holds(n=n, prefix=p) for n, p in enumerate(["", "shop/", "trials/one/"])]
    thing = to_object(signed("shop", n=7), source_named("github"), prefix="deep/er/")
    keys.append(in_folder.put(thing, "other"))
    in_folder.put(to_object(signed("shop", n=8), source_named("github")), "other")

    assert sorted(key for key, _ in in_folder.lines("--app", "shop")) == sorted(keys)


def test_where_there_are_several_buckets_each_line_names_its_own(in_folder: Archive) -> None:
    in_folder.environ["ARCHIVE_BUCKETS"] = "events,other"
    key = in_folder.holds(secret="wrong")

    assert json.loads(in_folder.verify("--json").stdout) == {
        "key": key,
        "verdict": "bad",
        "bucket": "events",
    }
    assert in_folder.verify().stdout.startswith(f"bad  events/{key}\n")
    assert in_folder.verify("--bucket", "events").stdout.startswith(f"bad  {key}\n")


def test_nothing_that_is_found_hides_what_lies_beside_it(in_folder: Archive) -> None:
    apps = ["a", "shop", "shop-2", "z"]
    prefixes = ["", "a/", "shop/", "shop/z/"]
    days = [NOON + timedelta(days=day) for day in range(-2, 3)]
    keys = {
        (app, prefix, day): in_folder.holds(app, arrived=day, prefix=prefix)
        for app in apps
        for prefix in prefixes
        for day in days
    }
    range_ = ["--since", "2026-11-19", "--until", "2026-11-21"]

    for app in apps:
        wanted = {key for (name, _, day), key in keys.items() if name == app and day in days[1:4]}
        assert {key for key, _ in in_folder.lines("--app", app, *range_)} == wanted
    for prefix in prefixes:
        wanted = {key for (_, other, _), key in keys.items() if other == prefix}
        bucket = f"events/{prefix}".rstrip("/")
        assert {key for key, _ in in_folder.lines("--bucket", bucket)} == wanted


def test_an_app_that_does_not_exist_is_named_with_those_there_are(archive: Archive) -> None:
    archive.holds("shop")
    archive.holds("mail", prefix="trials/")
    archive.holds("late", rejected=True)
    done = archive.verify("--app", "shpo")
    rejected = archive.verify("--rejected", "--app", "shop")

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "Error: No deliveries of app 'shpo'. Apps there are: mail, shop\n"
    assert rejected.exit_code == 1
    assert "no refused delivery of app 'shop'. Apps there are: late\n" in rejected.stderr


def test_where_nothing_arrived_in_the_time_asked_for_that_is_said(archive: Archive) -> None:
    archive.holds("shop")
    done = archive.verify("--app", "shop", "--until", "2026-11-01")

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: No delivery arrived in that time. Try another --since or --until\n"
    )


# --- what was recorded at arrival


LONG = {"x-hub-signature-256": "sha256=" + "0" * 2_000}


def test_where_the_signature_did_not_fit_the_verdict_of_the_arrival_counts(
    archive: Archive,
) -> None:
    """It cannot be proved again, and is not called `unsigned`, or `bad`, for that."""
    good = Delivery("shop", LONG, b"{}", NOON)
    bad = good._replace(body=b"[]", arrived=NOON + timedelta(seconds=1))
    keys = [
        archive.put(to_object(delivery, source_named("github"), verdict=verdict))
        for delivery, verdict in ((good, "verified"), (bad, "bad"))
    ]
    proved = archive.holds(arrived=NOON + timedelta(seconds=2))
    done, in_json = archive.verify(), archive.verify("--json")

    assert (done.exit_code, in_json.exit_code) == (1, 1)
    assert done.stdout == (
        f"bad (recorded)  {keys[1]}\n"
        "3 deliveries: 1 bad (recorded), 1 verified, 1 verified (recorded)\n"
    )
    assert [json.loads(line) for line in in_json.stdout.splitlines()] == [
        {"key": keys[0], "verdict": "verified", "state": "recorded"},
        {"key": keys[1], "verdict": "bad", "state": "recorded"},
        {"key": proved, "verdict": "verified"},
    ]


def test_where_the_time_that_was_signed_did_not_fit_the_verdict_of_the_arrival_counts(
    archive: Archive,
) -> None:
    slack = source_named("slack")
    assert slack.sign
    headers = slack.sign(b"{}", SECRET, 0) | {"x-slack-request-timestamp": "0" * 2_000}
    archive.put(to_object(Delivery("chat", headers, b"{}", NOON), slack, verdict="stale"))
    archive.configure(chat={"source": "slack", "secrets": [SECRET], "max_age": 300})

    assert archive.verify().stdout.endswith("\n1 delivery: 1 stale (recorded)\n")


def test_a_recorded_verdict_that_is_none_is_not_believed(archive: Archive) -> None:
    obj = to_object(Delivery("shop", LONG, b"{}", NOON), source_named("github"))
    archive.put(obj._replace(metadata={**obj.metadata, "verdict": "great"}))

    assert [verdict for _, verdict in archive.lines()] == ["unsigned"]


def test_an_altered_body_is_bad_whatever_was_recorded(in_folder: Archive) -> None:
    obj = to_object(Delivery("shop", LONG, b"{}", NOON), source_named("github"), verdict="verified")
    key = in_folder.put(obj)
    (in_folder.folder / "archive" / "events" / key).write_bytes(b"[]")

    assert json.loads(in_folder.verify("--json").stdout)["state"] == "altered"


# --- what was altered since


@pytest.mark.parametrize("rejected", [False, True], ids=["delivery", "rejected"])
def test_a_body_altered_on_the_disk_is_bad_and_said_to_be_altered(
    in_folder: Archive, rejected: bool
) -> None:
    key = in_folder.holds(rejected=rejected)
    file = in_folder.folder / "archive" / "events" / key
    file.write_bytes(file.read_bytes().replace(b"main", b"mean"))
    arguments = ["--rejected"] if rejected else []
    done = in_folder.verify("--json", *arguments)

    assert done.exit_code == 1
    assert json.loads(done.stdout) == {"key": key, "verdict": "bad", "state": "altered"}
    assert in_folder.verify(*arguments).stdout.startswith(f"bad (altered)  {key}\n")


def test_a_body_replaced_in_s3_is_bad_and_said_to_be_altered(in_s3: Archive) -> None:
    key = in_s3.holds()
    client = s3(in_s3)
    client.put_object(Bucket=in_s3.environ["ARCHIVE_BUCKETS"], Key=key, Body=b"{}")
    done = in_s3.verify("--json")

    assert done.exit_code == 1
    assert json.loads(done.stdout) == {"key": key, "verdict": "bad", "state": "altered"}


def test_a_body_is_known_to_be_altered_even_where_no_signature_is_checked(
    in_folder: Archive,
) -> None:
    in_folder.configure()
    key = in_folder.holds()
    (in_folder.folder / "archive" / "events" / key).write_bytes(b"{}")

    assert in_folder.lines() == [(key, "bad")]


def test_without_metadata_a_body_counts_as_unsigned(in_folder: Archive) -> None:
    shop, other = in_folder.holds(), in_folder.holds("other")
    for meta in (in_folder.folder / "archive").rglob("*.meta"):
        meta.unlink()

    assert sorted(in_folder.lines()) == [(other, "unchecked"), (shop, "unsigned")]
    assert in_folder.verify().exit_code == 0


def test_without_metadata_a_refused_body_counts_as_unsigned(in_folder: Archive) -> None:
    key = in_folder.holds(rejected=True)
    for meta in (in_folder.folder / "archive").rglob("*.meta"):
        meta.unlink()

    assert in_folder.lines("--rejected") == [(key, "unsigned")]


@pytest.mark.parametrize(
    "metadata",
    [
        {"source": "no-such-source", "verdict": "good"},
        {"layout": "9", "source": "github", "arrived": "yesterday"},
        {"h-x-hub-signature-256": "sha256=%zz"},
        {"h-x-hub-signature-256": "%FF"},
    ],
    ids=lambda metadata: next(iter(metadata.values())),
)
def test_metadata_that_makes_no_sense_is_no_crash(
    archive: Archive, metadata: Mapping[str, str]
) -> None:
    for obj in (
        to_object(signed("shop"), source_named("github")),
        to_rejected(signed("shop"), source_named("github"), reason="Invalid signature"),
    ):
        archive.put(obj._replace(metadata=metadata))
    done, rejected = archive.verify(), archive.verify("--rejected")

    assert done.exit_code in (0, 1)
    assert done.stdout.splitlines()[-1].startswith("1 delivery: ")
    assert rejected.stdout.splitlines()[-1].startswith("1 delivery: ")


def test_nothing_in_a_folder_archive_changes(in_folder: Archive) -> None:
    in_folder.holds()
    in_folder.holds(n=2, secret="wrong")
    in_folder.holds(rejected=True)
    before = snapshot(in_folder.folder / "archive")
    in_folder.verify()
    in_folder.verify("--rejected")

    assert snapshot(in_folder.folder / "archive") == before


def test_nothing_in_a_bucket_changes(in_s3: Archive) -> None:
    in_s3.holds()
    in_s3.holds(n=2, secret="wrong")
    bucket = in_s3.environ["ARCHIVE_BUCKETS"]
    before = s3(in_s3).list_object_versions(Bucket=bucket)["Versions"]
    in_s3.verify()
    in_s3.verify("--rejected")

    assert s3(in_s3).list_object_versions(Bucket=bucket)["Versions"] == before


# --- misuse, and what cannot be reached


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "yesterday"], "'yesterday' is neither a duration (14d), nor a date, nor"),
        (["--until", "14 d"], "neither a duration"),
        (["--since", "999999w"], "neither a duration"),
        (["--since", ""], "neither a duration"),
        (["--bucket", "events/"], "use bucket or bucket/path"),
        (["--bucket", "No Bucket"], "use bucket or bucket/path"),
        (["--app", "no app"], "no such app name"),
        (["--tz", "Berlin"], "'Berlin' is no time zone. Use a name like Europe/Berlin"),
        (["--tz", "../../etc/passwd"], "is no time zone"),
        (["--stage", "nowhere"], "No stage 'nowhere'"),
        (["--nothing"], "No such option"),
        (["key"], "unexpected extra argument"),
    ],
)
def test_misuse_is_said_in_one_line_with_exit_code_2(
    in_folder: Archive, arguments: list[str], said: str
) -> None:
    in_folder.holds()
    done = in_folder.verify(*arguments)

    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ARCHIVE_BUCKETS", "events/"),
        ("ARCHIVE_CLIENT", "curl"),
        ("APPS_FILE", "no-such-file.json"),
    ],
)
def test_a_wrong_setting_is_named_with_exit_code_2(
    in_folder: Archive, variable: str, value: str
) -> None:
    in_folder.holds()
    in_folder.environ[variable] = value
    done = in_folder.verify()

    assert done.exit_code == 2
    assert f"Error: {variable} " in done.stderr


def test_a_wrong_field_of_an_app_is_named_without_its_value(in_folder: Archive) -> None:
    in_folder.holds()
    in_folder.configure(shop={**GITHUB, "secrets": ["env:NO_SUCH_VARIABLE", "canary"]})
    done = in_folder.verify()

    assert done.exit_code == 2
    assert "APPS_FILE has a wrong secrets[0] for app shop" in done.stderr
    assert "canary" not in done.output


@pytest.mark.parametrize("client", ["obstore", "boto3"])
def test_an_archive_that_cannot_be_reached_is_a_clear_error(in_s3: Archive, client: str) -> None:
    in_s3.environ |= {"ARCHIVE_CLIENT": client, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}
    done = in_s3.verify()

    assert done.exit_code == 1
    assert done.stderr.startswith("Error: The archive cannot be reached: ")


@pytest.mark.parametrize("client", ["obstore", "boto3"])
def test_a_bucket_that_is_not_there_is_a_clear_error(in_s3: Archive, client: str) -> None:
    in_s3.environ["ARCHIVE_CLIENT"] = client
    done = in_s3.verify("--bucket", "no-such-bucket")

    assert done.exit_code == 1
    assert done.stderr.startswith("Error: The archive cannot be reached: ")


def test_without_credentials_it_says_what_to_do(in_s3: Archive) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del in_s3.environ[name]
    done = in_s3.verify()

    assert done.exit_code == 2
    assert "Error: No AWS credentials. Set AWS_PROFILE, or log in\n" in done.stderr


def test_an_archive_folder_that_is_a_file_is_a_clear_error(in_folder: Archive) -> None:
    (in_folder.folder / "archive").write_text("a file")
    done = in_folder.verify()

    assert done.exit_code == 1
    assert done.stderr.startswith("Error: The archive cannot be reached: ")


def test_an_archive_folder_that_is_not_there_is_not_made(in_folder: Archive) -> None:
    done = in_folder.verify()

    assert done.exit_code == 1
    assert not (in_folder.folder / "archive").exists()


# --- settings


def test_the_settings_of_a_stage_beat_the_shells(in_folder: Archive) -> None:
    """Stage `dev` is not configured yet, and nobody is logged in to see whether it is deployed."""
    done = in_folder.verify("--stage", "dev")

    assert done.exit_code == 2
    assert "ARCHIVE_BUCKETS has the entry 'CHANGE-ME'" in done.stderr
    assert "settings of stage dev as .chalice/config.json has them, not as it is" in done.stderr


@pytest.mark.slow
def test_a_stage_that_is_deployed_is_read_as_it_is_deployed(
    aws_shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`deploy --bucket` leaves .chalice/config.json as it is, with its CHANGE-ME."""
    deploy(tmp_path)
    monkeypatch.setattr("hookshelf.deploy.deployment.PROJECT_ROOT", tmp_path)
    key = Archive({**aws_environ(aws_shell), **ENVIRONMENT}, tmp_path).holds(prefix="in/")

    assert Archive({}, tmp_path).lines("--stage", "dev") == [(key, "unchecked")]


def test_without_settings_it_looks_where_make_run_archives(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / ".chalice").mkdir(parents=True)
    for name in ("chalicelib", "hookshelf"):
        copy_tree(PROJECT / name, project / name)
    config = Path(".chalice", "config.json")
    (project / config).write_bytes((PROJECT / config).read_bytes())
    archive = Archive(
        {"ARCHIVE_FOLDER": str(project / "archive"), "ARCHIVE_BUCKETS": "events"}, tmp_path
    )
    archive.holds("github")
    done = subprocess.run(
        [sys.executable, "-m", "hookshelf", "verify", "--json"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert [json.loads(line)["verdict"] for line in done.stdout.splitlines()] == ["bad"]
    assert done.returncode == 1


# --- Ctrl-C


def test_ctrl_c_ends_it_without_a_traceback(in_folder: Archive) -> None:
    for n in range(1000):  # more lines than a pipe holds: it cannot end before it is told to
        key = to_object(signed("shop", n), source_named("github")).key
        file = in_folder.folder / "archive" / "events" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(signed("shop", n).body)
    with subprocess.Popen(
        [sys.executable, "-m", "hookshelf", "verify", "--json"],
        cwd=PROJECT,
        env=os.environ | in_folder.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        process.stdout.readline()  # it has begun
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "Aborted!" in errors


def test_whoever_has_compacted_is_not_told_to(in_folder: Archive, monkeypatch) -> None:
    monkeypatch.setattr(values, "MANY_RAW", 1)
    in_folder.holds()
    raw = in_folder.verify().stderr
    CliRunner().invoke(main, ["compact"], env=in_folder.environ)
    compacted = in_folder.verify().stderr

    assert "hookshelf compact" in raw
    assert "hookshelf compact" not in compacted
    assert "1 raw object," in compacted  # a folder's ETags do not show what was altered


def s3(archive: Archive) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=archive.environ["AWS_ENDPOINT_URL_S3"],
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def copy_tree(source: Path, target: Path) -> None:
    for file in source.rglob("*.py"):
        to = target / file.relative_to(source)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(file.read_bytes())
