"""S3 notification -> Snowplow self-describing event -> collector.

What Snowplow's AWS Lambda source did (https://github.com/snowplow/snowplow-aws-lambda-source, 2016,
abandoned); docs/snowplow.md says what is kept, improved and dropped. Every failure raises: Lambda
retries, then its dead-letter queue has the notification.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from ipaddress import IPv4Address
from itertools import chain
from typing import Any
from urllib.parse import quote_plus, unquote_plus
from uuid import UUID, uuid5

import requests
from snowplow_tracker.events.self_describing import SelfDescribing
from snowplow_tracker.self_describing_json import SelfDescribingJson
from snowplow_tracker.subject import Subject
from snowplow_tracker.tracker import Tracker

from chalicelib import log
from chalicelib.errors import HookshelfError
from chalicelib.settings import SettingError, parse_bucket_path

SCHEMA = "iglu:com.amazon.aws.lambda/s3_notification_event/jsonschema/1-0-0"
PAYLOAD = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"
PATH = "/com.snowplowanalytics.snowplow/tp2"
TIMEOUT = (2.0, 5.0)  # seconds to connect, and for the collector to answer

_IDS = UUID("0c3f5f0e-6f3f-5c8e-9d0a-5b1f6f0d7a11")  # names our event ids; never to change

# No query and no user: neither survives that PATH is put behind it.
_URL = re.compile(r"(https?)://[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9._~/-]*)?", re.I | re.A)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)

# What schema 1-0-0 allows, all of it: additionalProperties is false everywhere, and a versionId may
# only be null. Newer notifications hold more (sequencer, glacierEventData, …), which would fail.
_TEXT, _TIME, _SIZE, _IPV4 = "text", "time", "size", "ipv4"
_FIELDS: dict[str, Any] = {
    "awsRegion": _TEXT,
    "eventName": _TEXT,
    "eventSource": _TEXT,
    "eventTime": _TIME,
    "eventVersion": _TEXT,
    "requestParameters": {"sourceIPAddress": _IPV4},
    "responseElements": {"x-amz-id-2": _TEXT, "x-amz-request-id": _TEXT},
    "s3": {
        "bucket": {"arn": _TEXT, "name": _TEXT, "ownerIdentity": {"principalId": _TEXT}},
        "configurationId": _TEXT,
        "object": {"eTag": _TEXT, "key": _TEXT, "size": _SIZE},
        "s3SchemaVersion": _TEXT,
    },
    "userIdentity": {"principalId": _TEXT},
}


class NotTracked(HookshelfError):
    """The collector did not take the events, or a notification could not be understood."""


def track(event: Any, context: Any, *, environ: Mapping[str, str]) -> dict[str, int]:
    """Send one event per record of a notification, all in one post; say how many.

    Raises NotTracked, or SettingError for a setting that is missing or wrong.
    """
    everything = list(records(event))
    own = outputs(environ)
    wanted = [record for record in everything if not _is_output(record, own)]
    skipped = len(everything) - len(wanted)
    if skipped:
        log.line(logging.WARNING, "collector's own output skipped", records=skipped)
    if wanted:
        url, app_id = collector(context, environ)
        _post(url, payloads(wanted, app_id))
    log.line(logging.INFO, "notification", sent=len(wanted), skipped=skipped)
    return {"sent": len(wanted), "skipped": skipped}


def records(notification: Any) -> Iterator[dict[str, Any]]:
    """The S3 records of a notification: direct, or wrapped by SQS, SNS or EventBridge.

    Raises NotTracked for anything else; `s3:TestEvent` has none.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """
    if not isinstance(notification, dict):
        raise NotTracked("The notification is no JSON object")
    if isinstance(notification.get("Records"), list):
        yield from chain.from_iterable(map(_unwrapped, notification["Records"]))
    elif notification.get("Type") == "Notification":  # SNS, in SQS or over HTTP
        yield from records(_parsed(notification.get("Message")))
    elif notification.get("source") == "aws.s3":  # EventBridge
        yield _checked(_from_eventbridge(notification))
    elif notification.get("Event") != "s3:TestEvent":
        raise NotTracked("The notification is none of S3's, SQS's, SNS's or EventBridge's")


def project(record: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record that schema 1-0-0 allows."""
    projected: dict[str, Any] = _project(record, _FIELDS)
    return projected


def event_id(record: Mapping[str, Any]) -> str:
    """The same UUID for the same fact, however often S3 or Lambda tell it."""
    return str(uuid5(_IDS, json.dumps(_fact(record))))


def payloads(wanted: list[dict[str, Any]], app_id: str) -> list[dict[str, str]]:
    """Each record as Snowplow's tracker protocol wants it, built by Snowplow's own tracker."""
    collected = _Collected()
    subject = Subject().set_platform("srv")
    # Ours has the one method of an emitter that a tracker calls.
    tracker = _Tracker("main", collected, subject, app_id, encode_base64=True)  # type: ignore[arg-type]
    for record in wanted:
        tracker.track(_Notification(record))
    return collected.payloads


def collector(context: Any, environ: Mapping[str, str]) -> tuple[str, str]:
    """The collector's URL and our app id: from the environment, else the function's description.

    The description is what the original reads: JSON `{"collector_url": …, "app_id": …}`.
    """
    url = environ.get("SNOWPLOW_COLLECTOR", "").strip()
    app_id = environ.get("SNOWPLOW_APP_ID", "").strip()
    if not url:
        described = _description(context)
        url = described.get("collector_url", "").strip()
        app_id = app_id or described.get("app_id", "").strip()
    found = _URL.fullmatch(url)
    if not found:
        raise SettingError("SNOWPLOW_COLLECTOR", "is not set, or no URL. Write https://<host>")
    if found[1].lower() == "http":
        log.line(logging.WARNING, "SNOWPLOW_COLLECTOR is not https: events travel in clear")
    return url.rstrip("/"), app_id or "hookshelf"


def outputs(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """SNOWPLOW_OUTPUT, `bucket[/prefix]` with commas between: where the collector's output lands.

    Raises SettingError for an entry that could never match, as it would guard against nothing.
    """
    found = []
    for entry in filter(None, map(str.strip, environ.get("SNOWPLOW_OUTPUT", "").split(","))):
        bucket, _, prefix = entry.partition("/")
        if parse_bucket_path(bucket) is None:
            raise SettingError(
                "SNOWPLOW_OUTPUT", f"has the entry {entry!r}. Write each as bucket or bucket/prefix"
            )
        found.append((bucket, prefix))
    return found


class _Notification(SelfDescribing):
    def __init__(self, record: Mapping[str, Any]) -> None:
        super().__init__(SelfDescribingJson(SCHEMA, project(record)))
        self.event_id = event_id(record)


class _Tracker(Tracker):
    """Snowplow's tracker draws a new id at each attempt, so that repeats could not be told."""

    def complete_payload(self, event: Any) -> Any:
        payload = super().complete_payload(event)
        payload.add("eid", event.event_id)
        return payload


class _Collected:
    """An emitter that only collects: Snowplow's own keeps posting after we have failed."""

    def __init__(self) -> None:
        self.payloads: list[dict[str, str]] = []

    def input(self, payload: Mapping[str, Any]) -> None:
        self.payloads.append({name: str(value) for name, value in payload.items()})


def _post(url: str, payloads: list[dict[str, str]]) -> None:
    sent = {"stm": str(int(time.time() * 1000))}
    try:
        with requests.post(
            url + PATH,
            json={"schema": PAYLOAD, "data": [payload | sent for payload in payloads]},
            headers={"Content-Type": "application/json; charset=utf-8"},
            timeout=TIMEOUT,
            allow_redirects=False,
            stream=True,  # the status is all we want, and a body could trickle for ever
        ) as answer:
            status = answer.status_code
    except (requests.RequestException, ValueError) as error:
        # The type alone: the text quotes the URL.
        raise NotTracked(f"The collector did not answer: {type(error).__name__}") from None
    if status != 200:
        raise NotTracked(f"The collector answered {status}")


def _unwrapped(record: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(record, dict):
        raise NotTracked("A record of the notification is no JSON object")
    if isinstance(record.get("s3"), dict):
        yield _checked(record)
    elif isinstance(record.get("Sns"), dict):
        yield from records(_parsed(record["Sns"].get("Message")))
    elif "body" in record:
        yield from records(_parsed(record["body"]))
    else:
        raise NotTracked("A record of the notification is none of S3's, SQS's or SNS's")


def _checked(record: dict[str, Any]) -> dict[str, Any]:
    _fact(record)
    return record


def _fact(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells one fact from another: bucket, key, version, event name, sequencer.

    Puts and deletes have a sequencer; for other events their time stands in.
    """
    s3 = _part(record, "s3")
    obj = _part(s3, "object")
    fact = (
        _part(s3, "bucket").get("name"),
        obj.get("key"),
        obj.get("versionId"),
        record.get("eventName"),
        obj.get("sequencer") or record.get("eventTime"),
    )
    if not all(map(isinstance, fact, (str, str, str | None, str, str | None))):
        raise NotTracked("A record of the notification names no bucket, key or event")
    return fact


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = value.get(name)
    return part if isinstance(part, Mapping) else {}


def _from_eventbridge(event: Mapping[str, Any]) -> dict[str, Any]:
    """An EventBridge event as the record S3 itself would have sent, as far as it says.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    detail = _part(event, "detail")
    obj = _part(detail, "object")
    key = obj.get("key")
    resources = event.get("resources")
    return {
        "eventSource": "aws:s3",
        "awsRegion": event.get("region"),
        "eventTime": event.get("time"),
        "eventName": _event_name(event, detail),
        "userIdentity": {"principalId": detail.get("requester")},
        "requestParameters": {"sourceIPAddress": detail.get("source-ip-address")},
        "responseElements": {"x-amz-request-id": detail.get("request-id")},
        "s3": {
            "bucket": {
                "name": _part(detail, "bucket").get("name"),
                "arn": resources[0] if isinstance(resources, list) and resources else None,
            },
            "object": {
                # S3's own notifications encode the key, EventBridge's do not.
                "key": quote_plus(key, safe="/") if isinstance(key, str) else None,
                "size": obj.get("size"),
                "eTag": obj.get("etag"),
                "versionId": obj.get("version-id"),
                "sequencer": obj.get("sequencer"),
            },
        },
    }


def _event_name(event: Mapping[str, Any], detail: Mapping[str, Any]) -> str | None:
    kind, reason = str(event.get("detail-type")), str(detail.get("reason"))
    if kind == "Object Created":
        return f"ObjectCreated:{_CREATED.get(reason, reason)}"
    if kind == "Object Deleted":
        why = "LifecycleExpiration" if reason == "Lifecycle Expiration" else "ObjectRemoved"
        is_marker = detail.get("deletion-type") == "Delete Marker Created"
        return f"{why}:{'DeleteMarkerCreated' if is_marker else 'Delete'}"
    return _OTHERS.get(kind)


_CREATED = {"PutObject": "Put", "POST Object": "Post", "CopyObject": "Copy"}
_OTHERS = {
    "Object Restore Initiated": "ObjectRestore:Post",
    "Object Restore Completed": "ObjectRestore:Completed",
    "Object Restore Expired": "ObjectRestore:Delete",
    "Object Storage Class Changed": "LifecycleTransition",
    "Object Access Tier Changed": "IntelligentTiering",
    "Object ACL Updated": "ObjectAcl:Put",
    "Object Tags Added": "ObjectTagging:Put",
    "Object Tags Deleted": "ObjectTagging:Delete",
}


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise NotTracked("A wrapped notification is not JSON") from None


def _project(value: Mapping[str, Any], allowed: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, kind in allowed.items():
        part = value.get(name)
        if isinstance(kind, dict):
            if isinstance(part, Mapping):
                found[name] = _project(part, kind)
        elif _is(kind, part):
            found[name] = part
    return found


def _is(kind: str, value: Any) -> bool:
    if kind == _SIZE:
        return type(value) is int and value >= 0
    if not isinstance(value, str):
        return False
    try:
        _READERS[kind](value)
    except ValueError:
        return False
    return True


def _time(text: str) -> datetime:
    if not _RFC3339.fullmatch(text):
        raise ValueError
    return datetime.fromisoformat(text)


_READERS: dict[str, Callable[[str], object]] = {_TEXT: str, _TIME: _time, _IPV4: IPv4Address}


def _is_output(record: Mapping[str, Any], own: list[tuple[str, str]]) -> bool:
    bucket, encoded, *_ = _fact(record)
    key = unquote_plus(encoded)
    return any(bucket == output and key.startswith(prefix) for output, prefix in own)


def _description(context: Any) -> dict[str, str]:
    arn = getattr(context, "invoked_function_arn", "")
    if not arn:
        return {}
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    connect, read = TIMEOUT
    patience = Config(connect_timeout=connect, read_timeout=read, retries={"total_max_attempts": 2})
    try:
        client = boto3.client("lambda", config=patience)
        text = client.get_function_configuration(FunctionName=arn).get("Description", "")
    except (BotoCoreError, ClientError) as error:
        raise NotTracked(
            f"The function's description cannot be read: {type(error).__name__}"
        ) from None
    try:
        found = json.loads(text)
    except ValueError:  # a description for people
        return {}
    texts = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in texts if isinstance(value, str)}
