"""Where `make run` serves, and with which token."""

from __future__ import annotations

from collections.abc import Mapping

from chalicelib.local import STAGE_VARIABLE
from chalicelib.routes import input_url
from chalicelib.settings import SettingError
from chalicelib.tokens import HASHED, variable_name
from hookshelf.settings import CONFIG, LOCAL_STAGE, LOOPBACK

HOST = LOOPBACK
TOKEN_VARIABLE = STAGE_VARIABLE + variable_name(None)


def local_url(environ: Mapping[str, str], port: int, app: str) -> str:
    """The whole URL for an app, with the first token that is not kept as a hash.

    Raises SettingError where stage `local` has no token.
    """
    tokens = [token.strip() for token in environ.get(TOKEN_VARIABLE, "").split(",")]
    if not any(tokens):
        raise SettingError(
            TOKEN_VARIABLE, f"is not set. Put a token under stage `{LOCAL_STAGE}` of {CONFIG}"
        )
    plain = next((token for token in tokens if token and not token.startswith(HASHED)), None)
    return input_url(f"http://{HOST}:{port}", token=plain or "YOUR-TOKEN", app=app)
