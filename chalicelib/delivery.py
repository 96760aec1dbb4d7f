"""The values that pass through the archive.

Named tuples, here and wherever a delivery passes: `dataclasses` costs a cold start 10 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple


class Delivery(NamedTuple):
    """One request a sender made, exactly as it arrived."""

    app: str
    headers: Mapping[str, str]  # names are lower-case
    body: bytes
    arrived: datetime  # aware, UTC, taken once per request
    request_id: str = ""
    # As the sender called it, for a source that signs it; else empty. It holds a token: never kept.
    url: str = ""


class ArchiveObject(NamedTuple):
    """Key, body and metadata, ready to put; also what a store gives back."""

    key: str
    body: bytes
    content_type: str
    metadata: Mapping[str, str]  # printable ASCII only, see metadata.py
