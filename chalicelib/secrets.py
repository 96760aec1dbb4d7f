"""Where secrets come from: the text itself, or a reference to where it is kept.

`env:NAME`, `ssm:/path/name` (decrypted), `secretsmanager:name-or-arn`. Anything else is the secret.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from chalicelib.errors import HookshelfError


class UnresolvedSecret(HookshelfError):
    """A reference leads nowhere. The text names the kind of reference, never a value."""


def resolve(text: str, environ: Mapping[str, str]) -> str:
    """The secret that `text` is or refers to. Raises UnresolvedSecret."""
    kind, _, name = text.partition(":")
    if kind == "env":
        found = environ.get(name, "")
    elif kind == "ssm":
        found = _aws(kind, "get_parameter", "Parameter", "Value", Name=name, WithDecryption=True)
    elif kind == "secretsmanager":
        found = _aws(kind, "get_secret_value", "SecretString", SecretId=name)
    else:
        return text
    if not found:
        raise UnresolvedSecret(f"the {kind}: reference leads to nothing")
    return found


def env_references(
    entry: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """What `env:` references in an app's entry, whose shape is right, refer to, by name."""
    for field in ("secrets", "public_keys"):
        for text in entry.get(field, ()):
            kind, _, name = text.partition(":")
            if kind == "env":
                yield name, environ.get(name, "")


def _aws(service: str, method: str, *path: str, **arguments: Any) -> str:
    # Imported here: most archives keep no secret in AWS, and boto3 costs 200 ms.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})
    # boto3 knows AWS_DEFAULT_REGION alone; the stores take AWS_REGION first, and so do secrets.
    region = os.environ.get("AWS_REGION") or None
    try:
        with closing(boto3.client(service, region_name=region, config=config)) as client:
            found: Any = getattr(client, method)(**arguments)
    except (BotoCoreError, ClientError) as error:
        raise UnresolvedSecret(f"the {service}: reference fails: {type(error).__name__}") from None
    for part in path:
        found = found.get(part) or {}
    return found if isinstance(found, str) else ""
