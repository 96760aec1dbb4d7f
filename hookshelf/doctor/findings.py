"""What a check says, and how checks become known: each is a function under `@check`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from chalicelib.settings import SettingError

if TYPE_CHECKING:
    from hookshelf.doctor.facts import Facts

Level = Literal["ok", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's."""

    id: str  # of the check
    level: Level
    what: str  # what is wrong, or that it is not
    why: str  # why it matters
    mend: str = ""  # the command or setting that mends it; empty where it is well


class Said(NamedTuple):
    """What a check found; `ok`, `warning` and `failure` make one."""

    level: Level
    what: str
    mend: str = ""


class Check(NamedTuple):
    """One thing that the doctor looks at."""

    id: str
    good: str  # what is said where nothing is wrong
    why: str
    run: Callable[[Facts], Iterable[Said]]


class NotChecked(Exception):
    """A check cannot be made; the text says why, and `mend` what would let it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.mend = mend


CHECKS: list[Check] = []  # in the order in which they are made


def check(id: str, *, good: str, why: str) -> Callable[..., Any]:
    """Make a function of Facts, which gives what it found, a check."""

    def register(run: Callable[[Facts], Iterable[Said]]) -> Callable[[Facts], Iterable[Said]]:
        CHECKS.append(Check(id, good, why, run))
        return run

    return register


def ok(what: str) -> Said:
    """All is well, and there is more to say of it."""
    return Said("ok", what)


def warning(what: str, mend: str) -> Said:
    """It works, and should be mended; or it could not be looked at."""
    return Said("warning", what, mend)


def failure(what: str, mend: str) -> Said:
    """It does not work, or not safely."""
    return Said("failure", what, mend)


def made(one: Check, facts: Facts) -> list[Finding]:
    """Make a check: its faults, or one line that says that there are none."""
    said = list(each([facts], one.run))
    faults = [Finding(one.id, it.level, it.what, one.why, it.mend) for it in said if it.mend]
    if faults:
        return faults
    good = " ".join(it.what for it in said) or one.good
    return [Finding(one.id, "ok", good, one.why)]


def each(things: Iterable[Any], run: Callable[[Any], Iterable[Said]]) -> Iterator[Said]:
    """Make a check of each of several things: that one cannot be seen does not hide the others."""
    for thing in things:
        try:
            yield from run(thing)
        except NotChecked as error:
            yield warning(f"Not checked: {error}", error.mend)
        except SettingError as error:
            yield warning(f"Not checked: {error}", "Mend the setting first.")
