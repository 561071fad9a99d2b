"""Is a sample what was written? Its members' crc32 against labels.parquet, ahead of the reader or after it failed."""

import json
import os
import zlib
from concurrent.futures import Future, ThreadPoolExecutor

from radnet.part import Part, damaged
from radnet.samples import Samples

AHEAD = 32  # samples that are checked before they are read
BLOCK = 1 << 22


class Checksums:
    """Checks the samples of a part in its order, in a thread of its own, a few ahead of the reader: what it has read is
    in the page cache when DALI comes."""

    def __init__(self, part: Part, samples: Samples) -> None:
        self._part, self._samples = part, samples
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="radnet-crc")
        self._found: dict[int, Future[bool]] = {}

    def wait(self, rows: slice) -> None:
        """Return when these positions have been checked. Raises UsageError that names the first that is damaged."""
        total = len(self._part.number)
        for row in range(rows.start, min(rows.stop + AHEAD, total)):
            if row not in self._found:
                self._found[row] = self._pool.submit(is_whole, self._part, self._samples, row)
        for row in range(rows.start, min(rows.stop, total)):
            if not self._found.pop(row).result():
                raise damaged(self._samples, int(self._part.number[row]), self._part.tars[row])


def is_whole(part: Part, samples: Samples, row: int) -> bool:
    """True if all members of the sample at this position of the part have the checksum they were written with."""
    number = int(part.number[row])
    wanted = json.loads(samples.crc32[number])
    with open(part.tars[row], "rb", buffering=0) as file:
        for member in part.members[number]:
            crc, at, end = 0, member.offset, member.offset + member.num_bytes
            while at < end:
                block = os.pread(file.fileno(), min(BLOCK, end - at), at)
                if not block:
                    return False
                crc, at = zlib.crc32(block, crc), at + len(block)
            if crc != wanted.get(member.suffix):
                return False
    return True


def diagnose(part: Part, samples: Samples, rows: slice, error: Exception) -> Exception:
    """What to raise for a micro-batch that DALI could not read: the damaged sample by name, else its own words."""
    for row in range(rows.start, min(rows.stop, len(part.number))):
        if not is_whole(part, samples, row):
            return damaged(samples, int(part.number[row]), part.tars[row])
    told = " ".join(str(error).split())[:300]
    return RuntimeError(f"DALI failed at {', '.join(part.keys[rows])}, whose bytes are whole: {told}")
