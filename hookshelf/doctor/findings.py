"""What the doctor says: plain values, and the one way to say that it could not look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from chalicelib.errors import HookshelfError

Level = Literal["ok", "warning", "failure"]  # from good to bad


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    id: str  # of the check
    level: Level
    what: str  # what is wrong, or that nothing is
    why: str  # why it matters
    fix: str = ""  # the command that fixes it; empty where nothing is wrong, or no command helps


class Result(NamedTuple):
    """What one check yields; `ok`, `warning` and `failure` make one."""

    level: Level
    what: str
    fix: str = ""


class NotChecked(HookshelfError):
    """A check cannot be made; the text says why, and `fix` what would let it."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.fix = fix


def ok(what: str) -> Result:
    """All is well, and there is more to say of it."""
    return Result("ok", what)


def warning(what: str, fix: str) -> Result:
    """It works, and should be fixed; or it could not be looked at."""
    return Result("warning", what, fix)


def failure(what: str, fix: str) -> Result:
    """It does not work, or not safely."""
    return Result("failure", what, fix)
