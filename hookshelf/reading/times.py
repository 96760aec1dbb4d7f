"""Times as people write them: `14d`, `2026-11-20`, `2026-11-20T23:00`."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from hookshelf.reading.errors import BadQuestion

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Moment = str | date | datetime | timedelta | None


def since(value: Moment, now: datetime, tz: tzinfo = UTC) -> datetime | None:
    """The first moment meant, in UTC; a date is its midnight in `tz`. Raises BadQuestion."""
    return _moment(value, now, tz, timedelta(0))


def until(value: Moment, now: datetime, tz: tzinfo = UTC) -> datetime | None:
    """The first moment no longer meant, in UTC; a date is that whole day. Raises BadQuestion."""
    return _moment(value, now, tz, timedelta(days=1))


def milliseconds(moment: datetime) -> datetime:
    """What a compacted file keeps of a time."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def utc_text(moment: datetime) -> str:
    """`2026-11-20T23:50:01.123Z`, or with six digits where there are microseconds."""
    digits = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.astimezone(UTC).isoformat(timespec=digits).replace("+00:00", "Z")


def _moment(value: Moment, now: datetime, tz: tzinfo, whole_day: timedelta) -> datetime | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            value = _read(value)
        if isinstance(value, timedelta):
            return now - value
        if not isinstance(value, datetime):
            value = datetime.combine(value + whole_day, time())
        return (value if value.tzinfo else value.replace(tzinfo=tz)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadQuestion(
            f"{value!r} is neither a duration (14d), nor a date, nor a time (2026-11-20T23:00)"
        ) from None


def _read(text: str) -> date | datetime | timedelta:
    if ago := re.fullmatch(r"(\d{1,6})([smhdw])", text, re.ASCII):
        return timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        return date.fromisoformat(text)
    return datetime.fromisoformat(text)
