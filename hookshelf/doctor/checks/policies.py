"""What the functions may do: all that their settings ask for, and nothing else."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence

from chalicelib.settings import from_environment
from chalicelib.types import Json
from hookshelf.deploy.deployment import COMPACTOR
from hookshelf.deploy.policies import compactor_policy, is_key_arn, policies
from hookshelf.doctor.findings import NotChecked, Result, failure
from hookshelf.doctor.live_bucket import LiveBucket
from hookshelf.doctor.live_stage import Grant, LiveStage
from hookshelf.doctor.policy_coverage import listed, uncovered
from hookshelf.doctor.registry import doctor_check, run_for_each

# Nothing breaks without them: but for logs, and for secrets under another key.
NOT_MISSED = ("logs:", "kms:Decrypt")


@doctor_check(
    "policies",
    good="No function may do more than it needs, nor less.",
    why="What a function may do, whoever breaks into it may do too.",
)
def function_policies(stage: LiveStage) -> Iterator[Result]:
    """The role of each function allows what its settings ask for, and nothing else."""
    return run_for_each(stage.functions, lambda handler: _policy(stage, handler))


def _policy(stage: LiveStage, handler: str) -> Iterator[Result]:
    grants = stage.grants(handler)
    keys = _bucket_keys(stage, grants)
    needed = _needed(stage, handler, keys)
    widest = _needed(stage, handler, [*keys, *_secret_keys(grants)])
    for grant in grants:
        for action, resource in uncovered(grant.statement, widest["Statement"]):
            what = f"{handler} may {action} on {resource} by {grant.policy}, and need not."
            own = _is_own(grant)
            yield failure(what, _put(stage, grant, needed, action) if own else _take_away(grant))
    # Whether a condition is met, only the canary knows.
    allowed = [grant.statement | {"Condition": {}} for grant in grants]
    role = stage.function(handler)["Role"].rpartition("/")[2]
    own_grant = next(filter(_is_own, grants), Grant(role, "hookshelf", {}))
    for statement in needed["Statement"]:
        for action, resource in uncovered(_here(stage, statement), allowed):
            if not action.startswith(NOT_MISSED):
                what = f"{handler} has to {action} on {resource}, and may not."
                yield failure(what, _put(stage, own_grant, needed, action))


def _needed(stage: LiveStage, handler: str, kms_keys: Sequence[str]) -> Json:
    """The policy that a function needs, with what there is beside it: queue, log group, keys.

    For where it was deployed to archive: should ARCHIVE_BUCKETS have been changed by hand, a
    policy for what it says now would be one for the wrong bucket.
    """
    configuration = stage.function(handler)
    # policies() wants to know the archive for every handler; the tracker has no part in it.
    archiver = "api_handler" if handler == "track_s3" else handler
    group = configuration.get("LoggingConfig", {}).get("LogGroup", "")
    queue = configuration.get("DeadLetterConfig", {}).get("TargetArn")
    usual = f"/aws/lambda/{configuration['FunctionName']}"
    where = "{partition}:logs:{region}:{account}".format(**stage.arn)
    log = f"arn:{where}:log-group:{group}:*"
    environ, partition = stage.deployed_environment(archiver), stage.arn["partition"]
    if handler == COMPACTOR:
        return compactor_policy(environ, log, kms_keys=kms_keys, partition=partition)
    return policies(
        stage.deployment.stage,
        environ,
        kms_keys=kms_keys,
        logs={handler: log} if group not in ("", usual) else {},
        dead_letters={handler: queue} if queue else {},
        partition=partition,
    )[handler]


def _bucket_keys(stage: LiveStage, grants: Sequence[Grant]) -> list[str]:
    """The keys of your own that encrypt the archive, where it was deployed to be."""
    paths = from_environment(stage.deployed_environment("api_handler")).bucket_paths
    buckets = [LiveBucket(stage, name, []) for name in dict.fromkeys(path.bucket for path in paths)]
    try:
        return [key for bucket in buckets if (key := bucket.kms_key)]
    except NotChecked:
        if any("kms:" in str(grant.statement) for grant in grants):
            raise
        return []


def _secret_keys(grants: Sequence[Grant]) -> list[str]:
    """The keys that the role may decrypt with.

    What encrypts a secret only its service knows, so a key of its own counts as needed where the
    policy allows it through that service alone.
    """
    return [
        resource
        for grant in grants
        for resource in listed(grant.statement.get("Resource", ()))
        if is_key_arn(resource) and "kms:Decrypt" in listed(grant.statement.get("Action", ()))
    ]


def _here(stage: LiveStage, statement: Json) -> Json:
    """A statement about whatever region and account, about ours alone."""
    here = ":{region}:{account}:".format(**stage.arn)
    resources = [resource.replace(":*:*:", here) for resource in listed(statement["Resource"])]
    return statement | {"Resource": resources}


def _is_own(grant: Grant) -> bool:
    """Whether Chalice or our stack made the policy: they call it after the role."""
    return grant.policy in (grant.role, "hookshelf") or grant.policy.endswith("RolePolicy")


def _take_away(grant: Grant) -> str:
    if grant.is_attached:
        which = f"--role-name {grant.role} --policy-arn {grant.policy}"
        return f"aws iam detach-role-policy {which}"
    # Nor could CloudFormation delete a role that has a policy of somebody else's.
    return f"aws iam delete-role-policy --role-name {grant.role} --policy-name {grant.policy}"


def _put(stage: LiveStage, grant: Grant, needed: Json, action: str) -> str:
    """The function's own policy as it should be."""
    if action == "s3:PutObject" and not stage.is_stack:
        # Role and ARCHIVE_BUCKETS differ about the bucket, and only the checkout knows which of
        # the two was changed by hand.
        return f"hookshelf policy --stage {stage.deployment.stage}; {stage.redeploy}"
    document = shlex.quote(json.dumps(needed, separators=(",", ":")))
    which = f"--role-name {grant.role} --policy-name {grant.policy}"
    return f"aws iam put-role-policy {which} --policy-document {document}"
