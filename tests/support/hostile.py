"""An archive whose every text was written by somebody who means harm to a browser."""

import json
from datetime import datetime, timedelta
from pathlib import Path

from chalicelib.archive import to_rejected
from chalicelib.delivery import ArchiveObject, Delivery
from chalicelib.keys import parse_key
from chalicelib.settings import from_environment
from chalicelib.sources import source_named
from chalicelib.store import open_store
from support.archives import delivered, put

# What each would do, if it did: set window.owned, ask another host, or break the layout.
CORPUS = {
    "script": "<script>window.owned=1</script>",
    "attribute": "\"><img src=x onerror=window.owned=1> ' onmouseover=window.owned=1 x='",
    "svg": "<svg onload=window.owned=1><script>window.owned=1</script></svg>",
    "template": "{{ 7*7 }}{% raw %}${7*7}<%= 7*7 %>#{7*7}",
    "link": "javascript:window.owned=1//@example.com",
    "style": "</title></style><style>*{display:none}</style><link rel=stylesheet href=//evil.co>",
    "comment": "<!--<script>--></textarea></pre><iframe src=//evil.example></iframe>",
    "bidi": "\u202egro.elpmaxe@enaj\u2066\u2069\u200f\ufeff",
    "controls": "a\x00b\x1b[2Jc\x07\r\n\t\x7f\x9b31m\ud800",
    "marks": "Z" + "\u0335\u0321\u0489" * 1_000 + "algo",
    "wide": "W" * 2_000,
    "spaces": " " * 500 + "end",
    "formula": "=cmd|'/c calc'!A1",
    "path": "../../../etc/passwd%00.json",
    "ten": "\U000e0001\U000e0061\u115f\u3164",
}
LINE = 4 * 1024 * 1024 - 200  # bytes of the longest one


def long_line(arrived: datetime) -> ArchiveObject:
    """A delivery of almost four megabytes in one line."""
    line = json.dumps([{"email": "long@example.com", "event": "click", "url": "<b>" * 10}])
    return delivered(line.encode().replace(b"<b>", b"<b>" * (LINE // 30)), arrived)


def fill_with_hostile(environ: dict[str, str], arrived: datetime) -> list[str]:
    """Put deliveries of each kind, with and without what sources know; gives their keys."""
    objects = []
    for number, (name, text) in enumerate(CORPUS.items()):
        at = arrived + timedelta(seconds=number)
        event = {
            "email": text,
            "event": "dropped" if number % 2 else text,
            "sg_event_id": f"{name}-{text}",
            "sg_message_id": text,
            "timestamp": int(at.timestamp()),
            "reason": text,
            text: text,
        }
        headers = {"content-type": text, "user-agent": text}
        headers["x-twilio-email-event-webhook-signature"] = text
        objects.append(delivered([event, event | {"event": text}], at, headers=headers))
        objects.append(delivered(text.encode("utf-8", "replace"), at, app=f"other-{name}"))
        objects.append(_foreign(objects[-2].key, at, text))
    put(environ, *objects)
    store = open_store(from_environment(environ), environ["ARCHIVE_BUCKETS"])
    for text in CORPUS.values():
        refused = Delivery("shop", {"content-type": text}, text.encode("utf-8", "replace"), arrived)
        kept = to_rejected(
            refused, source_named("sendgrid"), prefix="", verdict="bad", reason=text[:500]
        )
        store.put(kept)
    _folders(environ)
    return [obj.key for obj in objects]


def _foreign(key: str, at: datetime, text: str) -> ArchiveObject:
    """An object of ours whose metadata somebody else wrote, as far as S3 takes it."""
    parsed = parse_key(key)
    later = parsed._replace(arrived=at + timedelta(hours=1))  # type: ignore[call-arg]
    plain = "".join(char if " " <= char <= "~" else "?" for char in text)[:500]
    metadata = {"source": plain, "verdict": plain, "h-x": plain, "h-<script>": "%3Cscript%3E"}
    return ArchiveObject(str(later), text.encode("utf-8", "replace"), "", metadata)


def _folders(environ: dict[str, str]) -> None:
    """Names that are no app's, where a store takes them."""
    if "ARCHIVE_FOLDER" in environ:
        root = Path(environ["ARCHIVE_FOLDER"]) / environ["ARCHIVE_BUCKETS"]
        for name in ("<script>alert(1)<", "\x1b[2J", "javascript:alert(1)"):
            (root / name).mkdir(parents=True, exist_ok=True)
