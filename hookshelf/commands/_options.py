"""Options that several commands share, and how they read what people type."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import wraps
from typing import Any
from zoneinfo import ZoneInfo

import click

from hookshelf.settings import LOCAL_STAGE, environment, stage_environment


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a command is asked to read, and with which settings.

    `since` is included, `until` is not; both are aware UTC, and arrival times.
    """

    environ: Mapping[str, str]
    app: str | None  # None: every app
    bucket: str | None  # `bucket[/path]`, that path alone; None: ARCHIVE_BUCKETS and all below
    since: datetime | None
    until: datetime | None
    tz: tzinfo  # in which dates were read, and times are shown
    as_json: bool
    endpoint: str = ""  # where the stage receives, if it is deployed and was asked for
    stage: str | None = None  # whose settings they are; None: those of the shell


class KeyArn(click.ParamType):  # type: ignore[type-arg]  # no type before click 8.5
    """The ARN of one KMS key."""

    name = "arn"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The ARN as it is, or fail with what is allowed."""
        from hookshelf.deploy.policies import is_key_arn  # loads boto3

        if not is_key_arn(value):
            self.fail(
                f"{value!r} is not the ARN of a key, arn:aws:kms:REGION:ACCOUNT:key/ID. "
                "A policy knows no alias: aws kms describe-key --key-id alias/NAME shows the ARN"
            )
        return value


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")


def progress(line: str) -> None:
    """Show a step of something that takes its time, on stderr."""
    click.echo(line, err=True)


def _zone(ctx: click.Context, param: click.Parameter, value: str) -> tzinfo:
    if value.upper() in ("UTC", "Z"):
        return UTC  # needs no time zone database
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise click.BadParameter(
            f"{value!r} is no time zone. Use a name like Europe/Berlin"
        ) from None


_PLACE = (
    click.option("--app", help="Only this app; without it, every app."),
    click.option(
        "--bucket",
        metavar="NAME[/PATH]",
        help="That path alone; without it, every entry of ARCHIVE_BUCKETS and all below them.",
    ),
)
_STAGE = click.option(
    "--stage", help="Settings of this stage: as it is deployed, else of .chalice/config.json."
)
_READING = (
    *_PLACE,
    click.option(
        "--since",
        metavar="TIME",
        help="Arrived from here on: a duration like 14d, a date, or a time like 2026-11-20T23:00.",
    ),
    click.option(
        "--until", metavar="TIME", help="Arrived before; a date means that whole day too."
    ),
    click.option(
        "--tz",
        metavar="ZONE",
        callback=_zone,
        default="UTC",
        show_default=True,
        help="Of dates and times, such as Europe/Berlin.",
    ),
    _STAGE,
    json_option,
)


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that reads an archive; it gets them as one ReadOptions.

    @click.command()
    @reading_options
    def command(options: ReadOptions, *, others: str) -> None: ...
    """

    @wraps(command)
    def with_options(
        *,
        app: str | None,
        bucket: str | None,
        since: str | None,
        until: str | None,
        tz: tzinfo,
        stage: str | None,
        as_json: bool,
        **others: Any,
    ) -> Any:
        from hookshelf.reading import times

        now = datetime.now(UTC)
        start = _moment("--since", times.since, since, now, tz)
        end = _moment("--until", times.until, until, now, tz)
        environ, endpoint = command_environment(stage)
        options = ReadOptions(environ, app, bucket, start, end, tz, as_json, endpoint, stage)
        return command(options, **others)

    for option in reversed(_READING):
        with_options = option(with_options)
    return with_options


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that is about places, whenever something arrived there."""

    @wraps(command)
    def with_options(
        *, app: str | None, bucket: str | None, stage: str | None, as_json: bool, **others: Any
    ) -> Any:
        environ, endpoint = command_environment(stage)
        options = ReadOptions(environ, app, bucket, None, None, UTC, as_json, endpoint)
        return command(options, **others)

    for option in reversed((*_PLACE, _STAGE, json_option)):
        with_options = option(with_options)
    return with_options


@dataclass(frozen=True, slots=True)
class Match:
    """Which events a command is asked for; None is any. The fields are those of Archive.find."""

    subject: str | None
    id: str | None
    type: str | None
    correlation: str | None


_MATCHING = (
    click.argument("subject", required=False),
    click.option("--id", "event_id", metavar="ID", help="The event of this id."),
    click.option(
        "--type", "event_type", metavar="TYPE", help="Events of this type, such as bounce."
    ),
    click.option(
        "--correlation", metavar="ID", help="Events of this message, order or conversation."
    ),
)


def matching_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """SUBJECT, --id, --type and --correlation; the command gets them as one Match."""

    @wraps(command)
    def with_options(
        options: ReadOptions,
        *,
        subject: str | None,
        event_id: str | None,
        event_type: str | None,
        correlation: str | None,
        **others: Any,
    ) -> Any:
        if subject is not None and not subject.strip():
            raise click.BadParameter("it is empty", param_hint="SUBJECT")
        return command(options, Match(subject, event_id, event_type, correlation), **others)

    for option in reversed(_MATCHING):
        with_options = option(with_options)
    return with_options


def _moment(
    option: str, read: Callable[..., datetime | None], text: str | None, now: datetime, tz: tzinfo
) -> datetime | None:
    from hookshelf.reading.errors import BadQuestion

    try:
        return read(text, now, tz)
    except BadQuestion as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def command_environment(stage: str | None) -> tuple[Mapping[str, str], str]:
    """The settings of a command, of the stage as it is deployed, where it is; and its endpoint."""
    if stage is None or stage == LOCAL_STAGE:
        return environment(stage), ""
    deployed = _deployed(stage)
    if deployed is None:
        return environment(stage), ""
    variables, endpoint = deployed
    return {**os.environ, **variables}, endpoint


def _deployed(stage: str) -> tuple[dict[str, str], str] | None:
    """The variables of the function that receives, and its endpoint; None: none is deployed."""
    import boto3
    from botocore.exceptions import NoCredentialsError, NoRegionError

    from hookshelf.deploy.deployment import NotDeployed, find_deployment

    try:
        deployment = find_deployment(stage)
        name = deployment.functions["api_handler"]
        configuration = boto3.client("lambda").get_function_configuration(FunctionName=name)
    except NotDeployed:
        return None
    except (NoCredentialsError, NoRegionError):
        stage_environment(stage)  # a stage that nobody knows is misuse, logged in or not
        click.echo(
            f"No AWS credentials or region: settings of stage {stage} as .chalice/config.json "
            "has them, not as it is deployed.",
            err=True,
        )
        return None
    variables: dict[str, str] = configuration.get("Environment", {}).get("Variables", {})
    return variables, deployment.url
