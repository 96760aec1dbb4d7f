"""What the operator configured, read from the environment.

Nothing here is read at import: `app.py` imports without a single variable set.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache, wraps
from typing import Any, NamedTuple, TypeVar

from chalicelib.errors import MisuseError
from chalicelib.keys import is_path

Value = TypeVar("Value")

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # where app.py is

# What S3's stores read besides; another names its own, see StoreModule.variables.
_AWS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CA_BUNDLE",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
)
_OWN = (
    "ARCHIVE_BUCKETS",
    "ARCHIVE_FOLDER",
    "ARCHIVE_CLIENT",
    "ARCHIVE_BUCKET_OWNER",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
)
# Tells the scheduled compactor what `hookshelf deploy --keep` was given: no compacted day is kept
# for longer than its deliveries.
KEEP_DAYS = "ARCHIVE_KEEP_DAYS"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
# Not compiled unless there is one: 2 ms of a cold start.
_ACCESS_POINT = (
    r"(?P<bucket>arn:aws[a-z-]*:s3:[a-z0-9-]+:\d{12}:accesspoint/[a-z0-9-]{3,50})(?:/(?P<path>.*))?"
)


class LambdaEnviron(dict[str, str]):
    """The environment of a Lambda container, which never changes: what is read of it is kept."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.kept: dict[Callable[..., Any], Any] = {}  # by what has read it


def read_once(read: Callable[[Mapping[str, str]], Value]) -> Callable[[Mapping[str, str]], Value]:
    """Let `read` look at a LambdaEnviron only once, and at any other environment each time.

    What it raises is not kept.
    """

    @wraps(read)
    def reader(environ: Mapping[str, str]) -> Value:
        if not isinstance(environ, LambdaEnviron):
            return read(environ)
        if read not in environ.kept:
            environ.kept[read] = read(environ)
        value: Value = environ.kept[read]
        return value

    return reader


class SettingError(MisuseError):
    """A setting is missing or wrong. `variable` names it; the text says how to fix it."""

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable} {problem}")
        self.variable = variable
        self.field = ""  # inside a file, the part that is wrong


class BucketPath(NamedTuple):
    """A bucket and the path below it: one entry of ARCHIVE_BUCKETS, or what a sender asks for."""

    bucket: str
    path: str = ""

    @property
    def prefix(self) -> str:
        """The leading part of every key written here."""
        return self.path and self.path + "/"

    def allows(self, other: BucketPath) -> bool:
        """Whether `other` is this path or lies below it."""
        return self.bucket == other.bucket and other.prefix.startswith(self.prefix)


class Settings(NamedTuple):
    """The settings of one stage. Hashable, so that what is built from it can be cached."""

    bucket_paths: tuple[BucketPath, ...]  # the first is the default
    folder: str = ""  # store into this folder instead of S3
    client: str = "auto"  # or the name of a store
    bucket_owner: str = ""  # twelve digits
    endpoint: str = ""  # an S3-compatible server; AWS where empty
    aws: tuple[tuple[str, str], ...] = ()  # AWS_* as set: credentials, region, profile
    of_store: tuple[tuple[str, str], ...] = ()  # likewise, what the store `client` asks for

    def __repr__(self) -> str:  # credentials are never shown
        return f"Settings(bucket_paths={self.bucket_paths!r}, folder={self.folder!r}, …)"

    def allowed_path(self, requested: str | None) -> BucketPath | None:
        """The path a sender may write to: the default for None, else None if not allowed."""
        if requested is None:
            return self.bucket_paths[0]
        path = parse_bucket_path(requested)
        return path if path and any(entry.allows(path) for entry in self.bucket_paths) else None


@lru_cache(maxsize=64)
def parse_bucket_path(text: str) -> BucketPath | None:
    """Read `bucket[/path]`, or an access point's ARN with a path; None where it is malformed."""
    if text.startswith("arn:"):
        arn = re.fullmatch(_ACCESS_POINT, text, re.ASCII | re.DOTALL)
        if arn is None:
            return None
        bucket, path = arn["bucket"], arn["path"]
    else:
        bucket, slash, rest = text.partition("/")
        path = rest if slash else None
        if not _BUCKET.fullmatch(bucket):
            return None
    if path is None:
        return BucketPath(bucket)
    return BucketPath(bucket, path) if is_path(path) else None


@read_once
def from_environment(environ: Mapping[str, str]) -> Settings:
    """The settings in `environ`, checked once for each combination of values.

    Raises SettingError, which names the variable.
    """
    own = _variables_of(environ.get("ARCHIVE_CLIENT", "").strip())
    return _read(own, tuple(environ.get(name, "").strip() for name in _OWN + _AWS + own))


@lru_cache(maxsize=8)
def _read(of_store: tuple[str, ...], values: tuple[str, ...]) -> Settings:
    value = dict(zip(_OWN + _AWS + of_store, values, strict=True))
    return Settings(
        bucket_paths=_bucket_paths(value["ARCHIVE_BUCKETS"]),
        folder=value["ARCHIVE_FOLDER"],
        client=_client(value["ARCHIVE_CLIENT"] or "auto"),
        bucket_owner=_owner(value["ARCHIVE_BUCKET_OWNER"]),
        endpoint=_endpoint(value),
        aws=tuple((name, value[name]) for name in _AWS if value[name]),
        of_store=tuple((name, value[name]) for name in of_store if value[name]),
    )


@cache
def _variables_of(client: str) -> tuple[str, ...]:
    if client in ("", "auto"):
        return ()
    from chalicelib.store import store_named, store_names  # which know of this module

    return store_named(client).variables if client in store_names() else ()


def _bucket_paths(value: str) -> tuple[BucketPath, ...]:
    if not value:
        raise SettingError(
            "ARCHIVE_BUCKETS", "is not set. Name a bucket: ARCHIVE_BUCKETS=my-bucket"
        )
    bucket_paths = []
    for entry in value.split(","):
        bucket_path = parse_bucket_path(entry.strip())
        if bucket_path is None:
            raise SettingError(
                "ARCHIVE_BUCKETS",
                f"has the entry {entry.strip()!r}. Write each as bucket or bucket/path, "
                "with commas between and no slash at the end",
            )
        bucket_paths.append(bucket_path)
    return tuple(bucket_paths)


def _client(value: str) -> str:
    from chalicelib.store import store_names  # which knows of this module

    names = ["auto", *sorted(store_names())]
    if value not in names:
        choice = f"{', '.join(names[:-1])} or {names[-1]}"
        raise SettingError("ARCHIVE_CLIENT", f"is {value!r}. Use {choice}")
    return value


def _owner(value: str) -> str:
    if value and not re.fullmatch(r"[0-9]{12}", value):
        raise SettingError("ARCHIVE_BUCKET_OWNER", f"is {value!r}. Use an account id of 12 digits")
    return value


def _endpoint(value: Mapping[str, str]) -> str:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if endpoint := value[name]:
            if not re.match(r"https?://[^/]", endpoint):
                raise SettingError(name, "is not a URL. Begin it with http:// or https://")
            return endpoint
    return ""
