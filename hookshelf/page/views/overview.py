"""What there is: how much came when, of what kind, how fresh it is, and what keeping it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from chalicelib.metadata import decode
from hookshelf.page.charts import Chart, chart
from hookshelf.page.figures import Figure, Figures
from hookshelf.page.question import Question
from hookshelf.page.views import Export, Page, PageView
from hookshelf.reading.prices import dollars_a_month
from hookshelf.reading.values import Read, Status

_MOST_REFUSED = 500  # deliveries that are looked at for their reasons; each is a request
_ARRIVED = "strftime(arrived, '%Y-%m-%d')"


@dataclass(frozen=True, slots=True)
class Counts:
    """What the charts show, in numbers."""

    by_day_and_type: dict[tuple[str, str], int]
    repeats: int
    by_verdict: dict[str, int]
    deliveries_by_day: dict[tuple[str, str], int]
    refused: dict[tuple[str, str], int]  # by app and reason
    is_refused_partial: bool
    rows: tuple[dict[str, Any], ...]  # by day and type, as `hookshelf count` gives them
    read: Read

    @property
    def events(self) -> Chart:
        """Events by day and type."""
        return chart(self.by_day_and_type)

    @property
    def deliveries(self) -> Chart:
        """Deliveries by day and app."""
        return chart(self.deliveries_by_day)


def _page(question: Question, figures: Figures) -> Page:
    read = Read()
    statuses = question.archive.status(app=question.app, read=read)
    counted = _counted(question, figures, statuses)
    values = {
        "statuses": [(status, dollars_a_month(status)) for status in statuses],
        "dollars": sum(map(dollars_a_month, statuses)),
        "bytes": sum(status.bytes + status.file_bytes for status in statuses),
        "objects": sum(status.deliveries for status in statuses),
        "events": sum(status.events or 0 for status in statuses),
        "counted": counted,
        "counts": counted.value if counted else None,
        "raw_objects": sum(status.raw_objects for status in statuses),
    }
    return Page("Overview", values, question.command("count", by="day,type"), read)


def _export(question: Question, figures: Figures) -> Export:
    statuses = question.archive.status(app=question.app)
    counted = _counted(question, figures, statuses, wait_for=None)
    assert counted is not None  # it was waited for
    return Export(("day", "type", "events", "repeats"), counted.value.rows)


def _counted(
    question: Question, figures: Figures, statuses: Sequence[Status], **options: Any
) -> Figure | None:
    asked = (question.app, question.given.get("since"), question.given.get("until"), question.tz)
    # A range that is relative to now moves on, though nothing arrives.
    is_fixed = question.since is None and question.until is None
    minute = None if is_fixed else question.now.replace(second=0, microsecond=0)
    return figures.get(asked, (minute, *statuses), lambda: _count(question), **options)


def _count(question: Question) -> Counts:
    asked: dict[str, Any] = {
        "app": question.app,
        "since": question.since,
        "until": question.until,
    }
    archive = question.archive
    counted = archive.count(["day", "type", "verdict"], **asked)
    rows: dict[tuple[str, str], Counter[str]] = {}
    verdicts: Counter[str] = Counter()
    for row in counted.rows:
        sums = rows.setdefault((row["day"], row["type"]), Counter())
        sums.update(events=row["events"], repeats=row["repeats"])
        verdicts[row["verdict"]] += row["events"]
    refused = archive.refused(**asked)
    looked_at = list(islice(refused, _MOST_REFUSED + 1))
    reasons = Counter(
        (delivery.app, decode((delivery.metadata or {}).get("reason", "")))
        for delivery in looked_at[:_MOST_REFUSED]
    )
    return Counts(
        by_day_and_type={of: sums["events"] for of, sums in rows.items()},
        repeats=sum(sums["repeats"] for sums in rows.values()),
        by_verdict=dict(verdicts.most_common()),
        deliveries_by_day=_deliveries(question),
        refused=dict(reasons.most_common()),
        is_refused_partial=len(looked_at) > _MOST_REFUSED,
        rows=tuple({"day": day, "type": type, **sums} for (day, type), sums in rows.items()),
        read=counted.read,
    )


def _deliveries(question: Question) -> dict[tuple[str, str], int]:
    """How many deliveries arrived, by day (UTC) and app."""
    bounds = ((">=", question.since), ("<", question.until))
    conditions = [f"arrived {op} '{at:%Y-%m-%d %H:%M:%S.%f}'" for op, at in bounds if at]
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = question.archive.query(
        f"SELECT {_ARRIVED}, app, count(*) FROM deliveries {where} GROUP BY ALL ORDER BY ALL",
        app=question.app,
    )
    return {(day, app): count for day, app, count in rows}


VIEW = PageView("overview", "/", _page, _export, heading="Overview", order=1)
