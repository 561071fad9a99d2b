"""Copies of remote shards on a disk of this machine: bounded in size, shared by its processes, checked on arrival.

A copy is named by its tar's hash, so several sets and runs share it and a changed set never meets an old copy. Whoever
reads a copy holds a shared lock on it; only what nobody holds is deleted, the longest unused first. Locks die with
their process.
"""

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from radnet import store
from radnet.config import CacheConfig
from radnet.errors import UsageError
from radnet.samples import Shard
from radnet.urls import is_local

PARTS = 3  # of the cache: what is read, what is fetched ahead, and what a process that lags still reads
ROOM_WAIT_S = 600.0  # for other processes to let go of what they read
TRIES = 2  # of a copy that arrives with another hash


class Mirror:
    """Where shards can be read as files. Those of a disk of this machine are read in place."""

    def __init__(self, config: CacheConfig) -> None:
        self.folder = Path(config.folder or Path(tempfile.gettempdir()) / "radnet-shards")
        self.max_bytes = int(config.gigabytes * 1e9)
        self._ahead = ThreadPoolExecutor(max_workers=1, thread_name_prefix="radnet-mirror")

    @property
    def part_bytes(self) -> int:
        """How many bytes of remote shards can be held at once."""
        return self.max_bytes // PARTS

    def fetch(self, shards: Iterable[Shard]) -> "Future[Held]":
        """Start to make these shards readable, one after another; `result()` waits, and raises UsageError for one that
        arrives damaged or finds no room, OSError where the store is away."""
        return self._ahead.submit(Held, self, list(shards))

    def copy(self, shard: Shard) -> tuple[Path, BinaryIO]:
        """STEM of the copy, and the open tar whose lock keeps it there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = self.folder / shard.info.sha256_tar
        for _ in range(TRIES):
            with _locked(self.folder / f"{stem.name}.lock"):
                if held := _hold(stem):
                    return stem, held
                self._make_room(shard)
                _download(shard, ".idx", shard.info.sha256_idx, Path(f"{stem}.idx"))
                if _download(shard, ".tar", shard.info.sha256_tar, Path(f"{stem}.tar")) and (held := _hold(stem)):
                    return stem, held
        raise shard.broken(f"arrived {TRIES} times with another hash than index.json says")

    def _make_room(self, shard: Shard) -> None:
        """Delete what nobody holds until this shard fits."""
        end_s = time.monotonic() + ROOM_WAIT_S
        while True:
            needed = self._num_bytes() + shard.info.num_bytes - self.max_bytes
            for tar in sorted(self.folder.glob("*.tar"), key=_last_use):
                if needed > 0:
                    needed -= _drop(tar)
            if needed <= 0:
                return
            if time.monotonic() > end_s:
                raise UsageError(
                    f"{self.folder} has no room for {shard.info.num_bytes} bytes beside what is read now; "
                    "raise data.cache.gigabytes, or lower data.window_shards"
                )
            time.sleep(0.5)

    def _num_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.suffix in (".tar", ".part"))


class Held:
    """Shards that stay readable until `close`. stems: of each, path without suffix."""

    def __init__(self, mirror: Mirror, shards: list[Shard]) -> None:
        self._stack = ExitStack()
        self.stems: dict[Shard, Path] = {}
        try:
            for shard in shards:
                if is_local(shard.root):
                    self.stems[shard] = Path(shard.path("").removeprefix("file://"))
                else:
                    self.stems[shard], held = mirror.copy(shard)
                    self._stack.enter_context(held)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go: the copies may be deleted from now on."""
        self._stack.close()


def _hold(stem: Path) -> BinaryIO | None:
    """The tar of a copy, locked against deletion; None where there is no copy."""
    try:
        file = open(f"{stem}.tar", "rb")
    except FileNotFoundError:
        return None
    fcntl.flock(file, fcntl.LOCK_SH)
    if os.fstat(file.fileno()).st_nlink and Path(f"{stem}.idx").is_file():
        os.utime(file.fileno())  # the last use
        return file
    file.close()
    return None


def _drop(tar: Path) -> int:
    """Delete a copy that nobody holds; returns the bytes that this frees."""
    try:
        with open(tar, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = os.fstat(file.fileno()).st_size
            for path in (tar, tar.with_suffix(".idx")):
                path.unlink(missing_ok=True)
            return size
    except (FileNotFoundError, BlockingIOError):
        return 0


def _last_use(tar: Path) -> float:
    try:
        return tar.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _download(shard: Shard, suffix: str, sha256: str, target: Path) -> bool:
    """Copy one file; False, and nothing is left, where it arrives with another hash."""
    part, digest = Path(f"{target}.part"), hashlib.sha256()
    try:
        with store.reading(shard.path(suffix)) as source, open(part, "wb") as file:
            while block := source.read(store.READ_BYTES):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != sha256:
            return False
        os.replace(part, target)
        return True
    except FileNotFoundError:
        raise shard.broken(f"has no {suffix}") from None
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process of this machine at a time fetches one shard."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
