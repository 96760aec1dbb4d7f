"""What is done in a simulation, and when: all of it drawn from the seed before anything happens.

So an action can be left out, and the others stay as they were: that is how a failing seed is
shrunk. Another kind of action is one more class here, a function that draws one, and its weight in
`plan_of`.
"""

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from chalicelib.store import NotStored, Unreadable
from hookshelf import Archive
from hookshelf.reading.errors import NoSuchApp
from simulation.processes import START
from simulation.s3 import CALM, Weather

if TYPE_CHECKING:
    from simulation.world import World

PEOPLE = ("Ann@example.com", "bob@example.com", "eve@example.com")
MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
# Seconds between one moment at which much happens and the next.
GAPS = (2, 20, 3 * MINUTE, HOUR, 5 * HOUR, 5 * HOUR, DAY, DAY)
RETRIES = (1.0, 5.0, 30.0, 10 * MINUTE, 3 * HOUR)  # when a sender tries again, at most
PATIENCE = 10.0  # seconds that a sender waits for a response; GitHub's
SKEW = 20.0  # seconds that a clock may be off


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something that begins at a moment, and goes on beside all that begins before it ends."""

    number: int
    at: float  # seconds since START
    skew: float = 0.0  # of the clocks of its processes, seconds
    weather: Weather = CALM

    def calmed(self) -> "Action":
        """The same, with nothing that goes wrong."""
        return replace(self, skew=0.0, weather=CALM)

    def run(self, world: "World") -> None:
        """Do it, in a process of its own."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Send(Action):
    """A sender posts a body until it is told that it is stored, or it gives up."""

    body: bytes = field(repr=False)
    signed_by: str  # `known` key, `new` one, `forged`, or ``: not signed
    retries: tuple[float, ...]  # seconds before each
    twins: bool  # whether each post reaches two containers at the same moment
    weathers: tuple[Weather, ...]  # of the containers, one post after the other

    def calmed(self) -> "Send":
        return replace(self, skew=0.0, weathers=(CALM,) * len(self.weathers))

    def run(self, world: "World") -> None:
        world.model.sent.add(self.body)
        weathers = iter(self.weathers * 2)
        for attempt, wait in enumerate((*self.retries, None)):
            posts = [
                world.start(
                    f"container {self.number}.{attempt}{'ab'[twin]}",
                    lambda: world.post(self.body, self.signed_by),
                    skew=self.skew,
                    weather=next(weathers),
                )
                for twin in range(2 if self.twins else 1)
            ]
            for post in posts:
                world.scheduler.join(post, PATIENCE)
            statuses = [post.value for post in posts if post.is_done]
            if any(status and status < 500 for status in statuses) or wait is None:
                return
            world.scheduler.sleep(wait)


@dataclass(frozen=True, kw_only=True)
class Compact(Action):
    """A compactor runs, whatever else compacts."""

    look_back: float = 0.0  # seconds; 0: everywhere
    deadline: float = 0.0  # seconds; 0: none
    only_day: bool = False  # nothing but the day before

    def run(self, world: "World") -> None:
        started, there = world.scheduler.seconds, set(world.model.landed)
        archive = world.archive()
        today = world.scheduler.now().date()
        options: dict[str, Any] = {
            "look_back": timedelta(seconds=self.look_back) if self.look_back else None,
            "since": (today - timedelta(days=1)).isoformat() if self.only_day else None,
            "until": (today - timedelta(days=1)).isoformat() if self.only_day else None,
        }
        if self.deadline:
            options["remaining"] = lambda: started + self.deadline - world.scheduler.seconds
        try:
            for change in archive.compact(**options):
                if change.state != "unchanged":
                    world.say(f"{change.state} {change.file}, {change.deliveries} deliveries")
        except Unreadable as error:
            world.say(f"gives up: {error}")
            return
        world.say("has compacted")
        if not (self.look_back or self.deadline or self.only_day):
            world.model.absorb(there, started)


@dataclass(frozen=True, kw_only=True)
class Find(Action):
    """A reader looks somebody up, again and again, in an archive open for long or opened now."""

    subject: str
    all: bool
    reader: int  # number of the reader that stays; 0: a new one
    waits: tuple[float, ...]  # seconds before it looks again

    def run(self, world: "World") -> None:
        archive = world.reader(self.reader)
        for wait in (0.0, *self.waits):
            world.scheduler.sleep(wait)
            self._look_up(world, archive)

    def _look_up(self, world: "World", archive: Archive) -> None:
        sure = world.model.sure()
        try:
            events = list(archive.find(self.subject, app="sendgrid", all=self.all))
        except Unreadable as error:
            world.say(f"gives up: {error}")
            return
        except NoSuchApp:
            events = []
        world.say(f"finds {len(events)} of {self.subject}")
        world.model.found(self.subject.lower(), events, sure, all=self.all)


@dataclass(frozen=True, kw_only=True)
class Readmit(Action):
    """Somebody accepts after all what was refused: by today's keys, or as it is."""

    as_is: bool

    def run(self, world: "World") -> None:
        refused = world.model.kept()
        try:
            lines = list(world.archive().readmit(as_is="tried" if self.as_is else ""))
        except (Unreadable, NotStored) as error:
            world.say(f"gives up: {error}")
            return
        for line in lines:
            world.say(f"{line.state} {line.refused}")
            if line.key and line.state == "readmitted":
                world.model.check_logged(line.key, "readmit")
            if line.key and line.refused in refused and line.key not in world.model.absorbed:
                world.model.acknowledged(line.key, refused[line.refused])


@dataclass(frozen=True, kw_only=True)
class Erase(Action):
    """Somebody is removed from all that there is."""

    subject: str

    def run(self, world: "World") -> None:
        try:
            world.erase(self.subject)
        except (Unreadable, NotStored) as error:
            world.say(f"gives up: {error}")


@dataclass(frozen=True, kw_only=True)
class Verify(Action):
    """Everything is checked against the log, whatever else goes on."""

    def run(self, world: "World") -> None:
        there = world.model.sure()
        try:
            lines = list(world.archive().verify(processes=1))
        except Unreadable as error:
            world.say(f"gives up: {error}")
            return
        world.say(f"verifies {len(lines)} deliveries")
        world.model.verified(lines, there)


@dataclass(frozen=True, kw_only=True)
class Expire(Action):
    """The bucket's lifecycle deletes what has long been compacted: nobody is at it any more."""

    def run(self, world: "World") -> None:
        world.say(f"{world.model.expire(4 * HOUR)} raw objects expire")


@dataclass(frozen=True)
class Plan:
    """All of one simulation."""

    seed: int
    actions: tuple[Action, ...]
    page: int  # keys in one response of S3
    signature: str  # `record`, or `require`: then the new key is refused until it is known
    new_key_at: float  # seconds until the new key is known
    source_at: float  # seconds until the app names its source, which makes all files anew
    engine: str  # `duckdb`, or `lines`: see lines.py
    versioned: bool  # whether the bucket keeps versions


def plan_of(seed: int) -> Plan:
    """The plan that a seed stands for."""
    chance = Random(seed)
    signature = chance.choice(("record", "record", "require"))
    bodies = _bodies(chance)
    trouble = chance.choice((0.0, 0.02, 0.1, 0.3))
    kinds = [
        kind
        for kind, weight in (
            (_send, 10),
            (_compact, chance.choice((1, 3, 6))),
            (_find, chance.choice((2, 5))),
            (_readmit, 2 if signature == "require" else 0),
            (_expire, chance.choice((0, 3, 6))),
            (_erase, chance.choice((0, 0, 1, 2))),
            (_verify, chance.choice((0, 1))),
        )
        for _ in range(weight)
    ]
    actions: list[Action] = []
    moment = 0.0
    for number in range(1, chance.randrange(5, 26)):
        at, skew = moment + chance.random() * 3, chance.uniform(-SKEW, SKEW)
        kind = chance.choice(kinds) if number > 1 else _send
        if kind is _send and chance.random() < 0.2 and actions:  # at the very moment of the last
            at, skew = actions[-1].at, actions[-1].skew
        common = {"number": number, "at": at, "skew": skew}
        actions.append(kind(chance, common, trouble, bodies))
        # While a compactor is at it, others are, too.
        if chance.random() < (0.15 if kind is _compact else 0.5):
            moment += chance.choice(GAPS)
    return Plan(
        seed=seed,
        actions=tuple(actions),
        page=chance.choice((2, 7, 1_000)),
        signature=signature,
        new_key_at=chance.choice((0.0, moment / 2, moment)),
        source_at=chance.choice((moment * 2, moment * 2, moment / 2)),
        engine="duckdb" if seed % 25 == 0 else "lines",
        versioned=chance.random() < 0.5,
    )


def _bodies(chance: Random) -> list[bytes]:
    """Some bodies, an event a line, as SendGrid lays them out; ids come again, or are missing."""
    bodies = []
    for _ in range(chance.randrange(1, 8)):
        lines = []
        for _ in range(chance.randrange(1, 4)):
            event = {
                "email": chance.choice(PEOPLE),
                "timestamp": int(START.timestamp()) + chance.randrange(-100, 100),
                "event": chance.choice(("open", "click")),
                "sg_event_id": chance.choice(("e1", "e2", "é3", f"e{chance.randrange(99)}", "")),
            }
            if not event["sg_event_id"]:
                del event["sg_event_id"]
            lines.append(json.dumps(event, ensure_ascii=False).encode())
        bodies.append(b"[" + b",\r\n".join(lines) + b"]\r\n" * chance.randrange(1, 2))
    return bodies


def _weather(chance: Random, trouble: float, slowest: float, requests: int) -> Weather:
    dies, stalls = chance.random() < 0.2, chance.random() < 0.15
    return Weather(
        trouble=chance.choice((0.0, trouble)),
        slowest=slowest * 10 ** chance.uniform(-3, 0),
        dies_at=chance.randrange(1, requests) if dies else 0,
        fate=chance.choice(("done", "late", "lost")),
        stalls_at=chance.randrange(1, requests) if stalls else 0,
        stall=10 ** chance.uniform(0, 4),  # three hours at most, see Expire
    )


def _send(chance: Random, common: Any, trouble: float, bodies: list[bytes]) -> Send:
    retries = tuple(wait * chance.random() for wait in RETRIES[: chance.randrange(6)])
    twins = chance.random() < 0.2
    posts = (1 + len(retries)) * (1 + twins)
    weathers = [_weather(chance, trouble, 4.0, 3) for _ in range(posts)]
    return Send(
        **common,
        body=chance.choice(bodies),
        signed_by=chance.choice(("known", "known", "new", "forged", "")),
        retries=retries,
        twins=twins,
        weathers=tuple(replace(weather, stalls_at=0) for weather in weathers),
    )


def _compact(chance: Random, common: Any, trouble: float, bodies: list[bytes]) -> Compact:
    return Compact(
        **common,
        weather=_weather(chance, trouble / 3, 20.0, 40),
        look_back=chance.choice((0.0, 0.0, 0.0, 2 * DAY)),
        deadline=chance.choice((0.0, 0.0, 0.0, 0.0, 60.0)),
        only_day=chance.random() < 0.25,
    )


def _find(chance: Random, common: Any, trouble: float, bodies: list[bytes]) -> Find:
    return Find(
        **common,
        weather=_weather(chance, trouble / 3, 5.0, 20),
        subject=chance.choice(PEOPLE),
        all=chance.random() < 0.5,
        reader=chance.randrange(3),
        waits=tuple(10 ** chance.uniform(-2, 1) for _ in range(chance.choice((0, 2, 8)))),
    )


def _readmit(chance: Random, common: Any, trouble: float, bodies: list[bytes]) -> Readmit:
    return Readmit(
        **common, weather=_weather(chance, trouble / 3, 5.0, 40), as_is=chance.random() < 0.3
    )


def _erase(chance: Random, common: Any, trouble: float, bodies: list[bytes]) -> Erase:
    return Erase(
        **common, weather=_weather(chance, trouble / 3, 5.0, 80), subject=chance.choice(PEOPLE)
    )


def _verify(chance: Random, common: Any, trouble: float, bodies: list[bytes]) -> Verify:
    weather = _weather(chance, trouble / 3, 5.0, 40)
    return Verify(**common, weather=replace(weather, stalls_at=0))


def _expire(chance: Random, common: Any, trouble: float, bodies: list[bytes]) -> Expire:
    return Expire(**common)
