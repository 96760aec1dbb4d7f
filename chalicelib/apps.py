"""What is configured for one app: its source, keys and demands. Read from APPS_FILE.

The door reads it cheaply, one app at a time; chalicelib/models.py holds the same shape for people.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from sys import float_info
from typing import Any, get_args

from chalicelib import secrets
from chalicelib.settings import PROJECT_ROOT, SettingError
from chalicelib.sources import Keys, Source, source_named, source_names, source_of
from chalicelib.types import SignatureMode

DEFAULT_FILE = "chalicelib/apps.json"
SIGNATURE_MODES: tuple[SignatureMode, ...] = get_args(SignatureMode)
FIELDS = {
    "source": str,
    "public_keys": list,
    "secrets": list,
    "signature": str,
    "max_age": int | float | None,
    "any_body": bool,
    "principals": list,
    "paths": dict,
    "usual_gap": int | float | None,  # for an alarm; the door does not look at it
}


class AppError(SettingError):
    """One field of one app is wrong; `field` says which, and no text holds its value."""

    def __init__(self, app: str, field: str, problem: str) -> None:
        super().__init__("APPS_FILE", f"has a wrong {field} for app {app}: {problem}")
        self.field = f"{app}.{field}"


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The settings of one app; the defaults are those of an app nobody configured."""

    source: Source
    keys: Keys = Keys()
    signature: SignatureMode = "ignore"
    max_age: float | None = None  # seconds; None: an archive must accept a 72-hour retry
    any_body: bool = False
    principals: tuple[str, ...] = ()
    is_configured: bool = False  # whether APPS_FILE names it


def app_named(name: str, environ: Mapping[str, str]) -> App:
    """The settings of an app. Raises AppError, or SettingError for the file as a whole.

    Secrets are resolved here, once per container.
    """
    found = entries(environ)
    if name not in found:
        return App(source=source_of(name))
    entry = found[name]
    _check_shape(name, entry)
    return _configured(name, json.dumps(entry), tuple(secrets.env_references(entry, environ)))


def entries(environ: Mapping[str, str]) -> dict[str, Any]:
    """The content of APPS_FILE, by app; empty where there is no file and none is named."""
    named = environ.get("APPS_FILE", "").strip()
    path = PROJECT_ROOT / (named or DEFAULT_FILE)
    try:
        stat = path.stat()
        return _load(path, stat.st_mtime_ns, stat.st_size)
    except FileNotFoundError:
        if named:
            raise SettingError("APPS_FILE", f"names {named!r}, which is not there") from None
        return {}
    except OSError as error:
        raise SettingError("APPS_FILE", f"cannot be read: {error.strerror}") from None


def read_app(name: str, entry: Any, resolve: Callable[[str], str]) -> App:
    """An App from its entry in the file. Raises AppError for the first field that is wrong.

    `resolve` turns what is written for a secret into the secret.
    """
    _check_shape(name, entry)
    source = _source(name, entry)
    signature = entry.get("signature")
    if signature not in (None, *SIGNATURE_MODES):
        raise AppError(name, "signature", f"use one of {', '.join(SIGNATURE_MODES)}")
    keys = _keys(name, entry, source, resolve) if signature != "ignore" else Keys()
    if signature == "require" and not keys:
        raise AppError(name, "signature", "is require, and there is nothing to check with")
    return App(
        is_configured=True,
        source=source,
        keys=keys,
        signature=signature or ("record" if keys else "ignore"),
        max_age=_max_age(name, entry, source),
        any_body=entry.get("any_body", False),
        principals=tuple(entry.get("principals", ())),
    )


def _check_shape(name: str, entry: Any) -> None:
    if not isinstance(entry, dict):
        raise AppError(name, "entry", "use an object of fields")
    for field, value in entry.items():
        if field not in FIELDS:
            raise AppError(name, field, f"no such field; there are {', '.join(FIELDS)}")
        _check_kind(name, field, value)


def _check_kind(name: str, field: str, value: Any) -> None:
    if not isinstance(value, FIELDS[field]) or (field in _NUMBERS and isinstance(value, bool)):
        raise AppError(name, field, f"use {_KINDS[field]}")
    for index, text in enumerate(value if isinstance(value, list) else ()):
        if not _is_text(text):
            raise AppError(name, f"{field}[{index}]", "use text")


@lru_cache(maxsize=4)
def _load(path: Path, mtime_ns: int, size: int) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes(), object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError) as error:
        problem = str(error) if isinstance(error, _Repeated) else "is not JSON"
        raise SettingError("APPS_FILE", problem) from None
    if not isinstance(found, dict):
        raise SettingError("APPS_FILE", "is no JSON object of apps")
    return found


@lru_cache(maxsize=256)
def _configured(name: str, entry: str, environ: tuple[tuple[str, str], ...]) -> App:
    return read_app(name, json.loads(entry), lambda text: secrets.resolve(text, dict(environ)))


def _source(name: str, entry: Mapping[str, Any]) -> Source:
    wanted = entry.get("source")
    if wanted is not None and wanted not in source_names():
        raise AppError(name, "source", f"use one of {', '.join(sorted(source_names()))}")
    source = source_named(wanted) if wanted else source_of(name)
    paths = entry.get("paths")
    if not paths:
        return source
    if source.name != "generic":
        raise AppError(name, "paths", "only the generic source looks at it")
    from chalicelib.sources import generic

    for attribute, path in paths.items():
        if attribute not in generic.USUAL or not _is_text(path):
            raise AppError(name, "paths", f"use dotted paths for {', '.join(generic.USUAL)}")
    return generic.with_paths(paths)


def _keys(
    name: str, entry: Mapping[str, Any], source: Source, resolve: Callable[[str], str]
) -> Keys:
    return Keys(
        public_keys=_read_each(name, "public_keys", entry, source, source.public_key, resolve),
        secrets=_read_each(name, "secrets", entry, source, source.secret, resolve),
    )


def _read_each(
    name: str,
    field: str,
    entry: Mapping[str, Any],
    source: Source,
    read_one: Callable[[str], Any] | None,
    resolve: Callable[[str], str],
) -> tuple[Any, ...]:
    texts = entry.get(field, ())
    if texts and read_one is None:
        raise AppError(name, field, f"source {source.name} is not checked with {field}")
    found = []
    for index, text in enumerate(texts):
        try:
            found.append(read_one(resolve(text)))  # type: ignore[misc]
        except (ValueError, secrets.UnresolvedSecret) as error:
            raise AppError(name, f"{field}[{index}]", str(error)) from None
    return tuple(found)


def _max_age(name: str, entry: Mapping[str, Any], source: Source) -> float | None:
    max_age: float | None = entry.get("max_age")
    if max_age is None:
        return None
    if not 0 < max_age <= float_info.max:  # an integer can be more
        raise AppError(name, "max_age", "use a number of seconds above 0, or null")
    if source.signed_at is None:
        raise AppError(name, "max_age", f"source {source.name} signs no time")
    return max_age


def _is_text(value: Any) -> bool:
    """Whether it is text, and not blank; half a surrogate pair, which JSON can escape, is none."""
    try:
        return isinstance(value, str) and bool(value.strip() and value.encode())
    except UnicodeEncodeError:
        return False


class _Repeated(ValueError):
    pass


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Repeated(f"names {name!r} twice")
        found[name] = value
    return found


_NUMBERS = ("max_age", "usual_gap")
_KINDS = {
    "source": "text",
    "public_keys": "a list of texts",
    "secrets": "a list of texts",
    "signature": "text",
    "max_age": "a number of seconds, or null",
    "any_body": "true or false",
    "principals": "a list of texts",
    "paths": "an object of dotted paths",
    "usual_gap": "a number of seconds, or null",
}
