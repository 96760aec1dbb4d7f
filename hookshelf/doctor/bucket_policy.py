"""What the statements of a bucket policy refuse. Plain values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from chalicelib.keys import EVENTS_FOLDER, DeliveryKey
from chalicelib.types import Json
from hookshelf.doctor.policy_coverage import covers, listed


def some_delivery(prefix: str) -> str:
    """The key of some delivery."""
    return str(DeliveryKey(prefix, "shop", datetime(2026, 1, 1, tzinfo=UTC), "0" * 64, "json"))


def denies_everybody(
    statement: Json, action: str, resources: Sequence[str], condition: Json
) -> bool:
    """Whether it denies an action on all these ARNs, to everybody, on this one condition."""
    actions = listed(statement.get("Action", ()))
    return (
        statement.get("Effect") == "Deny"
        and statement.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
        and any(covers(name.lower(), action.lower()) for name in actions)
        and all(_is_about(statement, arn) for arn in resources)
        and _condition(statement) == condition
    )


def forbids_overwriting(policy: Sequence[Json], below: str) -> bool:
    """Whether a statement refuses plain puts of any delivery, of whatever app, below an ARN."""
    condition = {"Null": {"s3:if-none-match": "true"}}
    return any(
        denies_everybody(statement, "s3:PutObject", [], condition)
        and _spares_no_delivery(statement, below)
        for statement in policy
    )


def _spares_no_delivery(statement: Json, below: str) -> bool:
    """Whether it spares nothing below there but what no delivery's key has a segment for.

    That is what begins with `_`, as where the refused bodies are, and what is put there is proved;
    and the compacted files, which are made again from the deliveries.
    """
    if "Resource" in statement:
        return any(covers(pattern, f"{below}*") for pattern in listed(statement["Resource"]))
    for pattern in listed(statement.get("NotResource", ())):
        begin = re.split(r"[*?]", pattern)[0]
        is_beside_deliveries = "/_" in pattern or f"/{EVENTS_FOLDER}/" in pattern
        if not is_beside_deliveries and (begin.startswith(below) or below.startswith(begin)):
            return False
    return True


def _is_about(statement: Json, arn: str) -> bool:
    patterns = listed(statement.get("Resource", statement.get("NotResource", ())))
    return any(covers(pattern, arn) for pattern in patterns) == ("Resource" in statement)


def _condition(statement: Json) -> Json:
    """A condition with texts as values, without the one that lets parts of uploads pass.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
    """
    condition = {
        operator: {
            key: "".join(map(str, value if isinstance(value, list) else [value])).lower()
            for key, value in values.items()
        }
        for operator, values in statement.get("Condition", {}).items()
    }
    if condition.get("Bool") == {"s3:ObjectCreationOperation": "true"}:
        del condition["Bool"]
    return condition
