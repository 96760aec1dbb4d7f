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

from chalicelib.delivery import Delivery
from chalicelib.keys import LAYOUT
from chalicelib.types import Verdict

MAX_METADATA = 1_900  # bytes, names and values together

_HEADER = "h-"
# Beyond what is not printable ASCII: `%` itself; spaces that HTTP or a signature would trim or
# fold; and `=?`, which S3 may take for the start of an RFC 2047 encoded word.
_UNSAFE = re.compile(r"[^ -~]|%|\A | \Z|(?<= ) |=(?=\?)")
_SAFE = re.compile(r"[!-$&-<>-~]+(?: [!-$&-<>-~]+)*=*")  # what most values are, told quickly


def describe(
    delivery: Delivery, *, source: str, verdict: Verdict, keep: Iterable[str], reason: str = ""
) -> dict[str, str]:
    """The metadata of a delivery, within MAX_METADATA.

    `keep` names the request headers to keep, most important first: what is left out is left out
    from the end. `reason` says why a rejected delivery was refused.
    """
    kept = {
        "layout": LAYOUT,
        "source": source,
        "verdict": verdict,
        "arrived": delivery.arrived.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }
    if reason:
        kept["reason"] = encode(reason)
    headers = delivery.headers
    wanted = {_HEADER + name: _encoded(headers[name]) for name in keep if name in headers}
    wanted["request-id"] = _encoded(delivery.request_id)
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
    return value if _SAFE.fullmatch(value) else _UNSAFE.sub(_percent, value)


def _encoded(value: str) -> str:
    """As `encode`; what is too long even as it stands is left so, and will not fit."""
    return value if len(value) > MAX_METADATA else encode(value)


def decode(value: str) -> str:
    """Undo `encode`, exactly; of what anybody else wrote, as much as can be read."""
    from urllib.parse import unquote_to_bytes  # 2 ms; whoever receives decodes nothing

    plain = unquote_to_bytes(value)
    try:
        return plain.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return plain.decode("utf-8", "replace")


def _percent(unsafe: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in unsafe[0].encode("utf-8", "surrogatepass"))


def _fitting(wanted: Mapping[str, str], room: int) -> dict[str, str]:
    """As much as fits, each as if all that is less important were left out, and named."""
    kept: dict[str, str] = {}
    rest = [name.removeprefix(_HEADER) for name in wanted]
    omitted: list[str] = []
    for name, value in wanted.items():
        rest.pop(0)
        others = {"omitted": ",".join(omitted + rest)}
        if _size(kept) + len(name) + len(value) + _size(others) <= room:
            kept[name] = value
        else:
            omitted.append(name.removeprefix(_HEADER))
    return kept | {"omitted": ",".join(omitted)}


def _size(metadata: Mapping[str, str]) -> int:
    return len("".join(metadata)) + len("".join(metadata.values()))
