"""The CloudFormation stack of a stage: what it is, what it does, and waiting for it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import ClientError

from chalicelib.errors import HookshelfError
from chalicelib.types import Json
from hookshelf.deploy.progress import Progress

METADATA = "hookshelf"  # where our templates say what they were made with
STACK_POLL_INTERVAL = 3  # seconds
MAX_POLLS = 10  # of a stack at rest, until it says that it has done what was asked
# Nothing can be updated from here; the stack has to be deleted and made anew.
UNRECOVERABLE = (
    "CREATE_FAILED",
    "DELETE_FAILED",
    "REVIEW_IN_PROGRESS",
    "ROLLBACK_COMPLETE",
    "ROLLBACK_FAILED",
)


class StackFailed(HookshelfError):
    """CloudFormation could not do what was asked of it."""


class StackEvent(NamedTuple):
    """Something that happened to one resource of the stack."""

    id: str
    resource: str  # its logical id
    status: str
    reason: str


class StackResource(NamedTuple):
    """One resource of the stack."""

    logical_id: str
    type: str
    physical_id: str

    def __str__(self) -> str:
        return f"{self.logical_id} ({self.type}) {self.physical_id}".rstrip()


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
        """The template it was last made with; empty where there is none, or none of ours."""
        if not self.status():
            return {}
        response = self._client.get_template(StackName=self.name, TemplateStage="Original")
        # botocore reads JSON itself. There is no body while the stack is in review, and what is
        # still text is YAML, which is none of ours.
        body = response.get("TemplateBody")
        template: Json = json.loads(json.dumps(body)) if isinstance(body, dict) else {}
        return template

    def resources(self) -> list[StackResource]:
        """What there is of it, by logical id; all pages: a stack may have hundreds of alarms."""
        pages = self._client.get_paginator("list_stack_resources").paginate(StackName=self.name)
        return sorted(
            StackResource(
                summary["LogicalResourceId"],
                summary["ResourceType"],
                summary.get("PhysicalResourceId", ""),
            )
            for page in pages
            for summary in page["StackResourceSummaries"]
            if summary.get("ResourceStatus") != "DELETE_COMPLETE"
        )

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

    def wait(self, since: str = "") -> Iterator[StackEvent]:
        """The events after `since` as they come, until what was asked for after it has ended.

        That is when the stack is gone, or one of its events says so: just after a call its status
        may still be that of before. https://github.com/dcos/dcos-launch/pull/113
        """
        own, polls_at_rest = "", 0
        while status := self.status():
            events = self._events_after(since)
            yield from events
            since = events[-1].id if events else since
            own = next(
                (event.status for event in reversed(events) if event.resource == self.name), own
            )
            polls_at_rest = 0 if _is_at_work(status) or _is_at_work(own) else polls_at_rest + 1
            if polls_at_rest and (own or polls_at_rest == MAX_POLLS):
                return
            time.sleep(STACK_POLL_INTERVAL)

    def _events_after(self, since: str) -> Sequence[StackEvent]:
        """Oldest first."""
        return [*takewhile(lambda event: event.id != since, self._events())][::-1]

    def _events(self) -> Iterator[StackEvent]:
        """Newest first."""
        try:
            pages = self._client.get_paginator("describe_stack_events")
            for page in pages.paginate(StackName=self.name):
                for event in page["StackEvents"]:
                    yield StackEvent(
                        event["EventId"],
                        event["LogicalResourceId"],
                        event.get("ResourceStatus", ""),
                        event.get("ResourceStatusReason", ""),
                    )
        except ClientError as error:
            if "does not exist" not in str(error):
                raise


def stack_metadata(template: Json) -> Json:
    """What hookshelf wrote into a template of its own; empty for a stack that is not ours."""
    metadata: Json = template.get("Metadata", {}).get(METADATA, {})
    return metadata


def wait_until_idle(stack: Stack, progress: Progress) -> str:
    """Wait for whatever is under way, telling what happens; the status it ends in."""
    if stack.is_at_work():
        progress(f"Stack {stack.name} is still at work; waiting for it.")
        wait_and_report(stack, stack.last_event(), progress)
    return stack.status()


def wait_and_report(stack: Stack, since: str, progress: Progress) -> list[StackEvent]:
    """Tell what happens after an event until the stack is at rest; what failed, oldest first."""
    failed = []
    for event in stack.wait(since):
        progress(f"  {event.status:<28} {event.resource}")
        if event.status.endswith("_FAILED"):
            failed.append(event)
    return failed


def reason(failed: Sequence[StackEvent], stack: Stack) -> str:
    """Why something failed: the first event that did, else the stack's status."""
    return f"{failed[0].resource}: {failed[0].reason}" if failed else stack.status()


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
