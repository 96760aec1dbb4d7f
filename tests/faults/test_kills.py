"""kill -9 under load: whatever was acknowledged is there, byte for byte."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from faults.load import Ledger, deliveries_of, send_until
from support.canary import TOKEN
from support.faulty_s3 import FaultyS3
from support.project import CREDENTIALS
from support.ways import Sent, Server, Servers, start

SENDERS = 4


@pytest.fixture
def s3() -> Iterator[FaultyS3]:
    with FaultyS3() as s3:
        yield s3


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(10, marks=pytest.mark.slow),
        # `KILLS=50` for fewer
        pytest.param(int(os.environ.get("KILLS", "500")), marks=pytest.mark.heavy, id="many"),
    ],
)
def test_whatever_was_acknowledged_before_a_kill_is_there(
    kills: int, s3: FaultyS3, tmp_path: Path
) -> None:
    environ = {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": s3.endpoint, "ARCHIVE_BUCKETS": "events"}
    project = Servers(lambda: tmp_path).project(
        Sent(variables={"validToken": TOKEN}, environ=environ)
    )
    running: list[Server] = [start(project)]
    ledger, ended, chance = Ledger(), threading.Event(), Random(9)
    senders = [
        threading.Thread(target=send_until, args=(ended, ledger, lambda: running[0].port, sender))
        for sender in range(1, SENDERS + 1)
    ]
    for sender in senders:
        sender.start()
    try:
        for _ in range(kills):
            due = len(ledger.acknowledged) + chance.randrange(1, 12)
            while len(ledger.acknowledged) < due:
                ended.wait(0.005)
            running[0].kill()
            running[0] = start(project)
    finally:
        ended.set()
        for sender in senders:
            sender.join()
        running[0].stop()

    objects = deliveries_of({key: stored.body for key, stored in s3.objects.items()})
    print(f"{kills} kills, {len(ledger.acknowledged)} acknowledged, {len(objects)} stored")
    assert ledger.faults(objects, s3.writes) == []
    assert len(ledger.acknowledged) > kills
    assert ledger.statuses[0] > 0  # somebody was in the midst of it
