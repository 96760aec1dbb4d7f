"""ECDSA with SHA-256, for checking signatures only. Imported where a public key is used."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256


class _EcdsaSha256(ECDSA):
    """cryptography's own but for its constructor, which to learn whether it could sign, as nobody
    asks of us, loads RSA and every cipher: some 6 ms of a cold start.
    """

    algorithm = SHA256()
    deterministic_signing = False

    def __init__(self) -> None:
        pass


ECDSA_SHA256 = _EcdsaSha256()
