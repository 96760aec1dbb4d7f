"""What is configured for one app: its source, keys and demands. Read from APPS_FILE.

Receiving reads it cheaply, one app at a time; chalicelib/models.py holds the same shape for people.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from sys import float_info
from typing import Any, NamedTuple, get_args

from chalicelib import secrets
from chalicelib.deadline import Deadline
from chalicelib.settings import ROOT, SettingError, read_once
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
    "usual_gap": int | float | None,  # for an alarm; receiving does not look at it
}


class _File(NamedTuple):
    path: str
    mtime_ns: int
    size: int


class _Kept(NamedTuple):
    entry: Mapping[str, Any]  # the same object until the file changes
    referred: Mapping[str, str]  # the values of secrets.env_references when it was read
    app: App


_MAX_APPS = 256  # kept for the next request
_apps: dict[str, _Kept] = {}


class AppError(SettingError):
    """One field of one app is wrong; `field` says which, and no text holds its value.

    The text names the file and the line once `path` is known.
    """

    def __init__(self, app: str, field: str, problem: str) -> None:
        super().__init__("APPS_FILE", f"has a wrong {field} for app {app}: {problem}")
        self.field = f"{app}.{field}"
        self.path = ""
        self._names = (app, re.split(r"[.\[]", field)[0])

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} ({_position(self.path, self._names)})" if self.path else text


class App(NamedTuple):
    """The settings of one app; the defaults are those of an app nobody configured."""

    source: Source
    keys: Keys = Keys()
    signature: SignatureMode = "ignore"
    max_age: float | None = None  # seconds; None: an archive must accept a 72-hour retry
    any_body: bool = False
    principals: tuple[str, ...] = ()
    is_configured: bool = False  # whether APPS_FILE names it


def app_named(name: str, environ: Mapping[str, str], deadline: Deadline | None = None) -> App:
    """The settings of an app. Raises AppError, or SettingError for the file as a whole.

    Secrets are resolved here, once per container, and no later than `deadline` leaves time for.
    """
    configured = entries(environ)
    if name not in configured:
        return App(source=source_of(name))
    entry = configured[name]
    kept = _apps.get(name)
    if (
        kept is None
        or kept.entry is not entry
        or any(environ.get(name, "") != value for name, value in kept.referred.items())
    ):
        with located(environ):
            app = read_app(name, entry, lambda text: secrets.resolve(text, environ, deadline))
        if len(_apps) >= _MAX_APPS:
            _apps.clear()
        kept = _apps[name] = _Kept(entry, secrets.env_references(entry, environ), app)
    return kept.app


@read_once
def apps_file(environ: Mapping[str, str]) -> str:
    """Where the apps file is, or would be: without APPS_FILE it may be missing."""
    return os.path.join(ROOT, environ.get("APPS_FILE", "").strip() or DEFAULT_FILE)


def entries(environ: Mapping[str, str]) -> dict[str, Any]:
    """What is configured, by app: by APPS_FILE, and at stage `local` the keys for trying out.

    A changed file counts from the next call on. In Lambda one in the package cannot change.
    Raises SettingError for a file that cannot be read, or is named and not there.
    """
    return (_packaged_entries if _is_packaged(environ) else _entries)(environ)


def file_entries(environ: Mapping[str, str]) -> dict[str, Any]:
    """The content of APPS_FILE, by app; empty where there is no file and none is named."""
    file = _file(environ)
    return _load(file) if file else {}


@contextmanager
def located(environ: Mapping[str, str]) -> Iterator[None]:
    """Within it an AppError says in which file and line the fault is."""
    try:
        yield
    except AppError as error:
        error.path = apps_file(environ)
        raise


def check_app(name: str, entry: Any) -> Source:
    """The source of an app whose entry is right, as far as can be said without its secrets.

    Raises AppError for the first field that is wrong.
    """
    _check_shape(name, entry)
    source = _source(name, entry)
    if entry.get("signature") not in (None, *SIGNATURE_MODES):
        raise AppError(name, "signature", f"use one of {', '.join(SIGNATURE_MODES)}")
    _max_age(name, entry, source)
    return source


def read_app(name: str, entry: Any, resolve: Callable[[str], str]) -> App:
    """An App from its entry in the file. Raises AppError for the first field that is wrong.

    `resolve` turns what is written for a secret into the secret.
    """
    source = check_app(name, entry)
    signature = entry.get("signature")
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


@read_once
def _is_packaged(environ: Mapping[str, str]) -> bool:
    return os.path.normpath(apps_file(environ)).startswith(os.path.join(ROOT, ""))


@read_once
def _packaged_entries(environ: Mapping[str, str]) -> dict[str, Any]:
    return _entries(environ)


def _entries(environ: Mapping[str, str]) -> dict[str, Any]:
    from_file = file_entries(environ)
    if environ.get("HOOKSHELF_TRYOUT") and "AWS_LAMBDA_FUNCTION_NAME" not in environ:
        from chalicelib.tryout import tryout_apps

        return {**tryout_apps(), **from_file}
    return from_file


def _file(environ: Mapping[str, str]) -> _File | None:
    """APPS_FILE as it is now; None where none is named and the usual one is not there."""
    path = apps_file(environ)
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        if named := environ.get("APPS_FILE", "").strip():
            problem = f"names {named!r}, which is not there ({path})"
            raise SettingError("APPS_FILE", problem) from None
        return None
    except OSError as error:
        raise SettingError("APPS_FILE", f"cannot be read ({path}): {error.strerror}") from None
    return _File(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _load(file: _File) -> dict[str, Any]:
    path = file.path
    try:
        with open(path, "rb") as stream:
            apps = json.loads(stream.read(), object_pairs_hook=_no_repeats)
    except OSError as error:
        raise SettingError("APPS_FILE", f"cannot be read ({path}): {error.strerror}") from None
    except _Repeated as error:
        raise SettingError("APPS_FILE", f"{error} ({path})") from None
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg} ({path}, line {error.lineno})"
        raise SettingError("APPS_FILE", problem) from None
    except (ValueError, RecursionError):
        raise SettingError("APPS_FILE", f"is not JSON ({path})") from None
    if not isinstance(apps, dict):
        raise SettingError("APPS_FILE", f"is no JSON object of apps ({path})")
    return apps


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
    keys = []
    for index, text in enumerate(texts):
        try:
            keys.append(read_one(resolve(text)))  # type: ignore[misc]
        except (ValueError, secrets.UnresolvedSecret) as error:
            raise AppError(name, f"{field}[{index}]", str(error)) from None
    return tuple(keys)


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
    entry: dict[str, Any] = {}
    for name, value in pairs:
        if name in entry:
            raise _Repeated(f"names {name!r} twice")
        entry[name] = value
    return entry


def _position(path: str, names: tuple[str, ...]) -> str:
    """`<path>, line 12`, as far as the names lead in the file."""
    from chalicelib import json_position

    try:
        with open(path, encoding="utf-8") as file:
            return f"{path}, line {json_position.line_of(file.read(), names)}"
    except (OSError, ValueError):
        return path


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
