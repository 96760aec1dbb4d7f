"""Who may look at the pages, and what every response says to the browser.

Other sites' pages run in the same browser, so that loopback alone protects nothing: DNS rebinding
(CVE-2018-14505), foreign origins (CVE-2026-22689), and pages of other ports of this machine, which
are the same site to a cookie.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

LAUNCH = "/open"  # the first address: it trades the token for the cookie
_OURS = {"same-origin", "none"}  # who asks: https://www.w3.org/TR/fetch-metadata/

HEADERS = {
    # No inline script or style, nothing from elsewhere. data: is for the empty icon.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # What is archived is written to no disk cache.
    "Cache-Control": "no-store",
}


class Asking(Protocol):
    """What of a request decides, as werkzeug names it."""

    method: str
    path: str

    @property
    def headers(self) -> _Texts: ...  # noqa: D102

    @property
    def cookies(self) -> _Texts: ...  # noqa: D102


class _Texts(Protocol):
    """Texts by name."""

    def get(self, name: str, default: str, /) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Refusal:
    """A status, and what to do about it."""

    status: int
    reason: str


def _secret() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True)
class Access:
    """Lets in who opened the printed address, in that browser, for as long as this process runs."""

    port: int
    hosts: frozenset[str]  # names and addresses under which it may be asked
    token: str = field(default_factory=_secret, repr=False)
    session: str = field(default_factory=_secret, repr=False)

    @classmethod
    def of(cls, hosts: Iterable[str], port: int) -> Access:
        """An access for these names, with new secrets."""
        return cls(port, frozenset(hosts))

    @property
    def cookie(self) -> str:
        """Its name; cookies know no ports, and two archives may be open at once."""
        return f"hookshelf-{self.port}"

    def refusal(self, request: Asking) -> Refusal | None:
        """Why a request is refused; None where it is not."""
        headers = request.headers
        if request.method != "GET":
            return Refusal(405, "Only GET: this page changes nothing.")
        if headers.get("Host", "").lower() not in self._authorities():
            return Refusal(403, "Not an address of this page. Open the one that was printed.")
        origin = headers.get("Origin", "")
        if origin and origin.lower() not in {f"http://{name}" for name in self._authorities()}:
            return Refusal(403, "Another site may not ask for this.")
        if headers.get("Sec-Fetch-Site", "none") not in _OURS and request.path != LAUNCH:
            return Refusal(
                403, "Followed from another site. Press Enter in the address bar to open it."
            )
        if request.path != LAUNCH and not self.knows(request.cookies.get(self.cookie, "")):
            return Refusal(
                403, "Open the address with the token, which `hookshelf browse` printed, first."
            )
        return None

    def knows(self, session: str) -> bool:
        """Whether this is the cookie's value."""
        return hmac.compare_digest(session.encode(), self.session.encode())

    def opens(self, token: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def _authorities(self) -> set[str]:
        names = {f"[{name}]" if ":" in name else name for name in self.hosts}
        return {f"{name}:{self.port}" for name in names} | (names if self.port == 80 else set())
