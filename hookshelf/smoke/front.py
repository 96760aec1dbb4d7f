"""Checks 1 to 8: what API Gateway does with requests and with its stage."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from chalicelib.responses import MAX_BODY, TOO_LARGE
from hookshelf.smoke.registry import Seen, check
from hookshelf.smoke.world import World, new_body
from hookshelf.web import Answer, Unreachable

BYTES = "application/octet-stream"
BEYOND = (MAX_BODY + 1, 6_000_000, 11_000_000)  # ours to refuse, Lambda's, API Gateway's
BURST = 8  # at once; few, as a new account runs ten functions at most
SETTLING = 10.0  # seconds in which a new deployment of the API comes to be served
ALL = "*/*"  # method and path of the settings for every method


@check(
    "Stage variables survive a redeploy after `token rotate`",
    "both tokens 200, a wrong one 403, variables unchanged",
)
def survives_redeploy(world: World) -> Seen:
    """`hookshelf deploy` updates the stack; a token made in between is not its own."""
    world.rotate()
    before = world.variables()
    world.redeploy()
    return _survived(world, before)


@check(
    "Stage variables survive a forced new deployment of the API",
    "both tokens 200, a wrong one 403, variables unchanged",
)
def survives_new_deployment(world: World) -> Seen:
    """As by the console's own button, which no stack knows of."""
    before = world.variables()
    world.client("apigateway").create_deployment(**world.stage)
    world.sleep(SETTLING)
    return _survived(world, before)


def _survived(world: World, before: dict[str, str]) -> Seen:
    is_same = world.variables() == before
    valid = [world.status(token) for token in world.tokens]
    wrong = world.status(secrets.token_urlsafe(32), wanted=403)
    said = ", ".join(map(str, valid))
    seen = f"tokens {said}; wrong {wrong}; variables {'unchanged' if is_same else 'CHANGED'}"
    return Seen(seen, is_same and wrong == 403 and set(valid) == {200})


@check("A request without an Accept header", "200, one object")
def no_accept(world: World) -> Seen:
    """With binary types, API Gateway may answer 400 after the function has stored it."""
    body = new_body()
    answer = world.post(body, accept=False)
    count = len(world.keys(body))
    return Seen(f"{answer.status}, objects: {count}", answer.status == 200 and count == 1)


@check("Plain text both ways", "a text/plain body kept as sent; a handshake answered in plain text")
def plain_text(world: World) -> Seen:
    """Binary types make API Gateway encode every answer; the sender must hear it decoded."""
    body = f"no JSON, \N{SNOWMAN} {secrets.token_hex(8)}\r\n".encode()
    answer = world.post(body, content_type="text/plain")
    is_kept = world.has_kept(body, answer)
    challenge = secrets.token_hex(8)
    greeting = world.get("meta", **{"hub.mode": "subscribe", "hub.challenge": challenge})
    kind = greeting.headers.get("content-type", "")
    is_plain = greeting.body == challenge.encode() and kind.startswith("text/plain")
    seen = (
        f"body {answer.status}, {_as_sent(is_kept)}; "
        f"handshake {greeting.status}, {'as text' if is_plain else 'NOT the text asked for'}"
    )
    return Seen(seen, is_kept and is_plain and greeting.status == 200)


@check("All 256 byte values", "200, kept byte for byte")
def every_byte(world: World) -> Seen:
    """What is decoded as UTF-8 on the way is not the same afterwards."""
    return _kept_exactly(world, bytes(range(256)) + secrets.token_bytes(16))


@check("Exactly 4 MiB", "200, kept byte for byte")
def largest(world: World) -> Seen:
    """In base64 it has to fit into Lambda's event."""
    return _kept_exactly(world, secrets.token_bytes(MAX_BODY))


def _kept_exactly(world: World, body: bytes) -> Seen:
    answer = world.post(body, content_type=BYTES)
    is_kept = world.has_kept(body, answer)
    return Seen(f"{answer.status}, {_as_sent(is_kept)}", is_kept)


def _as_sent(is_kept: bool) -> str:
    return "kept as sent" if is_kept else "NOT kept as sent"


@check(
    "More than 4 MiB",
    "one byte more: 413 of ours; 6 MB and 11 MB: refused by AWS, whatever the status; none stored",
)
def too_large(world: World) -> Seen:
    """The statuses of AWS's own limits are recorded: senders hear them."""
    seen, is_ok = [], []
    for size in BEYOND:
        body = secrets.token_bytes(size)
        status, reason = _refused(world, body)
        count = len(world.keys(body))
        is_ours = (status, reason) == (413, TOO_LARGE.reason)
        seen.append(f"{size:,} bytes {status or 'no answer'}, objects: {count}")
        is_ok.append(count == 0 and (is_ours if size == BEYOND[0] else not 200 <= status < 300))
    return Seen("; ".join(seen), all(is_ok))


def _refused(world: World, body: bytes) -> tuple[int, str]:
    try:
        answer = world.post(body, content_type=BYTES)
    except Unreachable:  # the connection was closed while it was being sent
        return 0, ""
    return answer.status, answer.said("reason")


@check("More requests than the stage takes", "503 with Retry-After, and never 429")
def throttled(world: World) -> Seen:
    """The throttle is lowered to one a second, and put back."""
    with _throttle(world, 1, 1):
        answers = world.until(lambda: _burst(world), lambda them: any(map(_is_throttled, them)))
    statuses = sorted(answer.status for answer in answers)
    refused = [answer for answer in answers if answer.status != 200]
    waits = {answer.headers.get("retry-after", "none") for answer in refused}
    count = ", ".join(f"{statuses.count(one)} × {one}" for one in dict.fromkeys(statuses))
    seen = f"{count}; Retry-After {', '.join(sorted(waits)) or 'none'}"
    return Seen(seen, bool(refused) and all(map(_is_throttled, refused)))


def _is_throttled(answer: Answer) -> bool:
    is_said = answer.said("reason") == "Too many requests at once"
    return answer.status == 503 and is_said and "retry-after" in answer.headers


def _burst(world: World) -> list[Answer]:
    with ThreadPoolExecutor(BURST) as pool:
        return list(pool.map(world.post, [new_body() for _ in range(BURST)]))


@contextmanager
def _throttle(world: World, rate: float, burst: int) -> Iterator[None]:
    """Another throttle for the moment; afterwards, wait until a burst is taken again."""
    api = world.client("apigateway")
    before = api.get_stage(**world.stage).get("methodSettings", {}).get(ALL, {})
    _set_throttle(world, rate, burst)
    try:
        yield
    finally:
        _set_throttle(world, before["throttlingRateLimit"], before["throttlingBurstLimit"])
        world.until(lambda: _burst(world), lambda them: all(one.status == 200 for one in them))


def _set_throttle(world: World, rate: float, burst: int) -> None:
    """https://docs.aws.amazon.com/apigateway/latest/api/patch-operations.html"""
    values = {"rateLimit": rate, "burstLimit": burst}
    patches = [
        {"op": "replace", "path": f"/{ALL}/throttling/{name}", "value": str(value)}
        for name, value in values.items()
    ]
    world.client("apigateway").update_stage(**world.stage, patchOperations=patches)
