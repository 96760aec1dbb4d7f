"""Checks of the Lambda functions: that they are there, what they may do, and their settings."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from chalicelib import snowplow
from chalicelib.keys import is_app
from chalicelib.models import check_apps
from chalicelib.settings import SettingError, from_environment
from hookshelf.deploy.deployment import HANDLERS
from hookshelf.deploy.policies import is_key_arn, policies
from hookshelf.doctor.facts import Facts, Grant, denied
from hookshelf.doctor.findings import NotChecked, Said, check, each, failure, warning
from hookshelf.doctor.grants import listed, uncovered

LONGEST = 29  # seconds; API Gateway gives up then
SHORTEST = 10  # the store has 8, and must be heard of
SMALLEST = 256  # MB
ENDING = 11  # Python 3.11 and what is older are at their end in Lambda
# A difference here is no difference: only one of the functions reads them.
_OF_ONE = ("DIRECT_APP", "SNOWPLOW_")
# Nothing breaks without them: but for logs, and for secrets under another key.
_NOT_MISSED = ("logs:", "kms:Decrypt")

Json = dict[str, Any]


@check(
    "functions",
    good="Every function is there.",
    why="A door without its function loses what is sent there.",
)
def functions(facts: Facts) -> Iterator[Said]:
    """Each handler has its Lambda function."""
    for handler in HANDLERS:
        if handler not in facts.functions:
            yield failure(f"There is no function for {handler}.", facts.redeploy)


@check(
    "function-limits",
    good="The HTTP function has time and memory enough.",
    why=f"After {LONGEST} s API Gateway has answered 504 already, though the delivery may land; "
    f"under {SHORTEST} s Lambda ends what would have been a 503 or a 200.",
)
def function_limits(facts: Facts) -> Iterator[Said]:
    """Timeout and memory of the function behind API Gateway."""
    found = facts.function("api_handler")
    change = f"aws lambda update-function-configuration --function-name {found['FunctionName']}"
    if not SHORTEST <= found["Timeout"] <= LONGEST:
        what = f"The timeout is {found['Timeout']} s, not from {SHORTEST} to {LONGEST}."
        yield failure(what, f"{change} --timeout 15")
    if found["MemorySize"] < SMALLEST:
        what = f"The memory is {found['MemorySize']} MB, under {SMALLEST}."
        yield failure(what, f"{change} --memory-size {SMALLEST}")


@check(
    "runtime",
    good="Lambda supports the Python that the functions run on.",
    why="AWS mends no more faults of it, and one day refuses to change the functions.",
)
def runtime(facts: Facts) -> Iterator[Said]:
    """No function runs on a Python at its end.

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
    """
    ending = [f"python3.{minor}" for minor in range(ENDING + 1)]
    runtimes = {name: one.get("Runtime") for name, one in facts.functions.items()}
    if old := sorted(f"{name} ({one})" for name, one in runtimes.items() if one in ending):
        step = "install Python 3.13 or 3.12"
        if facts.deployment.made_by == "chalice":  # which takes the Python that it runs under
            step += ", then run: make clean; make PYTHON=python3.13 .venv/run.done"
        mend = facts.redeploy_after(step)
        yield warning(f"Lambda's support ends for the Python of {', '.join(old)}.", mend)


@check(
    "policies",
    good="No function may do more than it needs, nor less.",
    why="What a function may do, whoever breaks into it may do too.",
)
def policies_no_wider(facts: Facts) -> Iterator[Said]:
    """The role of each function allows what its settings ask for, and nothing else."""
    return each(facts.functions, partial(_policy, facts))


@check(
    "settings",
    good="The settings of the functions are in order.",
    why="A wrong setting is answered with 503, until somebody notices.",
)
def settings(facts: Facts) -> Iterator[Said]:
    """Each function's environment is one that it can work with."""
    return each(facts.functions, partial(_settings, facts))


@check(
    "apps-file",
    good="The apps file is in order.",
    why="An app that is configured wrongly is answered with 503.",
)
def apps_file(facts: Facts) -> Iterator[Said]:
    """APPS_FILE of this checkout, with the variables that the function has."""
    try:
        check_apps(facts.environment("api_handler"))
    except SettingError as error:
        if refused := _refused(error):
            raise NotChecked(f"{error} ({refused})", "Allow the doctor to read it.") from None
        yield failure(f"{error}.", facts.redeploy_after("mend that"))


@check(
    "same-settings",
    good="The HTTP function and the direct one archive alike.",
    why="Their deliveries would lie in different places, or be judged differently.",
)
def same_settings(facts: Facts) -> Iterator[Said]:
    """api_handler and deliver have the same environment."""
    here, there = facts.environment("api_handler"), facts.environment("deliver")
    names = sorted(
        name
        for name in here.keys() | there.keys()
        if here.get(name) != there.get(name) and not name.startswith(_OF_ONE)
    )
    if names:
        what = f"api_handler and deliver differ in {', '.join(names)}."
        yield warning(what, facts.redeploy_after("set the same in .chalice/config.json"))


def expected(facts: Facts, handler: str, kms_keys: list[str]) -> Json:
    """The policy that a function needs, with what there is beside it: queue, log group, keys."""
    configuration = facts.function(handler)
    # policies() wants to know the archive for every handler; the tracker has no part in it.
    whose = "api_handler" if handler == "track_s3" else handler
    group = configuration.get("LoggingConfig", {}).get("LogGroup", "")
    queue = configuration.get("DeadLetterConfig", {}).get("TargetArn")
    usual = f"/aws/lambda/{configuration['FunctionName']}"
    where = "{partition}:logs:{region}:{account}".format(**facts.arn)
    return policies(
        facts.deployment.stage,
        facts.environment(whose),
        kms_keys=kms_keys,
        logs={handler: f"arn:{where}:log-group:{group}:*"} if group not in ("", usual) else {},
        dead_letters={handler: queue} if queue else {},
        partition=facts.arn["partition"],
    )[handler]


def _policy(facts: Facts, handler: str) -> Iterator[Said]:
    grants = facts.grants(handler)
    keys = _bucket_keys(facts, grants)
    wanted = expected(facts, handler, keys)
    widest = expected(facts, handler, [*keys, *_secret_keys(grants)])
    for grant in grants:
        for action, resource in uncovered(grant.statement, widest["Statement"]):
            what = f"{handler} may {action} on {resource} by {grant.policy}, and need not."
            yield failure(what, _put(grant, wanted) if _is_own(grant) else _take_away(grant))
    # Whether a condition is met, only the canary knows.
    allowed = [grant.statement | {"Condition": {}} for grant in grants]
    for statement in wanted["Statement"]:
        for action, resource in uncovered(_here(facts, statement), allowed):
            if not action.startswith(_NOT_MISSED):
                what = f"{handler} has to {action} on {resource}, and may not."
                yield failure(what, _put(_own(facts, handler, grants), wanted))


def _bucket_keys(facts: Facts, grants: list[Grant]) -> list[str]:
    """The keys of your own that encrypt the archive."""
    try:
        return [key for bucket in facts.buckets if (key := bucket.kms_key)]
    except NotChecked:
        if any("kms:" in str(grant.statement) for grant in grants):
            raise
        return []


def _secret_keys(grants: list[Grant]) -> list[str]:
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


def _here(facts: Facts, statement: Json) -> Json:
    """A statement about whatever region and account, about ours alone."""
    here = ":{region}:{account}:".format(**facts.arn)
    resources = [one.replace(":*:*:", here) for one in listed(statement["Resource"])]
    return statement | {"Resource": resources}


def _own(facts: Facts, handler: str, grants: list[Grant]) -> Grant:
    """The policy that is the function's own, there or still to be made."""
    role = facts.function(handler)["Role"].rpartition("/")[2]
    return next(filter(_is_own, grants), Grant(role, "hookshelf", {}))


def _is_own(grant: Grant) -> bool:
    """Whether Chalice or our stack made the policy: they call it after the role."""
    return grant.policy in (grant.role, "hookshelf") or grant.policy.endswith("RolePolicy")


def _take_away(grant: Grant) -> str:
    if grant.is_attached:
        which = f"--role-name {grant.role} --policy-arn {grant.policy}"
        return f"aws iam detach-role-policy {which}"
    # Nor could CloudFormation delete a role that has a policy of somebody else's.
    return f"aws iam delete-role-policy --role-name {grant.role} --policy-name {grant.policy}"


def _put(grant: Grant, wanted: Json) -> str:
    document = shlex.quote(json.dumps(wanted, separators=(",", ":")))
    which = f"--role-name {grant.role} --policy-name {grant.policy}"
    return f"aws iam put-role-policy {which} --policy-document {document}"


def _settings(facts: Facts, handler: str) -> Iterator[Said]:
    environ = facts.environment(handler)
    for problem in _problems(handler, environ):
        mend = facts.redeploy_after("see whether .chalice/config.json says so")
        yield failure(f"{handler}: {problem}.", mend)
    for name in sorted(environ):
        if name.startswith("AWS_ENDPOINT_URL"):
            what = f"{handler}: {name} is set, so deliveries go to another server than AWS's."
            yield warning(what, facts.redeploy_after("take it out of .chalice/config.json"))


def _problems(handler: str, environ: Mapping[str, str]) -> Iterator[str]:
    read = snowplow.outputs if handler == "track_s3" else from_environment
    try:
        read(environ)
    except SettingError as error:
        yield str(error)
    if environ.get("ARCHIVE_FOLDER", "").strip() and handler != "track_s3":
        yield "ARCHIVE_FOLDER is set, and Lambda's disk is gone with the function"
    app = environ.get("DIRECT_APP", "").strip()
    if handler == "deliver" and app and not is_app(app):
        yield "DIRECT_APP is no app's name"


def _refused(error: BaseException) -> str:
    """The code with which AWS refused to show what the apps file refers to, if that is it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ClientError) and denied(cause):
            return str(cause.response["Error"]["Code"])
        cause = cause.__context__
    return ""
