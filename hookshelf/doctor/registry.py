"""How checks are found and run: each module in `checks/` is imported, none is listed anywhere.

A check is a function of a LiveStage under `@doctor_check`, which yields a Result for each thing
that it has to say; nothing, where all is well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import NamedTuple, TypeVar

from chalicelib.settings import SettingError
from hookshelf.doctor import checks as folder
from hookshelf.doctor.findings import Finding, NotChecked, Result, warning
from hookshelf.doctor.live_bucket import LiveBucket
from hookshelf.doctor.live_stage import LiveStage

T = TypeVar("T")


class DoctorCheck(NamedTuple):
    """One thing that the doctor looks at."""

    id: str
    good: str  # what is said where nothing is wrong
    why: str
    run: Callable[[LiveStage], Iterable[Result]]


def doctor_check(
    id: str, *, good: str, why: str
) -> Callable[[Callable[[LiveStage], Iterable[Result]]], DoctorCheck]:
    """Make a function of a LiveStage a check."""
    return lambda run: DoctorCheck(id, good, why, run)


def bucket_check(
    id: str, *, good: str, why: str
) -> Callable[[Callable[[LiveBucket], Iterable[Result]]], DoctorCheck]:
    """Make a function of a LiveBucket a check of every bucket that is archived into."""
    return lambda run: DoctorCheck(id, good, why, lambda stage: run_for_each(stage.buckets, run))


@cache
def all_checks() -> tuple[DoctorCheck, ...]:
    """Every check there is: the folder's modules by name, and in each as they stand there."""
    modules = [import_module(f"{folder.__name__}.{m.name}") for m in iter_modules(folder.__path__)]
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, DoctorCheck)
    )


def run_check(check: DoctorCheck, stage: LiveStage) -> list[Finding]:
    """What is wrong by this check, or the one line that says that nothing is."""
    results = list(run_for_each([stage], check.run))
    faults = [result for result in results if result.level != "ok"]
    good = Result("ok", " ".join(result.what for result in results) or check.good)
    return [
        Finding(check.id, result.level, result.what, check.why, result.fix)
        for result in faults or [good]
    ]


def run_for_each(objects: Iterable[T], run: Callable[[T], Iterable[Result]]) -> Iterator[Result]:
    """Check several objects: that one of them cannot be seen does not hide the others."""
    for obj in objects:
        try:
            yield from run(obj)
        except NotChecked as error:
            yield warning(f"Not checked: {error}", error.fix)
        except SettingError as error:
            yield warning(f"Not checked: {error}", "Fix the setting first.")
