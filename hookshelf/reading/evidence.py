"""Evidence for one delivery that none of our software is needed to check."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from chalicelib.apps import App, apps_file
from chalicelib.keys import ManifestKey
from chalicelib.metadata import headers_of
from chalicelib.signatures import verdict
from chalicelib.sources import Keys
from hookshelf.reading import manifest
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.checking import Kept, app_to_check, checked, delivery_of
from hookshelf.reading.errors import ReadingError
from hookshelf.reading.listing import full_key
from hookshelf.reading.values import ArchivedDelivery, ArchivedEvent, Read, Stream
from hookshelf.terminal import printable

TEXTS = Path(__file__).parent / "case"


class NothingToProve(ReadingError):
    """The signature is not good, or cannot be checked: there is no evidence."""


@dataclass(frozen=True, slots=True)
class _Signature:
    """What a public key signed, and where that key was configured."""

    key: Any
    index: int  # among the app's public_keys
    signed: bytes
    signature: bytes


class _Recorder:
    """A public key that remembers what it found good."""

    def __init__(self, key: Any, index: int, good: list[_Signature]) -> None:
        self._key, self._index, self._good = key, index, good

    def verify(self, signature: bytes, signed: bytes, *algorithm: Any) -> None:
        """As the key does; raises what it raises."""
        self._key.verify(signature, signed, *algorithm)
        self._good.append(_Signature(self._key, self._index, signed, signature))


def evidence_of(  # noqa: PLR0913
    bucket: Bucket,
    read: Read,
    delivery: ArchivedDelivery,
    event: ArchivedEvent | None,
    environ: Mapping[str, str],
    at: datetime,
) -> dict[str, bytes]:
    """The files of a case, by name, `verify.sh` among them. Raises NothingToProve."""
    metadata = delivery.metadata or {}
    app = app_to_check(delivery.app, metadata, environ)
    kept = Kept(delivery.key, delivery.body or b"", metadata)
    verification = checked(kept, app)
    if verification.verdict != "verified" or verification.state:
        state = f" ({verification.state})" if verification.state else ""
        raise NothingToProve(
            f"{delivery.key} is {verification.verdict}{state}: only what is verified can be "
            f"proved. Are the sender's keys of app {delivery.app} in APPS_FILE?"
        )
    case = _Case(delivery)
    if signature := _public_signature(kept, app):
        case.add_signature(signature, f"{Path(apps_file(environ)).name}, app {delivery.app}")
    else:
        case.say("shared-secret", source=app.source.name, app=delivery.app)
    if event is not None:
        case.add_event(event)
    case.add_manifest(bucket, read)
    return case.closed(at)


def _public_signature(kept: Kept, app: App) -> _Signature | None:
    """The signature that a public key found good; None where a shared secret did."""
    good: list[_Signature] = []
    keys = tuple(_Recorder(key, index, good) for index, key in enumerate(app.keys.public_keys))
    key = full_key(kept.key)
    assert key is not None
    verdict(delivery_of(kept, key), app._replace(keys=Keys(keys, app.keys.secrets)))
    return good[0] if good else None


class _Case:
    """The files as they are put together, what `verify.sh` checks, and what README.txt says."""

    def __init__(self, delivery: ArchivedDelivery) -> None:
        self._delivery = delivery
        self._body = f"body.{delivery.key.rpartition('.')[2]}"
        metadata = dict(delivery.metadata or {})
        headers = "".join(f"{name}: {value}\n" for name, value in headers_of(metadata).items())
        self._files = {
            self._body: delivery.body or b"",
            "headers.txt": headers.encode("utf-8", "surrogateescape"),
            "metadata.json": _json(metadata),
        }
        self._checks = [f"has_hash {delivery.sha256} {self._body}"]
        self._says: list[str] = []
        self.say(
            "delivery",
            key=delivery.key,
            arrived=delivery.arrived.isoformat(),
            sha256=delivery.sha256,
            body=self._body,
        )

    def say(self, name: str, **facts: object) -> None:
        """Add a paragraph to README.txt."""
        self._says.append((TEXTS / f"{name}.txt").read_text(encoding="utf-8").format(**facts))

    def add_signature(self, signature: _Signature, configured: str) -> None:
        """The public key, what it signed, and how that is checked."""
        pem, der, check = _public_key(signature.key)
        fingerprint = sha256(der).hexdigest()
        before, is_there, after = signature.signed.partition(self._files[self._body])
        if not is_there:
            raise NothingToProve("What the sender signs does not hold the body as it is")
        self._files |= {
            "public-key.pem": pem,
            "signature.bin": signature.signature,
            "signed.bin": signature.signed,
            "signed-before.bin": before,
            "signed-after.bin": after,
        }
        self._checks += [f"is_signed {self._body}", f"is_key {fingerprint}", check]
        configured = f"{configured}, public_keys[{signature.index}]"
        self.say("signature", fingerprint=fingerprint, configured=configured, body=self._body)

    def add_event(self, event: ArchivedEvent) -> None:
        """One event: its bytes, and where in the body they are."""
        data, body = event.data.encode("utf-8", "surrogatepass"), self._files[self._body]
        start = body.find(data)
        if start < 0 or body.find(data, start + 1) >= 0:
            raise NothingToProve(
                f"Event {event.position} does not lie in the body at one place. Prove the delivery"
            )
        self._files["event.json"] = data
        self._checks.append(f"is_event {self._body} {start} {len(data)}")
        self.say(
            "event", type=printable(event.type), start=start, length=len(data), body=self._body
        )

    def add_manifest(self, bucket: Bucket, read: Read) -> None:
        """The entries of the log from the one that names the delivery up to the newest."""
        key = full_key(self._delivery.key)
        assert key is not None
        stream = Stream(bucket.name, key.prefix, key.app)
        log = manifest.read_log(bucket, read, stream)
        first = next((entry.number for entry in log.entries if str(key) in entry.added), None)
        if first is None or log.broken:
            self.say("no-manifest", problem="is broken" if log.broken else "does not name it yet")
            return
        numbers = range(first, log.entries[-1].number + 1)
        names = []
        for number in numbers:
            name = f"manifest-{number:08}.json"
            entry_key = str(ManifestKey(stream.prefix, stream.app, number))
            self._files[name] = bucket.store.load(read, entry_key).body
            names.append(name)
        head = sha256(self._files[names[-1]]).hexdigest()
        size = len(self._files[self._body])
        self._checks.append(f"is_logged '\"{key}\":{size}' {' '.join(names)}")
        self._checks.append(f"has_hash {head} {names[-1]}")
        self.say("manifest", first=names[0], last=names[-1], head=head)

    def closed(self, at: datetime) -> dict[str, bytes]:
        """All files, with what is checked and what is said."""
        facts = {"at": at.isoformat(timespec="seconds"), "says": "\n".join(self._says)}
        readme = (TEXTS / "README.txt").read_text(encoding="utf-8").format(**facts)
        script = (TEXTS / "verify.sh").read_text(encoding="utf-8")
        self._files["README.txt"] = readme.encode()
        sums = "".join(
            f"{sha256(body).hexdigest()}  {name}\n" for name, body in sorted(self._files.items())
        )
        self._files["SHA256SUMS"] = sums.encode()
        checks = [f"has_hash {sha256(sums.encode()).hexdigest()} SHA256SUMS", *self._checks]
        self._files["verify.sh"] = script.replace("# CHECKS\n", "\n".join(checks) + "\n").encode()
        return self._files


def _public_key(key: Any) -> tuple[bytes, bytes, str]:
    """A public key as PEM and as DER, and the check of what it signed."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem, der = (
        key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        for encoding in (Encoding.PEM, Encoding.DER)
    )
    return pem, der, "is_ed25519" if isinstance(key, Ed25519PublicKey) else "is_ecdsa"


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
