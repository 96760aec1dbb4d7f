"""The CloudFormation stack of a stage: what it is, what it does, and waiting for it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import boto3
import click
from botocore.exceptions import ClientError

SECONDS = 3  # between two looks
PATIENCE = 10  # looks at a stack at rest, until it says that it has done what was asked
# Nothing can be updated from here; the stack has to be deleted and made anew.
BROKEN = (
    "CREATE_FAILED",
    "DELETE_FAILED",
    "REVIEW_IN_PROGRESS",
    "ROLLBACK_COMPLETE",
    "ROLLBACK_FAILED",
)

Json = dict[str, Any]


class Event(NamedTuple):
    """Something that happened to one resource of the stack."""

    id: str
    resource: str  # its logical id
    status: str
    reason: str


class Stack:
    """One stack by name, there or not."""

    def __init__(self, name: str, cloudformation: Any = None) -> None:
        self.name = name
        self._client = cloudformation or boto3.client("cloudformation")

    def status(self) -> str:
        """CloudFormation's word for how it is; empty where there is no such stack."""
        try:
            [stack] = self._client.describe_stacks(StackName=self.name)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):  # a ValidationError, as are others
                return ""
            raise
        status: str = stack["StackStatus"]
        return "" if status == "DELETE_COMPLETE" else status

    def is_at_work(self) -> bool:
        """Whether CloudFormation is changing it just now."""
        return _is_at_work(self.status())

    def template(self) -> Json:
        """The template it was last made with; empty where there is no such stack."""
        if not self.status():
            return {}
        body = self._client.get_template(StackName=self.name, TemplateStage="Original")
        found = body.get("TemplateBody") or {}  # botocore reads JSON itself; none while in review
        template: Json = found if isinstance(found, dict) else json.loads(found)
        return json.loads(json.dumps(template))

    def create(self, template: Mapping[str, str], parameters: Mapping[str, str | None]) -> None:
        """Begin to make it."""
        self._client.create_stack(
            StackName=self.name,
            **template,
            Parameters=_parameters(parameters),
            Capabilities=["CAPABILITY_IAM"],
        )

    def update(self, template: Mapping[str, str], parameters: Mapping[str, str | None]) -> bool:
        """Begin to change it; False where there is nothing to change."""
        try:
            self._client.update_stack(
                StackName=self.name,
                **template,
                Parameters=_parameters(parameters),
                Capabilities=["CAPABILITY_IAM"],
            )
        except ClientError as error:
            if "No updates are to be performed" in str(error):
                return False
            raise
        return True

    def delete(self) -> None:
        """Begin to take it down."""
        self._client.delete_stack(StackName=self.name)

    def last_event(self) -> str:
        """The id of the newest event; empty where there is none."""
        return next((event.id for event in self._events()), "")

    def wait(self, since: str = "") -> Iterator[Event]:
        """The events after `since` as they come, until what was asked for after it has ended.

        That is when the stack is gone, or one of its events says so: just after a call its status
        may still be that of before. https://github.com/dcos/dcos-launch/pull/113
        """
        own, rested = "", 0
        while status := self.status():
            events = self._after(since)
            yield from events
            since = events[-1].id if events else since
            own = next((one.status for one in reversed(events) if one.resource == self.name), own)
            rested = 0 if _is_at_work(status) or _is_at_work(own) else rested + 1
            if rested and (own or rested == PATIENCE):
                return
            time.sleep(SECONDS)

    def _after(self, since: str) -> Sequence[Event]:
        """Oldest first."""
        return [*takewhile(lambda event: event.id != since, self._events())][::-1]

    def _events(self) -> Iterator[Event]:
        """Newest first."""
        try:
            pages = self._client.get_paginator("describe_stack_events")
            for page in pages.paginate(StackName=self.name):
                for one in page["StackEvents"]:
                    yield Event(
                        one["EventId"],
                        one["LogicalResourceId"],
                        one.get("ResourceStatus", ""),
                        one.get("ResourceStatusReason", ""),
                    )
        except ClientError as error:
            if "does not exist" not in str(error):
                raise


def settle(stack: Stack) -> str:
    """Wait for whatever is under way, saying what happens; the status it ends in."""
    if stack.is_at_work():
        click.echo(f"Stack {stack.name} is still at work; waiting for it.", err=True)
        follow(stack, stack.last_event())
    return stack.status()


def follow(stack: Stack, since: str) -> list[Event]:
    """Say what happens until the stack is at rest; what failed, in the order it did."""
    failed = []
    for event in stack.wait(since):
        click.echo(f"  {event.status:<28} {event.resource}", err=True)
        if event.status.endswith("_FAILED"):
            failed.append(event)
    return failed


def _is_at_work(status: str) -> bool:
    """A stack in review waits for its change set, for ever if need be."""
    return status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS"


def _parameters(values: Mapping[str, str | None]) -> list[Json]:
    """None: the value that the stack has."""
    return [
        {"ParameterKey": name, "UsePreviousValue": True}
        if value is None
        else {"ParameterKey": name, "ParameterValue": value}
        for name, value in values.items()
    ]
