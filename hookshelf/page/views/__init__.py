"""What there is to look at: each page is a module here, with a VIEW."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from hookshelf.page.figures import Figures
from hookshelf.page.question import Question
from hookshelf.reading.lines import csv_line, json_line
from hookshelf.reading.values import ArchivedEvent, Read


@dataclass(frozen=True)
class Page:
    """What a template is filled with."""

    title: str
    values: Mapping[str, Any]
    command: str  # the command line that answers the same; empty where none does
    read: Read | None = None  # what was read for it
    status: int = 200
    redirect: str = ""  # where to go instead


@dataclass(frozen=True)
class Export:
    """The rows of a page, all of them."""

    columns: Sequence[str]
    rows: Iterable[Any]  # mappings by column, unless `csv` and `json` know better
    csv: Callable[[Any], str] | None = None
    json: Callable[[Any], str] | None = None


@dataclass(frozen=True)
class PageView:
    """One page: its address, how it is answered, and its rows for other programs.

    `route` is Flask's, `parameters` are those of its query besides what every page has. It is
    rendered by the template of its `name`. `heading` is its entry in the navigation, if it has one.
    """

    name: str
    route: str
    page: Callable[[Question, Figures], Page]
    export: Callable[[Question, Figures], Export] | None = None
    heading: str = ""
    order: int = 0  # in the navigation
    parameters: tuple[str, ...] = field(default=())


def views() -> list[PageView]:
    """Every view there is, in the order of the navigation."""
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    return sorted((module.VIEW for module in modules), key=lambda view: view.order)


def events_export(events: Iterable[ArchivedEvent], columns: Sequence[str]) -> Export:
    """Events as `hookshelf find` writes them: JSON is exact."""
    return Export(columns, events, csv_line, json_line)
