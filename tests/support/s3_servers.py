"""S3 servers besides moto, which are real programs: rclone from PyPI, and Ceph where installed."""

import os
import re
import shutil
import socket
import subprocess
import sysconfig
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import boto3

from support.project import CREDENTIALS

KEY, SECRET = "key", "secret"
SERVER_CREDENTIALS = {**CREDENTIALS, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
CEPH = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph-authtool", "monmaptool", "ceph")
_PATIENCE = 120  # seconds for Ceph to start, which usually takes 15


@contextmanager
def rclone(root: Path) -> Iterator[str]:
    """Serve a folder of buckets; its URL. It checks signatures and ignores If-(None-)Match."""
    binary = Path(sysconfig.get_path("scripts")) / "rclone"
    server = subprocess.Popen(
        [binary, "serve", "s3", "--config", os.devnull, "--addr", "127.0.0.1:0",
         "--auth-key", f"{KEY},{SECRET}", "--no-cleanup", root],
        stderr=subprocess.PIPE, text=True, env={"HOME": str(root)},
    )  # fmt: skip
    with server:
        assert server.stderr is not None
        address = re.search(r"http://[\d.:]+", server.stderr.readline())
        # Its log is read to the end, so that it never blocks on a full pipe.
        rest = threading.Thread(target=server.stderr.read)
        rest.start()
        assert address is not None
        yield address[0]
        server.terminate()
        rest.join()


def missing_of_ceph() -> list[str]:
    """The programs of Ceph that this machine lacks (Debian: radosgw ceph-mon ceph-osd)."""
    return [name for name in CEPH if shutil.which(name) is None]


@contextmanager
def radosgw(folder: Path) -> Iterator[str]:
    """A Ceph of one disk in memory with its S3 gateway; its URL. It honours conditions on puts."""
    mon, old_mon, port = _free_ports(3)
    for name in ("mon", "osd"):
        (folder / name).mkdir(parents=True)
    conf, keyring, monmap = folder / "ceph.conf", folder / "keyring", folder / "monmap"
    cluster = str(uuid.uuid4())
    conf.write_text(_CONF.format(folder=folder, fsid=cluster, mon=mon, old_mon=old_mon, port=port))
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "CEPH_CONF": str(conf)}

    def run(*command: str | Path) -> None:
        subprocess.run(command, env=environ, check=True, capture_output=True, timeout=_PATIENCE)

    with ExitStack() as servers:

        def start(*command: str) -> None:
            log = servers.enter_context((folder / f"{command[0]}.log").open("wb"))
            server = subprocess.Popen([*command, "-f"], env=environ, stdout=log, stderr=log)
            servers.callback(server.wait)
            servers.callback(server.kill)

        run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.",
            "--cap", "mon", "allow *")  # fmt: skip
        for name, caps in _KEYS.items():
            words = [word for kind in caps for word in ("--cap", kind, "allow *")]
            run("ceph-authtool", keyring, "--gen-key", "-n", name, *words)
        addresses = f"[v2:127.0.0.1:{mon},v1:127.0.0.1:{old_mon}]"
        run("monmaptool", "--create", "--fsid", cluster, "--addv", "a", addresses, monmap)
        run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        start("ceph-mon", "-i", "a")
        run("ceph", "osd", "create")
        run("ceph-osd", "-i", "0", "--mkfs")
        start("ceph-osd", "-i", "0")
        run("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=localhost")
        start("radosgw", "-n", "client.rgw")
        endpoint = f"http://127.0.0.1:{port}"
        _wait_for(endpoint)
        run("radosgw-admin", "user", "create", "--uid=t", "--display-name=t",
            f"--access-key={KEY}", f"--secret-key={SECRET}")  # fmt: skip
        yield endpoint


def new_bucket(
    endpoint: str, credentials: Mapping[str, str] = SERVER_CREDENTIALS
) -> dict[str, str]:
    """Settings that archive into a new, empty bucket of one of these servers."""
    bucket = f"bucket-{uuid.uuid4().hex}"
    environ = {"AWS_ENDPOINT_URL_S3": endpoint, "ARCHIVE_BUCKETS": bucket, **credentials}
    boto3_client(environ).create_bucket(Bucket=bucket)
    return environ


def boto3_client(environ: dict[str, str]) -> Any:
    """boto3 as some settings have it."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return _client(*(environ[name] for name in names))


@cache  # each takes 10 ms to make
def _client(endpoint: str, access_key: str, secret: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
    )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as sockets:
        opened = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in opened]


def _wait_for(url: str) -> None:
    for _ in range(_PATIENCE * 4):
        try:
            with urllib.request.urlopen(url, timeout=_PATIENCE):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.25)
    raise AssertionError(f"{url} does not answer")


_KEYS = {
    "client.admin": ("mon", "osd", "mgr"),
    "osd.0": ("mon", "osd"),
    "client.rgw": ("mon", "osd"),
}
# No manager: nothing of S3 needs one. https://docs.ceph.com/en/latest/install/manual-deployment/
_CONF = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon},v1:127.0.0.1:{old_mon}]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
run dir = {folder}
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
log file = {folder}/$name.log
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
keyring = {folder}/keyring
rgw enable apis = s3
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port}
"""
