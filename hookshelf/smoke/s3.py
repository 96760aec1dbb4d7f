"""What S3 and the functions' roles make sure of."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from hookshelf.smoke.registry import Outcome, smoke_check
from hookshelf.smoke.target import Target

RACES = 5
ARCHIVING = ("api_handler", "deliver")
# action: whether a function that archives may
RIGHTS = {
    "s3:PutObject": True,
    "s3:GetObject": False,
    "s3:DeleteObject": False,
    "s3:ListBucket": False,
}


@smoke_check(
    "A key that is taken",
    "second put 412; of two at once one 200, the other 412 or 409; "
    "the function, which may not read, takes its 412 for success and makes no second version",
)
def taken(target: Target) -> Outcome:
    """A refused body has the same key all day, so that two make the function put it twice."""
    again = [target.put(key, b"1", IfNoneMatch="*") for key in [_key()] * 2]
    races = sorted({_race(target) for _ in range(RACES)})
    refused = b"{ not JSON " + secrets.token_hex(16).encode()
    responses = [target.post(refused) for _ in range(2)]
    kept = {response.text("kept") for response in responses}
    versions = _versions(target, responses[0].text("kept"))
    statuses = [response.status for response in responses]
    seen = (
        f"twice {_all(again)}; at once {'; '.join(_all(race) for race in races)}; "
        f"the function {_all(statuses)}, keys: {len(kept)}, versions: {versions}"
    )
    is_ok = again == [200, 412] and set(races) <= {(200, 412), (200, 409)}
    return Outcome(seen, is_ok and statuses == [400, 400] and (len(kept), versions) == (1, 1))


def _race(target: Target) -> tuple[int, ...]:
    """The statuses, in order, of two that put the same key at the same time."""
    key = _key()
    with ThreadPoolExecutor(2) as pool:
        put = [pool.submit(target.put, key, body, IfNoneMatch="*") for body in (b"1", b"2")]
    return tuple(sorted(future.result() for future in put))


def _versions(target: Target, key: str) -> int:
    listed = target.client("s3").list_object_versions(**target.named, Prefix=key)
    return len(listed.get("Versions", ()))


@smoke_check(
    "A copy under the put-once policy",
    "a plain copy 403; a conditional one 200, onto a key that is taken 412",
)
def copied(target: Target) -> Outcome:
    """S3 takes the condition of a copy since October 2025, and then nothing is overwritten."""
    source, key = _key(), _key()
    target.put(source, b"1", IfNoneMatch="*")
    plain = target.copy(source, key)
    first, again = (target.copy(source, key, IfNoneMatch="*") for _ in range(2))
    seen = f"plain {plain}, conditional {first}, onto a taken key {again}"
    return Outcome(seen, (plain, first, again) == (403, 200, 412))


@smoke_check(
    "Put once, by policy",
    "a plain put 403 though the operator may put, a conditional one 200; "
    "the functions may put, and not get, list or delete",
)
def put_once_policy(target: Target) -> Outcome:
    """The bucket's policy binds its owner too; the roles are asked by IAM's own simulator."""
    key = _key()
    plain, conditional = target.put(key, b"1"), target.put(key, b"1", IfNoneMatch="*")
    wrong = sorted(
        right
        for handler in ARCHIVING
        for right in wrong_rights(target, handler, RIGHTS, "smoke/object")
    )
    seen = f"plain {plain}, conditional {conditional}; roles {', '.join(wrong) or 'as expected'}"
    return Outcome(seen, (plain, conditional) == (403, 200) and not wrong)


def wrong_rights(
    target: Target, handler: str, rights: Mapping[str, bool], key: str
) -> Iterator[str]:
    """What a function's role may on a key that it should not, and what it may not that it should.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
    """
    iam, role = target.client("iam"), target.function(handler)["Role"]
    whole = f"arn:{target.account.partition}:s3:::{target.bucket}"
    owner = {
        "ContextKeyName": "aws:ResourceAccount",
        "ContextKeyValues": [target.account.id],
        "ContextKeyType": "string",
    }
    for action, is_wanted in rights.items():
        resource = whole if action == "s3:ListBucket" else f"{whole}/{key}"
        simulation = iam.simulate_principal_policy(
            PolicySourceArn=role,
            ActionNames=[action],
            ResourceArns=[resource],
            ContextEntries=[owner],
        )
        [result] = simulation["EvaluationResults"]
        if (result["EvalDecision"] == "allowed") != is_wanted:
            yield f"{handler} {'may NOT' if is_wanted else 'MAY'} {action}"


def _key() -> str:
    return f"smoke/put-once/{secrets.token_hex(8)}"


def _all(statuses: list[int] | tuple[int, ...]) -> str:
    return ", ".join(map(str, statuses))
