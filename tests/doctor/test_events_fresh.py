"""Whether the doctor sees how fresh the compacted events are, by what there is in a bucket."""

from datetime import UTC, datetime, timedelta

import pytest
from support.archives import delivered
from support.rehearsal import BUCKET, HERE, STAGE, client, share_clients

from chalicelib.keys import EventsKey
from chalicelib.settings import BucketPath
from hookshelf.deploy.deployment import COMPACTOR, Deployment, function_name
from hookshelf.doctor.checks.events import events_fresh
from hookshelf.doctor.findings import Result
from hookshelf.doctor.live_bucket import LiveBucket
from hookshelf.doctor.live_stage import LiveStage

NOW = datetime.now(UTC)  # the doctor looks at the clock; nothing here is near an edge
EVENT = [{"email": "a@example.com", "event": "open", "timestamp": 1}]


@pytest.fixture(autouse=True)
def bucket(aws_shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    share_clients(monkeypatch)
    client("s3").create_bucket(Bucket=BUCKET)


def put(*keys: object) -> None:
    for key in keys:
        client("s3").put_object(Bucket=BUCKET, Key=str(key), Body=b"")


def raw(app: str, **ago: float) -> str:
    return delivered(EVENT, NOW - timedelta(**ago), app=app, prefix="in/").key


def day_file(app: str, **ago: float) -> EventsKey:
    at = (NOW - timedelta(**ago)).replace(hour=0, minute=0, second=0, microsecond=0)
    return EventsKey("in/", app, at, "day")


def judged(*, compactor: bool = True) -> list[Result]:
    functions = {COMPACTOR: function_name(STAGE, COMPACTOR)} if compactor else {}
    stage = LiveStage(Deployment(STAGE, "stack", "api", "", functions), read_only=True)
    arn = f"arn:aws:lambda:{HERE}:function:{function_name(STAGE, 'api_handler')}"
    stage.functions = {"api_handler": {"FunctionArn": arn}}
    stage.buckets = [LiveBucket(stage, BUCKET, [BucketPath(BUCKET, "in")])]
    return list(events_fresh.run(stage))


def test_an_empty_bucket_is_in_order() -> None:
    assert judged() == []
    assert [result.level for result in judged(compactor=False)] == ["ok"]


def test_what_arrived_a_moment_ago_need_not_be_compacted() -> None:
    put(day_file("sendgrid", days=3), raw("sendgrid", minutes=5))

    [result] = judged()

    assert result.level == "ok"
    assert f"until {NOW - timedelta(minutes=5):%Y-%m-%d %H:%M}" in result.what


def test_all_that_there_is_may_be_compacted() -> None:
    put(day_file("sendgrid", days=3), raw("sendgrid", days=3))

    assert [result.what for result in judged()] == ["Events are compacted to the last delivery."]


def test_an_app_that_is_due_every_hour_is_behind_after_some_hours() -> None:
    put(day_file("sendgrid", days=3), raw("sendgrid", hours=10))

    behind, until = judged()

    assert (behind.level, until.level) == ("warning", "ok")
    assert f"App sendgrid in {BUCKET}/in/: nothing since" in behind.what
    assert behind.fix.startswith("hookshelf compact --stage dev --app sendgrid  # ")
    assert "the log of hookshelf-dev-compactor says why" in behind.fix


def test_an_app_that_is_due_every_night_is_behind_after_two_days() -> None:
    put(raw("made-up", hours=10), raw("other", days=3))

    assert [result.what.split()[1] for result in judged() if result.level == "warning"] == ["other"]


def test_where_nothing_compacts_by_itself_only_what_somebody_compacts_is_looked_at() -> None:
    put(day_file("sendgrid", days=9), raw("sendgrid", days=3), raw("shop", days=30))

    warnings = [result for result in judged(compactor=False) if result.level == "warning"]

    assert [result.what.split()[1] for result in warnings] == ["sendgrid"]
    assert "compactor says" not in warnings[0].fix


def test_what_is_not_ours_in_the_bucket_is_not_taken_for_an_app() -> None:
    put("in/notes/readme.txt", "in/layer=events/app=x/month=2026-11/odd", "in/_manifests/x/1")

    assert [result.level for result in judged()] == ["ok"]
