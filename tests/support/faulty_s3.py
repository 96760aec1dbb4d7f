"""An S3 server of our own, over real HTTP, that fails as it is told.

    with FaultyS3([status(503, "SlowDown"), lost_answer]) as s3: ...

Each request takes the next fault of the script; None stands for a request that is served well, and
so is every request after the script's end. `itertools.repeat(fault)` is a script that never ends.
"""

import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import md5, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

DATE = "Fri, 20 Nov 2026 23:50:01 GMT"


@dataclass(frozen=True)
class Request:
    method: str
    key: str  # without the bucket
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names are lower-case
    body: bytes


@dataclass(frozen=True)
class Stored:
    body: bytes
    headers: Mapping[str, str]  # the content type and x-amz-meta-*


class HangUp(Exception):
    """Send these last bytes, if any, and close the connection."""

    def __init__(self, last: bytes = b"") -> None:
        self.last = last


class FaultyS3:
    """A server with one bucket of any name, in threads of this process."""

    def __init__(self, script: Iterable["Fault | None"] = ()) -> None:
        self.objects: dict[str, Stored] = {}
        self.writes: list[str] = []  # the key of every write, in order
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._script = iter(script)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def next_fault(self) -> "Fault | None":
        with self._lock:
            return next(self._script, None)

    def answer(self, request: Request, fault: "Fault | None") -> bytes:
        with self._lock:
            self.requests.append(request)
        return fault(self, request) if fault else self.serve(request)

    def serve(self, request: Request) -> bytes:
        """What S3 would do: the answer to a good request."""
        if request.method == "PUT":
            return self._put(request)
        if request.method == "GET" and request.query.get("list-type") == "2":
            return self._list(request)
        return self._get(request)

    def _put(self, request: Request) -> bytes:
        with self._lock:
            if request.key in self.objects and request.headers.get("if-none-match") == "*":
                return _error(412, "PreconditionFailed")
            kept = {
                name: value
                for name, value in request.headers.items()
                if name == "content-type" or name.startswith("x-amz-meta-")
            }
            self.objects[request.key] = Stored(request.body, kept)
            self.writes.append(request.key)
        return _answer(200, ETag=_etag(request.body))

    def _get(self, request: Request) -> bytes:
        stored = self.objects.get(request.key)
        if stored is None:
            return _error(404, "NoSuchKey")
        headers = {**stored.headers, "ETag": _etag(stored.body), "Last-Modified": DATE}
        return _answer(200, stored.body, **headers)

    def _list(self, request: Request) -> bytes:
        prefix, after = request.query.get("prefix", ""), request.query.get("start-after", "")
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(stored.body)}</Size>"
            "<LastModified>2026-11-20T23:50:01.000Z</LastModified><ETag>e</ETag></Contents>"
            for key, stored in sorted(self.objects.items())
            if key.startswith(prefix) and key > after
        )
        page = f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
        return _answer(200, page.encode(), **{"Content-Type": "application/xml"})


Fault = Callable[[FaultyS3, Request], bytes]


def status(code: int, name: str = "", **headers: str) -> Fault:
    """Answer an error; nothing is stored."""
    return lambda s3, request: _error(code, name, **headers)


def dropped(s3: FaultyS3, request: Request) -> bytes:
    """The connection breaks before anything is stored."""
    raise HangUp


def lost_answer(s3: FaultyS3, request: Request) -> bytes:
    """The object is stored, and the connection breaks before a word is said."""
    s3.serve(request)
    raise HangUp


def hang(s3: FaultyS3, request: Request | None = None) -> bytes:
    """Never answer."""
    s3.closing.wait()
    raise HangUp


def never_read(s3: FaultyS3, request: Request) -> bytes:
    """Not even read the body, which then does not fit into the sockets' buffers."""
    raise AssertionError("the server obeys this one before it reads")


def trickle(s3: FaultyS3, request: Request) -> bytes:
    """Answer a byte at a time, each soon enough to keep a read from timing out."""
    end = time.monotonic() + 60
    while time.monotonic() < end and not s3.closing.wait(0.5):
        _of_this_thread.connection.sendall(b"H")
    raise HangUp


def garbage(s3: FaultyS3, request: Request) -> bytes:
    """Answer something that is not HTTP."""
    raise HangUp(b"\x16\x03\x01 what is this?\r\n\r\n")


def no_etag(s3: FaultyS3, request: Request) -> bytes:
    """Store, and answer 200 without an ETag."""
    s3.serve(request)
    return _answer(200)


def truncated_head(s3: FaultyS3, request: Request) -> bytes:
    """Store, and break off within the headers of the answer."""
    raise HangUp(s3.serve(request)[:25])


def truncated_body(s3: FaultyS3, request: Request) -> bytes:
    """Store, and break off within the body of the answer."""
    s3.serve(request)
    raise HangUp(_answer(200, b" " * 100, ETag=_etag(request.body))[:-50])


_of_this_thread = threading.local()  # its connection, for what is sent bit by bit


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, s3: FaultyS3) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.s3 = s3


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the client had enough
            self.close_connection = True

    def do_PUT(self) -> None:
        s3 = self.server.s3
        fault = s3.next_fault()
        _of_this_thread.connection = self.connection
        try:
            if fault is never_read:
                hang(s3)
            self.wfile.write(s3.answer(self._request(), fault))
        except HangUp as hang_up:
            self.wfile.write(hang_up.last)
            self.close_connection = True

    do_GET = do_HEAD = do_PUT

    def _request(self) -> Request:
        url = urlsplit(self.path)
        return Request(
            self.command,
            unquote(url.path).lstrip("/").partition("/")[2],
            dict(parse_qsl(url.query)),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(int(self.headers.get("Content-Length", 0))),
        )

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _answer(code: int, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {code} It is so", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _error(code: int, name: str, **headers: str) -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{name}</Code><Message>No.</Message></Error>"
    return _answer(code, body.encode(), **headers)


def _etag(body: bytes) -> str:
    return f'"{md5(body, usedforsecurity=False).hexdigest()}"'


def sha256_header(body: bytes) -> str:
    """What `x-amz-checksum-sha256` must say of a body."""
    return b64encode(sha256(body).digest()).decode()
