"""Sizes, durations and days, as people say them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

_GAPS = 3  # that are named


def counted(count: int, noun: str) -> str:
    """`1 file`, `1,234 files`, `2 deliveries`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def in_bytes(count: float) -> str:
    """`812 bytes`, `14.6 MB`."""
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:,.1f} TB"


def in_words(duration: timedelta) -> str:
    """`3 weeks`, `40 hours`: in the largest unit of which there are two, or in minutes."""
    seconds = duration.total_seconds()
    for unit, length in (("weeks", 604_800), ("days", 86_400), ("hours", 3_600)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds // 60:.0f} minutes"


def gaps_in_words(gaps: Sequence[tuple[date, date]]) -> str:
    """`3 days (UTC): 2026-11-03 to 2026-11-05`; of many gaps the longest."""
    days = sum((end - start).days + 1 for start, end in gaps)
    longest = sorted(sorted(gaps, key=lambda gap: gap[0] - gap[1])[:_GAPS])
    named = (f"{start}" if start == end else f"{start} to {end}" for start, end in longest)
    more = f" and {len(gaps) - _GAPS:,} more" if len(gaps) > _GAPS else ""
    return f"{counted(days, 'day')} (UTC): {', '.join(named)}{more}"


def short_hash(delivery: str) -> str:
    """The first digits of the SHA-256 in a delivery's key; `hookshelf show` takes them."""
    return delivery.rpartition("-")[2][:8]
