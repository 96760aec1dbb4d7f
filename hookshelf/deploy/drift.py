"""What was changed on AWS behind the stack: CloudFormation does not see it, and would leave it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import boto3

from chalicelib.errors import HookshelfError
from chalicelib.types import Json

# Of a function, what its template says in so many words.
PROPERTIES = ("Environment", "Handler", "MemorySize", "Runtime", "Timeout")


class Drift(NamedTuple):
    """A function that is not as a template has it."""

    function: str  # its name
    wanted: Json  # the properties that differ, as they should be

    def __str__(self) -> str:
        changed = ", ".join(self.wanted)
        return f"~ {self.function}, changed behind the stack, is restored ({changed})"


class ResourceDeleted(HookshelfError):
    """Something of the stack is there no longer, and no update brings it back."""

    def __init__(self, resource: str, stage: str) -> None:
        super().__init__(
            f"{resource} was deleted behind the stack, which cannot bring it back. Run hookshelf "
            f"destroy --stage {stage}, then deploy again: what is archived stays, "
            "the URL and the token will be new"
        )


def drifts(template: Json, stage: str) -> Iterator[Drift]:
    """The functions that differ from a stack's template. Raises ResourceDeleted."""
    client = boto3.client("lambda")
    for resource in template.get("Resources", {}).values():
        if resource["Type"] != "AWS::Lambda::Function":
            continue
        properties = resource["Properties"]
        name = properties["FunctionName"]
        try:
            live = client.get_function_configuration(FunctionName=name)
        except client.exceptions.ResourceNotFoundException:
            raise ResourceDeleted(f"Function {name}", stage) from None
        wanted = {key: properties[key] for key in PROPERTIES if key in properties}
        if different := {key: value for key, value in wanted.items() if live.get(key) != value}:
            yield Drift(name, different)


def restore(drift: Drift) -> None:
    """Make a function what its template says."""
    client = boto3.client("lambda")
    client.update_function_configuration(FunctionName=drift.function, **drift.wanted)
    client.get_waiter("function_updated_v2").wait(FunctionName=drift.function)
