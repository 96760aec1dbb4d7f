"""Twilio SendGrid's event webhook: a JSON array of events, signed with ECDSA.

Signed are the timestamp header and the raw body, trailing CRLF included; the signature is ASN.1
DER in base64. The public key is the webhook's own ("Signed Event Webhook Requests").
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event

The timestamp is the attempt's, not the event's: a real delivery came 2,002 s after its event.
Not verified: whether a retry is signed again with a new timestamp.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

from chalicelib.delivery import Delivery
from chalicelib.events import Event, event, fields, json_text, text
from chalicelib.signatures import from_base64, is_ecdsa_p256, p256_public_key, raw, unix_seconds
from chalicelib.sources import Keys, Source
from chalicelib.types import Headers

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"

_LOOKED_AT = ("sg_event_id", "event", "email", "timestamp", "sg_message_id", "smtp-id")


def verify(delivery: Delivery, keys: Keys) -> bool:
    """Whether SendGrid signed these bytes at the time it says."""
    headers, body = delivery.headers, delivery.body
    # Nothing is signed between the two: digits on one side only keep the border where it was.
    if unix_seconds(headers.get(TIMESTAMP)) is None or body[:1].isdigit():
        return False
    signature = from_base64(headers.get(SIGNATURE, ""))
    return is_ecdsa_p256(keys.public_keys, message(headers, body), signature)


def message(headers: Headers, body: bytes) -> bytes:
    """What SendGrid signs."""
    return raw(headers.get(TIMESTAMP, "")) + body


def events(delivery: Delivery) -> Iterator[Event]:
    """One event per element. `sg_event_id` may be missing, and may change between retries."""
    for exact, values in fields(json_text(delivery.body), _LOOKED_AT):
        id, type, email, at, sg_message_id, smtp_id = values
        yield event(
            delivery,
            exact,
            id=id,
            type=type,
            subject=text(email).lower(),
            time=at,
            correlation=_message(text(sg_message_id), text(smtp_id)),
        )


def example(n: int, at: int) -> bytes:
    """Two events about one message, laid out as SendGrid does."""
    message = f"example-message-{n:06}.filter-1.{at}.0"
    return (
        b"["
        + b",\r\n".join(
            json.dumps(
                {
                    "email": f"recipient-{n}@example.com",
                    "timestamp": at,
                    "smtp-id": f"<example-{n}@ismtpd.example.com>",
                    "event": kind,
                    "category": ["hookshelf"],
                    "sg_event_id": base64.urlsafe_b64encode(f"{kind}-{at}-{n}".encode()).decode(),
                    "sg_message_id": message,
                },
                separators=(",", ":"),
            ).encode()
            for kind in ("processed", "delivered")
        )
        + b"]\r\n"
    )


def sign(body: bytes, private_key: str, at: int) -> dict[str, str]:
    """The headers SendGrid would send; `private_key` is PEM."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(private_key.encode(), password=None)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise ValueError("sendgrid signs with an EC private key")
    headers = {TIMESTAMP: str(at)}
    signature = key.sign(message(headers, body), ECDSA(SHA256()))
    return headers | {SIGNATURE: base64.b64encode(signature).decode()}


def _message(sg_message_id: str, smtp_id: str) -> str:
    """What ties a message's events together: all of `sg_message_id` before the host that sent it.

    `14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0`: where the message's own part has dots, it
    is that of `smtp-id`. `filter0093p1las1.9128.5515E0B88.0` has none, and ties nothing together.
    """
    if sg_message_id.startswith(("filter", "recvd")):
        return ""
    own = sg_message_id.partition(".filter")[0].partition(".recvd")[0]
    if own != sg_message_id:
        return own
    local_part = smtp_id.strip("<>").partition("@")[0]
    if local_part and sg_message_id.startswith(f"{local_part}."):
        return local_part
    return sg_message_id.partition(".")[0]


SOURCE = Source(
    name="sendgrid",
    signature_headers=(SIGNATURE, TIMESTAMP),
    public_key=p256_public_key,
    verify=verify,
    signed_at=lambda delivery: unix_seconds(delivery.headers.get(TIMESTAMP)),
    events=events,
    subject_ignores_case=True,
    example=example,
    sign=sign,
)
