"""Where secrets come from: the text itself, or a reference to where it is kept.

`env:NAME`, `ssm:/path/name` (decrypted), `secretsmanager:name-or-arn`. Anything else is the secret.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from threading import Thread
from typing import Any, NamedTuple

from chalicelib.deadline import Deadline
from chalicelib.errors import HookshelfError

LOOKUP_TIMEOUT = 3.0  # seconds for one look-up at AWS


class UnresolvedSecret(HookshelfError):
    """A reference leads nowhere. The text names the kind of reference, never a value."""


def resolve(text: str, environ: Mapping[str, str], deadline: Deadline | None = None) -> str:
    """The secret that `text` is or refers to. Raises UnresolvedSecret.

    A look-up at AWS ends after LOOKUP_TIMEOUT, or when `deadline` leaves no more before the put.
    """
    kind, _, name = text.partition(":")
    if kind not in ("env", *_LOOKUPS):
        return text
    if kind == "env":
        secret = environ.get(name, "")
    else:
        secret = _look_up(kind, name, deadline or Deadline())
    if not secret:
        raise UnresolvedSecret(f"the {kind}: reference leads to nothing")
    return secret


def is_looked_up(text: str) -> bool:
    """Whether `text` is a reference that AWS has to be asked for."""
    return text.partition(":")[0] in _LOOKUPS


def env_references(entry: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that an app's entry, whose shape is right, refers to, with their values."""
    texts = [*entry.get("secrets", ()), *entry.get("public_keys", ())]
    references = [text.partition(":") for text in texts]
    return {name: environ.get(name, "") for kind, _, name in references if kind == "env"}


def _look_up(kind: str, name: str, deadline: Deadline) -> str:
    """Ask AWS, in a thread: botocore's own timeouts are for each read, not for the response."""
    # Imported here: most archives keep no secret in AWS, and boto3 costs 200 ms.
    import boto3
    from botocore.config import Config

    method, arguments, path = _LOOKUPS[kind]
    config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})
    # boto3 knows AWS_DEFAULT_REGION alone; the stores take AWS_REGION first, and so do secrets.
    region = os.environ.get("AWS_REGION") or None
    seconds = min(LOOKUP_TIMEOUT, deadline.left_before_put())
    if seconds <= 0:
        raise UnresolvedSecret(f"the {kind}: reference fails: no time is left to look it up")
    ended: list[Any] = []

    def ask() -> None:
        try:
            with closing(boto3.client(kind, region_name=region, config=config)) as client:
                ended.append(getattr(client, method)(**{arguments[0]: name}, **arguments[1]))
        except Exception as error:
            ended.append(error)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    value = ended[0] if ended else TimeoutError()
    if isinstance(value, Exception):  # the type alone: the text may quote the name
        raise UnresolvedSecret(f"the {kind}: reference fails: {type(value).__name__}") from None
    for part in path:
        value = value.get(part) or {}
    return value if isinstance(value, str) else ""


class _Lookup(NamedTuple):
    method: str
    arguments: tuple[str, Mapping[str, object]]  # what takes the name, and what else is asked for
    path: tuple[str, ...]  # to the secret in the response


_LOOKUPS = {
    "ssm": _Lookup("get_parameter", ("Name", {"WithDecryption": True}), ("Parameter", "Value")),
    "secretsmanager": _Lookup("get_secret_value", ("SecretId", {}), ("SecretString",)),
}
