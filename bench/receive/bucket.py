"""An S3 server that takes every put: `python -m bench.receive.bucket` prints its port.

It runs in a process of its own and costs the same for everybody; `Expect: 100-continue` is
honoured. GET gives the body that was put last: what is measured is known to have been stored.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

PUT = (
    b'HTTP/1.1 200 OK\r\nETag: "900150983cd24fb0d6963f7d28e17f72"\r\n'
    b"x-amz-request-id: 656C76696E672773\r\nServer: AmazonS3\r\nContent-Length: 0\r\n\r\n"
)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Bucket:
    """The server as a process: `with Bucket() as bucket`."""

    def __enter__(self) -> Bucket:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.receive.bucket"],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    def last_body(self) -> bytes:
        """The body that was put last; empty before the first."""
        no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with no_proxy.open(self.url + "/last") as response:
            body: bytes = response.read()
        return body


@dataclass
class Connection:
    """What has come over one connection of the request that is being read."""

    received: bytearray = field(default_factory=bytearray)  # the head; from its end on, the body
    head: bytes = b""  # lower-case; empty while it has not all come
    length: int = 0  # of the body

    def take(self, data: bytes) -> bool:
        """Add what came. Whether that completed a head which waits for `100 Continue`."""
        self.received += data
        if self.head:
            return False
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if not end:
            return False
        self.head = bytes(head).lower() + b"\r\n"
        length = self.head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        self.length = int(length or 0)
        self.received = rest
        return b"100-continue" in self.head

    def body(self) -> bytearray | None:
        """The body of a whole request, which then is done with; None where some is missing."""
        if not self.head or len(self.received) < self.length:
            return None
        body, self.received, self.head = self.received, bytearray(), b""
        return body


def serve(listener: socket.socket) -> None:
    """Take puts for ever."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    connections: dict[socket.socket, Connection] = {}
    last = bytearray()
    while True:
        for selected, _ in selector.select():
            sock = selected.fileobj
            assert isinstance(sock, socket.socket)
            if sock is listener:
                accepted, _ = listener.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[accepted] = Connection()
                selector.register(accepted, selectors.EVENT_READ)
                continue
            try:
                body = read(sock, connections[sock], last)
            except OSError:
                selector.unregister(sock)
                del connections[sock]
                sock.close()
                continue
            last = last if body is None else body


def read(sock: socket.socket, connection: Connection, last: bytearray) -> bytearray | None:
    """Read what there is, and respond to a whole request. Returns the body that was put, if any.

    Raises OSError where the connection has ended.
    """
    data = sock.recv(1 << 20)
    if not data:
        raise ConnectionResetError
    if connection.take(data):
        sock.sendall(CONTINUE)
    head, body = connection.head, connection.body()
    if body is None:
        return None
    if head.startswith(b"get"):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(last) + last)
        return None
    sock.sendall(PUT)
    return body


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        serve(listening)
