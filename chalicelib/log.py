"""One JSON line per request.

Where Lambda writes JSON itself the fields go in as `extra`; elsewhere the same fields are printed
as one line. Non-ASCII and control characters are always escaped, so a line is a line.
https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

_log = logging.getLogger("hookshelf")
_BLANK = vars(logging.makeLogRecord({"name": _log.name}))
_PLAIN = frozenset(_BLANK) | {"message", "asctime", "taskName"}


class Line(logging.LogRecord):
    """A record that does not look for file, line, thread and process: nobody reads them."""

    def __init__(self, level: int, message: str, fields: Mapping[str, Any]) -> None:
        vars(self).update(_BLANK)
        self.created = time.time()
        self.msecs = self.created % 1 * 1000
        self.levelno, self.levelname = level, logging.getLevelName(level)
        self.msg = message
        vars(self).update(fields)


class JsonLines(logging.Handler):
    """Print a record's message and extra fields as one JSON line on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; looks sys.stderr up each time, as test runners replace it."""
        fields = {name: value for name, value in vars(record).items() if name not in _PLAIN}
        line = {"level": record.levelname, "message": record.getMessage()} | fields
        print(json.dumps(line, default=str), file=sys.stderr, flush=True)


def configure(environ: Mapping[str, str]) -> None:
    """Let the project's own logger speak, once."""
    _log.setLevel(logging.INFO)
    if environ.get("AWS_LAMBDA_LOG_FORMAT") == "JSON" or _log.handlers:
        return
    _log.addHandler(JsonLines())
    _log.propagate = False


def line(level: int, message: str, **fields: Any) -> None:
    """Log one line. Fields must be safe to show: no token, no secret, no body."""
    if _log.isEnabledFor(level):
        _log.handle(Line(level, message, fields))
