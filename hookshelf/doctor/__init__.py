"""The doctor: whether a deployed stage is all right, and what to do where it is not.

To add a check, write a module in checks/ with a function under `@doctor_check`, see registry.py.
What AWS has of a stage is asked for in live_stage.py and live_bucket.py.
"""

from __future__ import annotations

from collections.abc import Callable

from hookshelf.deploy.deployment import find_deployment
from hookshelf.doctor.canary import run_canary
from hookshelf.doctor.findings import Finding, Level
from hookshelf.doctor.live_stage import LiveStage
from hookshelf.doctor.registry import all_checks, run_check

__all__ = ["Finding", "Level", "examine"]


def examine(
    stage: str,
    *,
    canary: bool = False,
    url: str | None = None,
    read_only: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Finding]:
    """What every check says of a stage; several findings of one check, or one that says ok.

    It puts a probe of a few bytes below `_rejected/`, unless `read_only`; with `canary` also
    deliveries, to `url` or to where the stage is. `progress` is told of what takes long.
    Raises NotDeployed.
    """
    deployment = find_deployment(stage)
    # The canary first: it takes out what an interrupted one left behind.
    canary_findings = run_canary(LiveStage(deployment), url, progress=progress) if canary else []
    live_stage = LiveStage(deployment, read_only=read_only)
    findings = [finding for check in all_checks() for finding in run_check(check, live_stage)]
    return findings + canary_findings
