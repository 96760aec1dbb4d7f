"""What is kept beside a body: enough to verify, identify and replay it years later.

S3 refuses more than 2 KB of user metadata and mangles anything but printable ASCII, and a
delivery must never fail because of its metadata. So values are percent-encoded, and a header that
does not fit is left out whole and named in `omitted`.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC
from urllib.parse import unquote_to_bytes

from chalicelib.delivery import Delivery
from chalicelib.keys import LAYOUT
from chalicelib.types import Verdict

MAX_METADATA = 1_900  # bytes, names and values together

_HEADER = "h-"
# Beyond what is not printable ASCII: `%` itself; spaces that HTTP or a signature would trim or
# fold; and `=?`, which S3 may take for the start of an RFC 2047 encoded word.
_UNSAFE = re.compile(r"[^ -~]|%|\A | \Z|(?<= ) |=(?=\?)")


def describe(
    delivery: Delivery, *, source: str, verdict: Verdict, keep: Iterable[str], reason: str = ""
) -> dict[str, str]:
    """The metadata of a delivery, within MAX_METADATA.

    `keep` names the request headers to keep, most important first; `reason` says why a rejected
    delivery was refused.
    """
    facts = {
        "layout": LAYOUT,
        "source": source,
        "verdict": verdict,
        "arrived": delivery.arrived.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "reason": reason,
    }
    kept = {name: encode(value) for name, value in facts.items() if value}
    wanted = {
        "request-id": encode(delivery.request_id),
        **{
            _HEADER + name: encode(delivery.headers[name])
            for name in keep
            if name in delivery.headers
        },
    }
    if _size(kept) + _size(wanted) <= MAX_METADATA:
        return kept | wanted
    return kept | _fitting(wanted, MAX_METADATA - _size(kept))


def headers_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """The request headers that were kept, decoded, by lower-case name."""
    return {
        name.removeprefix(_HEADER): decode(value)
        for name, value in metadata.items()
        if name.startswith(_HEADER)
    }


def encode(value: str) -> str:
    """Percent-encode (UTF-8) what would not survive in a metadata value. `decode` undoes it."""
    return _UNSAFE.sub(_percent, value)


def decode(value: str) -> str:
    """Undo `encode`, exactly."""
    return unquote_to_bytes(value).decode("utf-8", "surrogatepass")


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))


def _fitting(wanted: Mapping[str, str], room: int) -> dict[str, str]:
    # Room for the longest possible list of omitted names is set aside first.
    room -= len("omitted") + len(",".join(wanted))
    kept, omitted = {}, []
    for name, value in wanted.items():
        size = len(name) + len(value)
        if size <= room:
            kept[name] = value
            room -= size
        else:
            omitted.append(name.removeprefix(_HEADER))
    return kept | {"omitted": ",".join(omitted)}


def _size(metadata: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in metadata.items())
