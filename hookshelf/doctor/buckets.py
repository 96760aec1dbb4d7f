"""Checks of the buckets that are archived into."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial, wraps
from hashlib import sha256
from typing import Any

from chalicelib.keys import DeliveryKey, RejectedKey, is_app, rejected_prefix
from hookshelf.deploy.notifications import (
    FUNCTIONS,
    NOTIFICATION_ID,
    output_paths,
    overlapping,
)
from hookshelf.doctor.facts import AGAIN, Bucket, Facts
from hookshelf.doctor.findings import Said, check, each, failure, ok, warning
from hookshelf.doctor.grants import covers, listed

PROBE = b"hookshelf doctor: put once, and never again\n"
KEEP = "hookshelf-keep"  # the rule that `hookshelf deploy --keep` makes on purpose
_PUBLIC = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_COLD = ("GLACIER", "DEEP_ARCHIVE")

Json = dict[str, Any]
OfBucket = Callable[[Facts, Bucket], Iterable[Said]]


def bucket_check(id: str, *, good: str, why: str) -> Callable[[OfBucket], OfBucket]:
    """Make a function of Facts and one bucket a check of all of them."""

    def register(run: OfBucket) -> OfBucket:
        @wraps(run)
        def of_all(facts: Facts) -> Iterator[Said]:
            return each(facts.buckets, partial(run, facts))

        check(id, good=good, why=why)(of_all)
        return run

    return register


@bucket_check(
    "bucket",
    good="Every bucket is there, in the functions' region, and the right account's.",
    why="Without its bucket every delivery is answered with 503; a stranger reads what is his.",
)
def bucket(facts: Facts, bucket: Bucket) -> Iterator[Said]:
    """The bucket exists, in the region of the function, and belongs to whom it should."""
    region = facts.arn["region"]
    if bucket.region is None:
        yield failure(f"There is no bucket {bucket.name}.", _make(facts, bucket))
    elif bucket.region != region:
        what = f"The bucket {bucket.name} is in {bucket.region}, the functions in {region}."
        yield failure(what, facts.redeploy_after(f"name one in {region} in ARCHIVE_BUCKETS"))
    elif not bucket.is_owned:
        what = f"The bucket {bucket.name} is not of account {bucket.owner}."
        yield failure(what, facts.redeploy_after("name one of yours in ARCHIVE_BUCKETS"))


@check(
    "bucket-owner",
    good="S3 is told whose the bucket has to be.",
    why="Should the bucket ever be deleted, somebody else may take its name and get deliveries.",
)
def bucket_owner(facts: Facts) -> Iterator[Said]:
    """ARCHIVE_BUCKET_OWNER is set."""
    if not facts.settings.bucket_owner:
        setting = f'"ARCHIVE_BUCKET_OWNER": "{facts.account}"'
        mend = facts.redeploy_after(f"set {setting} in .chalice/config.json")
        yield warning("ARCHIVE_BUCKET_OWNER is not set.", mend)


@bucket_check(
    "public-access",
    good="Public access is blocked.",
    why="One wrong policy or access list, and everybody can read every delivery.",
)
def public_access(facts: Facts, bucket: Bucket) -> Iterator[Said]:
    """All four blocks are on."""
    if missing := [name for name in _PUBLIC if not bucket.public_access.get(name)]:
        what = f"The bucket {bucket.name} lacks {', '.join(missing)}."
        every = ",".join(f"{name}=true" for name in _PUBLIC)
        yield failure(
            what,
            f"aws s3api put-public-access-block --bucket {bucket.name} "
            f"--public-access-block-configuration {every}",
        )


@bucket_check(
    "tls-only",
    good="Only TLS reaches the bucket.",
    why="Without TLS, deliveries and what signs for them can be read on the way.",
)
def tls_only(facts: Facts, bucket: Bucket) -> Iterator[Said]:
    """The bucket policy denies everything to everybody without TLS."""
    demand = {"Bool": {"aws:SecureTransport": "false"}}
    things = [bucket.arn, f"{bucket.arn}/{_delivery(bucket.places[0].prefix)}"]
    if not any(_denies(one, "s3:*", things, demand) for one in bucket.policy):
        what = f"The policy of bucket {bucket.name} does not refuse requests without TLS."
        yield failure(what, bucket.harden)


@bucket_check(
    "versioning",
    good="What is deleted can be brought back.",
    why="Without versions, what is deleted by mistake is gone at once.",
)
def versioning(facts: Facts, bucket: Bucket) -> Iterator[Said]:
    """The bucket keeps versions."""
    if bucket.versioning != "Enabled":
        what = f"Versioning of bucket {bucket.name} is {bucket.versioning.lower() or 'off'}."
        turn_on = f"--bucket {bucket.name} --versioning-configuration Status=Enabled"
        yield failure(what, f"aws s3api put-bucket-versioning {turn_on}")


@bucket_check(
    "put-once",
    good="Nothing can be overwritten.",
    why="Whoever may write to the bucket could put other bytes in a delivery's place.",
)
def put_once(facts: Facts, bucket: Bucket) -> Iterator[Said]:
    """A put without `If-None-Match` is refused: proved, or with --read-only only promised."""
    for place in bucket.places:
        prove = _promised if facts.read_only else _proved
        yield from prove(bucket, place.prefix)


@bucket_check(
    "lifecycle",
    good="Deliveries are kept for ever, refused bodies for a time.",
    why="What expires is gone; what is in Glacier has to be restored before it can be read.",
)
def lifecycle(facts: Facts, bucket: Bucket) -> Iterator[Said]:
    """No rule but ours expires deliveries or puts them away, and refused bodies do expire."""
    enabled = [rule for rule in bucket.rules if rule["Status"] == "Enabled"]
    for place in bucket.places:
        for rule in enabled:
            if _reaches(rule, place.prefix):
                yield from _fate(bucket, rule)
        if not any(_sweeps(rule, place.prefix) for rule in enabled):
            what = (
                f"No rule expires refused bodies in {bucket.name}/{rejected_prefix(place.prefix)}."
            )
            yield warning(what, bucket.harden)


@check(
    "notification-loop",
    good="The tracker is not told of what the archive and the collector write.",
    why="Each notification makes an event, each event an object, each object a notification.",
)
def notification_loop(facts: Facts) -> Iterator[Said]:
    """No bucket notifies track_s3 of where the archive or the collector writes."""
    if "track_s3" not in facts.functions:
        return
    variables = facts.environment("api_handler") | facts.environment("track_s3")
    for name in dict.fromkeys(name for _, name, _ in output_paths(variables) if ":" not in name):
        yield from each([Bucket(facts, name, [])], partial(_loops, facts, variables))


def _make(facts: Facts, bucket: Bucket) -> str:
    if facts.deployment.made_by == "stack":
        return f"{facts.redeploy} --create-bucket"
    return bucket.harden


def _delivery(prefix: str) -> str:
    """The key of some delivery."""
    return str(DeliveryKey(prefix, "shop", datetime(2026, 1, 1, tzinfo=UTC), "0" * 64, "json"))


def _rejected(prefix: str) -> str:
    """Where the probe goes: it expires with the refused bodies."""
    today = datetime.now(UTC).date()
    return str(RejectedKey(prefix, "doctor", today, sha256(PROBE).hexdigest()))


def _proved(bucket: Bucket, prefix: str) -> Iterator[Said]:
    """Put a probe as the door does, which must be allowed, then plainly, which must not."""
    key = _rejected(prefix)
    status, answer = bucket.put(key, PROBE, IfNoneMatch="*")
    if status not in (200, 412):  # 412: an earlier run's probe is there, and putting is allowed
        yield _not_proved(bucket, "a conditional put", status, answer)
        return
    status, answer = bucket.put(key, PROBE)
    if status == 200:
        what = f"The bucket {bucket.name} let {key} be overwritten{_removed(bucket, key, answer)}."
        yield failure(what, bucket.harden)
    elif status == 403 and _is_promised(bucket, prefix):
        yield ok(f"Nothing can be overwritten in {bucket.name}: a plain put was refused.")
    elif status == 403:
        what = (
            f"A plain put of {key} was refused in {bucket.name}, but no statement of its policy "
            "refuses all that could overwrite a delivery."
        )
        yield failure(what, bucket.harden)
    else:
        yield _not_proved(bucket, "a plain put", status, answer)


def _not_proved(bucket: Bucket, what: str, status: int, answer: Json) -> Said:
    code = answer.get("Error", {}).get("Code", "")
    said = f"Not proved: {bucket.name} answers {what} with {status} {code}"
    if status != 403:
        return warning(f"{said}.", f"Mend that first, and {AGAIN}.")
    return warning(
        f"{said}: your credentials lack the permission s3:PutObject.",
        f"Allow s3:PutObject to whoever runs the doctor, and {AGAIN}; or give --read-only.",
    )


def _removed(bucket: Bucket, key: str, answer: Json) -> str:
    version = answer.get("VersionId", "null")
    if version == "null":
        return ""  # without versions the probe is the same bytes once more
    if bucket.remove(key, version):
        return " (that version is removed again)"
    return f" (that version, {version}, could not be removed)"


def _is_promised(bucket: Bucket, prefix: str) -> bool:
    """Whether the policy refuses to overwrite any delivery, of whatever app."""
    demand = {"Null": {"s3:if-none-match": "true"}}
    return any(
        _denies(one, "s3:PutObject", [], demand) and _is_about_all(one, f"{bucket.arn}/{prefix}")
        for one in bucket.policy
    )


def _is_about_all(statement: Json, below: str) -> bool:
    """Whether it spares nothing below there but segments that begin with `_`, as no delivery's do.

    The refused bodies' is one of them; what is put there is proved.
    """
    if "Resource" in statement:
        return any(covers(one, f"{below}*") for one in listed(statement["Resource"]))
    spared = {one: re.split(r"[*?]", one)[0] for one in listed(statement.get("NotResource", ()))}
    return all(
        "/_" in one or not (begin.startswith(below) or below.startswith(begin))
        for one, begin in spared.items()
    )


def _promised(bucket: Bucket, prefix: str) -> Iterator[Said]:
    if _is_promised(bucket, prefix):
        yield ok(f"The policy of bucket {bucket.name} refuses to overwrite; it was not proved.")
    else:
        what = (
            f"The policy of bucket {bucket.name} does not refuse to overwrite; it was not proved."
        )
        yield failure(what, bucket.harden)


def _denies(statement: Json, action: str, things: list[str], demand: Json) -> bool:
    """Whether a statement denies an action on all these ARNs, to everybody, on one condition."""
    everybody = statement.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
    return (
        statement.get("Effect") == "Deny"
        and everybody
        and any(covers(one.lower(), action.lower()) for one in listed(statement.get("Action", ())))
        and all(_is_about(statement, thing) for thing in things)
        and _condition(statement) == demand
    )


def _is_about(statement: Json, arn: str) -> bool:
    named = listed(statement.get("Resource", statement.get("NotResource", ())))
    return any(covers(one, arn) for one in named) == ("Resource" in statement)


def _condition(statement: Json) -> Json:
    """A condition with texts as values, without the one that lets parts of uploads pass.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
    """
    found = {
        operator: {key: "".join(map(str, _list(value))).lower() for key, value in demands.items()}
        for operator, demands in statement.get("Condition", {}).items()
    }
    if found.get("Bool") == {"s3:ObjectCreationOperation": "true"}:
        del found["Bool"]
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _fate(bucket: Bucket, rule: Json) -> Iterator[Said]:
    """What a rule does to the deliveries that it reaches."""
    name = rule.get("ID", "without an id")
    mend = _without_rule(bucket, rule)
    end = rule.get("Expiration", {})
    when = f"after {end['Days']} days" if "Days" in end else f"on {end.get('Date', '')}"
    if end.keys() & {"Days", "Date"}:
        if name == KEEP or name.startswith(f"{KEEP}-"):
            yield ok(f"Deliveries in {bucket.name} expire {when}, as deploy --keep made it.")
        else:
            yield failure(f"The rule {name} of {bucket.name} expires deliveries {when}.", mend)
    for move in rule.get("Transitions", ()):
        if move.get("StorageClass") in _COLD:
            what = f"The rule {name} of {bucket.name} moves deliveries to {move['StorageClass']}."
            yield warning(what, mend)


def _without_rule(bucket: Bucket, rule: Json) -> str:
    rest = [one for one in bucket.rules if one != rule]
    if not rest:
        return f"aws s3api delete-bucket-lifecycle --bucket {bucket.name}"
    return _put_configuration("lifecycle", bucket.name, {"Rules": rest})


def _put_configuration(kind: str, bucket: str, wanted: Json) -> str:
    text = shlex.quote(json.dumps(wanted, separators=(",", ":"), default=datetime.isoformat))
    command = f"aws s3api put-bucket-{kind}-configuration --bucket {bucket}"
    return f"{command} --{kind}-configuration {text}"


def _prefix(rule: Json) -> str | None:
    """The prefix of a rule; None where it is for tagged objects, which deliveries are not."""
    found = rule.get("Filter", {"Prefix": rule.get("Prefix", "")})
    found = found | found.get("And", {})
    return None if "Tag" in found or found.get("Tags") else found.get("Prefix", "")


def _reaches(rule: Json, prefix: str) -> bool:
    """Whether a rule can match deliveries below a prefix; no segment of theirs begins with `_`."""
    found = _prefix(rule)
    if found is None:
        return False
    if prefix.startswith(found):
        return True
    below = found.removeprefix(prefix)
    return found.startswith(prefix) and all(
        is_app(part[:1]) for part in below.rstrip("/").split("/")
    )


def _sweeps(rule: Json, prefix: str) -> bool:
    """Whether a rule expires refused bodies alone."""
    found = _prefix(rule)
    return (
        found is not None
        and rejected_prefix(prefix).startswith(found)
        and "Days" in rule.get("Expiration", {})
        and not _reaches(rule, prefix)
    )


def _loops(facts: Facts, variables: Json, bucket: Bucket) -> Iterator[Said]:
    tracker = facts.function("track_s3")["FunctionArn"]
    for one in bucket.notifications.get(FUNCTIONS, ()):
        # A version or alias may follow the function's own ARN.
        if one["LambdaFunctionArn"] == tracker or one["LambdaFunctionArn"].startswith(
            f"{tracker}:"
        ):
            prefix = _filtered(one)
            for place in overlapping(bucket.name, prefix, variables):
                what = f"{bucket.name}/{prefix}* notifies the tracker, and covers {place}."
                yield failure(what, _unwatch(facts, bucket, one))


def _filtered(notification: Json) -> str:
    rules = notification.get("Filter", {}).get("Key", {}).get("FilterRules", ())
    return next((one["Value"] for one in rules if one["Name"].lower() == "prefix"), "")


def _unwatch(facts: Facts, bucket: Bucket, notification: Json) -> str:
    stage = f"--stage {facts.deployment.stage}"
    if notification.get("Id") == NOTIFICATION_ID:
        return (
            f"hookshelf watch {bucket.name} --off {stage}; "
            f"hookshelf watch {bucket.name} --prefix ANOTHER/ {stage}"
        )
    rest = [one for one in bucket.notifications[FUNCTIONS] if one != notification]
    wanted = bucket.notifications | {FUNCTIONS: rest}
    return _put_configuration("notification", bucket.name, wanted)
