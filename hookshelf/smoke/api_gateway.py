"""What API Gateway does with requests and with its stage."""

from __future__ import annotations

import gzip
import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from chalicelib.responses import INVALID_TOKEN, MAX_BODY, NO_SUCH_PATH, TOO_LARGE
from hookshelf.deploy.template import gateway_responses
from hookshelf.smoke.registry import Outcome, smoke_check
from hookshelf.smoke.target import JSON, SMOKE_APP, Target, asks_to_retry
from hookshelf.web import HttpRequest, HttpResponse, Unreachable, unreadable, unusual_json

BYTES = "application/octet-stream"
TOO_LARGE_SIZES = (MAX_BODY + 1, 6_000_000, 11_000_000)  # ours to refuse, Lambda's, API Gateway's
BURST = 8  # at once; few, as a new account runs ten functions at most
DEPLOYMENT_DELAY = 10.0  # seconds in which a new deployment of the API comes to be served
ACCEPTS = (None, "*/*", "application/json", "application/octet-stream", "text/html, */*;q=0.1")
WRONG_TOKEN = "smoke-a-token-that-no-stage-has"
ALL = "*/*"  # method and path of the settings for every method


@smoke_check(
    "Stage variables survive a redeploy after `token rotate`",
    "both tokens 200, a wrong one 403, variables unchanged",
)
def survives_redeploy(target: Target) -> Outcome:
    """`hookshelf deploy` updates the stack; a token made in between is not its own."""
    target.rotate()
    before = target.variables()
    target.redeploy()
    return _survived(target, before)


@smoke_check(
    "Stage variables survive a forced new deployment of the API",
    "both tokens 200, a wrong one 403, variables unchanged",
)
def survives_new_deployment(target: Target) -> Outcome:
    """As by the console's own button, which no stack knows of."""
    before = target.variables()
    target.client("apigateway").create_deployment(**target.stage)
    target.sleep(DEPLOYMENT_DELAY)
    return _survived(target, before)


def _survived(target: Target, before: dict[str, str]) -> Outcome:
    is_same = target.variables() == before
    valid = [target.status(token) for token in target.tokens]
    wrong = target.status(secrets.token_urlsafe(32), wanted=403)
    listed = ", ".join(map(str, valid))
    seen = f"tokens {listed}; wrong {wrong}; variables {'unchanged' if is_same else 'CHANGED'}"
    return Outcome(seen, is_same and wrong == 403 and set(valid) == {200})


@smoke_check(
    "A request without an Accept header",
    "200, one object, and the response names its key",
)
def no_accept(target: Target) -> Outcome:
    """With binary types, API Gateway may respond with 400 after the function has stored it."""
    body = unusual_json(SMOKE_APP)
    response = target.post(body, accept=None)
    keys = target.keys(body)
    seen = f"{response.status}, objects: {len(keys)}"
    if fault := unreadable(response):
        return Outcome(f"{seen}; {fault}", False)
    is_named = [response.text("key")] == keys
    seen += f"; key {'named' if is_named else 'NOT named'}"
    return Outcome(seen, response.status == 200 and is_named)


@smoke_check(
    "The response whatever the Accept header",
    "stored, refused and a handshake: the same text for every Accept, and for none",
)
def whatever_accept(target: Target) -> Outcome:
    """A response that stays in base64 can be read by nobody, and a handshake then fails."""
    faults = []
    for accept in ACCEPTS:
        stored = target.post(unusual_json(SMOKE_APP), accept=accept)
        refused = target.post(unusual_json(SMOKE_APP), accept=accept, token=WRONG_TOKEN)
        challenge = secrets.token_hex(8)
        query = {"hub.mode": "subscribe", "hub.challenge": challenge}
        handshake = target.get("meta", accept=accept, **query)
        wrong = [
            name
            for name, is_right in {
                "stored": stored.text("result") == "success" and stored.text("key"),
                "refused": refused.json == INVALID_TOKEN.body,
                "handshake": handshake.body == challenge.encode(),
            }.items()
            if not is_right
        ]
        if wrong:
            faults.append(f"{accept or 'none'}: NOT as they should be: {', '.join(wrong)}")
    return Outcome("; ".join(faults) or f"as they should be for {len(ACCEPTS)}", not faults)


@smoke_check(
    "API Gateway's own responses",
    "a path that there is not: readable JSON in our words, with an Accept header and without",
)
def responses_of_its_own(target: Target) -> Outcome:
    """How its templates come out with binary types is written nowhere."""
    seen, is_ok = [], True
    for name, headers in {"with": {"accept": "*/*"}, "without": {}}.items():
        url = f"{target.deployment.url}/no-such-path"
        response = target.request(HttpRequest("POST", url, headers, unusual_json(SMOKE_APP)))
        fault = unreadable(response) or ("" if response.json == NO_SUCH_PATH.body else "not ours")
        seen.append(f"{name} {response.status}{fault and f', {fault}'}")
        is_ok = is_ok and not fault
    return Outcome("; ".join(seen), is_ok)


@smoke_check(
    "Plain text both ways", "a text/plain body kept as sent; a handshake answered in plain text"
)
def plain_text(target: Target) -> Outcome:
    """Binary types may make API Gateway encode a response; the sender must hear it decoded."""
    body = f"no JSON, \N{SNOWMAN} {secrets.token_hex(8)}\r\n".encode()
    response = target.post(body, content_type="text/plain")
    is_kept = target.has_kept(body, response)
    challenge = secrets.token_hex(8)
    handshake = target.get("meta", **{"hub.mode": "subscribe", "hub.challenge": challenge})
    content_type = handshake.headers.get("content-type", "")
    is_plain = handshake.body == challenge.encode() and content_type.startswith("text/plain")
    seen = (
        f"body {response.status}, {_as_sent(is_kept)}; "
        f"handshake {handshake.status}, {'as text' if is_plain else 'NOT the text asked for'}"
    )
    return Outcome(seen, is_kept and is_plain and handshake.status == 200)


@smoke_check(
    "A compressed body",
    "gzip: 200, kept unpacked, what of its Content-Encoding arrives, recorded; "
    "br: recorded, and never stored as anything but what was sent",
)
def compressed(target: Target) -> Outcome:
    """API Gateway unpacks gzip: a signature over the packed bytes cannot be checked."""
    body = unusual_json(SMOKE_APP)
    packed = target.post(gzip.compress(body), encoding="gzip")
    is_unpacked = target.has_kept(body, packed)
    header = target.metadata(packed).get("h-content-encoding", "gone")
    unknown_body = unusual_json(SMOKE_APP)
    unknown = target.post(unknown_body, encoding="br")
    is_harmless = unknown.status != 200 or target.has_kept(unknown_body, unknown)
    seen = (
        f"gzip {packed.status}, kept {'unpacked' if is_unpacked else 'NOT unpacked'}, "
        f"Content-Encoding {header}; br {unknown.status}"
    )
    return Outcome(seen, is_unpacked and is_harmless)


@smoke_check("All 256 byte values", "200, kept byte for byte")
def every_byte(target: Target) -> Outcome:
    """What is decoded as UTF-8 on the way is not the same afterwards."""
    return _kept_exactly(target, bytes(range(256)) + secrets.token_bytes(16))


@smoke_check("A body of the largest size", "200, kept byte for byte")
def largest(target: Target) -> Outcome:
    """In base64 it has to fit into Lambda's event."""
    return _kept_exactly(target, secrets.token_bytes(MAX_BODY))


def _kept_exactly(target: Target, body: bytes) -> Outcome:
    response = target.post(body, content_type=BYTES)
    is_kept = target.has_kept(body, response)
    return Outcome(f"{response.status}, {_as_sent(is_kept)}", is_kept)


def _as_sent(is_kept: bool) -> str:
    return "kept as sent" if is_kept else "NOT kept as sent"


@smoke_check(
    "Bodies above the largest size",
    "one byte more: 413 of ours; 6 MB and 11 MB: refused by AWS, whatever the status; none stored",
)
def too_large(target: Target) -> Outcome:
    """The statuses of AWS's own limits are recorded: senders hear them."""
    seen, is_ok = [], []
    for size in TOO_LARGE_SIZES:
        body = secrets.token_bytes(size)
        status, reason = _refused(target, body)
        count = len(target.keys(body))
        is_ours = (status, reason) == (413, TOO_LARGE.reason)
        seen.append(f"{size:,} bytes {status or 'no response'}, objects: {count}")
        is_ok.append(
            count == 0 and (is_ours if size == TOO_LARGE_SIZES[0] else not 200 <= status < 300)
        )
    return Outcome("; ".join(seen), all(is_ok))


def _refused(target: Target, body: bytes) -> tuple[int, str]:
    try:
        response = target.post(body, content_type=BYTES)
    except Unreachable:  # the connection was closed while it was being sent
        return 0, ""
    return response.status, response.text("reason")


@smoke_check("More requests than the stage takes", "503 with Retry-After, and never 429")
def throttled(target: Target) -> Outcome:
    """The throttle is lowered to one a second, and put back."""
    with _throttle(target, 1, 1):
        responses = target.until(lambda: _burst(target), lambda them: any(map(_is_throttled, them)))
    refused = [response for response in responses if response.status != 200]
    statuses = sorted(response.status for response in responses)
    waits = sorted({response.headers.get("retry-after", "none") for response in refused})
    count = ", ".join(f"{statuses.count(status)} × {status}" for status in dict.fromkeys(statuses))
    seen = f"{count}; Retry-After {', '.join(waits) or 'none'}"
    return Outcome(seen, bool(refused) and all(map(_is_throttled, refused)))


def _is_throttled(response: HttpResponse) -> bool:
    """Whether it is what the stack tells API Gateway to say, and not ours or API Gateway's own."""
    words = gateway_responses()["THROTTLED"]["responseTemplates"][JSON]
    return response.json == json.loads(words) and asks_to_retry(response)


def _burst(target: Target) -> list[HttpResponse]:
    with ThreadPoolExecutor(BURST) as pool:
        return list(pool.map(target.post, [unusual_json(SMOKE_APP) for _ in range(BURST)]))


@contextmanager
def _throttle(target: Target, rate: float, burst: int) -> Iterator[None]:
    """Another throttle for the moment; afterwards, wait until a burst is taken again."""
    api = target.client("apigateway")
    before = api.get_stage(**target.stage).get("methodSettings", {}).get(ALL, {})
    _set_throttle(target, rate, burst)
    try:
        yield
    finally:
        _set_throttle(target, before["throttlingRateLimit"], before["throttlingBurstLimit"])
        target.until(
            lambda: _burst(target), lambda them: all(response.status == 200 for response in them)
        )


def _set_throttle(target: Target, rate: float, burst: int) -> None:
    """https://docs.aws.amazon.com/apigateway/latest/api/patch-operations.html"""
    values = {"rateLimit": rate, "burstLimit": burst}
    patches = [
        {"op": "replace", "path": f"/{ALL}/throttling/{name}", "value": str(value)}
        for name, value in values.items()
    ]
    target.client("apigateway").update_stage(**target.stage, patchOperations=patches)
