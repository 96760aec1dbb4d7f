"""Measure one put: ours beside bare boto3 and HTTP by hand, over the same server on this machine.

Each way puts the same body under a new key, signed, and only if the key is free. All take their
turn in each round. `python -m bench.put --help`.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import itertools
import json
import statistics
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from urllib.parse import urlsplit

from bench.reading.limits import Limit, Outcome
from bench.receive.bucket import Bucket
from bench.receive.report import machine
from chalicelib.delivery import ArchiveObject
from chalicelib.settings import from_environment
from chalicelib.store import open_store

BODY = json.dumps([{"email": "jane@example.com", "event": "delivered", "n": "x" * 960}]).encode()
METADATA = {"layout": "1", "source": "sendgrid", "verdict": "unchecked", "request-id": "r-1"}
KEY, SECRET, REGION = "key", "secret", "us-east-1"
PUTS = 100  # of each way in each round
OURS, OURS_BOTO3 = "hookshelf, through obstore", "hookshelf, through boto3"
BOTO3, BY_HAND = "boto3 alone", "HTTP by hand, signed with hmac"
LIMITS = (Limit(f"{OURS}: CPU against {BOTO3}", "<=", 0.5, "times"),)

Put = Callable[[str], object]


@contextmanager
def ways(endpoint: str) -> Iterator[dict[str, Put]]:
    """Every way to put, by name; each takes the key."""
    import boto3

    environ = {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": REGION,
        "ARCHIVE_BUCKETS": "events",
    }

    def ours(client: str) -> Put:
        store = open_store(from_environment(environ | {"ARCHIVE_CLIENT": client}), "events")
        return lambda key: store.put(ArchiveObject(key, BODY, "application/json", METADATA))

    s3 = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )
    with closing(HTTPConnection(urlsplit(endpoint).netloc, timeout=60)) as connection:
        yield {
            OURS: ours("obstore"),
            OURS_BOTO3: ours("boto3"),
            BOTO3: lambda key: s3.put_object(
                Bucket="events",
                Key=key,
                Body=BODY,
                ContentType="application/json",
                Metadata=METADATA,
                IfNoneMatch="*",
                ChecksumAlgorithm="SHA256",
            ),
            BY_HAND: by_hand(connection),
        }


def by_hand(connection: HTTPConnection) -> Put:
    """The least that a put takes in Python: one connection, and a signature made with hmac.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
    """
    host = f"{connection.host}:{connection.port}"

    def put(key: str) -> None:
        now = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        digest = hashlib.sha256(BODY)
        headers = {
            "content-type": "application/json",
            "host": host,
            "if-none-match": "*",
            "x-amz-checksum-sha256": b64encode(digest.digest()).decode(),
            "x-amz-content-sha256": digest.hexdigest(),
            "x-amz-date": now,
            **{f"x-amz-meta-{name}": METADATA[name] for name in sorted(METADATA)},
        }
        signed = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = f"PUT\n/events/{key}\n\n{lines}\n{signed}\n{digest.hexdigest()}"
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signing = f"AWS4{SECRET}".encode()
        for part in scope.split("/"):
            signing = hmac.digest(signing, part.encode(), "sha256")
        signature = hmac.digest(signing, text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={signed}, "
            f"Signature={signature}"
        )
        connection.request("PUT", f"/events/{key}", BODY, headers)
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"the server responded {response.status}")

    return put


def measure(puts: Mapping[str, Put], rounds: int) -> dict[str, float]:
    """Microseconds of CPU and of time for one put, the medians of all rounds."""
    keys = (f"shop/{number:08}.json" for number in itertools.count())
    cpu: dict[str, list[float]] = {name: [] for name in puts}
    wall: dict[str, list[float]] = {name: [] for name in puts}
    for put in puts.values():  # connections, imports, caches
        put(next(keys))
    for number in range(rounds):
        for name in list(puts)[:: 1 if number % 2 == 0 else -1]:
            started, used = time.perf_counter(), time.process_time()
            for key in itertools.islice(keys, PUTS):
                puts[name](key)
            cpu[name].append((time.process_time() - used) / PUTS * 1e6)
            wall[name].append((time.perf_counter() - started) / PUTS * 1e6)
    ratio = [ours / theirs for ours, theirs in zip(cpu[OURS], cpu[BOTO3], strict=True)]
    return (
        {f"{name}: CPU": statistics.median(values) for name, values in cpu.items()}
        | {f"{name}: time": statistics.median(values) for name, values in wall.items()}
        | {LIMITS[0].figure: statistics.median(ratio)}
    )


def as_text(figures: Mapping[str, float]) -> str:
    """The table, for people."""
    lines = [f"{'µs for one put of 1 KiB, median':<40}{'CPU':>10}{'time':>10}"]
    for name in (OURS, OURS_BOTO3, BOTO3, BY_HAND):
        lines.append(
            f"{name:<40}{figures[f'{name}: CPU']:>10,.0f}{figures[f'{name}: time']:>10,.0f}"
        )
    for limit in LIMITS:
        seen = figures[limit.figure]
        lines.append(
            f"\n{limit.figure}: {seen:.2f}, limit {limit.bound:g}: {limit.outcome(figures)}"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure and print. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.put",
        description=__doc__,
        epilog="Exit status 0: the limit holds; 1: it is missed; 2: misuse.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=15, help=f"of {PUTS} puts each way (15)")
    parser.add_argument("--json", action="store_true", help="print one JSON object, no table")
    options = parser.parse_args()
    with Bucket() as bucket, ways(bucket.url) as puts:
        figures = measure(puts, max(options.rounds, 1))
    outcomes = {limit.figure: limit.outcome(figures) for limit in LIMITS}
    about = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    print(
        json.dumps(about | {"figures": figures, "limits": outcomes})
        if options.json
        else as_text(figures)
    )
    return 0 if set(outcomes.values()) == {Outcome.OK} else 1


if __name__ == "__main__":
    sys.exit(main())
