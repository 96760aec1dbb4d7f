"""The pages as a browser gets them, without one: over the application itself."""

from collections.abc import Callable, Sequence
from datetime import UTC

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from chalicelib.archive import to_rejected
from chalicelib.delivery import Delivery
from chalicelib.settings import from_environment
from chalicelib.sources import source_named
from chalicelib.store import open_store
from hookshelf.page.access import LAUNCH, Access
from hookshelf.page.site import Site
from support.archives import archive_of, delivered, moment, put, traffic

PORT = 8484
HERE = f"http://127.0.0.1:{PORT}"
NOW = moment("2026-05-10T12:00")
DROPPED = {
    "email": "jane@example.com",
    "event": "dropped",
    "reason": "Bounced Address",
    "timestamp": 1777809600,
    "sg_event_id": "dropped-1",
    "sg_message_id": "newsletter.recvd-1",
}
BOUNCED = {
    "email": "Jane@Example.com",
    "event": "bounce",
    "reason": "550 5.1.1 no such user",
    "timestamp": 1777376400,
    "sg_event_id": "bounce-1",
    "sg_message_id": "receipt.recvd-1",
    "order": 9007199254740993,
}
JANE = [
    delivered([BOUNCED], moment("2026-04-28T12:00")),
    delivered([BOUNCED], moment("2026-04-28T12:05")),  # sent again
    delivered([DROPPED], moment("2026-05-03T14:30")),  # arrives late
]


def fill(environ: dict[str, str]) -> None:
    """Jane's story, traffic around it, and something that was refused."""
    put(environ, *JANE, *traffic(1, moment("2026-05-01"), days=8, count=60))
    refused = Delivery("payments", {"content-type": "wsgi_app/json"}, b'{"a":1', NOW)
    stripe = source_named("stripe")
    open_store(from_environment(environ), "events").put(
        to_rejected(refused, stripe, prefix="", verdict="bad", reason="Invalid signature")
    )


def twin(name: str, given: Sequence[str], arguments: Sequence[str], app: str | None) -> str:
    """The command line of a page."""
    return " ".join(["hookshelf", name, *given, *arguments])


def site_of(environ: dict[str, str]) -> Site:
    access = Access.of({"127.0.0.1", "localhost"}, PORT)
    return Site(archive_of(environ, NOW), access, "events", UTC, twin)


Get = Callable[..., TestResponse]


def getter(client: FlaskClient, site: Site, base_url: str = HERE) -> Get:
    """What a browser gets that opened the printed address."""
    response = client.get(f"{LAUNCH}?token={site.access.token}", base_url=base_url)
    assert response.status_code == 303
    return lambda path, **options: client.open(
        path, **({"base_url": base_url, "buffered": True} | options)
    )
