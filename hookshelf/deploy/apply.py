"""Doing what a plan says. Every step can be repeated, and a run that was interrupted anywhere ends,
run again, in the same place."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import boto3
from botocore.exceptions import ClientError

from chalicelib.types import Json
from hookshelf.deploy import bucket, code_bucket, deploy_lock, stage_variables, template
from hookshelf.deploy.deployment import (
    COMPACTOR,
    LOGICAL_IDS,
    Deployment,
    NotDeployed,
    find_deployment,
    function_name,
    stack_name,
)
from hookshelf.deploy.drift import drifts, restore
from hookshelf.deploy.plan import Plan, digests, own_buckets, refuse_foreign_stack
from hookshelf.deploy.progress import Progress
from hookshelf.deploy.stack import (
    UNRECOVERABLE,
    Stack,
    StackEvent,
    StackFailed,
    reason,
    stack_metadata,
    wait_and_report,
)


def apply(plan: Plan, progress: Progress) -> None:
    """Do what the plan says.

    Raises StackFailed where the stack does not come up, VariablesChanged where somebody changed
    the stage's tokens since the plan was made, and what boto3 does.
    """
    stack = Stack(stack_name(plan.request.stage))
    if plan.request.create_bucket:
        _harden(plan, progress)
    for key, zip in plan.code.items():
        code_bucket.upload(plan.account, key, zip, progress)
    if plan.before:
        _update(plan, stack, progress)
    else:
        _create(plan, stack, progress)
    for drift in drifts(plan.template, plan.request.stage):
        progress(f"  {drift}")
        restore(drift)
    if plan.package.compactor and LOGICAL_IDS[COMPACTOR] not in plan.before.get("Resources", {}):
        _begin_to_compact(plan, progress)


def _harden(plan: Plan, progress: Progress) -> None:
    keep_days = plan.request.keep_days
    for name, paths in own_buckets(plan.settings, plan.account).items():
        for line in bucket.harden(name, paths, keep_days=keep_days, progress=progress):
            progress(f"  {name}: {line}")


def _begin_to_compact(plan: Plan, progress: Progress) -> None:
    """Run a new compactor at once: it has all there is to do, and its alarms wait for it."""
    progress("  the compactor begins with what there is")
    with suppress(ClientError):  # it runs by itself within a day
        boto3.client("lambda").invoke(
            FunctionName=function_name(plan.request.stage, COMPACTOR),
            InvocationType="Event",  # nobody waits for it
            Payload=b'{"schedule": "nightly"}',
        )


def _create(plan: Plan, stack: Stack, progress: Progress) -> None:
    if plan.status in UNRECOVERABLE:
        refuse_foreign_stack(stack)  # it may be another one by now
        since = stack.last_event()
        stack.delete()
        wait_and_report(stack, since, progress)
    since = stack.last_event()
    body = code_bucket.template_argument(plan.account, plan.request.stage, plan.template)
    stack.create(body, plan.parameters)
    failed = wait_and_report(stack, since, progress)
    with suppress(NotDeployed):  # as it was rolled back
        _keep_variables(plan, find_deployment(plan.request.stage))
    _raise_if_rolled_back(stack, failed, progress)


def _update(plan: Plan, stack: Stack, progress: Progress) -> None:
    if stack_metadata(plan.before).get("variables") != digests(plan.live):
        # `hookshelf token` changes them behind the stack's back. If the update that follows failed,
        # the stack would roll back to those it knows, and put a revoked token back. So it is told
        # of them as they are, before it changes anything else.
        progress("  telling the stack of the tokens that changed since the last deploy")
        known = template.with_variables(plan.before, plan.live)
        known["Metadata"] = template.metadata(
            **stack_metadata(plan.before) | {"variables": digests(plan.live)}
        )
        names = template.parameters(plan.live)
        values = {names[name]: value for name, value in plan.live.items()}
        kept = {name: None for name in known["Parameters"] if name not in values}
        _update_to(plan, stack, known, {**kept, **values}, progress)
    if not _update_to(plan, stack, plan.template, plan.parameters, progress):
        progress("  nothing to update in the stack")


def _update_to(
    plan: Plan,
    stack: Stack,
    wanted: Json,
    parameters: Mapping[str, str | None],
    progress: Progress,
) -> bool:
    """Update the stack and wait for it; False where there is nothing to change."""
    deployment = find_deployment(plan.request.stage)
    body = code_bucket.template_argument(plan.account, plan.request.stage, wanted)
    since = stack.last_event()
    with deploy_lock.held(deployment):
        # Read with the lock in place, so that nothing changes between this and the update.
        if stage_variables.read(deployment) != plan.live:
            raise deploy_lock.VariablesChanged(
                "The stage variables were changed meanwhile, and would be put back. "
                "Nothing was changed in the stack; run the same command again"
            )
        if not stack.update(body, parameters):
            return False
        failed = wait_and_report(stack, since, progress)
        _keep_variables(plan, deployment)
    _raise_if_rolled_back(stack, failed, progress)
    return True


def _keep_variables(plan: Plan, deployment: Deployment) -> None:
    """Undo what CloudFormation did to the stage's variables, and nobody else.

    What it dropped, and what it put back from before: a rollback writes what the stack knew.
    """
    # It may have dropped the lock as well.
    with deploy_lock.held(deployment, renew=False):
        live = stage_variables.read(deployment)
        known = stack_metadata(plan.before).get("variables", {})
        rolled_back = {name for name, digest in digests(live).items() if known.get(name) == digest}
        touched = rolled_back | (plan.variables.keys() - live.keys())
        stage_variables.write(deployment, {name: plan.variables.get(name) for name in touched})


def _raise_if_rolled_back(stack: Stack, failed: list[StackEvent], progress: Progress) -> None:
    if stack.status() not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise StackFailed(
            f"CloudFormation rolled stack {stack.name} back. {reason(failed, stack)}. "
            "Fix that, and run the same command again"
        )
    for event in failed:  # something old, after all that is new was in its place
        progress(f"Left over: {event.resource}, {event.reason}. Delete it yourself")
