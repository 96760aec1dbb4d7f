"""The canary: deliveries posted to the live door, which must refuse some and store the others.

What it stores stays, under an app of its own. The token is HOOKSHELF_TOKEN where that is set, else
a new one that is in the app's own stage variable only while the canary is out.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode, urlsplit

import click
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import tokens
from chalicelib.errors import HookshelfError
from chalicelib.keys import hour_prefix, rejected_prefix
from hookshelf.deploy import stage_variables
from hookshelf.doctor.facts import AGAIN, Facts, denied
from hookshelf.doctor.findings import Finding, NotChecked, Said, check, each, failure, ok, warning
from hookshelf.web import Answer, Request, Unreachable, send

APP = "hookshelf-doctor"
VARIABLE = tokens.variable_name(APP)
PATIENCE = 60.0  # seconds until API Gateway knows a new token everywhere
PAUSE = 1.0

Json = dict[str, Any]


class Canary:
    """One flight: where to, with which token, and since when."""

    def __init__(self, facts: Facts, url: str, patience: float) -> None:
        self.facts = facts
        self.url = url
        self.patience = patience
        self.started = datetime.now(UTC)

    def post(self, body: bytes, token: str | None, *, accept: bool = True) -> Answer:
        """Post to the door. Raises Unreachable."""
        query = {"app": APP} | ({} if token is None else {"token": token})
        headers = {"content-type": "application/json"} | ({"accept": "*/*"} if accept else {})
        url = f"{self.url.rstrip('/')}/input?{urlencode(query)}"
        return send(Request("POST", url, headers, body))

    def refusals(self) -> Iterator[Said]:
        """Without the right token: 403, and nothing stored."""
        wrong = {"No": None, "An empty": "", "A wrong": secrets.token_urlsafe(32)}
        for what, token in wrong.items():
            body = new_body()
            answer = self.post(body, token)
            if answer.status != 403:
                said = f"{what} token is answered with {answer.status}, not 403."
                yield failure(said, self._logs)
            if key := self.find(body):
                yield failure(f"{what} token, and the delivery was stored: {key}.", self._logs)

    def delivery(self, token: str, *, accept: bool) -> Iterator[Said]:
        """With the right token: 200, and the bytes are in the bucket."""
        body = new_body()
        answer = self.accepted(lambda: self.post(body, token, accept=accept))
        if answer.status != 200:
            yield failure(f"The right token is answered with {answer.status}, not 200.", self._logs)
            return
        bucket, key = answer.said("bucket"), answer.said("key")
        if self.read(bucket, key) == body:
            yield ok(f"A delivery was stored, and read back byte for byte: {bucket}/{key}.")
        else:
            what = f"The answer was 200, and {bucket}/{key} does not hold the bytes that were sent."
            yield failure(what, self._logs)

    def accepted(self, post: Callable[[], Answer]) -> Answer:
        """Post until the door knows the token, or patience is at its end."""
        end = time.monotonic() + self.patience
        while (answer := post()).status in (403, 503) and time.monotonic() < end:
            time.sleep(PAUSE)
        return answer

    def find(self, body: bytes) -> str:
        """The key under which the archive has a body that was sent just now; empty if none."""
        digest = sha256(body).hexdigest()
        for place in self.facts.settings.bucket_paths:
            hours = {hour_prefix(place.prefix, APP, at) for at in (self.started, datetime.now(UTC))}
            for prefix in (*sorted(hours), rejected_prefix(place.prefix, APP)):
                where = {"Bucket": place.bucket, "Prefix": prefix}
                for found in self.facts.every("s3", "list_objects_v2", "Contents", **where):
                    if digest in found["Key"]:
                        return f"{place.bucket}/{found['Key']}"
        return ""

    def read(self, bucket: str, key: str) -> bytes | None:
        """The bytes of an object; None where there is none. Raises NotChecked."""
        if not any(place.bucket == bucket for place in self.facts.settings.bucket_paths):
            return None
        found = self.facts.ask("s3", "get_object", ["NoSuchKey"], Bucket=bucket, Key=key)
        if found is None:
            return None
        with found["Body"] as stream:
            content: bytes = stream.read()
        return content

    @property
    def _logs(self) -> str:
        found = self.facts.functions.get("api_handler", {}).get("LoggingConfig", {})
        usual = f"/aws/lambda/{self.facts.deployment.functions.get('api_handler', 'hookshelf')}"
        group = found.get("LogGroup", usual)
        return f"aws logs tail {group} --since 10m; {self.facts.redeploy}"


FLIGHTS: dict[str, tuple[str, Callable[[Canary, str], Iterator[Said]]]] = {  # id: why, how
    "canary-refusals": (
        "Without a token that counts, anybody could fill the archive.",
        lambda canary, token: canary.refusals(),
    ),
    "canary-delivery": (
        "This is what the door is for: 200 means that the bytes are in the bucket.",
        lambda canary, token: canary.delivery(token, accept=True),
    ),
    "canary-no-accept": (
        "Some senders send no Accept header; API Gateway would store, and answer 400.",
        lambda canary, token: canary.delivery(token, accept=False),
    ),
}
GOOD = "No token, an empty and a wrong one are answered with 403, and nothing is stored."


@check(
    "canary-leftover",
    good="No token of an interrupted canary is left.",
    why="It still lets in whoever has it.",
)
def leftover(facts: Facts) -> Iterator[Said]:
    """A canary that was killed left no token behind; the next one takes it out."""
    if is_leftover(facts.variables):
        what = f"The stage variable {VARIABLE} holds the token of an interrupted canary."
        yield warning(what, f"hookshelf doctor --canary --stage {facts.deployment.stage}")


def fly(facts: Facts, url: str | None, patience: float = PATIENCE) -> list[Finding]:
    """Send the canary out; a finding for each thing that it tries."""
    canary = Canary(facts, url or facts.deployment.url, patience)
    try:
        with borrowed_token(canary) as token:
            return [
                finding for id in FLIGHTS for finding in _findings(id, _flown(canary, id, token))
            ]
    except NotChecked as error:
        not_checked = warning(f"Not checked: {error}", error.mend)
        return [finding for id in FLIGHTS for finding in _findings(id, [not_checked])]


def new_body() -> bytes:
    """JSON that no program would write just so: whoever parses it and writes it again is caught."""
    return b'{ "canary" : "%s", "number":1.10 }\r\n' % secrets.token_hex(16).encode()


def is_leftover(variables: dict[str, str]) -> bool:
    """Whether the canary's own variable is there, and not for HOOKSHELF_TOKEN."""
    if VARIABLE not in variables:
        return False
    try:
        tokens.check_token(variables, APP, os.environ.get("HOOKSHELF_TOKEN"))
    except (tokens.NoToken, tokens.WrongToken):
        return True
    return False


@contextmanager
def borrowed_token(canary: Canary) -> Iterator[str]:
    """A token that the door will accept; a new one is taken out again, whatever happens."""
    facts = canary.facts
    if given := os.environ.get("HOOKSHELF_TOKEN"):
        with suppress(NotChecked):  # what is left may not be in the way
            if is_leftover(facts.variables):
                _write(facts, None)
        canary.patience = 0
        yield given
        return
    token, member = stage_variables.new_token()
    click.echo("The canary's token may take API Gateway up to a minute to accept.", err=True)
    try:
        _write(facts, member)
        yield token
    finally:
        with suppress(NotChecked):  # the check above tells of what is left
            _write(facts, None)


def _write(facts: Facts, member: str | None) -> None:
    """Set the canary's variable, or take it away. Raises NotChecked."""
    try:
        stage_variables.write(facts.deployment, {VARIABLE: member})
    except ClientError as error:
        why = "your credentials lack the permission apigateway:PATCH" if denied(error) else ""
        code = error.response["Error"]["Code"]
        raise _no_token(why or f"API Gateway answers with {code}") from None
    except (BotoCoreError, HookshelfError) as error:
        raise _no_token(
            f"the stage variable {VARIABLE} cannot be set or taken out: {error}"
        ) from None


def _no_token(why: str) -> NotChecked:
    return NotChecked(why, f"Set HOOKSHELF_TOKEN to a token of the stage, and {AGAIN}.")


def _flown(canary: Canary, id: str, token: str) -> list[Said]:
    _, run = FLIGHTS[id]
    try:
        return list(each([token], lambda it: run(canary, it)))
    except Unreachable as error:
        return [
            failure(
                f"The door at {urlsplit(canary.url).hostname} cannot be reached: {error}.",
                "Look at the URL and the network.",
            )
        ]


def _findings(id: str, said: list[Said]) -> list[Finding]:
    why, _ = FLIGHTS[id]
    return [Finding(id, one.level, one.what, why, one.mend) for one in said or [ok(GOOD)]]
