"""Commands for a shell that fix what a check finds."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hookshelf.deploy.deployment import API_STAGE
from hookshelf.doctor.live_stage import LiveStage


def update_api(stage: LiveStage, change: str, command: str = "update-rest-api") -> str:
    """What changes the API counts from the next deployment of it."""
    api = f"--rest-api-id {stage.deployment.api}"
    deploy = f"create-deployment {api} --stage-name {API_STAGE}"
    return f"aws apigateway {command} {api} {change}; aws apigateway {deploy}"


def update_stage(stage: LiveStage, *operations: str) -> str:
    """Patch operations for the API's stage, quoted: a shell would expand their stars."""
    return (
        f"aws apigateway update-stage --rest-api-id {stage.deployment.api} "
        f"--stage-name {API_STAGE} --patch-operations "
        + " ".join(f"'{operation}'" for operation in operations)
    )


def put_bucket_configuration(kind: str, bucket: str, configuration: Mapping[str, Any]) -> str:
    """Put a bucket's configuration of a kind, such as `lifecycle`, as a whole."""
    text = json.dumps(configuration, separators=(",", ":"), default=datetime.isoformat)
    command = f"aws s3api put-bucket-{kind}-configuration --bucket {bucket}"
    return f"{command} --{kind}-configuration {shlex.quote(text)}"
