"""One module per source; the folder is the registry.

A module here defines SOURCE. Its file name is the source's name, with `_` for `-`. Only the module
that is asked for is imported: nothing else is paid for on the way to S3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A kind of sender. Whatever is not said is as it is for plain JSON without signatures."""

    name: str
    signature_headers: tuple[str, ...] = ()  # all names in lower case
    id_headers: tuple[str, ...] = ()
    other_headers: tuple[str, ...] = ()

    @property
    def keep(self) -> tuple[str, ...]:
        """The request headers to keep beside a body, most important first.

        A closed list: never `authorization`, `cookie`, or anything that carries a secret.
        """
        usual = ("content-type", "content-encoding", "user-agent")
        return self.signature_headers + self.id_headers + usual + self.other_headers


@cache
def names() -> frozenset[str]:
    """The names of the sources there are."""
    return frozenset(module.name.replace("_", "-") for module in iter_modules(__path__))


@cache
def source_named(name: str) -> Source:
    """The source of that name. Raises KeyError where there is none."""
    if name not in names():
        raise KeyError(name)
    source: Source = import_module(f"{__name__}.{name.replace('-', '_')}").SOURCE
    return source


def source_of(app: str) -> Source:
    """The source of an app that nothing is configured for: its namesake, else generic."""
    return source_named(app if app in names() else "generic")
