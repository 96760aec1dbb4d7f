"""What each function may do is what its stage's settings need, by name, and nothing wider."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.policies import listed, wide
from support.project import PROJECT

from chalicelib.settings import SettingError
from hookshelf.__main__ import main
from hookshelf.deploy.deployment import HANDLERS
from hookshelf.deploy.policies import PLACEHOLDER, file_name, is_configured, is_key_arn, policies
from hookshelf.settings import stage_environment

FOLDER = PROJECT / ".chalice"
FILES = sorted(FOLDER.glob("policy*.json"))
KEY = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
QUEUE = "arn:aws:sqs:eu-west-1:111122223333:hookshelf-failed"
BUCKET = {"ARCHIVE_BUCKETS": "my-bucket"}
POINT = "arn:aws:s3:eu-west-1:111122223333:accesspoint/mine"
GOOD = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::my-bucket/*"}


@pytest.fixture
def apps_file(tmp_path: Path) -> Any:
    """Write an APPS_FILE, and give the variables that name it."""

    def write(**apps: Any) -> dict[str, str]:
        file = tmp_path / "apps.json"
        file.write_text(json.dumps(apps))
        return BUCKET | {"APPS_FILE": str(file)}

    return write


@pytest.mark.parametrize("name", [file.name for file in FILES])
def test_no_policy_file_is_wide(name: str) -> None:
    assert wide(json.loads((FOLDER / name).read_text())) == []


@pytest.mark.parametrize("owner", ["", "111122223333"])
@pytest.mark.parametrize(
    "buckets", ["my-bucket", "my-bucket/team/mail", f"{POINT},b.c.d/x", f"{POINT}/deep/down"]
)
def test_no_policy_is_wide_whatever_the_settings(buckets: str, owner: str, apps_file: Any) -> None:
    apps = apps_file(
        stripe={"secrets": ["ssm:/a/b", "ssm:c:3", "secretsmanager:d/e"]},
        github={"secrets": ["secretsmanager:f", "env:G", "literal"]},
    )
    found = policies(
        "prod",
        apps | {"ARCHIVE_BUCKETS": buckets, "ARCHIVE_BUCKET_OWNER": owner},
        kms_keys=[KEY],
        dead_letters={"deliver": QUEUE, "track_s3": {"Fn::GetAtt": ["Failed", "Arn"]}},
    )

    assert set(found) == set(HANDLERS)
    assert [wide(policy) for policy in found.values()] == [[], [], []]


@pytest.mark.parametrize(
    "change",
    [
        {"Resource": "*"},
        {"Resource": ["*"]},
        {"Resource": ["arn:aws:s3:::my-bucket/*", "*"]},
        {"Resource": "arn:aws:s3:::*"},
        {"Resource": "arn:aws:s3:::*/*"},
        {"Resource": "arn:aws:s3:::my-*/*"},
        {"Resource": "arn:aws:s3:::my-bucke?/*"},
        {"Resource": "arn:aws:s3:::my-bucket*"},
        {"Resource": "arn:*:s3:::my-bucket/*"},
        {"Resource": {"Fn::Sub": "arn:${AWS::Partition}:s3:::*"}},
        {"Resource": {"Fn::Sub": ["arn:aws:s3:::${B}*", {"B": "b"}]}},
        {"Resource": {"Fn::Join": ["", ["arn:aws:s3:::", "*"]]}},
        {"Resource": {"Fn::Select": [0, ["*"]]}},
        {"Resource": []},
        {"Action": "*"},
        {"Action": ["*"]},
        {"Action": "s3:*"},
        {"Action": "S3:Put*"},
        {"Action": ["s3:PutObject", "s3:*"]},
        {"Action": "s3:GetObject"},
        {"Action": "s3:DeleteObject"},
        {"Action": "logs:PutLogEvents", "Resource": "arn:aws:logs:*:*:*"},
        {
            "Action": "logs:PutLogEvents",
            "Resource": "arn:aws:logs:*:*:log-group:/aws/lambda/hookshelf-dev*:*",
        },
        {"Action": "kms:GenerateDataKey", "Resource": "*"},
        {"Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:eu-west-1:111122223333:*"},
        {"Action": "ssm:GetParameter", "Resource": "arn:aws:ssm:*:*:parameter/*"},
        {
            "Action": "secretsmanager:GetSecretValue",
            "Resource": "arn:aws:secretsmanager:*:*:secret:*-??????",
        },
        {"Effect": "allow", "Action": "*"},
        {"NotAction": "s3:GetObject"},
        {"NotResource": "arn:aws:s3:::my-bucket/*"},
        {"Principal": "*"},
    ],
    ids=json.dumps,
)
def test_no_wide_statement_escapes_the_search(change: dict[str, Any]) -> None:
    assert wide({"Statement": [GOOD]}) == []
    assert wide({"Statement": GOOD | change})
    assert wide({"Statement": [GOOD, GOOD | change]})


def test_a_statement_too_many_in_a_role_is_found() -> None:
    policy = policies("prod", BUCKET)["deliver"]
    extra = {"Sid": "More", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}
    policy["Statement"].append(extra)

    assert wide(policy) == ["More: action s3:ListBucket"]


@pytest.mark.parametrize("part", ["Action", "Resource"])
def test_a_statement_without_one_of_its_parts_is_found(part: str) -> None:
    assert wide({"Statement": [{key: GOOD[key] for key in GOOD if key != part}]})


@pytest.mark.parametrize(
    "resource",
    [
        {"Fn::GetAtt": ["Failed", "Arn"]},
        {"Ref": "Topic"},
        {"Fn::Sub": "arn:${AWS::Partition}:s3:::${Bucket}/*"},
        {"Fn::Join": ["", ["arn:aws:s3:::", {"Ref": "Bucket"}, "/*"]]},
    ],
    ids=json.dumps,
)
def test_what_a_template_names_is_one_thing(resource: dict[str, Any]) -> None:
    assert wide({"Statement": [GOOD | {"Resource": resource}]}) == []


def test_a_deny_may_be_as_wide_as_it_likes() -> None:
    assert wide({"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}) == []


def test_the_entry_points_may_put_objects_and_write_their_own_logs_and_no_more() -> None:
    found = policies("prod", BUCKET)

    assert actions(found["api_handler"]) == actions(found["deliver"])
    assert actions(found["deliver"]) == {
        "s3:PutObject",
        "logs:CreateLogGroup",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }


def test_the_tracker_may_read_its_own_description_and_write_its_logs() -> None:
    tracker = policies("prod", BUCKET)["track_s3"]

    assert resources(tracker, "lambda:GetFunctionConfiguration") == [
        "arn:aws:lambda:*:*:function:hookshelf-prod-track_s3"
    ]
    assert actions(tracker) == {
        "lambda:GetFunctionConfiguration",
        "logs:CreateLogGroup",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }


@pytest.mark.parametrize(
    ("buckets", "arns"),
    [
        ("my-bucket", ["arn:aws:s3:::my-bucket/*"]),
        ("my-bucket/team/mail", ["arn:aws:s3:::my-bucket/team/mail/*"]),
        ("a-bucket, b-bucket/c", ["arn:aws:s3:::a-bucket/*", "arn:aws:s3:::b-bucket/c/*"]),
        ("a-bucket,a-bucket", ["arn:aws:s3:::a-bucket/*"]),
        (POINT, [f"{POINT}/object/*"]),
        (f"{POINT}/team", [f"{POINT}/object/team/*"]),
    ],
)
def test_objects_are_put_where_archive_buckets_says(buckets: str, arns: list[str]) -> None:
    found = policies("prod", {"ARCHIVE_BUCKETS": buckets})

    assert resources(found["api_handler"], "s3:PutObject") == arns
    assert resources(found["deliver"], "s3:PutObject") == arns
    assert resources(found["track_s3"], "s3:PutObject") == []


def test_a_bucket_of_another_account_than_the_owners_gets_nothing() -> None:
    owned = policies("prod", BUCKET | {"ARCHIVE_BUCKET_OWNER": "111122223333"})["deliver"]

    assert condition(owned, "s3:PutObject") == {
        "StringEquals": {"aws:ResourceAccount": "111122223333"}
    }
    assert condition(policies("prod", BUCKET)["deliver"], "s3:PutObject") is None


@pytest.mark.parametrize(
    ("handler", "group"),
    [
        ("api_handler", "hookshelf-prod"),
        ("deliver", "hookshelf-prod-deliver"),
        ("track_s3", "hookshelf-prod-track_s3"),
    ],
)
def test_a_function_writes_its_own_logs_alone(handler: str, group: str) -> None:
    assert resources(policies("prod", BUCKET)[handler], "logs:PutLogEvents") == [
        f"arn:aws:logs:*:*:log-group:/aws/lambda/{group}:*"
    ]


def test_where_the_stack_makes_the_log_group_the_function_does_not() -> None:
    group = {"Fn::GetAtt": ["APIHandlerLogs", "Arn"]}
    found = policies("prod", BUCKET, logs={"api_handler": group})

    assert resources(found["api_handler"], "logs:PutLogEvents") == [group]
    assert resources(found["api_handler"], "logs:CreateLogStream") == [group]
    assert "logs:CreateLogGroup" not in actions(found["api_handler"])
    assert "logs:CreateLogGroup" in actions(found["deliver"])


def test_a_function_sends_to_its_own_dead_letter_queue() -> None:
    queue = {"Fn::GetAtt": ["TrackFailed", "Arn"]}
    found = policies("prod", BUCKET, dead_letters={"deliver": QUEUE, "track_s3": queue})

    assert resources(found["deliver"], "sqs:SendMessage") == [QUEUE]
    assert resources(found["track_s3"], "sqs:SendMessage") == [queue]
    assert "sqs:SendMessage" not in actions(found["api_handler"])


def test_a_key_of_your_own_is_used_through_s3_alone() -> None:
    found = policies("prod", BUCKET, kms_keys=[KEY])

    assert resources(found["api_handler"], "kms:GenerateDataKey") == [KEY]
    assert condition(found["api_handler"], "kms:GenerateDataKey") == {
        "StringLike": {"kms:ViaService": ["s3.*.amazonaws.com"]}
    }
    assert "kms:Decrypt" not in actions(found["api_handler"])
    assert "kms:GenerateDataKey" not in actions(found["track_s3"])


def test_a_key_of_your_own_may_decrypt_the_secrets_that_are_read(apps_file: Any) -> None:
    environ = apps_file(stripe={"secrets": ["ssm:/a"]})
    found = policies("prod", environ, kms_keys=[KEY])["deliver"]

    assert resources(found, "kms:Decrypt") == [KEY]
    assert condition(found, "kms:Decrypt") == {
        "StringLike": {"kms:ViaService": ["ssm.*.amazonaws.com"]}
    }
    assert "kms:Decrypt" not in actions(policies("prod", environ)["deliver"])


@pytest.mark.parametrize(
    ("reference", "arn"),
    [
        ("ssm:/hookshelf/stripe", "arn:aws:ssm:*:*:parameter/hookshelf/stripe"),
        ("ssm:stripe", "arn:aws:ssm:*:*:parameter/stripe"),
        ("ssm:/stripe:3", "arn:aws:ssm:*:*:parameter/stripe"),
        ("ssm:stripe:live", "arn:aws:ssm:*:*:parameter/stripe"),
        (
            "ssm:arn:aws:ssm:eu-west-1:111122223333:parameter/a/b",
            "arn:aws:ssm:eu-west-1:111122223333:parameter/a/b",
        ),
        (
            "ssm:arn:aws:ssm:eu-west-1:111122223333:parameter/a:7",
            "arn:aws:ssm:eu-west-1:111122223333:parameter/a",
        ),
        ("secretsmanager:hook/meta", "arn:aws:secretsmanager:*:*:secret:hook/meta-??????"),
        ("secretsmanager:my-secret", "arn:aws:secretsmanager:*:*:secret:my-secret-??????"),
        (
            "secretsmanager:arn:aws:secretsmanager:eu-west-1:111122223333:secret:meta-a1B2c3",
            "arn:aws:secretsmanager:eu-west-1:111122223333:secret:meta-a1B2c3",
        ),
        (
            "secretsmanager:arn:aws:secretsmanager:eu-west-1:111122223333:secret:meta",
            "arn:aws:secretsmanager:eu-west-1:111122223333:secret:meta-??????",
        ),
    ],
)
@pytest.mark.parametrize("field", ["secrets", "public_keys"])
def test_a_secret_that_is_referred_to_may_be_read_and_no_other(
    apps_file: Any, field: str, reference: str, arn: str
) -> None:
    action = "ssm:GetParameter" if reference[:3] == "ssm" else "secretsmanager:GetSecretValue"
    found = policies("prod", apps_file(standard={field: [reference, reference]}))

    assert resources(found["api_handler"], action) == [arn]
    assert resources(found["deliver"], action) == [arn]
    assert action not in actions(found["track_s3"])


def test_a_secret_that_nobody_resolves_needs_no_permission(apps_file: Any) -> None:
    environ = apps_file(
        stripe={"secrets": ["ssm:/a"], "signature": "ignore"},
        github={"secrets": ["env:SECRET", "a literal: one with a colon"]},
    )

    assert policies("prod", environ) == policies("prod", BUCKET)


@pytest.mark.parametrize(
    "reference",
    [
        "ssm:*",
        "ssm:/a/*",
        "ssm:/a?",
        "ssm:",
        "ssm:/",
        "ssm:${aws:username}",
        "ssm:arn:aws:ssm:*:*:parameter/a",
        "ssm:arn:aws:ssm:eu-west-1:111122223333:parameterx",
        "ssm:a:b:c",
        "secretsmanager:*",
        "secretsmanager:a*",
        "secretsmanager:",
        "secretsmanager:arn:aws:secretsmanager:*:111122223333:secret:a",
        "secretsmanager:arn:aws:ssm:eu-west-1:111122223333:secret:a",
        "ssm:/a\n",
    ],
)
def test_a_reference_that_would_widen_the_policy_is_refused(apps_file: Any, reference: str) -> None:
    with pytest.raises(SettingError) as refused:
        policies("prod", apps_file(stripe={"secrets": ["env:A", reference]}))

    assert "APPS_FILE has a wrong secrets[1] for app stripe" in str(refused.value)


def test_a_wrong_apps_file_is_named_and_no_secret_shown(apps_file: Any) -> None:
    with pytest.raises(SettingError) as refused:
        policies("prod", apps_file(stripe={"secrets": "the-secret-itself"}))

    assert "APPS_FILE has a wrong secrets for app stripe" in str(refused.value)
    assert "the-secret-itself" not in str(refused.value)


def test_in_china_every_arn_and_service_is_chinas(apps_file: Any) -> None:
    environ = apps_file(stripe={"secrets": ["ssm:/a", "secretsmanager:b"]})
    key = KEY.replace("arn:aws", "arn:aws-cn")
    found = json.dumps(policies("prod", environ, kms_keys=[key], partition="aws-cn"))

    assert "arn:aws:" not in found
    assert found.count("arn:aws-cn:") == 2 * 6 + 2
    assert set(re.findall(r"\.amazonaws\.com[.a-z]*", found)) == {".amazonaws.com.cn"}


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_the_files_of_a_fresh_clone_are_these_policies_around_a_placeholder(stage: str) -> None:
    environ = stage_environment(stage)
    if is_configured(environ):
        pytest.skip(f"stage {stage} has a bucket here; `hookshelf policy --check` looks at it")
    environ["ARCHIVE_BUCKETS"] = "a-placeholder"
    for handler, policy in policies(stage, environ).items():
        text = (FOLDER / file_name(stage, handler)).read_text()

        assert json.loads(text.replace(PLACEHOLDER, "a-placeholder")) == policy


@pytest.mark.parametrize("buckets", ["CHANGE-ME", " CHANGE-ME/path", "my-bucket,CHANGE-ME"])
def test_until_a_bucket_is_named_there_are_no_policies_to_make(buckets: str) -> None:
    environ = {"ARCHIVE_BUCKETS": buckets}

    assert not is_configured(environ)
    assert is_configured(BUCKET)
    with pytest.raises(SettingError, match="ARCHIVE_BUCKETS"):
        policies("prod", environ)


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "alias/mine",
        "arn:aws:kms:eu-west-1:111122223333:alias/mine",
        "arn:aws:kms:eu-west-1:111122223333:key/*",
        "arn:aws:kms:*:111122223333:key/1234abcd",
        KEY + "\n",
    ],
)
def test_only_one_key_is_a_key(text: str) -> None:
    assert is_key_arn(KEY)
    assert not is_key_arn(text)
    done = CliRunner().invoke(main, ["policy", "--stage", "prod", "--kms-key", text])

    assert done.exit_code == 2
    assert "is not the ARN of a key" in done.stderr


class Project:
    """A clone of its own, where stage prod archives into a bucket and dev has none yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("chalicelib", "hookshelf"):
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(PROJECT / name, folder / name, ignore=skip)
        (folder / ".chalice").mkdir()
        for file in (FOLDER / "config.json", *FILES):
            shutil.copy(file, folder / ".chalice")
        self.config = json.loads((folder / ".chalice" / "config.json").read_text())
        stages = self.config["stages"]
        stages["dev"]["environment_variables"]["ARCHIVE_BUCKETS"] = PLACEHOLDER
        stages["prod"]["environment_variables"] = {"ARCHIVE_BUCKETS": "my-bucket/mail"}
        self.configure()

    def configure(self) -> None:
        (self.folder / ".chalice" / "config.json").write_text(json.dumps(self.config))

    def run(self, *words: str, **shell: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hookshelf", "policy", *words],
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if name[:4] != "AWS_"} | shell,
            capture_output=True,
            text=True,
            check=False,
        )

    def files(self, stage: str = "prod") -> dict[str, Any]:
        """What lies there for a stage, by handler."""
        return {
            handler: json.loads((self.folder / ".chalice" / file_name(stage, handler)).read_text())
            for handler in HANDLERS
        }


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.slow
def test_the_verb_writes_what_differs_and_the_check_agrees_afterwards(project: Project) -> None:
    before, listing = project.files(), sorted((project.folder / ".chalice").iterdir())
    first = project.run("--stage", "prod", "--check")
    assert first.returncode == 1
    assert "differs    policy-prod-deliver.json" in first.stdout
    assert "unchanged  policy-prod-track_s3.json" in first.stdout
    assert "hookshelf policy --stage prod" in first.stderr
    assert project.files() == before

    written = project.run("--stage", "prod")
    assert (written.returncode, written.stderr) == (0, "")
    assert "written    policy-prod-deliver.json" in written.stdout
    assert "unchanged  policy-prod-track_s3.json" in written.stdout
    assert project.files() == policies("prod", {"ARCHIVE_BUCKETS": "my-bucket/mail"})
    assert sorted((project.folder / ".chalice").iterdir()) == listing

    again = project.run("--stage", "prod", "--check")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.count("unchanged") == 3


def test_the_verb_takes_a_key_and_the_partition_of_the_region(project: Project) -> None:
    key = "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/1234abcd"
    done = project.run("--stage", "prod", "--kms-key", key, AWS_DEFAULT_REGION="us-gov-west-1")

    assert done.returncode == 0
    assert project.files() == policies(
        "prod",
        {"ARCHIVE_BUCKETS": "my-bucket/mail"},
        kms_keys=[key],
        partition="aws-us-gov",
    )


def test_the_verb_says_it_as_json_too(project: Project) -> None:
    (project.folder / ".chalice" / "policy-prod-deliver.json").unlink()
    (project.folder / ".chalice" / "policy-prod-api_handler.json").write_text("{")
    done = project.run("--stage", "prod", "--check", "--json")

    assert done.returncode == 1
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"stage": "prod", "handler": handler, "file": f"policy-prod-{handler}.json", "state": state}
        for handler, state in [
            ("api_handler", "differs"),
            ("deliver", "missing"),
            ("track_s3", "unchanged"),
        ]
    ]


@pytest.mark.slow
def test_the_check_fails_where_chalice_would_take_another_policy(project: Project) -> None:
    project.config["stages"]["prod"]["lambda_functions"] = {
        "api_handler": {"iam_policy_file": "policy-of-old.json"},
        "track_s3": {"iam_policy_file": "policy-prod-track_s3.json", "autogen_policy": True},
    }
    project.configure()
    assert project.run("--stage", "prod").returncode == 0
    done = project.run("--stage", "prod", "--check")

    assert done.returncode == 1
    assert done.stdout.count("unchanged") == 3
    for handler in HANDLERS:
        assert f"Chalice does not use policy-prod-{handler}.json" in done.stderr


def test_a_stage_without_a_bucket_is_told_so_and_left_alone(project: Project) -> None:
    before = project.files("dev")
    done = project.run("--stage", "dev")

    assert done.returncode == 2
    assert "ARCHIVE_BUCKETS of stage dev is still CHANGE-ME" in done.stderr
    assert project.files("dev") == before


@pytest.mark.parametrize(
    ("stage", "said"), [("local", "runs on your machine"), ("nowhere", "No stage 'nowhere'")]
)
def test_a_stage_that_is_not_deployed_has_no_policies(stage: str, said: str) -> None:
    done = CliRunner().invoke(main, ["policy", "--stage", stage])

    assert done.exit_code == 2
    assert said in done.stderr


def actions(policy: dict[str, Any]) -> set[str]:
    return {action for one in policy["Statement"] for action in listed(one["Action"])}


def resources(policy: dict[str, Any], action: str) -> list[Any]:
    """Every resource for which an action is allowed."""
    return [
        resource
        for one in policy["Statement"]
        if action in listed(one["Action"])
        for resource in listed(one["Resource"])
    ]


def condition(policy: dict[str, Any], action: str) -> Any:
    [found] = [one for one in policy["Statement"] if action in listed(one["Action"])]
    return found.get("Condition")
