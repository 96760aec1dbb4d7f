"""Folders for copies of what is read: they go when the process ends, and are known by its number.

What a process that was killed left is removed by the next erasure.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PREFIX = f"hookshelf-{os.getpid()}-"  # of every temporary file and folder
UNFINISHED = f".{PREFIX}"  # of what is being written, beside where it will lie
_OURS = re.compile(r"hookshelf-(\d+)-")


def temporary_folder(owner: object) -> Path:
    """A folder that goes when its owner does, or when the process ends."""
    folder = tempfile.mkdtemp(prefix=PREFIX)
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def write_whole(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file, its folders too, whole or not at all; readable by everybody. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(parts)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def clear_left_over() -> int:
    """Remove what processes left that no longer run; how many folders."""
    count = 0
    for path in Path(tempfile.gettempdir()).glob("hookshelf-*-*"):
        if _is_left_over(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            count += not path.exists()
    return count


def clear_unfinished(folder: Path) -> None:
    """Remove the files that processes were writing in a folder when they were killed."""
    for path in folder.rglob(f"{UNFINISHED.partition('-')[0]}-*"):
        if _is_left_over(path.name[1:]):
            path.unlink(missing_ok=True)


def _is_left_over(name: str) -> bool:
    match = _OURS.match(name)
    return match is not None and not _is_running(int(match[1]))


def _is_running(pid: int) -> bool:
    with suppress(PermissionError):  # somebody else's
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True
