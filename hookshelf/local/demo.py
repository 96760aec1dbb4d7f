"""A month of webhooks to try the reading commands on: `make demo`.

Most of it is the SendGrid traffic of traffic.py. Into it come the story of jane@example.com, a
forged delivery, and other apps, some of whose deliveries are refused. They are received as on AWS:
by the settings of stage `local`, with the verdicts and under the keys that receiving gives them.
"""

from __future__ import annotations

import argparse
import heapq
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from random import Random
from urllib.parse import urlencode

from chalicelib.apps import app_named
from chalicelib.bodies import CONTENT_TYPES
from chalicelib.delivery import Delivery
from chalicelib.errors import HookshelfError, MisuseError
from chalicelib.ingest import decide
from chalicelib.settings import BucketPath, from_environment
from chalicelib.sources import source_named
from chalicelib.store import Store, open_store
from hookshelf.local import tryout
from hookshelf.local.traffic import (
    BOUNCES,
    DEFERRED,
    NEWSLETTER,
    Mail,
    Traffic,
    posted,
    signer,
)
from hookshelf.settings import CONFIG, LOCAL_STAGE, stage_environment

JANE = "jane@example.com"
_EVENTS = 50_000  # of SendGrid, about
BUCKET = "demo"  # where stage `local` archives, beside its own bucket

_OTHER_APPS = (  # app, source, deliveries a day
    ("github", "github", 6),
    ("payments", "stripe", 2),
    ("standard", "standard", 1),
    ("stripe", "stripe", 4),
)
_NEIGHBOURS = ("ada", "bela", "chidi", "dora", "emil", "farah", "goran", "hana")


def deliveries(until: datetime, *, events: int = _EVENTS, seed: int = 1) -> Iterator[Delivery]:
    """A month of deliveries to several apps in order of arrival, none after `until` (aware).

    `events` says about how many SendGrid events. The same values give the same bytes.
    """
    traffic = Traffic(events=events, until=until, seed=seed, recipients=5_000)
    rest = sorted((*jane(until), *other_apps(until)), key=lambda delivery: delivery.arrived)
    return heapq.merge(traffic.deliveries(), rest, key=lambda delivery: delivery.arrived)


def jane(until: datetime) -> Iterator[Delivery]:
    """What happened to jane@example.com, in batches with events of others; in no order.

    Her address bounces twelve days before `until`: SendGrid drops what is sent to it later.
    """
    sign, draw = signer(), Random("jane")
    midnight = datetime.combine(until.astimezone(UTC).date(), time(), UTC)

    def at(days_ago: int, clock: str) -> int:
        day = (midnight - timedelta(days=days_ago)).date()
        return int(datetime.combine(day, time.fromisoformat(clock), UTC).timestamp())

    def batch(arrived: int, *events: str) -> Delivery:
        others = [_delivered_to(name, arrived - 1) for name in draw.sample(_NEIGHBOURS, 4)]
        body = _body(*others[:2], *events, *others[2:])
        return posted("sendgrid", body, arrived * 1_000_000 + 417_230, draw, sign)

    welcome = Mail(JANE, "kVfG0uX2T4iWelcomeJane", '["welcome","onboarding"]', ',"plan":"trial"')
    yield batch(at(28, "09:00:03"), welcome.processed(at(28, "09:00:00")))
    yield batch(at(28, "09:00:09"), welcome.delivered(at(28, "09:00:02")))
    opened = welcome.opened(at(28, "12:31:40"))
    yield batch(at(28, "12:32:20"), welcome.clicked(at(28, "12:32:15")), opened)
    yield batch(at(6, "08:12:44"), welcome.opened(at(27, "08:12:30")))  # three weeks late

    order = ',"order":{"id":1042,"currency":"EUR"}'
    receipt = Mail("Jane@Example.com", "Yb3rE5cQSv2ReceiptJane", '["receipt"]', order)
    before_midnight = batch(
        at(20, "23:58:14"),
        receipt.processed(at(20, "23:58:10")),
        receipt.delivered(at(20, "23:58:12")),
    )
    yield before_midnight
    # SendGrid did not hear that it was stored.
    after_midnight = at(19, "00:04:31") * 1_000_000 + 250_018
    yield posted("sendgrid", before_midnight.body, after_midnight, draw, sign)

    shipped = Mail(JANE, "mQ7sH1pZRx6OrderShippd", '["order-shipped"]', order)
    yield batch(
        at(12, "10:15:06"),
        shipped.processed(at(12, "10:15:00")),
        shipped.deferred(at(12, "10:15:02"), DEFERRED[2]),
    )
    yield batch(at(12, "10:47:11"), shipped.deferred(at(12, "10:47:02"), DEFERRED[2], attempt=2))
    yield batch(at(12, "11:20:09"), shipped.bounced(at(12, "11:20:03"), BOUNCES[0]))

    category, arguments = NEWSLETTER
    weekly = Mail(JANE, "fN4wL8tKQz1Newsletter9", category, arguments % 9_007_199_254_740_993)
    yield batch(at(9, "09:00:31"), weekly.dropped(at(9, "09:00:29"), "Bounced Address"))
    reset = Mail(JANE, "cP2dR6vJTy3ResetJaneAg", '["password-reset"]')
    yield batch(at(2, "16:41:08"), reset.dropped(at(2, "16:41:05"), "Bounced Address"))


def other_apps(until: datetime) -> Iterator[Delivery]:
    """A month of other senders, with a form, a forgery and what is refused; in no order."""
    for app, source_name, per_day in _OTHER_APPS:
        draw = Random(app)
        example = source_named(source_name).example
        assert example is not None
        for number in range(1, 30 * per_day):
            arrived = until - timedelta(days=(number - draw.random()) / per_day)
            yield _signed(app, source_name, example(number, int(arrived.timestamp())), arrived)

    def ago(days: float) -> datetime:
        return until - timedelta(days=days)

    push = '{"ref":"refs/heads/main","repository":{"full_name":"example/form"}}'
    form = urlencode({"payload": push}).encode()
    yield _signed("github", "github", form, ago(4.2), content_type=CONTENT_TYPES["form"])
    yield _signed("standard", "standard", b'{"type":"contact.created","da', ago(7.6))
    # `payments` requires a good signature; this was made with a secret that has been replaced.
    paid = b'{"id":"evt_example900","object":"event","type":"invoice.paid","data":{"object":{}}}'
    yield _signed("payments", "stripe", paid, ago(3.3), key="whsec_of-the-month-before")
    # Somebody who knows the token, but has not SendGrid's key.
    at = int(ago(5.1).timestamp())
    sign_other = signer(tryout.private_key(b"another key"))
    body = _body(_delivered_to("john.smith", at - 2))
    yield posted("sendgrid", body, at * 1_000_000 + 90_133, Random("forged"), sign_other)


def fill(store: Store, arriving: Iterable[Delivery], environ: Mapping[str, str]) -> tuple[int, int]:
    """Receive deliveries into a store; gives how many there were, with how many events.

    `environ` says how each app is configured.
    """
    count = events = 0
    for delivery in arriving:
        decision = decide(delivery, app_named(delivery.app, environ), BucketPath(BUCKET))
        if decision.obj:
            store.put(decision.obj)
        count += 1
        events += max(1, delivery.body.count(b'"sg_event_id"'))
        if count % 500 == 0 and sys.stderr.isatty():
            print(f"{count:,} deliveries", end="\r", file=sys.stderr, flush=True)
    return count, events


def main() -> None:
    """Fill an archive of its own, and say what to do next."""
    parser = argparse.ArgumentParser(
        prog="python -m hookshelf.local.demo",
        description="Fill an archive of its own with a month of webhooks, signed, ready to read.",
        epilog=f"It becomes the bucket `{BUCKET}` beside that of `make run`; that is not touched.",
    )
    parser.add_argument("--until", type=_time, help="when the month ends (default: now)")
    parser.add_argument("--events", type=int, default=_EVENTS, help="about how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another number, other traffic")
    parser.add_argument("--replace", action="store_true", help="make it again where it is there")
    options = parser.parse_args()
    until = options.until or datetime.now(UTC).replace(microsecond=0)
    try:
        _make(deliveries(until, events=options.events, seed=options.seed), options.replace)
    except (HookshelfError, OSError) as error:
        sys.exit(f"Error: {error}")
    print(f"What happened to Jane?\n\n{_next_command('find', JANE)}\n")
    print(f"The same and more, as pages in your browser:\n\n{_next_command('browse')}")


def _make(arriving: Iterable[Delivery], is_replaced: bool) -> None:
    """Fill the bucket, unless it is there; half of one is never left."""
    environ = stage_environment(LOCAL_STAGE)
    if "ARCHIVE_FOLDER" not in environ:
        raise MisuseError(f"Stage `{LOCAL_STAGE}` of {CONFIG} names no ARCHIVE_FOLDER to fill")
    bucket = Path(environ["ARCHIVE_FOLDER"], BUCKET)
    if bucket.exists() and not is_replaced:
        print(f"{bucket} is there already. To make it again: make demo ARGS=--replace")
        return
    partial = bucket.with_name(f"{BUCKET}.partial")  # a name that a bucket may have
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    store = open_store(from_environment(environ), partial.name)
    try:
        count, events = fill(store, arriving, environ)
    except KeyboardInterrupt:
        shutil.rmtree(partial, ignore_errors=True)
        sys.exit("\nStopped. Nothing is left of it.")
    shutil.rmtree(bucket, ignore_errors=True)
    partial.rename(bucket)
    print(f"{count:,} deliveries with {events:,} events in {bucket}.")


def _next_command(*words: str) -> str:
    hookshelf = Path(sys.executable).with_name("hookshelf")
    if hookshelf.is_relative_to(Path.cwd()):
        hookshelf = hookshelf.relative_to(Path.cwd())
    command = [str(hookshelf), *words, "--bucket", BUCKET]
    if "ARCHIVE_BUCKETS" in os.environ:  # which would have the command read elsewhere
        command += ["--stage", "local"]
    return shlex.join(command)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _delivered_to(name: str, at: int) -> str:
    mail = Mail(f"{name}@example.com", f"{name}{at}".replace(".", "").ljust(22, "x"), '["alerts"]')
    return mail.delivered(at)


def _body(*events: str) -> bytes:
    return ("[" + ",\r\n".join(events) + "]\r\n").encode()


def _signed(
    app: str,
    source_name: str,
    body: bytes,
    arrived: datetime,
    *,
    key: str = "",
    content_type: str = "application/json",
) -> Delivery:
    source = source_named(source_name)
    assert source.sign is not None
    headers = source.sign(body, key or tryout.signing_key(source), int(arrived.timestamp()))
    return Delivery(app, {"content-type": content_type, **headers}, body, arrived)


if __name__ == "__main__":
    main()
