"""What a million deliveries cost, and keeping them: ours as docs/deploying.md adds it up, beside
what peers ask for the same.

A delivery has a body of 1 KiB, and all million come in one month. Prices are list prices, without
free tiers of AWS, discounts and taxes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DELIVERIES = 1_000_000
BODY = 1024  # bytes
# What an API and a function of ours in front of anything else would cost: as docs/deploying.md.
IN_FRONT = 3.50 + 0.20 + 0.08
DEPLOYING = Path(__file__).parents[1] / "docs" / "deploying.md"
AS_KNOWN = "as known on 2026-11-21"


@dataclass(frozen=True)
class Cost:
    """What somebody asks, in US dollars."""

    who: str
    million: float | None  # for a million deliveries in a month; None: no price is published
    month: float | None  # for each month more that they are kept; None: they are not
    keeps: str
    source: str  # Markdown: the price list, and when it was read


def metered(fixed: float, included: int, each: float) -> float:
    """A plan's price for a million: `included` are in `fixed`, the others cost `each`."""
    return fixed + (DELIVERIES - included) * each


def gigabytes(size: int) -> float:
    """A million times so many bytes."""
    return DELIVERIES * size / 1e9


# Hookdeck's and Svix's pages were read on 2026-09-20 by the transcripts that are named.
HOOKDECK = (
    "[hookdeck.com/pricing](https://hookdeck.com/pricing), "
    "[as read on 2026-09-20](https://github.com/api-evangelist/hookdeck)"
)
SVIX = (
    "[svix.com/pricing](https://www.svix.com/pricing/), "
    "[as read on 2026-09-20](https://github.com/api-evangelist/svix)"
)
PEERS = (
    Cost("Hookdeck, Team", metered(39, 10_000, 1 / 100_000), None, "7 days", HOOKDECK),
    Cost("Hookdeck, Growth", metered(499, 10_000, 1 / 100_000), None, "30 days", HOOKDECK),
    Cost("Svix, Free and metered", metered(0, 50_000, 0.0001), None, "30 days", SVIX),
    Cost("Svix, Professional", metered(490, 50_000, 0.0001), None, "90 days", SVIX),
    Cost(
        "CloudWatch Logs, behind the same API",
        IN_FRONT + gigabytes(BODY) * (0.50 + 0.03),
        gigabytes(BODY) * 0.03,
        "for ever, as text",
        f"[CloudWatch](https://aws.amazon.com/cloudwatch/pricing/), {AS_KNOWN}",
    ),
    Cost(
        "Data Firehose, behind the same API",
        IN_FRONT + gigabytes(5_000) * 0.029 + gigabytes(BODY) * 0.023,  # it counts 5 kB for each
        gigabytes(BODY) * 0.023,
        "for ever, many joined in one object",
        f"[Firehose](https://aws.amazon.com/firehose/pricing/), {AS_KNOWN}",
    ),
    Cost(
        "SendGrid's Email Activity",
        None,
        None,
        "30 days at most",
        "an add-on that [its page](https://www.twilio.com/docs/sendgrid/ui/analytics-and-reporting/"
        "email-activity-feed) names no price of",
    ),
    Cost(
        "Splunk Cloud",
        None,
        None,
        "as agreed",
        "[on request](https://www.splunk.com/en_us/products/pricing.html)",
    ),
)


def ours(page: str = "") -> Cost:
    """Ours, from the tables of docs/deploying.md; tests hold those to their formulas."""
    page = page or DEPLOYING.read_text(encoding="utf-8")
    costs = page.partition("\n## Costs\n")[2]
    totals = [float(total) for total in re.findall(r"\*\*total\*\* \| \| \*\*([\d.]+)\*\*", costs)]
    storage = re.findall(r"^\| S3, storage[^|]*\|[^|]*\| ([\d.]+) \|$", costs, re.MULTILINE)
    if len(totals) != 2 or len(storage) != 2:
        raise ValueError("docs/deploying.md has no longer two tables of costs, each with storage")
    return Cost(
        "hookshelf, compacted too",
        sum(totals),
        sum(map(float, storage)),
        "for ever, in your bucket",
        "[Costs](deploying.md#costs)",
    )


def as_markdown() -> str:
    """The table, for docs/proof.md."""
    lines = [
        "| A million deliveries of 1 KiB | in their month | each month more | kept | price list |",
        "| --- | --: | --: | --- | --- |",
    ]
    for cost in (ours(), *PEERS):
        million = "not published" if cost.million is None else f"${cost.million:,.2f}"
        month = "–" if cost.month is None else f"${cost.month:,.2f}"
        lines.append(f"| {cost.who} | {million} | {month} | {cost.keeps} | {cost.source} |")
    return "\n".join(lines)
