"""What may be handed any bytes at all: each target raises nothing but what it says it raises.

`make fuzz` runs each under atheris; test_corpus.py runs the kept corpus through them without it.
A target is a function of bytes; corpus/<its name>/ has what it has to be right about already.
"""

import json
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache

from chalicelib import keys, signatures
from chalicelib.apps import App, AppError, read_app
from chalicelib.archive import to_object
from chalicelib.bodies import is_large_json, is_small_json
from chalicelib.delivery import Delivery
from chalicelib.metadata import decode, encode
from chalicelib.settings import SettingError
from chalicelib.sigv4 import Signed, verified_arn
from chalicelib.sources import source_named, source_names
from hookshelf.reading.footers import Longer, NotOurs, read_footer
from hookshelf.reading.rows import rebuilt, to_rows

ARRIVED = datetime(2026, 11, 20, 23, 50, 1, 123456, tzinfo=UTC)
KINDS = ("application/json", "application/x-www-form-urlencoded", "text/plain")
SECRET = "d2hzZWNfZnV6eg=="


@cache
def _apps() -> dict[str, App]:
    """Every source with a secret, where it takes one."""
    apps = {}
    for name in sorted(source_names()):
        try:
            apps[name] = read_app(name, {"source": name, "secrets": [SECRET]}, str)
        except AppError:
            apps[name] = App(source=source_named(name))
    return apps


def events(data: bytes) -> None:
    """Whatever body: every source's rows give it back byte for byte, and both JSON checks agree."""
    kind = KINDS[data[0] % len(KINDS)] if data else KINDS[0]
    body = data[1:]
    assert is_small_json(body) == is_large_json(body)
    for name in sorted(source_names()):
        delivery = Delivery("app", {"content-type": kind}, body, ARRIVED)
        obj = to_object(delivery, source_named(name), verdict="unchecked")
        key = keys.parse_key(obj.key)
        assert isinstance(key, keys.DeliveryKey)
        rows = to_rows(obj, key, source_named(name))
        assert rebuilt(rows, key).body == body, name


def signature(data: bytes) -> None:
    """Whatever headers and body: a verdict, and never that of a signature that nobody made."""
    head, _, body = data.partition(b"\0")
    lines = head.decode("latin-1").split("\n")
    for name, app in _apps().items():
        kept = [*app.source.keep] or ["x-signature"]
        headers = dict(zip(kept, lines, strict=False))
        delivery = Delivery("app", headers, body, ARRIVED, url="https://x/input?app=app")
        assert signatures.verdict(delivery, app) != "verified", name


def key(data: bytes) -> None:
    """Whatever text: the very key again, or UnknownKey; metadata is decoded to what it was."""
    text = data.decode("utf-8", "surrogateescape")
    for parse in (keys.parse_key, keys.parse_events, keys.parse_manifest, keys.parse_redacted):
        with suppress(keys.UnknownKey):
            parsed = parse(text)
            if parse is not keys.parse_redacted:
                assert str(parsed) == text
    plain = data.decode("latin-1")
    assert encode(plain).isascii()
    assert decode(encode(plain)) == plain
    decode(plain)


def sigv4(data: bytes) -> None:
    """Whatever is said to be signed: nobody is let in."""
    head, _, body = data.partition(b"\0")
    lines = [*head.decode("latin-1").split("\n"), "", "", "", ""]
    headers = {
        "authorization": lines[0],
        "x-amz-date": lines[1],
        "x-amz-content-sha256": lines[2],
        "host": "x",
    }
    request = Signed("POST", "/" + lines[3], {"app": [lines[3]]}, headers, body)
    known = {"AKID": (SECRET, "arn:aws:iam::123456789012:user/fuzz")}
    assert verified_arn(request, known, now=ARRIVED) is None


def apps_file(data: bytes) -> None:
    """Whatever an entry holds: an App, or an error that names the field and no secret."""
    try:
        entry = json.loads(data)
    except (ValueError, RecursionError):
        return
    for name in ("app", "sendgrid", "slack"):
        with suppress(SettingError):
            assert isinstance(read_app(name, entry, str), App)


def compacted(data: bytes) -> None:
    """Whatever the last bytes of a file are: a footer, or that it is none of ours."""
    with suppress(NotOurs, Longer):
        read_footer(data, len(data) + (data[0] if data else 0))


TARGETS = {
    "events": events,
    "signature": signature,
    "key": key,
    "sigv4": sigv4,
    "apps_file": apps_file,
    "compacted": compacted,
}
