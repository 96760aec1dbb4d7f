"""An S3 server that answers every request after 30 ms and counts what it was asked.

It serves the buckets of a folder store for reading (list, GET with ranges and If-Match, HEAD), in a
process of its own, on 127.0.0.1. It is not S3: no TLS, no signatures, no throttling, no writing.
What it shows is how many requests there are, and how many of them wait for one another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

DELAY = 0.030  # seconds
COUNTS = "/-/counts"  # what was asked since it was asked last

_META = ".meta"  # how a folder store names an object's metadata
_NOT_FOUND = b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"
_CHANGED = b"<Error><Code>PreconditionFailed</Code><Message>changed</Message></Error>"


@dataclass(frozen=True, slots=True)
class Counts:
    """What a server was asked."""

    gets: int
    heads: int
    lists: int
    bytes: int  # of bodies


class StoreServer:
    """The server over a folder of buckets, in another process, for as long as it is entered."""

    def __init__(self, folder: Path, buckets: Sequence[str], delay: float = DELAY) -> None:
        module = [sys.executable, "-m", "bench.reading.store_server"]
        self._command = [*module, "--delay", str(delay), str(folder), *buckets]

    def __enter__(self) -> StoreServer:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # waits, and closes the pipe
            self._process.terminate()

    def environ(self, bucket: str) -> dict[str, str]:
        """The settings to read a bucket with."""
        return {
            "ARCHIVE_BUCKETS": bucket,
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_REGION": "us-east-1",
        }

    def counts(self) -> Counts:
        """What was asked since the last call."""
        with urllib.request.urlopen(self.url + COUNTS, timeout=60) as response:
            return Counts(**json.load(response))


class Bucket:
    """The keys of one bucket in order, each with size and ETag, as they were at the start."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sizes: dict[str, tuple[int, str]] = {}
        for folder, _, names in os.walk(root):
            for name in names:
                if not name.endswith(_META):
                    path = Path(folder, name)
                    stat = path.stat()
                    etag = f'"{stat.st_size:x}-{stat.st_mtime_ns:x}"'
                    self.sizes[path.relative_to(root).as_posix()] = stat.st_size, etag
        self.keys = sorted(self.sizes)

    def page(self, query: dict[str, str]) -> bytes:
        """One page of a listing, as ListObjectsV2 gives it."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        limit = int(query.get("max-keys", "1000"))
        last = after
        entries: list[str] = []
        at = max(bisect_left(self.keys, prefix), bisect_right(self.keys, after))
        while at < len(self.keys) and self.keys[at].startswith(prefix) and len(entries) < limit:
            key = self.keys[at]
            folder, slash, _ = (
                key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            )
            if slash:
                last = prefix + folder + slash
                if last > after:
                    entries.append(
                        f"<CommonPrefixes><Prefix>{escape(last)}</Prefix></CommonPrefixes>"
                    )
                at = bisect_right(self.keys, last + "\U0010ffff")
            else:
                last = key
                size, etag = self.sizes[key]
                entries.append(
                    f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size>"
                    f"<ETag>{escape(etag)}</ETag><StorageClass>STANDARD</StorageClass>"
                    "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                )
                at += 1
        more = at < len(self.keys) and self.keys[at].startswith(prefix)
        token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<KeyCount>{len(entries)}</KeyCount><MaxKeys>{limit}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{''.join(entries)}</ListBucketResult>"
        ).encode()


class Connection(asyncio.Protocol):
    """One connection, on which requests without bodies come one after the other."""

    def __init__(self, buckets: dict[str, Bucket], delay: float, asked: Counter[str]) -> None:
        self._buckets, self._delay, self._asked = buckets, delay, asked
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            request, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = request.split(" ")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines)
            }
            if target == COUNTS:
                counts = {name: self._asked[name] for name in ("gets", "heads", "lists", "bytes")}
                self._asked.clear()
                self._send("GET", 200, {}, json.dumps(counts).encode())
            else:
                loop = asyncio.get_running_loop()
                loop.call_later(self._delay, self._respond, method, target, headers)

    def _respond(self, method: str, target: str, headers: dict[str, str]) -> None:
        url = urlsplit(target)
        name, _, key = unquote(url.path).lstrip("/").partition("/")
        bucket = self._buckets.get(name)
        if bucket and not key and method == "GET":
            self._asked["lists"] += 1
            self._send(method, 200, {}, bucket.page(dict(parse_qsl(url.query))))
            return
        self._asked["heads" if method == "HEAD" else "gets"] += 1
        if bucket is None or key not in bucket.sizes:
            self._send(method, 404, {}, _NOT_FOUND)
            return
        size, etag = bucket.sizes[key]
        if headers.get("if-match", etag) != etag:
            self._send(method, 412, {}, _CHANGED)
            return
        start, end = _range(headers.get("range", ""), size)
        with (bucket.root / key).open("rb") as file:
            file.seek(start)
            body = file.read(end - start) if method == "GET" else b""
        about = {"ETag": etag, "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        about |= _metadata(bucket.root / (key + _META))
        if "range" in headers:
            about["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self._asked["bytes"] += len(body)
        self._send(method, 206 if "range" in headers else 200, about, body, end - start)

    def _send(
        self, method: str, status: int, headers: dict[str, str], body: bytes, size: int = -1
    ) -> None:
        lines = [
            f"HTTP/1.1 {status} {status}",
            f"Content-Length: {len(body) if size < 0 else size}",
        ]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        self._transport.write(head if method == "HEAD" else head + body)


def _range(header: str, size: int) -> tuple[int, int]:
    """From where to where, half-open; all of it without a header."""
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not first:
        return (max(0, size - int(last)) if last else 0), size
    return int(first), min(int(last) + 1, size) if last else size


def _metadata(path: Path) -> dict[str, str]:
    """The headers that S3 would give what lies beside an object in a folder store."""
    if not path.exists():
        return {}
    stored = json.loads(path.read_bytes())
    content_type = stored.pop("content-type", "application/octet-stream")
    return {"Content-Type": content_type} | {f"x-amz-meta-{k}": v for k, v in stored.items()}


async def _serve(folder: Path, names: Sequence[str], delay: float) -> None:
    buckets = {name: Bucket(folder / name) for name in names}
    asked: Counter[str] = Counter()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(buckets, delay, asked), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until somebody ends it."""
    parser = argparse.ArgumentParser(prog="python -m bench.reading.store_server")
    parser.add_argument("folder", type=Path, help="of buckets, each a folder")
    parser.add_argument("buckets", nargs="+", help="which of them")
    parser.add_argument("--delay", type=float, default=DELAY, help="seconds before each response")
    options = parser.parse_args()
    asyncio.run(_serve(options.folder, options.buckets, options.delay))


if __name__ == "__main__":
    main()
