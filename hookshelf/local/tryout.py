"""Keys and secrets for trying out: the same everywhere, so they protect nothing.

Stage `local` knows them (chalicelib/tryout.py), so that `hookshelf send --sign` is verified by
`make run` without any set-up. Never name them in the apps file of a deployed stage.
"""

from __future__ import annotations

import base64
from hashlib import sha256
from secrets import token_bytes

from chalicelib.sources import Source

_SEED = sha256(b"hookshelf: for trying out only").digest()


def tryout_secret(seed: bytes = _SEED) -> str:
    """A secret that every source with secrets can read, though only some write `whsec_`."""
    return "whsec_" + base64.b64encode(seed).decode()


def private_key(seed: bytes = _SEED) -> str:
    """A P-256 private key, PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.derive_private_key(int.from_bytes(seed) >> 1, ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def public_key_of(private_key_pem: str) -> str:
    """The public half as SendGrid shows it: base64 of its DER."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(private_key_pem.encode(), password=None).public_key()
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()


def signing_key(source: Source) -> str:
    """What `source` signs with when nothing is given."""
    return tryout_secret() if source.secret else private_key()


def new_key(source: Source) -> str:
    """Likewise, but new and not for trying out only."""
    seed = token_bytes(32)
    return tryout_secret(seed) if source.secret else private_key(seed)
