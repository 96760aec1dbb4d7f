"""`app.track_s3`: what an S3 notification says becomes Snowplow events that validate.

A collector of this test's own, over real HTTP, takes down everything that is posted to it.
"""

import base64
import copy
import io
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator, FormatChecker, ValidationError
from support.loops import for_each
from support.project import CREDENTIALS, PROJECT

from app import track_s3
from chalicelib.settings import SettingError
from chalicelib.snowplow import TIMEOUT, NotTracked, project

SHARED = PROJECT.parent / "shared" / "payloads" / "snowplow-s3"
Json = dict[str, Any]


# The notifications that S3 sends, from its documentation's shape.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html


def record(event: str = "ObjectCreated:Put", key: str = "incoming/a.csv", **obj: Any) -> Json:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-central-1",
        "eventTime": "2026-11-20T23:50:01.123Z",
        "eventName": event,
        "userIdentity": {"principalId": "AWS:AIDAEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "192.0.2.7"},
        "responseElements": {"x-amz-request-id": "D82B88E5F771F645", "x-amz-id-2": "vlR7/Pn+g="},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "hookshelf-track-s3",
            "bucket": {
                "name": "uploads",
                "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                "arn": "arn:aws:s3:::uploads",
            },
            "object": {"key": key, "sequencer": "0055AED6DCD90281E5"} | obj,
        },
    }


def notification(*records: Json) -> Json:
    return {"Records": list(records)}


PUT = record(size=1024, eTag="d41d8cd98f00b204e9800998ecf8427e")
DELETE = record("ObjectRemoved:Delete")
MARKER = record("ObjectRemoved:DeleteMarkerCreated", versionId="096fKKXTRTtl3on89fVO.nfljtsv6qko")
VERSIONED = record(size=0, eTag="0", versionId="L4kqtJlcpXroDTDmpUMLUo", key="v")
UNVERSIONED = record(size=1, versionId=None)
IPV6 = record(size=1) | {"requestParameters": {"sourceIPAddress": "2001:db8::7"}}
BY_LIFECYCLE = record("LifecycleExpiration:Delete") | {
    "requestParameters": {"sourceIPAddress": "s3.amazonaws.com"}
}
NEWER = record(size=5 * 2**40, eTag="x-1", key="big") | {
    "eventVersion": "2.3",
    "glacierEventData": {"restoreEventData": {"lifecycleRestoreStorageClass": "GLACIER"}},
    "intelligentTieringEventData": {"destinationAccessTier": "ARCHIVE_ACCESS"},
    "replicationEventData": {"replicationRuleId": "r"},
    "lifecycleEventData": {"transitionEventData": {"destinationStorageClass": "GLACIER"}},
}
KEYS = [
    "red+flower.jpg",
    "a%2Bb+c.csv",
    "100%25.txt",
    "%C3%BC/%E6%97%A5%E6%9C%AC/%F0%9F%A6%86.json",
    "ü/日本.json",
    "quote%22%5C%0A",
    "a" * 1024,
]
RECORDS = {
    "put": PUT,
    "delete": DELETE,
    "delete marker": MARKER,
    "versioned": VERSIONED,
    "unversioned": UNVERSIONED,
    "IPv6": IPV6,
    "by lifecycle": BY_LIFECYCLE,
    "newer extras": NEWER,
} | {f"key {key[:24]}": record(key=key, size=1) for key in KEYS}


# What carries them.


def in_sqs(*notifications: Json) -> Json:
    return {
        "Records": [
            {"messageId": str(n), "eventSource": "aws:sqs", "body": json.dumps(one)}
            for n, one in enumerate(notifications)
        ]
    }


def in_sns(message: Json) -> Json:
    sns = {"Type": "Notification", "Subject": "Amazon S3 Notification"}
    return {"Records": [{"EventSource": "aws:sns", "Sns": sns | {"Message": json.dumps(message)}}]}


def in_sns_in_sqs(message: Json) -> Json:
    return in_sqs({"Type": "Notification", "MessageId": "m", "Message": json.dumps(message)})


def eventbridge(kind: str = "Object Created", key: str = "incoming/a.csv", **detail: Any) -> Json:
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": kind,
        "source": "aws.s3",
        "account": "123456789012",
        "time": "2026-11-20T23:50:01Z",
        "region": "eu-central-1",
        "resources": ["arn:aws:s3:::uploads"],
        "detail": {
            "version": "0",
            "bucket": {"name": "uploads"},
            "object": {"key": key, "size": 1024, "etag": "e", "sequencer": "0055AED6DCD90281E5"},
            "request-id": "D82B88E5F771F645",
            "requester": "123456789012",
            "source-ip-address": "192.0.2.7",
            "reason": "PutObject",
        }
        | detail,
    }


WRAPPED: dict[str, Callable[[Json], Json]] = {
    "SQS": in_sqs,
    "SNS": in_sns,
    "SNS in SQS": in_sns_in_sqs,
    "SQS in SNS in SQS": lambda message: in_sns_in_sqs(in_sqs(message)),
}


# What schema 1-0-0 demands; the published file says the same, as a test below makes sure.


def closed(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False}


TEXT = {"type": "string"}
PRINCIPAL = closed({"principalId": TEXT})
SCHEMA = closed(
    {
        "awsRegion": TEXT,
        "eventName": TEXT,
        "eventSource": TEXT,
        "eventTime": {"type": "string", "format": "date-time"},
        "eventVersion": TEXT,
        "requestParameters": closed({"sourceIPAddress": {"type": "string", "format": "ipv4"}}),
        "responseElements": closed({"x-amz-id-2": TEXT, "x-amz-request-id": TEXT}),
        "s3": closed(
            {
                "bucket": closed({"arn": TEXT, "name": TEXT, "ownerIdentity": PRINCIPAL}),
                "configurationId": TEXT,
                "object": closed(
                    {
                        "eTag": {"type": ["string", "null"]},
                        "key": TEXT,
                        "size": {"type": ["integer", "null"], "minimum": 0},
                        "versionId": {"type": "null"},
                    }
                ),
                "s3SchemaVersion": TEXT,
            }
        ),
        "userIdentity": PRINCIPAL,
    }
)
VALIDATOR = Draft4Validator(SCHEMA, format_checker=FormatChecker())


# The collector.


class Collector:
    """Keeps what it is sent; answers 200 `ok`, or as `answer` says."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = status(200)

    @property
    def events(self) -> list[Json]:
        """The events of every post."""
        return [event for *_, body in self.requests for event in json.loads(body)["data"]]

    @property
    def data(self) -> list[Json]:
        """What the events say, which validates."""
        return [data_of(event) for event in self.events]

    @property
    def eids(self) -> list[str]:
        return [event["eid"] for event in self.events]


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"ok")

    return answer


def raw(answer: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda handler: handler.wfile.write(answer) and None


def data_of(event: Json) -> Json:
    """What an event says, after every check that Snowplow would make."""
    outer = json.loads(base64.urlsafe_b64decode(event["ue_px"]))
    assert outer["schema"] == "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"
    inner = outer["data"]
    assert inner["schema"] == "iglu:com.amazon.aws.lambda/s3_notification_event/jsonschema/1-0-0"
    VALIDATOR.validate(inner["data"])
    return inner["data"]


def listening(tls: ssl.SSLContext | None = None) -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            collector.requests.append((self.command, self.path, headers, body))
            collector.answer(self)

        do_GET = do_HEAD = do_PUT = do_POST

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda request, client_address: None  # a handshake we mean to fail
    collector = Collector(f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield collector
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SNOWPLOW_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    for one in listening():
        monkeypatch.setenv("SNOWPLOW_COLLECTOR", one.url)
        yield one


def track(event: object, context: object = None) -> dict[str, int]:
    return track_s3(event, context)


# One post, in the tracker protocol.


def test_all_records_of_a_notification_are_one_post(collector: Collector) -> None:
    answer = track(notification(PUT, DELETE, VERSIONED))

    assert answer == {"sent": 3, "skipped": 0}
    assert len(collector.requests) == 1
    assert [data["eventName"] for data in collector.data] == [
        "ObjectCreated:Put",
        "ObjectRemoved:Delete",
        "ObjectCreated:Put",
    ]


def test_the_post_is_the_tracker_protocols_payload_data(collector: Collector) -> None:
    track(notification(PUT))

    ((method, path, headers, body),) = collector.requests
    assert (method, path) == ("POST", "/com.snowplowanalytics.snowplow/tp2")
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers.keys() & {"authorization", "cookie"} == set()
    assert json.loads(body).keys() == {"schema", "data"}
    assert (
        json.loads(body)["schema"]
        == "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"
    )


def test_an_event_has_the_fields_of_the_tracker_protocol(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNOWPLOW_APP_ID", "our-uploads")
    before = time.time_ns() // 1_000_000

    track(notification(PUT))

    (event,) = collector.events
    assert event.keys() == {"e", "ue_px", "p", "eid", "dtm", "tv", "tna", "aid", "stm"}
    assert (event["e"], event["p"]) == ("ue", "srv")
    assert (event["tna"], event["aid"]) == ("main", "our-uploads")
    assert event["tv"].startswith("py-")
    assert str(uuid.UUID(event["eid"])) == event["eid"]
    assert before <= int(event["dtm"]) <= int(event["stm"]) <= time.time_ns() // 1_000_000


def test_every_value_of_the_protocol_is_text(collector: Collector) -> None:
    track(notification(PUT, DELETE))

    assert {type(value) for event in collector.events for value in event.values()} == {str}


def test_the_app_id_is_hookshelf_where_none_is_set(collector: Collector) -> None:
    track(notification(PUT))

    assert [event["aid"] for event in collector.events] == ["hookshelf"]


@pytest.mark.parametrize("path", ["", "/", "/behind/a/proxy", "/behind/a/proxy/"])
def test_the_collector_may_be_below_a_path(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("SNOWPLOW_COLLECTOR", f" {collector.url}{path} ")

    track(notification(PUT))

    ((_, found, *_),) = collector.requests
    assert found == f"{path.rstrip('/')}/com.snowplowanalytics.snowplow/tp2"


# What is said validates.


@pytest.mark.parametrize("name", RECORDS)
def test_whatever_s3_says_validates(collector: Collector, name: str) -> None:
    track(notification(RECORDS[name]))

    (data,) = collector.data
    assert data["eventName"] == RECORDS[name]["eventName"]
    assert data["s3"]["object"]["key"] == RECORDS[name]["s3"]["object"]["key"]


def test_all_that_the_schema_allows_is_said(collector: Collector) -> None:
    track(notification(PUT))

    expected = copy.deepcopy(PUT)
    del expected["s3"]["object"]["sequencer"]
    assert collector.data == [expected]


def test_a_delete_has_no_size_and_no_etag(collector: Collector) -> None:
    track(notification(DELETE))

    assert [data["s3"]["object"] for data in collector.data] == [{"key": "incoming/a.csv"}]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_passes_as_s3_encodes_it(collector: Collector, key: str) -> None:
    track(notification(record(key=key)))

    assert [data["s3"]["object"]["key"] for data in collector.data] == [key]


def test_a_version_is_not_said_for_the_schema_takes_only_null(collector: Collector) -> None:
    track(notification(VERSIONED))

    (data,) = collector.data
    assert data["s3"]["object"] == {"key": "v", "size": 0, "eTag": "0"}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("192.0.2.7", {"sourceIPAddress": "192.0.2.7"}),
        ("2001:db8::7", {}),
        ("::ffff:192.0.2.7", {}),
        ("s3.amazonaws.com", {}),
        ("256.1.1.1", {}),
        ("010.1.1.1", {}),
        ("1.2.3", {}),
        ("", {}),
        (None, {}),
    ],
)
def test_an_address_is_said_only_if_it_is_ipv4(
    collector: Collector, address: str | None, said: Json
) -> None:
    track(notification(PUT | {"requestParameters": {"sourceIPAddress": address}}))

    assert [data["requestParameters"] for data in collector.data] == [said]


@pytest.mark.parametrize("size", [-1, True, 1.5, "12", [1]])
def test_a_size_that_is_none_is_left_out(collector: Collector, size: object) -> None:
    track(notification(record(size=size)))

    assert ["size" in data["s3"]["object"] for data in collector.data] == [False]


@pytest.mark.parametrize("at", ["yesterday", "2026-11-20", "2026-13-41T00:00:00Z", "2026-11-20T1Z"])
def test_a_time_that_is_none_is_left_out(collector: Collector, at: str) -> None:
    track(notification(PUT | {"eventTime": at}))

    assert ["eventTime" in data for data in collector.data] == [False]


ANYTHING = (
    st.sampled_from([None, True, -1, 0, 7, 1.5, "", "text", [], ["a"], {}, {"name": "a"}])
    | st.ip_addresses().map(str)
    | st.datetimes().map(lambda at: f"{at.isoformat()}Z")
)


def some_of(schema: Json) -> st.SearchStrategy[Any]:
    """Anything, in the places where the schema has something."""
    parts = schema.get("properties", {"anything": {}})
    names = {
        name: some_of(part) if "properties" in part else ANYTHING for name, part in parts.items()
    }
    return st.fixed_dictionaries({}, optional=names | {"sequencer": ANYTHING}) | ANYTHING


@given(some_of(SCHEMA).filter(lambda found: isinstance(found, dict)))
def test_nothing_at_all_makes_an_event_that_does_not_validate(found: Json) -> None:
    VALIDATOR.validate(project(found))


@pytest.mark.parametrize(
    "change",
    [
        {"sequencer": "0055"},
        {"versionId": "L4kqtJlcpXroDTDmpUMLUo"},
        {"size": -1},
        {"size": "1"},
        {"eTag": 1},
    ],
)
def test_the_schema_of_this_test_refuses_what_a_collector_would(change: Json) -> None:
    good = project(PUT)
    VALIDATOR.validate(good)
    good["s3"]["object"] |= change

    with pytest.raises(ValidationError):
        VALIDATOR.validate(good)


@pytest.mark.parametrize(
    "change",
    [
        {"eventTime": "yesterday"},
        {"requestParameters": {"sourceIPAddress": "2001:db8::7"}},
        {"glacierEventData": {}},
    ],
)
def test_the_schema_of_this_test_checks_formats_and_names(change: Json) -> None:
    with pytest.raises(ValidationError):
        VALIDATOR.validate(project(PUT) | change)


def published(name: str) -> Json:
    """A file of the published samples."""
    if not (SHARED / name).is_file():
        pytest.skip(f"{SHARED / name} is not here")
    return json.loads((SHARED / name).read_text())


def test_the_schema_of_this_test_is_the_published_one() -> None:
    schema = published("iglu_s3_notification_event_1-0-0.schema.json")

    assert {name: schema[name] for name in SCHEMA} == SCHEMA
    assert schema.keys() - SCHEMA.keys() == {"$schema", "self"}


@pytest.mark.parametrize("name", ["s3-put.json", "s3-delete.json"])
def test_the_published_samples_validate_against_the_published_schema(
    collector: Collector, name: str
) -> None:
    schema = published("iglu_s3_notification_event_1-0-0.schema.json")
    sample = published(name)

    track(sample)

    (data,) = collector.data
    Draft4Validator(schema, format_checker=FormatChecker()).validate(data)
    (expected,) = sample["Records"]
    del expected["s3"]["object"]["sequencer"]
    assert data == expected


# However it comes.


@pytest.mark.parametrize("how", WRAPPED)
def test_a_wrapped_notification_says_what_a_direct_one_does(collector: Collector, how: str) -> None:
    track(notification(PUT, DELETE))
    direct, ids = collector.data, collector.eids
    collector.requests.clear()

    assert track(WRAPPED[how](notification(PUT, DELETE))) == {"sent": 2, "skipped": 0}

    assert (collector.data, collector.eids) == (direct, ids)
    assert len(collector.requests) == 1


def test_a_queues_messages_are_one_post_too(collector: Collector) -> None:
    track(in_sqs(notification(PUT), notification(DELETE, VERSIONED)))

    assert len(collector.requests) == 1
    assert len(collector.events) == 3


@pytest.mark.parametrize("how", ["EventBridge", *WRAPPED])
def test_an_eventbridge_event_becomes_the_record_s3_would_have_sent(
    collector: Collector, how: str
) -> None:
    event = eventbridge(key="ü/red flower+1.csv")

    track(WRAPPED[how](event) if how in WRAPPED else event)

    assert collector.data == [
        {
            "eventSource": "aws:s3",
            "awsRegion": "eu-central-1",
            "eventTime": "2026-11-20T23:50:01Z",
            "eventName": "ObjectCreated:Put",
            "userIdentity": {"principalId": "123456789012"},
            "requestParameters": {"sourceIPAddress": "192.0.2.7"},
            "responseElements": {"x-amz-request-id": "D82B88E5F771F645"},
            "s3": {
                "bucket": {"name": "uploads", "arn": "arn:aws:s3:::uploads"},
                "object": {"key": "%C3%BC/red+flower%2B1.csv", "size": 1024, "eTag": "e"},
            },
        }
    ]


def test_an_eventbridge_event_has_the_id_of_the_same_notification(collector: Collector) -> None:
    track(eventbridge(key="incoming/red flower.csv"))
    track(notification(record(key="incoming/red+flower.csv")))

    assert len(set(collector.eids)) == 1


REMOVED, EXPIRED = {"reason": "DeleteObject"}, {"reason": "Lifecycle Expiration"}
FOR_GOOD, MARKED = (
    {"deletion-type": "Permanently Deleted"},
    {"deletion-type": "Delete Marker Created"},
)


@pytest.mark.parametrize(
    ("kind", "detail", "name"),
    [
        ("Object Created", {"reason": "PutObject"}, "ObjectCreated:Put"),
        ("Object Created", {"reason": "POST Object"}, "ObjectCreated:Post"),
        ("Object Created", {"reason": "CopyObject"}, "ObjectCreated:Copy"),
        (
            "Object Created",
            {"reason": "CompleteMultipartUpload"},
            "ObjectCreated:CompleteMultipartUpload",
        ),
        ("Object Deleted", REMOVED | FOR_GOOD, "ObjectRemoved:Delete"),
        ("Object Deleted", REMOVED | MARKED, "ObjectRemoved:DeleteMarkerCreated"),
        ("Object Deleted", EXPIRED | FOR_GOOD, "LifecycleExpiration:Delete"),
        ("Object Deleted", EXPIRED | MARKED, "LifecycleExpiration:DeleteMarkerCreated"),
        ("Object Tags Added", {}, "ObjectTagging:Put"),
        ("Object Restore Completed", {}, "ObjectRestore:Completed"),
    ],
)
def test_eventbridge_events_are_named_as_s3_names_them(
    collector: Collector, kind: str, detail: Json, name: str
) -> None:
    track(eventbridge(kind, **detail))

    assert [data["eventName"] for data in collector.data] == [name]


# The same fact has the same id.


def test_an_id_never_changes(collector: Collector) -> None:
    track(notification(VERSIONED))

    assert collector.eids == ["eb859bcd-26ab-5b51-a136-49fd0603cceb"]


def test_a_notification_sent_again_has_the_same_ids(collector: Collector) -> None:
    track(notification(PUT, DELETE, VERSIONED))
    track(notification(PUT, DELETE, VERSIONED))

    assert len(collector.requests) == 2
    assert collector.eids[:3] == collector.eids[3:]
    assert len(set(collector.eids)) == 3


@pytest.mark.parametrize(
    "other",
    [
        record(key="another"),
        record(versionId="another"),
        record("ObjectCreated:Copy"),
        record(sequencer="0055AED6DCD90281E6"),
        record() | {"s3": record()["s3"] | {"bucket": {"name": "another"}}},
    ],
    ids=["key", "version", "event name", "sequencer", "bucket"],
)
def test_another_fact_has_another_id(collector: Collector, other: Json) -> None:
    track(notification(record(), other))

    assert len(set(collector.eids)) == 2


def test_what_is_told_about_a_fact_is_not_part_of_its_id(collector: Collector) -> None:
    later = record(size=9) | {"eventTime": "2026-11-21T00:00:00.000Z", "responseElements": {}}

    track(notification(record(), later))

    assert len(set(collector.eids)) == 1


def test_without_a_sequencer_the_time_tells_facts_apart(collector: Collector) -> None:
    tagged = record("ObjectTagging:Put", sequencer=None)
    again = tagged | {"eventTime": "2026-11-21T00:00:00.000Z"}

    track(notification(tagged, tagged, again))

    first, repeated, other = collector.eids
    assert first == repeated != other


# A collector that fails.


def threads() -> set[threading.Thread]:
    """Every thread and timer but those in which the collector answers."""
    return {one for one in threading.enumerate() if "process_request" not in one.name}


@pytest.mark.parametrize("code", [201, 204, 302, 400, 404, 413, 429, 500, 503])
def test_whatever_is_not_200_raises(collector: Collector, code: int) -> None:
    collector.answer = status(code)

    with pytest.raises(NotTracked, match=f"The collector responded {code}"):
        track(notification(PUT))

    assert len(collector.requests) == 1


def test_after_a_500_nothing_more_is_posted(collector: Collector) -> None:
    collector.answer = status(500)
    before = threads()

    with pytest.raises(NotTracked):
        track(notification(*[PUT] * 30))
    after = threads()
    time.sleep(0.5)

    assert not after - before  # what others left behind may end meanwhile
    assert len(collector.requests) == 1


@pytest.mark.parametrize("to", ["/elsewhere", "http://127.0.0.1:1/", "\xff"])
def test_a_redirect_is_not_followed(collector: Collector, to: str) -> None:
    collector.answer = status(302, Location=to)

    with pytest.raises(NotTracked):
        track(notification(PUT))

    assert [method for method, *_ in collector.requests] == ["POST"]


@pytest.mark.parametrize(
    "answer", [b"", b"\x00\xff garbage\r\n\r\n", b"HTTP/1.1 two hundred\r\n\r\n", b"HTTP/1.1 20"]
)
def test_garbage_raises(collector: Collector, answer: bytes) -> None:
    collector.answer = raw(answer) if answer else lambda handler: None

    with pytest.raises(NotTracked, match="The collector did not respond"):
        track(notification(PUT))

    assert len(collector.requests) == 1


def test_a_refused_connection_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("SNOWPLOW_COLLECTOR", f"http://127.0.0.1:{nobody.getsockname()[1]}")

        with pytest.raises(NotTracked, match="ConnectionError"):
            track(notification(PUT))


def test_a_collector_that_hangs_raises_within_the_timeout(collector: Collector) -> None:
    done = threading.Event()
    collector.answer = lambda handler: done.wait(30) and None
    before = threads()

    with pytest.raises(NotTracked, match="ReadTimeout"):  # and not that it hung up
        track(notification(PUT))

    after = threads()
    done.set()
    config = json.loads((PROJECT / ".chalice" / "config.json").read_text())
    assert sum(TIMEOUT) + 1 < config["lambda_functions"]["track_s3"]["lambda_timeout"]
    assert not after - before  # what others left behind may end meanwhile
    assert len(collector.requests) == 1


def test_a_200_counts_at_once_however_long_its_body_takes(collector: Collector) -> None:
    done = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        done.wait(30)

    collector.answer = trickle

    assert track(notification(PUT)) == {"sent": 1, "skipped": 0}
    done.set()


def test_an_error_does_not_quote_the_collectors_url(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.answer = lambda handler: None
    monkeypatch.setenv("SNOWPLOW_COLLECTOR", f"{collector.url}/a-path-nobody-should-read")

    with pytest.raises(NotTracked) as caught:
        track(notification(PUT))

    assert "nobody-should-read" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# Over TLS.


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1, with its key, that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a collector")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "collector.pem"
    path.write_bytes(made.public_bytes(pem) + secret)
    return path


@pytest.fixture
def tls_collector(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> Iterator[Collector]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    for one in listening(context):
        monkeypatch.setenv("SNOWPLOW_COLLECTOR", one.url)
        yield one


def test_https_is_spoken_without_a_warning(
    tls_collector: Collector,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))

    assert track(notification(PUT)) == {"sent": 1, "skipped": 0}

    assert len(tls_collector.data) == 1
    assert "WARNING" not in capsys.readouterr().err


def test_a_certificate_that_nobody_vouches_for_is_refused(
    tls_collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)

    with pytest.raises(NotTracked, match="SSLError"):
        track(notification(PUT))

    assert tls_collector.requests == []


# What is not sent.


TEST_EVENT = {
    "Service": "Amazon S3",
    "Event": "s3:TestEvent",
    "Time": "2026-11-20T23:50:01.123Z",
    "Bucket": "uploads",
    "RequestId": "5582815E1AEA5ADF",
    "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR",
}


@pytest.mark.parametrize("how", ["direct", *WRAPPED])
def test_the_test_event_of_s3_is_ignored(collector: Collector, how: str) -> None:
    assert track(WRAPPED[how](TEST_EVENT) if how in WRAPPED else TEST_EVENT) == {
        "sent": 0,
        "skipped": 0,
    }
    assert collector.requests == []


def test_no_records_are_no_post(collector: Collector) -> None:
    assert track({"Records": []}) == {"sent": 0, "skipped": 0}
    assert collector.requests == []


@pytest.mark.parametrize(
    ("output", "key", "is_skipped"),
    [
        ("uploads", "any/thing", True),
        ("uploads/enriched/", "enriched/good/part-1.gz", True),
        ("elsewhere, uploads/enriched/", "enriched/good/part-1.gz", True),
        ("uploads/my output/", "my+output/part-1.gz", True),
        ("uploads/enriched/", "enriched.csv", False),
        ("uploads/enriched/", "incoming/enriched/a.csv", False),
        ("upload", "any/thing", False),
        ("elsewhere/enriched/", "enriched/good/part-1.gz", False),
        ("", "any/thing", False),
        (" , ", "any/thing", False),
    ],
)
def test_the_collectors_own_output_is_skipped(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, output: str, key: str, is_skipped: bool
) -> None:
    monkeypatch.setenv("SNOWPLOW_OUTPUT", output)

    answer = track(notification(record(key=key)))

    assert answer == {"sent": int(not is_skipped), "skipped": int(is_skipped)}
    assert len(collector.requests) == int(not is_skipped)


def test_other_records_beside_the_output_are_sent_and_the_skipped_are_logged(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SNOWPLOW_OUTPUT", "uploads/enriched/")

    answer = track(notification(record(key="enriched/1"), PUT, record(key="enriched/2")))

    assert answer == {"sent": 1, "skipped": 2}
    assert [data["s3"]["object"]["key"] for data in collector.data] == ["incoming/a.csv"]
    lines = map(json.loads, capsys.readouterr().err.splitlines())
    assert {
        "level": "WARNING",
        "message": "collector's own output skipped",
        "records": 2,
    } in list(lines)


def test_an_output_that_could_never_match_is_a_setting_error(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNOWPLOW_OUTPUT", "s3://uploads/enriched/")

    with pytest.raises(SettingError, match="SNOWPLOW_OUTPUT"):
        track(notification(PUT))

    assert collector.requests == []


def without(*path: str) -> Json:
    """A put that lacks something."""
    broken = copy.deepcopy(PUT)
    part = broken
    for name in path[:-1]:
        part = part[name]
    del part[path[-1]]
    return broken


MALFORMED: dict[str, object] = {
    "null": None,
    "a list": [PUT],
    "a string": json.dumps(notification(PUT)),
    "a number": 7,
    "an empty object": {},
    "Records of null": {"Records": None},
    "Records of an object": {"Records": PUT},
    "a record of null": {"Records": [None]},
    "a record of text": {"Records": ["garbage"]},
    "a record of a list": {"Records": [[PUT]]},
    "a record of nothing": {"Records": [{}]},
    "a record whose s3 is text": {"Records": [{"s3": "garbage"}]},
    "a record whose s3 is empty": {"Records": [PUT | {"s3": {}}]},
    "a bucket that is text": {"Records": [PUT | {"s3": PUT["s3"] | {"bucket": "uploads"}}]},
    "no bucket": {"Records": [without("s3", "bucket", "name")]},
    "no key": {"Records": [without("s3", "object", "key")]},
    "no event name": {"Records": [without("eventName")]},
    "a key that is a list": notification(record(key=[["a"]])),
    "a version that is a number": notification(record(versionId=1)),
    "a good record, then garbage": {"Records": [PUT, {}]},
    "of another service": {"Records": [{"eventSource": "aws:ses", "ses": {}}]},
    "SQS body that is not JSON": {"Records": [{"body": "Records"}]},
    "SQS body that is a list": {"Records": [{"body": "[]"}]},
    "SQS body that is no text": {"Records": [{"body": notification(PUT)}]},
    "SQS body that is null": {"Records": [{"body": None}]},
    "SQS body nested too deep": {"Records": [{"body": "[" * 100_000}]},
    "a good message, then garbage": {
        "Records": in_sqs(notification(PUT))["Records"] + [{"body": ""}]
    },
    "SNS without a message": {"Records": [{"Sns": {}}]},
    "SNS message that is not JSON": {"Records": [{"Sns": {"Message": "hello"}}]},
    "SNS subscription": {"Type": "SubscriptionConfirmation", "Message": "You have chosen …"},
    "EventBridge of another service": eventbridge() | {"source": "aws.ec2"},
    "EventBridge of an unknown kind": eventbridge("Object Admired"),
    "EventBridge without detail": eventbridge() | {"detail": None},
    "EventBridge without a key": eventbridge(object={}),
    "EventBridge with odd parts": eventbridge(reason=["x"], bucket=[], object="a"),
}


@for_each("name", [*MALFORMED])
def test_a_malformed_notification_raises_and_nothing_of_it_is_sent(
    collector: Collector, name: str
) -> None:
    with pytest.raises(NotTracked):
        track(MALFORMED[name])

    assert collector.requests == []


# The collector's setting.


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "collector.example.com",
        "ftp://collector.example.com",
        "https://",
        "https:///path",
        "https://[collector",
        "https://user:password@collector.example.com",
        "https://collector.example.com/?query",
        "https://collector.example.com/#part",
        "https://collector.example.com:port",
        "https://a b.example.com",
        "https://collector.example.com\nhost",
        "//collector.example.com",
    ],
)
def test_a_collector_that_is_missing_or_malformed_is_a_setting_error(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("SNOWPLOW_COLLECTOR", url)

    with pytest.raises(SettingError) as caught:
        track(notification(PUT))

    assert caught.value.variable == "SNOWPLOW_COLLECTOR"
    assert "password" not in str(caught.value)


def test_plain_http_is_spoken_with_a_warning(
    collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    track(notification(PUT))

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (warning,) = [line for line in lines if line["level"] == "WARNING"]
    assert "SNOWPLOW_COLLECTOR is not https" in warning["message"]


Describe = Callable[[str], object]


@pytest.fixture
def described(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Describe:
    """Deploy a function with a description; gives the context of its invokes."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")  # as Lambda sets it
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)

    def deploy(description: str) -> object:
        name = f"track-{uuid.uuid4().hex}"
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        role = boto3.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust)
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as bundle:
            bundle.writestr("app.py", "")
        made = boto3.client("lambda").create_function(
            FunctionName=name,
            Role=role["Role"]["Arn"],
            Runtime="python3.12",
            Handler="app.track_s3",
            Code={"ZipFile": code.getvalue()},
            Description=description,
        )
        return SimpleNamespace(invoked_function_arn=made["FunctionArn"])

    return deploy


@pytest.mark.parametrize("space", ["", " "])  # its deploy script put one in front
def test_the_functions_description_names_the_collector_as_it_did_in_the_original(
    collector: Collector, described: Describe, monkeypatch: pytest.MonkeyPatch, space: str
) -> None:
    monkeypatch.delenv("SNOWPLOW_COLLECTOR")
    context = described(space + json.dumps({"collector_url": collector.url, "app_id": "original"}))

    assert track(notification(PUT), context) == {"sent": 1, "skipped": 0}

    assert [event["aid"] for event in collector.events] == ["original"]


def test_the_variables_win_over_the_description(
    collector: Collector, described: Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = described('{"collector_url": "http://127.0.0.1:1", "app_id": "original"}')

    track(notification(PUT), context)
    monkeypatch.setenv("SNOWPLOW_APP_ID", "ours")
    track(notification(PUT), context)

    assert [event["aid"] for event in collector.events] == ["hookshelf", "ours"]


def test_the_app_ids_variable_wins_even_where_the_description_names_the_collector(
    collector: Collector, described: Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SNOWPLOW_COLLECTOR")
    monkeypatch.setenv("SNOWPLOW_APP_ID", "ours")

    track(
        notification(PUT),
        described(json.dumps({"collector_url": collector.url, "app_id": "original"})),
    )

    assert [event["aid"] for event in collector.events] == ["ours"]


@pytest.mark.parametrize(
    "description",
    [
        "",
        "Tells Snowplow what is uploaded",
        "[]",
        '"https://collector.example.com"',
        '{"app_id": "a"}',
        '{"collector_url": 7, "app_id": "a"}',
        '{"collector_url": "collector", "app_id": "a"}',
    ],
)
def test_a_description_that_names_no_collector_is_a_setting_error(
    described: Describe, description: str
) -> None:
    with pytest.raises(SettingError, match="SNOWPLOW_COLLECTOR"):
        track(notification(PUT), described(description))


def test_a_description_that_cannot_be_read_raises(described: Describe) -> None:
    arn = "arn:aws:lambda:us-east-1:123456789012:function:nobody"

    with pytest.raises(NotTracked, match="description cannot be read"):
        track(notification(PUT), SimpleNamespace(invoked_function_arn=arn))


# Beside the other entry points.


def test_the_http_routes_do_not_load_what_this_one_needs() -> None:
    script = (
        "import sys, app; "
        "print([name for name in ('requests', 'snowplow_tracker', 'pydantic', 'boto3') "
        "if name in sys.modules])"
    )
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "ARCHIVE_", "SNOWPLOW_"))
    }

    found = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env=clean,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert found.stdout == "[]\n"
