"""APPS_FILE for people: its whole shape, checked before anything is served or deployed.

pydantic stays off the path of `POST /input`, where it would cost 100 ms of cold start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chalicelib import apps, secrets
from chalicelib.keys import is_app
from chalicelib.settings import SettingError


class AppModel(BaseModel):
    """One app in APPS_FILE."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    source: str | None = None
    public_keys: list[str] = []
    secrets: list[str] = []
    signature: Literal["require", "record", "ignore"] | None = None
    max_age: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    any_body: bool = False
    principals: list[str] = []
    paths: dict[Literal["id", "type", "time", "subject", "correlation"], str] = {}
    # Seconds without a delivery before the alarm; CloudWatch looks back seven days at most.
    usual_gap: float | None = Field(default=None, ge=300, le=7 * 24 * 3600)


def check_apps(environ: Mapping[str, str]) -> dict[str, AppModel]:
    """Every app of APPS_FILE, checked whole: shape, keys and secrets.

    Raises SettingError for the file; AppError, which names app and field but no value, for an app.
    """
    models = read_apps(environ)
    for name, entry in apps.entries(environ).items():
        apps.read_app(name, entry, lambda text: secrets.resolve(text, environ))
    return models


def read_apps(environ: Mapping[str, str]) -> dict[str, AppModel]:
    """Every app of APPS_FILE by its shape alone; no secret is looked up, here or at AWS.

    Raises as `check_apps` does.
    """
    return {name: _shaped(name, entry) for name, entry in apps.entries(environ).items()}


def _shaped(name: str, entry: object) -> AppModel:
    if not is_app(name):
        raise SettingError("APPS_FILE", f"has the app {name!r}, which is no app name")
    try:
        return AppModel.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise apps.AppError(name, _field(first["loc"]), first["msg"]) from None


def _field(where: tuple[int | str, ...]) -> str:
    """pydantic's ("secrets", 0) as `secrets[0]`, which is what the door says."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    return "".join(parts).removeprefix(".") or "entry"
