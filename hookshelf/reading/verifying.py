"""Everything an app has, checked again: signatures, bytes, and what its manifest log says is there.

A compacted file is read whole, so that a day of deliveries is one GET. Their raw objects are only
listed: size and ETag show which of them may have been altered, and those are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import duckdb

from chalicelib.keys import UnknownKey, day_of
from hookshelf.reading import manifest
from hookshelf.reading.bodies import deliveries_in
from hookshelf.reading.bucket import Bucket
from hookshelf.reading.checking import AT_A_TIME, Checkers, Kept, Verification
from hookshelf.reading.errors import Damaged, Gone, TooQuick
from hookshelf.reading.files import BEGINNING, CompactedFile, Files, listed_files
from hookshelf.reading.listing import full_key, keys_in
from hookshelf.reading.lookup import within
from hookshelf.reading.raw import RawDelivery, load_all, raw_and_redacted
from hookshelf.reading.rows import is_same
from hookshelf.reading.selection import Selection
from hookshelf.reading.values import Checked, Read, Stream

_ATTEMPTS = 8
_COMMANDS = ("readmit", "adopt")  # that log first, and put then
_ENOUGH = 32  # raw objects that were read in vain: the ETags of this bucket are no hashes


@dataclass(slots=True)
class Expected:
    """What an app's manifest log says there is."""

    days: set[str] = field(default_factory=set)  # those that the log tells all about
    keys: set[str] = field(default_factory=set)
    redacted: dict[str, str] = field(default_factory=dict)  # SHA-256 of the redacted body, by key
    expired: set[str] = field(default_factory=set)
    by_command: dict[str, str] = field(default_factory=dict)  # `readmit` or `adopt`, by key
    unfinished: set[int] = field(default_factory=set)  # numbers of erasures without their end

    def is_added(self, key: str) -> bool:
        """Whether somebody put a delivery there of which the log knows nothing."""
        return _day(key) in self.days and not (
            key in self.keys or key in self.redacted or key in self.expired
        )

    def add(self, entry: manifest.LogEntry) -> None:
        """Take in the next entry."""
        if entry.kind == "expire":
            known = {*self.keys, *self.redacted}
            self.expired |= {key for key in known if _day(key) == entry.day}
            self.keys -= self.expired
            return
        if entry.kind == "day":
            self.days.add(entry.day)
        self.keys |= entry.added.keys()
        if entry.kind in _COMMANDS:
            self.by_command |= dict.fromkeys(entry.added, entry.kind)
        self.keys -= entry.removed.keys()
        if entry.kind == "erase":
            self.redacted |= entry.facts.get("redacted", {})
            ended = entry.facts.get("ended", [])
            self.unfinished -= {*ended}
            if not ended:
                self.unfinished.add(entry.number)


class Verifying:
    """Checks one app at one place."""

    def __init__(
        self,
        bucket: Bucket,
        read: Read,
        stream: Stream,
        selection: Selection,
        checkers: Checkers,
    ) -> None:
        self.bucket, self.read, self.stream = bucket, read, stream
        self.selection, self.checkers = selection, checkers
        self.log = manifest.Log((), frozenset(), {})
        self.unfinished: set[str] = set()  # kinds of log entries that were not carried out whole
        self._expected = Expected()
        self._seen: set[str] = set()
        self._raw: dict[str, RawDelivery] = {}
        self._originals: set[str] = set()  # listed raw, as they were received
        self._false_alarms = 0

    def run(self, *, raw: bool) -> Iterator[Checked]:
        """Each delivery, and each part of the log or of a file that is not as it was written.

        `raw` asks for the raw objects themselves, whatever compacted files hold.
        """
        start, end = self.selection.since or BEGINNING, self.selection.until
        for delivery in raw_and_redacted(self.bucket, self.read, self.stream, start, end):
            self._raw.setdefault(str(delivery), delivery)
            if not delivery.redacted:
                self._originals.add(str(delivery))
        files = self._listed()
        yield from (self._broken(key, state) for key, state in self.log.broken.items())
        if raw:
            wanted = [file for file in files.counting if within(file.footer, self.selection)]
            self._expected.keys.update(keys_in(self.bucket, self.read, wanted))
        else:
            yield from self._compacted(files)
        yield from self._uncovered()
        yield from self._absent()

    def _listed(self) -> Files:
        """The files; then the log, so that it knows all that was seen."""
        files = listed_files(self.bucket, self.read, self.stream)
        self.log = manifest.read_log(self.bucket, self.read, self.stream)
        self._expected = Expected()
        for entry in self.log.entries:
            self._expected.add(entry)
        if self._expected.unfinished:
            self.unfinished.add("erase")
        return files

    def _compacted(self, files: Files) -> Iterator[Checked]:
        """The deliveries in files; what is replaced meanwhile is listed again."""
        done: set[str] = set()
        for _ in range(_ATTEMPTS):
            try:
                yield from self._files(files, done)
                return
            except Gone:
                files = self._listed()
        raise TooQuick(self.stream)

    def _files(self, files: Files, done: set[str]) -> Iterator[Checked]:
        yield from (self._broken(key, "altered") for key in sorted(files.foreign - done))
        done |= files.foreign
        wanted = [file for file in files.counting if within(file.footer, self.selection)]
        self.checkers.expect(sum(file.footer.deliveries for file in wanted))
        for file in wanted:
            if file.entry.etag not in done:
                yield from self._file(file)
                done.add(file.entry.etag)

    def _file(self, file: CompactedFile) -> Iterator[Checked]:
        checked = self.checkers.check(self._kept(file))
        try:
            while batch := list(islice(checked, AT_A_TIME)):
                yield from self._with_raw(batch)
        except (Damaged, duckdb.Error, UnknownKey):
            self.bucket.check(file.entry)
            yield self._broken(file.entry.key, "altered")

    def _kept(self, file: CompactedFile) -> Iterator[Kept]:
        for delivery in deliveries_in(self.bucket, self.read, file, self.selection):
            obj = delivery.obj
            if obj.key not in self._seen:
                raw = self._raw.get(obj.key)
                yield Kept(obj.key, obj.body, obj.metadata, (raw.size, raw.etag) if raw else None)

    def _with_raw(self, batch: Sequence[tuple[Kept, Verification]]) -> Iterator[Checked]:
        """What was checked in a file, unless its raw object was altered."""
        suspects = [
            kept
            for kept, verification in batch
            if verification.raw_may_differ and self._is_suspect(kept)
        ]
        altered = set()
        if suspects:
            raw = [self._raw[kept.key] for kept in suspects]
            for delivery, obj in load_all(self.bucket, self.read, raw):
                if is_same(obj, delivery.key):
                    self._false_alarms += 1
                else:
                    altered.add(str(delivery))
        for kept, verification in batch:
            yield self._checked(
                kept,
                Verification("bad", "altered", False) if kept.key in altered else verification,
            )

    def _is_suspect(self, kept: Kept) -> bool:
        """Whether a raw object has to be read: on a disk always, as nothing there is a hash.

        In S3 an ETag is the MD5 of what was put, unless a key of KMS encrypts it.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
        """
        is_folder = hasattr(self.bucket.store, "path")
        differs = self._raw[kept.key].size != len(kept.body)
        return is_folder or differs or self._false_alarms < _ENOUGH

    def _uncovered(self) -> Iterator[Checked]:
        """The raw deliveries that no file has."""
        rest = [delivery for key, delivery in self._raw.items() if key not in self._seen]
        self.checkers.expect(len(rest))
        objects = (
            Kept(str(delivery), obj.body, obj.metadata)
            for delivery, obj in load_all(self.bucket, self.read, rest)
        )
        for kept, verification in self.checkers.check(objects):
            yield self._checked(kept, verification)

    def _absent(self) -> Iterator[Checked]:
        """What the log knows, and nothing holds any more."""
        expected = self._expected
        for key in sorted({*expected.keys, *expected.redacted, *expected.expired} - self._seen):
            parsed = full_key(key)
            if parsed is None or not self.selection.has(parsed.arrived):
                continue
            is_redacted = expected.redacted.get(key) == ""  # nothing of it was to be kept
            state = "redacted" if is_redacted else "missing"
            state = "expired" if key in expected.expired else state
            if state == "missing" and key in expected.by_command:
                self.unfinished.add(expected.by_command[key])
            yield Checked(self.bucket.name, key, None, state, state != "missing")

    def _checked(self, kept: Kept, verification: Verification) -> Checked:
        self._seen.add(kept.key)
        verdict, state, in_order, _ = verification
        known = self._as_logged(kept, state)
        if known != state:
            verdict, state, in_order = "bad" if known == "altered" else verdict, known, False
        return Checked(self.bucket.name, kept.key, verdict, state, in_order)

    def _as_logged(self, kept: Kept, state: str) -> str:
        """The state of what is there, by what the log says of it."""
        left = self._expected.redacted.get(kept.key)
        if state == "altered":
            return state
        if left is None:
            raw = self._raw.get(kept.key)
            if state == "redacted" or (raw and raw.redacted):  # killed before it was in the log
                self.unfinished.add("erase")
                return "added"
            return "added" if self._expected.is_added(kept.key) else state
        if state != "redacted" or kept.key in self._originals:
            return "added"  # what was erased is still there
        return state if left == kept.metadata["redacted"] else "altered"

    def _broken(self, key: str, state: str) -> Checked:
        return Checked(self.bucket.name, key, None if state == "missing" else "bad", state, False)


def _day(key: str) -> str:
    try:
        return day_of(key).isoformat()
    except ValueError:
        return ""  # somebody else wrote it into the log
