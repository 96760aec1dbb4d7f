"""What CloudWatch makes of it all, minutes later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hookshelf.deploy.deployment import API_STAGE, stack_name
from hookshelf.smoke.registry import Outcome, smoke_check
from hookshelf.smoke.target import Target

METRICS_TIMEOUT = 300.0  # seconds until a metric can be read
ALARM_TIMEOUT = 600.0  # until an alarm that is new has been judged for the first time
NEVER_SEEN = "Unconfigured"  # logical id of an alarm; nothing of a run without faults counts there


@smoke_check(
    "Which metric counts an overridden status",
    "recorded: what was heard of 4xx and 5xx, and what 4XXError and 5XXError counted",
)
def overridden_status(target: Target) -> Outcome:
    """A 429 that is heard as 503 may count as either; no alarm of ours goes by it."""
    heard = [status // 100 for status in target.statuses]

    def counted() -> dict[str, int]:
        return {name: _sum(target, name) for name in ("Count", "4XXError", "5XXError")}

    sums = target.until(counted, lambda sums: sums["Count"] >= len(heard), METRICS_TIMEOUT)
    seen = (
        f"heard {heard.count(4)} of 4xx and {heard.count(5)} of 5xx; counted "
        f"{sums['4XXError']} and {sums['5XXError']} of {sums['Count']}"
    )
    return Outcome(seen, True if sums["Count"] else None)


@smoke_check(
    "An alarm on what never happened",
    f"{NEVER_SEEN} is OK, though its metric has never had a value; the others, recorded",
)
def quiet_alarms(target: Target) -> Outcome:
    """FILL on a metric that does not exist is written of nowhere."""
    names = target.resources("AWS::CloudWatch::Alarm")
    cloudwatch = target.client("cloudwatch")

    def states() -> dict[str, str]:
        alarms = cloudwatch.describe_alarms(AlarmNames=sorted(names.values()))["MetricAlarms"]
        by_name = {alarm["AlarmName"]: alarm["StateValue"] for alarm in alarms}
        return {logical_id: by_name.get(name, "gone") for logical_id, name in names.items()}

    seen = target.until(
        states, lambda them: them.get(NEVER_SEEN) != "INSUFFICIENT_DATA", ALARM_TIMEOUT
    )
    listed = ", ".join(f"{logical_id} {state}" for logical_id, state in sorted(seen.items()))
    return Outcome(listed or "no alarms", seen.get(NEVER_SEEN) == "OK")


def _sum(target: Target, metric: str) -> int:
    """Of all that API Gateway counted for the stage since the run began."""
    named = {"ApiName": stack_name(target.deployment.stage), "Stage": API_STAGE}
    response = target.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/ApiGateway",
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in named.items()],
        StartTime=target.started - timedelta(minutes=1),
        EndTime=datetime.now(UTC) + timedelta(minutes=1),
        Period=60,
        Statistics=["Sum"],
    )
    return int(sum(point["Sum"] for point in response["Datapoints"]))
