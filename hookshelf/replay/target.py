"""Where deliveries are sent: one URL of the operator's, connected to only at a checked address.

A name may resolve to one address as it is checked and to another as it is connected to, so each
connection resolves the name itself, checks every address, and connects to the checked number.
https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPResponse
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from threading import Timer
from typing import NamedTuple
from urllib.parse import urlsplit

from chalicelib.errors import HookshelfError, MisuseError

_PORTS = {"http": 80, "https": 443}
_NAT64 = ip_network("64:ff9b::/96")  # https://www.rfc-editor.org/rfc/rfc6052#section-2.1
_MOST_READ = 64 * 1024  # bytes of a response's body, so that its connection can be used again

Resolve = Callable[[str, int], list[str]]


class RefusedTarget(MisuseError):
    """Nothing is sent there; the text says why, without the URL's query."""


class NoResponse(HookshelfError):
    """Nobody responded in time; the text is the kind of error."""


def resolved(host: str, port: int) -> list[str]:
    """The addresses of a host as they would be connected to, which reads `0x7f.1` as C does."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Whether an address is one of the Internet's, and not of this machine or a network of ours."""
    number = ip_address(address.partition("%")[0])
    inside = _embedded(number)
    return number.is_global and not number.is_multicast and (inside is None or inside.is_global)


def _embedded(number: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to."""
    if isinstance(number, IPv4Address):
        return None
    if number in _NAT64:
        return IPv4Address(number.packed[-4:])
    teredo = number.teredo[1] if number.teredo else None
    return number.ipv4_mapped or number.sixtofour or teredo


class Destination(NamedTuple):
    """A URL that may be sent to, as far as can be said before its name is resolved."""

    scheme: str
    host: str
    port: int
    path: str  # with the query
    allow_private: bool
    resolve: Resolve = resolved

    def __str__(self) -> str:
        """Without the query, which may hold a token."""
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{port}{self.path.partition('?')[0]}"

    def address(self) -> str:
        """An address to connect to now, checked. Raises RefusedTarget, or NoResponse."""
        try:
            addresses = self.resolve(self.host, self.port)
        except (OSError, UnicodeError):
            raise NoResponse(f"{self.host} does not resolve") from None
        for address in addresses:
            self._check(address)
        return addresses[0]

    def _check(self, address: str) -> None:
        if is_public(address):
            if self.scheme != "https":
                raise RefusedTarget(
                    f"{self} is not sent to over http, which everybody on the way can read. "
                    "Use https"
                )
        elif not self.allow_private:
            raise RefusedTarget(
                f"{self} leads to {address}, a private address. "
                "Where that is meant, add --allow-private"
            )


def parse_target(url: str, *, allow_private: bool, resolve: Resolve = resolved) -> Destination:
    """Read a URL. Raises RefusedTarget; the text does not repeat the URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RefusedTarget("The target is no URL. Write https://host/path") from None
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise RefusedTarget("The target is no URL of https:// (or http://) and a host")
    if parts.username is not None or parts.password is not None:
        raise RefusedTarget("The target names a user. Put what the receiver needs into its query")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise RefusedTarget("Percent-encode what is no plain letter in the target")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Destination(
        parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path, allow_private, resolve
    )


class Answered(NamedTuple):
    """What the receiver said: its status, and when it wants to be asked again."""

    status: int
    retry_after: float  # seconds; 0 where it says nothing
    body: bytes  # its beginning


class Connection:
    """A connection that is kept while the receiver keeps it. For one thread."""

    def __init__(self, target: Destination, timeout: float) -> None:
        self._target = target
        self._timeout = timeout  # seconds, for a whole response
        self._http: HTTPConnection | None = None

    def post(self, headers: Mapping[str, str], body: bytes) -> Answered:
        """Send one request. Raises RefusedTarget, or NoResponse; a redirect is a response."""
        kept = self._http is not None
        http = self._http = self._http or self._connected()
        # Its own timeout is for each part of a response; a receiver may send one after the other.
        watch = Timer(self._timeout, _cut, (http.sock,))
        watch.daemon = True
        watch.start()
        try:
            return self._sent(http, headers, body)
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            raise NoResponse(
                type(error).__name__ + (" on a kept connection" if kept else "")
            ) from None
        finally:
            watch.cancel()

    def close(self) -> None:
        """Hang up."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def _connected(self) -> HTTPConnection:
        address = self._target.address()
        http = HTTPConnection(self._target.host, self._target.port)
        http.auto_open = 0  # it would connect to whatever the name resolves to then
        http.default_port = _PORTS[self._target.scheme]
        try:
            sock = socket.create_connection((address, self._target.port), self._timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._target.scheme == "https":
                sock = self._tls.wrap_socket(sock, server_hostname=self._target.host)
        except OSError as error:
            raise NoResponse(type(error).__name__) from None
        http.sock = sock
        return http

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def _sent(self, http: HTTPConnection, headers: Mapping[str, str], body: bytes) -> Answered:
        http.putrequest("POST", self._target.path, skip_accept_encoding=True)
        for name, value in headers.items():
            http.putheader(name, value.encode("utf-8", "surrogateescape"))
        http.putheader("content-length", str(len(body)))
        http.endheaders(body)
        response = http.getresponse()
        beginning = response.read(_MOST_READ)
        if response.will_close or not response.isclosed():
            self.close()
        return Answered(response.status, _retry_after(response), beginning)


def _cut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it was closed meanwhile


def _retry_after(response: HTTPResponse) -> float:
    """Seconds; a date counts as nothing. https://www.rfc-editor.org/rfc/rfc9110#field.retry-after"""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
