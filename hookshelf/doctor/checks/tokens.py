"""Whether the right senders are let in: the tokens in the stage's variables."""

from __future__ import annotations

from collections.abc import Iterator

from chalicelib import tokens
from chalicelib.local import configured_stage_variables
from hookshelf import settings
from hookshelf.deploy.stage_variables import CLOSED, Member, parse_members, token_variables
from hookshelf.doctor.canary import VARIABLE, is_leftover
from hookshelf.doctor.findings import Result, failure, warning
from hookshelf.doctor.fixes import update_stage
from hookshelf.doctor.live_stage import LiveStage
from hookshelf.doctor.registry import doctor_check

SHORTEST_TOKEN = 22  # characters: 128 bits in base64


@doctor_check(
    "stage-variable",
    good="The stage has a token, and so has every app with tokens of its own.",
    why="Without a usable token every delivery is answered with 503.",
)
def stage_variable(stage: LiveStage) -> Iterator[Result]:
    """Somebody may deliver: to the stage, and to each app with a variable of its own."""
    named, own = f"--stage {stage.deployment.stage}", tokens.variable_name(None)
    variables = stage.variables
    if not _lets_in_anybody(variables.get(own, "")):
        state = "has no usable token" if own in variables else "is not set"
        yield failure(f"The stage variable {own} {state}.", f"hookshelf token new {named}")
    for name, app in token_variables(variables).items():
        if app and variables[name] == CLOSED:
            what = f"App {app} is closed: its tokens were revoked, and it responds with 503."
            yield warning(what, f"hookshelf token new {named} --app {app}")
        elif app and not _lets_in_anybody(variables[name]):
            what = f"App {app} responds with 503: the stage variable {name} has no usable token."
            yield failure(what, f"hookshelf token new {named} --app {app}")


@doctor_check(
    "token-strength",
    good="Every token is kept as its SHA-256.",
    why="Whoever may look at the API reads its variables, and a short token can be guessed.",
)
def token_strength(stage: LiveStage) -> Iterator[Result]:
    """Tokens are hashed, long, nobody else's, and each member of a list counts."""
    for name, app in token_variables(stage.variables).items():
        listed = parse_members(stage.variables[name])
        whose = f"--stage {stage.deployment.stage}" + (f" --app {app}" if app else "")
        revoke = f"once senders use the new one: hookshelf token revoke --old {whose}"
        rotate = f"hookshelf token rotate {whose}  # and {revoke}"
        for is_bad, level, what in (
            (_is_weak, failure, f"holds a plain token of fewer than {SHORTEST_TOKEN} characters"),
            (_is_published, failure, "holds the token for trying out, which is in the source"),
            (_is_plain, warning, "holds a token in plain text"),
        ):
            if any(map(is_bad, listed)):
                yield level(f"The stage variable {name} {what}.", rotate)
                break
        useless = [member.fingerprint for member in listed if not member.usable]
        if useless and len(useless) < len(listed):
            what = f"The stage variable {name} has a member that lets in nobody."
            yield warning(what, f"hookshelf token revoke {' '.join(useless)} {whose}")


@doctor_check(
    "token-name",
    good="Every variable for tokens is that of an app.",
    why="A variable that is no app's does nothing: the stage's tokens count for the app it is for.",
)
def token_name(stage: LiveStage) -> Iterator[Result]:
    """No variable looks like tokens of an app and is not."""
    known = token_variables(stage.variables)
    stem = tokens.variable_name(None).lower()
    for name in sorted(stage.variables):
        if name.lower().startswith(stem) and name not in known:
            what = f"The stage variable {name} is no app's: write - as __, and keep its case."
            yield warning(what, update_stage(stage, f"op=remove,path=/variables/{name}"))


@doctor_check(
    "canary-leftover",
    good="No token of an interrupted canary is left.",
    why="It still lets in whoever has it.",
)
def canary_leftover(stage: LiveStage) -> Iterator[Result]:
    """A canary that was killed left no token behind; the next one takes it out."""
    if is_leftover(stage.variables):
        what = f"The stage variable {VARIABLE} holds the token of an interrupted canary."
        yield warning(what, f"hookshelf doctor --canary --stage {stage.deployment.stage}")


def _lets_in_anybody(value: str) -> bool:
    return any(member.usable for member in parse_members(value))


def _is_plain(member: Member) -> bool:
    return member.kind == "plain"


def _is_weak(member: Member) -> bool:
    return _is_plain(member) and len(member.text) < SHORTEST_TOKEN


def _is_published(member: Member) -> bool:
    published = configured_stage_variables(settings.stage_environment(settings.LOCAL_STAGE))
    token = published.get(tokens.variable_name(None), "")
    return bool(token) and member.digest == tokens.digest(token).hex()
