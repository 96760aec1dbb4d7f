"""Checks 9 and 10: what S3 and the functions' roles make sure of."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from hookshelf.smoke.registry import Seen, check
from hookshelf.smoke.world import World

RACES = 5
ARCHIVING = ("api_handler", "deliver")
# action: whether a function that archives may
RIGHTS = {
    "s3:PutObject": True,
    "s3:GetObject": False,
    "s3:DeleteObject": False,
    "s3:ListBucket": False,
}


@check(
    "A key that is taken",
    "second put 412; of two at once one 200, the other 412 or 409; "
    "the function, which may not read, takes its 412 for success and makes no second version",
)
def taken(world: World) -> Seen:
    """A refused body has the same key all day, so that two make the function put it twice."""
    again = [world.put(key, b"1", IfNoneMatch="*") for key in [_key()] * 2]
    races = sorted({_race(world) for _ in range(RACES)})
    refused = b"{ not JSON " + secrets.token_hex(16).encode()
    answers = [world.post(refused) for _ in range(2)]
    kept = {answer.said("kept") for answer in answers}
    versions = _versions(world, answers[0].said("kept"))
    statuses = [answer.status for answer in answers]
    seen = (
        f"twice {_all(again)}; at once {'; '.join(_all(race) for race in races)}; "
        f"the function {_all(statuses)}, keys: {len(kept)}, versions: {versions}"
    )
    is_ok = again == [200, 412] and set(races) <= {(200, 412), (200, 409)}
    return Seen(seen, is_ok and statuses == [400, 400] and (len(kept), versions) == (1, 1))


def _race(world: World) -> tuple[int, ...]:
    """The statuses, in order, of two that put the same key at the same time."""
    key = _key()
    with ThreadPoolExecutor(2) as pool:
        put = [pool.submit(world.put, key, body, IfNoneMatch="*") for body in (b"1", b"2")]
    return tuple(sorted(one.result() for one in put))


def _versions(world: World, key: str) -> int:
    found = world.client("s3").list_object_versions(**world.named, Prefix=key)
    return len(found.get("Versions", ()))


@check(
    "Put once, by policy",
    "a plain put 403 though the operator may put, a conditional one 200; "
    "the functions may put, and not get, list or delete",
)
def put_once(world: World) -> Seen:
    """The bucket's policy binds its owner too; the roles are asked by IAM's own simulator."""
    key = _key()
    plain, conditional = world.put(key, b"1"), world.put(key, b"1", IfNoneMatch="*")
    wrong = sorted({right for handler in ARCHIVING for right in _wrong_rights(world, handler)})
    seen = f"plain {plain}, conditional {conditional}; roles {', '.join(wrong) or 'as expected'}"
    return Seen(seen, (plain, conditional) == (403, 200) and not wrong)


def _wrong_rights(world: World, handler: str) -> Iterator[str]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html"""
    iam, role = world.client("iam"), world.function(handler)["Role"]
    whole = f"arn:{world.account.partition}:s3:::{world.bucket}"
    owner = {
        "ContextKeyName": "aws:ResourceAccount",
        "ContextKeyValues": [world.account.id],
        "ContextKeyType": "string",
    }
    for action, is_wanted in RIGHTS.items():
        resource = whole if action == "s3:ListBucket" else f"{whole}/smoke/object"
        found = iam.simulate_principal_policy(
            PolicySourceArn=role,
            ActionNames=[action],
            ResourceArns=[resource],
            ContextEntries=[owner],
        )
        [result] = found["EvaluationResults"]
        if (result["EvalDecision"] == "allowed") != is_wanted:
            yield f"{handler} {'may NOT' if is_wanted else 'MAY'} {action}"


def _key() -> str:
    return f"smoke/put-once/{secrets.token_hex(8)}"


def _all(statuses: list[int] | tuple[int, ...]) -> str:
    return ", ".join(map(str, statuses))
