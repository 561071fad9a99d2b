"""Files of a store on this machine's disk: the first bytes of a header, or a whole series, for as long as needed.

Whatever a process fetches, or is about to put to a store, lies in one folder that goes with it. A process that was
killed leaves its folder; the next one on the machine removes it, for nobody holds its lock.
"""

import atexit
import fcntl
import math
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from radnet.shards.dicom import read_header
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.listing import stamp, stamp_of
from radnet.shards.record import FileRecord
from radnet.urls import PATIENCE_S, ask, is_local

_PREFIX = "radnet-"
_LOCK = ".lock"
_HEADER_BYTES = 64 << 10  # holds nearly every header without icons and enhanced frames
_AT_ONCE = 16  # requests of one process: a store answers in tens of milliseconds
# What a header cut short may be taken for.
_DOUBTFUL = (Code.UNREADABLE, Code.TRUNCATED, Code.BAD_NUMBER, Code.NO_GEOMETRY)
_one_at_a_time = threading.Lock()


def scratch() -> Path:
    """This process's own folder for temporary files; what else makes temporary files uses it too from now on."""
    with _one_at_a_time:
        return _scratch()


@cache
def _scratch() -> Path:
    base = Path(tempfile.gettempdir())
    clear_left(base)
    # Nobody takes it for left before it is locked: until then its name is another.
    folder = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=base))
    # Kept open to the end of the process: the lock is what says that somebody is there.
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    folder = folder.rename(base / folder.name[1:])
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tempfile.tempdir = str(folder)
    return folder


def clear_left(base: Path) -> None:
    """Remove the folders of processes of this machine that died, below the folder for temporary files."""
    for folder in base.glob(f"{_PREFIX}*"):
        _remove_if_left(folder)


def _remove_if_left(folder: Path) -> None:
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass  # its process lives
    finally:
        os.close(descriptor)


def read_headers(files: Sequence[str], stamps: Sequence[Sequence[int]]) -> list[FileRecord]:
    """`read_header` of every file, local or behind a URL; of the latter only the first bytes are fetched if they do.

    Raises OSError where a store is away for good, or refuses.
    """
    if all(map(is_local, files)):
        return [read_header(file) for file in files]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(_read_any, files, stamps))


def _read_any(file: str, stamped: Sequence[int]) -> FileRecord:
    if is_local(file):
        return read_header(file)
    size, mtime_ns = stamped
    try:
        record = (
            _read_remote(file, size) if size else FileRecord(file, code=Code.UNREADABLE, detail="the file is empty")
        )
    except SeriesError as error:
        record = FileRecord(file, code=error.code, detail=error.detail)
    return replace(record, path=file, num_bytes=max(size, 0) or record.num_bytes, mtime_ns=mtime_ns)


def _read_remote(url: str, size: int) -> FileRecord:
    """The header, from the start of the file where that is enough, the rest being a hole of the right length."""
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        path = Path(folder) / "file"
        if size > _HEADER_BYTES:
            path.write_bytes(_ask(url, lambda system, inner: system.cat_file(inner, start=0, end=_HEADER_BYTES)))
            os.truncate(path, size)
            record = read_header(str(path))
            if _is_sure(record):
                return record
        _ask(url, lambda system, inner: system.get_file(inner, str(path)))
        return read_header(str(path))


def _is_sure(record: FileRecord) -> bool:
    if record.code is Code.NOT_DICOM:
        return True
    return record.code not in _DOUBTFUL and (record.pixel_offset or math.inf) <= _HEADER_BYTES


def _ask(url: str, question: Callable[[Any, str], Any]) -> Any:
    """`urls.ask` for a file that was listed: raises SeriesError(UNREADABLE) where it is gone.

    A refusal is raised as it is, an OSError: credentials that ran out are no damage of a file.
    """
    try:
        return ask(url, question, PATIENCE_S)
    except FileNotFoundError as error:
        if error.filename and str(error.filename).startswith(str(scratch())):
            raise  # this machine's own disk
        raise SeriesError(Code.UNREADABLE, "a file that was listed is gone") from None


class Fetched:
    """The files of one series where they can be read; `close` removes what was fetched.

    Raises SeriesError(CHANGED) where a file is not the one that was listed, UNREADABLE where it is gone.
    """

    def __init__(self, files: Sequence[str], stamps: Sequence[Sequence[int]]) -> None:
        self._folder: Path | None = None
        self.files = list(files)
        for file, stamped in zip(files, stamps, strict=True):
            if is_local(file) and stamp(file) != list(stamped):
                raise _changed()
        if all(map(is_local, files)):
            return
        self._folder = Path(tempfile.mkdtemp(dir=scratch()))
        try:
            # Names keep the order of the URLs, in which headers were read.
            targets = [str(self._folder / f"{number:06d}") for number in range(len(files))]
            self.files = [file if is_local(file) else path for file, path in zip(files, targets, strict=True)]
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(_get_checked, files, self.files, stamps))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove what was fetched."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _get_checked(url: str, path: str, stamped: Sequence[int]) -> None:
    if is_local(url):
        return
    found = stamp_of(_ask(url, lambda system, inner: system.info(inner)))
    # A store need not tell everything each time it is asked.
    if any(now != then for now, then in zip(found, stamped, strict=True) if min(now, then) >= 0):
        raise _changed()
    _ask(url, lambda system, inner: system.get_file(inner, path))
    if stamped[0] >= 0 and os.path.getsize(path) != stamped[0]:
        raise _changed()


def _changed() -> SeriesError:
    return SeriesError(Code.CHANGED, "a file differs in size or time from the one in the inventory")


@contextmanager
def fetched(files: Sequence[str], stamps: Sequence[Sequence[int]]) -> Iterator[list[str]]:
    """The files of one series where they can be read, for as long as the block lasts. Raises as `Fetched`."""
    here = Fetched(files, stamps)
    try:
        yield here.files
    finally:
        here.close()


class Ahead:
    """Fetches the next series while one is being read: two of them on disk at most."""

    def __init__(self, series: Sequence[tuple[Sequence[str], Sequence[Sequence[int]]]]) -> None:
        self._series, self._pool = series, ThreadPoolExecutor(1)
        self._next: tuple[int, Future[Fetched]] | None = None  # number of the series that is being fetched

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)
        if self._next is not None and self._next[1].exception() is None:
            self._next[1].result().close()

    @contextmanager
    def take(self, number: int) -> Iterator[list[str]]:
        """The files of a series; those of the series after it are fetched meanwhile. Raises as `Fetched`."""
        waiting = self._next[1] if self._next and self._next[0] == number else self._start(number)
        self._next = None
        fetched = waiting.result()
        try:
            if number + 1 < len(self._series):
                self._next = number + 1, self._start(number + 1)
            yield fetched.files
        finally:
            fetched.close()

    def _start(self, number: int) -> "Future[Fetched]":
        return self._pool.submit(Fetched, *self._series[number])
