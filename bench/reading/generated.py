"""A store whose raw objects are made up when they are read, and never lie anywhere.

So twenty million events go from the generator straight into the compactor: what it writes lies in a
folder, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from hashlib import sha256
from pathlib import Path

from chalicelib.bodies import CONTENT_TYPES
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.keys import DeliveryKey, app_prefix, day_prefix
from chalicelib.metadata import describe
from chalicelib.sources import source_named
from hookshelf.reading.store import StoredFile
from hookshelf.reading.store.folder import ReadingFolder
from hookshelf.reading.values import Read

APP = "sendgrid"
_SOURCE = source_named(APP)


class GeneratedStore(ReadingFolder):
    """A bucket in a folder, with raw deliveries that come from an iterator in order of arrival.

    Days have to be asked for in order; one day's deliveries are in memory at a time, and a listing
    of all ends with the first one after them.
    """

    def __init__(self, folder: Path, bucket: str, deliveries: Iterator[Delivery], days: list[date]):
        super().__init__(str(folder), bucket)
        self._deliveries = deliveries
        self._next: Delivery | None = None  # of them, where it is known already
        self._days = days
        self._day: date | None = None
        self._objects: dict[str, ArchiveObject] = {}
        self.events = 0

    def folders(self, read: Read, prefix: str = "") -> list[str]:
        """See ReadingStore.folders."""
        if not prefix.startswith(app_prefix("", APP)):
            return super().folders(read, prefix)
        days = [day_prefix("", APP, day) for day in self._days]
        below = [day.removeprefix(prefix) for day in days if day.startswith(prefix)]
        return sorted({folders.partition("/")[0] for folders in below if folders})

    def entries(self, read: Read, prefix: str = "", *, after: str = "") -> Iterator[StoredFile]:
        """See ReadingStore.entries."""
        if not prefix.startswith(app_prefix("", APP)):
            yield from super().entries(read, prefix, after=after)
            return
        for day in self._days:
            if prefix == day_prefix("", APP, day) and day != self._day:
                self._day, self._objects = day, {obj.key: obj for obj in self._of(day)}
        objects = list(self._objects.values())
        if prefix == app_prefix("", APP) and (following := self._following()):
            objects.append(verified_object(following))
        later = (obj for obj in objects if obj.key > after)
        yield from (StoredFile(obj.key, len(obj.body), '"generated"') for obj in later)

    def load(self, read: Read, key: str) -> ArchiveObject:
        """See ReadingStore.load."""
        return self._objects[key] if key in self._objects else super().load(read, key)

    def _of(self, day: date) -> Iterator[ArchiveObject]:
        while (delivery := self._following()) and delivery.arrived.date() <= day:
            self._next = None
            self.events += delivery.body.count(b'"sg_event_id"')
            yield verified_object(delivery)

    def _following(self) -> Delivery | None:
        """The first delivery that is not in memory yet."""
        self._next = self._next or next(self._deliveries, None)
        return self._next


def verified_object(delivery: Delivery) -> ArchiveObject:
    """What `to_object` gives for a delivery that is known to be JSON and well signed.

    It is not parsed and checked again: that would take longer than making it up.
    """
    digest = sha256(delivery.body).hexdigest()
    return ArchiveObject(
        str(DeliveryKey("", APP, delivery.arrived, digest, "json")),
        delivery.body,
        CONTENT_TYPES["json"],
        describe(delivery, source=APP, verdict="verified", keep=_SOURCE.keep),
    )
