"""Deploying a stage: what is there, what shall be, and the way from one to the other.

Nothing is remembered at the desk: the stack's own template says what it was made with, so anyone
with the checkout can go on where another left off. Every step can be repeated, and a run that was
interrupted anywhere ends, run again, in the same place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import click
from botocore.exceptions import ClientError

from chalicelib.apps import DEFAULT_FILE
from chalicelib.models import check_apps
from chalicelib.settings import Settings, from_environment
from chalicelib.tokens import variable_name
from hookshelf.aws import Account, account
from hookshelf.deploy import bucket, code, stage_variables, template
from hookshelf.deploy.deployment import HANDLERS, NotDeployed, find, function_name, stack_name
from hookshelf.deploy.drift import Drift, Gone, drifts, put_back
from hookshelf.deploy.package import order, usual_gaps
from hookshelf.deploy.packaging import Order, Package
from hookshelf.deploy.policies import is_configured
from hookshelf.deploy.stack import BROKEN, Event, Stack, follow, settle
from hookshelf.project import PROJECT_ROOT
from hookshelf.settings import stage_environment

# Concurrent runs for the door, where the account has them to spare: as many as the stage lets in
# at once, since Lambda lets the door have no more either.
RESERVED = template.BURST
# Lambda refuses to leave less than this unreserved. New accounts have ten in all.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
UNRESERVED = 100

Json = dict[str, Any]
Build = Callable[[Order, Path], Package]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for; None: as it is."""

    stage: str
    buckets: tuple[str, ...] = ()  # bucket[/path], the first is the default
    create_bucket: bool = False
    keep_days: int | None = None
    alarms_to: str | None = None
    kms_keys: tuple[str, ...] = ()  # ARNs, of secrets or of buckets that are not ours to look at
    # In the place of the stage's in .chalice/config.json; its APPS_FILE is the caller's to package.
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that will be done, as values."""

    wish: Wish
    account: Account
    settings: Settings
    package: Package
    template: Json
    before: Json  # the template the stack has now; empty where there is none
    status: str  # of the stack
    live: Mapping[str, str] = field(repr=False)  # the stage variables there are
    variables: Mapping[str, str] = field(repr=False)  # and those there shall be
    # New, to be shown once; empty where there are tokens already.
    token: str = field(repr=False)
    drifts: tuple[Drift, ...]  # from the template before
    code_key: str
    bucket_lines: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def parameters(self) -> dict[str, str]:
        """The values the template asks for."""
        named = template.parameters(self.variables)
        return {
            "CodeBucket": code.bucket_name(self.account),
            "CodeKey": self.code_key,
            **{named[name]: value for name, value in self.variables.items()},
        }


def environment(wish: Wish, before: Json, account: Account) -> dict[str, str]:
    """The environment of the stage's functions: asked for, configured, or as it is.

    Raises UsageError or SettingError for what cannot be deployed.
    """
    asked = wish.environment
    found = stage_environment(wish.stage) if asked is None else dict(asked)
    if wish.buckets:
        found["ARCHIVE_BUCKETS"] = ",".join(wish.buckets)
    elif not is_configured(found):
        found["ARCHIVE_BUCKETS"] = remembered(before).get("archive_buckets", "")
    if not found.get("ARCHIVE_BUCKETS"):
        raise click.UsageError(
            f"No bucket for stage {wish.stage}. Give --bucket NAME, "
            "or set ARCHIVE_BUCKETS in .chalice/config.json"
        )
    if "ARCHIVE_FOLDER" in found:
        raise click.UsageError(
            "ARCHIVE_FOLDER is set: Lambda's disk is gone with the function. Take it out of "
            f"stage {wish.stage} in .chalice/config.json"
        )
    # Somebody else may take the name of a bucket that is deleted; nothing is sent there.
    found.setdefault("ARCHIVE_BUCKET_OWNER", account.id)
    from_environment(found)
    if asked is None:
        _check_apps_file(found)
    check_apps(found)  # not the shell's: the functions will not have it
    return found


def _check_apps_file(environ: Mapping[str, str]) -> None:
    named = environ.get("APPS_FILE", "").strip()
    path = (PROJECT_ROOT / (named or DEFAULT_FILE)).resolve()
    if not path.is_relative_to(PROJECT_ROOT / "chalicelib"):
        raise click.UsageError(
            f"APPS_FILE is {named}, which is not packaged. Put it into chalicelib/"
        )


def remembered(template: Json) -> Json:
    """What a stack was made with, from its own template."""
    found: Json = template.get("Metadata", {}).get("hookshelf", {})
    return found


def plan(wish: Wish, build: Build) -> Plan:
    """Look, package, and say what has to be done. Writes nothing but build/<stage>/."""
    where = account()
    stack = Stack(stack_name(wish.stage))
    status = _status(stack, wish.stage)
    before = {} if status in BROKEN else stack.template()
    environ = environment(wish, before, where)
    settings = from_environment(environ)
    # Where there is a stack there is a stage: if it cannot be found, its tokens are not lost.
    live = _variables(wish.stage) if before else {}
    token, variables = _with_token(live)
    stage_variables.check(variables)
    options = _options(wish, before, environ)
    click.echo(f"Packaging stage {wish.stage} …", err=True)
    keys = list(wish.kms_keys) or remembered(before).get("kms_keys", [])
    package = build(_order(environ, settings, where, options, keys), _folder(wish.stage))
    code_key = code.key(wish.stage, package.zip.read_bytes(), "zip")
    whole = template.with_variables(package.template, variables)
    whole["Metadata"] = {
        "hookshelf": {
            "archive_buckets": environ["ARCHIVE_BUCKETS"],
            "alarms_to": options.alarms_to,
            "kms_keys": keys,
            "variables": digests(variables),
            "code": code_key,
        }
    }
    return Plan(
        wish=wish,
        account=where,
        settings=settings,
        package=package,
        template=whole,
        before=before,
        status=status,
        live=live,
        variables=variables,
        token=token,
        drifts=tuple(drifts(before, wish.stage)),
        code_key=code_key,
        bucket_lines=tuple(_bucket_lines(wish, settings, where)),
        warnings=tuple(_warnings(options)),
    )


def _status(stack: Stack, stage: str) -> str:
    """That of a stack which can be made, updated or replaced; raises for any other."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,40}", stage):
        raise click.UsageError(
            f"Stage {stage!r} cannot name a stack: use letters, digits and -, at most 40"
        )
    status = settle(stack)
    if status == "UPDATE_ROLLBACK_FAILED":
        raise click.ClickException(
            f"Stack {stack.name} could not be rolled back. Run this, then deploy again: "
            f"aws cloudformation continue-update-rollback --stack-name {stack.name}"
        )
    if not status:
        _refuse_functions_of_others(stage)
    return status


def lines(plan: Plan) -> Iterator[str]:
    """The plan for people."""
    yield (
        f"Stage {plan.wish.stage}: account {plan.account.id}, {plan.account.region}, "
        f"stack {stack_name(plan.wish.stage)}{'' if plan.before else ' (new)'}"
    )
    runtime = plan.template["Resources"]["APIHandler"]["Properties"]["Runtime"]
    yield f"Code: {plan.package.zip.stat().st_size / 1e6:.1f} MB, {runtime}, arm64"
    for line in plan.bucket_lines or ("nothing to do",):
        yield f"Bucket: {line}"
    if plan.status in BROKEN:
        yield f"Stack: delete it first, it is {plan.status} and cannot be updated"
    changes = [*difference(plan.before, plan.template), *map(str, plan.drifts)]
    if plan.before and remembered(plan.before).get("code") != plan.code_key:
        changes.append("~ the code of every function")
    for line in changes or ("nothing to do",):
        yield f"Stack: {line}"
    yield f"Stage variables: {_about_variables(plan)}"
    for warning in plan.warnings:
        yield f"Note: {warning}"


def difference(before: Json, after: Json) -> Iterator[str]:
    """What is added, changed (and which properties) and taken away between two templates."""
    old, new = before.get("Resources", {}), after["Resources"]
    for name in sorted(new.keys() - old.keys()):
        yield f"+ {name} ({new[name]['Type']})"
    for name in sorted(new.keys() & old.keys()):
        was, shall = old[name].get("Properties", {}), new[name].get("Properties", {})
        if changed := sorted(
            key for key in was.keys() | shall.keys() if was.get(key) != shall.get(key)
        ):
            yield f"~ {name} ({', '.join(changed)})"
    for name in sorted(old.keys() - new.keys()):
        yield f"- {name} ({old[name]['Type']})"


def carry_out(plan: Plan) -> None:
    """Do what the plan says. Raises ClickException where the stack does not come up."""
    stack = Stack(stack_name(plan.wish.stage))
    if plan.wish.create_bucket:
        _harden(plan)
    code.upload(plan.account, plan.code_key, plan.package.zip)
    if plan.status in BROKEN:
        since = stack.last_event()
        stack.delete()
        follow(stack, since)
    if plan.before:
        _refuse_stale(plan)
        if remembered(plan.before).get("variables") != digests(plan.live):
            _tell_stack_of_variables(plan, stack)
    since = stack.last_event()
    if _make_or_update(plan, stack):
        _finish(plan, stack, since)
    else:
        click.echo("  nothing to update in the stack", err=True)
    _put_back(plan)


def _put_back(plan: Plan) -> None:
    for one in drifts(plan.template, plan.wish.stage):
        click.echo(f"  {one}", err=True)
        put_back(one)


def _variables(stage: str) -> dict[str, str]:
    """The live ones. Raises Gone where the stage of the API is."""
    try:
        return stage_variables.read(find(stage))
    except ClientError as error:
        if error.response["Error"]["Code"] != "NotFoundException":
            raise
        raise Gone("The API or its stage", stage) from None


def _refuse_stale(plan: Plan) -> None:
    """Somebody may have rotated a token while this packaged, or waited for an answer."""
    if stage_variables.read(find(plan.wish.stage)) != plan.live:
        raise click.ClickException(
            "The stage variables were changed meanwhile, and would be put back. "
            "Nothing was changed in the stack; run the same command again"
        )


def _make_or_update(plan: Plan, stack: Stack) -> bool:
    """Begin to; False where there is nothing to do."""
    body = code.body(plan.account, plan.wish.stage, plan.template)
    if plan.before:
        return stack.update(body, plan.parameters)
    stack.create(body, plan.parameters)
    return True


def _finish(plan: Plan, stack: Stack, since: str) -> None:
    """Wait for the stack; whatever came of it, the tokens are as they were."""
    failed = follow(stack, since)
    _keep_variables(plan)
    if stack.status() not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise click.ClickException(
            f"CloudFormation rolled stack {stack.name} back. {_why(failed, stack)}. "
            "Mend that, and run the same command again"
        )
    for event in failed:  # something old, after all that is new was in its place
        click.echo(f"Left over: {event.resource}, {event.reason}. Delete it yourself", err=True)


def _why(failed: Sequence[Event], stack: Stack) -> str:
    return f"{failed[0].resource}: {failed[0].reason}" if failed else stack.status()


def _tell_stack_of_variables(plan: Plan, stack: Stack) -> None:
    """Let the stack know the stage variables as they are, before it changes anything else.

    `hookshelf token` changes them behind its back. If the update that follows failed, the stack
    would roll back to those it knows, and put a revoked token back.
    """
    click.echo("  telling the stack of the tokens that changed since the last deploy", err=True)
    since = stack.last_event()
    known = template.with_variables(plan.before, plan.live)
    known["Metadata"] = {
        "hookshelf": remembered(plan.before) | {"variables": digests(plan.live)},
    }
    named = template.parameters(plan.live)
    values = {named[name]: value for name, value in plan.live.items()}
    kept = {name: None for name in known["Parameters"] if name not in values}
    if stack.update(code.body(plan.account, plan.wish.stage, known), {**kept, **values}):
        _finish(plan, stack, since)


def _keep_variables(plan: Plan) -> None:
    """Undo what CloudFormation did to the stage's variables, and nobody else.

    What it dropped, and what it put back from before: a rollback writes what the stack knew.
    """
    try:
        deployment = find(plan.wish.stage)
    except NotDeployed:
        return  # a first deploy that was rolled back
    live = stage_variables.read(deployment)
    known = remembered(plan.before).get("variables", {})
    put_back = {name for name, digest in digests(live).items() if known.get(name) == digest}
    touched = put_back | (plan.variables.keys() - live.keys())
    stage_variables.write(deployment, {name: plan.variables.get(name) for name in touched})


def digests(variables: Mapping[str, str]) -> dict[str, str]:
    """What a template may say of its stage variables: enough to see that one has changed."""
    return {
        name: hashlib.sha256(value.encode()).hexdigest()
        for name, value in sorted(variables.items())
    }


def _with_token(live: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The variables there shall be: those there are, and a first token where there is none.

    A door that was closed on purpose has a variable without a usable token; it stays closed.
    """
    if stage_variables.token_variables(live):
        return "", dict(live)
    token, member = stage_variables.new_token()
    return token, {**live, variable_name(None): member}


def _options(wish: Wish, before: Json, environ: Mapping[str, str]) -> template.Options:
    alarms_to = wish.alarms_to
    if alarms_to is None:
        alarms_to = remembered(before).get("alarms_to", "")
    return template.Options(
        stage=wish.stage,
        usual_gaps=usual_gaps(environ),
        alarms_to=alarms_to,
        access_logs=bool(boto3.client("apigateway").get_account().get("cloudwatchRoleArn")),
        reserved=RESERVED if _may_reserve(wish.stage) else 0,
    )


def _warnings(options: template.Options) -> Iterator[str]:
    if not options.access_logs:
        yield (
            "no access log: this account has given API Gateway no role to write logs with; "
            "see docs/deploying.md"
        )
    if not options.reserved:
        yield "no concurrency is reserved: the account's limit leaves no room for it"
    if not options.alarms_to:
        yield "the alarms tell nobody: give --alarms-to with an address"


def _may_reserve(stage: str) -> bool:
    """Whether the account has room; where one may not ask, it has none."""
    client = boto3.client("lambda")
    try:
        limit = client.get_account_settings()["AccountLimit"]
        ours = client.get_function_concurrency(FunctionName=function_name(stage, "api_handler"))
    except client.exceptions.ResourceNotFoundException:
        ours = {}  # a first deploy
    except ClientError:
        return False
    free: int = limit["UnreservedConcurrentExecutions"] + ours.get(
        "ReservedConcurrentExecutions", 0
    )
    return free - RESERVED >= UNRESERVED


def _order(
    environ: Mapping[str, str],
    settings: Settings,
    account: Account,
    options: template.Options,
    keys: Sequence[str],
) -> Order:
    found = {bucket.kms_key(name) for name in _ours(settings, account)} | {*keys}
    return order(
        environ, options, kms_keys=sorted(filter(None, found)), partition=account.partition
    )


def _refuse_functions_of_others(stage: str) -> None:
    """The functions have fixed names; `chalice deploy` may have made them before."""
    client = boto3.client("lambda")
    for handler in HANDLERS:
        name = function_name(stage, handler)
        try:
            client.get_function_configuration(FunctionName=name)
        except client.exceptions.ResourceNotFoundException:
            continue
        raise click.UsageError(
            f"Function {name} is there already, and belongs to no stack: stage {stage} was "
            f"deployed by chalice. Run chalice delete --stage {stage} first (what is archived "
            "stays), or deploy another stage"
        )


def _ours(settings: Settings, account: Account) -> dict[str, list[str]]:
    """What is archived into, by bucket; not those that are another account's to look after."""
    found: dict[str, list[str]] = {}
    for place in settings.bucket_paths if settings.bucket_owner == account.id else ():
        if not place.bucket.startswith("arn:"):  # an access point: whose bucket it is, it hides
            found.setdefault(place.bucket, []).append(place.path)
    return found


def _bucket_lines(wish: Wish, settings: Settings, account: Account) -> Iterator[str]:
    """What will be done to the archive's buckets, and to the one for the code."""
    if not code.bucket_exists(account):
        yield f"+ {code.bucket_name(account)}, for the code"
    ours = _ours(settings, account)
    for other in [place.bucket for place in settings.bucket_paths if place.bucket not in ours]:
        if wish.create_bucket:
            raise click.UsageError(
                f"{other} is an access point, or another account's. "
                "Leave out --create-bucket, and see to that bucket yourself"
            )
        yield (
            f"{other}: not looked at, as an access point or another account's; its bucket's policy "
            "has to let the functions put"
        )
    for name, paths in ours.items():
        yield from _lacking(name, paths, wish)


def _lacking(name: str, paths: Sequence[str], wish: Wish) -> Iterator[str]:
    """What one bucket lacks, and whether that will be mended."""
    would = "+" if wish.create_bucket else "--create-bucket would"
    steps = bucket.plan(name, paths, keep_days=wish.keep_days)
    if steps and steps[0].operation == "create_bucket" and not wish.create_bucket:
        raise click.UsageError(f"There is no bucket {name}. Give --create-bucket to make it")
    yield from (f"{name}: {would} {step.line}" for step in steps)


def _harden(plan: Plan) -> None:
    for name, paths in _ours(plan.settings, plan.account).items():
        for line in bucket.harden(name, paths, keep_days=plan.wish.keep_days):
            click.echo(f"  {name}: {line}", err=True)


def _about_variables(plan: Plan) -> str:
    names = ", ".join(sorted(plan.variables))
    return f"a first token in {names}" if plan.token else f"kept as they are: {names}"


def _folder(stage: str) -> Path:
    return PROJECT_ROOT / "build" / stage


def archive_of(stage: str) -> str:
    """ARCHIVE_BUCKETS of a deployed stack, or words for it where that is half gone already.

    Raises UsageError where there is neither a stack nor its code.
    """
    stack = Stack(stack_name(stage))
    if not settle(stack) and not code.is_there(account(), stage):
        by_chalice = (PROJECT_ROOT / ".chalice" / "deployed" / f"{stage}.json").exists()
        raise click.UsageError(
            f"Stage {stage} has no stack in this region: nothing to destroy"
            + (f". What chalice deploy made: chalice delete --stage {stage}" if by_chalice else "")
        )
    found: str = remembered(stack.template()).get("archive_buckets", "every bucket")
    return found


def destroy(stage: str) -> None:
    """Delete a stage's stack and its code; the archive is no part of either.

    Raises ClickException where CloudFormation could not.
    """
    stack = Stack(stack_name(stage))
    since = stack.last_event()
    if stack.status():
        stack.delete()
    failed = follow(stack, since)
    if stack.status():
        raise click.ClickException(
            f"Stack {stack.name} could not be deleted. {_why(failed, stack)}"
        )
    code.remove(account(), stage)
