"""What must hold, said without any code of reading's: what was sent, what landed, what is shown.

Some deliveries land late: long after they arrived, as refused ones do that are readmitted. Until a
whole compaction has begun after that and ended well, a reader may miss them; all others never.

Of a person who is being erased a reader may see what it likes; of all others everything. When the
erasure has ended, nothing that was there before it began holds that person, unless a writer was at
work beside it: then that is so once everything was compacted again.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import chain, combinations
from typing import Any, NamedTuple

from chalicelib.keys import DeliveryKey, RejectedKey, UnknownKey, parse_key, parse_redacted
from hookshelf.reading.values import ArchivedDelivery, ArchivedEvent, Checked
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
        self.refused: dict[str, Landed] = {}  # that were kept, whether they are there or not
        self.until: dict[str, float] = {}  # arrival until which a person was to be erased
        self.left: dict[str, frozenset[str]] = {}  # who is gone from what lies under `_redacted/`
        self.gone: set[tuple[str, str]] = set()  # delivery or refused, and who is in none of it
        self.landed_again: set[str] = set()  # by a request that was late, after it was erased
        self._copies: dict[str, list[EventCopy]] = {}

    # --- the store

    def watch(self, key: str, new: Stored | None, is_agreed: bool) -> None:
        """What is about to become of a key, or of a version of it."""
        if not is_agreed:
            self._fail("nothing is overwritten", f"{key}, and no condition was in the way")
        if _is_file(key):
            return
        if new is None:
            self._check_deleted(key)
        elif delivery := _left_of(key):
            self._leave(delivery, new)
        elif key in self.bucket.objects:
            self._fail("nothing is overwritten", key)
        else:
            self._land(key, new)

    def _check_deleted(self, key: str) -> None:
        """Of what was received only what holds somebody who is erased; what is left is there."""
        if _left_of(key):
            return
        if key in self.refused:
            is_agreed = not self.until.keys().isdisjoint(_people_in(self.refused[key]))
        else:
            is_agreed = key in self.left and f"_redacted/{key}" in self.bucket.objects
        if not is_agreed:
            self._fail("nothing is deleted", key)

    def _land(self, key: str, new: Stored) -> None:
        parsed = _parsed(key)
        if parsed is None:
            return
        if new.body not in self.sent:
            self._fail("nothing is stored that was not sent", key)
        if key in self.left:
            self.landed_again.add(key)
        known: dict[str, Landed] = self.landed if isinstance(parsed, DeliveryKey) else self.refused
        if key not in known:
            arrived = datetime.fromisoformat(new.metadata["arrived"])
            if isinstance(parsed, DeliveryKey):
                arrived = parsed.arrived
            known[key] = Landed(
                key,
                new.body,
                (arrived - START).total_seconds(),
                self._clock(),
                new.metadata["verdict"],
            )

    def _leave(self, key: str, new: Stored) -> None:
        """What an erasure puts: the delivery without people who are erased, and nobody else."""
        people = sorted(self.until.keys() & _people_in(self.landed[key]))
        some = chain.from_iterable(combinations(people, n + 1) for n in range(len(people)))
        without = next((w for w in some if self._without(key, w) == new.body), None)
        if without is None:
            self._fail("of a delivery all is left but who was erased", f"{key}: {new.body!r}")
            return
        if not self.left.get(key, frozenset()) <= {*without}:
            self._fail("who was erased stays so", key)
        self.left[key] = frozenset(without)

    def acknowledged(self, key: str, body: bytes) -> None:
        """A sender was told that its bytes are kept under a key, unless they were erased since."""
        stored = self.bucket.objects.get(key)
        if stored is None and self.is_erasing(key):
            return
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
            self.bucket.expire(key)
        return len(gone)

    def kept(self) -> dict[str, bytes]:
        """What was refused and is there, by key."""
        return {key: each.body for key, each in self.refused.items() if key in self.bucket.objects}

    # --- erasing

    def erasing(self, person: str, until: datetime) -> set[str]:
        """An erasure begins; the deliveries, and what was refused, that it has to rid of her."""
        moment = (until - START).total_seconds()
        self.until[person] = max(moment, self.until.get(person, 0.0))
        return {
            key
            for key, each in chain(self.landed.items(), self.refused.items())
            if each.arrived < moment and person in _people_in(each)
        }

    def again(self) -> set[str]:
        """Who is there again, as a request was so late that it landed after the erasure."""
        keys, self.landed_again = self.landed_again, set()
        return {person for key in keys for person in self.left[key]}

    def is_erasing(self, key: str) -> bool:
        """Whether a delivery may be on its way to be erased."""
        landed = self.landed.get(key)
        return landed is not None and not self.until.keys().isdisjoint(_people_in(landed))

    def erased(
        self, person: str, keys: set[str], texts_in: Callable[[bytes], Iterable[tuple[str, str]]]
    ) -> None:
        """Nothing that there is, or was, of some deliveries holds a person any more."""
        keys = keys - self.landed_again
        self.gone |= {(key, person) for key in keys}
        for key, stored in self.bucket.versions():
            texts: Iterable[tuple[str, str]] = [(_left_of(key) or key, _text(stored))]
            if _is_file(key):
                texts = texts_in(stored.body)
            for name, text in texts:
                is_wanted = name in keys or key.startswith("_manifests/")
                if is_wanted and person in text.lower():
                    self._fail("who was erased is gone", f"{person}: {name} in {key}")

    def _without(self, key: str, people: Iterable[str]) -> bytes:
        """A delivery in which a tombstone stands for each event of some people."""
        text = self.landed[key].body.decode()
        for copy in self._copies_in(key):
            if copy.subject in people:
                time = datetime.fromtimestamp(copy.time, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
                stone = {"redacted": True, "type": copy.identity[0], "time": time}
                text = text.replace(copy.text, json.dumps(stone, separators=(",", ":")))
        return text.encode()

    def check_logged(self, key: str, kind: str) -> None:
        """The log says that a delivery was added, and how."""
        entries = (
            json.loads(stored.body)
            for name, stored in self.bucket.objects.items()
            if name.startswith("_manifests/")
        )
        if not any(entry["kind"] == kind and key in entry["added"] for entry in entries):
            self._fail("what was added is in the log", f"{key}, no {kind}")

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
        until = self.until.get(subject, 0.0)
        may = self.copies((key for key in self.landed if (key, subject) not in self.gone), subject)
        must = self.copies((key for key in sure if self.landed[key].arrived >= until), subject)
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

    def verified(self, lines: Iterable[Checked], there: Collection[str]) -> None:
        """What was said of each delivery while others were at work; `there` had landed before."""
        for line in lines:
            is_in_order = line.state not in ("altered", "missing", "added")
            is_under_way = line.state == "missing" and line.key not in there
            if not (is_in_order or is_under_way or self.is_erasing(line.key)):
                self._fail("what is there is what the log says", f"{line}")

    def whole(self, deliveries: Iterable[ArchivedDelivery]) -> None:
        """All deliveries, with their bodies, when nothing is under way."""
        bodies = {delivery.key: delivery.body for delivery in deliveries}
        expected = {key: self._without(key, self.left.get(key, ())) for key in self.landed}
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


def _is_file(key: str) -> bool:
    """Whether it is a compacted file, which may be replaced and deleted."""
    return key.startswith("layer=events/")


def _people_in(landed: Landed) -> set[str]:
    return {event["email"].lower() for event in json.loads(landed.body)}


def _left_of(key: str) -> str:
    """The delivery of which this is what an erasure left; empty where it is something else."""
    try:
        return str(parse_redacted(key))
    except UnknownKey:
        return ""


def _text(stored: Stored) -> str:
    return f"{dict(stored.metadata)} {stored.body.decode('utf-8', 'replace')}"


def moment(seconds: float) -> datetime:
    """A time of the simulation."""
    return (START + timedelta(seconds=seconds)).astimezone(UTC)
