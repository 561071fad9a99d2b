"""The only door that reads DICOM: a header into a FileRecord, a series into a Volume.

Everything pydicom and the native decoders throw at a file is caught in `guard` and becomes a SeriesError.
"""

import logging
import stat
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO

import numpy as np
import pydicom
import pydicom.config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder, iter_pixels

from radnet.shards import elements, geometry
from radnet.shards.assemble import assemble, real_values, used_bits
from radnet.shards.geometry import Slice
from radnet.shards.guard import guard, status_of
from radnet.shards.header import KEYWORDS, PRIVATE_B_VALUE, describe
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.public import transfer_syntax
from radnet.shards.record import FileRecord
from radnet.volume import Volume

# pydicom's warnings quote values, and values can be names.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

MAX_INFLATED_BYTES = 256 << 20
_DEFLATED = "1.2.840.10008.1.2.1.99"
_tag = cache(tag_for_keyword)
_READ = [*map(_tag, KEYWORDS), *(tag for tag, _ in PRIVATE_B_VALUE.values())]


@dataclass
class Reading:
    """A series that became a volume. header: allow-listed values of the middle slice plus num_slices,
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
    with open(record.path, "rb") as file:
        start = file.read(1024)
        has_magic = start[128:132] == b"DICM"
        if not has_magic and start[:2] not in (b"\x08\0", b"\0\x08", b"\x02\0", b"\0\x02"):
            raise SeriesError(Code.NOT_DICOM)
        if _DEFLATED.encode() in start:
            _refuse_bomb(file, start)
        file.seek(0)
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_READ)
        offset = file.tell()
    meta = getattr(dataset, "file_meta", None) or Dataset()
    record.sop_class = str(meta.get("MediaStorageSOPClassUID", ""))
    record.transfer_syntax = str(meta.get("TransferSyntaxUID", "")) or _guessed_syntax(dataset)
    if not has_magic and "SOPClassUID" not in dataset:
        raise SeriesError(Code.NOT_DICOM)
    describe(record, _Elements(dataset))
    if record.transfer_syntax in elements.NATIVE_SYNTAXES:
        record.pixel_offset = offset
        num_pixel_bytes = elements.num_pixel_bytes(record)
        found = record.num_bytes - offset - elements.pixel_header_bytes(record)
        if record.code is Code.OK and found < num_pixel_bytes:
            raise SeriesError(Code.TRUNCATED, f"{max(found, 0)} of {num_pixel_bytes} bytes of pixels")


def _guessed_syntax(dataset: Dataset) -> str:
    is_implicit, is_little = dataset.original_encoding
    return elements.IMPLICIT if is_implicit else elements.EXPLICIT if is_little else elements.BIG_ENDIAN


class _Elements:
    """A pydicom data set as header.py wants it: raw bytes are read by our own rules, which never raise."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def text(self, keyword: str) -> str:
        element = self._dataset.get_item(_tag(keyword))
        return "" if element is None else elements.text(element.value)

    def numbers(self, keyword: str) -> list[float | int]:
        return self._numbers(_tag(keyword), "")

    def private_numbers(self, tag: int, vr: str) -> list[float | int]:
        return self._numbers(tag, vr)

    def items(self, keyword: str) -> list["_Elements"]:
        return [_Elements(item) for item in self._dataset.get(keyword) or []]

    def _numbers(self, tag: int, vr: str) -> list[float | int]:
        element = self._dataset.get_item(tag)
        if element is None:
            return []
        known = element.VR not in (None, "UN")
        vr = str(element.VR) if known else vr or dictionary_VR(tag)
        return elements.numbers(element.value, vr, getattr(element, "is_little_endian", True))


def _refuse_bomb(file: BinaryIO, start: bytes) -> None:
    """pydicom inflates a whole deflated file before it reads a tag, so measure first, in pieces thrown away."""
    if start[132:138] != b"\x02\0\0\0UL":
        raise SeriesError(Code.UNREADABLE, "deflated, and the length of the meta group is missing")
    file.seek(144 + int.from_bytes(start[140:144], "little"))
    inflater, num_inflated = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while piece := inflater.unconsumed_tail or file.read(1 << 16):
        num_inflated += len(inflater.decompress(piece, 1 << 20))
        if num_inflated > MAX_INFLATED_BYTES:
            raise SeriesError(Code.TOO_LARGE, f"inflates beyond {MAX_INFLATED_BYTES} bytes")
        if inflater.eof:
            return


def read_volume(
    files: Sequence[str],
    *,
    stack: int = 0,
    min_slices: int = 16,
    max_voxels: int = 1 << 30,
    max_spacing_mm: float = 15.0,
) -> Reading:
    """One series as one volume.

    files: the files of one series, in any order; copies and strays are left out with a note. min_slices: at least 2.
    max_voxels bounds what is allocated. Raises SeriesError with the code that ledger.py explains; its detail names no
    file and no patient. Raises OSError or MemoryError where the machine is at fault.
    """
    records = [read_header(path) for path in sorted(files)]
    if len({record.series_uid for record in records if record.series_uid}) > 1:
        raise SeriesError(Code.CHANGED, "the files hold more than one series")
    slices, notes = geometry.usable(records)
    slices, strays = geometry.largest_stack(slices, max(min_slices, 2))
    num_voxels = len(slices) * slices[0].record.rows * slices[0].record.columns
    if num_voxels > max_voxels:
        raise SeriesError(Code.TOO_LARGE, f"{num_voxels} voxels, max_voxels is {max_voxels}")
    with guard(Code.DECODE):
        slices, copies = _without_duplicates(geometry.by_position(slices))
        if len(slices) < max(min_slices, 2):
            raise SeriesError(Code.TOO_FEW_SLICES, f"{len(slices)} slices, min_slices is {min_slices}")
        stack = geometry.arrange(slices, max_spacing_mm)
        voxels, changes = assemble(stack, _decode)
    header = stack.slices[len(slices) // 2].record.header | {
        "num_slices": len(slices),
        "slice_spacing_mm": stack.slice_spacing_mm,
        "extent_mm": len(slices) * stack.slice_spacing_mm,
    }
    volume = Volume(voxels, stack.spacing_mm, stack.origin_mm, stack.direction)
    return Reading(volume, header, notes + strays + copies + changes)


def _without_duplicates(groups: list[list[Slice]]) -> tuple[list[Slice], list[str]]:
    repeated = [group for group in groups if len(group) > 1]
    if not repeated or len(groups) == 1:
        return [group[0] for group in groups], []
    if not _are_copies(repeated[len(repeated) // 2]):
        kept, notes = geometry.split_by_header(groups)
        return [slice_ for group in geometry.by_position(kept) for slice_ in group], notes
    if not all(map(_are_copies, repeated)):
        raise SeriesError(Code.DUPLICATE_POSITION, "some images that share a position are copies, others differ")
    num_copies = sum(len(group) - 1 for group in repeated)
    return [group[0] for group in groups], [f"left out {num_copies} copies of slices"]


def _are_copies(group: list[Slice]) -> bool:
    def real(slice_: Slice) -> np.ndarray:
        stored = next(_decode(slice_.record, [slice_.frame.index]))
        return real_values(used_bits(stored, slice_.record), slice_)

    reference = real(group[0])
    return all(np.array_equal(real(slice_), reference) for slice_ in group[1:])


def _decode(record: FileRecord, indices: list[int]) -> Iterator[np.ndarray]:
    """The stored values of some frames of a file, each [H,W], in ascending frame order."""
    native = elements.native_frames(record)
    if native is not None:
        yield from (native[index] for index in indices)
        return
    dataset = pydicom.dcmread(record.path, force=True)
    if not any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise SeriesError(Code.TRUNCATED, "the file ends before its pixels")
    if record.transfer_syntax not in (*elements.NATIVE_SYNTAXES, _DEFLATED):
        _check_frames(dataset, record)
    for array in iter_pixels(dataset, indices=indices, raw=True, correct_unused_bits=False):
        if array.shape != (record.rows, record.columns):
            raise SeriesError(Code.DECODE, f"decoded {array.shape}, the header says {record.rows} by {record.columns}")
        yield array


def _check_frames(dataset: Dataset, record: FileRecord) -> None:
    """Refuse what a native decoder would choke on or fill in silently, before it sees it."""
    try:
        is_known = get_decoder(record.transfer_syntax).is_available
    except NotImplementedError:
        is_known = False
    if not is_known:
        raise SeriesError(Code.UNSUPPORTED_SYNTAX, f"transfer syntax {transfer_syntax(record.transfer_syntax)}")
    for frame in generate_frames(dataset.PixelData, number_of_frames=record.num_frames):
        shape = elements.codestream_shape(frame)
        if shape is not None and shape != (record.rows, record.columns):
            raise SeriesError(Code.DECODE, f"codestream of {shape}, the header says {record.rows} by {record.columns}")
        if elements.is_cut(frame):
            raise SeriesError(Code.TRUNCATED, "a compressed frame lacks its end")
