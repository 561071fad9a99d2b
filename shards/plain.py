"""Files as pydicom may read them: inflated, and with no more in them than a reader can bear.

pydicom inflates a whole deflated file before it reads a tag, and keeps some kilobytes for every item of a sequence,
however empty.
"""

import io
import zlib
from typing import BinaryIO

from radnet.shards.elements import DEFLATED, EXPLICIT
from radnet.shards.ledger import Code, SeriesError

MAX_INFLATED_BYTES = 64 << 20
MAX_ITEMS = 1 << 15  # of all sequences that pydicom reads in one file
MAX_READS = 1 << 18  # one to three for each element
_FIRST_BYTES = 16 << 10  # holds the header of most classic files
_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")


class Budget:
    """What is left to be read of one file."""

    def __init__(self) -> None:
        self.num_reads, self.num_items = MAX_READS, MAX_ITEMS


class Bounded(io.BufferedReader):
    """A file, or a part of it, that raises SeriesError(TOO_LARGE) where more is read from it than a header has."""

    name = ""  # pydicom asks every file for it

    def __init__(self, raw: BinaryIO, budget: Budget) -> None:
        super().__init__(raw)
        self._budget = budget

    def read(self, size: int | None = -1) -> bytes:
        """As of any file."""
        if size is None or size < 0:  # pydicom, about to inflate what `open_plain` did not recognise
            raise SeriesError(Code.UNREADABLE, "deflated, in an unusual form")
        found = super().read(size)
        self._budget.num_reads -= 1
        self._budget.num_items -= size == 8 and found[:4] in _ITEMS
        return found

    def tell(self) -> int:
        """As of any file. pydicom asks before every item and in every element, where it hides no exception."""
        if self._budget.num_items < 0:
            raise SeriesError(Code.TOO_LARGE, f"sequences of more than {MAX_ITEMS} items")
        if self._budget.num_reads < 0:
            raise SeriesError(Code.TOO_LARGE, "more elements than a header has")
        return super().tell()


def open_plain(path: str) -> tuple[BinaryIO, bytes]:
    """The file, unbuffered, and its first 16 KB, behind which it stands; a deflated file inflated, as the explicit one
    that it would have been.

    Raises SeriesError(TOO_LARGE) for what inflates beyond 64 MB.
    """
    file = open(path, "rb", buffering=0)
    start = file.read(_FIRST_BYTES)
    if DEFLATED.encode() not in start[:1024]:
        return file, start
    with file:
        inflated = io.BytesIO(_inflated(file, start))
    return inflated, inflated.read(_FIRST_BYTES)


def _inflated(file: BinaryIO, start: bytes) -> bytearray:
    at = 144 + int.from_bytes(start[140:144], "little")
    if start[132:138] != b"\x02\0\0\0UL" or at > len(start):
        raise SeriesError(Code.UNREADABLE, "deflated, and the length of the meta group is missing or wrong")
    content = bytearray(start[:at].replace(DEFLATED.encode(), EXPLICIT.encode().ljust(len(DEFLATED), b"\0")))
    file.seek(at)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    while not inflater.eof and (piece := inflater.unconsumed_tail or file.read(1 << 16)):
        content += inflater.decompress(piece, 1 << 20)
        if len(content) > MAX_INFLATED_BYTES:
            raise SeriesError(Code.TOO_LARGE, f"inflates beyond {MAX_INFLATED_BYTES} bytes")
    return content
