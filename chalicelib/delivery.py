"""The values that pass through the archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request a sender made, exactly as it arrived."""

    app: str
    headers: Mapping[str, str]  # names are lower-case
    body: bytes
    arrived: datetime  # aware, UTC, taken once per request
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class ArchiveObject:
    """Key, body and metadata, ready to put; also what a store gives back."""

    key: str
    body: bytes
    content_type: str
    metadata: Mapping[str, str]  # printable ASCII only, see metadata.py
