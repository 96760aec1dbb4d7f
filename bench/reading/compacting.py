"""Compact one bucket, in a process of its own whose memory can be watched.

python -m bench.reading.compacting FOLDER [UNTIL]

The month that UNTIL lies in is not rolled up.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from hookshelf import Archive


def main() -> None:
    """Compact it as `hookshelf compact` does, and say how long that took."""
    archive = Archive(Path(sys.argv[1]), environ={})
    until = sys.argv[2] if len(sys.argv) > 2 else None
    started = time.perf_counter()
    changes = archive.compact(until=until)
    events = sum(change.events for change in changes if change.state == "written")
    print(json.dumps({"events": events, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
