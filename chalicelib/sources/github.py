"""GitHub: one JSON event, as the body or in the form field `payload`, signed with HMAC-SHA256.

`X-Hub-Signature-256: sha256=<hex>` is over the raw body, whichever form it has. There is no signed
time: `X-GitHub-Delivery` is what tells deliveries apart. GitHub does not retry by itself.
https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import UUID

from chalicelib.delivery import Delivery
from chalicelib.events import Event, dig, event, form_field, json_text, parse_json, text
from chalicelib.signatures import SHA256_HEADER, hmac_sha256, is_sha256_header
from chalicelib.sources import Keys, Source, text_secret


def verify(delivery: Delivery, keys: Keys) -> bool:
    """Whether GitHub signed these bytes."""
    return is_sha256_header(keys.secrets, delivery.body, delivery.headers.get(SHA256_HEADER, ""))


def events(delivery: Delivery) -> Iterator[Event]:
    """One event; its type is the header's event and the body's action: `issues.opened`."""
    whole = json_text(delivery.body)
    exact = (whole if parse_json(whole) is not None else form_field(whole, "payload")).strip(
        " \t\r\n"
    )
    value = parse_json(exact)
    if value is not None:
        kind = (delivery.headers.get("x-github-event", ""), text(dig(value, "action")))
        yield event(
            delivery,
            exact,
            id=delivery.headers.get("x-github-delivery"),
            type=".".join(filter(None, kind)),
            subject=dig(value, "repository", "full_name")
            or dig(value, "organization", "login")
            or dig(value, "installation", "account", "login")
            or dig(value, "sender", "login"),
            # No uniform time: pushed_at is a number in a push and text elsewhere.
            time=dig(value, "head_commit", "timestamp"),
            correlation=dig(value, "pull_request", "head", "sha")
            or dig(value, "check_run", "head_sha")
            or dig(value, "workflow_run", "head_sha")
            or dig(value, "after"),
        )


def example(n: int, at: int) -> bytes:
    """A small push."""
    body = {
        "ref": "refs/heads/main",
        "after": f"{n:040x}",
        "repository": {"id": n, "full_name": "example/hookshelf"},
        "sender": {"login": "example"},
    }
    return json.dumps(body, separators=(",", ":")).encode()


def sign(body: bytes, secret: str, at: int) -> dict[str, str]:
    """The headers GitHub would send."""
    digest = hmac_sha256(text_secret(secret), body).hex()
    return {
        SHA256_HEADER: f"sha256={digest}",
        "x-github-event": "push",
        "x-github-delivery": str(UUID(digest[:32])),
    }


SOURCE = Source(
    name="github",
    signature_headers=(SHA256_HEADER,),
    id_headers=("x-github-delivery", "x-github-event"),
    other_headers=(
        "x-github-hook-id",
        "x-github-hook-installation-target-id",
        "x-github-hook-installation-target-type",
    ),
    secret=text_secret,
    verify=verify,
    events=events,
    example=example,
    sign=sign,
)
