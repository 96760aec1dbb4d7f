"""Senders who keep a ledger of what they heard, and look it up in the store afterwards."""

import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http.client import HTTPConnection, HTTPException
from random import Random
from urllib.parse import urlencode

from support.canary import TOKEN

from chalicelib import routes
from chalicelib.keys import DeliveryKey, parse_key
from chalicelib.sources import source_named

APPS = {"shop": "generic", "sendgrid": "sendgrid", "github": "github", "stripe": "stripe"}


@dataclass
class Ledger:
    """What was sent, and what was acknowledged under which key."""

    sent: set[str] = field(default_factory=set)  # SHA-256 of bodies
    acknowledged: dict[str, str] = field(default_factory=dict)  # the same, by key
    statuses: dict[int, int] = field(default_factory=dict)  # how often; 0: nothing was heard
    lock: threading.Lock = field(default_factory=threading.Lock)

    def faults(self, objects: Mapping[str, bytes], writes: list[str]) -> list[str]:
        """What is wrong with the deliveries of a store; empty where every 200 was true."""
        hashes = {key: sha256(body).hexdigest() for key, body in objects.items()}
        wrong = [f"lost: {key}" for key in self.acknowledged if key not in hashes]
        wrong += [f"altered: {key}" for key, h in hashes.items() if key.split("-")[-1][:64] != h]
        wrong += [f"not sent: {key}" for key, h in hashes.items() if h not in self.sent]
        wrong += [f"another: {k}" for k, h in self.acknowledged.items() if hashes.get(k, h) != h]
        if len(set(writes)) != len(writes):
            wrong.append("overwritten")
        return wrong


def body_of(app: str, number: int, chance: Random) -> bytes:
    """A body as its source sends it, or a large one; no two are the same."""
    example = source_named(APPS[app]).example
    body = example(number, 1_763_682_601) if example else json.dumps({"n": number}).encode()
    size = 2_000_000 if number % 1_000 == 0 else 100_000 if number % 50 == 0 else number % 900
    noise = b64encode(chance.randbytes(size * 3 // 4)).decode()
    return json.dumps([number, chance.random(), body.decode("latin-1"), noise]).encode()


def post(port: int, app: str, body: bytes) -> tuple[int, str]:
    """Status and key, which is empty for all but 200; status 0 where nothing was heard."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        query = urlencode({"token": TOKEN, "app": app})
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"{routes.INPUT}?{query}", body, headers)
        answer = connection.getresponse()
        said = json.loads(answer.read())
        return answer.status, said.get("key", "")
    except (OSError, HTTPException, ValueError):
        return 0, ""
    finally:
        connection.close()


def send_until(
    ended: threading.Event, ledger: Ledger, port: Callable[[], int], sender: int, every: float = 0
) -> None:
    """Send one body after the other, each until it is acknowledged, as senders do who retry.

    A new one is due `every` so many seconds, also after those that took longer.
    """
    chance, due = Random(sender), time.monotonic()
    for number in _numbers():
        app = chance.choice(sorted(APPS))
        body = body_of(app, sender * 10_000_000 + number, chance)
        digest = sha256(body).hexdigest()
        with ledger.lock:
            ledger.sent.add(digest)
        while not ended.is_set():
            status, key = post(port(), app, body)
            with ledger.lock:
                ledger.statuses[status] = ledger.statuses.get(status, 0) + 1
                if status == 200:
                    ledger.acknowledged[key] = digest
                    break
            time.sleep(0.05)
        due += every
        if ended.wait(max(0, due - time.monotonic())):
            return


def deliveries_of(objects: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those objects of a store that were received."""
    received = {}
    for key, body in objects.items():
        try:
            if isinstance(parse_key(key), DeliveryKey):
                received[key] = body
        except ValueError:
            continue
    return received


def _numbers() -> Iterator[int]:
    number = 0
    while True:
        yield (number := number + 1)
