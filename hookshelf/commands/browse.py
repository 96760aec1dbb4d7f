"""`hookshelf browse`: the archive as pages in your browser."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, tzinfo
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import click
from click.core import ParameterSource

from chalicelib.errors import MisuseError
from hookshelf.commands._options import ReadOptions, reading_options
from hookshelf.commands._output import go_on, opened
from hookshelf.settings import LOOPBACK
from hookshelf.terminal import show


@click.command()
@reading_options
@click.option(
    "--port",
    type=click.IntRange(0, 2**16 - 1),
    help="To serve on; 0 is any. Without it, 8484, or any where that is taken.",
)
@click.option("--no-open", is_flag=True, help="Open no browser; print the address only.")
@click.option("--host", default=LOOPBACK, help="To serve on; another needs --i-know.")
@click.option("--i-know", is_flag=True, help="Others on the network may look, unencrypted.")
def command(
    options: ReadOptions, *, port: int | None, no_open: bool, host: str, i_know: bool
) -> None:
    """Look at the archive in your browser: search, timelines, deliveries, what arrives.

    It serves pages on this machine alone, reads only, and writes nothing. The address it prints
    opens them in one browser, for as long as it runs; nobody else can, without that address.

    \b
    Exit status: 0 interrupted, 1 it could not serve, 2 misuse.

    \b
    Examples:
      hookshelf browse
      hookshelf browse --bucket demo
      hookshelf browse --app sendgrid --tz Europe/Berlin --no-open --port 9000
    """
    server, Site = _installed()
    if not (server.is_loopback(host) or i_know):
        raise click.UsageError(
            f"--host {host} would let others on the network read the archive, over http. "
            "If that is meant, say --i-know too."
        )
    if _is_default("tz"):
        options = replace(options, tz=_local_zone())
    archive = opened(options)
    bound = server.free_socket(host, port)
    places = ", ".join(f"{place.bucket}/{place.prefix}".rstrip("/") for place in archive.places)
    access, twin = server.access_for(host, bound), _twin_of(options)
    site = Site(archive, access, places, options.tz, twin, start=_start(options))
    address = server.launch_address(host, site.access)

    def end(*_: object) -> None:
        site.is_over.set()  # whoever follows is let go
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)

    def is_serving() -> None:
        show(f"The archive of {places}, read-only, until Ctrl-C:", err=True)
        print(json.dumps({"url": address}) if options.as_json else address, flush=True)
        if not no_open and _has_desktop():
            Thread(target=_open, args=[address], daemon=True).start()

    server.serve(site, bound, is_serving)


def _start(options: ReadOptions) -> str:
    """The overview, of the range that was asked for."""
    bounds = {"since": options.since, "until": options.until}
    given = {name: moment.isoformat() for name, moment in bounds.items() if moment}
    return f"/?{urlencode(given)}" if given else "/"


def _twin_of(options: ReadOptions) -> Callable[..., str]:
    """What writes the command line of a page, which reads the same archive."""

    def twin(name: str, given: Sequence[str], arguments: Sequence[str], app: str | None) -> str:
        first = go_on(replace(options, app=options.app or app), name)
        dashes = ["--"] if any(word.startswith("-") for word in arguments) else []
        return " ".join([first, shlex.join([*given, *dashes, *arguments])]).strip()

    return twin


def _installed() -> tuple[Any, Any]:
    """The server and what it serves, or what to install."""
    try:
        from hookshelf.page import server
        from hookshelf.page.site import Site
    except ModuleNotFoundError as error:
        raise MisuseError(f"{error.name} is missing: pip install -e '.[cli,page]'") from None
    return server, Site


def _is_default(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.DEFAULT


def _local_zone() -> tzinfo:
    """The time zone of this machine, by name; UTC where it has none."""
    link = Path("/etc/localtime")
    name = os.environ.get("TZ", "").lstrip(":")
    if not name and link.is_symlink():
        name = str(link.readlink()).rpartition("zoneinfo/")[2]
    try:
        return UTC if name in ("", "UTC", "Etc/UTC") else ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC


def _has_desktop() -> bool:
    """Whether a browser that opens is a window, and does not take over the terminal."""
    names = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, names))


def _open(address: str) -> None:
    import webbrowser

    webbrowser.open(address)
