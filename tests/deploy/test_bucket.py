"""The archive's bucket: made and hardened once, and what others put there stays."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from itertools import count
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, NoRegionError
from support.project import CREDENTIALS

from chalicelib.keys import DeliveryKey, RejectedKey
from hookshelf.deploy.bucket import (
    MAX_ATTEMPTS,
    PUT_ONCE,
    TLS_ONLY,
    BucketUnusable,
    Step,
    harden,
    kms_key,
    missing_steps,
)

pytestmark = pytest.mark.slow  # a stage on a server of AWS's, for each

ACCOUNT = "123456789012"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
THEIR_STATEMENT = {
    "Sid": "Theirs",
    "Effect": "Allow",
    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "Action": "s3:GetObject",
    "Resource": "arn:aws:s3:::theirs/*",
}
THEIR_RULE = {
    "ID": "theirs",
    "Status": "Enabled",
    "Filter": {"Prefix": "reports/"},
    "Transitions": [{"Days": 90, "StorageClass": "GLACIER"}],
}
THEIR_NOTIFICATION = {
    "Id": "theirs",
    "QueueArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:thumbnails",
    "Events": ["s3:ObjectCreated:*"],
}
SETTINGS = {
    "public": "get_public_access_block",
    "owner": "get_bucket_ownership_controls",
    "versions": "get_bucket_versioning",
    "encryption": "get_bucket_encryption",
    "policy": "get_bucket_policy",
    "lifecycle": "get_bucket_lifecycle_configuration",
    "notification": "get_bucket_notification_configuration",
}


class Interrupted(BaseException):
    """As Ctrl-C is."""


@cache
def shell() -> boto3.Session:
    """One for all tests: to read what AWS's services are like takes longest."""
    return boto3.Session()


@pytest.fixture(autouse=True)
def session(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    """A shell with credentials of our account; all clients are made by this session."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    before, boto3.DEFAULT_SESSION = boto3.DEFAULT_SESSION, shell()
    yield shell()
    boto3.DEFAULT_SESSION = before


@pytest.fixture
def name() -> str:
    """A name no bucket has."""
    return f"archive-{uuid.uuid4().hex}"


@pytest.fixture
def bucket(name: str) -> str:
    """A bucket as it was made, long ago."""
    boto3.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def lived_in(bucket: str) -> str:
    """A bucket that others use: their policy, lifecycle and notification."""
    s3 = boto3.client("s3")
    statement = THEIR_STATEMENT | {"Resource": f"arn:aws:s3:::{bucket}/*"}
    policy = {"Version": "2012-10-17", "Id": "their-policy", "Statement": [statement]}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    s3.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": [THEIR_RULE]}
    )
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [THEIR_NOTIFICATION]}
    )
    return bucket


def test_a_bucket_is_made_from_nothing(name: str) -> None:
    lines = list(harden(name, [""]))

    assert lines == [
        f"make the bucket {name} in us-east-1",
        "block public access",
        "switch access control lists off: the bucket's owner owns every object",
        "keep versions of what is deleted",
        "encrypt every object with S3's keys",
        "refuse what comes without TLS; "
        "refuse every put and copy that could overwrite, but below layer=events/ and _redacted/",
        "expire everything below _rejected/ after 30 days; remove noncurrent versions in the "
        "bucket after 30 days, unfinished uploads after 7; remove noncurrent versions below "
        "layer=events/ after 1 day",
    ]


def test_a_hardened_bucket_has_it_all(name: str) -> None:
    list(harden(name, [""]))
    found = state(name)
    [encryption] = found["encryption"]["ServerSideEncryptionConfiguration"]["Rules"]

    assert set(found["public"]["PublicAccessBlockConfiguration"].values()) == {True}
    assert found["owner"]["OwnershipControls"]["Rules"] == [
        {"ObjectOwnership": "BucketOwnerEnforced"}
    ]
    assert found["versions"]["Status"] == "Enabled"
    assert encryption["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert encryption["BucketKeyEnabled"] is True
    assert [one["Sid"] for one in statements(name)] == [TLS_ONLY, PUT_ONCE]
    assert rules(name) == {
        "hookshelf-rejected": {"Filter": {"Prefix": "_rejected/"}, "Expiration": {"Days": 30}},
        "hookshelf-noncurrent": {
            "Filter": {"Prefix": ""},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
            "Expiration": {"ExpiredObjectDeleteMarker": True},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        },
        "hookshelf-events": {
            "Filter": {"Prefix": "layer=events/"},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        },
    }


def test_planning_changes_nothing(lived_in: str) -> None:
    before = state(lived_in)

    assert missing_steps(lived_in, [""], keep_days=9)
    assert state(lived_in) == before
    assert missing_steps(f"{lived_in}-other", [""])
    assert not_there(f"{lived_in}-other")


def test_hardening_again_changes_nothing(lived_in: str) -> None:
    list(harden(lived_in, ["", "team/mail"], keep_days=9))
    before = state(lived_in)

    assert list(harden(lived_in, ["", "team/mail"], keep_days=9)) == []
    assert state(lived_in) == before


def test_each_step_is_taken_where_just_that_is_missing(bucket: str) -> None:
    s3 = boto3.client("s3")
    undo: dict[str, Callable[[], object]] = {
        "put_public_access_block": lambda: s3.put_public_access_block(
            Bucket=bucket, PublicAccessBlockConfiguration={"BlockPublicAcls": True}
        ),
        "put_bucket_ownership_controls": lambda: s3.put_bucket_ownership_controls(
            Bucket=bucket,
            OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]},
        ),
        "put_bucket_versioning": lambda: s3.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
        ),
        "put_bucket_encryption": lambda: s3.delete_bucket_encryption(Bucket=bucket),
        "put_bucket_policy": lambda: s3.delete_bucket_policy(Bucket=bucket),
        "put_bucket_lifecycle_configuration": lambda: s3.delete_bucket_lifecycle(Bucket=bucket),
    }
    list(harden(bucket, [""]))
    wanted = state(bucket)
    for operation, change in undo.items():
        change()

        assert [step.operation for step in missing_steps(bucket, [""])] == [operation]
        assert len(list(harden(bucket, [""]))) == 1
    assert state(bucket) == wanted


def test_what_others_put_there_stays(lived_in: str) -> None:
    theirs = state(lived_in)
    list(harden(lived_in, [""]))
    found = state(lived_in)
    policy = json.loads(found["policy"]["Policy"])

    assert policy["Id"] == "their-policy"
    assert policy["Statement"][0] == THEIR_STATEMENT | {"Resource": f"arn:aws:s3:::{lived_in}/*"}
    assert THEIR_RULE in found["lifecycle"]["Rules"]
    assert found["notification"] == theirs["notification"]
    assert found["notification"]["QueueConfigurations"] == [THEIR_NOTIFICATION]
    assert len(policy["Statement"]) == 1 + 2
    assert len(found["lifecycle"]["Rules"]) == 1 + 3


def test_the_size_from_which_their_rules_move_objects_stays(
    session: boto3.Session, lived_in: str
) -> None:
    """S3 takes its own default where a new configuration does not say it; moto has no other."""

    def varies(parsed: dict[str, Any], **_: Any) -> None:
        parsed["TransitionDefaultMinimumObjectSize"] = "varies_by_storage_class"

    with listening(session, "after-call.s3.GetBucketLifecycleConfiguration", varies):
        step = missing_steps(lived_in, [""])[-1]

    assert step.arguments["TransitionDefaultMinimumObjectSize"] == "varies_by_storage_class"


def test_a_policy_of_one_statement_without_a_list_stays_too(bucket: str) -> None:
    statement = THEIR_STATEMENT | {"Resource": f"arn:aws:s3:::{bucket}/*"}
    policy = {"Version": "2012-10-17", "Statement": statement}
    boto3.client("s3").put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    list(harden(bucket, [""]))

    assert [one["Sid"] for one in statements(bucket)] == ["Theirs", TLS_ONLY, PUT_ONCE]


def test_what_somebody_loosened_of_ours_is_put_right(bucket: str) -> None:
    list(harden(bucket, [""]))
    s3, wanted = boto3.client("s3"), state(bucket)
    loose = [one | {"Principal": {"AWS": ACCOUNT}} for one in statements(bucket)]
    s3.put_bucket_policy(
        Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": loose})
    )
    loose_rules = [one | {"Status": "Disabled"} for one in wanted["lifecycle"]["Rules"]]
    s3.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": loose_rules}
    )
    list(harden(bucket, [""]))

    assert state(bucket) == wanted


def test_rules_are_for_the_paths_alone_that_are_archived_into(bucket: str) -> None:
    list(harden(bucket, ["team", "team", "more/of/it"], keep_days=400))

    found = state(bucket)["lifecycle"]["Rules"]
    assert sorted((rule["Filter"]["Prefix"], rule["ID"]) for rule in found) == [
        ("more/of/it/", "hookshelf-keep-more/of/it"),
        ("more/of/it/", "hookshelf-noncurrent-more/of/it"),
        ("more/of/it/_rejected/", "hookshelf-rejected-more/of/it"),
        ("more/of/it/layer=events/", "hookshelf-events-more/of/it"),
        ("team/", "hookshelf-keep-team"),
        ("team/", "hookshelf-noncurrent-team"),
        ("team/_rejected/", "hookshelf-rejected-team"),
        ("team/layer=events/", "hookshelf-events-team"),
    ]


def test_two_stages_may_share_a_bucket(bucket: str) -> None:
    list(harden(bucket, ["dev"], keep_days=7))
    list(harden(bucket, ["prod"]))

    assert list(harden(bucket, ["dev"], keep_days=7)) == []
    assert list(harden(bucket, ["prod"])) == []
    assert "hookshelf-keep-dev" in rules(bucket)
    assert "hookshelf-keep-prod" not in rules(bucket)


def test_a_path_of_any_length_makes_a_rule_that_s3_takes(bucket: str) -> None:
    paths = ["/".join([letter * 63] * 8) for letter in "ab"]
    list(harden(bucket, paths))

    assert len(rules(bucket)) == 6
    assert max(len(name) for name in rules(bucket)) <= 255


def test_a_rule_of_the_old_kind_is_put_into_the_new_words(bucket: str) -> None:
    """S3 refuses a configuration that mixes the two."""
    s3 = boto3.client("s3")
    old = {"ID": "old", "Status": "Enabled", "Prefix": "tmp/", "Expiration": {"Days": 1}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [old]})
    list(harden(bucket, [""]))

    assert rules(bucket)["old"] == {"Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 1}}


def test_deliveries_are_kept_for_ever_unless_asked(bucket: str) -> None:
    list(harden(bucket, [""]))

    assert "hookshelf-keep" not in rules(bucket)


def test_deliveries_expire_after_the_days_asked_for(bucket: str) -> None:
    assert "expire everything in the bucket after 400 days" in lines_of(
        missing_steps(bucket, [""], keep_days=400)
    )
    list(harden(bucket, [""], keep_days=400))

    assert rules(bucket)["hookshelf-keep"] == {
        "Filter": {"Prefix": ""},
        "Expiration": {"Days": 400},
    }


def test_the_days_to_keep_can_be_changed(bucket: str) -> None:
    list(harden(bucket, [""], keep_days=400))
    list(harden(bucket, [""], keep_days=7))

    assert rules(bucket)["hookshelf-keep"]["Expiration"] == {"Days": 7}
    assert len(rules(bucket)) == 4


def test_without_the_option_an_earlier_choice_stays(bucket: str) -> None:
    list(harden(bucket, [""], keep_days=400))

    assert list(harden(bucket, [""])) == []
    assert "hookshelf-keep" in rules(bucket)


def test_zero_days_take_the_rule_away(bucket: str) -> None:
    list(harden(bucket, [""], keep_days=400))

    assert list(harden(bucket, [""], keep_days=0)) == [
        "expire no deliveries any more (hookshelf-keep)"
    ]
    assert list(harden(bucket, [""], keep_days=0)) == []
    assert set(rules(bucket)) == {"hookshelf-rejected", "hookshelf-noncurrent", "hookshelf-events"}


@pytest.mark.parametrize(
    ("key", "refused"),
    [
        pytest.param(str(DeliveryKey("", "shop", NOON, "0" * 64, "json")), True, id="delivery"),
        pytest.param(str(RejectedKey("", "shop", NOON.date(), "0" * 64)), True, id="rejected"),
        ("_redacted/shop/a.json", False),
        ("layer=events/app=shop/month=2026-11/2026-11-20.parquet", False),
        ("layer=eventsful/a", True),
        ("_events/shop/a.parquet", True),
        ("_manifests/a", True),
        ("anything", True),
    ],
)
def test_a_put_that_could_overwrite_is_refused(name: str, key: str, refused: bool) -> None:
    [step] = [
        step for step in missing_steps(name, ["team"]) if step.operation == "put_bucket_policy"
    ]
    statement = json.loads(step.arguments["Policy"])["Statement"][-1]
    plain = {"s3:ObjectCreationOperation": "true"}
    conditional = plain | {"s3:if-none-match": "*"}
    part_of_an_upload = {"s3:ObjectCreationOperation": "false"}
    for prefix in ("", "team/", "team/mail/"):
        arn = f"arn:aws:s3:::{name}/{prefix}{key}"

        assert denies(statement, arn, plain) is refused
        assert not denies(statement, arn, conditional)
        assert not denies(statement, arn, part_of_an_upload)


def test_every_action_without_tls_is_refused(bucket: str) -> None:
    list(harden(bucket, [""]))
    [tls, _] = statements(bucket)

    assert tls["Action"] == "s3:*"
    assert tls["Principal"] == "*"
    assert tls["Resource"] == [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    assert denies(tls, f"arn:aws:s3:::{bucket}/a", {"aws:SecureTransport": "false"})
    assert not denies(tls, f"arn:aws:s3:::{bucket}/a", {"aws:SecureTransport": "true"})


def test_interrupted_anywhere_and_run_again_it_ends_in_the_same_place(
    session: boto3.Session, name: str
) -> None:
    """Before each call in turn, which is also after the one before it."""
    list(harden(name, [""], keep_days=9))
    wanted = like(state(name), name)
    for call in range(1, 100):
        other, reached = f"{name}-{call}", False
        with interruption(session, call):
            try:
                list(harden(other, [""], keep_days=9))
                reached = True
            except Interrupted:
                list(harden(other, [""], keep_days=9))

        assert like(state(other), other) == wanted
        if reached:
            break
    # Before it came to the end: whose account, whether it is there, seven steps and a look.
    assert call == 10 + 1


def test_a_bucket_of_another_account_is_refused(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(bucket)
    monkeypatch.setenv("MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS", "false")
    with as_another_account(monkeypatch), pytest.raises(BucketUnusable) as refused:
        list(harden(bucket, [""]))

    assert f"The bucket {bucket} belongs to another account than 111111111111" in str(refused.value)
    assert state(bucket) == before


def test_every_call_names_our_account_as_the_owner(session: boto3.Session, name: str) -> None:
    """moto does not look at it; AWS refuses a bucket that changed hands meanwhile."""
    owners: dict[str, set[str | None]] = {}

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        owners.setdefault(model.name, set()).add(params.get("ExpectedBucketOwner"))

    with listening(session, "before-parameter-build.s3", note):
        list(harden(name, [""]))
        list(harden(name, [""]))
        kms_key(name)

    assert owners.pop("CreateBucket") == {None}
    assert len(owners) == 13
    assert set().union(*owners.values()) == {ACCOUNT}


def test_a_bucket_in_another_region_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3.client("s3", region_name="eu-west-1").create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    with pytest.raises(BucketUnusable) as refused:
        list(harden(name, [""]))

    assert f"The bucket {name} is in eu-west-1" in str(refused.value)
    assert "AWS_DEFAULT_REGION=eu-west-1" in str(refused.value)
    assert "BucketVersioning" not in state(name)["versions"]


def test_a_redirect_to_another_region_is_refused(session: boto3.Session, name: str) -> None:
    elsewhere = answer(301, {"x-amz-bucket-region": "eu-west-1"})
    with (
        listening(session, "before-call.s3.HeadBucket", elsewhere),
        pytest.raises(BucketUnusable, match="is in eu-west-1"),
    ):
        missing_steps(name, [""])


@pytest.mark.parametrize("status", [400, 500])
def test_any_other_answer_is_no_reason_to_make_a_bucket(
    session: boto3.Session, name: str, status: int
) -> None:
    with (
        listening(session, "before-call.s3.HeadBucket", answer(status, {})),
        pytest.raises(ClientError, match="HeadBucket"),
    ):
        list(harden(name, [""]))

    assert not_there(name)


def test_a_bucket_is_made_in_the_region_of_the_functions(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    list(harden(name, [""]))

    assert list(harden(name, [""])) == []
    assert boto3.client("s3").head_bucket(Bucket=name)["BucketRegion"] == "eu-central-1"


def test_without_a_region_nothing_is_asked_of_aws(
    session: boto3.Session, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 alone would take us-east-1."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with interruption(session, 1), pytest.raises(NoRegionError):
        list(harden(name, [""]))


def test_an_access_point_is_no_bucket() -> None:
    with pytest.raises(BucketUnusable, match="Harden the bucket behind it"):
        missing_steps("arn:aws:s3:us-east-1:123456789012:accesspoint/mine", [""])


def test_in_china_the_policy_names_chinas_partition(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "cn-north-1")
    [step] = [step for step in missing_steps(name, [""]) if step.operation == "put_bucket_policy"]

    assert f"arn:aws-cn:s3:::{name}/*" in step.arguments["Policy"]
    assert "arn:aws:" not in step.arguments["Policy"]


@pytest.mark.parametrize("operation", ["CreateBucket", "PutBucketPolicy"])
def test_a_bucket_that_s3_is_busy_with_is_waited_for(
    session: boto3.Session, monkeypatch: pytest.MonkeyPatch, name: str, operation: str
) -> None:
    """As is the name of one that was deleted a minute ago."""
    with busy(session, monkeypatch, operation, times=3) as asked:
        list(harden(name, [""]))

    assert len(asked) == 4
    assert missing_steps(name, [""]) == []


def test_a_bucket_that_stays_busy_is_an_error(
    session: boto3.Session, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with (
        busy(session, monkeypatch, "CreateBucket", times=100) as asked,
        pytest.raises(ClientError, match="OperationAborted"),
    ):
        list(harden(name, [""]))

    assert len(asked) == MAX_ATTEMPTS


@pytest.mark.parametrize("written", ["KeyId", "Arn", "alias"])
def test_a_key_of_your_own_stays_and_is_told(bucket: str, written: str) -> None:
    kms = boto3.client("kms")
    key = kms.create_key()["KeyMetadata"]
    alias = f"alias/{uuid.uuid4().hex}"
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    encrypt(bucket, SSEAlgorithm="aws:kms", KMSMasterKeyID=key.get(written, alias))
    before = state(bucket)["encryption"]
    list(harden(bucket, [""]))

    assert state(bucket)["encryption"] == before
    assert kms_key(bucket) == key["Arn"]


def test_a_bucket_without_a_key_of_your_own_needs_no_permission(bucket: str, name: str) -> None:
    assert kms_key(bucket) is None
    list(harden(bucket, [""]))
    assert kms_key(bucket) is None
    encrypt(bucket, SSEAlgorithm="aws:kms")

    assert kms_key(bucket) is None


def test_a_bucket_that_is_not_there_has_no_key(name: str) -> None:
    assert kms_key(name) is None


def state(bucket: str) -> dict[str, Any]:
    """All that is set for a bucket; {} where something is not."""
    s3, found = boto3.client("s3"), {}
    for part, method in SETTINGS.items():
        try:
            answer = getattr(s3, method)(Bucket=bucket)
        except ClientError as error:
            assert error.response["Error"]["Code"] != "NoSuchBucket"
            answer = {}
        found[part] = {key: answer[key] for key in answer if key != "ResponseMetadata"}
    return found


def like(found: dict[str, Any], bucket: str) -> dict[str, Any]:
    """The state of a bucket, whatever its name."""
    named: dict[str, Any] = json.loads(json.dumps(found).replace(bucket, "BUCKET"))
    return named


def statements(bucket: str) -> list[dict[str, Any]]:
    policy = boto3.client("s3").get_bucket_policy(Bucket=bucket)["Policy"]
    found: list[dict[str, Any]] = json.loads(policy)["Statement"]
    return found


def rules(bucket: str) -> dict[str, dict[str, Any]]:
    """The lifecycle rules that are on, by ID."""
    found = boto3.client("s3").get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    return {rule.pop("ID"): rule for rule in found if rule.pop("Status") == "Enabled"}


def lines_of(steps: list[Step]) -> str:
    return "\n".join(step.line for step in steps)


def not_there(bucket: str) -> bool:
    try:
        boto3.client("s3").head_bucket(Bucket=bucket)
    except ClientError as error:
        return error.response["Error"]["Code"] == "404"
    return False


def encrypt(bucket: str, **default: str) -> None:
    rule = {"ApplyServerSideEncryptionByDefault": default}
    boto3.client("s3").put_bucket_encryption(
        Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]}
    )


def denies(statement: dict[str, Any], arn: str, request: dict[str, str]) -> bool:
    """What AWS makes of a Deny with the conditions we use, for one object.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
    """
    if "NotResource" in statement:
        named = not any(fnmatchcase(arn, pattern) for pattern in statement["NotResource"])
    else:
        named = any(fnmatchcase(arn, pattern) for pattern in statement["Resource"])
    conditions = statement["Condition"]
    is_null = conditions.get("Null", {}).items()
    is_bool = conditions.get("Bool", {}).items()
    return (
        statement["Effect"] == "Deny"
        and named
        and all((key not in request) == (value == "true") for key, value in is_null)
        and all(request.get(key) == value for key, value in is_bool)
    )


@contextmanager
def interruption(session: boto3.Session, call: int) -> Iterator[None]:
    """Interrupt before one call to AWS, counted from 1."""
    calls = count(1)

    def interrupt(**_: Any) -> None:
        if next(calls) == call:
            raise Interrupted

    with listening(session, "before-call", interrupt):
        yield


@contextmanager
def busy(
    session: boto3.Session, monkeypatch: pytest.MonkeyPatch, operation: str, times: int
) -> Iterator[list[object]]:
    """S3 refuses an operation as it does while it works on the bucket; each time it was asked."""
    monkeypatch.setattr("hookshelf.deploy.bucket.BUSY_DELAY", 0)
    asked: list[object] = []

    def refuse(**_: Any) -> object:
        asked.append(None)
        return answer(409, {}, "OperationAborted")() if len(asked) <= times else None

    with listening(session, f"before-call.s3.{operation}", refuse):
        yield asked


@contextmanager
def as_another_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    role = boto3.client("sts").assume_role(
        RoleArn="arn:aws:iam::111111111111:role/other", RoleSessionName="other"
    )["Credentials"]
    with monkeypatch.context() as environ:
        environ.setenv("AWS_ACCESS_KEY_ID", role["AccessKeyId"])
        environ.setenv("AWS_SECRET_ACCESS_KEY", role["SecretAccessKey"])
        environ.setenv("AWS_SESSION_TOKEN", role["SessionToken"])
        boto3.setup_default_session()
        yield
    boto3.DEFAULT_SESSION = shell()


def answer(status: int, headers: dict[str, str], code: str = "") -> Callable[..., object]:
    """One of S3 that cannot be had from moto; to HEAD, the status is all the code there is."""
    parsed = {
        "Error": {"Code": code or str(status), "Message": ""},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }
    return lambda **_: (AWSResponse("http://127.0.0.1/", status, headers, None), parsed)


@contextmanager
def listening(session: boto3.Session, event: str, listener: Callable[..., Any]) -> Iterator[None]:
    """https://boto3.amazonaws.com/v1/documentation/api/latest/guide/events.html"""
    session.events.register(event, listener)
    try:
        yield
    finally:
        session.events.unregister(event, listener)
