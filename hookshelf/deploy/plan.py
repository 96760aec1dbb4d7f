"""What a deploy will do: what is there, what shall be, and the difference.

Nothing is kept on your machine: the stack's own template says what it was made with, so anyone
with the checkout can go on where another left off.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

from chalicelib.apps import DEFAULT_FILE
from chalicelib.errors import HookshelfError, MisuseError
from chalicelib.models import check_apps, read_apps
from chalicelib.settings import KEEP_DAYS, Settings, from_environment
from chalicelib.tokens import variable_name
from chalicelib.types import Json
from hookshelf.aws import Account, account
from hookshelf.deploy import bucket, code_bucket, stage_variables, template
from hookshelf.deploy.compactor import compactor_resources
from hookshelf.deploy.deployment import (
    ASYNCHRONOUS,
    COMPACTOR,
    HANDLERS,
    LOGICAL_IDS,
    dead_letters,
    find_deployment,
    function_name,
    log_group,
    stack_name,
)
from hookshelf.deploy.drift import Drift, ResourceDeleted, drifts
from hookshelf.deploy.package import Package, PackageRequest
from hookshelf.deploy.policies import compactor_policy, is_configured, policies, references
from hookshelf.deploy.progress import Progress
from hookshelf.deploy.stack import (
    UNRECOVERABLE,
    Stack,
    StackResource,
    stack_metadata,
    wait_until_idle,
)
from hookshelf.project import PROJECT_ROOT
from hookshelf.settings import stage_environment

# Concurrent runs for api_handler, where the account has them to spare: as many as the stage lets in
# at once, since Lambda lets it have no more either.
RESERVED = template.BURST
# Lambda refuses to leave less than this unreserved. New accounts have ten in all.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
UNRESERVED = 100

Build = Callable[[PackageRequest, Path, Progress], Package]


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """What is asked for; None: as it is."""

    stage: str
    buckets: tuple[str, ...] = ()  # bucket[/path], the first is the default
    create_bucket: bool = False
    keep_days: int | None = None
    alarms_to: str | None = None
    kms_keys: tuple[str, ...] = ()  # ARNs, of secrets or of buckets that are not ours to look at
    # In the place of the stage's in .chalice/config.json; its APPS_FILE is the caller's to package.
    environment: Mapping[str, str] | None = None
    compactor: bool = True  # whether the stack has one; what the last deploy had plays no part


@dataclass(frozen=True, slots=True)
class Plan:
    """All that will be done, as values."""

    request: DeployRequest
    account: Account
    settings: Settings
    package: Package
    template: Json
    before: Json  # the template the stack has now; empty where there is none
    status: str  # of the stack
    replaced: tuple[StackResource, ...]  # what there is of a stack that has to be made anew
    live: Mapping[str, str] = field(repr=False)  # the stage variables there are
    variables: Mapping[str, str] = field(repr=False)  # and those there shall be
    # New, to be shown once; empty where there are tokens already.
    token: str = field(repr=False)
    drifts: tuple[Drift, ...]  # from the template before
    code_key: str
    compactor_key: str  # of the compactor's code; empty without it
    bucket_lines: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def code(self) -> dict[str, Path]:
        """The zips by the keys that they get."""
        compactor = self.package.compactor
        return {self.code_key: self.package.zip} | (
            {self.compactor_key: compactor} if compactor else {}
        )

    @property
    def parameters(self) -> dict[str, str]:
        """The values the template asks for."""
        names = template.parameters(self.variables)
        return {
            "CodeBucket": code_bucket.bucket_name(self.account),
            "CodeKey": self.code_key,
            **({"CompactorKey": self.compactor_key} if self.compactor_key else {}),
            **{names[name]: value for name, value in self.variables.items()},
        }


def make_plan(request: DeployRequest, build: Build, progress: Progress) -> Plan:
    """Look, package, and say what has to be done. Writes nothing but build/<stage>/.

    Raises HookshelfError or SettingError for what cannot be deployed, and what boto3 does.
    """
    target = account()
    stack = Stack(stack_name(request.stage))
    status, before = _status(stack, request.stage, progress)
    environ = functions_environment(request, before, target)
    settings = from_environment(environ)
    # Where there is a stack there is a stage: if it cannot be found, its tokens are not lost.
    live = _live_variables(request.stage) if before else {}
    token, variables = _with_token(live)
    stage_variables.check_variables({**variables, stage_variables.LOCK: "0"})
    options = _options(request, before, environ)
    progress(f"Packaging stage {request.stage} …")
    kms_keys = list(request.kms_keys) or stack_metadata(before).get("kms_keys", [])
    bucket_keys = {bucket.kms_key(name) for name in own_buckets(settings, target)}
    package = build(
        package_request(
            environ,
            options,
            kms_keys=sorted(filter(None, bucket_keys | {*kms_keys})),
            partition=target.partition,
            keep_days=_keep_days(request, settings, target),
        ),
        PROJECT_ROOT / "build" / request.stage,
        progress,
    )
    code_key = code_bucket.key(request.stage, package.zip.read_bytes(), "zip")
    compactor_key = ""
    if package.compactor:
        compactor_key = code_bucket.key(request.stage, package.compactor.read_bytes(), "zip")
    whole = template.with_variables(package.template, variables)
    whole["Metadata"] = template.metadata(
        archive_buckets=environ["ARCHIVE_BUCKETS"],
        alarms_to=options.alarms_to,
        kms_keys=kms_keys,
        variables=digests(variables),
        code=code_key,
        compactor_code=compactor_key,
    )
    return Plan(
        request=request,
        account=target,
        settings=settings,
        package=package,
        template=whole,
        before=before,
        status=status,
        replaced=tuple(stack.resources()) if status in UNRECOVERABLE else (),
        live=live,
        variables=variables,
        token=token,
        drifts=tuple(drifts(before, request.stage)),
        code_key=code_key,
        compactor_key=compactor_key,
        bucket_lines=tuple(_bucket_lines(request, settings, target)),
        warnings=tuple(_warnings(options)),
    )


def plan_lines(plan: Plan) -> Iterator[str]:
    """The plan for people, line by line."""
    yield (
        f"Stage {plan.request.stage}: account {plan.account.id}, {plan.account.region}, "
        f"stack {stack_name(plan.request.stage)}{'' if plan.before else ' (new)'}"
    )
    yield f"Code: {plan.package.description}"
    for line in plan.bucket_lines or ("nothing to do",):
        yield f"Bucket: {line}"
    for line in [*_stack_lines(plan)] or ("nothing to do",):
        yield f"Stack: {line}"
    names = ", ".join(sorted(plan.variables))
    yield (f"Stage variables: {'a first token in' if plan.token else 'kept as they are:'} {names}")
    for warning in plan.warnings:
        yield f"Note: {warning}"


def _stack_lines(plan: Plan) -> Iterator[str]:
    if plan.status in UNRECOVERABLE:
        yield f"delete it first, it is {plan.status} and cannot be updated"
        yield from (f"- {resource}" for resource in plan.replaced)
    yield from difference(plan.before, plan.template)
    yield from map(str, plan.drifts)
    before = stack_metadata(plan.before)
    if plan.before and before.get("code") != plan.code_key:
        yield "~ the code of every function of the app"
    if before.get("compactor_code") and before["compactor_code"] != plan.compactor_key != "":
        yield "~ the code of the compactor"


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


def digests(variables: Mapping[str, str]) -> dict[str, str]:
    """What a template may say of its stage variables: enough to see that one has changed."""
    return {
        name: hashlib.sha256(value.encode()).hexdigest()
        for name, value in sorted(variables.items())
    }


def functions_environment(request: DeployRequest, before: Json, account: Account) -> dict[str, str]:
    """The environment of the stage's functions: asked for, configured, or as it is.

    Raises MisuseError or SettingError for what cannot be deployed.
    """
    asked = request.environment
    environ = stage_environment(request.stage) if asked is None else dict(asked)
    if request.buckets:
        environ["ARCHIVE_BUCKETS"] = ",".join(request.buckets)
    elif not is_configured(environ):
        environ["ARCHIVE_BUCKETS"] = stack_metadata(before).get("archive_buckets", "")
    if not environ.get("ARCHIVE_BUCKETS"):
        raise MisuseError(
            f"No bucket for stage {request.stage}. Give --bucket NAME, "
            "or set ARCHIVE_BUCKETS in .chalice/config.json"
        )
    if "ARCHIVE_FOLDER" in environ:
        raise MisuseError(
            "ARCHIVE_FOLDER is set: Lambda's disk is gone with the function. Take it out of "
            f"stage {request.stage} in .chalice/config.json"
        )
    # Somebody else may take the name of a bucket that is deleted; nothing is sent there.
    environ.setdefault("ARCHIVE_BUCKET_OWNER", account.id)
    from_environment(environ)
    if asked is None:
        _refuse_unpackaged_apps_file(environ)
    refuse_plain_secrets(environ)
    check_apps(environ)  # not the shell's: the functions will not have it
    return environ


def _refuse_unpackaged_apps_file(environ: Mapping[str, str]) -> None:
    named = environ.get("APPS_FILE", "").strip()
    if (
        not (PROJECT_ROOT / (named or DEFAULT_FILE))
        .resolve()
        .is_relative_to(PROJECT_ROOT / "chalicelib")
    ):
        raise MisuseError(f"APPS_FILE is {named}, which is not packaged. Put it into chalicelib/")


def refuse_plain_secrets(environ: Mapping[str, str]) -> None:
    """Raise MisuseError for a secret of the apps file that a function's environment would hold.

    Whoever may read the template or the function's configuration would read it in clear.
    """
    for reference in references(environ):
        if reference.kind == "env" and reference.field.startswith("secrets"):
            raise MisuseError(
                f"App {reference.app}, {reference.field}: env:{reference.name} would stand in "
                "clear in the stack's template and the function's configuration. Put the secret "
                f"into Parameter Store and write ssm:/hookshelf/{reference.name} in its place: "
                f"aws ssm put-parameter --type SecureString --name /hookshelf/{reference.name} "
                "--value file://FILE"
            )


def package_request(
    environ: Mapping[str, str],
    options: template.Options,
    *,
    kms_keys: Sequence[str] = (),
    partition: str = "aws",
    architecture: str | None = None,
    keep_days: int | None = None,
) -> PackageRequest:
    """What to package a stage with, for a stack: its settings, policies and our template.

    `keep_days` are after how many the buckets' lifecycle lets deliveries go; None: never.
    """
    return PackageRequest(
        stage=options.stage,
        environment=environ,
        policies=policies(
            options.stage,
            environ,
            kms_keys=kms_keys,
            logs={name: template.arn_of(log_group(name)) for name in HANDLERS},
            dead_letters={name: template.arn_of(dead_letters(name)) for name in ASYNCHRONOUS},
            partition=partition,
        ),
        merge=template.merge_template(options),
        architecture=architecture,
        compactor=_compactor(environ, options, kms_keys, partition, keep_days)
        if options.compactor
        else {},
    )


def _compactor(
    environ: Mapping[str, str],
    options: template.Options,
    kms_keys: Sequence[str],
    partition: str,
    keep_days: int | None,
) -> Json:
    logs = template.arn_of(log_group(COMPACTOR))
    policy = compactor_policy(environ, logs, kms_keys=kms_keys, partition=partition)
    kept = {KEEP_DAYS: str(keep_days)} if keep_days else {}
    log_resource = template.log_group_resource()
    return compactor_resources(options.stage, {**environ, **kept}, policy, log_resource)


def usual_gaps(environ: Mapping[str, str]) -> dict[str, float]:
    """The apps of APPS_FILE that say how long they are silent at most, in seconds."""
    models = read_apps(environ)
    return {name: model.usual_gap for name, model in models.items() if model.usual_gap}


def refuse_foreign_stack(stack: Stack) -> None:
    """Raise MisuseError for a stack that hookshelf did not make: its template would say so."""
    if stack.status() and not stack_metadata(stack.template()):
        raise MisuseError(
            f"Stack {stack.name} was not made by hookshelf, and is not touched: its template has "
            "no metadata of ours. Choose another stage, or look at it: aws cloudformation "
            f"describe-stack-resources --stack-name {stack.name}"
        )


def _status(stack: Stack, stage: str, progress: Progress) -> tuple[str, Json]:
    """Status and template of a stack that can be made, updated or replaced; raises for any other.

    The template is empty where there is none to update.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]{1,40}", stage):
        raise MisuseError(
            f"Stage {stage!r} cannot name a stack: use letters, digits and -, at most 40"
        )
    refuse_foreign_stack(stack)
    status = wait_until_idle(stack, progress)
    if status == "UPDATE_ROLLBACK_FAILED":
        raise HookshelfError(
            f"Stack {stack.name} could not be rolled back. Run this, then deploy again: "
            f"aws cloudformation continue-update-rollback --stack-name {stack.name}"
        )
    if not status:
        _refuse_functions_of_others(stage)
    return status, {} if status in UNRECOVERABLE else stack.template()


def _live_variables(stage: str) -> dict[str, str]:
    """Those of the API's stage. Raises ResourceDeleted where that is gone."""
    try:
        return stage_variables.read(find_deployment(stage))
    except ClientError as error:
        if error.response["Error"]["Code"] != "NotFoundException":
            raise
        raise ResourceDeleted("The API or its stage", stage) from None


def _with_token(live: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The variables there shall be: those there are, and a first token where there is none.

    A stage that was closed on purpose has a variable without a usable token; it stays closed.
    """
    if stage_variables.token_variables(live):
        return "", dict(live)
    token, member = stage_variables.new_token()
    return token, {**live, variable_name(None): member}


def _options(request: DeployRequest, before: Json, environ: Mapping[str, str]) -> template.Options:
    alarms_to = request.alarms_to
    if alarms_to is None:
        alarms_to = stack_metadata(before).get("alarms_to", "")
    return template.Options(
        stage=request.stage,
        usual_gaps=usual_gaps(environ),
        alarms_to=alarms_to,
        access_logs=bool(boto3.client("apigateway").get_account().get("cloudwatchRoleArn")),
        reserved=RESERVED if may_reserve(request.stage) else 0,
        compactor=request.compactor,
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


def may_reserve(stage: str) -> bool:
    """Whether the account has room for RESERVED; where one may not ask, it has none."""
    client = boto3.client("lambda")
    try:
        limit = client.get_account_settings()["AccountLimit"]
        own = client.get_function_concurrency(FunctionName=function_name(stage, "api_handler"))
    except client.exceptions.ResourceNotFoundException:
        own = {}  # a first deploy
    except ClientError:
        return False
    free: int = limit["UnreservedConcurrentExecutions"] + own.get("ReservedConcurrentExecutions", 0)
    return free - RESERVED >= UNRESERVED


def _refuse_functions_of_others(stage: str) -> None:
    """The functions have fixed names; `chalice deploy` may have made them before."""
    client = boto3.client("lambda")
    for handler in LOGICAL_IDS:
        name = function_name(stage, handler)
        try:
            client.get_function_configuration(FunctionName=name)
        except client.exceptions.ResourceNotFoundException:
            continue
        raise MisuseError(
            f"Function {name} is there already, and belongs to no stack: stage {stage} was "
            f"deployed by chalice. Run chalice delete --stage {stage} first (what is archived "
            "stays), or deploy another stage"
        )


def own_buckets(settings: Settings, account: Account) -> dict[str, list[str]]:
    """What is archived into, paths by bucket; not what is another account's to look after."""
    paths: dict[str, list[str]] = {}
    for path in settings.bucket_paths if settings.bucket_owner == account.id else ():
        if not path.bucket.startswith("arn:"):  # an access point: whose bucket it is, it hides
            paths.setdefault(path.bucket, []).append(path.path)
    return paths


def _keep_days(request: DeployRequest, settings: Settings, account: Account) -> int | None:
    """After how many days deliveries go, and so what is compacted of them; None: never.

    Where buckets or paths differ, the longest: nothing goes from files before it goes from raw.
    """
    if request.keep_days is not None:
        return request.keep_days or None
    days = [
        bucket.keep_days(name, path)
        for name, paths in own_buckets(settings, account).items()
        for path in paths
    ]
    return None if None in days else max(filter(None, days), default=None)


def _bucket_lines(request: DeployRequest, settings: Settings, account: Account) -> Iterator[str]:
    """What will be done to the archive's buckets, and to the one for the code."""
    if not code_bucket.bucket_exists(account):
        yield f"+ {code_bucket.bucket_name(account)}, for the code"
    own = own_buckets(settings, account)
    for other in [path.bucket for path in settings.bucket_paths if path.bucket not in own]:
        if request.create_bucket:
            raise MisuseError(
                f"{other} is an access point, or another account's. "
                "Leave out --create-bucket, and see to that bucket yourself"
            )
        yield (
            f"{other}: not looked at, as an access point or another account's; its bucket's policy "
            "has to let the functions put"
        )
    mark = "+" if request.create_bucket else "--create-bucket would"
    for name, paths in own.items():
        steps = bucket.missing_steps(name, paths, keep_days=request.keep_days)
        if steps and steps[0].operation == "create_bucket" and not request.create_bucket:
            raise MisuseError(f"There is no bucket {name}. Give --create-bucket to make it")
        yield from (f"{name}: {mark} {step.line}" for step in steps)
