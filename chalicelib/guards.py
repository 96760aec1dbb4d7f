"""Who may come in: by the stage's token, or by the signature of an AWS principal.

A guard lets a request in, or raises Refused; what it gives back says which apps may be written to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from chalicelib import responses, tokens
from chalicelib.apps import App
from chalicelib.keys import is_app
from chalicelib.local import is_local
from chalicelib.responses import Refused

ProxyEvent = Mapping[str, Any]  # an API Gateway REST proxy event, payload version 1.0
QueryValues = Mapping[str, Sequence[str]]
MayWrite = Callable[[App], bool]
Guard = Callable[[ProxyEvent, QueryValues, Mapping[str, str], Mapping[str, str]], MayWrite]

_ASSUMED = r"arn:(aws[a-z-]*):sts::([0-9]{12}):assumed-role/([^/]+)/.+"


def by_token(
    event: ProxyEvent, query: QueryValues, headers: Mapping[str, str], environ: Mapping[str, str]
) -> MayWrite:
    """Let in who presents a token of the stage, or of the app.

    The query's token wins; only where it has none is `Authorization: Bearer` read. SendGrid's OAuth
    option sends a Bearer of its own beside our token.
    """
    app = single_value(query, "app")
    if "token" in query:
        presented = single_value(query, "token")
    else:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        presented = credentials.strip() if scheme.lower() == "bearer" else None
    try:
        tokens.check_token(
            event.get("stageVariables"), app if app and is_app(app) else None, presented
        )
    except tokens.NoToken:
        raise Refused(responses.NO_TOKEN) from None
    except tokens.WrongToken:
        raise Refused(responses.INVALID_TOKEN) from None
    return lambda app: True


def by_iam(
    event: ProxyEvent, query: QueryValues, headers: Mapping[str, str], environ: Mapping[str, str]
) -> MayWrite:
    """Let in whom API Gateway's AWS_IAM authorization named, for the apps that name them.

    `chalice local` lets everybody pass on such routes, so there the signature is checked here.
    """
    if is_local(environ):
        from chalicelib import sigv4

        arn = sigv4.signer_arn(event, query, headers, environ)
    else:
        identity = (event.get("requestContext") or {}).get("identity") or {}
        arn = identity.get("userArn")
    if not arn or not isinstance(arn, str):
        raise Refused(responses.APP_NOT_ALLOWED)
    return partial(_named, arn)


def single_value(query: QueryValues, name: str) -> str | None:
    """The value of a parameter that is given exactly once; Chalice's query_params has the last."""
    values = query.get(name) or ()
    return values[0] if len(values) == 1 else None


def is_principal(arn: str, principals: Iterable[str]) -> bool:
    """Whether one of `principals`, ARNs in which `*` and `?` stand for anything, is `arn`.

    An assumed role's session is its role too: `arn:aws:iam::<account>:role/<name>` is enough.
    """
    names = [arn]
    if session := re.fullmatch(_ASSUMED, arn):
        partition, account, role = session.groups()
        names.append(f"arn:{partition}:iam::{account}:role/{role}")
    return any(_like(pattern).fullmatch(name) for pattern in principals for name in names)


def _named(arn: str, app: App) -> bool:
    return is_principal(arn, app.principals)


def _like(pattern: str) -> re.Pattern[str]:
    # Not fnmatch, to which `[` means something.
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."))
