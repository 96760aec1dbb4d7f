"""The receipt of a replay: a line for each delivery that was acknowledged, flushed at once.

A run with the same receipt sends none of them again. The last line may be cut short by a crash;
then its delivery is sent again.
"""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from chalicelib.errors import MisuseError


class WrongReceipt(MisuseError):
    """The file is no receipt, is that of another target, or is in use."""


class Receipt:
    """A file of what was acknowledged. A context manager: it is locked while it is open."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        # The URL may hold a token.
        self._target = sha256(url.encode()).hexdigest()
        self.acknowledged: set[tuple[str, str]] = set()  # buckets and keys
        self._lock = Lock()
        self._file: BinaryIO | None = None

    def __enter__(self) -> Receipt:
        file = self.path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise WrongReceipt(f"{self.path} is in use by another replay") from None
        try:
            self._read(file)
        except BaseException:
            file.close()
            raise
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, bucket: str, key: str, status: int) -> None:
        """Write down that a delivery was acknowledged; it is on the disk when this returns."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._lock:
            self.acknowledged.add((bucket, key))
            self._write({"bucket": bucket, "key": key, "status": status, "at": at})

    def _read(self, file: BinaryIO) -> None:
        file.seek(0)
        content = file.read()
        lines = content.split(b"\n")
        if cut := lines.pop():
            file.truncate(len(content) - len(cut))
        if not lines:
            self._file = file
            self._write({"replay": 1, "target": self._target})
            return
        try:
            head, *rest = map(json.loads, lines)
            if head["target"] != self._target:
                raise WrongReceipt(f"{self.path} is the receipt of another target")
            self.acknowledged = {(line["bucket"], line["key"]) for line in rest}
        except (ValueError, KeyError, TypeError):
            raise WrongReceipt(f"{self.path} is no receipt of a replay") from None

    def _write(self, line: dict[str, object]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
