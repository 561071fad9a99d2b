"""Files with more elements and items than any reader can keep: each maker writes one case and returns its files."""

import struct
import zlib
from pathlib import Path

import numpy as np
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    RLELossless,
)

from tests.series import image, stored_voxels, write

DEFLATED = DeflatedExplicitVRLittleEndian
PRIVATE, PER_FRAME, SHARED, PIXELS = 0x00111001, 0x52009230, 0x52009229, 0x7FE00010
UNDEFINED = 0xFFFFFFFF


def element(tag: int, vr: bytes, value: bytes, order: str, length: int | None = None) -> bytes:
    """An element of explicit syntax with a length of four bytes; length: another than the value has."""
    return struct.pack(order + "2H2s2xI", tag >> 16, tag & 0xFFFF, vr, len(value) if length is None else length) + value


def item(content: bytes, order: str) -> bytes:
    return struct.pack(order + "2HI", 0xFFFE, 0xE000, len(content)) + content


def end_of_sequence(order: str) -> bytes:
    return struct.pack(order + "2HI", 0xFFFE, 0xE0DD, 0)


def written(folder: Path, inserted: bytes, syntax: str, num_frames: int = 1) -> list[str]:
    """Two slices, or one enhanced file of several frames of one pixel, with raw elements before the pixels."""
    files = []
    for number, pixels in enumerate(stored_voxels(1 if num_frames > 1 else 2)):
        dataset = image(pixels, [0, 0, 2.0 * number], "MR")
        if num_frames > 1:
            dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = EnhancedMRImageStorage
            dataset.Rows = dataset.Columns = 1
            dataset.NumberOfFrames, dataset.PixelData = num_frames, np.zeros(num_frames, np.int16).tobytes()
        if syntax == RLELossless:
            dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == DEFLATED else syntax
        path = Path(write(folder / f"{number}.dcm", dataset))
        content = path.read_bytes()
        at = content.rindex(struct.pack(_order(syntax) + "2H", PIXELS >> 16, PIXELS & 0xFFFF))
        path.write_bytes(content[:at] + inserted + content[at:])
        if syntax == DEFLATED:
            _deflate(path)
        files.append(str(path))
    return files


def _order(syntax: str) -> str:
    return ">" if syntax == ExplicitVRBigEndian else "<"


def _deflate(path: Path) -> None:
    """The file again, deflated behind its meta group, whose syntax is put right."""
    content = path.read_bytes()
    at = 144 + int.from_bytes(content[140:144], "little")
    old, new = ExplicitVRLittleEndian.encode() + b"\0", DEFLATED.encode()
    meta = content[144:at].replace(struct.pack("<H", len(old)) + old, struct.pack("<H", len(new)) + new)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = squeeze.compress(content[at:]) + squeeze.flush()
    path.write_bytes(content[:140] + struct.pack("<I", len(meta)) + meta + body)


def private_items(folder: Path, count: int, syntax: str, is_defined: bool = False) -> list[str]:
    """A private sequence of empty items, without a length unless is_defined."""
    order = _order(syntax)
    items = item(b"", order) * count
    if is_defined:
        return written(folder, element(PRIVATE, b"SQ", items, order), syntax)
    inserted = element(PRIVATE, b"SQ", items + end_of_sequence(order), order, UNDEFINED)
    return written(folder, inserted, syntax)


def frame_items(folder: Path, count: int, syntax: str) -> list[str]:
    """Empty per-frame items, as many as there are frames."""
    order = _order(syntax)
    return written(folder, element(PER_FRAME, b"SQ", item(b"", order) * count, order), syntax, count)


def nested_items(folder: Path, num_frames: int, count: int, syntax: str = ExplicitVRLittleEndian) -> list[str]:
    """Per-frame items that each hold `count` empty items where one is meant, in FrameContentSequence."""
    order = _order(syntax)
    groups = item(element(0x00209111, b"SQ", item(b"", order) * count, order), order)
    return written(folder, element(PER_FRAME, b"SQ", groups * num_frames, order), syntax, num_frames)


def shared_items(folder: Path, num_frames: int, count: int, syntax: str = ExplicitVRLittleEndian) -> list[str]:
    """Empty per-frame items, and `count` items where one is meant in what all frames share."""
    order = _order(syntax)
    groups = item(element(0x00289110, b"SQ", item(b"", order) * count, order), order)
    inserted = element(SHARED, b"SQ", groups, order)
    return written(
        folder, inserted + element(PER_FRAME, b"SQ", item(b"", order) * num_frames, order), syntax, num_frames
    )


def elements(folder: Path, count: int, syntax: str) -> list[str]:
    """As many empty elements, all of one tag."""
    order = _order(syntax)
    one = struct.pack(order + "2H2sH", PRIVATE >> 16, PRIVATE & 0xFFFF, b"LO", 0)
    return written(folder, one * count, syntax)
