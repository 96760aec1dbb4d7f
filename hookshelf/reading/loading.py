"""Deliveries of a listing with their bodies, in whatever order they are asked for.

A compacted file gives its deliveries in its own order, so what is wanted of it is put on disk.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from itertools import islice
from tempfile import TemporaryFile
from typing import BinaryIO

from hookshelf.reading.bodies import deliveries_in
from hookshelf.reading.bucket import AT_ONCE, Bucket
from hookshelf.reading.errors import retried
from hookshelf.reading.files import listed_files
from hookshelf.reading.listing import full_key, whole, with_body
from hookshelf.reading.lookup import within
from hookshelf.reading.scratch import PREFIX
from hookshelf.reading.selection import Selection
from hookshelf.reading.values import ArchivedDelivery, Read, Stream

Name = tuple[str, str]  # bucket and key


def in_order(
    open_bucket: Callable[[str], Bucket], read: Read, listed: Sequence[ArchivedDelivery]
) -> Iterator[ArchivedDelivery]:
    """Each delivery with body and metadata, in the order given, without those gone meanwhile."""
    with TemporaryFile(prefix=PREFIX) as spool:
        loader = _Loader(open_bucket, read, spool)
        loader.spool([delivery for delivery in listed if delivery.state == "compacted"])
        rest = iter(listed)
        while chunk := list(islice(rest, AT_ONCE)):
            yield from loader.load(chunk)


class _Loader:
    def __init__(self, open_bucket: Callable[[str], Bucket], read: Read, spool: BinaryIO) -> None:
        self._open_bucket, self._read, self._spool = open_bucket, read, spool
        self._places: dict[Name, int] = {}  # where they lie in the spool

    def spool(self, compacted: Iterable[ArchivedDelivery]) -> None:
        """Put what is wanted of compacted files on disk."""
        streams: dict[Stream, list[ArchivedDelivery]] = {}
        for delivery in compacted:
            streams.setdefault(_stream(delivery), []).append(delivery)
        for stream, wanted in streams.items():
            retried(stream, partial(self._spool_stream, stream, wanted))

    def load(self, chunk: Sequence[ArchivedDelivery]) -> Iterator[ArchivedDelivery]:
        """Some deliveries, what is raw of them with many requests at once."""
        raw = [delivery for delivery in chunk if _name(delivery) not in self._places]
        loaded = {}
        if raw:
            bucket = self._open_bucket(raw[0].bucket)
            loaded = dict(zip(map(_name, raw), bucket.map(self._whole, raw), strict=True))
        for delivery in chunk:
            found = loaded.get(_name(delivery)) or self._spooled(_name(delivery))
            if found is not None:
                yield found

    def _spool_stream(self, stream: Stream, wanted: Sequence[ArchivedDelivery]) -> None:
        bucket = self._open_bucket(stream.bucket)
        keys = {delivery.key for delivery in wanted}
        arrived = [delivery.arrived for delivery in wanted]
        selection = Selection(since=min(arrived), until=max(arrived) + timedelta(microseconds=1))
        for file in listed_files(bucket, self._read, stream).counting:
            if within(file.footer, selection):
                for key, obj, state in deliveries_in(bucket, self._read, file, selection):
                    if obj.key in keys and (bucket.name, obj.key) not in self._places:
                        self._places[bucket.name, obj.key] = self._spool.tell()
                        pickle.dump(with_body(bucket, key, obj, state), self._spool)

    def _spooled(self, name: Name) -> ArchivedDelivery | None:
        if name not in self._places:
            return None
        self._spool.seek(self._places[name])
        delivery: ArchivedDelivery = pickle.load(self._spool)
        return delivery

    def _whole(self, delivery: ArchivedDelivery) -> ArchivedDelivery | None:
        bucket = self._open_bucket(delivery.bucket)
        return whole(bucket, self._read, _stream(delivery), delivery.key)


def _name(delivery: ArchivedDelivery) -> Name:
    return delivery.bucket, delivery.key


def _stream(delivery: ArchivedDelivery) -> Stream:
    key = full_key(delivery.key)
    assert key is not None
    return Stream(delivery.bucket, key.prefix, key.app)
