"""One module per source; the folder is the registry.

A module here defines SOURCE. Its file name is the source's name, with `_` for `-`. Only the module
that is asked for is imported: nothing else is paid for on the way to S3.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from chalicelib.delivery import Delivery
from chalicelib.modules import module_names
from chalicelib.types import Headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chalicelib.events import Event

Query = Mapping[str, str]  # the parameters that were given once


class Keys(NamedTuple):
    """What signatures are checked with, as the source's own readers gave it; newest anywhere."""

    public_keys: tuple[Any, ...] = ()
    secrets: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.public_keys or self.secrets)


class HandshakeRequest(NamedTuple):
    """A request that may only ask whether we are there."""

    method: str  # GET or POST
    query: Query
    headers: Headers
    body: bytes


class HandshakeResponse(NamedTuple):
    """What the sender wants to read before it sends anything."""

    text: str
    content_type: str = "text/plain"


class Source(NamedTuple):
    """A kind of sender. Whatever is left out is as it is for plain JSON without signatures.

    The functions are pure: values in, values out. None of them raises on what a sender wrote; the
    two that read an operator's configuration raise ValueError.
    """

    name: str
    # All names in lower case. Where the first are named and none of them is there, the verdict is
    # `unsigned`, and `verify` is not asked.
    signature_headers: tuple[str, ...] = ()
    id_headers: tuple[str, ...] = ()
    other_headers: tuple[str, ...] = ()

    secret: Callable[[str], bytes] | None = None  # reads a configured secret
    public_key: Callable[[str], Any] | None = None  # reads a configured public key
    # Whether one of the keys signed this delivery: its headers and body, and its URL where
    # `signs_url` says that the sender signs that too. The URL is not archived, as it holds a token:
    # only on arrival can such a signature be checked.
    verify: Callable[[Delivery, Keys], bool] | None = None
    signs_url: bool = False
    signed_at: Callable[[Delivery], float | None] | None = None  # Unix seconds

    # What to send back to a request that only asks whether we are there; None for any other.
    handshake: Callable[[HandshakeRequest, Keys], HandshakeResponse | None] | None = None

    # How a body splits into events; None: one event per JSON value, see generic.py.
    events: Callable[[Delivery], Iterable[Event]] | None = None
    subject_ignores_case: bool = False  # subjects are addresses, kept in lower case

    # For `hookshelf send`: the n-th realistic body at a time (Unix seconds), and what signs a body
    # then with a private key (PEM) or secret: the headers to add, or the body with its signature.
    example: Callable[[int, int], bytes] | None = None
    sign: Callable[[bytes, str, int], dict[str, str]] | None = None
    sign_body: Callable[[bytes, str, int], bytes] | None = None

    @property
    def keep(self) -> tuple[str, ...]:
        """The request headers to keep beside a body, most important first.

        A closed list: never `authorization`, `cookie`, or anything that carries a secret.
        """
        usual = ("content-type", "content-encoding", "user-agent")
        return self.signature_headers + self.id_headers + usual + self.other_headers


@cache
def source_names() -> frozenset[str]:
    """The names of the sources there are."""
    return frozenset(name.replace("_", "-") for name in module_names(__file__))


@cache
def source_named(name: str) -> Source:
    """The source of that name. Raises KeyError where there is none."""
    if name not in source_names():
        raise KeyError(name)
    source: Source = import_module(f"{__name__}.{name.replace('-', '_')}").SOURCE
    return source


def source_of(app: str) -> Source:
    """The source of an app that nothing is configured for: its namesake, else generic."""
    return source_named(app if app in source_names() else "generic")


def text_secret(text: str) -> bytes:
    """A secret that is used as it stands. Raises ValueError."""
    if not text.strip():
        raise ValueError("empty")
    try:
        return text.encode()
    except UnicodeEncodeError:  # its own text would quote a character
        raise ValueError("not UTF-8") from None


def echo(value: object) -> HandshakeResponse | None:
    """What a sender wants to read back, if it is harmless: short and printable ASCII."""
    if not isinstance(value, str) or not 0 < len(value) <= 1000:
        return None
    return HandshakeResponse(value) if value.isascii() and value.isprintable() else None


def json_response(fields: Mapping[str, str]) -> HandshakeResponse:
    """A JSON object to send back, for senders that want more than an echo."""
    return HandshakeResponse(json.dumps(fields), "application/json")
