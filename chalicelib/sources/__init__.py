"""One module per source; the folder is the registry.

A module here defines SOURCE. Its file name is the source's name, with `_` for `-`. Only the module
that is asked for is imported: nothing else is paid for on the way to S3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NamedTuple

from chalicelib.delivery import Delivery

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chalicelib.events import Event

Headers = Mapping[str, str]  # names are lower-case
Query = Mapping[str, str]  # the parameters that were given once


class Keys(NamedTuple):
    """What signatures are checked with, as the source's own readers gave it; newest anywhere."""

    public_keys: tuple[Any, ...] = ()
    secrets: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.public_keys or self.secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A kind of sender. Whatever is not said is as it is for plain JSON without signatures.

    The functions are pure: bytes and headers in, values out. None of them raises on what a sender
    wrote; the two that read an operator's configuration raise ValueError.
    """

    name: str
    signature_headers: tuple[str, ...] = ()  # all names in lower case
    id_headers: tuple[str, ...] = ()
    other_headers: tuple[str, ...] = ()

    secret: Callable[[str], bytes] | None = None  # reads a configured secret
    public_key: Callable[[str], Any] | None = None  # reads a configured public key
    verify: Callable[[bytes, Headers, Keys], bool] | None = None
    signed_at: Callable[[Headers], float | None] | None = None  # Unix seconds

    # What to answer, as plain text, to a request that only asks whether we are there.
    handshake: Callable[[str, Query, bytes], bytes | None] | None = None

    # How a body splits into events; None: one event per JSON value, see generic.py.
    events: Callable[[Delivery], Iterable[Event]] | None = None
    subject_ignores_case: bool = False  # subjects are addresses, kept in lower case

    # For `hookshelf send`: the n-th realistic body, and its headers signed with a private key (PEM)
    # or secret at a time (Unix seconds).
    example: Callable[[int, int], bytes] | None = None
    sign: Callable[[bytes, str, int], dict[str, str]] | None = None

    @property
    def keep(self) -> tuple[str, ...]:
        """The request headers to keep beside a body, most important first.

        A closed list: never `authorization`, `cookie`, or anything that carries a secret.
        """
        usual = ("content-type", "content-encoding", "user-agent")
        return self.signature_headers + self.id_headers + usual + self.other_headers


@cache
def names() -> frozenset[str]:
    """The names of the sources there are."""
    return frozenset(module.name.replace("_", "-") for module in iter_modules(__path__))


@cache
def source_named(name: str) -> Source:
    """The source of that name. Raises KeyError where there is none."""
    if name not in names():
        raise KeyError(name)
    source: Source = import_module(f"{__name__}.{name.replace('-', '_')}").SOURCE
    return source


def source_of(app: str) -> Source:
    """The source of an app that nothing is configured for: its namesake, else generic."""
    return source_named(app if app in names() else "generic")


def text_secret(text: str) -> bytes:
    """A secret that is used as it stands. Raises ValueError."""
    if not text.strip():
        raise ValueError("empty")
    try:
        return text.encode()
    except UnicodeEncodeError:  # its own text would quote a character
        raise ValueError("not UTF-8") from None


def challenge(value: object) -> bytes | None:
    """What a sender wants to read back, if it is harmless: short and printable ASCII."""
    is_plain = isinstance(value, str) and 0 < len(value) <= 1000 and value.isascii()
    return str(value).encode() if is_plain and str(value).isprintable() else None
