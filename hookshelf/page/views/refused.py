"""What was refused and kept: when it came, why, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from chalicelib.metadata import decode
from hookshelf.page.figures import Figures
from hookshelf.page.question import Question
from hookshelf.page.views import Export, Page, PageView
from hookshelf.reading.values import ArchivedDelivery, Deliveries
from hookshelf.reading.words import UNKNOWN_REASON, advice

_ROWS = 50  # on a page
_COLUMNS = ("arrived", "app", "reason", "verdict", "bytes", "key", "bucket")


def _page(question: Question, figures: Figures) -> Page:
    refused = _refused(question)
    newest_first = sorted(refused, key=lambda delivery: delivery.arrived, reverse=True)
    deliveries = [_row(delivery) for delivery in newest_first]
    number = question.number("page")
    reasons = Counter(row["reason"] for row in deliveries)
    check = question.command("verify") + " --rejected"
    values = {
        "total": len(deliveries),
        "first": (number - 1) * _ROWS + 1,
        "rows": deliveries[(number - 1) * _ROWS : number * _ROWS],
        "reasons": [
            (reason or UNKNOWN_REASON, count, advice(reason, verify=check))
            for reason, count in reasons.most_common()
        ],
        "apps": sorted({row["app"] for row in deliveries}),
        "readmit": question.command("readmit"),
        "more": question.url("/refused", page=number + 1)
        if number * _ROWS < len(deliveries)
        else "",
    }
    return Page("Refused", values, question.command("refused"), refused.read)


def _export(question: Question, figures: Figures) -> Export:
    return Export(_COLUMNS, _exported(question))


def _exported(question: Question) -> Iterator[dict[str, Any]]:
    for delivery in _refused(question):
        row = _row(delivery)
        yield {name: row[name] for name in _COLUMNS} | {"arrived": delivery.arrived.isoformat()}


def refused_body(question: Question) -> ArchivedDelivery:
    """The refused delivery of a download. Raises NoSuchDelivery."""
    question.check(["key"])
    return question.archive.refused_delivery(question.given.get("key", ""))


def _refused(question: Question) -> Deliveries:
    return question.archive.refused(app=question.app, since=question.since, until=question.until)


def _row(delivery: ArchivedDelivery) -> dict[str, Any]:
    metadata = delivery.metadata or {}
    return {
        "arrived": delivery.arrived,
        "app": delivery.app,
        "reason": decode(metadata.get("reason", "")),
        "verdict": decode(metadata.get("verdict", "")),
        "bytes": delivery.size,
        "key": delivery.key,
        "bucket": delivery.bucket,
        "sha256": delivery.sha256,
        # The beginning tells what it was; the whole may be megabytes.
        "beginning": (delivery.body or b"")[:160].decode("utf-8", "backslashreplace"),
    }


VIEW = PageView("refused", "/refused", _page, _export, "Refused", order=4, parameters=("page",))
