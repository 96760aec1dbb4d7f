"""Counts of responses as CloudWatch metrics: a few fields more in the log line, and no call.

CloudWatch reads them out of the log by itself, the "embedded metric format". A library for it costs
a cold start more than the whole app, see bench/imports.py.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from chalicelib.apps import entries
from chalicelib.settings import SettingError, read_once
from chalicelib.sources import source_names
from chalicelib.tokens import variable_name

OTHER = "other"  # what apps are counted under that nobody configured


def metric_fields(
    environ: Mapping[str, str],
    arrived: datetime,
    *,
    status: int,
    app: str = "",
    stage_variables: Mapping[str, str] | None = None,
    unconfigured: bool = False,
) -> dict[str, Any]:
    """The fields that count one response, where METRICS_NAMESPACE asks for it.

    `app` is only one that may be delivered to; `stage_variables` are API Gateway's.
    """
    namespace = _namespace(environ)
    if not namespace:
        return {}
    # Dimensions have to be text, which the log line's own status is not.
    fields: dict[str, Any] = {"Responses": 1, "Status": str(status)}
    if app:
        fields["App"] = app if is_known(app, environ, stage_variables) else OTHER
    if unconfigured:
        fields["Unconfigured"] = 1
    return fields | _embedded(arrived, _of_response(namespace, bool(app), unconfigured))


def metric(
    environ: Mapping[str, str], at: datetime, name: str, **dimensions: str
) -> dict[str, Any]:
    """The fields that count one thing that happened, where METRICS_NAMESPACE asks for it."""
    namespace = _namespace(environ)
    if not namespace:
        return {}
    directive = _directive(namespace, name, [list(dimensions)])
    return {name: 1, **dimensions, **_embedded(at, [directive])}


def is_known(
    app: str, environ: Mapping[str, str], stage_variables: Mapping[str, str] | None = None
) -> bool:
    """Whether the operator, or we, have named an app. CloudWatch bills each name as a metric, and
    whoever holds the stage's token can make names up.
    """
    if app in source_names() or app == environ.get("DIRECT_APP", "").strip():
        return True
    if stage_variables and variable_name(app) in stage_variables:
        return True
    try:
        return app in entries(environ)
    except SettingError:
        return False


@read_once
def _namespace(environ: Mapping[str, str]) -> str:
    return environ.get("METRICS_NAMESPACE", "").strip()


@lru_cache(maxsize=8)
def _of_response(namespace: str, has_app: bool, unconfigured: bool) -> list[dict[str, Any]]:
    dimensions = [["Status"], ["App", "Status"]] if has_app else [["Status"]]
    directives = [_directive(namespace, "Responses", dimensions)]
    if unconfigured:
        directives.append(_directive(namespace, "Unconfigured", [[]]))
    return directives


def _embedded(at: datetime, directives: list[dict[str, Any]]) -> dict[str, Any]:
    milliseconds = int(at.timestamp() * 1000)
    return {"_aws": {"Timestamp": milliseconds, "CloudWatchMetrics": directives}}


def _directive(namespace: str, name: str, dimensions: list[list[str]]) -> dict[str, Any]:
    metrics = [{"Name": name, "Unit": "Count"}]
    return {"Namespace": namespace, "Dimensions": dimensions, "Metrics": metrics}
