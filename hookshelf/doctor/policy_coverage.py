"""Whether what one policy allows is allowed by another: plain values, wildcards on both sides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from chalicelib.types import Json


def statements(document: Json) -> list[Json]:
    """The statements of a policy, which may have one without a list around it."""
    value = document.get("Statement", [])
    return [value] if isinstance(value, dict) else value


def uncovered(statement: Json, by: Iterable[Json]) -> Iterator[tuple[str, str]]:
    """What a statement allows and none of `by` does: action and resource.

    `NotAction` and `NotResource` count as everything. A statement of `by` with a condition covers
    only what has that condition too.
    """
    covering = list(by)
    condition = statement.get("Condition", {})
    for action in listed(statement.get("Action", "*")):
        for resource in listed(statement.get("Resource", "*")):
            if not any(_allows(wide, action, resource, condition) for wide in covering):
                yield action, resource


def covers(wide: str, narrow: str) -> bool:
    """Whether whatever the pattern `narrow` matches, `wide` matches too.

    A `*` of `narrow` can only be covered by one of `wide`. In both `*` is any text, `?` one
    character, and all else itself.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
    """
    parts = {"*": ".*", "?": "[^*]"}
    pattern = "".join(parts.get(character) or re.escape(character) for character in wide)
    return re.fullmatch(pattern, narrow, re.DOTALL) is not None


def listed(value: Any) -> list[str]:
    """A value of a policy, which may be one text or a list of them."""
    return [value] if isinstance(value, str) else list(value)


def _allows(wide: Json, action: str, resource: str, condition: Json) -> bool:
    return (
        any(covers(name.lower(), action.lower()) for name in listed(wide.get("Action", ())))
        and any(covers(pattern, resource) for pattern in listed(wide.get("Resource", ())))
        and _includes(condition, wide.get("Condition", {}))
    )


def _includes(condition: Json, other: Json) -> bool:
    """Whether a condition demands all that the other does."""
    return all(
        sorted(listed(value)) == sorted(listed(condition.get(operator, {}).get(key, ())))
        for operator, demands in other.items()
        for key, value in demands.items()
    )
