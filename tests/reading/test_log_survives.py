"""The manifest log outlives whoever writes into it: killed at any request, or two at once.

Compactors, readmissions and erasures are killed by SIGKILL at their n-th request, or meet in the
midst of each other: the chain of the log holds, what is unfinished is named, and in the end
everything is there that was received, byte for byte, but for the person who was erased.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from random import Random
from shutil import copytree
from typing import Any

import pytest
from support import killing
from support.archives import archive_of, hooked, moment, put, requests_of

from chalicelib.archive import to_object, to_rejected
from chalicelib.delivery import Delivery
from chalicelib.sources import source_named
from hookshelf import Archive
from hookshelf.reading import manifest
from hookshelf.reading.values import Read

pytestmark = [pytest.mark.slow, pytest.mark.spread]

SECRET = "the new secret"
START = moment("2026-10-30T22:00")
NOW = "2026-11-20T12:00"
WRITERS = sorted(killing.WRITERS)
GITHUB = source_named("github")


@dataclass
class Shelf:
    """An archive, and what has been sent to it."""

    environ: dict[str, str]
    bodies: dict[datetime, bytes] = field(default_factory=dict)  # by arrival; Jane's are others

    def copy(self, folder: Path) -> "Shelf":
        copytree(self.environ["ARCHIVE_FOLDER"], folder)
        return Shelf({**self.environ, "ARCHIVE_FOLDER": str(folder)}, self.bodies)

    def archive(self, **options: Any) -> Archive:
        return archive_of(self.environ, moment(NOW), **options)

    def receive(self, n: int, *, late: bool = False) -> None:
        """Four deliveries of a day of their own: one is accepted, one refused, two are about Jane.

        What comes to a day that is in the log already is `added`, until the next run.
        """
        start = START + timedelta(days=n, minutes=30 * late)
        for kind, body in enumerate(
            (
                {"n": n, "repository": {"full_name": "a/b"}},
                {"n": n, "refused": True},
                {"n": n, "repository": {"full_name": "a/b"}, "by": killing.SUBJECT},
                {"n": n, "by": killing.SUBJECT, "refused": True},
            )
        ):
            arrived = start + timedelta(minutes=kind)
            text = json.dumps(body | {"late": late}).encode()
            headers = GITHUB.sign(text, SECRET, 0) | {"content-type": "application/json"}
            sent = Delivery("shop", headers, text, arrived)
            if "refused" in body:
                obj = to_rejected(sent, GITHUB, reason="Invalid signature", verdict="bad")
            else:
                obj = to_object(sent, GITHUB, verdict="verified")
            put(self.environ, obj)
            self.bodies[arrived] = text

    def check_chain(self) -> None:
        """Each entry names the one before, and none is missing."""
        archive = self.archive()
        for stream in archive.apps():
            log = manifest.read_log(archive._bucket(stream.bucket), Read(), stream)
            assert log.broken == {}
            assert [entry.number for entry in log.entries] == [
                n + 1 for n in range(len(log.entries))
            ]

    def check_named(self) -> None:
        """Whatever is not in order was interrupted, and is named."""
        verified = self.archive().verify()
        faults = {line.state for line in verified if not line.in_order}
        assert faults <= {"missing", "added"}
        kinds = {kind for kind, _ in verified.unfinished}
        assert ("missing" not in faults) or "readmit" in kinds
        assert ("added" not in faults) or "erase" in kinds

    def finish(self) -> None:
        """Run everything to its end; first what lets refused deliveries in."""
        for do in ("readmit", "erase", "compact"):
            killing.DO[do](self.archive())

    def check_whole(self) -> None:
        """Everything is there, Jane is not, and nothing is left to do."""
        self.check_chain()
        archive = self.archive()
        verified = archive.verify()
        assert {(line.state, line.in_order) for line in verified} <= {
            ("", True),
            ("redacted", True),
        }
        assert verified.unfinished == []
        there = {each.arrived: each for each in archive.deliveries(whole=True)}
        hers = {at for at, body in self.bodies.items() if killing.SUBJECT.encode() in body}
        assert {at: there[at].body for at in self.bodies.keys() - hers} == {
            at: body for at, body in self.bodies.items() if at not in hers
        }
        assert all(there[at].change == "redacted" for at in hers & there.keys())
        assert not any(killing.SUBJECT.encode() in (each.body or b"") for each in there.values())
        assert {change.state for change in archive.compact()} == {"unchanged"}
        assert killing.erase(archive) == []


@pytest.fixture
def shelf(folder_environ: dict[str, str], tmp_path: Path) -> Shelf:
    apps = {"shop": {"source": "github", "signature": "require", "secrets": [SECRET]}}
    (tmp_path / "apps.json").write_text(json.dumps(apps))
    return Shelf({**folder_environ, "APPS_FILE": str(tmp_path / "apps.json")})


@pytest.mark.parametrize("seed", range(5))
def test_it_survives_ten_kills_of_compactor_readmission_and_erasure(shelf, seed):
    chance = Random(seed)
    kills = 0
    for n in range(10):
        shelf.receive(n)
        while True:
            do = chance.choice(WRITERS)
            at, after = chance.randrange(2, 60), chance.random() < 0.5
            if killing.is_killed(shelf.environ, NOW, do, at=at, after=after):
                break
            shelf.receive(10 + kills)  # it came to its end: there has to be something to do
        kills += 1
        shelf.check_chain()
        shelf.check_named()
    shelf.finish()

    assert kills == 10
    shelf.check_whole()


@pytest.mark.parametrize(("first", "second"), list(product(WRITERS, WRITERS)))
def test_two_writers_at_once_lose_nothing_of_each_other(shelf, first, second, tmp_path):
    for n in range(3):
        shelf.receive(n)
    killing.DO["compact"](shelf.archive())
    shelf.receive(5)
    shelf.receive(0, late=True)  # into a day that has a file
    whole = shelf.copy(tmp_path / "whole").environ
    requests = len(requests_of(whole, moment(NOW), killing.DO[first]))
    for at in range(2, requests, max(requests // 5, 1)):
        each = shelf.copy(tmp_path / f"at-{at}")
        store = hooked(lambda each=each: killing.DO[second](each.archive()), at)
        killing.DO[first](each.archive(open_store=store))
        each.check_chain()
        each.finish()
        each.check_whole()
