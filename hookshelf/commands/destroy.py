"""`hookshelf destroy`: take a stage off AWS; what is archived stays."""

from __future__ import annotations

import sys

import click

from hookshelf.commands._options import progress
from hookshelf.deploy.destroy import destroy, find_removal


@click.command()
@click.option("--stage", required=True, help="Whose stack to delete.")
@click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
def command(*, stage: str, yes: bool) -> None:
    """Delete the stack of a stage: its API, functions, tokens, logs, queues and alarms.

    The archive's bucket is no part of the stack and stays as it is, with all that is in it.
    Senders hear errors from then on. A stage made by `chalice deploy` goes with `chalice delete`.

    \b
    Exit status: 0 gone, 1 AWS refused, 2 misuse.

    \b
    Examples:
      hookshelf destroy --stage dev
      hookshelf destroy --stage prod --yes
    """
    removal = find_removal(stage, progress)
    click.echo(f"Stage {stage}: this is deleted, with its tokens, logs and dead letters:")
    for resource in removal.resources:
        click.echo(f"- {resource}")
    click.echo(f"- the code of stage {stage}")
    click.echo(f"Kept, with all that is archived: {removal.archive}")
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("Give --yes if that is meant")
    if not yes:
        click.confirm("Go on?", default=False, abort=True)
    destroy(stage, progress)
    click.echo("Gone.")
