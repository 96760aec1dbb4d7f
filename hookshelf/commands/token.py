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
from chalicelib.tokens import variable_name
from hookshelf.deploy import deploy_lock, deployment, stage_variables
from hookshelf.deploy.stage_variables import CLOSED, Member
from hookshelf.settings import STAGE as LOCAL

# https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/troubleshooting
# https://support.sendgrid.com/hc/en-us/articles/46513815674395
# https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries
COST = (
    "A wrong token is answered 403. SendGrid's Event Webhook tries again for 24 hours: mended "
    "within a day, nothing is lost.\n"
    "Others, SendGrid's Inbound Parse among them, drop a delivery at once at a 403; GitHub never "
    "tries again by itself."
)
_FINGERPRINT = re.compile(r"[0-9a-f]{4,12}")


@dataclass(frozen=True, slots=True)
class Door:
    """Whose tokens a verb works on, and what is there now."""

    deployment: deployment.Deployment
    app: str | None  # None: the stage's own
    variables: dict[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """The stage variable."""
        return variable_name(self.app)

    @property
    def members(self) -> list[Member]:
        """What the variable holds, oldest first, but for what only closes the door."""
        held = stage_variables.members(self.variables[self.name]) if self.exists else []
        return [one for one in held if one.text != CLOSED]

    @property
    def accepted(self) -> list[Member]:
        """Those of the members that let anyone deliver."""
        return [one for one in self.members if one.usable]

    @property
    def exists(self) -> bool:
        """Whether the variable is there."""
        return self.name in self.variables

    @property
    def options(self) -> str:
        """What names this door on the command line."""
        return f"--stage {self.deployment.stage}" + (f" --app {self.app}" if self.app else "")


class Row(NamedTuple):
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
        raise click.BadParameter(
            "use ASCII letters and digits with single - or _ between them, at most 50 characters"
        )
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
    door = _door(stage, app)
    if app is not None and not door.exists:
        _agree(app, yes)
    _say(_add(door), COST)


@command.command("list")
@_whose
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
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
    door = _door(stage, app)
    names = stage_variables.token_variables(door.variables)
    chosen = {name: whose for name, whose in names.items() if app is None or whose == app}
    rows = [
        Row(name, whose, one.fingerprint, one.kind)
        for name, whose in chosen.items()
        for one in stage_variables.members(door.variables[name])
    ]
    lines = [json.dumps(row._asdict()) for row in rows] if as_json else _table(rows)
    for line in lines:
        click.echo(line)
    if not door.accepted:
        _say(_nothing_there(door))


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
    door = _door(stage, app)
    if not door.accepted:
        raise click.UsageError(_nothing_there(door))
    old = dict.fromkeys(one.fingerprint for one in door.accepted)
    _say(
        _add(door),
        f"Old, and still accepted: {', '.join(old)}. Once the sender uses the new one:",
        f"  hookshelf token revoke {' '.join(old)} {door.options}",
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
    one goes only with --all: the door answers 503 then, so that senders try again. An app's own
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
    door = _door(stage, app)
    if not door.exists:
        raise click.UsageError(_nothing_there(door))
    gone = _named(door, fingerprints) if fingerprints else _chosen(door, every)
    left = _without(door, gone, every)
    _write(door, left)
    _report(door, gone, _accepted(left))


def _door(stage: str, app: str | None) -> Door:
    if stage == LOCAL:
        raise click.UsageError(
            f"Stage {LOCAL} is not on AWS: its tokens are STAGE_VAR_{variable_name(app)} in "
            ".chalice/config.json"
        )
    stage_variables.check({variable_name(app): CLOSED})  # the app's name may be too long
    found = deployment.find(stage)
    return Door(found, app, stage_variables.read(found))


def _write(door: Door, value: str) -> None:
    deploy_lock.change_tokens(door.deployment, {door.name: value}, known=door.variables)


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


def _add(door: Door) -> str:
    """Add a token and show it on stdout, once; what to do with it."""
    token, member = stage_variables.new_token()
    value = stage_variables.added(door.variables.get(door.name), member)
    _write(door, value)
    click.echo(token)
    [made] = stage_variables.members(member)
    return (
        f"The token is shown only here; the stage keeps its SHA-256. Fingerprint: "
        f"{made.fingerprint}. It is accepted after some seconds.\n"
        "Give the sender this URL, with the token in place of TOKEN"
        f"{'' if door.app else ', and its app in place of APP'}:\n"
        f"  {door.deployment.url}/input?token=TOKEN&app={door.app or 'APP'}"
    )


def _named(door: Door, fingerprints: Sequence[str]) -> set[str]:
    """The digests of the members that fingerprints name."""
    return {_one(door, fingerprint.lower()) for fingerprint in fingerprints}


def _one(door: Door, fingerprint: str) -> str:
    if not _FINGERPRINT.fullmatch(fingerprint):
        # What was typed is not repeated: it may be a token.
        raise click.UsageError(
            f"A fingerprint is 4 to 12 hex digits. See: hookshelf token list {door.options}"
        )
    found = {one.digest for one in door.members if one.digest.startswith(fingerprint)}
    if len(found) > 1:
        raise click.UsageError(
            f"{fingerprint} is the beginning of several: give more of its digits"
        )
    if not found:
        raise click.UsageError(
            f"No token {fingerprint} in {door.name}{_elsewhere(door, fingerprint)}"
        )
    return found.pop()


def _elsewhere(door: Door, fingerprint: str) -> str:
    for name, app in stage_variables.token_variables(door.variables).items():
        held = stage_variables.members(door.variables[name])
        if any(one.digest.startswith(fingerprint) for one in held):
            return f"; it is in {name}: " + (f"give --app {app}" if app else "leave out --app")
    return f". See: hookshelf token list {door.options}"


def _chosen(door: Door, every: bool) -> set[str]:
    """The digests of all members, or of all but the newest usable one."""
    newest = [one.digest for one in door.accepted[-1:]]
    return {one.digest for one in door.members if every or one.digest not in newest}


def _without(door: Door, gone: Collection[str], every: bool) -> str:
    """The variable's next value; UsageError where it would close the door and may not."""
    left = stage_variables.without(door.variables[door.name], gone)
    if door.accepted and not every and not _accepted(left):
        raise click.UsageError(
            "That would leave no token. Make another one first: "
            f"hookshelf token rotate {door.options}; "
            f"or close the door: hookshelf token revoke --all {door.options}"
        )
    return left


def _accepted(value: str) -> list[str]:
    return [one.fingerprint for one in stage_variables.members(value) if one.usable]


def _report(door: Door, gone: Collection[str], accepted: Sequence[str]) -> None:
    names = dict.fromkeys(one.fingerprint for one in door.members if one.digest in gone)
    click.echo(f"Revoked: {', '.join(names) or 'none'}")
    if accepted:
        click.echo(f"Still accepted: {', '.join(accepted)}")
    else:
        who = f"for app {door.app}" if door.app else "but for apps with tokens of their own"
        click.echo(
            f"Closed {who}: the door answers 503, so that senders try again. "
            f"Open it: hookshelf token new {door.options}"
        )
    _say("A revoked token may be accepted for some seconds more.", COST)


def _nothing_there(door: Door) -> str:
    new = f"hookshelf token new {door.options}"
    if door.app is not None and not door.exists:
        return f"App {door.app} has no tokens of its own: the stage's count for it. Make one: {new}"
    return f"No usable token in {door.name}: the door answers 503. Make one: {new}"


def _table(rows: Sequence[Row]) -> list[str]:
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
