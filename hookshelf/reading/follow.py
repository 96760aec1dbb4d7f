"""What arrives: one LIST for each app and poll. Sleeping in between is the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from hookshelf.reading.bucket import Bucket
from hookshelf.reading.listing import deliveries_of
from hookshelf.reading.raw import raw_between
from hookshelf.reading.selection import Selection
from hookshelf.reading.values import ArchivedDelivery, Read, Stream

# A key names the arrival, and is put up to 8 s later: the last two minutes are listed again.
_AGAIN = timedelta(minutes=2)


class Follower:
    """Gives each raw delivery once, oldest first."""

    def __init__(
        self, streams: Sequence[tuple[Bucket, Stream]], start: datetime, now: Callable[[], datetime]
    ) -> None:
        self.read = Read()
        self._now = now
        self._streams = streams
        self._start = start
        self._has_begun = False
        self._told: dict[tuple[str, str], datetime] = {}

    @property
    def lists(self) -> int:
        """How many LISTs a poll takes, where no more than 1,000 deliveries are new."""
        return len(self._streams)

    def poll(self) -> list[ArchivedDelivery]:
        """What has arrived since the last time."""
        with self.read.timed():
            new = [
                delivery
                for bucket, stream in self._streams
                for delivery in self._listed(bucket, stream)
                if (delivery.bucket, delivery.key) not in self._told
            ]
        new = list({(delivery.bucket, delivery.key): delivery for delivery in new}.values())
        self._has_begun = True
        self._told |= {(delivery.bucket, delivery.key): delivery.arrived for delivery in new}
        self._start = max(self._start, self._now() - _AGAIN)
        self._told = {key: at for key, at in self._told.items() if at >= self._start}
        return sorted(new, key=lambda delivery: (delivery.arrived, delivery.key))

    def _listed(self, bucket: Bucket, stream: Stream) -> Iterator[ArchivedDelivery]:
        """What is there from the start on; raw may be gone the first time, and then is new."""
        if not self._has_begun:
            since = Selection(since=self._start)
            yield from deliveries_of(bucket, self.read, stream, since, sized=True)
        for raw in raw_between(bucket, self.read, stream, self._start, None):
            key = raw.key
            yield ArchivedDelivery(
                bucket.name, str(raw), key.app, key.arrived, key.sha256, "raw", raw.size
            )
