"""The only door that reads DICOM, with pixels.py: a header into a FileRecord, a series into a Volume.

Everything pydicom and the native decoders throw at a file is caught in `guard` and becomes a SeriesError.
"""

import io
import logging
import stat
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO

import numpy as np
import pydicom
import pydicom.config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_sequence

from radnet.shards import elements, geometry, packed, walker
from radnet.shards.assemble import assemble, real_values, used_bits
from radnet.shards.elements import DEFLATED
from radnet.shards.geometry import Slice
from radnet.shards.guard import guard, status_of
from radnet.shards.header import KEYWORDS, PRIVATE_TAGS, describe
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.pixels import decode
from radnet.shards.plain import Bounded, Budget, open_plain
from radnet.shards.record import FileRecord
from radnet.volume import Volume

# pydicom's warnings quote values, and values can be names.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

MAX_HEADER_BYTES = 16 << 20  # more of it is left to pydicom, which does not keep what is not asked for
_tag = cache(tag_for_keyword)
_vr = cache(dictionary_VR)
_READ = frozenset([*map(_tag, KEYWORDS), *PRIVATE_TAGS])
_POSITION = _tag("ImagePositionPatient")


@dataclass
class Reading:
    """A stack that became a volume. header: allow-listed values of the middle slice plus num_slices,
    slice_spacing_mm and extent_mm (both along the normal). notes: what was left out or changed, for provenance."""

    volume: Volume
    header: dict[str, Any]
    notes: list[str]


def read_header(path: str) -> FileRecord:
    """The header of one file; never raises for what the file holds, only OSError or MemoryError of the machine.

    `code` of the record: OK for an image that may be part of a volume; NOT_DICOM; NOT_AN_IMAGE; UNREADABLE where the
    file is damaged or cannot be opened; else the rule that refuses it. Pixels are not read; inflating is bounded.
    """
    record = FileRecord(path=path)
    try:
        with guard(Code.UNREADABLE):
            _fill(record)
    except SeriesError as error:
        record.code, record.detail = error.code, error.detail
    return record


def _fill(record: FileRecord) -> None:
    status = status_of(record.path)
    if not stat.S_ISREG(status.st_mode):
        raise SeriesError(Code.UNREADABLE, "a folder that cannot be listed, or not a regular file")
    record.num_bytes, record.mtime_ns = status.st_size, status.st_mtime_ns
    if not record.num_bytes:
        raise SeriesError(Code.UNREADABLE, "the file is empty")
    file, start = open_plain(record.path)
    is_inflated = isinstance(file, io.BytesIO)
    with file:
        size = len(file.getbuffer()) if is_inflated else record.num_bytes
        has_magic = start[128:132] == b"DICM"
        if not has_magic and start[:2] not in (b"\x08\0", b"\0\x08", b"\x02\0", b"\0\x02"):
            raise SeriesError(Code.NOT_DICOM, packed.detail(record.path, start))
        try:
            offset = _fill_by_walking(record, file, start, size)
        except walker.Unusual:
            offset = _fill_by_pydicom(record, file, has_magic)
    if is_inflated:
        record.transfer_syntax = DEFLATED
    else:
        record.pixel_offset = offset
    if record.transfer_syntax in elements.NATIVE_SYNTAXES:
        num_pixel_bytes = elements.num_pixel_bytes(record)
        found = size - offset - elements.pixel_header_bytes(record)
        if record.code is Code.OK and found < num_pixel_bytes:
            raise SeriesError(Code.TRUNCATED, f"{max(found, 0)} of {num_pixel_bytes} bytes of pixels")


def _fill_by_walking(record: FileRecord, file: BinaryIO, buffer: bytes, size: int) -> int:
    """Fill `record` from the start of a file of `size` bytes, and more and more of it; returns where the pixels start.

    Raises walker.Unusual where pydicom should read the file.
    """
    if buffer[128:132] != b"DICM":
        raise walker.Unusual
    while True:
        try:
            header = walker.read(buffer, len(buffer) >= size, _READ)
            break
        except walker.Incomplete:
            piece = file.read(min(3 * len(buffer), MAX_HEADER_BYTES - len(buffer)))
            if not piece:
                raise walker.Unusual from None
            buffer += piece
    record.sop_class, record.transfer_syntax = header.sop_class, header.transfer_syntax
    describe(record, _Walked(header.data))
    return header.pixel_offset


def _fill_by_pydicom(record: FileRecord, file: BinaryIO, has_magic: bool) -> int:
    """Fill `record`; returns where the pixels start."""
    file.seek(0)
    budget = Budget()
    buffered = Bounded(file, budget)
    dataset = pydicom.dcmread(buffered, stop_before_pixels=True, force=True, specific_tags=list(_READ))
    offset = buffered.tell()
    buffered.detach()
    meta = getattr(dataset, "file_meta", None) or Dataset()
    record.sop_class = str(meta.get("MediaStorageSOPClassUID", ""))
    record.transfer_syntax = str(meta.get("TransferSyntaxUID", "")) or _guessed_syntax(dataset)
    if not has_magic and "SOPClassUID" not in dataset:
        raise SeriesError(Code.NOT_DICOM)
    describe(record, _Elements(dataset, budget))
    return offset


def _guessed_syntax(dataset: Dataset) -> str:
    is_implicit, is_little = dataset.original_encoding
    return elements.IMPLICIT if is_implicit else elements.EXPLICIT if is_little else elements.BIG_ENDIAN


class _Walked:
    """What the walker found, as header.py wants it: by keyword."""

    def __init__(self, data: walker.DataSet) -> None:
        self._data = data

    def text(self, keyword: str) -> str:
        return self._data.text(_tag(keyword))

    def numbers(self, keyword: str) -> list[float | int]:
        tag = _tag(keyword)
        return self._data.numbers(tag, _vr(tag))

    def private_text(self, tag: int) -> str:
        return self._data.text(tag)

    def private_numbers(self, tag: int, vr: str) -> list[float | int]:
        return self._data.numbers(tag, vr)

    def items(self, keyword: str) -> list["_Walked"]:
        return [_Walked(item) for item in self._data.items(_tag(keyword))]

    def fingerprint(self) -> Hashable | None:
        return self._data.fingerprint(_POSITION)


class _Elements:
    """A pydicom data set as header.py wants it: raw bytes are read by our own rules, which never raise."""

    def __init__(self, dataset: Dataset, budget: Budget) -> None:
        self._dataset, self._budget = dataset, budget

    def text(self, keyword: str) -> str:
        return self.private_text(_tag(keyword))

    def numbers(self, keyword: str) -> list[float | int]:
        return self.private_numbers(_tag(keyword), "")

    def private_text(self, tag: int) -> str:
        element = self._dataset.get_item(tag)
        return "" if element is None else elements.text(element.value)

    def private_numbers(self, tag: int, vr: str) -> list[float | int]:
        element = self._dataset.get_item(tag)
        if element is None:
            return []
        known = element.VR not in (None, "UN")
        vr = str(element.VR) if known else vr or _vr(tag)
        return elements.numbers(element.value, vr, getattr(element, "is_little_endian", True))

    def items(self, keyword: str) -> list["_Elements"]:
        element = self._dataset.get_item(_tag(keyword))
        found = None if element is None else element.value
        if isinstance(found, bytes):  # pydicom would read it without a bound
            file, is_implicit = Bounded(io.BytesIO(found), self._budget), getattr(element, "is_implicit_VR", True)
            found = read_sequence(file, is_implicit, getattr(element, "is_little_endian", True), len(found), "latin-1")
        return [_Elements(item, self._budget) for item in found or []]

    def fingerprint(self) -> None:
        return None


def read_volume(
    files: Sequence[str],
    *,
    stack: int = 0,
    min_slices: int = 16,
    max_voxels: int = 1 << 30,
    max_spacing_mm: float = 15.0,
) -> Reading:
    """One stack of a series as one volume.

    files: the files of one series, in any order; copies and strays are left out with a note. stack: which of the stacks
    that `geometry.split` finds, 0 is the largest. min_slices: at least 2. max_voxels bounds what is allocated. Raises
    SeriesError with the code that ledger.py explains; its detail names no file and no patient. Raises OSError or
    MemoryError where the machine is at fault.
    """
    records = [read_header(path) for path in sorted(files)]
    if len({record.series_uid for record in records if record.series_uid}) > 1:
        raise SeriesError(Code.CHANGED, "the files hold more than one series")
    series, notes = geometry.usable(records)
    candidates = geometry.split(series)
    if stack >= len(candidates):
        raise SeriesError(Code.CHANGED, f"stack {stack} of {len(candidates)}")
    chosen = candidates[stack]
    if chosen.code is not Code.OK:
        raise SeriesError(chosen.code, chosen.detail)
    groups = geometry.by_position(chosen.slices)
    num_voxels = len(groups) * groups[0][0].record.rows * groups[0][0].record.columns
    if num_voxels > max_voxels:
        raise SeriesError(Code.TOO_LARGE, f"{num_voxels} voxels, max_voxels is {max_voxels}")
    if len(groups) < max(min_slices, 2):
        raise SeriesError(Code.TOO_FEW_SLICES, f"{len(groups)} slices, min_slices is {min_slices}")
    with guard(Code.DECODE):
        slices, copies = _without_copies(groups)
        grid = geometry.arrange(slices, max_spacing_mm)
        voxels, changes = assemble(grid, decode)
    if len(candidates) > 1:
        notes.append(f"stack {stack} of {len(candidates)}: {chosen.name}")
    header = geometry.header_of(grid.slices, series, grid.slice_spacing_mm)
    volume = Volume(voxels, grid.spacing_mm, grid.origin_mm, grid.direction)
    return Reading(volume, header, notes + copies + changes)


def stored_slice(path: str, frame: int) -> np.ndarray:
    """[rows, columns] of stored values of one frame, without unused bits. Raises as `read_volume`."""
    record = read_header(path)
    if record.code is not Code.OK:
        raise SeriesError(record.code, record.detail)
    with guard(Code.DECODE):
        return used_bits(next(decode(record, [frame])), record)


def _without_copies(groups: list[list[Slice]]) -> tuple[list[Slice], list[str]]:
    """One slice at each position. Headers do not tell apart the slices that share one: their pixels must be equal."""
    repeated = [group for group in groups if len(group) > 1]
    if not repeated:
        return [group[0] for group in groups], []
    if not all(map(_are_copies, repeated)):
        counts = {len(group) for group in groups}
        detail = f"{sum(map(len, groups))} images at {len(groups)} positions, and not all that share one are equal"
        raise SeriesError(Code.TIME_SERIES if len(counts) == 1 else Code.DUPLICATE_POSITION, detail)
    num_copies = sum(len(group) - 1 for group in repeated)
    return [group[0] for group in groups], [f"left out {num_copies} copies of slices"]


def _are_copies(group: list[Slice]) -> bool:
    def real(slice_: Slice) -> np.ndarray:
        stored = next(decode(slice_.record, [slice_.frame.index]))
        return real_values(used_bits(stored, slice_.record), slice_)

    reference = real(group[0])
    return all(np.array_equal(real(slice_), reference) for slice_ in group[1:])
