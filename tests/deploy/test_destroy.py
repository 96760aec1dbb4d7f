"""What `hookshelf destroy` and `deploy` do to stacks that hookshelf did not make: nothing."""

import json

import boto3
import pytest
from click.testing import CliRunner, Result

from hookshelf.__main__ import main
from hookshelf.deploy.stack import Stack

QUEUE = {"Jobs": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "their-jobs"}}}
OURS = {"Metadata": {"hookshelf": {"archive_buckets": "my-webhooks"}}}

pytestmark = pytest.mark.usefixtures("aws_shell")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments])


def make_stack(name: str, **template: object) -> None:
    body = json.dumps({"Resources": QUEUE, **template})
    boto3.client("cloudformation").create_stack(StackName=name, TemplateBody=body)


def queues() -> list[str]:
    return [
        url.rpartition("/")[2] for url in boto3.client("sqs").list_queues().get("QueueUrls", ())
    ]


def test_a_stack_of_somebody_else_is_not_destroyed_whatever_it_is_called() -> None:
    make_stack("hookshelf-website")
    done = run("destroy", "--stage", "website", "--yes")

    assert done.exit_code == 2
    assert "Stack hookshelf-website was not made by hookshelf" in done.output
    assert queues() == ["their-jobs"]


def test_nor_is_it_changed_by_a_deploy() -> None:
    make_stack("hookshelf-dev")
    done = run("deploy", "--stage", "dev", "--bucket", "my-webhooks", "--create-bucket")

    assert done.exit_code == 2
    assert "Stack hookshelf-dev was not made by hookshelf" in done.output
    assert queues() == ["their-jobs"]


@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "CREATE_FAILED", "REVIEW_IN_PROGRESS"])
def test_nor_is_it_replaced_where_it_is_broken(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    make_stack("hookshelf-dev")
    monkeypatch.setattr(Stack, "status", lambda self: status)
    done = run("deploy", "--stage", "dev", "--bucket", "my-webhooks", "--create-bucket")

    assert done.exit_code == 2
    assert "was not made by hookshelf" in done.output
    assert queues() == ["their-jobs"]


def test_what_goes_and_what_stays_is_listed_before_anything_is_deleted() -> None:
    make_stack("hookshelf-dev", **OURS)
    done = run("destroy", "--stage", "dev")  # without a terminal there is nobody to ask

    assert done.exit_code == 2
    assert "- Jobs (AWS::SQS::Queue)" in done.stdout
    assert "Kept, with all that is archived: my-webhooks" in done.stdout
    assert queues() == ["their-jobs"]


def test_a_stack_of_ours_is_destroyed() -> None:
    make_stack("hookshelf-dev", **OURS)
    done = run("destroy", "--stage", "dev", "--yes")

    assert (done.exit_code, queues()) == (0, [])
