"""The variables of a deployment's API stage, and the tokens they hold.

A token variable is a comma list of members, oldest first; what it means to receiving is
chalicelib/tokens.py. Nothing here shows a token: members are named by their fingerprint.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import boto3

from chalicelib import tokens
from chalicelib.errors import HookshelfError, MisuseError
from chalicelib.keys import is_app
from hookshelf.deploy.deployment import API_STAGE, Deployment

CLOSED = f"{tokens.HASHED}none"  # unusable on purpose: senders hear 503, and try again later
LOCK = "hookshelfDeploySince"  # no name of a token, so that receiving never looks at it

MAX_NAME_LENGTH = 64
MAX_VALUE_LENGTH = 512
MAX_VARIABLES = 100
QUOTAS = (
    "https://docs.aws.amazon.com/apigateway/latest/developerguide/"
    "api-gateway-execution-service-limits-table.html"
)  # where .../developerguide/limits.html leads for a REST API
CHARACTERS = "https://docs.aws.amazon.com/apigateway/latest/api/API_CreateStage.html"
_NAME = re.compile(r"[A-Za-z0-9_]+")
_VALUE = re.compile(r"[A-Za-z0-9._~:/?#&=,-]+")


@dataclass(frozen=True, slots=True)
class Member:
    """One part of a token variable's comma list."""

    kind: Literal["hashed", "plain", "unusable"]
    digest: str  # SHA-256, 64 hex digits: of the token, or of an unusable member's own text
    text: str = field(repr=False)  # as it stands in the list; where it is plain, a token

    @property
    def fingerprint(self) -> str:
        """What people call it: the same for a plain member and for its hash."""
        return self.digest[:12]

    @property
    def usable(self) -> bool:
        """Whether it lets anyone deliver."""
        return self.kind != "unusable"


def read(deployment: Deployment) -> dict[str, str]:
    """The live variables of the API's stage, but for the lock of a deploy."""
    variables = _read(deployment)
    variables.pop(LOCK, None)
    return variables


def write(deployment: Deployment, changes: Mapping[str, str | None]) -> None:
    """Set these variables, and take away those that are None; all others stay as they are.

    Raises MisuseError for what API Gateway would refuse, before anything is changed, and
    HookshelfError where the variables read back are not the ones written.
    """
    live = _read(deployment)
    operations = patch_operations(live, changes)
    if not operations:
        return
    check_variables({name: value for name, value in changes.items() if value is not None})
    _check_count(sum(value is not None for value in {**live, **changes}.values()))
    boto3.client("apigateway").update_stage(
        restApiId=deployment.api, stageName=API_STAGE, patchOperations=operations
    )
    written = _read(deployment)
    wrong = sorted(name for name, value in changes.items() if written.get(name) != value)
    if wrong:
        raise HookshelfError(
            f"API Gateway took the change, but {', '.join(wrong)} reads otherwise. Perhaps someone "
            "else changed it at the same time. See: hookshelf token list "
            f"--stage {deployment.stage}"
        )


def lock(deployment: Deployment, since: int) -> None:
    """Note that a deploy is under way, since so many seconds of Unix time."""
    write(deployment, {LOCK: str(since)})


def unlock(deployment: Deployment) -> None:
    """Take the note away, unless it is gone already."""
    write(deployment, {LOCK: None})


def locked_since(deployment: Deployment) -> int | None:
    """Since when a deploy is under way, in seconds of Unix time; None where none is."""
    since = _read(deployment).get(LOCK, "")
    return int(since) if since.isdecimal() else None


def _read(deployment: Deployment) -> dict[str, str]:
    client = boto3.client("apigateway")
    stage = client.get_stage(restApiId=deployment.api, stageName=API_STAGE)
    return dict(stage.get("variables") or {})


def patch_operations(
    live: Mapping[str, str], changes: Mapping[str, str | None]
) -> list[dict[str, str]]:
    """What update_stage is told: `replace` to add too, nothing for what is as it should be.

    https://docs.aws.amazon.com/apigateway/latest/api/patch-operations.html
    """
    operations = []
    for name, value in changes.items():
        path = "/variables/" + name.replace("~", "~0").replace("/", "~1")  # a JSON Pointer
        if value is None and name in live:
            operations.append({"op": "remove", "path": path})
        elif value is not None and live.get(name) != value:
            operations.append({"op": "replace", "path": path, "value": value})
    return operations


def check_variables(variables: Mapping[str, str]) -> None:
    """Raise MisuseError for what API Gateway refuses, without quoting any value."""
    _check_count(len(variables))
    for name, value in variables.items():
        _check_name(name)
        _check_value(name, value)


def new_token() -> tuple[str, str]:
    """A token of 256 random bits, and the member that lets it in."""
    token = secrets.token_urlsafe(32)
    return token, tokens.HASHED + tokens.digest(token).hex()


def app_of_variable(name: str) -> str | None:
    """The app whose own tokens a variable of that name holds, or None."""
    app = name.removeprefix(tokens.variable_name("")).replace("__", "-")
    return app if is_app(app) and tokens.variable_name(app) == name else None


def token_variables(variables: Mapping[str, str]) -> dict[str, str | None]:
    """The variables that hold tokens, the stage's first, each with its app or None."""
    stage = tokens.variable_name(None)
    return {
        name: app_of_variable(name)
        for name in sorted(variables)
        if name == stage or app_of_variable(name) is not None
    }


def parse_members(value: str) -> list[Member]:
    """The members of a comma list, oldest first; an empty part is an unusable one."""
    return [_member(part.strip()) for part in value.split(",")]


def added(value: str | None, member: str) -> str:
    """The list with one more member, the newest; what only closed the stage goes."""
    parts = [
        member.text for member in parse_members(value or "") if member.text not in ("", CLOSED)
    ]
    return ",".join([*parts, member])


def without(value: str, digests: Collection[str]) -> str:
    """The list without these members, or CLOSED where none is left.

    It is never empty: API Gateway takes no empty value, and without its variable an app would
    take the stage's tokens.
    """
    left = (member.text for member in parse_members(value) if member.digest not in digests)
    return ",".join(left) or CLOSED


def _member(text: str) -> Member:
    digest = tokens.usable_digest(text)
    if digest is None:
        return Member("unusable", tokens.digest(text).hex(), text)
    return Member("hashed" if text.startswith(tokens.HASHED) else "plain", digest.hex(), text)


def _check_count(count: int) -> None:
    if count > MAX_VARIABLES:
        raise MisuseError(
            f"{count} stage variables; API Gateway takes {MAX_VARIABLES} ({QUOTAS}). "
            "Let some apps use the stage's tokens"
        )


def _check_name(name: str) -> None:
    if len(name) > MAX_NAME_LENGTH:
        raise MisuseError(
            f"{name} has {len(name)} characters; API Gateway takes {MAX_NAME_LENGTH} in the name "
            f"of a stage variable ({QUOTAS}). An app whose name is too long for tokens of its own "
            "uses the stage's"
        )
    if not _NAME.fullmatch(name):
        raise MisuseError(
            f"{name!r} cannot name a stage variable: API Gateway takes letters, digits and _ of "
            f"ASCII ({CHARACTERS})"
        )


def _check_value(name: str, value: str) -> None:
    if len(value) > MAX_VALUE_LENGTH:
        raise MisuseError(
            f"{name} would have {len(value)} characters; API Gateway takes {MAX_VALUE_LENGTH}, "
            f"seven hashed members ({QUOTAS}). Revoke one first: hookshelf token list shows "
            "them, hookshelf token revoke takes one out"
        )
    if not _VALUE.fullmatch(value):
        raise MisuseError(
            f"{name} would be empty, or have characters that API Gateway does not take in a stage "
            f"variable: it takes ASCII letters, digits and -._~:/?#&=, ({CHARACTERS}). "
            "A member made by hookshelf token new has no others"
        )
