"""Deliveries that come in by another way than receiving: into the log first, then into the store.

Whatever is interrupted is finished by the next run of the same command: what the log names already
is not named again, and a put that has happened is one that need not happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from chalicelib.delivery import ArchiveObject
from hookshelf.reading import manifest
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.errors import Taken
from hookshelf.reading.files import listed_files
from hookshelf.reading.values import Read, Stream

_ATTEMPTS = 50  # while other writers of the log are quicker

Put = Callable[[str, ArchiveObject], object]  # into a bucket


def admit(  # noqa: PLR0913
    bucket: Bucket,
    read: Read,
    stream: Stream,
    objects: Sequence[ArchiveObject],
    *,
    kind: str,
    reason: str,
    facts: Mapping[str, Mapping[str, str]],
    now: datetime,
    put: Put,
) -> None:
    """Say in the log that objects are added (`facts` by their keys), then put them."""
    for _ in range(_ATTEMPTS):
        head = manifest.head_of(bucket, read, stream, manifest.head(bucket, read, stream))
        log = manifest.read_log(bucket, read, stream)
        known = {key for entry in log.entries for key in entry.added}
        added = {obj.key: len(obj.body) for obj in objects if obj.key not in known}
        of_added = {
            name: {key: value for key, value in values.items() if key in added}
            for name, values in facts.items()
        }
        entry = manifest.LogEntry(
            0, kind, "", added=dict(sorted(added.items())), reason=reason, facts=of_added
        )
        try:
            if added:
                manifest.append(bucket, read, stream, head, now, entry)
            break
        except Taken:
            continue
    else:
        raise Taken("the log")
    bucket.map(lambda obj: put(bucket.name, obj), objects)


def are_covered(bucket: Bucket, read: Read, stream: Stream, arrived: Iterable[datetime]) -> bool:
    """Whether compacted files stand for any of these moments, so that raw is not read there."""
    files = listed_files(bucket, read, stream).counting
    return any(file.footer.start <= at < file.footer.end for at in arrived for file in files)
