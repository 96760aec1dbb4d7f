"""An AWS that somebody else wrote: ministack (PyPI, MIT), in a venv of its own, policies enforced.

What it lacks for our stack is in support/ministack_glue.py; docs/proof.md says what it cannot show.
It speaks TLS, as our bucket policy refuses what comes without, with a certificate of our own. The
host of an API's URL leads to it in the processes that are started here.
"""

import fcntl
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hookshelf.deploy.package import best_python
from support.local_server import free_port, fresh_shell
from support.project import PROJECT

# ministack pins a botocore; boto3, which Lambda's Python has, is the one that goes with it.
REQUIREMENTS = ("ministack==1.5.33", "boto3==1.43.106")
HOME = PROJECT / "build" / "ministack"
ACCOUNT, REGION = "123456789012", "us-east-1"
DOMAIN = f"{REGION}.amazonaws.com"
# ministack exempts this key from every policy: with it the user is made, and nothing else.
ROOT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
START_TIMEOUT = 300.0  # seconds; it takes three
INSTALL_TIMEOUT = 600.0  # seconds; it takes half a minute
COMMAND_TIMEOUT = 900.0  # seconds; a deploy takes half a minute where nothing else is at work


def installed() -> Path:
    """The Python of a venv with ministack in it, made by pip the first time.

    It is of the version that functions are packaged for, as they run under it. Raises
    AssertionError with what pip said.
    """
    python = best_python()
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
    home = HOME / "-".join([*REQUIREMENTS, *version.stdout.split()]).replace("==", "-")
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "done").exists():
            shutil.rmtree(home, ignore_errors=True)
            pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", *REQUIREMENTS]
            for command in ([python, "-m", "venv", home], pip):
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False
                )
                output = f"{done.stdout}{done.stderr}"
                assert done.returncode == 0, f"ministack cannot be installed: {output}"
            (home / "done").touch()
    return home / "bin" / "python"


@dataclass(frozen=True)
class Ministack:
    """The server, and how to reach it."""

    port: int
    tls: bool
    certificate: Path
    log: Path
    refused: Path  # write part of an alarm's name into it, and that alarm cannot be made

    @property
    def endpoint(self) -> str:
        """The URL of every service."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def client(self, service: str, credentials: Mapping[str, str] = ROOT) -> Any:
        """A boto3 client; without credentials that of the root user, whom no policy binds."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            verify=str(self.certificate),
            region_name=REGION,
            aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
        )

    def user(self, name: str, policy: Mapping[str, Any] | None) -> dict[str, str]:
        """A new IAM user with this policy and no other: the shell of someone who is logged in."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        if policy:
            document = json.dumps(policy)
            iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_CA_BUNDLE": str(self.certificate),
        }

    def hookshelf(
        self, project: Path, shell: Mapping[str, str], *words: str, status: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run `hookshelf`, of a copy of the project, to its end; None: whatever its status is."""
        environ = {
            **fresh_shell(),
            "PYTHONPATH": f"{project}{os.pathsep}{project / 'tests'}",
            "RESOLVED_SUFFIX": f".execute-api.{DOMAIN}",
            "RESOLVED_PORT": str(self.port),
            "SSL_CERT_FILE": str(self.certificate),
            **shell,
        }
        done = subprocess.run(
            [sys.executable, "-m", "support.resolved", *words],
            cwd=project,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
        assert status in (None, done.returncode), f"{words}: {done.stdout}{done.stderr}"
        return done

    def curl(self, url: str, *options: str) -> tuple[int, bytes]:
        """Send with curl to a URL exactly as it was printed: status and body."""
        connect = f"::127.0.0.1:{self.port}"
        command = ["curl", "--silent", "--show-error", "--cacert", str(self.certificate)]
        command += ["--connect-to", connect, "--write-out", "\n%{http_code}", "--max-time", "300"]
        done = subprocess.run(
            [*command, *options, url], capture_output=True, timeout=COMMAND_TIMEOUT, check=False
        )
        assert done.returncode == 0, done.stderr
        body, _, status = done.stdout.rpartition(b"\n")
        return int(status), body


@contextmanager
def serving(folder: Path, *, tls: bool = True) -> Iterator[Ministack]:
    """Serve an empty account, which is kept in a folder of its own, until the block ends.

    Without TLS for what has no other place for a certificate than the process of the tests.
    """
    python, log, refused = installed(), folder / "ministack.log", folder / "refused"
    port = free_port()
    for name in ("home", "tmp", "s3", "state"):
        (folder / name).mkdir(parents=True)
    certificate, key = _certificate(folder)
    environ = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),  # unpacked functions stay in it
        "S3_DATA_DIR": str(folder / "s3"),
        "STATE_DIR": str(folder / "state"),
        "BIND_HOST": "127.0.0.1",  # or it serves on every address
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_HOST": DOMAIN,  # of APIs' hosts
        "AUTH": "true",  # signatures and policies are checked
        "USE_SSL": "1" if tls else "0",
        "MINISTACK_SSL_CERT": str(certificate),
        "MINISTACK_SSL_KEY": str(key),
        # For obstore and for boto3 in functions: what the system's authorities are elsewhere.
        "SSL_CERT_FILE": str(certificate),
        "REQUESTS_CA_BUNDLE": str(certificate),
        "MINISTACK_REFUSES": str(refused),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-P", Path(__file__).with_name("ministack_glue.py")],
            env=environ, cwd=folder, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        try:
            _wait(process, port, log)
            yield Ministack(port, tls, certificate, log, refused)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """It, and the processes of its functions, which are in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return
        time.sleep(0.1)
    raise AssertionError(f"ministack does not start: {log.read_text()[-2000:]}")


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for AWS's part here that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "AWS, played here")])
    hosts = [
        x509.DNSName(f"*.execute-api.{DOMAIN}"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(pem))
    paths[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return paths
