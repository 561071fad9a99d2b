"""How far a build is: a line for the terminal every few seconds, and counters on Ray's page of metrics."""

import time
from collections import Counter
from collections.abc import Callable

from radnet.shards.cluster import counter
from radnet.shards.ledger import STATUS, Code, Status
from radnet.shards.sample import Built

Say = Callable[[str], None]
INTERVAL_S = 2.0  # between two lines; a large archive has thousands of shards


class Pace:
    """Says when the next line is due: the first at once, then one every `interval_s` at most, and always the last."""

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self._interval_s, self._next_s = interval_s, 0.0

    def due(self, is_last: bool) -> bool:
        """True where a line is to be written now."""
        now = time.monotonic()
        if now < self._next_s and not is_last:
            return False
        self._next_s = now + self._interval_s
        return True


class Progress:
    """Shards, series, slices and bytes so far, per second of wall clock, and failed series by code."""

    def __init__(self, num_shards: int, num_series: int, say: Say, pace: Pace | None = None) -> None:
        self._num_shards, self._num_series, self._say = num_shards, num_series, say
        self._pace, self._start_s = pace or Pace(), time.monotonic()
        self._codes: Counter[str] = Counter()
        self._shards = self._slices = self._num_bytes = 0
        self._count_series = counter("radnet_series", "series that are done, by code of the ledger", "code")
        self._count_slices = counter("radnet_slices", "slices written to shards")
        self._count_bytes = counter("radnet_bytes", "bytes of shards written")

    def add(self, built: Built) -> None:
        """Count a finished shard, and say so where a line is due."""
        self._shards += 1
        self._codes.update(built.codes)
        self._slices += built.num_slices
        self._num_bytes += built.num_bytes
        for code, num in built.codes.items():
            self._count_series(num, code)
        self._count_slices(built.num_slices)
        self._count_bytes(built.num_bytes)
        if self._pace.due(is_last=self._shards == self._num_shards):
            self._say(self._line(built.name))

    def _line(self, name: str) -> str:
        seconds, series = max(time.monotonic() - self._start_s, 1e-9), self._codes.total()
        left_s = seconds * (self._num_series - series) / max(series, 1)
        failed = {code: num for code, num in self._codes.items() if STATUS[Code(code)] is Status.FAILED}
        by_code = ", ".join(f"{code} {num}" for code, num in sorted(failed.items()))
        return (
            f"{name}  shards {self._shards}/{self._num_shards}  series {series}/{self._num_series}  "
            f"{series / seconds:.1f} series/s  {self._slices / seconds:.0f} slices/s  "
            f"{self._num_bytes / seconds / 1e6:.1f} MB/s  {sum(failed.values())} failed"
            f"{f' ({by_code})' if by_code else ''}  {left_s:.0f} s left"
        )
