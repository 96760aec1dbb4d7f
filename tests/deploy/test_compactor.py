"""The scheduled compactor as the stack has it: when it runs, what it may do, what is in its zip."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.policies import OF_COMPACTOR, allows, wide
from support.project import PROJECT

from chalicelib import keys
from hookshelf.__main__ import main
from hookshelf.deploy import compactor, package
from hookshelf.deploy.policies import archive_policy, compactor_policy
from hookshelf.reading import compact, scheduled

ENVIRON = {"ARCHIVE_BUCKETS": "my-webhooks/in,other", "ARCHIVE_BUCKET_OWNER": "123456789012"}
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab"
LOG = {"Fn::GetAtt": ["CompactorLogs", "Arn"]}
POLICY = compactor_policy(ENVIRON, LOG, kms_keys=[KEY])
RESOURCES = compactor.compactor_resources("dev", ENVIRON, POLICY, {"Type": "AWS::Logs::LogGroup"})
FUNCTION: dict[str, Any] = RESOURCES["Compactor"]["Properties"]
# Whatever changes, hides or removes an object, or lets others do so.
CHANGES = (
    *("PutObject", "DeleteObject", "DeleteObjectVersion", "PutObjectAcl", "PutObjectTagging"),
    *("DeleteObjectTagging", "PutObjectRetention", "PutObjectLegalHold", "RestoreObject"),
    *("ReplicateDelete", "BypassGovernanceRetention", "ObjectOwnerOverrideToBucketOwner"),
)
OF_BUCKETS = (
    *("PutBucketPolicy", "DeleteBucketPolicy", "PutLifecycleConfiguration", "DeleteBucket"),
    *("PutBucketVersioning", "PutEncryptionConfiguration", "PutBucketPublicAccessBlock"),
)

apps = st.sampled_from(["shop", "a", "layer", "events-1", "manifests", "X_y-9"])
segments = st.sampled_from(["in", "layer-events", "layer.events", "manifests", "m_", "a_manifests"])
places = st.lists(segments, max_size=8).map(lambda path: "".join(f"{name}/" for name in path))
moments = st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(year=2026, day=1))
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)


# --- what it may do


@st.composite
def raw_keys(draw: st.DrawFn) -> str:
    """Of a delivery, of one that was refused, or of one that was redacted."""
    prefix, app, at, digest = draw(places), draw(apps), draw(moments), draw(digests)
    delivery = str(keys.DeliveryKey(prefix, app, at, digest, "json"))
    rejected = str(keys.RejectedKey(prefix, app, at.date(), digest, digest[:12]))
    return draw(st.sampled_from([delivery, rejected, f"{prefix}_redacted/{delivery}"]))


@pytest.mark.parametrize("policy", [POLICY, archive_policy("compact", ENVIRON)])
@given(place=st.sampled_from(["my-webhooks/in/", "other/", "my-webhooks/"]), key=raw_keys())
def test_its_role_can_neither_change_nor_delete_what_was_received(
    policy: dict[str, Any], place: str, key: str
) -> None:
    arn = f"arn:aws:s3:::{place}{key}"

    assert not any(allows(policy, f"s3:{action}", arn) for action in CHANGES)


@given(key=raw_keys())
def test_who_reads_can_change_nothing(key: str) -> None:
    policy = archive_policy("read", ENVIRON)
    arns = [f"arn:aws:s3:::other/{part}{key}" for part in ("", "layer=events/", "_manifests/")]

    assert not any(allows(policy, f"s3:{action}", arn) for action in CHANGES for arn in arns)
    assert allows(policy, "s3:GetObject", arns[0])


@pytest.mark.parametrize("action", OF_BUCKETS)
def test_nobody_may_change_the_bucket(action: str) -> None:
    for policy in (POLICY, archive_policy("read", ENVIRON)):
        assert not allows(policy, f"s3:{action}", "arn:aws:s3:::other")


@given(place=st.sampled_from(["my-webhooks/in/", "other/"]), prefix=places, app=apps, at=moments)
def test_it_may_do_all_that_compacting_takes_at_every_place(
    place: str, prefix: str, app: str, at: Any
) -> None:
    file = f"arn:aws:s3:::{place}{keys.events_prefix(prefix, app)}month=2026-11/2026-11.parquet"
    entry = f"arn:aws:s3:::{place}{keys.ManifestKey(prefix, app, 1)}"
    raw = f"arn:aws:s3:::{place}{keys.hour_prefix(prefix, app, at)}x"

    for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
        assert allows(POLICY, action, file)
    assert allows(POLICY, "s3:PutObject", entry)
    assert not allows(POLICY, "s3:DeleteObject", entry)
    assert allows(POLICY, "s3:GetObject", raw)
    assert allows(POLICY, "s3:ListBucket", f"arn:aws:s3:::{place.partition('/')[0]}")


def test_its_rights_end_at_its_buckets_their_owner_and_their_key() -> None:
    assert wide(POLICY, OF_COMPACTOR) == []
    assert not allows(POLICY, "s3:GetObject", "arn:aws:s3:::my-webhooks/out/x")
    assert not allows(POLICY, "s3:ListBucket", "arn:aws:s3:::elsewhere")
    for statement in POLICY["Statement"]:
        if "s3:" in str(statement["Action"]):
            owner = {"aws:ResourceAccount": "123456789012"}
            assert statement["Condition"] == {"StringEquals": owner}
    [of_key] = [one for one in POLICY["Statement"] if "kms:" in str(one["Action"])]
    assert of_key["Resource"] == [KEY]
    assert of_key["Condition"] == {"StringLike": {"kms:ViaService": ["s3.*.amazonaws.com"]}}


def test_an_access_point_is_named_as_one() -> None:
    point = "arn:aws:s3:eu-west-1:123456789012:accesspoint/hooks"
    policy = compactor_policy({"ARCHIVE_BUCKETS": f"{point}/in"}, LOG)

    assert wide(policy, OF_COMPACTOR) == []
    assert allows(policy, "s3:ListBucket", point)
    assert allows(policy, "s3:PutObject", f"{point}/object/in/layer=events/x")
    assert not allows(policy, "s3:PutObject", f"{point}/object/in/shop/x")


def test_the_policy_of_a_person_or_a_job_is_printed() -> None:
    def printed(*arguments: str) -> dict[str, Any]:
        done = CliRunner().invoke(main, ["policy", *arguments])
        assert done.exit_code == 0, done.output
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    places = ["--bucket", "my-webhooks/in", "--bucket", "other"]
    environ = {"ARCHIVE_BUCKETS": "my-webhooks/in,other"}
    assert printed("--for", "read", *places) == archive_policy("read", environ)
    assert printed("--for", "replay", *places) == archive_policy("read", environ)
    assert printed("--for", "compact", *places, "--kms-key", KEY, "--json") == archive_policy(
        "compact", environ, kms_keys=[KEY]
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Give --stage for the policies of its functions"),
        (["--stage", "dev", "--bucket", "b-1"], "or --for with read, replay, compact"),
        (["--for", "read"], "The archive is a folder"),
        (["--for", "read", "--bucket", "b-1", "--check"], "--check compares files"),
        (["--for", "read", "--bucket", "B"], "has the entry 'B'"),
        (["--for", "write"], "'write' is not one of 'read', 'replay', 'compact'"),
    ],
)
def test_what_makes_no_policy_is_misuse(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(main, ["policy", *arguments])

    assert done.exit_code == 2
    assert said in done.stderr


# --- when it runs


def test_it_runs_as_long_as_lambda_lets_it_and_takes_nobodys_room() -> None:
    assert (
        FUNCTION["Timeout"] == 900
    )  # https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    assert "ReservedConcurrentExecutions" not in FUNCTION
    assert FUNCTION["FunctionName"] == "hookshelf-dev-compactor"
    assert FUNCTION["LoggingConfig"]["LogFormat"] == "JSON"
    assert FUNCTION["Environment"]["Variables"] == {
        **ENVIRON,
        "METRICS_NAMESPACE": "hookshelf/dev",
    }


def test_only_its_two_schedules_may_run_it() -> None:
    rules = {
        name: resource["Properties"]
        for name, resource in RESOURCES.items()
        if resource["Type"] == "AWS::Events::Rule"
    }
    permissions = [
        resource["Properties"]
        for resource in RESOURCES.values()
        if resource["Type"] == "AWS::Lambda::Permission"
    ]
    events = {name: json.loads(rule["Targets"][0]["Input"]) for name, rule in rules.items()}

    assert events == {
        "CompactorHourly": {"schedule": scheduled.HOURLY},
        "CompactorNightly": {"schedule": scheduled.NIGHTLY},
    }
    assert {rule["ScheduleExpression"] for rule in rules.values()} == {
        "cron(20 * * * ? *)",
        "cron(40 0 * * ? *)",
    }
    assert {str(one["Principal"]) for one in permissions} == {"events.amazonaws.com"}
    assert {one["SourceArn"]["Fn::GetAtt"][0] for one in permissions} == set(rules)


def test_the_schedules_wait_for_what_an_hour_and_a_day_wait_for() -> None:
    minutes = {
        name: int(text.split("(")[1].split()[0]) for name, text in compactor.SCHEDULES.items()
    }

    assert minutes["hourly"] * 60 > compact.LOG_DELAY.total_seconds()
    # The hourly run that closes the day is over by then.
    assert minutes["nightly"] >= minutes["hourly"] + compactor.COMPACTOR_TIMEOUT // 60


def test_what_fails_is_left_to_the_next_run() -> None:
    assert RESOURCES["CompactorRetries"]["Properties"]["MaximumRetryAttempts"] == 0


# --- what is in its zip


def test_the_handler_is_there() -> None:
    module, _, name = compactor.HANDLER.rpartition(".")

    assert (module, getattr(scheduled, name)) == (scheduled.__name__, scheduled.handler)


def test_all_that_it_imports_of_ours_is_in_its_zip() -> None:
    """Every module of reading, as some are imported when they are needed."""
    modules = sorted((PROJECT / "hookshelf" / "reading").rglob("*.py"))
    names = [
        ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        for path in modules
    ]
    code = f"import sys, {', '.join(names)}; print(*(m.__file__ for m in sys.modules.values() "
    code += "if m.__name__.split('.')[0] in ('hookshelf', 'chalicelib')))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    ships = [PROJECT / name for name in package.COMPACTOR_SHIPS]
    left_out = [
        path
        for path in done.stdout.split()
        if not any(path == str(there) or path.startswith(f"{there}/") for there in ships)
    ]

    assert left_out == []


def test_both_zips_hold_the_same_versions_of_what_both_need() -> None:
    theirs, ours = (pins(name) for name in ("requirements-compactor.txt", "requirements.txt"))

    assert {"duckdb", "msgspec", "obstore"} <= theirs.keys()
    assert {name: ours[name] for name in theirs.keys() - {"duckdb"}} == {
        name: version for name, version in theirs.items() if name != "duckdb"
    }


def pins(name: str) -> dict[str, str]:
    text = (PROJECT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==(\S+) ", text, re.MULTILINE))
