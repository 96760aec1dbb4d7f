"""`hookshelf replay` and `tail --to`: archived deliveries, sent again to a server of the user's."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.archives import archive_of, moment
from support.project import PROJECT

from chalicelib.archive import to_object
from chalicelib.delivery import Delivery
from chalicelib.settings import from_environment
from chalicelib.sources import Keys, source_named
from chalicelib.store import open_store
from hookshelf.__main__ import main
from hookshelf.local.tryout import public_key_of, signing_key
from hookshelf.replay.target import Connection, NoResponse, RefusedTarget, parse_target

NOON = moment("2026-11-18T12:00")
NOW = moment("2026-11-20T12:00")
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
Answer = Callable[["Receiver", str], int | None]


class Receiver(ThreadingHTTPServer):
    """A server that records what it is sent. `answer` gives the status; None hangs up."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer: Answer = lambda receiver, key: 200) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.lock = Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hooks?token=t"

    def handle_error(self, *_: object) -> None:
        """Whoever hung up has hung up."""

    @property
    def keys(self) -> list[str]:
        return [key for key, _, _ in self.received]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:  # whoever sent it was killed meanwhile
            self.close_connection = True
            return
        key = self.headers["x-hookshelf-replay"]
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.server.lock:
            self.server.received.append((key, headers, body))
        status = self.server.answer(self.server, key)
        if status is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        response = b'{"ok": true}'
        self.send_response(status)
        if status in (301, 302, 307):
            self.send_header("location", self.server.url)
        self.send_header("content-length", str(len(response)))
        self.end_headers()
        self.wfile.write(response)

    def do_GET(self) -> None:
        raise AssertionError("a redirect was followed")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def environ(
    folder_environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    apps = {"shop": {"source": "standard", "secrets": [SECRET]}}
    (tmp_path / "apps.json").write_text(json.dumps(apps))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return {**folder_environ, "APPS_FILE": str(tmp_path / "apps.json")}


def received(environ: dict[str, str], n: int, arrived: datetime, app: str = "shop") -> str:
    """Archive what a sender that follows Standard Webhooks sent; its key."""
    standard = source_named("standard")
    assert standard.example and standard.sign
    body = standard.example(n, int(arrived.timestamp()))
    headers = standard.sign(body, SECRET, int(arrived.timestamp()))
    headers |= {"content-type": "application/json", "user-agent": f"sender/{n}"}
    obj = to_object(Delivery(app, headers, body, arrived), standard, verdict="verified")
    open_store(from_environment(environ), environ["ARCHIVE_BUCKETS"]).put(obj)
    return obj.key


def some(environ: dict[str, str], count: int = 5) -> list[str]:
    return [received(environ, n, NOON + timedelta(hours=n)) for n in range(count)]


def replay(environ: dict[str, str], url: str, *arguments: str) -> Result:
    return CliRunner().invoke(
        main, ["replay", "--to", url, "--allow-private", *arguments], env=environ
    )


# --- what is sent


@pytest.mark.parametrize("kept", ["raw", "compacted", "compacted alone"])
def test_the_same_bytes_and_headers_are_sent_in_order_of_arrival(environ, receiver, kept):
    keys = some(environ)
    if kept != "raw":
        list(archive_of(environ, NOW).compact())
    bucket = Path(environ["ARCHIVE_FOLDER"], "events")
    bodies = {key: (bucket / key).read_bytes() for key in keys}
    metadata = {key: json.loads((bucket / f"{key}.meta").read_text()) for key in keys}
    if kept == "compacted alone":
        for key in keys:
            (bucket / key).unlink()
    done = replay(environ, receiver.url)

    assert done.exit_code == 0, done.output
    assert done.stdout == "5 deliveries: 5 acknowledged.\n"
    assert receiver.keys == keys
    for key, headers, body in receiver.received:
        sent = {f"h-{name}": value for name, value in headers.items()}
        assert body == bodies[key]
        assert {
            k: v for k, v in metadata[key].items() if k.startswith("h-")
        }.items() <= sent.items()
        assert set(headers) - {name.removeprefix("h-") for name in metadata[key]} == {
            "x-hookshelf-replay", "host", "content-length"
        }  # fmt: skip


def test_deliveries_of_several_apps_are_sent_in_the_order_in_which_they_came(environ, receiver):
    keys = [received(environ, n, NOON + timedelta(hours=n), "ab"[n % 2]) for n in range(6)]
    replay(environ, receiver.url)

    assert receiver.keys == keys


def test_only_what_is_asked_for_is_sent(environ, receiver, tmp_path):
    keys = some(environ)
    received(environ, 9, NOON, "other")
    file = tmp_path / "keys"
    file.write_text(json.dumps({"key": keys[3]}) + "\n" + keys[1] + "\n\n")
    for arguments, expected in (
        (
            ["--app", "shop", "--since", "2026-11-18T14:00", "--until", "2026-11-18T15:30"],
            keys[2:4],
        ),
        (["contact-2", "--app", "shop"], keys[2:3]),
        (["--type", "contact.created", "--app", "shop"], keys),
        (["--keys", str(file)], [keys[1], keys[3]]),
    ):
        receiver.received.clear()
        assert replay(environ, receiver.url, *arguments).exit_code == 0
        assert receiver.keys == expected


def test_a_dry_run_prints_the_number_and_sends_nothing(environ, receiver, tmp_path):
    some(environ)
    done = replay(environ, receiver.url, "--dry-run")
    in_json = replay(environ, receiver.url, "--dry-run", "--json")
    where = receiver.url.partition("?")[0]

    assert (done.exit_code, receiver.received, list(Path().iterdir())) == (0, [], [])
    assert done.stdout == f"5 deliveries would be sent to {where}.\n"
    assert json.loads(in_json.stdout) == {"deliveries": 5, "acknowledged_before": 0}


@pytest.mark.parametrize("content", ["", "{}\n", "{\n"])
def test_a_list_that_names_nothing_is_misuse_and_not_everything(
    environ, receiver, tmp_path, content
):
    some(environ)
    (tmp_path / "keys").write_text(content)

    assert replay(environ, receiver.url, "--keys", str(tmp_path / "keys")).exit_code == 2
    assert receiver.received == []


def test_a_key_that_is_not_there_is_named_before_anything_is_sent(environ, receiver, tmp_path):
    key = some(environ)[0]
    (tmp_path / "keys").write_text(f"{key}\n{key.replace('shop', 'shpo')}\n")
    done = replay(environ, receiver.url, "--keys", str(tmp_path / "keys"))

    assert done.exit_code == 1
    assert key.replace("shop", "shpo") in done.stderr
    assert receiver.received == []


def test_where_nothing_matches_nothing_is_sent(environ, receiver):
    some(environ)
    done = replay(environ, receiver.url, "nobody@example.com")

    assert done.exit_code == 1
    assert "Nothing matches" in done.stderr


def test_what_was_altered_is_not_sent(environ, receiver):
    keys = some(environ)
    Path(environ["ARCHIVE_FOLDER"], "events", keys[2]).write_bytes(b"{}")
    done = replay(environ, receiver.url)

    assert done.exit_code == 1
    assert f"altered, and not sent  {keys[2]}" in done.stdout
    assert receiver.keys == keys[:2] + keys[3:]


def test_a_new_signature_can_be_made_for_receivers_that_refuse_old_ones(environ, receiver):
    some(environ, 1)
    assert replay(environ, receiver.url, "--re-sign").exit_code == 0
    standard = source_named("standard")
    assert standard.secret and standard.verify and standard.signed_at
    (_, headers, body) = receiver.received[0]
    delivery = Delivery("shop", headers, body, NOW)
    assert standard.verify(delivery, Keys(secrets=(standard.secret(SECRET),)))
    assert abs((standard.signed_at(delivery) or 0) - time.time()) < 600
    assert headers["user-agent"] == "sender/0"


def test_gzip_that_was_unpacked_on_arrival_is_not_announced_again(environ, receiver):
    generic = source_named("generic")
    obj = to_object(Delivery("other", {"content-encoding": "gzip"}, b"{}", NOON), generic)
    open_store(from_environment(environ), "events").put(obj)
    replay(environ, receiver.url)

    assert "content-encoding" not in receiver.received[0][1]


def test_rate_is_so_many_requests_in_a_second(environ, receiver):
    some(environ)
    started = time.monotonic()
    replay(environ, receiver.url, "--rate", "10")

    assert time.monotonic() - started >= 0.4


# --- what is not acknowledged


def failing(*statuses: int | None) -> Answer:
    """The first answers to each delivery; then 200."""

    def answer(receiver: Receiver, key: str) -> int | None:
        times = receiver.keys.count(key)
        return statuses[times - 1] if times <= len(statuses) else 200

    return answer


@pytest.mark.parametrize("status", [500, 302, 404, 410, 429, None])
def test_whatever_is_not_2xx_is_sent_again(environ, receiver, status):
    keys = some(environ, 2)
    receiver.answer = failing(status)

    assert replay(environ, receiver.url).exit_code == 0
    assert receiver.keys == [keys[0], keys[0], keys[1], keys[1]]


def test_a_server_that_hangs_is_asked_again_after_the_timeout(environ, receiver):
    keys = some(environ, 1)

    def hang_once(receiver: Receiver, key: str) -> int:
        if len(receiver.received) == 1:
            time.sleep(3)
        return 200

    receiver.answer = hang_once
    done = replay(environ, receiver.url, "--timeout", "0.3")

    assert done.exit_code == 0
    assert set(receiver.keys) == set(keys)
    assert len(receiver.keys) >= 2  # where the machine is busy, 0.3 s pass once more


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pauses."""
    monkeypatch.setattr("hookshelf.replay.forward._LONGEST_WAIT", 0.01)


def test_what_is_still_refused_ends_in_exit_1_and_the_next_run_goes_on(environ, receiver, hurried):
    keys = some(environ)
    receiver.answer = lambda receiver, key: 500 if key == keys[2] else 200
    first = replay(environ, receiver.url, "--receipt", "r")
    receiver.answer = lambda receiver, key: 200
    receiver.received.clear()
    second = replay(environ, receiver.url, "--receipt", "r")

    assert (first.exit_code, second.exit_code) == (1, 0)
    assert f"500  {keys[2]}" in first.stdout
    assert "--receipt r" in first.stderr
    assert receiver.keys == [keys[2]]
    assert second.stdout == "5 deliveries: 1 acknowledged, 4 acknowledged before.\n"


@pytest.mark.slow
def test_where_nobody_takes_anything_the_run_ends_early(environ, receiver, hurried):
    some(environ, 12)
    receiver.answer = lambda receiver, key: 503
    done = replay(environ, receiver.url)

    assert done.exit_code == 1
    assert "not sent" in done.stdout
    assert len(set(receiver.keys)) < 12


# --- the receipt


def test_without_a_name_the_receipt_lies_in_the_current_folder_and_is_named(environ, receiver):
    keys = some(environ)
    done = replay(environ, receiver.url)
    (receipt,) = Path().iterdir()
    _, *lines = map(json.loads, receipt.read_text().splitlines())

    assert f"Receipt: {receipt}" in done.stderr
    assert [line["key"] for line in lines] == keys
    assert "token=t" not in receipt.read_text()


def test_a_receipt_whose_last_line_was_cut_short_still_counts(environ, receiver):
    keys = some(environ)
    replay(environ, receiver.url, "--receipt", "r")
    receipt = Path("r")
    receipt.write_bytes(receipt.read_bytes()[:-9])
    receiver.received.clear()

    assert replay(environ, receiver.url, "--receipt", "r").exit_code == 0
    assert receiver.keys == [keys[4]]
    assert len(receipt.read_text().splitlines()) == 6


@pytest.mark.parametrize("content", ['{"replay": 1, "target": "of another"}\n', "a file\n", "[]\n"])
def test_a_file_that_is_no_receipt_of_this_target_is_refused(environ, receiver, content):
    some(environ)
    Path("r").write_text(content)

    assert replay(environ, receiver.url, "--receipt", "r").exit_code == 2
    assert Path("r").read_text() == content
    assert receiver.received == []


# --- tail --to


def test_tail_forwards_the_backlog_too(environ, receiver):
    keys = some(environ)
    arguments = ["tail", "--since", "2026-11-18T14:00", "--to", receiver.url, "--allow-private"]
    done = CliRunner().invoke(main, arguments, env=environ)

    assert done.exit_code == 0, done.output
    assert receiver.keys == keys[2:]
    assert [line[:3] for line in done.stdout.splitlines()] == ["200"] * 3


def test_tail_says_what_the_receiver_said_and_ends_with_exit_1(environ, receiver, hurried):
    some(environ, 1)
    receiver.answer = lambda receiver, key: 500
    arguments = ["tail", "--json", "--to", receiver.url, "--allow-private"]
    done = CliRunner().invoke(main, arguments, env=environ)

    assert done.exit_code == 1
    assert json.loads(done.stdout)["status"] == 500


# --- where nothing is sent


def test_a_private_target_needs_to_be_meant(environ, receiver):
    some(environ)
    done = CliRunner().invoke(main, ["replay", "--to", receiver.url], env=environ)

    assert done.exit_code == 2
    assert "--allow-private" in done.stderr
    assert "token=t" not in done.output
    assert receiver.received == []


PRIVATE = [
    "https://127.0.0.1/",  # loopback
    "https://localhost/",
    "https://[::1]/",
    "https://10.1.2.3/",  # private
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://[fd00::1]/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/",  # link-local
    "https://[fe80::1]/",
    "https://[::ffff:127.0.0.1]/",  # IPv4 inside IPv6
    "https://[::ffff:169.254.169.254]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://2130706433/",  # decimal
    "https://0177.0.0.1/",  # octal
    "https://0x7f.0.0.1/",  # hexadecimal
    "https://127.1/",
    "https://0.0.0.0/",
    "https://[::]/",
    "https://224.0.0.1/",
]


@pytest.mark.parametrize("url", PRIVATE)
def test_addresses_that_are_not_the_internets_are_refused(environ, url):
    some(environ, 1)
    done = CliRunner().invoke(main, ["replay", "--to", url], env=environ)

    assert done.exit_code == 2
    assert "--allow-private" in done.stderr


@pytest.mark.parametrize("url", PRIVATE)
def test_they_are_refused_as_they_are_connected_to(url):
    target = parse_target(url, allow_private=False)

    with pytest.raises(RefusedTarget):
        Connection(target, 1).post({}, b"")


def test_a_name_that_turns_private_between_check_and_connection_is_refused(receiver):
    """DNS rebinding: what counts is the address that is connected to."""
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])
    port = receiver.server_address[1]
    target = parse_target(
        f"https://rebound.example.com:{port}/",
        allow_private=False,
        resolve=lambda host, port: next(answers),
    )
    assert target.address() == "93.184.215.14"

    with pytest.raises(RefusedTarget, match="127.0.0.1"):
        Connection(target, 1).post({}, b"")
    assert receiver.received == []


def test_a_name_with_one_private_address_among_public_ones_is_refused():
    target = parse_target(
        "https://mixed.example.com/",
        allow_private=False,
        resolve=lambda host, port: ["93.184.215.14", "10.0.0.1"],
    )

    with pytest.raises(RefusedTarget):
        target.address()


def test_each_connection_is_checked_anew(receiver):
    """A kept connection goes on; the next one resolves the name again."""
    port = receiver.server_address[1]
    answers = iter([["127.0.0.1"], []])
    target = parse_target(
        f"http://local.example.com:{port}/",
        allow_private=True,
        resolve=lambda host, port: next(answers),
    )
    connection = Connection(target, 5)
    for _ in range(3):
        assert connection.post({"x-hookshelf-replay": "k"}, b"{}").status == 200
    connection.close()

    assert len(receiver.received) == 3
    with pytest.raises((NoResponse, IndexError)):
        connection.post({}, b"")


def test_http_to_the_internet_is_refused_even_where_private_is_meant():
    for allow_private in (False, True):
        target = parse_target(
            "http://93.184.215.14/", allow_private=allow_private, resolve=lambda h, p: [h]
        )
        with pytest.raises(RefusedTarget, match="https"):
            target.address()


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com/", "https:///x", "example.com", "https://user:secret@example.com/",
     "https://exa mple.com/", "https://example.com:0/", "https://example.com:99999/", ""],
)  # fmt: skip
def test_what_is_no_target_is_misuse_and_not_repeated(environ, url):
    some(environ, 1)
    done = CliRunner().invoke(main, ["replay", "--to", url], env=environ)

    assert done.exit_code == 2
    assert "secret" not in done.output


def test_the_stages_own_endpoint_is_known_by_its_token(environ, receiver):
    some(environ, 1)
    environ["STAGE_VAR_validToken"] = "another,t"
    done = replay(environ, receiver.url + "&app=shop")

    assert done.exit_code == 2
    assert "archived again" in done.stderr


def test_an_endpoint_that_archives_into_the_same_bucket_is_known_by_its_response(environ):
    class Own(_Handler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.server.received.append(("", {}, b""))
            response = b'{"result":"success","bucket":"events","key":"shop/x"}'
            self.send_response(200)
            self.send_header("content-length", str(len(response)))
            self.end_headers()
            self.wfile.write(response)

    some(environ)
    with Receiver() as server:
        server.RequestHandlerClass = Own
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        done = replay(environ, server.url)
        server.shutdown()

    assert done.exit_code == 2
    assert "own endpoint" in done.stderr
    assert len(server.received) < 5


# --- killed, again and again


class Chaos:
    """Fails, hangs, redirects, answers 500 and hangs up at random."""

    def __init__(self) -> None:
        self._chance = random.Random(7)

    def __call__(self, receiver: Receiver, key: str) -> int | None:
        with receiver.lock:
            kind = self._chance.random()
        if kind < 0.002:
            time.sleep(6)
        return 500 if kind < 0.1 else 302 if kind < 0.15 else None if kind < 0.2 else 200


@pytest.mark.slow
def test_killed_ten_times_and_resumed_everything_arrives_and_nothing_acknowledged_again(
    environ, receiver, tmp_path
):
    keys = {received(environ, n, NOON + timedelta(seconds=n)) for n in range(2_000)}
    list(archive_of(environ, NOW).compact())
    receipt = tmp_path / "receipt"
    receiver.answer = Chaos()
    command = [sys.executable, "-m", "hookshelf", "replay", "--to", receiver.url]
    command += ["--allow-private", "--receipt", str(receipt), "--concurrency", "8"]
    command += ["--timeout", "5"]  # so that a busy machine is no fault
    kills = 0
    for _ in range(30):
        before = acknowledged(receipt)
        start = len(receiver.received)
        with subprocess.Popen(command, cwd=PROJECT, env=os.environ | environ) as process:
            while process.poll() is None and (
                kills == 10 or len(acknowledged(receipt)) < len(before) + 150
            ):
                time.sleep(0.02)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
        assert not before & set(receiver.keys[start:])
        if process.returncode == 0:
            break

    assert (kills, process.returncode) == (10, 0)
    assert set(receiver.keys) == acknowledged(receipt) == keys
    bucket = Path(environ["ARCHIVE_FOLDER"], "events")
    for key, headers, body in receiver.received:
        metadata = json.loads((bucket / f"{key}.meta").read_text())
        assert body == (bucket / key).read_bytes()
        assert headers["webhook-signature"] == metadata["h-webhook-signature"]
        assert headers["user-agent"] == metadata["h-user-agent"]


def acknowledged(receipt: Path) -> set[str]:
    """The keys in whole lines of a receipt."""
    lines = receipt.read_bytes().split(b"\n")[1:-1] if receipt.exists() else []
    return {json.loads(line)["key"] for line in lines}


# --- what the senders' own libraries say


def _sendgrid(headers: Mapping[str, str], body: bytes, key: str) -> bool:
    from sendgrid.helpers.eventwebhook import EventWebhook, EventWebhookHeader

    webhook = EventWebhook(key)
    return bool(
        webhook.verify_signature(
            body.decode(),
            headers[EventWebhookHeader.SIGNATURE.lower()],
            headers[EventWebhookHeader.TIMESTAMP.lower()],
        )
    )


def _standard(headers: Mapping[str, str], body: bytes, key: str) -> bool:
    from standardwebhooks import Webhook

    return Webhook(key).verify(body, dict(headers)) is not None


def _svix(headers: Mapping[str, str], body: bytes, key: str) -> bool:
    from svix.webhooks import Webhook

    Webhook(key).verify(body, dict(headers))  # raises
    return True


def _stripe(headers: Mapping[str, str], body: bytes, key: str) -> bool:
    import stripe

    return bool(stripe.Webhook.construct_event(body, headers["stripe-signature"], key))


def _slack(headers: Mapping[str, str], body: bytes, key: str) -> bool:
    from slack_sdk.signature import SignatureVerifier

    return SignatureVerifier(key).is_valid_request(body, dict(headers))


@pytest.mark.slow
@pytest.mark.parametrize("re_sign", [[], ["--re-sign"]], ids=["as it came", "signed again"])
@pytest.mark.parametrize(
    ("name", "verify"),
    [("sendgrid", _sendgrid), ("standard", _standard), ("svix", _svix), ("stripe", _stripe),
     ("slack", _slack)],
)  # fmt: skip
def test_a_replayed_delivery_verifies_with_the_senders_own_library(
    environ: dict[str, str], receiver: Receiver, name: str, verify: Any, re_sign: list[str],
    tmp_path: Path,
) -> None:  # fmt: skip

    source = source_named(name)
    assert source.sign
    key = signing_key(source)
    body = (source.example or source_named("generic").example)(1, int(time.time()))  # type: ignore[misc]
    headers = source.sign(body, key, int(time.time()))
    obj = to_object(Delivery(name, headers, body, NOON), source)
    open_store(from_environment(environ), "events").put(obj)
    (tmp_path / "key").write_text(key)
    if re_sign:
        re_sign = [*re_sign, "--key", str(tmp_path / "key")]
    assert replay(environ, receiver.url, "--app", name, *re_sign).exit_code == 0
    _, sent, sent_body = receiver.received[0]

    assert verify(sent, sent_body, key if source.secret else public_key_of(key))
