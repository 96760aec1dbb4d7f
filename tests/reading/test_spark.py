"""What `hookshelf ddl` prints, run by Spark with a Hive metastore; and compacting on a cluster.

The first run fetches Spark and a Java, half a gigabyte, into build/.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pytest
from click.testing import CliRunner
from moto.server import DomainDispatcherApplication, create_backend_app
from support.archives import archive_of, delivered, is_delivery, moment, put, traffic
from support.project import CREDENTIALS, PROJECT
from support.spark import SECONDS, below, environ_of
from support.tables import check_properties, plain, printed
from werkzeug.serving import make_server

from chalicelib.keys import day_of, parse_key
from hookshelf.__main__ import main

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.xdist_group("spark"),
    pytest.mark.timeout(2 * SECONDS),
]

START = moment("2024-10-29T00:00")
COLUMNS = "app, month, type, id, delivery, position, subject, time, arrived, verdict, correlation"
QUERIES = [
    "SELECT count(*), count(DISTINCT delivery), min(time), max(arrived) FROM events",
    "SELECT app, month, source, count(*) FROM events WHERE batch > 0 GROUP BY ALL ORDER BY ALL",
    "SELECT type, count(*), sum(times) FROM events_once GROUP BY type ORDER BY type",
    f"SELECT {COLUMNS}, times, metadata, before, data, after, repeat, derived FROM events_once "
    "WHERE subject = 'person1@example.com' ORDER BY delivery, position",
    "SELECT delivery, position, batch, before, data, after, derived FROM events "
    "ORDER BY delivery, position",
    "SELECT delivery, metadata, metadata['verdict'] FROM events WHERE position = 0 "
    "ORDER BY delivery",
    "SELECT extract(YEAR FROM time), extract(DAY FROM time), extract(HOUR FROM time), count(*) "
    "FROM events_once WHERE app = 'sendgrid' AND arrived >= TIMESTAMP '2024-10-30 12:00:00' "
    "GROUP BY ALL ORDER BY ALL",
    "SELECT subject, type, time FROM (SELECT subject, type, time, row_number() OVER (PARTITION BY "
    "subject ORDER BY time DESC, delivery DESC, position DESC) AS newest FROM events_once) AS n "
    "WHERE newest = 1 ORDER BY subject",
    "SELECT a.correlation, count(*), count(b.id) FROM events_once AS a LEFT JOIN events_once AS b "
    "ON a.correlation = b.correlation AND a.id <> b.id AND b.month = '2024-11' "
    "GROUP BY a.correlation ORDER BY a.correlation",
]
# Of the statement for Spark, and of that for Athena.
TYPOS = [
    ("spark", "USING parquet", "USING parquett"),
    ("spark", "`before` binary", "`before` bnary"),
    ("spark", "`metadata` map", "`metdata` map"),
    ("spark", "`time` timestamp_ntz", "`time` timestamp"),
    ("spark", "PARTITIONED BY (`app`, `month`)", "PARTITIONED BY (`month`, `app`)"),
    ("spark", "MSCK REPAIR", "MSCK REPAR"),
    ("spark", "layer=events/'", "layer=event/'"),
    ("spark", "WHEN 'verified' THEN 0", "WHEN 'verified' THEN 9"),
    ("spark", "ORDER BY delivery, position)", "ORDER BY position)"),
    ("spark", "batch > 0", "batch >= 0"),
    ("athena", "STORED AS PARQUET", "STORE AS PARQUET"),
    ("athena", "`batch` int", "`batsh` int"),
    ("athena", "`data` string", "`data` binary"),
]


@pytest.fixture(scope="module")
def compacted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Months, days and hours of two apps, in a folder whose name asks for quotes."""
    folder = tmp_path_factory.mktemp("archive") / "o'neil's"
    environ = {"ARCHIVE_FOLDER": str(folder), "ARCHIVE_BUCKETS": "events"}
    put(environ, *traffic(7, START, 4.5, 40), *traffic(8, START + timedelta(days=40), 0.4, 9))
    put(environ, delivered(b"\x00\xff\xfe", START, app="Shop-2"))
    put(environ, delivered(b'[{"email":"\\ud800\\u00e9"}]', START + timedelta(1), app="Shop-2"))
    list(archive_of(environ, START + timedelta(days=40, hours=23)).compact())
    return environ


def statements_of(environ: Mapping[str, str], engine: str) -> list[str]:
    """What is printed; for Athena's, the folder in place of S3, and its partitions looked for."""
    files = f"file://{environ['ARCHIVE_FOLDER']}/".replace("'", "\\'")
    ours = {**os.environ, **environ}
    output = CliRunner(env=ours).invoke(main, ["ddl", engine], catch_exceptions=False).stdout
    statements = printed(output)
    if engine == "spark":
        return statements
    check_properties(statements[0])
    create = statements[0].replace("LOCATION 's3://", f"LOCATION '{files}")
    return [create, "MSCK REPAIR TABLE events", *statements[1:]]


def in_duckdb(environ: Mapping[str, str], view: str) -> list[Any]:
    files = str(Path(environ["ARCHIVE_FOLDER"]) / "events" / "layer=events").replace("'", "''")
    connection = duckdb.connect()
    connection.execute(
        "CREATE VIEW events AS SELECT * EXCLUDE (layer) "
        f"FROM read_parquet('{files}/*/*/*.parquet', "
        "hive_partitioning = true, hive_types_autocast = false)"
    )
    connection.execute(view)
    answers = [connection.execute(query).fetchall() for query in QUERIES]
    return json.loads(json.dumps([[[plain(v) for v in row] for row in rows] for rows in answers]))


def test_spark_and_duckdb_give_the_same_rows_by_the_printed_statements_and_no_others(
    compacted, tmp_path
):
    # A session far from UTC moves no time of Spark's table. Athena's type is the session's there.
    zones = {"spark": "America/Los_Angeles", "athena": "UTC"}
    whole = {engine: statements_of(compacted, engine) for engine in zones}
    questions = [
        {"zone": zones[engine], "statements": statements, "queries": QUERIES}
        for engine, statements in whole.items()
    ]
    for engine, right, wrong in TYPOS:
        statements = [statement.replace(right, wrong) for statement in whole[engine]]
        assert statements != whole[engine], right
        some = {"statements": statements, "queries": QUERIES[2:7]}
        questions.append({"zone": zones[engine], **some})
    expected = in_duckdb(compacted, whole["spark"][-1])
    assert min(map(len, expected)) > 0
    assert len(QUERIES) == 9

    in_spark, in_athena, *misspelt = answers_of(questions, tmp_path)

    assert in_spark == {"error": "", "rows": expected}
    assert in_athena == {"error": "", "rows": expected}
    right = {"error": "", "rows": expected[2:7]}
    unseen = [typo for typo, answer in zip(TYPOS, misspelt, strict=True) if answer == right]
    assert unseen == []


def answers_of(questions: list[Any], folder: Path) -> list[Any]:
    asked, answers = folder / "questions.json", folder / "answers.json"
    asked.write_text(json.dumps(questions), encoding="utf-8")
    program = PROJECT / "tests" / "support" / "spark_queries.py"
    done = subprocess.run(
        [sys.executable, str(program), str(asked), str(answers)],
        cwd=folder,
        env=environ_of(folder / "spark", {}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr[-5_000:]
    return json.loads(answers.read_text(encoding="utf-8"))


# --- compacting on a cluster

SUBMIT = " ".join(
    [
        "--master local-cluster[2,1,1024]",
        "--driver-memory 512m",
        "--conf spark.executor.memory=512m",
        "--conf spark.ui.enabled=false",
        "--conf spark.driver.host=127.0.0.1",
        "--conf spark.driver.bindAddress=127.0.0.1",
        "pyspark-shell",
    ]
)


class Gate:
    """Before an S3 server: holds every GET of a delivery until it is opened."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._changed = threading.Condition()
        self.opened = False
        self.waiting: set[tuple[str, date]] = set()  # apps' days that somebody waits for

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        key = environ["PATH_INFO"].removeprefix("/").partition("/")[2]  # after the bucket
        if environ["REQUEST_METHOD"] == "GET" and is_delivery(key):
            with self._changed:
                self.waiting.add((parse_key(key).app, day_of(key)))
                self._changed.notify_all()
                self._changed.wait_for(lambda: self.opened)
        return self._application(environ, start_response)

    def wait_for(self, days: int, is_alive: Callable[[], bool]) -> None:
        """Until deliveries of so many days are waited for at once."""
        with self._changed:
            while is_alive() and not self._changed.wait_for(
                lambda: len(self.waiting) >= days, timeout=5
            ):
                pass
            assert len(self.waiting) >= days, "the job ended first"

    def open(self) -> None:
        with self._changed:
            self.opened = True
            self._changed.notify_all()


@pytest.fixture
def gate() -> Iterator[tuple[Gate, str]]:
    """An S3 server that honours conditions, behind a gate; and its endpoint."""
    gate = Gate(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, gate, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield gate, f"http://127.0.0.1:{server.server_port}"
    gate.open()
    server.shutdown()
    thread.join()


def s3(endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def written_to(client: Any, bucket: str) -> dict[str, bytes]:
    """Every compacted file, by key; not `_conditions`, with which the command tries the server."""
    listed = client.list_objects_v2(Bucket=bucket, Prefix="layer=events/app=")["Contents"]
    keys = [entry["Key"] for entry in listed]
    return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def test_two_workers_of_which_one_is_killed_write_the_bytes_that_the_command_writes(gate, tmp_path):
    gate, endpoint = gate
    client = s3(endpoint)
    base = {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": endpoint, "AWS_DEFAULT_REGION": "us-east-1"}
    for bucket in ("command", "cluster"):
        client.create_bucket(Bucket=bucket)
        environ = {**base, "ARCHIVE_BUCKETS": bucket}
        put(environ, *traffic(7, START, 4.5, 12))
        put(environ, delivered([{"email": "x@y"}], START + timedelta(days=3), app="shop"))
    spark = environ_of(tmp_path / "spark", base)
    log = tmp_path / "log.txt"

    with log.open("w") as stderr:
        job = subprocess.Popen(
            [
                sys.executable,
                str(PROJECT / "examples" / "compact_on_spark.py"),
                "--archive",
                "cluster",
            ],
            cwd=tmp_path,
            env=spark | {"PYSPARK_SUBMIT_ARGS": SUBMIT},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        try:
            gate.wait_for(2, lambda: job.poll() is None)
            killed = kill_one_executor(job.pid)
        finally:
            gate.open()
        printed_by_job, _ = job.communicate(timeout=SECONDS)

    assert job.returncode == 0, log.read_text()[-5_000:]
    assert killed
    assert "Lost executor" in log.read_text()
    command = CliRunner(env={**os.environ, **base, "ARCHIVE_BUCKETS": "command"}).invoke(
        main, ["compact", "--bucket", "command"], catch_exceptions=False
    )
    assert command.exit_code == 0, command.output
    assert written_to(client, "cluster") == written_to(client, "command")
    assert sorted(written_to(client, "command")) == [
        "layer=events/app=sendgrid/month=2024-10/2024-10.parquet",
        "layer=events/app=sendgrid/month=2024-11/2024-11.parquet",
        "layer=events/app=shop/month=2024-11/2024-11.parquet",
    ]
    assert "unchanged cluster/layer=events/" in printed_by_job


def kill_one_executor(pid: int) -> list[int]:
    """An executor of a job with all that it started: it is gone as when its machine is."""
    executors = [
        process for process, command in below(pid) if "CoarseGrainedExecutorBackend" in command
    ]
    assert len(executors) == 2
    killed = [executors[0], *(process for process, _ in below(executors[0]))]
    for process in killed:
        os.kill(process, signal.SIGKILL)
    return killed
