"""Bugs, each planted into the product's own code, so that the simulation shows that it finds them.

A bug is one small change, of the kind that a hurried evening brings. `found_by` runs seeds until
one fails. What is listed in docs/simulation.md are these names, and the first seed of each.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib import ingest
from chalicelib.keys import DeliveryKey
from chalicelib.responses import stored
from chalicelib.store import _retry
from chalicelib.store import boto3 as receiving_boto3
from hookshelf.reading import compact, erasing, events, files, lookup, manifest, raw
from simulation.s3 import Client


@dataclass(frozen=True)
class Bug:
    """A bug, and how it gets into the code."""

    name: str
    plant: Callable[[pytest.MonkeyPatch], None]


BUGS: list[Bug] = []


def bug(name: str) -> Callable[[Callable[[pytest.MonkeyPatch], None]], None]:
    """List a bug under what it does wrong."""
    return lambda plant: BUGS.append(Bug(name, plant))


@contextmanager
def planted(one: Bug) -> Iterator[None]:
    """Have it in the code for a while."""
    with pytest.MonkeyPatch.context() as patch:
        one.plant(patch)
        yield


# --- receiving


@bug("a put overwrites what is there")
def _(patch: pytest.MonkeyPatch) -> None:
    put_object = Client.put_object

    def unconditional(self: Client, **given: Any) -> Any:
        given.pop("IfNoneMatch", None)
        return put_object(self, **given)

    patch.setattr(Client, "put_object", unconditional)


@bug("a conflict (409) is taken for stored")
def _(patch: pytest.MonkeyPatch) -> None:
    from_s3_status = _retry.from_s3_status
    patch.setattr(
        receiving_boto3,
        "from_s3_status",
        lambda status, code="": _retry.STORED if status == 409 else from_s3_status(status, code),
    )


@bug("a put that timed out is acknowledged")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(receiving_boto3, "retryable", lambda why: _retry.STORED)


@bug("the sender hears 200 before the put")
def _(patch: pytest.MonkeyPatch) -> None:
    explained = ingest._explained

    def hopeful(error: Exception, log_fields: dict[str, Any]) -> Any:
        response = explained(error, log_fields)
        return stored("events", "sendgrid/soon") if response.status == 503 else response

    patch.setattr(ingest, "_explained", hopeful)


@bug("a refused body is answered and not kept")
def _(patch: pytest.MonkeyPatch) -> None:
    decide = ingest.decide

    def forgetful(*args: Any) -> Any:
        decision = decide(*args)
        return decision._replace(obj=None) if decision.response.status == 403 else decision

    patch.setattr(ingest, "decide", forgetful)


@bug("a key names the moment and not the bytes")
def _(patch: pytest.MonkeyPatch) -> None:
    write = DeliveryKey.__str__
    patch.setattr(DeliveryKey, "__str__", lambda key: write(key._replace(sha256="0" * 64)))


@bug("a body loses its last line end")
def _(patch: pytest.MonkeyPatch) -> None:
    to_object = ingest.to_object
    patch.setattr(
        ingest,
        "to_object",
        lambda delivery, *args, **options: to_object(
            delivery._replace(body=delivery.body.rstrip()), *args, **options
        ),
    )


# --- compacting


@bug("an hour is compacted before it is over")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(compact, "SETTLED", timedelta(hours=-1))


@bug("a compaction forgets late keys")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(compact._Work, "_may_have_late_keys", lambda self, day, files: not files)


@bug("a month is written before its days")
def _(patch: pytest.MonkeyPatch) -> None:
    roll_up = compact._Work._roll_up

    def early(self: Any, key: Any) -> Any:
        plan = self.plan
        self.plan = replace(plan, since=None, until=None)
        yield from roll_up(self, key)
        self.plan = plan

    patch.setattr(compact._Work, "_roll_up", early)


@bug("files are deleted before the one that replaces them is put")
def _(patch: pytest.MonkeyPatch) -> None:
    write = compact._Work._write

    def hasty(
        self: Any, key: Any, interval: Any, files: Any, missing: Any, replacing: Any, **o: Any
    ) -> Any:
        for file in files:
            if file is not replacing:
                self._local(file)
                self.bucket.store.delete(self.read, file.entry)
        yield from write(self, key, interval, files, missing, replacing, **o)

    patch.setattr(compact._Work, "_write", hasty)


@bug("a file is deleted whatever it is by now")
def _(patch: pytest.MonkeyPatch) -> None:
    delete_object = Client.delete_object

    def blind(self: Client, **given: Any) -> None:
        given.pop("IfMatch", None)
        delete_object(self, **given)

    patch.setattr(Client, "delete_object", blind)


@bug("the rows of raw objects that are gone are dropped")
def _(patch: pytest.MonkeyPatch) -> None:
    merged = compact._Work._merged

    def dropping(self: Any, key: Any, interval: Any, files: Any, missing: Any, without: Any) -> Any:
        there = {entry.key for entry in self.bucket.store.entries(self.read, "sendgrid/")}
        gone = frozenset(set(self._deliveries(files)) - there)
        return merged(self, key, interval, files, missing, without | gone)

    patch.setattr(compact._Work, "_merged", dropping)


# --- reading


@bug("a reader trusts the first listing that it got")
def _(patch: pytest.MonkeyPatch) -> None:
    known: dict[Any, Any] = {}

    def once(bucket: Any, read: Any, stream: Any) -> Any:
        if bucket not in known:
            known[bucket] = files.listed_files(bucket, read, stream)
        return known[bucket]

    patch.setattr(lookup, "listed_files", once)


@bug("a readmission is not written into the log")
def _(patch: pytest.MonkeyPatch) -> None:
    append = manifest.append

    def silent(bucket: Any, read: Any, stream: Any, newest: Any, at: Any, entry: Any) -> Any:
        return (
            newest if entry.kind == "readmit" else append(bucket, read, stream, newest, at, entry)
        )

    patch.setattr(manifest, "append", silent)


@bug("a reader ends with the last compacted file")
def _(patch: pytest.MonkeyPatch) -> None:
    gaps = files.Files.gaps
    patch.setattr(
        files.Files, "gaps", lambda self: gaps(self)[:-1] if self.counting else gaps(self)
    )


@bug("a reader shows an event as often as it was delivered")
def _(patch: pytest.MonkeyPatch) -> None:
    def every(rows: Any, *, all: bool = False) -> Any:
        return events.collapsed(rows, all=True)

    from hookshelf.reading import archive

    patch.setattr(archive, "collapsed", every)


@bug("a part of a file is read whatever it is by now")
def _(patch: pytest.MonkeyPatch) -> None:
    get_object = Client.get_object

    def blind(self: Client, **given: Any) -> Any:
        given.pop("IfMatch", None)
        return get_object(self, **given)

    patch.setattr(Client, "get_object", blind)


# --- erasing


@bug("originals are deleted, and nothing of them is left")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(erasing.StreamErasure, "_put", lambda self: {})

    def removed(self: Any, left: Any, reason: str, now: Any) -> None:
        entry = manifest.LogEntry(
            0, "erase", "", removed={key: hit.size for key, hit in self._found.hits.items()}
        )
        self._append(entry, now)
        self._log()

    patch.setattr(erasing.StreamErasure, "_write_down", removed)


@bug("a compactor does not look for what was erased")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(compact._Work, "_must_redo", lambda self, file: self._is_stale(file))


@bug("old versions of compacted files stay")
def _(patch: pytest.MonkeyPatch) -> None:
    has = erasing._Doomed.has
    patch.setattr(
        erasing._Doomed,
        "has",
        lambda self, version: has(self, version) and not version.key.startswith(self._months),
    )


@bug("an erasure forgets what was refused")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(erasing.StreamErasure, "_look_at_refused", lambda self: None)


@bug("what arrives meanwhile is erased, too")
def _(patch: pytest.MonkeyPatch) -> None:
    look = erasing.StreamErasure.look

    def greedy(self: Any) -> None:
        self.selection = replace(self.selection, until=None)
        look(self)

    patch.setattr(erasing.StreamErasure, "look", greedy)


@bug("what is left is put over what another erasure left")
def _(patch: pytest.MonkeyPatch) -> None:
    put_object = Client.put_object

    def blind(self: Client, **given: Any) -> Any:
        if given["Key"].startswith("_redacted/"):
            given.pop("IfMatch", None)
            given.pop("IfNoneMatch", None)
        return put_object(self, **given)

    patch.setattr(Client, "put_object", blind)


@bug("a reader lists what is left before the originals")
def _(patch: pytest.MonkeyPatch) -> None:
    listed = raw._listed
    patch.setattr(
        raw, "_listed", lambda stream, entries, places: listed(stream, entries, places[::-1])
    )


@bug("an erasure that was killed is not ended by the next")
def _(patch: pytest.MonkeyPatch) -> None:
    log = erasing.StreamErasure._log

    def forgetful(self: Any) -> Any:
        entries = log(self)
        earlier = vars(self).setdefault("earlier", {entry.number for entry in self.unfinished})
        self.unfinished = [entry for entry in self.unfinished if entry.number not in earlier]
        return entries

    patch.setattr(erasing.StreamErasure, "_log", forgetful)
