"""The measure of receiving: that its server, its ratios and its verdicts are right."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from bench.receive import deliveries, install
from bench.receive.__main__ import MEMORIES, OURS, PUT, SIGNED, judged
from bench.receive.bucket import Bucket
from bench.receive.install import InstallError
from bench.receive.measure import interleaved
from bench.receive.ratios import Limit, Spread, Verdict, judge, spread
from bench.receive.report import BUNDLED, CONVENTIONAL, FLOOR, NODE, Report
from bench.receive.runtime import Function, FunctionFailed, Running, parse_request
from bench.receive.throttle import Signals, share_of, throttle
from chalicelib.responses import MAX_BODY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")

# A runtime client as small as one can be: it asks, and posts what `respond` makes of the event.
CLIENT = """
import http.client, json, os
def respond(event):
    {respond}
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"], timeout=60)
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    response = api.getresponse()
    event = json.loads(response.read())
    body, kind = respond(event)
    id = response.headers["Lambda-Runtime-Aws-Request-Id"]
    api.request("POST", f"/2018-06-01/runtime/invocation/{{id}}/{{kind}}", body{chunked})
    api.getresponse().read()
"""
ECHO = 'return json.dumps({"statusCode": event["status"]}).encode(), "response"'


def function(tmp_path, respond=ECHO, *, chunked=""):
    program = CLIENT.format(respond=respond, chunked=chunked)
    return Function("client", [sys.executable, "-c", program], tmp_path)


# --- Lambda's Runtime API


@pytest.mark.parametrize("chunked", ["", "[:5], encode_chunked=True"])
def test_a_function_is_started_delivered_to_again_and_again_and_accounted_for(tmp_path, chunked):
    with Running(function(tmp_path)) as running:
        started = running.start()
        invoked = [running.deliver(b'{"status": 200}') for _ in range(3)]
        used, peak = running.cpu_ms(), running.peak_mb()

    assert started > 0
    assert all(milliseconds > 0 for milliseconds in invoked)
    assert used > 0
    assert 1 < peak < 1000


@pytest.mark.parametrize(
    ("respond", "why"),
    [
        (ECHO, "responded b'{\"statusCode\": 503}'"),
        ('return b"{}", "error"', "sent error"),
        ('raise SystemExit("goodbye")', "goodbye"),
    ],
)
def test_a_function_that_fails_is_no_figure(tmp_path, respond, why):
    with Running(function(tmp_path, respond)) as running:
        running.start()
        with pytest.raises(FunctionFailed) as failed:
            running.deliver(b'{"status": 503}')

    assert why in str(failed.value)


REQUEST = b"POST /x/response HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "received",
    [
        REQUEST + b"Content-Length: 7\r\n\r\n" + b'{"a":1}',
        REQUEST + b"Transfer-Encoding: chunked\r\n\r\n4\r\n" + b'{"a"\r\n3;x=y\r\n:1}\r\n0\r\n\r\n',
    ],
)
def test_a_request_is_whole_or_it_is_waited_for(received):
    whole = next(end for end in range(len(received) + 1) if parse_request(received[:end]))

    assert parse_request(received[:whole]) == ("/x/response", b'{"a":1}')
    assert whole >= len(received) - 2  # the last line end of chunks says nothing


# --- the bucket


def test_the_bucket_gives_back_what_was_put_last():
    with Bucket() as bucket:
        assert bucket.last_body() == b""
        for body in (b"one", b"x" * 3_000_000):
            put = urllib.request.Request(f"{bucket.url}/b/key", body, method="PUT")
            urllib.request.urlopen(put, timeout=60).close()

        assert bucket.last_body() == b"x" * 3_000_000


# --- what is sent


@pytest.mark.slow
@pytest.mark.parametrize("shape", deliveries.HOSTILE)
def test_a_hostile_body_is_valid_json_of_the_largest_size_that_is_taken(shape):
    body = deliveries.HOSTILE[shape]()

    json.loads(body)
    assert MAX_BODY - 3000 < len(body) <= MAX_BODY


# --- rounds, ratios, verdicts


def test_every_round_measures_everything_once_forwards_and_backwards_in_turn():
    order = []
    measures = {name: lambda name=name: order.append(name) or {"ms": 1.0} for name in "abc"}

    samples = interleaved(3, measures, lambda text: None)

    assert "".join(order) == "abccbaabc"
    assert samples == {name: {"ms": [1.0, 1.0, 1.0]} for name in "abc"}


def test_no_round_begins_once_the_time_is_over_but_the_first():
    samples = interleaved(25, {"a": lambda: {"ms": 1.0}}, lambda text: None, until=0)

    assert samples == {"a": {"ms": [1.0]}}


def test_a_ratio_is_the_median_of_the_ratios_of_each_round():
    """The ratio of the medians would be 20/30: a busy round falls on both."""
    rounds = {"ours": [10.0, 20.0, 90.0], "theirs": [30.0, 25.0, 100.0]}

    judged = judge(Limit("1", "", "ms", "ours", 0.8, "theirs"), rounds)

    assert judged.spread.median == 0.8
    assert judged.verdict is Verdict.OK


@pytest.mark.parametrize(
    ("at_most", "verdict"), [(0.5, Verdict.OK), (0.4999, Verdict.MISSED), (0.6, Verdict.OK)]
)
def test_a_limit_holds_up_to_itself(at_most, verdict):
    limit = Limit("1", "", "ms", "ours", at_most, "theirs")

    assert judge(limit, {"ours": [1.0], "theirs": [2.0]}).verdict is verdict


@pytest.mark.parametrize(
    "rounds", [{}, {"ours": [1.0]}, {"theirs": [1.0]}, {"ours": [], "theirs": []}]
)
def test_what_was_not_measured_never_passes(rounds):
    limit = Limit("1", "", "ms", "ours", 1000, "theirs")

    assert judge(limit, rounds).verdict is Verdict.NOT_MEASURED


def test_the_spread_is_the_middle_half():
    assert spread([5.0, 1.0, 2.0, 3.0, 4.0]) == Spread(3.0, 2.0, 4.0)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0)


# --- shares of a CPU


def cgroup_files(folder, *names):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_a_quota_of_cgroups_version_2_is_set_for_the_process_and_its_controller_asked_for(tmp_path):
    (tmp_path / "cgroup.subtree_control").touch()
    ours = cgroup_files(tmp_path / f"hookshelf-bench-{os.getpid()}", "cgroup.procs", "cpu.max")

    with throttle(cgroups=tmp_path) as shares:
        shares.hold(4711, share_of(256))

    assert shares.name == "a cgroup quota (version 2)"
    assert (ours / "cgroup.procs").read_text() == "4711"
    assert (ours / "cpu.max").read_text() == "2894 20000"  # 256 of 1,769 MB, in microseconds
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu"


@pytest.mark.parametrize("controller", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_cgroups_version_1_is_set_for_the_process(tmp_path, controller):
    ours = cgroup_files(tmp_path / controller / f"hookshelf-bench-{os.getpid()}", "cgroup.procs")

    with throttle(cgroups=tmp_path) as shares:
        shares.hold(4711, 0.5)

    assert shares.name == "a cgroup quota (version 1)"
    assert (ours / "cgroup.procs").read_text() == "4711"
    assert (ours / "cpu.cfs_period_us").read_text() == "20000"
    assert (ours / "cpu.cfs_quota_us").read_text() == "10000"
    assert not (tmp_path / "cgroup.subtree_control").exists()


@pytest.mark.parametrize("quota", [True, False])
def test_where_no_quota_may_be_set_or_none_is_wanted_signals_hold_the_share(tmp_path, quota):
    if not quota:
        cgroup_files(tmp_path / f"hookshelf-bench-{os.getpid()}", "cgroup.procs", "cpu.max")

    with throttle(quota=quota, cgroups=tmp_path) as shares:
        assert isinstance(shares, Signals)
        assert "SIGSTOP" in shares.name

    assert len(list(tmp_path.iterdir())) == (0 if quota else 1)


def state(process):
    """`R`, `S`, or `T` where it is stopped: the third field of /proc/PID/stat."""
    stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8")
    return stat.rpartition(") ")[2][0]


def test_a_process_held_by_signals_is_stopped_and_goes_on_again_and_again():
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    shares = Signals()
    try:
        shares.hold(process.pid, 0.05)
        for _ in range(3):
            wait_until(lambda: state(process) == "T")
            wait_until(lambda: state(process) != "T")
        shares.release()
    finally:
        process.kill()
        process.wait()


def wait_until(is_so):
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.0005)


def test_a_held_process_that_has_ended_is_let_go_of():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    shares = Signals()

    process.wait()
    shares.hold(process.pid, 0.5)
    shares.release()


# --- the verdicts as a whole


def report(**peers):
    """A report of one round in which ours took 1 and each peer what is given."""
    figures = {OURS: 1.0, SIGNED: 1.0, **peers}
    sample = {name: {m: [ms] for m in MEASURES} for name, ms in figures.items()}
    share = {name: {m: [ms] for m in SHARE_MEASURES} for name, ms in figures.items()}
    tables = {0: sample, **dict.fromkeys(MEMORIES, share)}
    return Report(
        rounds=1,
        zip_bytes=14_000_000,
        versions={},
        notes=["There is no Node here (apt-get install nodejs npm): its rows are empty."],
        full_speed=sample,
        shares=dict.fromkeys(MEMORIES, share),
        memory_mb=256,
        bodies={"arrays": sample},
        judged=judged(tables, {"arrays": sample}, 14_000_000),
    )


SHARE_MEASURES = ("init", "first_invoke", "warm")
MEASURES = ("first", "init", "first_invoke", "cold_cpu", "warm", "warm_cpu", "peak", "invoke")
PEERS = {NODE: 10.0, BUNDLED: 10.0, CONVENTIONAL: 10.0, FLOOR: 1.0, PUT: 1.0}


def test_with_every_peer_there_is_a_verdict_on_every_limit():
    assert {each.verdict for each in report(**PEERS).judged} == {Verdict.OK}


def test_without_node_what_needs_it_is_not_measured_and_the_rest_is():
    without = report(**{name: ms for name, ms in PEERS.items() if name not in (NODE, BUNDLED)})
    against_node = [each for each in without.judged if "Node" in each.limit.against]
    others = [each for each in without.judged if "Node" not in each.limit.against]

    assert len(against_node) == 7
    assert {each.verdict for each in against_node} == {Verdict.NOT_MEASURED}
    assert {each.verdict for each in others} == {Verdict.OK}
    assert not without.is_good
    assert without.as_text().count("not measured") == 7
    assert "no Node here" in without.as_text()


def test_a_missed_limit_is_no_success():
    missed = report(**PEERS | {PUT: 0.4})

    assert [each.limit.against for each in missed.judged if each.verdict is Verdict.MISSED] == [PUT]
    assert not missed.is_good
    assert report(**PEERS).is_good


# --- installing


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """The only folder of programs there is, and the folder for what is installed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(install, "BUILD", tmp_path / "build")
    return folder


def test_without_node_its_rows_are_absent_and_it_is_said(programs):
    functions, notes, versions = install.node_peers(lambda text: None)

    assert (functions, versions) == ([], {})
    assert "apt-get install nodejs npm" in notes[0]


def test_what_lambdas_client_for_node_needs_is_named_where_it_is_missing(programs):
    (programs / "cmake").symlink_to(shutil.which("true", path=os.defpath))

    client, notes = install.node_client(lambda text: None)

    assert client.name == "loop.mjs"
    assert "a loop of our own" in notes[0]
    assert "apt-get install autoconf automake g++ libtool make python3" in notes[0]


def test_what_was_made_halfway_is_made_again(tmp_path):
    home, steps = tmp_path / "home", []

    def interrupted(folder):
        folder.mkdir()
        raise InstallError("network")

    def whole(folder):
        folder.mkdir()
        (folder / "file").touch()

    with pytest.raises(InstallError):
        install.once(home, ["recipe"], interrupted, steps.append)
    for _ in range(2):
        install.once(home, ["recipe"], whole, steps.append)

    assert steps == ["installing home"] * 2
    assert (home / "file").exists()
