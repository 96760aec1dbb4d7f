"""Folders for copies of what is read: they go when the process ends, and are known by its number.

What a process that was killed left is removed by the next erasure.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

PREFIX = f"hookshelf-{os.getpid()}-"  # of every temporary file and folder
_OURS = re.compile(r"hookshelf-(\d+)-")


def temporary_folder(owner: object) -> Path:
    """A folder that goes when its owner does, or when the process ends."""
    folder = tempfile.mkdtemp(prefix=PREFIX)
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def clear_left_over() -> int:
    """Remove what processes left that no longer run; how many folders."""
    count = 0
    for path in Path(tempfile.gettempdir()).glob("hookshelf-*-*"):
        match = _OURS.match(path.name)
        if match and path.is_dir() and not path.is_symlink() and not _is_running(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)
            count += not path.exists()
    return count


def _is_running(pid: int) -> bool:
    with suppress(PermissionError):  # somebody else's
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True
