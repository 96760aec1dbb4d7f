"""S3 in memory, behind the real boto3 stores: its conditions, its pages, and all that goes wrong.

What is simulated is the client alone: `put_object`, `get_object`, `delete_object`, the pages of
`list_objects_v2` and of `list_object_versions`, each one request at one moment, as strongly
consistent as S3 is. The code above, which says what an error means and whether to try again, is the
product's.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeletingObjectVersions.html
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from types import SimpleNamespace
from typing import Any, NamedTuple

from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from chalicelib.settings import Settings
from hookshelf.reading.store.boto3 import ReadingBoto3
from simulation.processes import Process, Scheduler

# What may happen to a request. Of the first, nothing landed: status and code of each.
REFUSALS = {
    "refused": (403, "AccessDenied"),
    "slow down": (503, "SlowDown"),
    "error": (500, "InternalError"),
    "conflict": (409, "ConditionalRequestConflict"),  # of conditional puts alone
}
FAULTS = (*REFUSALS, "error after all", "lost response", "hang")
RETRIED = (500, 503)  # by botocore itself, as are lost responses and timeouts
MOST_LATE = 9.0  # seconds after which a request that hangs takes effect, if it does


class Stored(NamedTuple):
    """One object."""

    body: bytes
    etag: str
    content_type: str
    metadata: Mapping[str, str]


class NoSuchKey(ClientError):
    """As boto3 makes it for each client."""


@dataclass(frozen=True)
class Weather:
    """What the requests of one process meet."""

    trouble: float = 0.0  # chance of a fault, for each request
    slowest: float = 0.1  # seconds a request takes at most, half of them before its effect
    dies_at: int = 0  # number of the request at which the process is killed; 0: never
    fate: str = "lost"  # whether that request takes effect all the same: `done`, `late` or `lost`
    stalls_at: int = 0  # number of the request before which the process stands still …
    stall: float = 0.0  # … for so many seconds


CALM = Weather()


class Version(NamedTuple):
    """One version of an object."""

    number: int  # the later, the higher; S3 lists the newest first
    stored: Stored | None  # None: a marker that it was deleted


class Bucket:
    """The objects, and whoever watches what becomes of them."""

    def __init__(
        self, page: int, watch: Callable[[str, Stored | None, bool], None], *, versioned: bool
    ) -> None:
        self.objects: dict[str, Stored] = {}  # what a GET without a version finds
        self.page = page  # keys in one response
        self.is_versioned = versioned
        self._watch = watch  # key, what is put there (None: deleted), and whether that was agreed
        self._versions: dict[str, list[Version]] = {}  # the oldest first; without versions just one
        self._numbers = count(1)

    def put(self, key: str, new: Stored, *, if_none_match: str | None, if_match: str | None) -> str:
        """Put an object where its condition holds."""
        there = self.objects.get(key)
        if if_none_match == "*" and there:
            raise refusal("PutObject", 412, "PreconditionFailed")
        if if_match is not None and there is None:
            raise refusal("PutObject", 404, "NoSuchKey")
        if if_match is not None and there and there.etag != _plain(if_match):
            raise refusal("PutObject", 412, "PreconditionFailed")
        self._watch(key, new, there is None or if_match is not None)
        self._add(key, new)
        return new.etag

    def get(self, key: str, if_match: str | None) -> Stored:
        """The object, where its condition holds."""
        there = self.objects.get(key)
        if there is None:
            raise refusal("GetObject", 404, "NoSuchKey")
        if if_match is not None and there.etag != _plain(if_match):
            raise refusal("GetObject", 412, "PreconditionFailed")
        return there

    def delete(self, key: str, if_match: str | None) -> None:
        """Delete an object where its condition holds."""
        there = self.objects.get(key)
        if there is None:
            return
        if if_match is not None and there.etag != _plain(if_match):
            raise refusal("DeleteObject", 412, "PreconditionFailed")
        self._watch(key, None, if_match is not None)
        self.expire(key)

    def expire(self, key: str) -> None:
        """Delete an object as the bucket's lifecycle does: where there are versions, none goes."""
        if key in self.objects:
            self._add(key, None)

    def get_version(self, key: str, id: str) -> Stored:
        """One version of an object."""
        for version in self._versions.get(key, ()):
            if self._id(version) == id and version.stored:
                return version.stored
        raise refusal("GetObject", 404, "NoSuchKey" if id == "null" else "NoSuchVersion")

    def delete_version(self, key: str, id: str) -> None:
        """Delete one version for good; what is the newest then, if any, is there again."""
        versions = self._versions.get(key, [])
        kept = [version for version in versions if self._id(version) != id]
        if any(version.stored for version in versions if version not in kept):
            self._watch(key, None, True)
        self._keep(key, kept)

    def versions(self) -> Iterator[tuple[str, Stored]]:
        """Everything that there is or was, but markers."""
        for key, versions in self._versions.items():
            yield from ((key, version.stored) for version in versions if version.stored)

    def forget(self, prefix: str) -> None:
        """Delete old versions below a prefix, as the bucket's lifecycle does."""
        for key in [key for key in self._versions if key.startswith(prefix)]:
            newest = self._versions[key][-1]
            self._keep(key, [newest] if newest.stored else [])

    def listed_versions(self, prefix: str, after: tuple[str, int]) -> dict[str, Any]:
        """One page of all versions, by key and from the newest on; `after` ended the one before."""
        listed = sorted(
            ((key, -version.number), version)
            for key, versions in self._versions.items()
            if key.startswith(prefix)
            for version in versions
            if (key, -version.number) > after
        )
        page: dict[str, Any] = {"Versions": [], "DeleteMarkers": [], "Next": ("", 0)}
        for (key, _), version in listed[: self.page]:
            entry = {
                "Key": key,
                "VersionId": self._id(version),
                "IsLatest": version is self._versions[key][-1],
            }
            page["Versions" if version.stored else "DeleteMarkers"].append(entry)
        if len(listed) > self.page:
            page["Next"] = listed[self.page - 1][0]
        return page

    def _add(self, key: str, stored: Stored | None) -> None:
        version = Version(next(self._numbers), stored)
        if self.is_versioned:
            self._keep(key, [*self._versions.get(key, ()), version])
        else:
            self._keep(key, [version] if stored else [])

    def _keep(self, key: str, versions: list[Version]) -> None:
        self._versions[key] = versions
        if versions and (stored := versions[-1].stored):
            self.objects[key] = stored
        else:
            self.objects.pop(key, None)
        if not versions:
            del self._versions[key]

    def _id(self, version: Version) -> str:
        return f"v{version.number}" if self.is_versioned else "null"

    def listed(self, prefix: str, after: str, delimiter: str) -> dict[str, Any]:
        """One page of a listing."""
        contents: list[dict[str, Any]] = []
        folders: list[dict[str, str]] = []
        for key in sorted(self.objects):
            if not key.startswith(prefix) or key <= after:
                continue
            rest = key.removeprefix(prefix)
            if delimiter and delimiter in rest:
                folder = prefix + rest.partition(delimiter)[0] + delimiter
                if folder <= after or folders and folders[-1]["Prefix"] == folder:
                    continue
                folders.append({"Prefix": folder})
            else:
                stored = self.objects[key]
                line = {"Key": key, "Size": len(stored.body), "ETag": f'"{stored.etag}"'}
                contents.append(line)
            if len(contents) + len(folders) == self.page:
                last = folders[-1]["Prefix"] + "\U0010ffff" if delimiter else key
                return {"Contents": contents, "CommonPrefixes": folders, "Next": last}
        return {"Contents": contents, "CommonPrefixes": folders, "Next": ""}


class Requests:
    """How the requests of the processes fare: when they take effect, and what comes back."""

    def __init__(self, scheduler: Scheduler, say: Callable[..., None]) -> None:
        self._scheduler = scheduler
        self._say = say
        self.weather: dict[Process, Weather] = {}
        self.counts: dict[Process, int] = {}

    def request(self, name: str, key: str, effect: Callable[[], Any], timeout: float) -> Any:
        """Make a request in the process whose turn it is; what it gives, or how it fails."""
        process = self._scheduler.process
        weather = self.weather.get(process, CALM)
        number = self.counts[process] = self.counts.get(process, 0) + 1
        chance = process.random
        if number == weather.stalls_at:
            self._say(f"stands still for {weather.stall:.0f} s")
            self._scheduler.sleep(weather.stall)
        if number == weather.dies_at:
            self._die(f"{name} {key}", effect, weather)
        self._scheduler.sleep(chance.random() ** 3 * weather.slowest / 2)
        fault = chance.choice(FAULTS) if chance.random() < weather.trouble else ""
        if fault == "conflict" and name != "PutObject":
            fault = "error"
        result = self._outcome(f"{name} {key}", effect, fault, timeout)
        self._scheduler.sleep(chance.random() ** 3 * weather.slowest / 2)
        return result

    def _outcome(self, what: str, effect: Callable[[], Any], fault: str, timeout: float) -> Any:
        if fault:
            self._say(f"{what}: {fault}")
        name = what.partition(" ")[0]
        if fault in REFUSALS:
            raise refusal(name, *REFUSALS[fault])
        if fault == "hang":
            self._later(what, effect)
            self._scheduler.sleep(timeout)
            raise ReadTimeoutError(endpoint_url="s3")
        result = self._effective(what, effect)
        if fault == "error after all":
            raise refusal(name, 500, "InternalError")
        if fault == "lost response":
            raise ConnectionClosedError(endpoint_url="s3")
        return result

    def _effective(self, what: str, effect: Callable[[], Any]) -> Any:
        try:
            result = effect()
        except ClientError as error:
            self._say(f"{what}: {_status(error)}")
            raise
        self._say(what)
        return result

    def _die(self, what: str, effect: Callable[[], Any], weather: Weather) -> None:
        self._say(f"{what}: killed, and that is {weather.fate}")
        if weather.fate == "done":
            with suppress(ClientError):
                effect()
        elif weather.fate == "late":
            self._later(what, effect)
        self._scheduler.kill()

    def _later(self, what: str, effect: Callable[[], Any]) -> None:
        """Let a request whose response nobody waits for take effect after a while; or never."""
        wait = self._scheduler.process.random.random() * 2 * MOST_LATE
        if wait > MOST_LATE:
            return

        def land() -> None:
            try:
                effect()
            except ClientError:
                return
            self._say(f"(late) {what}")

        self._scheduler.after(wait, land)


class Client:
    """What boto3's S3 client is to the stores."""

    class exceptions:  # noqa: N801  (boto3's name)
        NoSuchKey = NoSuchKey

    def __init__(
        self,
        scheduler: Scheduler,
        requests: Requests,
        bucket: Bucket,
        attempts: int,
        timeout: float,
    ) -> None:
        self._scheduler, self._requests, self._bucket = scheduler, requests, bucket
        self._attempts, self._timeout = attempts, timeout

    def put_object(self, **given: Any) -> dict[str, Any]:
        body = given["Body"] if isinstance(given["Body"], bytes) else given["Body"].read()
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        new = Stored(body, etag, given["ContentType"], dict(given.get("Metadata", {})))
        put = self._try(
            "PutObject",
            given["Key"],
            lambda: self._bucket.put(
                given["Key"],
                new,
                if_none_match=given.get("IfNoneMatch"),
                if_match=given.get("IfMatch"),
            ),
        )
        return {"ETag": f'"{put}"'}

    def get_object(self, **given: Any) -> dict[str, Any]:
        key, id = given["Key"], given.get("VersionId")

        def get() -> Stored:
            if id:
                return self._bucket.get_version(key, id)
            return self._bucket.get(key, given.get("IfMatch"))

        stored = self._try("GetObject", key, get)
        body = stored.body
        if "Range" in given:
            start, _, end = given["Range"].removeprefix("bytes=").partition("-")
            body = body[int(start) : int(end) + 1]
        return {
            "Body": BytesIO(body),
            "ContentType": stored.content_type,
            "Metadata": dict(stored.metadata),
        }

    def delete_object(self, **given: Any) -> None:
        key, id = given["Key"], given.get("VersionId")

        def delete() -> None:
            if id:
                self._bucket.delete_version(key, id)
            else:
                self._bucket.delete(key, given.get("IfMatch"))

        self._try("DeleteObject", key, delete)

    def get_paginator(self, name: str) -> SimpleNamespace:
        pages = {"list_objects_v2": self._objects, "list_object_versions": self._versions}
        return SimpleNamespace(paginate=pages[name])

    def _versions(self, *, Prefix: str, Bucket: str) -> Iterator[dict[str, Any]]:
        after = "", 0
        while True:
            page = self._try(
                "ListVersions",
                Prefix,
                lambda after=after: self._bucket.listed_versions(Prefix, after),
            )
            yield page
            after = page["Next"]
            if not after[0]:
                return

    def _objects(
        self, *, Prefix: str, Bucket: str, StartAfter: str = "", Delimiter: str = ""
    ) -> Iterator[dict[str, Any]]:
        after = StartAfter
        while True:
            page = self._try(
                "ListObjects",
                Prefix,
                lambda after=after: self._bucket.listed(Prefix, after, Delimiter),
            )
            yield page
            after = page["Next"]
            if not after:
                return

    def _try(self, name: str, key: str, effect: Callable[[], Any]) -> Any:
        """Make a request as botocore does, so many times."""
        for attempt in range(1, self._attempts + 1):
            try:
                return self._requests.request(name, key, effect, self._timeout)
            except (ConnectionClosedError, ReadTimeoutError):
                if attempt == self._attempts:
                    raise
            except ClientError as error:
                if attempt == self._attempts or _status(error) not in RETRIED:
                    raise
            self._scheduler.sleep(self._scheduler.process.random.random() * 2 ** (attempt - 1))
        raise AssertionError("at least one attempt is made")


class SimulatedStore(ReadingBoto3):
    """The stores of receiving and of reading, over the simulated client."""

    def __init__(self, scheduler: Scheduler, requests: Requests, bucket: Bucket) -> None:
        self._simulated = scheduler, requests, bucket
        super().__init__(Settings(()), "events")

    def _client(self, *, attempts: int, seconds: float, **options: Any) -> Any:
        return Client(*self._simulated, attempts, seconds)


def refusal(name: str, status: int, code: str) -> ClientError:
    """What botocore raises for an error of S3."""
    response: Any = {
        "Error": {"Code": code, "Message": ""},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return (NoSuchKey if code == "NoSuchKey" else ClientError)(response, name)


def _status(error: ClientError) -> int:
    status: int = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return status


def _plain(etag: str) -> str:
    return etag.strip('"')
