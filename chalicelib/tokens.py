"""Who may deliver: the token in the URL against the stage's variables.

`validToken` holds the tokens of the stage, `validToken_<app>` those of one app (`-` written `__`),
which then are the only ones accepted for it. A value is a comma list, so that a token can be
rotated with overlap; a member is the token itself or `sha256:<64 hex digits>`.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256

from chalicelib.errors import HookshelfError

HASHED = "sha256:"  # begins a member that is the hash of a token
_OF_NOTHING = sha256(b"").digest()


class NoToken(HookshelfError):
    """The stage (or this app's own variable) holds no usable token: nobody may deliver."""


class WrongToken(HookshelfError):
    """The presented token is missing, empty, given twice, or not one of the stage's."""


def check_token(
    variables: Mapping[str, str] | None, app: str | None, presented: str | None
) -> None:
    """Let a delivery pass, or raise NoToken or WrongToken.

    `variables` are the stage's, None where API Gateway has none; `app` is a well-formed app name,
    or None; `presented` is the one token that was given, or None.
    """
    accepted = _members(_value(variables or {}, app))
    if not accepted:
        raise NoToken
    if not presented:
        raise WrongToken
    given = digest(presented)
    # Every member is compared, in constant time, on digests: neither the position of the right
    # one nor a common beginning can be timed, and compare_digest refuses non-ASCII text.
    if not sum(hmac.compare_digest(given, member) for member in accepted):
        raise WrongToken


def variable_name(app: str | None) -> str:
    """The stage variable that holds an app's own tokens, or the stage's for None."""
    return "validToken" if app is None else "validToken_" + app.replace("-", "__")


def usable_digest(member: str) -> bytes | None:
    """The SHA-256 of the one token that a member lets in; None where it lets in nobody."""
    hashed = _member(member.strip())
    return None if hashed == _OF_NOTHING else hashed


def digest(token: str) -> bytes:
    """The SHA-256 of a token, whatever text it is."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


def _value(variables: Mapping[str, str], app: str | None) -> str:
    own = variable_name(app)
    value = variables.get(own if own in variables else variable_name(None))
    return value if isinstance(value, str) else ""


@lru_cache(maxsize=128)  # as many variables as a stage can have, and then some
def _members(value: str) -> tuple[bytes, ...]:
    """The digests of the usable members of a comma list."""
    return tuple(hashed for member in value.split(",") if (hashed := usable_digest(member)))


def _member(member: str) -> bytes | None:
    if not member.startswith(HASHED):
        return digest(member)
    hex_digits = member.removeprefix(HASHED)
    return bytes.fromhex(hex_digits) if re.fullmatch(r"[0-9A-Fa-f]{64}", hex_digits) else None
