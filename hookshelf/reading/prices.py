"""What keeping and following an archive costs: S3 Standard in us-east-1, first 50 TB, list price.

https://aws.amazon.com/s3/pricing/
"""

from __future__ import annotations

from hookshelf.reading.values import Status

_DOLLARS_PER_GB_MONTH = 0.023
_DOLLARS_PER_LIST = 0.005 / 1_000
_DAY = 86_400  # seconds


def dollars_a_month(status: Status) -> float:
    """What storing it costs, without requests."""
    return (status.bytes + status.file_bytes) / 1e9 * _DOLLARS_PER_GB_MONTH


def following_in_words(lists: int, every: float) -> str:
    """What looking `every` so many seconds costs, with so many LISTs each time."""
    dollars = lists * _DAY / every * _DOLLARS_PER_LIST
    return f"{lists} LISTs each time, on S3 ${dollars:,.2f} a day at list price."
