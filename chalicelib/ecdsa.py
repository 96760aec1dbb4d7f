"""ECDSA with SHA-256, for checking signatures only. Imported where a public key is used."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256


class _EcdsaSha256(ECDSA):
    """cryptography's own but for its constructor, which to learn whether it could sign, as nobody
    asks of us, loads RSA and every cipher: some 6 ms of a cold start.
    """

    algorithm = SHA256()
    deterministic_signing = False

    def __init__(self) -> None:
        pass


_ECDSA_SHA256 = _EcdsaSha256()


def is_signed(key: EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (ASN.1 DER) is this key's of SHA-256 of `message`."""
    try:
        key.verify(signature, message, _ECDSA_SHA256)
    except InvalidSignature:
        return False
    return True
