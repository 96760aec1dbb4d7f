"""One bucket as reading sees it: its store, what is known of its files, and copies of parts."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TypeVar

from chalicelib.settings import Settings
from hookshelf.reading.errors import Gone
from hookshelf.reading.footers import TAIL, Footer, Group, NotOurs, read_footer
from hookshelf.reading.store import ReadingStore, StoredFile
from hookshelf.reading.values import Read

AT_ONCE = 64  # requests under way at the same time
_PART = 16 * 1024 * 1024  # bytes of one request for a whole file

In = TypeVar("In")
Out = TypeVar("Out")


class Bucket:
    """A store with what this process has read of its compacted files.

    Parts of a file lie at their own offsets in a sparse file of the same size, so that the engine
    reads it as a file on disk. They are deleted when the process ends.
    """

    def __init__(self, name: str, store: ReadingStore, settings: Settings | None = None) -> None:
        self.name = name
        self.settings = settings  # where another process may open the same store
        self.store = store
        self._footers: dict[StoredFile, Footer | None] = {}
        self._copies: dict[StoredFile, set[tuple[int, int]]] = {}
        self._lock = Lock()

    def map(self, do: Callable[[In], Out], over: Iterable[In]) -> list[Out]:
        """Do something for each, many at once."""
        over = list(over)
        return [do(each) for each in over] if len(over) < 2 else list(self._pool.map(do, over))

    def beside(self, do: Callable[[], Out]) -> Future[Out]:
        """Do something that asks for many things itself, beside what follows."""
        return self._side.submit(do)

    def footer(self, read: Read, entry: StoredFile) -> Footer | None:
        """The footer of a file, read once; None where the file is not ours. Raises Gone."""
        if entry not in self._footers:
            start = max(0, entry.size - TAIL)
            tail = self.store.range(read, entry, start, entry.size - start)
            try:
                footer = read_footer(tail, entry.size)
            except NotOurs:
                footer = None
            self._footers[entry] = footer
            if footer and not hasattr(self.store, "path"):
                self._keep(entry, start, tail)
        return self._footers[entry]

    def local(
        self, read: Read, entry: StoredFile, footer: Footer, groups: Sequence[Group] | None
    ) -> Path:
        """A file on disk that holds at least the footer and these row groups; None: all of it."""
        if hasattr(self.store, "path"):
            return self._link(entry, self.store.path(entry))
        wanted = [(footer.footer, entry.size - footer.footer)]
        if groups is None:
            wanted = [
                (start, min(_PART, entry.size - start)) for start in range(0, entry.size, _PART)
            ]
        else:
            wanted += _joined(groups)
        missing = [part for part in wanted if not self._has(entry, *part)]
        self.map(
            lambda part: self._keep(entry, part[0], self.store.range(read, entry, *part)), missing
        )
        return self._path(entry)

    def check(self, entry: StoredFile) -> None:
        """Raise Gone where a local file is no longer what was listed."""
        if hasattr(self.store, "etag") and self.store.etag(entry.key) != entry.etag:
            raise Gone(entry.key)

    def _link(self, entry: StoredFile, path: Path) -> Path:
        """A name that stands for this content only: the engine remembers footers by name."""
        link = self._path(entry)
        if entry not in self._copies:
            with self._lock:
                if entry not in self._copies:
                    link.symlink_to(path.resolve())
                    self._copies[entry] = set()
        return link

    def _has(self, entry: StoredFile, start: int, length: int) -> bool:
        parts = self._copies.get(entry, ())
        return any(s <= start and start + length <= s + n for s, n in parts)

    def _keep(self, entry: StoredFile, start: int, body: bytes) -> None:
        path = self._path(entry)
        with self._lock:
            if entry not in self._copies:
                with path.open("wb") as file:
                    file.truncate(entry.size)
                self._copies[entry] = set()
        with path.open("r+b") as file:
            file.seek(start)
            file.write(body)
        with self._lock:
            self._copies[entry].add((start, len(body)))

    def _path(self, entry: StoredFile) -> Path:
        name = f"{entry.key}-{entry.etag}".replace("/", "_").replace('"', "")
        return self._folder / name[-200:]

    @cached_property
    def _folder(self) -> Path:
        return temporary_folder(self)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="hookshelf")

    # Apart, so that what waits for many requests never takes the place of one.
    @cached_property
    def _side(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="hookshelf-side")


def temporary_folder(owner: object) -> Path:
    """A folder that goes when its owner does, or when the process ends."""
    folder = tempfile.mkdtemp(prefix="hookshelf-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _joined(groups: Sequence[Group]) -> list[tuple[int, int]]:
    """Ranges of row groups; neighbours are one range."""
    parts: list[tuple[int, int]] = []
    for group in groups:
        if parts and sum(parts[-1]) == group.start:
            parts[-1] = (parts[-1][0], parts[-1][1] + group.length)
        else:
            parts.append((group.start, group.length))
    return parts
