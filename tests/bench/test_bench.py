"""`make bench`: one table and charts, of what each bench printed."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from support.faulty_s3 import FaultyS3
from support.local_server import copy_of_project, fresh_shell
from support.project import PROJECT
from support.s3_servers import SERVER_CREDENTIALS

from bench import charts, costs, put, suite
from bench.__main__ import files, load
from bench.charts import Bar, Panel
from bench.receive.bucket import Bucket
from bench.suite import REDUCE, Row

DOCS = PROJECT / "docs"
FIGURES = DOCS / "figures.json"


def test_the_table_and_the_charts_are_what_the_committed_figures_make() -> None:
    """If not: `python -m bench --from docs/figures.json`."""
    for name, content in files(load(FIGURES), (DOCS / "proof.md").read_text()).items():
        assert (DOCS / name).read_text(encoding="utf-8") == content, name


def test_the_charts_are_all_on_the_page_of_proof() -> None:
    shown = re.findall(r"!\[.+\]\((bench-.+\.svg)\)", (DOCS / "proof.md").read_text())

    assert sorted(shown) == sorted(path.name for path in DOCS.glob("bench-*.svg"))
    assert sorted(shown) == sorted(charts.draw(load(FIGURES)))


# --- what a bench printed becomes a section


def of_receive(peak: float, warm: float) -> dict[str, Any]:
    """What `python -m bench.receive --json` prints, as far as it is used."""

    def judged(number: str, what: str, measure: str, at_most: float, seen: float) -> Any:
        limit = {"number": number, "what": what, "measure": measure, "at_most": at_most}
        limit |= {"unit": " MB" if measure == "peak" else "", "memory": 0}
        verdict = "ok" if seen <= at_most else "MISSED"
        return {"limit": limit, "spread": {"median": seen}, "verdict": verdict}

    return {
        "machine": "2 CPUs",
        "versions": {"Python": "3.13.0"},
        "rounds": 25,
        "full_speed": {"hookshelf": {"first": [60.0, 80.0, 70.0], "warm_cpu": [0.8, 0.9, 0.7]}},
        "limits": [
            judged("3", "warm CPU against Node", "warm_cpu", 0.33, warm),
            judged("4", "memory for arrays", "peak", 200, 50),
            judged("4", "memory for strings", "peak", 200, peak),
        ],
    }


def result(report: dict[str, Any] | None, status: int = 0) -> dict[str, Any]:
    return {"at": "2026-11-22T01:02:03+00:00", "status": status, "report": report}


def test_receiving_is_reduced_to_medians_and_of_the_bodies_to_the_worst() -> None:
    section = suite.reduced("receive", result(of_receive(peak=60, warm=0.3)))

    assert section.seen == "2026-11-22"
    assert section.machine == "2 CPUs; Python 3.13.0; medians of 25 rounds"
    assert section.figures == {"first delivery, ms: hookshelf": 70, "warm CPU, µs: hookshelf": 800}
    assert section.rows == [
        Row("warm CPU against Node", "<= 0.33", "0.3", "ok"),
        Row("memory for 4 MiB, the worst of 2 shapes", "<= 200 MB", "60 MB", "ok"),
    ]
    assert section.is_good


@pytest.mark.parametrize(("peak", "warm"), [(60, 0.4), (300, 0.3)])
def test_one_limit_that_is_missed_is_enough(peak: float, warm: float) -> None:
    assert not suite.reduced("receive", result(of_receive(peak, warm))).is_good


def test_of_the_others_each_limit_is_a_row_measured_or_not() -> None:
    report = {"machine": "2 CPUs", "figures": {"find on disk, 2 million events": 15.1}}
    section = suite.reduced("reading", result(report))
    verdicts = {row.what: (row.seen, row.verdict) for row in section.rows}

    assert verdicts["find on disk, 2 million events"] == ("15.1 ms", "MISSED")
    assert verdicts["find on disk, 20 million events"] == ("–", "not measured")
    assert not section.is_good


def test_a_bench_that_prints_nothing_is_no_section() -> None:
    with pytest.raises(ValueError, match=r"bench\.page ended with 2 and printed no figures"):
        suite.reduced("page", result(None, 2))


# --- the command


def bench(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=project,
        env=fresh_shell() | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_run_is_written_into_the_documentation_and_its_verdict_is_the_exit_status(
    tmp_path: Path,
) -> None:
    project = copy_of_project(tmp_path / "hookshelf")
    good = json.loads(FIGURES.read_text())
    for section in good.values():
        for row in section["rows"]:
            row["verdict"] = "ok"
    (tmp_path / "good.json").write_text(json.dumps(good))
    (tmp_path / "run.json").write_text(json.dumps({"receive": result(of_receive(300, 0.3))}))

    holds = bench(project, "--from", str(tmp_path / "good.json"))
    misses = bench(project, "--from", str(tmp_path / "run.json"))
    page = (project / "docs" / "proof.md").read_text()

    assert (holds.returncode, misses.returncode) == (0, 1), holds.stderr + misses.stderr
    assert "| <= 200 MB | 300 MB | MISSED | 2026-11-22 | `python -m bench.receive` |" in page
    assert "`python -m bench.reading`" in page  # what was not run stays
    assert "70 ms" in (project / "docs" / "bench-receive.svg").read_text()
    assert set(json.loads((project / "docs" / "figures.json").read_text())) == set(REDUCE)


def test_figures_of_what_is_no_bench_are_misuse(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"speed": {}}')
    done = bench(PROJECT, "--from", str(tmp_path / "run.json"))

    assert done.returncode == 2
    assert "figures of speed, which is no bench" in done.stderr


# --- costs


def test_what_is_metered_costs_beyond_what_is_included() -> None:
    assert costs.metered(39, 10_000, 1 / 100_000) == pytest.approx(48.9)


def test_our_costs_are_those_of_the_page_on_deploying() -> None:
    page = (
        "\n## Costs\n| S3, storage for a month | x | 0.04 |\n| **total** | | **11.62** |\n"
        "| S3, storage of the files | x | 0.01 |\n| **total** | | **1.45** |\n"
    )
    ours = costs.ours(page)

    assert (ours.million, ours.month) == (pytest.approx(13.07), pytest.approx(0.05))
    with pytest.raises(ValueError, match="no longer two tables"):
        costs.ours("\n## Costs\n| **total** | | **11.62** |\n")


def test_every_price_names_its_list() -> None:
    assert all("https://" in peer.source for peer in costs.PEERS)


# --- charts


def test_a_chart_is_a_drawing_with_every_figure_in_words() -> None:
    bars = [Bar("ours & fast", 1.0, "1 ms", True), Bar("peer", None, "not measured")]
    drawn = charts.svg("what is seen", [Panel("heading", bars), Panel("nothing", [bars[1]])])
    texts = [element.text for element in ElementTree.fromstring(drawn).iter() if element.text]

    assert {"what is seen", "heading", "ours & fast", "1 ms", "peer", "not measured"} <= {*texts}
    assert "nothing" not in texts
    light, dark = drawn.split("@media (prefers-color-scheme: dark)")
    for name in set(re.findall(r'class="(\w+)"', drawn)) - {"name"}:  # a weight, no colour
        assert f".{name} {{" in light
        assert f".{name} {{" in dark


# --- one put


def test_every_way_to_put_signs_and_stores_the_same() -> None:
    """On a server that checks signatures and checksums."""
    with FaultyS3(credentials=SERVER_CREDENTIALS) as s3, put.ways(s3.endpoint) as puts:
        for number, way in enumerate(puts.values()):
            way(f"shop/{number}.json")

    assert [stored.body for stored in s3.objects.values()] == [put.BODY] * 4
    assert all(request.headers["if-none-match"] == "*" for request in s3.requests)
    assert len({request.headers["x-amz-checksum-sha256"] for request in s3.requests}) == 1


def test_a_put_is_measured_by_cpu_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(put, "PUTS", 2)
    with Bucket() as bucket, put.ways(bucket.url) as puts:
        figures = put.measure(puts, rounds=2)

    assert all(value > 0 for value in figures.values())
    assert put.LIMITS[0].figure in figures
    assert put.BY_HAND in put.as_text(figures)
