"""One bucket as reading sees it: its store, what is known of its files, and copies of parts."""

from __future__ import annotations

from base64 import b64decode
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from threading import Lock
from typing import TypeVar

from chalicelib.settings import Settings
from hookshelf.reading.errors import Damaged, Gone
from hookshelf.reading.footers import TAIL, Footer, Group, Longer, NotOurs, read_footer
from hookshelf.reading.scratch import temporary_folder
from hookshelf.reading.store import ReadingStore, StoredFile
from hookshelf.reading.thrift import footer_of
from hookshelf.reading.values import Read, Stream

AT_ONCE = 128  # requests under way at the same time; S3 documents 5,500 GETs a second
_PART = 16 * 1024 * 1024  # bytes of one request

In = TypeVar("In")
Out = TypeVar("Out")


class Bucket:
    """A store with what this process has read of its compacted files.

    What is read of them lies in a folder that is deleted when the process ends. Parts of a file lie
    at their own offsets in a sparse file of the same size, so that the engine reads them in place.
    """

    def __init__(self, name: str, store: ReadingStore, settings: Settings | None = None) -> None:
        self.name = name
        self.settings = settings  # where another process may open the same store
        self.store = store
        self.progress: Callable[[str], object] = lambda line: None  # long work says how far it is
        self.ahead: dict[Stream, list[StoredFile]] = {}  # listed by discovery, for one look-up
        # Prefixes at which discovery saw no folder of redacted bodies, so that none are listed.
        self.nothing_redacted: set[str] = set()
        self._footers: dict[StoredFile, Future[Footer | None]] = {}
        self._copies: dict[StoredFile, set[tuple[int, int]]] = {}
        self.is_folder = hasattr(store, "path")  # its files are on this machine
        self._numbers = count()
        self._lock = Lock()

    def map(self, do: Callable[[In], Out], over: Iterable[In]) -> list[Out]:
        """Do something for each, many at once; a folder answers sooner than a thread begins."""
        over = list(over)
        if len(over) < 2 or self.is_folder:
            return [do(each) for each in over]
        return list(self._pool.map(do, over))

    def each(self, do: Callable[[In], Out], over: Iterable[In]) -> Iterator[Out]:
        """Do something for each, in order, many at once; a few more than those are in memory."""
        if self.is_folder:
            yield from map(do, over)
            return
        under_way: deque[Future[Out]] = deque()
        for item in over:
            under_way.append(self._pool.submit(do, item))
            if len(under_way) > 2 * AT_ONCE:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def beside(self, do: Callable[[], Out]) -> Future[Out]:
        """Do something that asks for many things itself, beside what follows."""
        return self._submit(self._side, do)

    def read_ahead(self, read: Read, entries: Iterable[StoredFile]) -> list[Future[Footer | None]]:
        """Begin to read the footers of files that are not known yet."""
        with self._lock:
            for entry in entries:
                if entry not in self._footers:
                    self._footers[entry] = self._submit(
                        self._pool, partial(self._footer, read, entry)
                    )
            return [self._footers[entry] for entry in entries]

    def footers(self, read: Read, entries: Sequence[StoredFile]) -> list[Footer | None]:
        """The footers of files, each read once; None where one is not ours. Raises Gone."""
        try:
            return [future.result() for future in self.read_ahead(read, entries)]
        except BaseException:
            with self._lock:
                for entry in entries:
                    self._footers.pop(entry, None)
            raise

    def groups(
        self, read: Read, wanted: Sequence[tuple[StoredFile, Footer, Sequence[Group]]]
    ) -> list[Path]:
        """For each a file of nothing but some row groups. Whoever asks deletes them. Raises Gone.

        The row groups, and what the Parquet footer says about them, are read at the same time.
        """
        files = [_Part(self._folder / f"{next(self._numbers)}.parquet", *each) for each in wanted]
        parts = [(file, *part) for file in files for part in file.parts]

        def copy(part: tuple[_Part, int, int]) -> None:
            file, start, length = part
            file.write(start, self.store.range(read, file.entry, start, length))

        try:
            self.map(copy, parts)
            for file in files:
                file.finish()
        except BaseException:
            for file in files:
                file.path.unlink(missing_ok=True)
            raise
        return [file.path for file in files]

    def whole(self, read: Read, entry: StoredFile) -> Path:
        """A file on disk that is all of one."""
        return self.local(read, entry, [(0, entry.size)])

    def local(self, read: Read, entry: StoredFile, wanted: Iterable[tuple[int, int]]) -> Path:
        """A file on disk that holds at least these parts of one: offsets and lengths."""
        if hasattr(self.store, "path"):
            return self._link(entry, self.store.path(entry))
        missing = [
            (at, min(_PART, start + length - at))
            for start, length in wanted
            for at in range(start, start + length, _PART)
        ]
        missing = [part for part in missing if not self._has(entry, *part)]
        self.map(
            lambda part: self._keep(entry, part[0], self.store.range(read, entry, *part)), missing
        )
        return self._path(entry)

    def check(self, *entries: StoredFile) -> None:
        """Raise Gone where a local file is no longer what was listed."""
        for entry in entries:
            if hasattr(self.store, "etag") and self.store.etag(entry.key) != entry.etag:
                raise Gone(entry.key)

    @contextmanager
    def engine_reads(self, *entries: StoredFile) -> Iterator[None]:
        """Within it the engine reads local files. Raises Gone where one was replaced, or Damaged.

        Of a file that is gone the engine says whatever it meets.
        """
        import duckdb  # not every command that lists a bucket needs it

        try:
            yield
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error:
            self.check(*entries)
            raise Damaged(" or ".join(entry.key for entry in entries)) from None
        self.check(*entries)

    def _footer(self, read: Read, entry: StoredFile) -> Footer | None:
        start = max(0, entry.size - TAIL)
        try:
            try:
                return read_footer(self._from(read, entry, start), entry.size)
            except Longer as longer:
                start = max(0, start - longer.missing)
                return read_footer(self._from(read, entry, start), entry.size)
        except NotOurs:
            return None

    def _from(self, read: Read, entry: StoredFile, start: int) -> bytes:
        return self.store.range(read, entry, start, entry.size - start)

    def _submit(self, pool: ThreadPoolExecutor, do: Callable[[], Out]) -> Future[Out]:
        if not self.is_folder:
            return pool.submit(do)
        future: Future[Out] = Future()
        try:
            future.set_result(do())
        except Exception as error:
            future.set_exception(error)
        return future

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


class _Part:
    """A file that is being made of some row groups of another, each at its own offset."""

    def __init__(
        self, path: Path, entry: StoredFile, footer: Footer, groups: Sequence[Group]
    ) -> None:
        self.path, self.entry = path, entry
        self._footer, self._groups = footer, groups
        described = joined((group.described, group.description) for group in groups)
        self.parts = [*described, *joined((group.start, group.length) for group in groups)]
        self._described: dict[int, bytes] = {}
        self._described_from = min(start for start, _ in described)
        with path.open("wb") as file:
            file.truncate(footer.footer)

    def write(self, start: int, body: bytes) -> None:
        """Take in one of the parts."""
        if start >= self._described_from:
            self._described[start] = body
            return
        with self.path.open("r+b") as file:
            file.seek(start)
            file.write(body)

    def finish(self) -> None:
        """End it with a footer that knows these row groups only."""
        structs = [
            body[group.described - start :][: group.description]
            for group in self._groups
            for start, body in self._described.items()
            if start <= group.described < start + len(body)
        ]
        rows = sum(group.rows for group in self._groups)
        with self.path.open("ab") as file:
            file.write(footer_of(b64decode(self._footer.head), structs, rows))


def joined(parts: Iterable[tuple[int, int]], *, gap: int = 0) -> list[tuple[int, int]]:
    """Offsets and lengths in order, as few as it takes; up to `gap` bytes between are read too."""
    ranges: list[tuple[int, int]] = []
    for start, length in sorted(parts):
        if ranges and start <= sum(ranges[-1]) + gap:
            first = ranges[-1][0]
            ranges[-1] = (first, max(sum(ranges[-1]), start + length) - first)
        else:
            ranges.append((start, length))
    return ranges
