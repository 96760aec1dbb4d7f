"""`make smoke-aws`: look at what only AWS can show, and leave nothing behind."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime

import boto3
import click

from hookshelf import aws
from hookshelf.aws import Account
from hookshelf.deploy import code_bucket
from hookshelf.deploy.deployment import stack_name
from hookshelf.smoke import registry, resources, table
from hookshelf.smoke.checks import CHECKS
from hookshelf.smoke.resources import Dependencies
from hookshelf.smoke.table import Report
from hookshelf.smoke.target import Target
from hookshelf.terminal import readable_failures

CLEAN = "make smoke-aws ARGS=--clean"


class Reporting(click.Command):
    """What AWS refuses is a message, not a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        """Run it."""
        with readable_failures(click.UsageError, click.ClickException):
            return super().invoke(ctx)


@click.command("smoke", cls=Reporting)
@click.option("--region", help="Where to. Default: that of the shell or the profile.")
@click.option("--yes", is_flag=True, help="Go on without asking.")
@click.option("--keep", is_flag=True, help="Leave it standing; --clean removes it later.")
@click.option("--clean", is_flag=True, help="Only remove what an earlier run left.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a Markdown table.")
@click.pass_context
def main(
    ctx: click.Context, *, region: str | None, yes: bool, keep: bool, clean: bool, as_json: bool
) -> None:
    """Make a stack and a bucket, check what only AWS can show, print a table, remove it all.

    It takes a quarter of an hour and costs cents. The table goes into docs/proof.md. Whatever
    happens, and after Ctrl-C too, everything is removed; what a run that was killed has left goes
    with --clean.

    \b
    Exit status: 0 all ok and all removed, 1 a check is not, or AWS refused, 2 misuse.

    \b
    Examples:
      make smoke-aws
      make smoke-aws ARGS='--region eu-central-1 --yes'
      make smoke-aws ARGS=--clean
    """
    if clean and (keep or as_json):
        raise click.UsageError("--clean checks nothing. Leave out --keep and --json")
    if region:
        os.environ["AWS_DEFAULT_REGION"] = region
        boto3.setup_default_session()
    account = aws.account()
    left = resources.leftovers(account)
    if clean:
        sys.exit(_clean(account, left, yes))
    if left != resources.Leftovers("", []):
        raise click.UsageError(f"An earlier run has left {left}. Remove it: {CLEAN}")
    bucket = resources.new_bucket_name()
    click.echo(_announcement(account, bucket), err=True)
    _ask(yes)
    report, is_removed = _run(account, bucket, ctx.obj or Dependencies(), keep)
    click.echo(table.as_json(report) if as_json else table.markdown(report))
    sys.exit(0 if report.is_ok and is_removed else 1)


def _progress(line: str) -> None:
    click.echo(line, err=True)


def _announcement(account: Account, bucket: str) -> str:
    stack = stack_name(resources.SMOKE_STAGE)
    return f"""In account {account.id}, {account.region}, this makes
  + the bucket {bucket}
  + the stack {stack}: an API, three functions with roles and logs, queues, alarms
  + the bucket {code_bucket.bucket_name(account)} for the code, unless it is there
sends some 200 requests, 30 MB in all, and removes everything again.
It takes a quarter of an hour, and should cost less than five cents: the largest part are alarms
and metrics, which count by the hour.
"""


def _ask(yes: bool) -> None:
    if sys.stdin.isatty() and not yes:
        click.confirm("Go on?", default=True, abort=True, err=True)


def _clean(account: Account, left: resources.Leftovers, yes: bool) -> int:
    """Remove what is left, and code without a stack, which is not listed; the exit status."""
    click.echo(f"Leftovers in {account.region}: {left}", err=True)
    if left.stack or left.buckets:
        _ask(yes)
    return 0 if _removed(left.buckets, account) else 1


def _run(
    account: Account, bucket: str, dependencies: Dependencies, keep: bool
) -> tuple[Report, bool]:
    """The report, and whether nothing is left that should not be."""
    is_removed = False
    try:
        resources.create_bucket(bucket, account)
        target = resources.deploy(bucket, account, dependencies, _progress)
        report = _report(target)
    finally:
        if keep:
            click.echo(
                f"Kept: {stack_name(resources.SMOKE_STAGE)}, {bucket}. Later: {CLEAN}", err=True
            )
        else:
            is_removed = _removed([bucket], account)
    return report, is_removed or keep


def _report(target: Target) -> Report:
    function = target.function("api_handler")
    return Report(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        region=target.account.region,
        runtime=function["Runtime"],
        architecture=", ".join(function["Architectures"]),
        rows=registry.run_checks(CHECKS, target, _progress),
    )


def _removed(buckets: list[str], account: Account) -> bool:
    """Remove it all; whether that could be done."""
    left = [f"stack {stack_name(resources.SMOKE_STAGE)}", *buckets]
    try:
        left = resources.clean_up(buckets, account, _progress)
    finally:  # a second Ctrl-C, too, leaves something
        if left:
            click.echo(f"Perhaps left: {', '.join(left)}. Remove it: {CLEAN}", err=True)
    return not left


if __name__ == "__main__":
    main()
