"""One writer for an output on an object store, where there are no locks: a lease in numbered generations.

The highest of `ROOT/lease/000001.json` and so on decides. Its holder overwrites it every BEAT_S; once it says
released, or is silent for STALE_S by the store's own clock, the next one belongs to whoever creates it first.
"""

import json
import math
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from radnet import store
from radnet.errors import UsageError
from radnet.urls import filesystem, make_folder, shown

BEAT_S = 30.0
STALE_S = 120.0
_GENERATION = re.compile(r".*/(\d{6})\.json")
# Seconds that count a machine's sleep too, where the system has them.
_now = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@contextmanager
def holding(root: str, beat_s: float = BEAT_S, stale_s: float = STALE_S) -> Iterator["Lease"]:
    """Be the only writer to `root`, an fsspec URL, within the block; ask the lease's `check` before writing.

    beat_s: seconds between signs of life; stale_s: seconds without one after which others may take over. Raises
    UsageError in one line where another driver is writing, and where the store refuses or cannot be reached.
    """
    lease = Lease(root, beat_s, stale_s)
    lease.acquire()
    thread = threading.Thread(target=lease.keep, daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        lease.ended.set()
        thread.join()
        lease.release()


class Lease:
    """The lease of one output as `holding` acquires, keeps and releases it; drivers only `check` it."""

    def __init__(self, root: str, beat_s: float, stale_s: float) -> None:
        self.root, self.beat_s, self.stale_s = root, beat_s, stale_s
        self.shown = shown(root)
        self.token, self.generation, self.last_sign = secrets.token_hex(8), 0, _now()
        self.ended, self.is_lost = threading.Event(), False

    def check(self) -> None:
        """Raises UsageError in one line once, as of the last beat, another driver has taken over or may have."""
        if self.is_lost:
            raise UsageError(f"another `radnet shard` has taken over {self.shown}; leave it to that one")
        if self._is_silent():
            away = f"{self.shown} could not be written to for more than {self.stale_s:.0f} s"
            raise UsageError(f"{away}: another `radnet shard` may have taken over; run again once the store answers")

    def acquire(self) -> None:
        """Create the next generation, or raise UsageError as `holding` does."""
        try:
            make_folder(store.join(self.root, "lease"))
            self.filesystem, self.folder = filesystem(store.join(self.root, "lease"))
            age_s = self._create()
        except Exception as error:  # stores raise their own kinds for a refusal, a wrong name, a dead network
            advice = f"({type(error).__name__}); check the URL, its permissions and the network"
            raise UsageError(f"{self.shown} cannot be locked {advice}") from None
        if age_s is not None:
            other = f"another `radnet shard` is writing to {self.shown} (last sign of life {age_s:.0f} s ago)"
            free_s = math.floor(self.stale_s - age_s) + 1
            raise UsageError(f"{other}; wait for it, or if its machine is gone run again in {free_s} s")

    def keep(self) -> None:
        """Give signs of life until the block ends or the lease is lost."""
        while not self.ended.wait(self.beat_s) and not self.is_lost and not self._is_silent():
            start = _now()
            with suppress(Exception):  # the store is away: the next beat tries again, and silence is counted
                self.is_lost = not self._is_mine()
                if not self.is_lost:
                    self.filesystem.pipe_file(self._path(self.generation), self._content(released=False))
                    self.last_sign = start  # no later than what the store will call the file's time

    def release(self) -> None:
        """Leave the output to the next driver; where the store is away, the lease runs out instead."""
        if self.is_lost or self._is_silent():
            return
        with suppress(Exception):
            self.filesystem.pipe_file(self._path(self.generation), self._content(released=True))
            for generation in self._generations():
                if generation < self.generation:
                    self.filesystem.rm_file(self._path(generation))

    def _create(self) -> float | None:
        """None if the next generation is ours now, else the seconds since another holder's last sign of life."""
        highest = max(self._generations(), default=0)
        content = self._read(highest) if highest else {"released": True}
        if not content.get("released") and (age_s := self._age_s(highest, content)) <= self.stale_s:
            return age_s
        self.generation, self.last_sign = highest + 1, _now()
        try:
            with self.filesystem.open(self._path(self.generation), "xb") as file:
                file.write(self._content(released=False))
        except Exception:  # not always a defeat: a request repeated after a lost answer meets its own first success
            if self.generation not in self._generations():
                raise
        return None if self._is_mine() else 0.0

    def _is_silent(self) -> bool:
        return _now() - self.last_sign > self.stale_s

    def _is_mine(self) -> bool:
        is_highest = max(self._generations(), default=0) == self.generation
        # A store without exclusive creation lets two write the same generation: the later one's token stands in it.
        return is_highest and self._read(self.generation).get("token") == self.token

    def _generations(self) -> list[int]:
        self.filesystem.invalidate_cache()  # some clients remember listings
        with suppress(FileNotFoundError):
            names = self.filesystem.ls(self.folder, detail=False)
            return [int(found[1]) for name in names if (found := _GENERATION.fullmatch(name))]
        return []

    def _age_s(self, generation: int, content: dict) -> float:
        """Seconds since a generation's last sign of life, by the store's clock, else by the clocks of both drivers."""
        probe = f"{self.folder}/probe-{self.token}"
        self.filesystem.pipe_file(probe, b"What time is it?")
        try:
            age = self.filesystem.modified(probe) - self.filesystem.modified(self._path(generation))
            return max(0.0, age.total_seconds())
        except (RuntimeError, KeyError, TypeError):  # it gives no times; NotImplementedError is a RuntimeError
            return max(0.0, time.time() - content.get("beat", 0.0))
        finally:
            self.filesystem.rm_file(probe)

    def _path(self, generation: int) -> str:
        return f"{self.folder}/{generation:06}.json"

    def _content(self, released: bool) -> bytes:
        return json.dumps({"token": self.token, "beat": time.time(), "released": released}).encode()

    def _read(self, generation: int) -> dict:
        with suppress(FileNotFoundError, ValueError):  # gone, or half-written on a store that shows such files
            return json.loads(self.filesystem.cat_file(self._path(generation)))
        return {}
