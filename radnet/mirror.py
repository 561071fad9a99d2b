"""Copies of remote shards on a disk of this machine: bounded in size, shared by its processes, checked on arrival.

A copy is named by its tar's hash, so several sets and runs share it and a changed set never meets an old copy. Whoever
fetches or deletes a copy holds NAME.lock, whoever reads it the tar itself (shared), and whoever counts what lies there
room.lock. What nobody reads is deleted when room is needed, the longest unused first. Locks die with their
process, so what a killed one left is found and cleared.
"""

import fcntl
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from radnet import store
from radnet.config import CacheConfig
from radnet.errors import UsageError
from radnet.samples import Shard
from radnet.urls import PATIENCE_S, ask, is_local

PARTS = 3  # of the cache: what is read, what is fetched ahead, and what a process that lags still reads
ROOM_WAIT_S = 600.0  # for other processes to let go of what they read, once this one can do nothing else
TRIES = 2  # of a copy that arrives with another hash


class Stopped(Exception):
    """Nobody waits for what is being fetched any more."""


class Mirror:
    """Where shards can be read as files. Those of a disk of this machine are read in place."""

    def __init__(self, config: CacheConfig) -> None:
        # A name of the user's own: the temporary folder is everybody's, and images are not.
        own = Path(tempfile.gettempdir()) / f"radnet-shards-{os.getuid()}"
        self.folder = Path(config.folder) if config.folder else own
        self.max_bytes = int(config.gigabytes * 1e9)

    @property
    def part_bytes(self) -> int:
        """How many bytes of remote shards are meant to be held at once."""
        return self.max_bytes // PARTS

    def fetch(self, shards: list[Shard]) -> "Held":
        """Start to make these shards readable, one after another, in a thread of its own."""
        return Held(self, shards)

    def copy(self, shard: Shard, held: "Held") -> tuple[Path, BinaryIO]:
        """STEM of the copy, and the open tar whose lock keeps it there."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"data.cache.folder={str(self.folder)!r} cannot be made: {error.strerror}") from None
        stem = self.folder / shard.info.sha256_tar
        with _locked(Path(f"{stem}.lock")):
            for _ in range(TRIES):
                if file := _hold(stem, shard.info.num_bytes):
                    return stem, file
                try:
                    self._reserve(Path(f"{stem}.tar.part"), shard.info.num_bytes, held)
                    if _download(shard, ".idx", shard.info.sha256_idx, stem, held):
                        _download(shard, ".tar", shard.info.sha256_tar, stem, held)
                finally:
                    Path(f"{stem}.tar.part").unlink(missing_ok=True)
            if file := _hold(stem, shard.info.num_bytes):
                return stem, file
        raise shard.broken(f"arrived {TRIES} times with another hash than index.json says")

    def _reserve(self, part: Path, num_bytes: int, held: "Held") -> None:
        """Make room for a file of this size and take it, deleting what nobody reads; waits where all is being read."""
        while True:
            with _locked(self.folder / "room.lock"):
                needed = self._clear_left() + num_bytes - self.max_bytes
                for tar in sorted(self.folder.glob("*.tar"), key=_last_use):
                    if needed > 0:
                        needed -= _drop(tar)
                if needed <= 0:
                    with open(part, "wb") as file:
                        file.truncate(num_bytes)
                    return
            if held.has_waited(ROOM_WAIT_S):
                raise UsageError(
                    f"{self.folder} has no room for {num_bytes} bytes beside what is read now; "
                    "raise data.cache.gigabytes, or lower data.window_shards"
                )
            held.pause(0.5)

    def _clear_left(self) -> int:
        """Bytes of copies and of what is arriving; what a killed process was fetching is deleted."""
        total = 0
        for path in self.folder.glob("*.tar*"):
            with suppress(FileNotFoundError):
                total += path.stat().st_size
                if path.suffix == ".part" and (lock := _try_lock(path.with_name(path.name[:-9] + ".lock"))):
                    with lock:
                        total -= path.stat().st_size
                        path.unlink()
        return total


class Held:
    """Shards that become readable and stay so until `close`. stems, after `wait`: of each, path without suffix."""

    def __init__(self, mirror: Mirror, shards: list[Shard]) -> None:
        self.stems: dict[Shard, Path] = {}
        self._stack, self._error = ExitStack(), None
        self._waiting_since: float | None = None
        self._stop = threading.Event()
        # A daemon: the process may end while it waits for a store.
        self._thread = threading.Thread(target=self._run, args=(mirror, shards), daemon=True, name="radnet-mirror")
        self._thread.start()

    def _run(self, mirror: Mirror, shards: list[Shard]) -> None:
        try:
            for shard in shards:
                if is_local(shard.root):
                    self.stems[shard] = Path(shard.path("").removeprefix("file://"))
                else:
                    self.stems[shard], file = mirror.copy(shard, self)
                    self._stack.enter_context(file)
        except BaseException as error:  # raised where somebody waits for it
            self._error = error

    def wait(self) -> "Held":
        """Return when all are readable. Raises UsageError for a shard that arrives damaged or finds no room, OSError
        where the store stays away."""
        self._waiting_since = time.monotonic()
        self._thread.join()
        if self._error:
            self.close()
            raise self._error
        return self

    def close(self) -> None:
        """Let go: the copies may be deleted from now on, and nothing more is fetched."""
        self._stop.set()
        self._thread.join()
        self._stack.close()

    def has_waited(self, patience_s: float) -> bool:
        """True when somebody has waited this long for what is not here."""
        return self._waiting_since is not None and time.monotonic() - self._waiting_since > patience_s

    def pause(self, seconds: float = 0.0) -> None:
        """Wait a little. Raises Stopped when this was closed."""
        if self._stop.wait(seconds):
            raise Stopped


def forget(stem: str) -> None:
    """Delete a copy that is damaged, whoever reads it: the next run fetches it again."""
    for suffix in (".tar", ".idx"):
        Path(stem + suffix).unlink(missing_ok=True)


def _hold(stem: Path, num_bytes: int) -> BinaryIO | None:
    """The tar of a copy, locked against deletion; None where there is none, or not a whole one. NAME.lock is held."""
    try:
        file = open(f"{stem}.tar", "rb")
    except FileNotFoundError:
        return None
    fcntl.flock(file, fcntl.LOCK_SH)
    if os.fstat(file.fileno()).st_size == num_bytes and Path(f"{stem}.idx").is_file():
        os.utime(file.fileno())  # the last use
        return file
    file.close()
    return None


def _drop(tar: Path) -> int:
    """Delete a copy that nobody fetches or reads; returns the bytes that this frees."""
    lock = _try_lock(tar.with_suffix(".lock"))
    if not lock:
        return 0
    with lock:
        try:
            with open(tar, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                size = os.fstat(file.fileno()).st_size
                for suffix in (".tar", ".idx", ".lock"):
                    tar.with_suffix(suffix).unlink(missing_ok=True)
                return size
        except (FileNotFoundError, BlockingIOError):
            return 0


def _last_use(tar: Path) -> float:
    try:
        return tar.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _download(shard: Shard, suffix: str, sha256: str, stem: Path, held: Held) -> bool:
    """Copy one file, with patience for a store that is away; False, and nothing is left, for another hash."""
    target, part = Path(f"{stem}{suffix}"), Path(f"{stem}{suffix}.part")

    def fetch(system, inner) -> str:
        """Write what arrives over what was reserved; its sha256."""
        digest = hashlib.sha256()
        with system.open(inner, "rb", cache_type="readahead", block_size=store.READ_BYTES) as source:
            with open(part, "r+b" if part.exists() else "wb") as file:
                while block := source.read(store.READ_BYTES):
                    held.pause()
                    digest.update(block)
                    file.write(block)
                file.truncate()
                os.fsync(file.fileno())
        return digest.hexdigest()

    try:
        if ask(shard.path(suffix), fetch, PATIENCE_S) != sha256:
            return False
        os.replace(part, target)
        return True
    except FileNotFoundError:
        raise shard.broken(f"has no {suffix}") from None
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process of this machine at a time; waits. The file may be deleted by whoever holds the lock."""
    while True:
        with open(path, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_still(path, file):
                yield
                return


def _try_lock(path: Path) -> BinaryIO | None:
    """The lock, if nobody has it."""
    file = open(path, "wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_still(path, file):
            return file
    except BlockingIOError:
        pass
    file.close()
    return None


def _is_still(path: Path, file) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    return False
