"""`hookshelf token`: the tokens of a deployed stage."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import click

from chalicelib.keys import is_app
from chalicelib.local import STAGE_VARIABLE
from chalicelib.responses import INVALID_APP
from chalicelib.routes import input_url
from chalicelib.tokens import variable_name
from hookshelf.commands._options import json_option
from hookshelf.deploy import deploy_lock, deployment, stage_variables
from hookshelf.deploy.stage_variables import CLOSED, Member
from hookshelf.settings import LOCAL_STAGE as LOCAL

# https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/troubleshooting
# https://support.sendgrid.com/hc/en-us/articles/46513815674395
# https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries
COST = (
    "A wrong token gets 403. SendGrid's Event Webhook tries again for 24 hours: fixed "
    "within a day, nothing is lost.\n"
    "Others, SendGrid's Inbound Parse among them, drop a delivery at once at a 403; GitHub never "
    "tries again by itself."
)
_FINGERPRINT = re.compile(r"[0-9a-f]{4,12}")


@dataclass(frozen=True, slots=True)
class TokenVariable:
    """The stage variable a command works on, and what is there now."""

    deployment: deployment.Deployment
    app: str | None  # None: the stage's own
    variables: dict[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """The stage variable."""
        return variable_name(self.app)

    @property
    def members(self) -> list[Member]:
        """What the variable holds, oldest first, but for what only closes it."""
        if not self.exists:
            return []
        members = stage_variables.parse_members(self.variables[self.name])
        return [member for member in members if member.text != CLOSED]

    @property
    def accepted(self) -> list[Member]:
        """Those of the members that let anyone deliver."""
        return [member for member in self.members if member.usable]

    @property
    def exists(self) -> bool:
        """Whether the variable is there."""
        return self.name in self.variables

    @property
    def options(self) -> str:
        """What names this variable on the command line."""
        return f"--stage {self.deployment.stage}" + (f" --app {self.app}" if self.app else "")


class _Row(NamedTuple):
    """One line of the list."""

    variable: str
    app: str | None
    fingerprint: str
    kind: str


def _whose(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every subcommand."""
    stage = click.option("--stage", default="dev", show_default=True, help="Whose tokens.")
    app = click.option("--app", callback=_app, help="This app's own tokens, not the stage's.")
    return stage(app(command))


def _app(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    # What was typed is not repeated: it may be a token.
    if value is not None and not is_app(value):
        raise click.BadParameter(INVALID_APP.reason)
    return value


@click.group()
def command() -> None:
    """Make, list, rotate and revoke the tokens of a deployed stage.

    They are kept in the stage variables of API Gateway, as SHA-256; a token itself is shown once,
    when it is made. What is made or revoked counts after some seconds, without a deployment.

    \b
    Exit status: 0 done, 1 AWS refused or you said no, 2 misuse.

    \b
    Examples:
      hookshelf token new
      hookshelf token list
      hookshelf token rotate
      hookshelf token revoke 0f3a9c51d2e7
    """


@command.command()
@_whose
@click.option("--yes", is_flag=True, help="Do not ask before an app's first token of its own.")
def new(*, stage: str, app: str | None, yes: bool) -> None:
    """Make one more token. The others stay.

    Only the token goes to stdout; the URL to give to the sender, and all else, goes to stderr.

    \b
    Exit status: 0 done, 1 AWS refused or you said no, 2 misuse.

    \b
    Examples:
      hookshelf token new --stage dev
      hookshelf token new --stage prod --app shop --yes
    """
    tokens = _token_variable(stage, app)
    if app is not None and not tokens.exists:
        _agree(app, yes)
    _say(_add(tokens), COST)


@command.command("list")
@_whose
@json_option
def list_(*, stage: str, app: str | None, as_json: bool) -> None:
    """List tokens by fingerprint, oldest first.

    That is the beginning of a token's SHA-256; no token is ever shown. With --app, only its own.

    \b
    Exit status: 0 listed, 1 AWS refused, 2 misuse.

    \b
    Examples:
      hookshelf token list --stage dev
      hookshelf token list --stage prod --app shop --json
    """
    tokens = _token_variable(stage, app)
    names = stage_variables.token_variables(tokens.variables)
    chosen = {name: whose for name, whose in names.items() if app is None or whose == app}
    rows = [
        _Row(name, whose, member.fingerprint, member.kind)
        for name, whose in chosen.items()
        for member in stage_variables.parse_members(tokens.variables[name])
    ]
    lines = [json.dumps(row._asdict()) for row in rows] if as_json else _table(rows)
    for line in lines:
        click.echo(line)
    if not tokens.accepted:
        _say(_no_token(tokens))


@command.command()
@_whose
def rotate(*, stage: str, app: str | None) -> None:
    """Make a new token beside the old ones.

    They stay valid until they are revoked, with the command that is shown. Only the token
    goes to stdout.

    \b
    Exit status: 0 done, 1 AWS refused, 2 misuse.

    \b
    Examples:
      hookshelf token rotate --stage dev
      hookshelf token rotate --stage prod --app shop
    """
    tokens = _token_variable(stage, app)
    if not tokens.accepted:
        raise click.UsageError(_no_token(tokens))
    old = dict.fromkeys(member.fingerprint for member in tokens.accepted)
    _say(
        _add(tokens),
        f"Old, and still accepted: {', '.join(old)}. Once the sender uses the new one:",
        f"  hookshelf token revoke {' '.join(old)} {tokens.options}",
        COST,
    )


@command.command()
@click.argument("fingerprints", nargs=-1, metavar="[FINGERPRINT]...")
@_whose
@click.option("--old", is_flag=True, help="All but the newest.")
@click.option("--all", "every", is_flag=True, help="All: nobody may deliver then.")
def revoke(
    *, fingerprints: tuple[str, ...], stage: str, app: str | None, old: bool, every: bool
) -> None:
    """Take tokens out.

    Those of the FINGERPRINTs (4 digits of each are enough), or --old, or --all. The last usable
    one goes only with --all: senders hear 503 then, and try again. An app's own
    variable stays, as without it the stage's tokens would count.

    \b
    Exit status: 0 done, 1 AWS refused, 2 misuse.

    \b
    Examples:
      hookshelf token revoke 0f3a9c51d2e7 --stage dev
      hookshelf token revoke --old --stage prod --app shop
    """
    if (bool(fingerprints) + old + every) != 1:
        raise click.UsageError("Give fingerprints, or --old, or --all")
    tokens = _token_variable(stage, app)
    if not tokens.exists:
        raise click.UsageError(_no_token(tokens))
    if fingerprints:
        revoked = {_digest_of(tokens, fingerprint.lower()) for fingerprint in fingerprints}
    else:
        newest = [] if every else [member.digest for member in tokens.accepted[-1:]]
        revoked = {member.digest for member in tokens.members} - {*newest}
    left = _without(tokens, revoked, every)
    _write(tokens, left)
    _report(tokens, revoked, _accepted(left))


def _token_variable(stage: str, app: str | None) -> TokenVariable:
    if stage == LOCAL:
        raise click.UsageError(
            f"Stage {LOCAL} is not on AWS: its tokens are {STAGE_VARIABLE}{variable_name(app)} in "
            ".chalice/config.json"
        )
    stage_variables.check_variables({variable_name(app): CLOSED})  # the app's name may be too long
    live = deployment.find_deployment(stage)
    return TokenVariable(live, app, stage_variables.read(live))


def _write(tokens: TokenVariable, value: str) -> None:
    deploy_lock.change_tokens(tokens.deployment, {tokens.name: value}, known=tokens.variables)


def _agree(app: str, yes: bool) -> None:
    """Ask before the stage's tokens stop counting for an app, or say so."""
    warning = (
        f"App {app} has no tokens of its own so far. With one, the stage's no longer count for it: "
        "a sender that uses the stage's token for this app is locked out, with 403."
    )
    if yes:
        _say(warning)
    elif sys.stdin.isatty():
        click.confirm(f"{warning} Go on?", abort=True, err=True)
    else:
        raise click.UsageError(f"{warning} Give --yes if that is meant")


def _add(tokens: TokenVariable) -> str:
    """Add a token and show it on stdout, once; what to do with it."""
    token, member = stage_variables.new_token()
    value = stage_variables.added(tokens.variables.get(tokens.name), member)
    _write(tokens, value)
    click.echo(token)
    [new_member] = stage_variables.parse_members(member)
    return (
        f"The token is shown only here; the stage keeps its SHA-256. Fingerprint: "
        f"{new_member.fingerprint}. It is accepted after some seconds.\n"
        "Give the sender this URL, with the token in place of TOKEN"
        f"{'' if tokens.app else ', and its app in place of APP'}:\n"
        f"  {input_url(tokens.deployment.url, token='TOKEN', app=tokens.app or 'APP')}"
    )


def _digest_of(tokens: TokenVariable, fingerprint: str) -> str:
    """The digest of the member that a fingerprint names."""
    if not _FINGERPRINT.fullmatch(fingerprint):
        # What was typed is not repeated: it may be a token.
        raise click.UsageError(
            f"A fingerprint is 4 to 12 hex digits. See: hookshelf token list {tokens.options}"
        )
    digests = {member.digest for member in tokens.members if member.digest.startswith(fingerprint)}
    if len(digests) > 1:
        raise click.UsageError(
            f"{fingerprint} is the beginning of several: give more of its digits"
        )
    if not digests:
        raise click.UsageError(
            f"No token {fingerprint} in {tokens.name}{_elsewhere(tokens, fingerprint)}"
        )
    return digests.pop()


def _elsewhere(tokens: TokenVariable, fingerprint: str) -> str:
    for name, app in stage_variables.token_variables(tokens.variables).items():
        members = stage_variables.parse_members(tokens.variables[name])
        if any(member.digest.startswith(fingerprint) for member in members):
            return f"; it is in {name}: " + (f"give --app {app}" if app else "leave out --app")
    return f". See: hookshelf token list {tokens.options}"


def _without(tokens: TokenVariable, revoked: Collection[str], every: bool) -> str:
    """The variable's next value; UsageError where no token would be left and that was not asked."""
    left = stage_variables.without(tokens.variables[tokens.name], revoked)
    if tokens.accepted and not every and not _accepted(left):
        raise click.UsageError(
            "That would leave no token. Make another one first: "
            f"hookshelf token rotate {tokens.options}; "
            f"or close it: hookshelf token revoke --all {tokens.options}"
        )
    return left


def _accepted(value: str) -> list[str]:
    return [member.fingerprint for member in stage_variables.parse_members(value) if member.usable]


def _report(tokens: TokenVariable, revoked: Collection[str], accepted: Sequence[str]) -> None:
    names = dict.fromkeys(
        member.fingerprint for member in tokens.members if member.digest in revoked
    )
    click.echo(f"Revoked: {', '.join(names) or 'none'}")
    if accepted:
        click.echo(f"Still accepted: {', '.join(accepted)}")
    else:
        who = f"for app {tokens.app}" if tokens.app else "but for apps with tokens of their own"
        click.echo(
            f"Closed {who}: senders hear 503, and try again. "
            f"Open it: hookshelf token new {tokens.options}"
        )
    _say("A revoked token may be accepted for some seconds more.", COST)


def _no_token(tokens: TokenVariable) -> str:
    new = f"hookshelf token new {tokens.options}"
    if tokens.app is not None and not tokens.exists:
        return (
            f"App {tokens.app} has no tokens of its own: the stage's count for it. Make one: {new}"
        )
    return f"No usable token in {tokens.name}: senders hear 503. Make one: {new}"


def _table(rows: Sequence[_Row]) -> list[str]:
    if not rows:
        return []
    lines = [("VARIABLE", "APP", "FINGERPRINT", "KIND")]
    lines += [(row.variable, row.app or "(stage)", row.fingerprint, row.kind) for row in rows]
    wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, wide, strict=True)).rstrip()
        for line in lines
    ]


def _say(*lines: str) -> None:
    click.echo("\n".join(lines), err=True)
