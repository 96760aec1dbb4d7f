"""What commands share that send deliveries to a server of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TextIO
from urllib.parse import parse_qs, urlsplit

import click

from chalicelib import tokens
from chalicelib.local import configured_stage_variables
from hookshelf.commands._options import ReadOptions
from hookshelf.reading.values import ArchivedDelivery
from hookshelf.replay.forward import Pace, Parcel
from hookshelf.replay.parcels import parcel_of, signs_again
from hookshelf.replay.target import Destination, NoResponse, RefusedTarget, parse_target


@dataclass(frozen=True, slots=True)
class Sending:
    """How deliveries are sent."""

    allow_private: bool
    timeout: float  # seconds
    re_sign: bool
    private_key: str | None  # PEM, or the secret, to sign with; None: APPS_FILE's

    def pace(self, *, rate: float | None = None, concurrency: int = 1) -> Pace:
        """How quickly, and how often."""
        return Pace(rate=rate, concurrency=concurrency, timeout=self.timeout)


_SENDING = (
    click.option(
        "--allow-private",
        is_flag=True,
        help="The target may be this machine, or in a private network; only then may it be http.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0.1),
        default=10.0,
        show_default=True,
        metavar="SECONDS",
        help="For a response.",
    ),
    click.option(
        "--re-sign",
        is_flag=True,
        help="Sign anew, for receivers that refuse old signatures: with the first secret of the "
        "app in APPS_FILE, or with --key.",
    ),
    click.option(
        "--key", type=click.File(), help="With --re-sign: a file of the private key, or the secret."
    ),
)


def sending_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--allow-private, --timeout, --re-sign and --key; the command gets them as one Sending."""

    @wraps(command)
    def with_options(
        *args: Any,
        allow_private: bool,
        timeout: float,
        re_sign: bool,
        key: TextIO | None,
        **others: Any,
    ) -> Any:
        if key and not re_sign:
            raise click.UsageError("--key goes with --re-sign")
        private_key = key.read().strip() if key else None
        return command(*args, Sending(allow_private, timeout, re_sign, private_key), **others)

    for option in reversed(_SENDING):
        with_options = option(with_options)
    return with_options


def parcel_to_send(delivery: ArchivedDelivery, sending: Sending, options: ReadOptions) -> Parcel:
    """A delivery, whole, as it is sent."""
    body = delivery.body or b""
    sign = signs_again(options.environ, sending.private_key)
    signature = sign(delivery.app, body) if sending.re_sign else {}
    return parcel_of(delivery.bucket, delivery.key, body, delivery.metadata or {}, signature)


def checked_target(url: str, sending: Sending, options: ReadOptions) -> Destination:
    """The target, its address checked once. Raises RefusedTarget."""
    target = parse_target(url, allow_private=sending.allow_private)
    if _is_own(url, target, options):
        raise RefusedTarget(
            f"{target} is the endpoint that archives: what is sent there is archived again"
        )
    try:
        target.address()
    except NoResponse as error:
        raise RefusedTarget(f"{error}. Is the target right?") from None
    return target


def _is_own(url: str, target: Destination, options: ReadOptions) -> bool:
    """Whether the stage that is read receives there: by its address, or by its token."""
    if options.endpoint and urlsplit(options.endpoint).hostname == target.host:
        return True
    query = parse_qs(urlsplit(url).query)
    app, token = (query.get(name, [None])[-1] for name in ("app", "token"))
    try:
        tokens.check_token(configured_stage_variables(options.environ), app, token)
    except (tokens.NoToken, tokens.WrongToken):
        return False
    return True
