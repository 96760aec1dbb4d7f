"""What the scheduled compactor does in Lambda, and what its role lets it do."""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import sha256

from chalicelib.keys import DeliveryKey, events_prefix
from chalicelib.types import Json
from hookshelf.deploy.deployment import COMPACTOR
from hookshelf.smoke.registry import Outcome, smoke_check
from hookshelf.smoke.s3 import wrong_rights
from hookshelf.smoke.target import SMOKE_APP, Target
from hookshelf.web import unusual_json

AGO = timedelta(days=3)  # that day has ended, and waits for nothing any more
# action: whether the compactor may, on a delivery
COMPACTOR_RIGHTS = {
    "s3:GetObject": True,
    "s3:ListBucket": True,
    "s3:PutObject": False,
    "s3:DeleteObject": False,
    "s3:DeleteObjectVersion": False,
}


@smoke_check(
    "The scheduled compactor",
    "a run finishes and makes a file of what arrived days ago; "
    "its role may list and get, and neither put nor delete a delivery",
)
def compactor(target: Target) -> Outcome:
    """Invoked as its nightly schedule does; the role is asked by IAM's own simulator."""
    body = unusual_json(SMOKE_APP)
    arrived = target.started - AGO
    key = str(DeliveryKey("", SMOKE_APP, arrived, sha256(body).hexdigest(), "json"))
    target.put(key, body, IfNoneMatch="*")
    summary = _run(target)
    listed = target.client("s3").list_objects_v2(
        **target.named, Prefix=events_prefix("", SMOKE_APP)
    )
    files = listed.get("KeyCount", 0)
    wrong = sorted(wrong_rights(target, COMPACTOR, COMPACTOR_RIGHTS, key))
    is_finished = summary.get("finished") is True
    seen = (
        f"{'finished' if is_finished else summary.get('errorType', 'NOT finished')}, "
        f"files: {files}; role {', '.join(wrong) or 'as expected'}"
    )
    return Outcome(seen, is_finished and files > 0 and not wrong)


def _run(target: Target) -> Json:
    """What a run says, or of which type its error is."""
    name = target.deployment.functions[COMPACTOR]
    response = target.client("lambda").invoke(
        FunctionName=name, Payload=json.dumps({"schedule": "nightly"}).encode()
    )
    with response["Payload"] as stream:
        summary: Json = json.loads(stream.read())
    return summary
