"""`hookshelf policy`: the IAM policies of a stage's functions, and of who uses the archive."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from chalicelib.types import Json
from hookshelf import settings
from hookshelf.commands._options import KeyArn, command_environment
from hookshelf.deploy import policies


@click.command()
@click.option("--stage", help="The stage of .chalice/config.json; with --for as it is deployed.")
@click.option(
    "--for",
    "purpose",
    type=click.Choice(policies.PURPOSES),
    help="Print the policy of a person or a job that does this with the archive.",
)
@click.option(
    "--bucket",
    "buckets",
    multiple=True,
    metavar="NAME[/PATH]",
    help="With --for: that place; several times for several. Default: ARCHIVE_BUCKETS.",
)
@click.option(
    "--kms-key",
    "kms_keys",
    type=KeyArn(),
    multiple=True,
    help="ARN of a key of your own that encrypts the bucket or the secrets. Repeat it for more.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 where a file differs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per file.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    stage: str | None,
    purpose: str | None,
    buckets: tuple[str, ...],
    kms_keys: tuple[str, ...],
    check: bool,
    as_json: bool,
) -> None:
    """Write the policy file of each function for plain `chalice deploy`, or print another policy.

    The functions may do what the stage's settings need: put objects where ARCHIVE_BUCKETS says,
    read the secrets that APPS_FILE refers to, write their own logs. Run it again after a change of
    either. `hookshelf deploy` does without these files.

    With --for nothing is written: it prints the policy that lets a person or a job read the archive
    with hookshelf, compact it elsewhere than in the stack, put deliveries into it, or erase. Only
    the last can change or delete a delivery.

    \b
    Exit status: 0 the files are right, 1 with --check: one is not, 2 misuse.

    \b
    Examples:
      hookshelf policy --stage dev
      hookshelf policy --stage prod --kms-key arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab
      hookshelf policy --stage prod --check
      hookshelf policy --for read --stage prod
      hookshelf policy --for compact --bucket my-webhooks > policy.json
      hookshelf policy --for erase --bucket my-webhooks
    """
    if purpose:
        if check:
            raise click.UsageError("--check compares files, and --for writes none")
        document = _archive_policy(purpose, stage, buckets, kms_keys)
        click.echo(json.dumps(document, indent=None if as_json else 2))
    elif not stage or buckets:
        raise click.UsageError(
            "Give --stage for the policies of its functions, "
            f"or --for with {', '.join(policies.PURPOSES)}"
        )
    elif not _write_files(stage, kms_keys, check, as_json):
        click.echo(f"Write what differs: hookshelf policy --stage {stage}", err=True)
        ctx.exit(1)


def _write_files(stage: str, kms_keys: Sequence[str], check: bool, as_json: bool) -> bool:
    """Write the files that are not as they should be; with `check`, whether all of them are."""
    wanted = policies.policies(
        stage, _environment(stage), kms_keys=kms_keys, partition=_partition()
    )
    folder = settings.CONFIG.parent
    states = {handler: _state(folder, stage, handler, wanted[handler]) for handler in wanted}
    for handler, state in states.items():
        if state != "unchanged" and not check:
            _write(folder / policies.file_name(stage, handler), wanted[handler])
            state = "written"
        _say(stage, handler, state, as_json)
    unused = _warn_of_unused(stage, wanted)
    return not check or (not unused and set(states.values()) == {"unchanged"})


def _archive_policy(
    purpose: str, stage: str | None, buckets: Sequence[str], kms_keys: Sequence[str]
) -> Json:
    environ = dict(os.environ if buckets and not stage else command_environment(stage)[0])
    if buckets:
        environ["ARCHIVE_BUCKETS"] = ",".join(buckets)
    elif "ARCHIVE_FOLDER" in environ:
        raise click.UsageError(
            "The archive is a folder, ARCHIVE_FOLDER, where no policy counts. Name the bucket: "
            "--bucket NAME, or --stage"
        )
    _refuse_placeholder(stage or settings.LOCAL_STAGE, environ)
    return policies.archive_policy(purpose, environ, kms_keys=kms_keys, partition=_partition())


def _environment(stage: str) -> dict[str, str]:
    if stage == settings.LOCAL_STAGE:
        raise click.UsageError(
            f"Stage {stage} runs on your machine, where no policy counts. Name one you deploy: "
            "hookshelf policy --stage dev"
        )
    environ = settings.stage_environment(stage)
    _refuse_placeholder(stage, environ)
    return environ


def _refuse_placeholder(stage: str, environ: Mapping[str, str]) -> None:
    if not policies.is_configured(environ):
        raise click.UsageError(
            f"ARCHIVE_BUCKETS of stage {stage} is still {policies.PLACEHOLDER}, and a policy must "
            f"name the bucket. Put its name into {settings.CONFIG}"
        )


def _partition() -> str:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html"""
    import boto3  # loads much

    session = boto3.Session()
    region = session.region_name
    partition: str = session.get_partition_for_region(region) if region else "aws"
    return partition


def _state(folder: Path, stage: str, handler: str, document: Json) -> str:
    try:
        text = (folder / policies.file_name(stage, handler)).read_text(encoding="utf-8")
    except FileNotFoundError:
        return "missing"
    try:
        return "unchanged" if json.loads(text) == document else "differs"
    except ValueError:
        return "differs"


def _write(path: Path, document: Json) -> None:
    """Whole or not at all: a policy cut short would stop the next deployment."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    new.replace(path)


def _say(stage: str, handler: str, state: str, as_json: bool) -> None:
    name = policies.file_name(stage, handler)
    line = {"stage": stage, "handler": handler, "file": name, "state": state}
    click.echo(json.dumps(line) if as_json else f"{state:<9}  {name}")


def _warn_of_unused(stage: str, wanted: Mapping[str, Json]) -> bool:
    """Whether `chalice deploy` would take another policy for a function than the file written."""
    from chalice.config import Config  # loads much of Chalice

    config = json.loads(settings.CONFIG.read_text(encoding="utf-8"))
    unused = False
    for handler in wanted:
        name = policies.file_name(stage, handler)
        of_handler = Config(chalice_stage=stage, function_name=handler, config_from_disk=config)
        if of_handler.autogen_policy or of_handler.iam_policy_file != name:
            unused = True
            click.echo(
                f"Chalice does not use {name}. In {settings.CONFIG} set autogen_policy to false, "
                f'and "iam_policy_file": "{name}" in stages.{stage}.lambda_functions.{handler}',
                err=True,
            )
    return unused
