"""What must hold, said without any code of reading's: what was sent, what landed, what is shown.

Some deliveries land late: long after they arrived, as refused ones do that are readmitted. Until a
whole compaction has begun after that and ended well, a reader may miss them; all others never.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from chalicelib.keys import DeliveryKey, RejectedKey, UnknownKey, parse_key
from hookshelf.reading.values import ArchivedDelivery, ArchivedEvent
from simulation.processes import START
from simulation.s3 import Bucket, Stored

VERDICTS = ("verified", "stale", "unchecked", "unsigned", "bad")  # the best first
LATE = 60.0  # seconds: a put, a hang and two wrong clocks take less

Place = tuple[str, int]  # of an event: key of its delivery, and position
Identity = tuple[str, str]  # of an event: type and id


class EventCopy(NamedTuple):
    """One copy of an event, where it was delivered."""

    place: Place
    identity: Identity
    subject: str
    text: str
    rank: int  # of its verdict
    time: int


@dataclass(frozen=True)
class Landed:
    """A delivery that is in the store, or was until its raw object expired."""

    key: str
    body: bytes
    arrived: float  # seconds since START
    at: float
    verdict: str

    @property
    def is_late(self) -> bool:
        """Whether a compactor may have looked before it was there."""
        return self.at - self.arrived > LATE


class Model:
    """What was done to the store, and what follows from it."""

    def __init__(self, clock: Callable[[], float], fail: Callable[[str, str], None]) -> None:
        self._clock, self._fail = clock, fail
        self.bucket: Bucket
        self.sent: set[bytes] = set()
        self.landed: dict[str, Landed] = {}
        self.absorbed: dict[str, float] = {}  # seen by a whole compaction, and when it had ended
        self.shown: defaultdict[str, set[Place]] = defaultdict(set)  # by subject
        self._copies: dict[str, list[EventCopy]] = {}

    # --- the store

    def watch(self, key: str, new: Stored | None, is_agreed: bool) -> None:
        """What is about to become of a key."""
        if not is_agreed:
            self._fail("nothing is overwritten", f"{key}, and no condition was in the way")
        parsed = _parsed(key)
        is_ours_to_replace = parsed is None and not key.endswith(".json")  # a compacted file
        if key in self.bucket.objects and not is_ours_to_replace:
            what = "is deleted" if new is None else "is overwritten"
            self._fail(f"nothing {what}", key)
        if new is not None and parsed is not None:
            self._land(key, parsed, new)

    def _land(self, key: str, parsed: DeliveryKey | RejectedKey, new: Stored) -> None:
        if new.body not in self.sent:
            self._fail("nothing is stored that was not sent", key)
        if isinstance(parsed, DeliveryKey) and key not in self.landed:
            arrived = (parsed.arrived - START).total_seconds()
            self.landed[key] = Landed(
                key, new.body, arrived, self._clock(), new.metadata["verdict"]
            )

    def acknowledged(self, key: str, body: bytes) -> None:
        """A sender was told that its bytes are kept under a key."""
        stored = self.bucket.objects.get(key)
        if stored is None:
            self._fail("what is acknowledged is stored", f"{key} is not there")
        elif stored.body != body:
            self._fail("what is acknowledged is stored", f"{key} has other bytes")

    def expire(self, age: float) -> int:
        """Let the bucket's lifecycle delete what was compacted so many seconds ago; how many."""
        gone = [
            key
            for key, compacted in self.absorbed.items()
            if compacted < self._clock() - age and key in self.bucket.objects
        ]
        for key in gone:
            del self.bucket.objects[key]
        return len(gone)

    def refused(self) -> dict[str, bytes]:
        """What was refused and kept, by key."""
        return {
            key: stored.body
            for key, stored in self.bucket.objects.items()
            if isinstance(_parsed(key), RejectedKey)
        }

    # --- compacting

    def sure(self) -> set[str]:
        """The deliveries that a reader who begins now may not miss."""
        return {
            key for key, landed in self.landed.items() if not landed.is_late or key in self.absorbed
        }

    def absorb(self, there: Collection[str], started: float) -> None:
        """A whole compaction ended well: `there` is what it had to see when it started."""
        for key in there:
            hour = START + timedelta(seconds=self.landed[key].arrived)
            end = hour.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
            if (end - START).total_seconds() < started - 180:
                self.absorbed.setdefault(key, self._clock())

    # --- reading

    def copies(self, keys: Iterable[str], subject: str) -> dict[Place, EventCopy]:
        """The copies of a subject's events in some deliveries."""
        return {
            copy.place: copy
            for key in keys
            for copy in self._copies_in(key)
            if copy.subject == subject
        }

    def _copies_in(self, key: str) -> list[EventCopy]:
        if key not in self._copies:
            landed = self.landed[key]
            text = landed.body.decode()
            digest = sha256(landed.body).hexdigest()
            events = json.loads(text)
            # The bodies of plan.py have an event a line.
            lines = [line.strip("[],") for line in text.split("\r\n") if line.strip("[],")]
            assert len(lines) == len(events)
            self._copies[key] = [
                EventCopy(
                    (key, position),
                    (event["event"], event.get("sg_event_id") or f"{digest}:{position}"),
                    event["email"].lower(),
                    line,
                    VERDICTS.index(landed.verdict),
                    event["timestamp"],
                )
                for position, (event, line) in enumerate(zip(events, lines, strict=True))
            ]
        return self._copies[key]

    def found(
        self, subject: str, events: list[ArchivedEvent], sure: Collection[str], *, all: bool
    ) -> None:
        """What a reader was given; `sure` are the deliveries that it may not have missed."""
        may = self.copies(self.landed, subject)
        must = self.copies(sure, subject)
        places = [(event.delivery, event.position) for event in events]
        for event, place in zip(events, places, strict=True):
            self._check_copy(event, may.get(place))
        if len(set(places)) != len(places):
            self._fail("no event is found twice", f"{subject}: {sorted(places)}")
        if all:
            missed = set(must) - set(places)
        else:
            self._check_each_once(subject, events, may, must)
            identities = {(event.type, event.id) for event in events}
            missed = {place for place, copy in must.items() if copy.identity not in identities}
        if missed:
            shown = "that was shown before" if missed & self.shown[subject] else "that is there"
            self._fail(f"no event is missed {shown}", f"{subject}: {sorted(missed)}")
        times = [may[place].time for place in places]
        if times != sorted(times):
            self._fail("events come in their order", f"{subject}: {times}")
        self.shown[subject] |= set(places)

    def _check_copy(self, event: ArchivedEvent, copy: EventCopy | None) -> None:
        if copy is None:
            self._fail("nothing is found that was not sent", f"{event}")
            return
        shown = event.type, event.id, event.data, event.verdict
        if shown != (*copy.identity, copy.text, VERDICTS[copy.rank]):
            self._fail("what is found is what was sent", f"{copy.place}: {shown}")

    def _check_each_once(
        self,
        subject: str,
        events: list[ArchivedEvent],
        may: dict[Place, EventCopy],
        must: dict[Place, EventCopy],
    ) -> None:
        identities = [(event.type, event.id) for event in events]
        if len(set(identities)) != len(identities):
            self._fail("no event is found twice", f"{subject}: {sorted(identities)}")
        for event, identity in zip(events, identities, strict=True):
            most = [copy for copy in may.values() if copy.identity == identity]
            least = [copy for copy in must.values() if copy.identity == identity]
            if not len(least) <= event.times <= len(most):
                between = f"{len(least)} to {len(most)}"
                self._fail("repeats are counted", f"{identity}: {event.times}, not {between}")
            best = min(most, key=_preference)
            if len(least) == len(most) and best.place != (event.delivery, event.position):
                self._fail("the best copy is shown", f"{identity}: {event.delivery}")

    def whole(self, deliveries: Iterable[ArchivedDelivery]) -> None:
        """All deliveries, with their bodies, when nothing is under way."""
        bodies = {delivery.key: delivery.body for delivery in deliveries}
        expected = {key: landed.body for key, landed in self.landed.items()}
        if bodies != expected:
            differ = sorted(
                key for key in bodies | expected if bodies.get(key) != expected.get(key)
            )
            self._fail("compacted equals raw", f"{differ}")


def _preference(copy: EventCopy) -> tuple[Any, ...]:
    key, position = copy.place
    return copy.rank, key.rpartition("/")[2], key, position


def _parsed(key: str) -> DeliveryKey | RejectedKey | None:
    try:
        return parse_key(key)
    except UnknownKey:  # what was compacted, or the manifest log
        return None


def moment(seconds: float) -> datetime:
    """A time of the simulation."""
    return (START + timedelta(seconds=seconds)).astimezone(UTC)
