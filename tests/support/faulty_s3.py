"""An S3 server of our own, over real HTTP: strict where S3 is, and failing as it is told.

    with FaultyS3([status(503, "SlowDown"), lost_answer]) as s3: ...

Each request takes the next fault of the script; None stands for a request that is served well, and
so is every request after the script's end. `itertools.repeat(fault)` is a script that never ends.
`scripts` holds further ones, each for the keys that begin with one path segment.

What is served well is held to what S3 demands: a signature over the request as it came, checksums
that are right, metadata below 2 KB, and a condition on every put, as the bucket policy of a
deployed stage demands it. The signature is computed here anew, by nobody's client library.
"""

import hmac
import re
import socket
import struct
import threading
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from hashlib import md5, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

from support.project import CREDENTIALS

DATE = "Fri, 20 Nov 2026 23:50:01 GMT"
SKEW = timedelta(minutes=15)  # of clocks, as S3 allows it
PAGE = 1_000  # keys in one answer to a listing


@dataclass(frozen=True)
class Request:
    method: str
    target: str  # path and query, as they came
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
    """A server with one bucket of any name, in threads of this process.

    `credentials` are those that may sign, as the environment names them.
    """

    def __init__(
        self,
        script: Iterable["Fault | None"] = (),
        scripts: Mapping[str, Iterable["Fault | None"]] = MappingProxyType({}),
        credentials: Mapping[str, str] = CREDENTIALS,
    ) -> None:
        self.objects: dict[str, Stored] = {}
        self.writes: list[str] = []  # the key of every write, in order
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._script = iter(script)
        self._scripts = {segment: iter(faults) for segment, faults in scripts.items()}
        self._credentials = credentials
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

    def follow(self, script: Iterable["Fault | None"] = ()) -> None:
        """Begin another script."""
        with self._lock:
            self._script = iter(script)

    def next_fault(self, key: str) -> "Fault | None":
        with self._lock:
            return next(self._scripts.get(key.partition("/")[0], self._script), None)

    def answer(self, request: Request, fault: "Fault | None") -> bytes:
        with self._lock:
            self.requests.append(request)
        return fault(self, request) if fault else self.serve(request)

    def serve(self, request: Request) -> bytes:
        """What S3 would do with a request, good or not."""
        if error := _wrong_signature(request, self._credentials) or _wrong_content(request):
            return error
        if request.method == "GET" and request.query.get("list-type") == "2":
            return self._list(request)
        with self._lock:
            serve = {"PUT": self._put, "DELETE": self._delete}.get(request.method, self._get)
            return serve(request)

    def _put(self, request: Request) -> bytes:
        there = self.objects.get(request.key)
        is_new, replaces = (request.headers.get(name) for name in ("if-none-match", "if-match"))
        if replaces and not there:
            return _error(404, "NoSuchKey")
        if (there and is_new == "*") or (there and replaces and not _is(there, replaces)):
            return _error(412, "PreconditionFailed")
        if not (is_new or replaces):
            return _error(403, "AccessDenied")  # by the bucket policy
        kept = {
            name: value
            for name, value in request.headers.items()
            if name == "content-type" or name.startswith("x-amz-meta-")
        }
        self.objects[request.key] = Stored(request.body, kept)
        self.writes.append(request.key)
        return _answer(200, ETag=_etag(request.body))

    def _delete(self, request: Request) -> bytes:
        there, expected = self.objects.get(request.key), request.headers.get("if-match")
        if there and expected and not _is(there, expected):
            return _error(412, "PreconditionFailed")
        self.objects.pop(request.key, None)
        return _answer(204)

    def _get(self, request: Request) -> bytes:
        stored, expected = self.objects.get(request.key), request.headers.get("if-match")
        if stored is None:
            return _error(404, "NoSuchKey")
        if expected and not _is(stored, expected):
            return _error(412, "PreconditionFailed")
        headers = {**stored.headers, "ETag": _etag(stored.body), "Last-Modified": DATE}
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        if not asked:
            return _answer(200, stored.body, **headers)
        start, size = int(asked[1]), len(stored.body)
        part = stored.body[start : int(asked[2]) + 1]
        if not part:
            return _error(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{size}"
        return _answer(206, part, **headers)

    def _list(self, request: Request) -> bytes:
        query = request.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        with self._lock:
            listed = sorted((key, stored) for key, stored in self.objects.items())
        entries: dict[str, str] = {}
        for key, stored in listed:
            below, cut, _ = key.removeprefix(prefix).partition(delimiter or "\n")
            if not key.startswith(prefix) or key <= after:
                continue
            if cut:
                folder = escape(prefix + below + cut)
                entry = f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"
                entries.pop(folder, None)  # a page ends with the last key that it speaks for
                entries[folder] = entry
            else:
                entries[key] = _entry(key, stored)
            last = key
            if len(entries) == PAGE:
                break
        more = len(entries) == PAGE
        token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if more else ""
        page = (
            f"<ListBucketResult><Name>b</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<KeyCount>{len(entries)}</KeyCount><MaxKeys>{PAGE}</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}"
            f"{''.join(entries.values())}</ListBucketResult>"
        )
        return _answer(200, page.encode(), **{"Content-Type": "application/xml"})


Fault = Callable[[FaultyS3, Request], bytes]


def status(code: int, name: str = "", **headers: str) -> Fault:
    """Answer an error; nothing is stored."""
    return lambda s3, request: _error(code, name, **headers)


def dropped(s3: FaultyS3, request: Request) -> bytes:
    """The connection breaks before anything is stored."""
    raise HangUp


def reset(s3: FaultyS3, request: Request) -> bytes:
    """The connection is reset, before a body that does not fit into a buffer has been read."""
    linger = struct.pack("ii", 1, 0)
    _of_this_thread.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    raise HangUp


def lost_answer(s3: FaultyS3, request: Request) -> bytes:
    """The object is stored, and the connection breaks before a word is said."""
    s3.serve(request)
    raise HangUp


def hang(s3: FaultyS3, request: Request | None = None) -> bytes:
    """Never answer."""
    s3.closing.wait()
    raise HangUp


def stored_in_silence(s3: FaultyS3, request: Request) -> bytes:
    """The object is stored, and nobody ever hears so."""
    s3.serve(request)
    return hang(s3)


def then_closed(s3: FaultyS3, request: Request) -> bytes:
    """Serve well, and close a connection that the client will think is still open."""
    raise HangUp(s3.serve(request))


def never_read(s3: FaultyS3, request: Request) -> bytes:
    """Not even read the body, which then does not fit into the sockets' buffers."""
    return hang(s3)


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
        url = urlsplit(self.path)
        key = unquote(url.path).lstrip("/").partition("/")[2]
        fault = s3.next_fault(key)
        _of_this_thread.connection = self.connection
        try:
            if fault in (never_read, reset):
                fault(s3, Request(self.command, self.path, key, {}, {}, b""))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            query = dict(parse_qsl(url.query, keep_blank_values=True))
            request = Request(self.command, self.path, key, query, headers, body)
            answer = s3.answer(request, fault)
            head, end, _ = answer.partition(b"\r\n\r\n")
            self.wfile.write(head + end if self.command == "HEAD" else answer)
        except HangUp as hang_up:
            self.wfile.write(hang_up.last)
            self.close_connection = True

    do_GET = do_HEAD = do_DELETE = do_PUT

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


def _is(stored: Stored, etag: str) -> bool:
    return etag.strip('"') == _etag(stored.body).strip('"')


def _entry(key: str, stored: Stored) -> str:
    return (
        f"<Contents><Key>{escape(key)}</Key><Size>{len(stored.body)}</Size>"
        "<LastModified>2026-11-20T23:50:01.000Z</LastModified>"
        f"<ETag>{escape(_etag(stored.body))}</ETag></Contents>"
    )


def _wrong_content(request: Request) -> bytes:
    """The refusal of a body that is not what its headers say, or of too much metadata.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
    """
    claimed, body = request.headers, request.body
    checksums = {
        "x-amz-checksum-sha256": sha256_header(body),
        "x-amz-checksum-crc32": b64encode(zlib.crc32(body).to_bytes(4)).decode(),
        "content-md5": b64encode(md5(body, usedforsecurity=False).digest()).decode(),
    }
    if any(claimed.get(name, right) != right for name, right in checksums.items()):
        return _error(400, "BadDigest")
    metadata = {name: v for name, v in claimed.items() if name.startswith("x-amz-meta-")}
    size = sum(len(name.removeprefix("x-amz-meta-")) + len(v) for name, v in metadata.items())
    return _error(400, "MetadataTooLarge") if size > 2048 else b""


def _wrong_signature(request: Request, credentials: Mapping[str, str]) -> bytes:
    """The refusal of a request that is not signed as it came, or of a payload that is another.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
    """
    headers = request.headers
    claimed = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?"
        r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})",
        headers.get("authorization", ""),
    )
    if not claimed:
        return _error(403, "AccessDenied")
    key, day, region, signed, signature = claimed.groups()
    names = signed.split(";")
    at, payload = headers.get("x-amz-date", ""), headers.get("x-amz-content-sha256", "")
    signed_at = datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    has_to_be_signed = {name for name in headers if name.startswith("x-amz-")} | {"host"}
    right = _signature(request, names, (day, region, "s3", "aws4_request"), credentials)
    skewed = not at.startswith(day) or abs(datetime.now(UTC) - signed_at) > SKEW
    checks = {
        "InvalidAccessKeyId": key == credentials["AWS_ACCESS_KEY_ID"],
        "AuthorizationHeaderMalformed": region == credentials["AWS_REGION"],
        "RequestTimeTooSkewed": not skewed,
        "AccessDenied": has_to_be_signed <= set(names),
        "XAmzContentSHA256Mismatch": payload
        in ("UNSIGNED-PAYLOAD", sha256(request.body).hexdigest()),
        "SignatureDoesNotMatch": hmac.compare_digest(right, signature),
    }
    return next((_error(403, name) for name, is_met in checks.items() if not is_met), b"")


def _signature(
    request: Request, names: list[str], scope: tuple[str, ...], credentials: Mapping[str, str]
) -> str:
    headers = request.headers
    path, _, query = request.target.partition("?")
    pairs = sorted(pair if "=" in pair else pair + "=" for pair in query.split("&") if pair)
    lines = [f"{name}:{' '.join(headers.get(name, '').split())}" for name in names]
    payload = headers.get("x-amz-content-sha256", "")
    parts = [request.method, path, "&".join(pairs), *lines, "", ";".join(names), payload]
    digest = sha256("\n".join(parts).encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], "/".join(scope), digest])
    secret = ("AWS4" + credentials["AWS_SECRET_ACCESS_KEY"]).encode()
    return reduce(
        lambda key, part: hmac.digest(key, part.encode(), "sha256"), (*scope, to_sign), secret
    ).hex()
