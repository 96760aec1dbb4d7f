"""The measure of receiving: that its server, its ratios and its verdicts are right."""

import json
import os
import shutil
import sys
import urllib.request

import pytest

from bench.receive import deliveries, install
from bench.receive.bucket import Bucket
from bench.receive.install import InstallError
from bench.receive.measure import interleaved
from bench.receive.ratios import Limit, Spread, Verdict, judge, spread
from bench.receive.runtime import Function, FunctionFailed, Running, parse_request

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")

# A runtime client as small as one can be: it asks, and posts what `respond` makes of the event.
CLIENT = """
import http.client, json, os
def respond(event):
    {respond}
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
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
            urllib.request.urlopen(put).close()

        assert bucket.last_body() == b"x" * 3_000_000


# --- what is sent


@pytest.mark.slow
@pytest.mark.parametrize("shape", deliveries.HOSTILE)
def test_a_hostile_body_is_valid_json_of_the_largest_size_that_is_taken(shape):
    body = deliveries.HOSTILE[shape]()

    json.loads(body)
    assert deliveries.LARGEST - 3000 < len(body) <= deliveries.LARGEST


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
