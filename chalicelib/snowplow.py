"""S3 notification -> Snowplow self-describing event -> collector.

What Snowplow's AWS Lambda source did (https://github.com/snowplow/snowplow-aws-lambda-source, 2016,
abandoned); docs/doors.md says what is kept, improved and dropped. Every failure raises: Lambda
retries, then its dead-letter queue has the notification.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any
from urllib.parse import quote_plus, unquote_plus, urlsplit
from uuid import UUID, uuid5

import requests
from snowplow_tracker.events.self_describing import SelfDescribing
from snowplow_tracker.self_describing_json import SelfDescribingJson
from snowplow_tracker.subject import Subject
from snowplow_tracker.tracker import Tracker

from chalicelib import log
from chalicelib.settings import SettingError

SCHEMA = "iglu:com.amazon.aws.lambda/s3_notification_event/jsonschema/1-0-0"
PAYLOAD = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"
PATH = "/com.snowplowanalytics.snowplow/tp2"
TIMEOUT = (2.0, 5.0)  # seconds to connect, and for the collector to answer

_IDS = UUID("0c3f5f0e-6f3f-5c8e-9d0a-5b1f6f0d7a11")  # names our event ids; never to change

# What schema 1-0-0 allows, all of it: additionalProperties is false everywhere, and a versionId may
# only be null. Newer notifications hold more (sequencer, glacierEventData, …), which would fail.
_TEXT, _SIZE, _NULL, _IPV4 = "text", "size", "null", "ipv4"
_FIELDS: dict[str, Any] = {
    "awsRegion": _TEXT,
    "eventName": _TEXT,
    "eventSource": _TEXT,
    "eventTime": _TEXT,
    "eventVersion": _TEXT,
    "requestParameters": {"sourceIPAddress": _IPV4},
    "responseElements": {"x-amz-id-2": _TEXT, "x-amz-request-id": _TEXT},
    "s3": {
        "bucket": {"arn": _TEXT, "name": _TEXT, "ownerIdentity": {"principalId": _TEXT}},
        "configurationId": _TEXT,
        "object": {"eTag": _TEXT, "key": _TEXT, "size": _SIZE, "versionId": _NULL},
        "s3SchemaVersion": _TEXT,
    },
    "userIdentity": {"principalId": _TEXT},
}


class NotTracked(Exception):
    """The collector did not take the events, or a notification could not be understood."""


def track(event: Any, context: Any, *, environ: Mapping[str, str]) -> dict[str, int]:
    """Send one event per record of a notification, all in one post; say how many.

    Raises NotTracked, or SettingError for a setting that is missing or wrong.
    """
    everything = list(records(event))
    wanted = [record for record in everything if not _is_output(record, environ)]
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
    elif isinstance(notification.get("detail"), dict):
        yield _from_eventbridge(notification)
    elif notification.get("Event") != "s3:TestEvent":
        raise NotTracked("The notification is none of S3's, SQS's, SNS's or EventBridge's")


def project(record: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record that schema 1-0-0 allows."""
    projected: dict[str, Any] = _project(record, _FIELDS)
    return projected


def event_id(record: Mapping[str, Any]) -> str:
    """The same UUID for the same fact, however often S3 or Lambda tell it."""
    s3 = record.get("s3") or {}
    thing = s3.get("object") or {}
    parts = (
        (s3.get("bucket") or {}).get("name"),
        thing.get("key"),
        thing.get("versionId"),
        record.get("eventName"),
        thing.get("sequencer"),
    )
    return str(uuid5(_IDS, json.dumps(parts)))


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
    app_id = environ.get("SNOWPLOW_APP_ID", "").strip() or "hookshelf"
    if not url:
        described = _description(context)
        url = described.get("collector_url", "")
        app_id = described.get("app_id") or app_id
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise SettingError("SNOWPLOW_COLLECTOR", "is not set, or no https URL")
    if parts.scheme == "http":
        log.line(logging.WARNING, "SNOWPLOW_COLLECTOR is not https: events travel in clear")
    return url.rstrip("/"), app_id


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
        answer = requests.post(
            url + PATH,
            json={"schema": PAYLOAD, "data": [payload | sent for payload in payloads]},
            headers={"Content-Type": "application/json; charset=utf-8"},
            timeout=TIMEOUT,
            allow_redirects=False,
        )
    except requests.RequestException as error:
        # The type alone: the text quotes the URL.
        raise NotTracked(f"The collector did not answer: {type(error).__name__}") from None
    if answer.status_code != 200:
        raise NotTracked(f"The collector answered {answer.status_code}")


def _unwrapped(record: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(record, dict):
        raise NotTracked("A record of the notification is no JSON object")
    if isinstance(record.get("s3"), dict):
        yield record
    elif isinstance(record.get("Sns"), dict):
        yield from records(_parsed(record["Sns"].get("Message")))
    elif "body" in record:
        yield from records(_parsed(record["body"]))
    else:
        raise NotTracked("A record of the notification is none of S3's, SQS's or SNS's")


def _from_eventbridge(event: Mapping[str, Any]) -> dict[str, Any]:
    """An EventBridge event as the record S3 itself would have sent.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    detail = event["detail"]
    thing = detail.get("object") or {}
    is_created = event.get("detail-type") == "Object Created"
    how = detail.get("reason" if is_created else "deletion-type") or ""
    bucket = (detail.get("bucket") or {}).get("name")
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": event.get("region"),
        "eventTime": event.get("time"),
        "eventName": f"ObjectCreated:{_CREATED.get(how, how)}"
        if is_created
        else f"ObjectRemoved:{'DeleteMarkerCreated' if 'Marker' in how else 'Delete'}",
        "userIdentity": {"principalId": detail.get("requester")},
        "requestParameters": {"sourceIPAddress": detail.get("source-ip-address")},
        "responseElements": {"x-amz-request-id": detail.get("request-id")},
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {
                # S3's own notifications encode the key, EventBridge's do not.
                "key": quote_plus(str(thing.get("key", "")), safe="/"),
                "size": thing.get("size"),
                "eTag": thing.get("etag"),
                "versionId": thing.get("version-id"),
                "sequencer": thing.get("sequencer"),
            },
        },
    }


_CREATED = {
    "PutObject": "Put",
    "POST Object": "Post",
    "CopyObject": "Copy",
    "CompleteMultipartUpload": "CompleteMultipartUpload",
}


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise NotTracked("A wrapped notification is not JSON") from None


def _project(value: Any, allowed: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, kind in allowed.items():
        part = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(kind, dict):
            if isinstance(part, Mapping):
                found[name] = _project(part, kind)
        elif _is(kind, part):
            found[name] = part
    return found


def _is(kind: str, value: Any) -> bool:
    if kind == _SIZE:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if kind == _NULL or not isinstance(value, str):
        return False
    return kind == _TEXT or _is_ipv4(value)


def _is_ipv4(value: str) -> bool:
    parts = value.split(".")
    return len(parts) == 4 and all(
        part.isascii() and part.isdigit() and len(part) <= 3 and int(part) < 256 for part in parts
    )


def _is_output(record: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    """Whether a record lies under SNOWPLOW_OUTPUT, `bucket[/prefix]` with commas between."""
    s3 = record.get("s3") or {}
    bucket = (s3.get("bucket") or {}).get("name")
    key = unquote_plus(str((s3.get("object") or {}).get("key", "")))
    for entry in environ.get("SNOWPLOW_OUTPUT", "").split(","):
        output, _, prefix = entry.strip().partition("/")
        if output and output == bucket and key.startswith(prefix):
            return True
    return False


def _description(context: Any) -> dict[str, str]:
    arn = getattr(context, "invoked_function_arn", "")
    if not arn:
        return {}
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = boto3.client("lambda")
        text = client.get_function_configuration(FunctionName=arn).get("Description", "")
        found = json.loads(text.strip() or "{}")
    except (BotoCoreError, ClientError, ValueError) as error:
        raise NotTracked(
            f"The function's description is unusable: {type(error).__name__}"
        ) from None
    texts = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in texts if isinstance(value, str)}
