"""The canary: deliveries posted to the live stage, which must refuse some and store the others.

What it stores stays, under an app of its own. The token is HOOKSHELF_TOKEN where that is set, else
a new one that is in the app's own stage variable only while the canary is out.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import tokens
from chalicelib.errors import HookshelfError
from chalicelib.keys import hour_prefix, rejected_prefix
from chalicelib.responses import INVALID_TOKEN
from chalicelib.routes import input_url
from hookshelf.deploy import stage_variables
from hookshelf.doctor.aws_reader import RUN_AGAIN, is_denied
from hookshelf.doctor.findings import Finding, NotChecked, Result, failure, ok, warning
from hookshelf.doctor.live_stage import LiveStage
from hookshelf.web import HttpRequest, HttpResponse, Unreachable, send, unreadable, unusual_json

CANARY_APP = "hookshelf-doctor"
VARIABLE = tokens.variable_name(CANARY_APP)
TOKEN_TIMEOUT = 60.0  # seconds until API Gateway knows a new token everywhere
TOKEN_RETRY_DELAY = 1.0  # seconds


class Canary:
    """One run: where to, for how many seconds a token may be refused, and since when."""

    def __init__(self, stage: LiveStage, url: str, token_timeout: float) -> None:
        self.stage = stage
        self.url = url
        self.token_timeout = token_timeout
        self.started = datetime.now(UTC)

    def refusals(self, token: str) -> Iterator[Result]:
        """Without the right token: 403, always the same, and nothing stored."""
        wrong_tokens = {"No": None, "An empty": "", "A wrong": secrets.token_urlsafe(32)}
        for name, wrong in wrong_tokens.items():
            body = unusual_json("canary")
            response = self._post(body, wrong)
            if response.status != 403:
                what = f"{name} token is answered with {response.status}, not 403."
                yield failure(what, self._logs)
            elif fault := unreadable(response):
                yield failure(f"{name} token: {fault}.", self._logs)
            elif response.json != INVALID_TOKEN.body:
                what = f"{name} token is answered with 403, and not in the words of every refusal."
                yield failure(what, self._logs)
            if key := self._find(body):
                what = f"{name} token, and the delivery was stored: {key}."
                yield failure(what, self._logs)

    def delivery(self, token: str, *, accept: bool = True) -> Iterator[Result]:
        """With the right token: 200, and the bytes are in the bucket, where the response says."""
        body = unusual_json("canary")
        end = time.monotonic() + self.token_timeout
        response = self._post(body, token, accept=accept)
        while response.status in (403, 503) and time.monotonic() < end:
            time.sleep(TOKEN_RETRY_DELAY)
            response = self._post(body, token, accept=accept)
        if response.status != 200:
            what = f"The right token is answered with {response.status}, not 200."
            yield failure(what, self._logs)
        elif fault := unreadable(response):
            yield failure(f"The right token: {fault}.", self._logs)
        elif set(response.json or ()) != {"result", "bucket", "key"}:
            what = "The response was 200, and names no bucket and key: it is not from hookshelf."
            yield failure(what, self._logs)
        else:
            bucket, key = response.text("bucket"), response.text("key")
            if self._read(bucket, key) == body:
                yield ok(f"A delivery was stored, and read back byte for byte: {bucket}/{key}.")
            else:
                what = (
                    f"The response was 200, and {bucket}/{key} does not hold the bytes that were "
                    "sent."
                )
                yield failure(what, self._logs)

    def _post(self, body: bytes, token: str | None, *, accept: bool = True) -> HttpResponse:
        """Post a delivery. Raises Unreachable."""
        query = {"app": CANARY_APP} | ({} if token is None else {"token": token})
        headers = {"content-type": "application/json"} | ({"accept": "*/*"} if accept else {})
        url = input_url(self.url.rstrip("/"), **query)
        return send(HttpRequest("POST", url, headers, body))

    def _find(self, body: bytes) -> str:
        """The key under which the archive has a body that was sent just now; empty if none."""
        digest = sha256(body).hexdigest()
        for path in self.stage.settings.bucket_paths:
            hours = {
                hour_prefix(path.prefix, CANARY_APP, at) for at in (self.started, datetime.now(UTC))
            }
            for prefix in (*sorted(hours), rejected_prefix(path.prefix, CANARY_APP)):
                where = {"Bucket": path.bucket, "Prefix": prefix}
                for obj in self.stage.aws.list_all("s3", "list_objects_v2", "Contents", **where):
                    if digest in obj["Key"]:
                        return f"{path.bucket}/{obj['Key']}"
        return ""

    def _read(self, bucket: str, key: str) -> bytes | None:
        """The bytes of an object; None where there is none. Raises NotChecked."""
        if not any(path.bucket == bucket for path in self.stage.settings.bucket_paths):
            return None
        obj = self.stage.aws.get("s3", "get_object", ["NoSuchKey"], Bucket=bucket, Key=key)
        if obj is None:
            return None
        with obj["Body"] as stream:
            content: bytes = stream.read()
        return content

    @property
    def _logs(self) -> str:
        """The command that shows what the function logged of it."""
        logging = self.stage.functions.get("api_handler", {}).get("LoggingConfig", {})
        name = self.stage.deployment.functions.get("api_handler", "hookshelf")
        group = logging.get("LogGroup", f"/aws/lambda/{name}")
        return f"aws logs tail {group} --since 10m; {self.stage.redeploy}"


class CanaryCheck(NamedTuple):
    """One thing that the canary tries, with a token that counts."""

    good: str
    why: str
    run: Callable[[Canary, str], Iterator[Result]]


CANARY_CHECKS: Mapping[str, CanaryCheck] = {
    "canary-refusals": CanaryCheck(
        "No token, an empty and a wrong one are answered with 403, and nothing is stored.",
        "Without a token that counts, anybody could fill the archive.",
        Canary.refusals,
    ),
    "canary-delivery": CanaryCheck(
        "A delivery was stored.",
        "This is what hookshelf is for: 200 means that the bytes are in the bucket.",
        Canary.delivery,
    ),
    "canary-no-accept": CanaryCheck(
        "A delivery was stored.",
        "Some senders send no Accept header; API Gateway could store, and then respond with 400, "
        "or in base64.",
        lambda canary, token: canary.delivery(token, accept=False),
    ),
}


def run_canary(
    stage: LiveStage,
    url: str | None,
    *,
    progress: Callable[[str], None],
    token_timeout: float = TOKEN_TIMEOUT,
) -> list[Finding]:
    """Send the canary to `url`, or to where the stage is; one finding or more for each check.

    `progress` is told, in a sentence, of what takes long. `token_timeout` is in seconds.
    """
    canary = Canary(stage, url or stage.deployment.url, token_timeout)
    findings = []
    try:
        with _borrowed_token(canary, progress) as token:
            for id, check in CANARY_CHECKS.items():
                findings += _findings(id, _run(canary, check, token))
    except NotChecked as error:  # no token, so nothing was tried
        for id in CANARY_CHECKS:
            findings += _findings(id, [warning(f"Not checked: {error}", error.fix)])
    return findings


def is_leftover(variables: Mapping[str, str]) -> bool:
    """Whether the canary's own variable is there, and not for HOOKSHELF_TOKEN."""
    if VARIABLE not in variables:
        return False
    try:
        tokens.check_token(variables, CANARY_APP, os.environ.get("HOOKSHELF_TOKEN"))
    except (tokens.NoToken, tokens.WrongToken):
        return True
    return False


@contextmanager
def _borrowed_token(canary: Canary, progress: Callable[[str], None]) -> Iterator[str]:
    """A token that will be accepted; a new one is taken out again, whatever happens."""
    stage = canary.stage
    if given := os.environ.get("HOOKSHELF_TOKEN"):
        with suppress(NotChecked):  # what is left may not be in the way
            if is_leftover(stage.variables):
                _write(stage, None)
        canary.token_timeout = 0
        yield given
        return
    token, member = stage_variables.new_token()
    progress("The canary's token may take API Gateway up to a minute to accept.")
    try:
        _write(stage, member)
        yield token
    finally:
        with suppress(NotChecked):  # the check canary-leftover tells of what is left
            _write(stage, None)


def _write(stage: LiveStage, member: str | None) -> None:
    """Set the canary's variable, or take it away. Raises NotChecked."""
    try:
        stage_variables.write(stage.deployment, {VARIABLE: member})
        return
    except ClientError as error:
        why = f"API Gateway responds with {error.response['Error']['Code']}"
        if is_denied(error):
            why = "your credentials lack the permission apigateway:PATCH"
    except (BotoCoreError, HookshelfError) as error:
        why = f"the stage variable {VARIABLE} cannot be set or taken out: {error}"
    raise NotChecked(why, f"Set HOOKSHELF_TOKEN to a token of the stage, and {RUN_AGAIN}.")


def _run(canary: Canary, check: CanaryCheck, token: str) -> list[Result]:
    results: list[Result] = []
    try:
        results.extend(check.run(canary, token))
    except NotChecked as error:
        results.append(warning(f"Not checked: {error}", error.fix))
    except Unreachable as error:
        what = f"{urlsplit(canary.url).hostname} cannot be reached: {error}."
        results.append(failure(what, "Look at the URL and the network."))
    return results or [ok(check.good)]


def _findings(id: str, results: list[Result]) -> list[Finding]:
    why = CANARY_CHECKS[id].why
    return [Finding(id, result.level, result.what, why, result.fix) for result in results]
