"""One JSON line per request.

Where Lambda writes JSON itself the fields go in as `extra`; elsewhere the same fields are printed
as one line. Non-ASCII and control characters are always escaped, so a line is a line.
https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from typing import Any

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Handler):
    """Print a record's message and extra fields as one JSON line on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; looks sys.stderr up each time, as test runners replace it."""
        fields = {name: value for name, value in vars(record).items() if name not in _PLAIN}
        line = {"level": record.levelname, "message": record.getMessage()} | fields
        print(json.dumps(line, default=str), file=sys.stderr, flush=True)


def configure(environ: Mapping[str, str]) -> None:
    """Let the project's own logger speak, once."""
    logger = logging.getLogger("hookshelf")
    logger.setLevel(logging.INFO)
    if environ.get("AWS_LAMBDA_LOG_FORMAT") == "JSON":
        # Its lines name none of these. https://docs.python.org/3/howto/logging.html#optimization
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
        return
    if logger.handlers:
        return
    logger.addHandler(JsonLines())
    logger.propagate = False


def line(level: int, message: str, **fields: Any) -> None:
    """Log one line. Fields must be safe to show: no token, no secret, no body."""
    logger = logging.getLogger("hookshelf")
    if logger.isEnabledFor(level):
        # Not logger.log, which looks for the line of code that called it: nobody reads that.
        record = logging.LogRecord("hookshelf", level, "", 0, message, (), None)
        vars(record).update(fields)
        logger.handle(record)
