"""How the steps of a deploy are told: each as one line, to a callable that the caller hands in."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]


def silent(line: str) -> None:
    """Tell nobody."""
