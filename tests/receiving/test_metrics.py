"""Counts of answers, written into the log line as CloudWatch reads them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.project import post

from chalicelib import metrics
from chalicelib.direct import NotDelivered, deliver

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ON = {"METRICS_NAMESPACE": "hookshelf/dev"}


@pytest.fixture
def counting(folder_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (folder_environ | ON).items():
        monkeypatch.setenv(name, value)


def line_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    [line] = capsys.readouterr().err.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def published(line: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    """What CloudWatch makes of a line: the dimensions of each metric, by its name.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    found: dict[str, list[dict[str, str]]] = {}
    assert isinstance(line["_aws"]["Timestamp"], int)
    for directive in line["_aws"]["CloudWatchMetrics"]:
        assert directive["Namespace"] == "hookshelf/dev"
        for metric in directive["Metrics"]:
            assert isinstance(line[metric["Name"]], int)
            for names in directive["Dimensions"]:
                values = {name: line[name] for name in names}
                assert all(isinstance(value, str) for value in values.values())
                found.setdefault(metric["Name"], []).append(values)
    return found


@pytest.mark.usefixtures("counting")
def test_a_stored_delivery_counts_for_its_app(capsys: pytest.CaptureFixture[str]) -> None:
    post(b"{}")
    line = line_of(capsys)

    assert published(line) == {"Responses": [{"Status": "200"}, {"App": "shop", "Status": "200"}]}
    assert line["status"] == 200


@pytest.mark.usefixtures("counting")
def test_a_wrong_token_counts_for_no_app_as_anyone_could_make_names_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    post(b"{}", token="wrong", app="made-up")

    assert published(line_of(capsys)) == {"Responses": [{"Status": "403"}]}


@pytest.mark.usefixtures("counting")
def test_a_wrong_setting_counts_as_unconfigured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIVE_BUCKETS", "CHANGE-ME")
    post(b"{}")

    assert published(line_of(capsys)) == {"Responses": [{"Status": "503"}], "Unconfigured": [{}]}


@pytest.mark.usefixtures("counting")
def test_an_invoke_counts_like_a_post(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, folder_environ: dict[str, str]
) -> None:
    environ = folder_environ | ON
    deliver({"app": "orders", "body": 1}, None, environ=environ, arrived=NOW)
    stored = published(line_of(capsys))
    with pytest.raises(NotDelivered):
        deliver({"app": "orders", "nonsense": 1}, None, environ=environ, arrived=NOW)

    assert stored["Responses"] == [{"Status": "200"}, {"App": "orders", "Status": "200"}]
    assert published(line_of(capsys)) == {"Responses": [{"Status": "500"}]}


def test_nothing_is_counted_unless_it_is_asked_for() -> None:
    assert metrics.metric_fields({}, NOW, status=200, app="shop") == {}
    assert metrics.metric_fields({"METRICS_NAMESPACE": " "}, NOW, status=200) == {}


def test_the_time_of_a_count_is_the_arrivals_in_milliseconds() -> None:
    counted = metrics.metric_fields(ON, NOW, status=200)

    assert counted["_aws"]["Timestamp"] == 1_795_176_000_000
