"""The picture in the README: Jane's timeline as `hookshelf browse` shows it. `make screenshot`.

In the PNG stands a digest of the page and its style, so that a test can say when it is stale; the
clock stands still, so that the same code gives the same page.
"""

import sys
import tempfile
import zlib
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from threading import Thread
from urllib.parse import quote

from chalicelib.settings import from_environment
from chalicelib.store import open_store
from hookshelf.local.demo import BUCKET, JANE, fill, jane
from hookshelf.page.access import Access
from hookshelf.page.server import free_socket, launch_address, serve
from hookshelf.page.site import Site, wsgi_app
from hookshelf.settings import LOOPBACK
from support.archives import archive_of
from support.browsing import getter, twin
from support.project import PROJECT

PICTURE = PROJECT / "docs" / "browse.png"
STYLE = PROJECT / "hookshelf" / "page" / "static" / "page.css"
UNTIL = datetime(2026, 11, 20, 17, 30, tzinfo=UTC)
PATH = f"/p?q={quote(JANE)}"
_KEYWORD = b"hookshelf-page"
_WIDTH, _HEIGHT = 1200, 760


def site_of_jane(folder: Path, port: int) -> Site:
    """The pages of an archive of Jane's story alone, as they were at UNTIL."""
    environ = {"ARCHIVE_FOLDER": str(folder), "ARCHIVE_BUCKETS": BUCKET, "HOOKSHELF_TRYOUT": "true"}
    story = sorted(jane(UNTIL), key=lambda delivery: delivery.arrived)
    fill(open_store(from_environment(environ), BUCKET), story, environ)
    return Site(archive_of(environ, UNTIL), Access.of({LOOPBACK}, port), BUCKET, UTC, twin)


def shown(folder: Path) -> str:
    """A digest of what the picture shows."""
    site = site_of_jane(folder, 80)
    get = getter(wsgi_app(site).test_client(), site, base_url=f"http://{LOOPBACK}")
    page = get(PATH).text.partition("<footer")[0]  # which says how long reading took
    return sha256(page.encode() + STYLE.read_bytes()).hexdigest()


def pictured() -> str:
    """The digest of what the picture was made of."""
    _, _, rest = PICTURE.read_bytes().partition(b"tEXt" + _KEYWORD + b"\0")
    return rest[:64].decode("ascii", "replace")


def main() -> None:
    """Make the picture."""
    from support.browser import browser

    with tempfile.TemporaryDirectory() as folder, browser() as chrome:
        bound = free_socket(LOOPBACK, 0)
        site = site_of_jane(Path(folder) / "served", bound.getsockname()[1])
        Thread(target=serve, args=[site, bound, lambda: None], daemon=True).start()
        look = {"viewport": {"width": _WIDTH, "height": _HEIGHT}, "color_scheme": "light"}
        page = chrome.new_context(**look).new_page()
        page.goto(launch_address(LOOPBACK, site.access))
        page.goto(f"http://{LOOPBACK}:{site.access.port}{PATH}")
        picture = page.screenshot()
        digest = shown(Path(folder) / "shown")
    text = b"tEXt" + _KEYWORD + b"\0" + digest.encode()
    chunk = (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")
    end = picture.rindex(b"\0\0\0\0IEND")
    PICTURE.write_bytes(picture[:end] + chunk + picture[end:])
    print(f"{PICTURE.relative_to(PROJECT)}: {PICTURE.stat().st_size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
