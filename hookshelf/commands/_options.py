"""Options that several verbs share, and how they read what people type."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from hookshelf.deploy.policies import is_key_arn

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Time(click.ParamType):
    """A duration before now (`90m`, `14d`) or an ISO 8601 time; a datetime in UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it, or fail with what is allowed."""
        if isinstance(value, datetime):
            return value
        try:
            if ago := re.fullmatch(r"(\d{1,6})([smhdw])", value):
                return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            time = datetime.fromisoformat(value)
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a duration like 14d nor a time like 2026-11-20T23:00")


class KeyArn(click.ParamType):
    """The ARN of one KMS key."""

    name = "arn"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The ARN as it is, or fail with what is allowed."""
        if not is_key_arn(value):
            self.fail(
                f"{value!r} is not the ARN of a key, arn:aws:kms:REGION:ACCOUNT:key/ID. "
                "A policy knows no alias: aws kms describe-key --key-id alias/NAME shows the ARN"
            )
        return value


def progress(line: str) -> None:
    """Show a step of something that takes its time, on stderr."""
    click.echo(line, err=True)


_LISTING = (
    click.option("--app", help="Only this app; without it, every app."),
    click.option("--bucket", help="bucket[/path]; without it, the first of ARCHIVE_BUCKETS."),
    click.option(
        "--since", type=Time(), help="From here on: a duration like 14d, or a time (UTC)."
    ),
    click.option("--until", type=Time(), help="Up to here, likewise."),
    click.option("--stage", help="Settings of this stage of .chalice/config.json."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object per line."),
)


def listing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every verb that lists."""
    for option in reversed(_LISTING):
        command = option(command)
    return command
