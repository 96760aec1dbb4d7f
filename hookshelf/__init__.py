"""What runs on your machine, in cron or as the compactor; never in the functions that receive."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hookshelf.reading import Archive

__all__ = ("Archive",)


def __getattr__(name: str) -> object:
    """Import what is asked for when it is asked for: `hookshelf --help` pays for none of it."""
    if name == "Archive":
        from hookshelf.reading import Archive

        return Archive
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
