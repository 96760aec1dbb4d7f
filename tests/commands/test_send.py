"""`hookshelf send` plays a source against `chalice local`, as someone trying it out would."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.project import PROJECT
from support.ways import start

from chalicelib.sources import Source, source_named, source_names, text_secret
from hookshelf.__main__ import main

SIGNERS = sorted(name for name in source_names() if source_named(name).sign)
LOCAL_TOKEN = "local-token-for-trying-out-only"
SECONDS = 60  # for a command to end, on a machine busy with other tests


@dataclass
class Served:
    """A copy of the project, served, and a path of its archive for one test alone."""

    project: Path
    port: int
    path: str = ""

    @property
    def apps_file(self) -> Path:
        return self.project / "chalicelib" / "apps.json"

    def url(self, app: str, token: str = LOCAL_TOKEN) -> str:
        query = {"token": token, "app": app, "bucket": f"events/{self.path}"}
        return f"http://127.0.0.1:{self.port}/input?{urlencode(query)}"

    def send(self, source: str, *arguments: str, app: str = "", **environ: str) -> Result:
        url = self.url(app or source)
        return run("send", "--source", source, "--url", url, *arguments, **environ)

    def stored(self) -> list[tuple[str, bytes]]:
        """Key and body of each delivery, as they arrived."""
        root = self.project / "archive" / "events"
        return [
            (path.relative_to(root).as_posix(), path.read_bytes())
            for path in sorted((root / self.path).glob("[!_]*/**/*"))
            if path.is_file() and path.suffix != ".meta"
        ]

    def verify(self, *arguments: str) -> Result:
        return run(
            *("verify", "--bucket", f"events/{self.path}", *arguments),
            ARCHIVE_FOLDER=str(self.project / "archive"),
            ARCHIVE_BUCKETS="events",
            APPS_FILE=str(self.apps_file),
            HOOKSHELF_TRYOUT="true",
        )

    def configure(self, **apps: Any) -> None:
        """Add apps to the file that is already being served."""
        there = json.loads(self.apps_file.read_text()) if self.apps_file.exists() else {}
        new = self.apps_file.with_suffix(".new")
        new.write_text(json.dumps(there | apps))
        new.replace(self.apps_file)


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environ)


@contextmanager
def serving(project: Path) -> Iterator[Served]:
    """Serve a copy of the project on a free port until the block ends."""
    for name in ("app.py", "chalicelib", "hookshelf", ".chalice"):
        copy(PROJECT / name, project / name)
    running = start(project)
    try:
        yield Served(project, running.port)
    finally:
        running.stop()


def copy(source: Path, target: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "deployed", "deployments")
    if source.is_dir():
        shutil.copytree(source, target, ignore=ignored)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("send") / "project") as served:
        served.configure()  # no app, so that every source has the key for trying out
        yield served


@pytest.fixture
def served(shared: Served) -> Served:
    return Served(shared.project, shared.port, f"test-{uuid4().hex}")


# --- the whole of it, as the README would have it


def test_what_is_sent_signed_is_verified_until_someone_alters_it(tmp_path: Path) -> None:
    with serving(tmp_path / "project") as served:
        send = ["send", "--source", "sendgrid", "--sign", "--port", str(served.port)]
        sent = hookshelf(served.project, *send)
    status, response = sent.stdout.split(maxsplit=1)
    verified = hookshelf(served.project, "verify")
    key = json.loads(response)["key"]
    file = served.project / "archive" / "events" / key
    file.write_bytes(file.read_bytes().replace(b"delivered", b"bounced"))
    altered = hookshelf(served.project, "verify", "--json")

    assert (sent.returncode, status) == (0, "200")
    assert (verified.returncode, verified.stdout) == (0, "1 delivery: 1 verified\n")
    assert altered.returncode == 1
    assert json.loads(altered.stdout) == {"key": key, "verdict": "bad", "state": "altered"}


def hookshelf(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line from that project, with no settings but its own."""
    return subprocess.run(
        [sys.executable, "-m", "hookshelf", *arguments],
        cwd=project,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


# --- signing


@pytest.mark.parametrize("source", SIGNERS)
def test_every_source_can_be_played_and_is_verified(served: Served, source: str) -> None:
    done = served.send(source, "--sign")

    assert (done.exit_code, done.stdout[:5]) == (0, "200  ")
    assert served.verify().stdout == "1 delivery: 1 verified\n"


def test_a_source_that_signs_in_the_body_can_be_played_too(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sign_body(body: bytes, secret: str, at: int) -> bytes:
        return json.dumps({**json.loads(body), "signature": secret}).encode()

    source = Source(name="generic", secret=text_secret, sign_body=sign_body)
    monkeypatch.setattr("hookshelf.commands.send.source_named", lambda name: source)
    done = served.send("generic", "--secret", "mine")
    [(_, body)] = served.stored()

    assert done.stdout[:5] == "200  "
    assert json.loads(body)["signature"] == "mine"


@pytest.mark.parametrize("source", SIGNERS)
def test_a_bad_signature_is_bad(served: Served, source: str) -> None:
    done = served.send(source, "--bad-signature")
    verified = served.verify()

    assert (done.exit_code, done.stdout[:5]) == (0, "200  ")
    assert verified.exit_code == 1
    assert verified.stdout.endswith("1 delivery: 1 bad\n")


@pytest.mark.parametrize("source", SIGNERS)
def test_unless_asked_nothing_is_signed(served: Served, source: str) -> None:
    served.send(source)

    assert served.verify().stdout == "1 delivery: 1 unsigned\n"


def test_plain_json_can_be_sent_and_not_signed(served: Served) -> None:
    sent = served.send("generic")
    signed = served.send("generic", "--sign")

    assert sent.exit_code == 0
    assert (signed.exit_code, len(served.stored())) == (2, 1)
    assert "generic does not sign. Leave out --sign" in signed.stderr


@pytest.mark.parametrize("source", SIGNERS)
def test_a_generated_key_is_shown_and_verifies_once_it_is_configured(
    served: Served, source: str
) -> None:
    app = f"generated-{source}"
    served.configure(**{app: {"source": source}})
    done = served.send(source, "--generate", app=app)
    kind, _, shown = done.stderr.strip().partition(": ")
    field = {"public key": "public_keys", "secret": "secrets"}[kind]
    served.configure(**{app: {"source": source, "signature": "require", field: [shown]}})

    assert done.exit_code == 0
    assert served.verify().stdout == "1 delivery: 1 verified\n"
    assert served.send(source, "--sign", app=app).stdout.startswith("403  ")


def test_every_generated_key_is_another(served: Served) -> None:
    shown = {served.send("stripe", "--generate").stderr for _ in range(3)}

    assert len(shown) == 3


@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_secret_of_ones_own_signs(served: Served, way: str) -> None:
    secret = "whsec_" + "c2VjcmV0" * 4
    app = f"secret-of-{way}"
    served.configure(**{app: {"source": "stripe", "secrets": [secret], "signature": "require"}})
    unsigned = served.send("stripe", app=app)
    if way == "option":
        signed = served.send("stripe", "--secret", secret, app=app)
    else:
        signed = served.send("stripe", app=app, HOOKSHELF_SECRET=secret)

    assert (unsigned.exit_code, unsigned.stdout[:5]) == (1, "403  ")
    assert (signed.exit_code, signed.stdout[:5]) == (0, "200  ")
    assert secret not in signed.output


def test_a_private_key_of_ones_own_signs(served: Served, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    file = tmp_path / "key.pem"
    file.write_bytes(pem(key))
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    served.configure(own={"source": "sendgrid", "public_keys": [public.decode()]})
    done = served.send("sendgrid", "--key", str(file), app="own")

    assert done.exit_code == 0
    assert served.verify().stdout == "1 delivery: 1 verified\n"


def pem(key: Any, password: bytes = b"") -> bytes:
    protection = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    found: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
    )
    return found


# --- how often, in what order, and what


def test_a_repeated_delivery_is_an_attempt_with_the_same_hash_and_another_key(
    served: Served,
) -> None:
    done = served.send("sendgrid", "--sign", "--repeat", "3")
    stored = served.stored()

    assert done.stdout.count("200  ") == 3
    assert len({key for key, _ in stored}) == 3
    assert len({hash_of(key) for key, _ in stored}) == len({body for _, body in stored}) == 1
    assert served.verify().stdout == "3 deliveries: 3 verified\n"


@pytest.mark.parametrize("source", sorted(source_names()))
def test_several_deliveries_differ(served: Served, source: str) -> None:
    done = served.send(source, "--count", "3")

    assert done.stdout.count("200  ") == 3
    assert len({hash_of(key) for key, _ in served.stored()}) == 3


@pytest.mark.parametrize(
    ("arguments", "order"),
    [([], "112233"), (["--reorder"], "332211")],
    ids=["as they are", "reordered"],
)
def test_deliveries_can_come_last_first(served: Served, arguments: list[str], order: str) -> None:
    served.send("generic", "--count", "3", "--repeat", "2", *arguments)
    bodies = [json.loads(body)["id"] for _, body in served.stored()]

    assert bodies == [f"example-{n}" for n in order]


def test_the_bytes_of_a_file_are_sent_as_they_are(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(b'[{"n": 12345678901234567890, "e": "\\u00e9"}]\r\n\n')
    done = served.send("sendgrid", "--sign", "--bytes", str(file))

    assert done.exit_code == 0
    assert [body for _, body in served.stored()] == [file.read_bytes()]
    assert served.verify().stdout == "1 delivery: 1 verified\n"


def test_a_refusal_is_shown_with_exit_code_1(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(b'{"a": ')
    done = served.send("generic", "--bytes", str(file))

    assert done.exit_code == 1
    assert done.stdout.startswith('400  {"result":"fail","reason":"Body is not valid JSON"')


def test_one_refusal_among_many_is_exit_code_1(served: Served) -> None:
    done = run("send", "--url", served.url("sendgrid", token="wrong"), "--count", "2")

    assert done.exit_code == 1
    assert done.stdout.count("403  ") == 2


def test_in_json_each_response_is_a_line(served: Served) -> None:
    done = served.send("stripe", "--sign", "--count", "2", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]

    assert [line["status"] for line in lines] == [200, 200]
    assert [line["response"]["key"] for line in lines] == [key for key, _ in served.stored()]


def test_without_a_url_it_sends_to_where_make_run_serves(served: Served) -> None:
    app = f"plain-{uuid4().hex[:8]}"
    done = run("send", "--source", "generic", "--port", str(served.port), "--app", app)

    assert done.exit_code == 0
    assert list((served.project / "archive" / "events" / app).rglob("*.json"))


# --- what goes wrong


def test_no_server_is_a_clear_error_without_the_token() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        done = run("send", "--port", str(port))

    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: No response from http://127.0.0.1:{port}/input: ")
    assert done.stderr.endswith(". Is `make run` running?\n")
    assert LOCAL_TOKEN not in done.output


CANARY = "token-that-nobody-may-see"


@pytest.mark.parametrize(
    "url",
    [
        f"http://127.0.0.1:9/input?token={CANARY} and a space",
        f"http://127.0.0.1:9/input?token={CANARY}\n",
        f"http://127.0.0.1:9/input?token={CANARY}é",
        f"http://127.0.0.1:port/input?token={CANARY}",
        f"http://[::1/input?token={CANARY}",
        f"http:///input?token={CANARY}",
        f"gopher://127.0.0.1/input?token={CANARY}",
        f"127.0.0.1:9/input?token={CANARY}",
        f"/input?token={CANARY}",
    ],
)
def test_a_url_that_cannot_be_sent_to_is_misuse_and_is_not_repeated(url: str) -> None:
    done = run("send", "--url", url)

    assert done.exit_code == 2
    assert "Invalid value for --url: begin with http:// or https://" in done.stderr
    assert CANARY not in done.output


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (f"/input?token={CANARY}", "/input"),
        (f"/input&token={CANARY}", "/input"),
        (f"/input/token={CANARY}", "/input/token"),
        (f"/input%3Ftoken={CANARY}", "/input"),
    ],
)
def test_where_nobody_responds_the_url_that_was_tried_is_named_without_its_query(
    query: str, shown: str
) -> None:
    done = run("send", "--url", f"http://user:{CANARY}@127.0.0.1:9{query}")

    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: No response from http://127.0.0.1:9{shown}: ")
    assert done.stderr.endswith(". Is the address right?\n")
    assert CANARY not in done.output


def test_an_empty_body_is_said_to_be_one(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "nothing.json"
    file.touch()
    done = served.send("generic", "--bytes", str(file))

    assert done.exit_code == 1
    assert done.stderr == f"{file} is empty: what is sent is an empty body.\n"


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 2oo OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
    ],
)
def test_a_response_that_is_no_http_is_a_clear_error(response: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=respond_once, args=(server, response))
        thread.start()
        done = run("send", "--url", f"http://127.0.0.1:{server.getsockname()[1]}/?token={CANARY}")
        thread.join()

    assert done.exit_code == 1
    assert done.stderr.startswith("Error: No response from http://127.0.0.1:")
    assert CANARY not in done.output


HOSTILE = "\x1b]0;owned\x07 \x9b2J \u202egnirts \x7f \u2028next \r\nError: none"


@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=["text", "json"])
def test_what_a_server_responds_cannot_speak_to_the_terminal(arguments: list[str]) -> None:
    body = json.dumps({"reason": HOSTILE}, ensure_ascii=False).encode() + HOSTILE.encode()
    body = body if not arguments else json.dumps({"reason": HOSTILE}).encode()
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=respond_once, args=(server, head + body))
        thread.start()
        done = run("send", "--url", f"http://127.0.0.1:{server.getsockname()[1]}/", *arguments)
        thread.join()

    assert done.stdout.endswith("\n")
    assert done.stdout[:-1].isprintable()
    assert "\\u001b]0;owned\\u0007" in done.stdout


def respond_once(server: socket.socket, response: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(response)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "nobody"], "'nobody' is not one of"),
        (["--count", "0"], "0 is not in the range"),
        (["--repeat", "-1"], "-1 is not in the range"),
        (["--port", "80000"], "80000 is not in the range 1<=x<=65535"),
        (["--bytes", "no-such-file"], "'no-such-file' does not exist"),
        (["--key", "no-such-file"], "'no-such-file'"),
        (["--source", "generic", "--bad-signature"], "generic does not sign"),
        (["--source", "standard", "--secret", "no base64"], "cannot sign with that key or secret"),
        (["--source", "github", "--secret", " "], "cannot sign with that key or secret"),
        (["--source", "sendgrid", "--secret", "no PEM"], "cannot sign with that key or secret"),
        (["--nothing"], "No such option"),
    ],
)
def test_misuse_is_said_with_exit_code_2(arguments: list[str], said: str) -> None:
    done = run("send", *arguments)

    assert done.exit_code == 2
    assert said in done.stderr


def test_a_private_key_that_cannot_sign_is_misuse(tmp_path: Path) -> None:
    protected, broken = tmp_path / "protected.pem", tmp_path / "broken.pem"
    protected.write_bytes(pem(ec.generate_private_key(ec.SECP256R1()), b"password"))
    broken.write_text("-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n")
    done = [run("send", "--source", "sendgrid", "--key", str(key)) for key in (protected, broken)]

    assert [one.exit_code for one in done] == [2, 2]
    assert all("cannot sign with that key or secret" in one.stderr for one in done)


def hash_of(key: str) -> str:
    return key.rpartition("-")[2]
