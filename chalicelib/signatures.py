"""Checking what senders sign: the primitives, and the verdict on a delivery.

Everything works on the raw bytes. Every key or secret is tried, so that rotation can overlap.
`cryptography` is imported only where a public key is used: it costs 7 ms of a start.
"""

from __future__ import annotations

import binascii
import hmac
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from chalicelib.delivery import Delivery
from chalicelib.types import Verdict

if TYPE_CHECKING:
    from chalicelib.apps import App

MAX_SIGNATURES = 32  # of one delivery; a sender that rotates its keys sends two or three


def verdict(delivery: Delivery, app: App) -> Verdict:
    """What checking the sender's signature gives.

    `unchecked`: there is nothing to check with, the app ignores signatures, or what was signed is
    no longer there. `unsigned`: the source names signature headers, and none of them is there.
    `stale`: good, but signed more than the app's `max_age` seconds before (or after) the delivery
    arrived.
    """
    source = app.source
    is_there = delivery.url or not source.signs_url
    if app.signature == "ignore" or source.verify is None or not (app.keys and is_there):
        return "unchecked"
    names = source.signature_headers
    if names and not any(delivery.headers.get(name) for name in names):
        return "unsigned"
    if not source.verify(delivery, app.keys):
        return "bad"
    return "verified" if _is_fresh(delivery, app) else "stale"


def _is_fresh(delivery: Delivery, app: App) -> bool:
    if app.max_age is None or app.source.signed_at is None:
        return True
    signed_at = app.source.signed_at(delivery)
    # Nothing may say how old it is.
    return signed_at is not None and abs(delivery.arrived.timestamp() - signed_at) <= app.max_age


def hmac_sha256(secret: bytes, message: bytes) -> bytes:
    """The 32 bytes of HMAC-SHA256 (RFC 2104)."""
    return hmac.digest(secret, message, sha256)


def is_hmac_sha256(secrets: Iterable[bytes], message: bytes, signatures: Iterable[bytes]) -> bool:
    """Whether any signature is the HMAC-SHA256 of `message` under any secret, in constant time.

    More than MAX_SIGNATURES are none: a header has room for thousands.
    """
    given = list(signatures)
    if len(given) > MAX_SIGNATURES:
        return False
    computed = [hmac_sha256(secret, message) for secret in secrets]
    return any([hmac.compare_digest(mac, signature) for mac in computed for signature in given])


SHA256_HEADER = "x-hub-signature-256"  # of GitHub and of Meta


def is_sha256_header(secrets: Iterable[bytes], message: bytes, header: str) -> bool:
    """Whether a header is `sha256=<hex>` of the HMAC of `message`, as GitHub and Meta write it."""
    scheme, _, digest = header.partition("=")
    return scheme == "sha256" and is_hmac_sha256(secrets, message, [from_hex(digest)])


def is_ecdsa_p256(public_keys: Iterable[Any], message: bytes, signature: bytes) -> bool:
    """Whether `signature` (ASN.1 DER, not P1363) is ECDSA over P-256 with SHA-256 of `message`."""
    from chalicelib.ecdsa import is_signed

    return any(is_signed(key, message, signature) for key in public_keys)


def is_ed25519(public_keys: Iterable[Any], message: bytes, signatures: Iterable[bytes]) -> bool:
    """Whether any signature is the Ed25519 one (RFC 8032) of `message` under any key.

    More than MAX_SIGNATURES are none: each costs a hash of the whole message.
    """
    from cryptography.exceptions import InvalidSignature

    given = list(signatures)
    if len(given) > MAX_SIGNATURES:
        return False
    for key in public_keys:
        for signature in given:
            try:
                key.verify(signature, message)
            except InvalidSignature:
                continue
            return True
    return False


# What the DER of a P-256 public key (SubjectPublicKeyInfo) begins with, up to its plain point.
# https://www.rfc-editor.org/rfc/rfc5480#section-2
_NO_PUBLIC_KEY = "not a public key in PEM or base64 DER"
_P256_DER = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")


def p256_public_key(text: str) -> Any:
    """Read a P-256 public key, PEM or base64 of its DER. Raises ValueError for anything else."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

    der = from_base64("".join(text.split()))
    if der.startswith(_P256_DER):  # as senders show them; the way below loads 15 ms of modules more
        try:
            return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), der[len(_P256_DER) :])
        except ValueError:
            raise ValueError(_NO_PUBLIC_KEY) from None

    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        load_der_public_key,
        load_pem_public_key,
    )

    try:
        if "-----BEGIN" in text:
            key = load_pem_public_key(text.strip().encode("ascii"))
        else:
            key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(_NO_PUBLIC_KEY) from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("a public key, but not for ECDSA over P-256")
    return key


def ed25519_public_key(raw: bytes) -> Any:
    """Read the 32 bytes of an Ed25519 public key. Raises ValueError for anything else."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if len(raw) != 32:
        raise ValueError("not 32 bytes")
    return Ed25519PublicKey.from_public_bytes(raw)


def from_base64(text: str) -> bytes:
    """Strict base64 (RFC 4648, section 4). Empty bytes, which no signature is, where it is not."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return b""


def from_hex(text: str) -> bytes:
    """Strict lower-case hex. Empty bytes where it is not."""
    return bytes.fromhex(text) if re.fullmatch(r"(?:[0-9a-f]{2})*", text) else b""


def raw(text: str) -> bytes:
    """A header's text as the bytes that were signed."""
    return text.encode("utf-8", "surrogatepass")


def unix_seconds(text: str | None) -> float | None:
    """A header's Unix time in seconds; None where it is not one."""
    if not text or len(text) > 12 or not (text.isascii() and text.isdigit()):
        return None
    return float(text)
