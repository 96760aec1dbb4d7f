"""`hookshelf deploy`: one CloudFormation stack for a stage, made or changed."""

from __future__ import annotations

import re
import sys

import click

from chalicelib.routes import input_url
from hookshelf.commands._options import KeyArn, progress
from hookshelf.commands.doctor import print_findings
from hookshelf.deploy import package
from hookshelf.deploy.apply import apply
from hookshelf.deploy.deployment import find_deployment
from hookshelf.deploy.plan import DeployRequest, Plan, make_plan, plan_lines
from hookshelf.doctor import examine

# An e-mail address, or an SNS topic's ARN; SNS is the judge of what is before and after the @.
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+|arn:aws[\w-]*:sns:[\w-]+:\d{12}:[\w-]+(\.fifo)?")


def _address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value and not _ADDRESS.fullmatch(value):
        raise click.BadParameter("give an e-mail address or the ARN of an SNS topic, '' for nobody")
    return value


@click.command()
@click.option("--stage", default="dev", show_default=True, help="Of .chalice/config.json.")
@click.option(
    "--bucket",
    "buckets",
    multiple=True,
    metavar="NAME[/PATH]",
    help="Archive into it; several times for several, the first is the default. "
    "Default: ARCHIVE_BUCKETS of the stage, else what the last deploy had.",
)
@click.option("--create-bucket", is_flag=True, help="Make the bucket if need be, and harden it.")
@click.option(
    "--keep",
    "keep_days",
    type=click.IntRange(0, 36_500),  # a hundred years
    metavar="DAYS",
    help="With --create-bucket: expire deliveries after so many days; 0: keep them for ever.",
)
@click.option(
    "--alarms-to",
    callback=_address,
    metavar="ADDRESS",
    help="E-mail address, or an SNS topic's ARN, that alarms are sent to.",
)
@click.option(
    "--kms-key",
    "kms_keys",
    type=KeyArn(),
    multiple=True,
    metavar="ARN",
    help="Of your own, that encrypts secrets of the apps file, or a bucket of another account. "
    "A bucket's own key is found. Several times for several; remembered.",
)
@click.option(
    "--no-compactor",
    is_flag=True,
    help="Without the function that compacts by schedule; one that is there is taken away.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask whether to go on.")
@click.option("--no-doctor", is_flag=True, help="Do not examine it afterwards.")
def command(
    *,
    stage: str,
    buckets: tuple[str, ...],
    create_bucket: bool,
    keep_days: int | None,
    alarms_to: str | None,
    kms_keys: tuple[str, ...],
    no_compactor: bool,
    dry_run: bool,
    yes: bool,
    no_doctor: bool,
) -> None:
    """Put a stage on AWS, or bring it up to date.

    It packages the app into build/<stage>/, says what will change, and changes it. Tokens stay as
    `hookshelf token` left them; the first deploy makes one, and shows it once. Run it again after
    an interruption: it goes on from wherever it is.

    \b
    Exit status: 0 deployed and in order, 1 AWS refused or the doctor found a fault, 2 misuse.

    \b
    Examples:
      hookshelf deploy --bucket my-webhooks --create-bucket
      hookshelf deploy --stage prod --bucket my-webhooks --alarms-to ops@example.com
      hookshelf deploy --stage prod --dry-run
    """
    if keep_days is not None and not create_bucket:
        raise click.UsageError("--keep changes the bucket. Give --create-bucket with it")
    request = DeployRequest(
        stage,
        buckets,
        create_bucket,
        keep_days,
        alarms_to,
        kms_keys,
        compactor=not no_compactor,
    )
    plan = make_plan(request, package.build, progress)
    for line in plan_lines(plan):
        click.echo(line)
    if dry_run:
        return
    if sys.stdin.isatty() and not yes:
        click.confirm("Go on?", default=True, abort=True)
    _apply(plan)
    url = input_url(find_deployment(stage).url, token="TOKEN", app="sendgrid")
    click.echo(f"For SendGrid: {url}")
    if not no_doctor:
        sys.exit(print_findings(examine(stage)))


def _apply(plan: Plan) -> None:
    if plan.token:
        # Before anything is made: should this be interrupted, it is known and not lost.
        click.echo(f"The first token, shown only now: {plan.token}")
        click.echo("The stage keeps no more than its SHA-256.")
    try:
        apply(plan, progress)
    except KeyboardInterrupt:
        click.echo("Interrupted. CloudFormation may go on by itself; run the same again.", err=True)
        raise
