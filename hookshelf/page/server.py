"""Serving the pages on this machine, until it is interrupted."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable
from threading import Thread

from waitress.server import create_server

from chalicelib.errors import MisuseError
from hookshelf.page.access import LAUNCH, Access
from hookshelf.page.site import MOST_LIVE, Site, compile_templates, warm_up, wsgi_app
from hookshelf.settings import LOOPBACK

USUAL_PORT = 8484  # always the same where it is free, so that a link that was kept opens again


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def free_socket(host: str, port: int | None) -> socket.socket:
    """A socket bound to a port: the one asked for, or the usual one, or any. Raises MisuseError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for wanted in [USUAL_PORT, 0] if port is None else [port]:
        bound = socket.socket(family)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, wanted))
            bound.listen()  # from here on nobody else is given the port
        except OSError as error:
            bound.close()
            if wanted == 0 or port is not None:
                raise MisuseError(f"{host}, port {wanted}: {error}. Try another --port") from None
            continue
        return bound
    raise AssertionError("0 is always free")


def access_for(host: str, bound: socket.socket) -> Access:
    """Access that knows the names under which a bound socket may be asked."""
    names = {host} if not is_loopback(host) else {host, LOOPBACK, "localhost"}
    if ipaddress.ip_address(bound.getsockname()[0]).is_unspecified:
        names = {LOOPBACK, "localhost", socket.gethostname().lower(), *_addresses()}
    return Access.of(names, bound.getsockname()[1])


def launch_address(host: str, access: Access) -> str:
    """The first address, with the token."""
    name = LOOPBACK if host in ("0.0.0.0", "::", "localhost") else host
    authority = f"[{name}]:{access.port}" if ":" in name else f"{name}:{access.port}"
    return f"http://{authority}{LAUNCH}?token={access.token}"


def serve(site: Site, bound: socket.socket, is_serving: Callable[[], object]) -> None:
    """Serve until KeyboardInterrupt or SystemExit."""
    logging.getLogger("waitress").setLevel(logging.ERROR)
    app = wsgi_app(site)
    server = create_server(
        app,
        sockets=[bound],
        threads=MOST_LIVE + 6,
        send_bytes=1,  # at once: what is live does not wait for more
        ident="",
    )
    compile_templates(app)  # whoever is told the address asks at once
    Thread(target=warm_up, args=[app], daemon=True).start()
    is_serving()
    try:
        server.run()
    finally:
        site.is_over.set()
        site.figures.close()
        server.close()


def _addresses() -> set[str]:
    """The addresses of this machine, as its name resolves."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        return set()
    return {str(address[4][0]) for address in found}
