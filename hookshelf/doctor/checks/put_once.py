"""Whether nothing can be overwritten: tried with a probe, or read off the policy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256

from chalicelib.keys import RejectedKey
from chalicelib.types import Json
from hookshelf.doctor.aws_reader import FIX_FIRST, RUN_AGAIN
from hookshelf.doctor.bucket_policy import forbids_overwriting
from hookshelf.doctor.findings import Result, failure, ok, warning
from hookshelf.doctor.live_bucket import LiveBucket
from hookshelf.doctor.registry import bucket_check

PROBE = b"hookshelf doctor: put once, and never again\n"


@bucket_check(
    "put-once",
    good="Nothing can be overwritten.",
    why="Whoever may write to the bucket could put other bytes in a delivery's place.",
)
def put_once(bucket: LiveBucket) -> Iterator[Result]:
    """A put without `If-None-Match` is refused: proved, or with --read-only only promised."""
    for bucket_path in bucket.paths:
        if bucket.stage.read_only:
            yield _promised(bucket, bucket_path.prefix)
        else:
            yield _proved(bucket, bucket_path.prefix)


def _promised(bucket: LiveBucket, prefix: str) -> Result:
    if _is_promised(bucket, prefix):
        return ok(f"The policy of bucket {bucket.name} refuses to overwrite; it was not proved.")
    what = f"The policy of bucket {bucket.name} does not refuse to overwrite; it was not proved."
    return failure(what, bucket.harden)


def _is_promised(bucket: LiveBucket, prefix: str) -> bool:
    return forbids_overwriting(bucket.policy, f"{bucket.arn}/{prefix}")


def _proved(bucket: LiveBucket, prefix: str) -> Result:
    """Put a probe as a function does, which must be allowed, then plainly, which must not."""
    # Among the refused bodies, so that it expires with them.
    today = datetime.now(UTC).date()
    key = str(RejectedKey(prefix, "doctor", today, sha256(PROBE).hexdigest()))
    status, response = bucket.put(key, PROBE, IfNoneMatch="*")
    if status not in (200, 412):  # 412: an earlier run's probe is there, and putting is allowed
        return _not_proved(bucket, "a conditional put", status, response)
    status, response = bucket.put(key, PROBE)
    if status == 200:
        what = f"The bucket {bucket.name} let {key} be overwritten{_undo(bucket, key, response)}."
        return failure(what, bucket.harden)
    if status != 403:
        return _not_proved(bucket, "a plain put", status, response)
    if _is_promised(bucket, prefix):
        return ok(f"Nothing can be overwritten in {bucket.name}: a plain put was refused.")
    what = (
        f"A plain put of {key} was refused in {bucket.name}, but no statement of its policy "
        "refuses all that could overwrite a delivery."
    )
    return failure(what, bucket.harden)


def _not_proved(bucket: LiveBucket, what: str, status: int, response: Json) -> Result:
    code = response.get("Error", {}).get("Code", "")
    seen = f"Not proved: {bucket.name} responds to {what} with {status} {code}"
    if status != 403:
        return warning(f"{seen}.", FIX_FIRST)
    return warning(
        f"{seen}: your credentials lack the permission s3:PutObject.",
        f"Allow s3:PutObject to whoever runs the doctor, and {RUN_AGAIN}; or give --read-only.",
    )


def _undo(bucket: LiveBucket, key: str, response: Json) -> str:
    """Remove the version that should not have been put; what is said of that."""
    version = response.get("VersionId", "null")
    if version == "null":
        return ""  # without versions the probe is the same bytes once more
    if bucket.remove(key, version):
        return " (that version is removed again)"
    return f" (that version, {version}, could not be removed)"
