"""Taking a stage off AWS: its stack and its code. The archive is no part of either."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.errors import MisuseError
from hookshelf.aws import account
from hookshelf.deploy import code_bucket
from hookshelf.deploy.deployment import chalice_record, stack_name
from hookshelf.deploy.plan import refuse_foreign_stack
from hookshelf.deploy.progress import Progress
from hookshelf.deploy.stack import (
    Stack,
    StackFailed,
    StackResource,
    reason,
    stack_metadata,
    wait_and_report,
    wait_until_idle,
)


@dataclass(frozen=True, slots=True)
class Removal:
    """What `destroy` would delete."""

    stack: str  # its name
    resources: tuple[StackResource, ...]  # of the stack; empty where only code is left
    archive: str  # ARCHIVE_BUCKETS, which stay, or words for it


def find_removal(stage: str, progress: Progress) -> Removal:
    """What there is to delete of a stage. Raises MisuseError where there is nothing of ours."""
    stack = Stack(stack_name(stage))
    refuse_foreign_stack(stack)
    status = wait_until_idle(stack, progress)
    if not status and not code_bucket.holds_stage(account(), stage):
        raise MisuseError(
            f"Stage {stage} has no stack in this region: nothing to destroy"
            + (
                f". What chalice deploy made: chalice delete --stage {stage}"
                if chalice_record(stage).exists()
                else ""
            )
        )
    archive = stack_metadata(stack.template()).get("archive_buckets", "every bucket")
    return Removal(stack.name, tuple(stack.resources()) if status else (), archive)


def destroy(stage: str, progress: Progress) -> None:
    """Delete a stage's stack and its code.

    Raises MisuseError for a stack that is not ours, StackFailed where CloudFormation could not.
    """
    stack = Stack(stack_name(stage))
    refuse_foreign_stack(stack)
    since = stack.last_event()
    if stack.status():
        stack.delete()
    failed = wait_and_report(stack, since, progress)
    if stack.status():
        raise StackFailed(f"Stack {stack.name} could not be deleted. {reason(failed, stack)}")
    code_bucket.remove_stage(account(), stage)
