"""Refused deliveries, accepted after all: as they arrived, and when they arrived.

In this order, so that whatever is interrupted is finished by the next run: the manifest log says
which deliveries are added, then they are put, then the files that cover their time are made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from chalicelib.archive import to_object
from chalicelib.delivery import ArchiveObject
from chalicelib.ingest import decide
from chalicelib.keys import RejectedKey, parse_key
from chalicelib.metadata import decode
from chalicelib.responses import INVALID_SIGNATURE
from chalicelib.settings import BucketPath
from chalicelib.signatures import verdict
from hookshelf.reading.admitting import Put, admit
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.checking import Kept, app_to_check, delivery_of, is_altered
from hookshelf.reading.listing import whole
from hookshelf.reading.times import utc_text
from hookshelf.reading.values import ArchivedDelivery, Read, Readmitted, Stream

_AT_ONCE = 1_024  # deliveries
_BYTES_AT_ONCE = 32 * 1024 * 1024  # of their bodies


@dataclass(frozen=True, slots=True)
class Readmission:
    """How to readmit."""

    environ: Mapping[str, str]
    now: datetime
    put: Put
    as_is: str = ""  # the reason for which they are accepted whatever their verdict
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A refused delivery that is accepted, and the object that it becomes."""

    refused: ArchivedDelivery
    obj: ArchiveObject
    verdict: str


def stream_of(refused: ArchivedDelivery) -> Stream:
    """The app that a refused delivery was sent to, and where."""
    return Stream(refused.bucket, parse_key(refused.key).prefix, refused.app)


def at_once(refused: Iterable[ArchivedDelivery]) -> Iterator[list[ArchivedDelivery]]:
    """In parts of one entry of the log each: so many, or so large, as may be in memory."""
    part: list[ArchivedDelivery] = []
    size = 0
    for delivery in refused:
        part.append(delivery)
        size += delivery.size or 0
        if len(part) == _AT_ONCE or size >= _BYTES_AT_ONCE:
            yield part
            part, size = [], 0
    if part:
        yield part


def readmit(
    bucket: Bucket,
    read: Read,
    stream: Stream,
    refused: Sequence[ArchivedDelivery],
    plan: Readmission,
) -> Iterator[Readmitted]:
    """What became of each refused delivery of one app; `readmitted` is in the log and put."""
    candidates = []
    for delivery in refused:
        candidate = _candidate(delivery, plan)
        if candidate is None:
            yield Readmitted(bucket.name, delivery.key, None, _verdict(delivery, plan), "refused")
        else:
            candidates.append(candidate)
    missing = [c for c in candidates if not _is_there(bucket, read, stream, c)]
    added = {candidate.refused.key for candidate in missing}
    if missing and not plan.dry_run:
        admit(
            bucket,
            read,
            stream,
            [candidate.obj for candidate in missing],
            kind="readmit",
            reason=plan.as_is or "accepted by today's settings",
            facts={"refused": {c.obj.key: c.refused.key for c in missing}},
            now=plan.now,
            put=plan.put,
        )
    for candidate in candidates:
        state = "readmitted" if candidate.refused.key in added else "there"
        yield Readmitted(
            bucket.name, candidate.refused.key, candidate.obj.key, candidate.verdict, state
        )


def _candidate(delivery: ArchivedDelivery, plan: Readmission) -> _Candidate | None:
    """The object that a refused delivery becomes; None where it stays refused."""
    kept, key = _kept(delivery)
    app = app_to_check(delivery.app, kept.metadata, plan.environ)
    if is_altered(kept) or "arrived" not in kept.metadata:
        return None
    arrived = delivery_of(kept, key)
    given = verdict(arrived, app)
    if not plan.as_is:
        was_forged = decode(kept.metadata.get("reason", "")) == INVALID_SIGNATURE.reason
        decision = decide(arrived, app, BucketPath(delivery.bucket))
        if decision.response.status != 200 or (was_forged and given != "verified"):
            return None
    obj = to_object(arrived, app.source, prefix=key.prefix, verdict=given)
    # Not described anew: what did not fit then is still named.
    metadata = {name: value for name, value in kept.metadata.items() if name != "reason"}
    metadata |= {"verdict": given, "readmitted": utc_text(plan.now)}
    return _Candidate(delivery, obj._replace(metadata=metadata), given)


def _verdict(delivery: ArchivedDelivery, plan: Readmission) -> str:
    kept, key = _kept(delivery)
    app = app_to_check(delivery.app, kept.metadata, plan.environ)
    return "bad" if is_altered(kept) else verdict(delivery_of(kept, key), app)


def _kept(delivery: ArchivedDelivery) -> tuple[Kept, RejectedKey]:
    key = parse_key(delivery.key)
    assert isinstance(key, RejectedKey)
    return Kept(delivery.key, delivery.body or b"", delivery.metadata or {}), key


def _is_there(bucket: Bucket, read: Read, stream: Stream, candidate: _Candidate) -> bool:
    return whole(bucket, read, stream, candidate.obj.key) is not None
