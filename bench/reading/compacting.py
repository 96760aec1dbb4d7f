"""Compact one bucket, in a process of its own whose memory can be watched.

python -m bench.reading.compacting FOLDER
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
    started = time.perf_counter()
    events = sum(change.events for change in archive.compact() if change.state == "written")
    print(json.dumps({"events": events, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
