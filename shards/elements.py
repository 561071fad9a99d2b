"""Raw DICOM bytes into Python values and uncompressed pixels, without trusting them."""

import os
import re
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from radnet.shards.ledger import Code, SeriesError
from radnet.shards.record import FileRecord

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
NATIVE_SYNTAXES = (IMPLICIT, EXPLICIT, BIG_ENDIAN)
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
_MAX_VALUES = 16
_MAX_TEXT_BYTES = 64 << 10  # the labels need a hundred
_J2K_START = b"\xff\x4f\xff\x51"
_SCAN, _LOSSLESS, _RESTARTS = 0xDA, 0xC3, 0xDD  # JPEG markers: SOS, SOF3, DRI
_NOT_A_NUMBER = [float("nan")]


def text(value: Any) -> str:
    """The text of an element's raw value, backslash between values; "" for None.

    UTF-8 where it is valid, else Latin-1: enough to find the Western words that labels look for in any character set.
    """
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value[:_MAX_TEXT_BYTES]
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            value = value.decode("latin-1")
    elif not isinstance(value, str) and hasattr(value, "__iter__"):
        value = "\\".join(map(str, value))
    return str(value).strip(" \0\t\r\n")


def numbers(value: Any, vr: str, is_little_endian: bool) -> list[float | int]:
    """The numbers of an element's raw value, at most 16; empty where it has none, [nan] where one cannot be read."""
    code = _BINARY.get(vr[:2])
    if isinstance(value, bytes) and code:
        count = min(len(value) // struct.calcsize(code), _MAX_VALUES)
        form = struct.Struct(("<" if is_little_endian else ">") + code * count)
        return list(form.unpack_from(value)) if count else []
    parts = text(value).split("\\")[:_MAX_VALUES]
    if parts == [""]:
        return []
    try:
        found = [float(part) for part in parts]
    except ValueError:
        return list(_NOT_A_NUMBER)
    is_whole = all(re.fullmatch(r"\s*[+-]?\d{1,15}\s*", part) for part in parts)
    return [int(number) for number in found] if is_whole else found


class Codestream(NamedTuple):
    """What a JPEG-family frame declares of itself."""

    rows: int
    columns: int
    num_components: int
    bits: int


def codestream(frame: bytes) -> Codestream | None:
    """What a JPEG 2000, JPEG or JPEG-LS frame declares; None where it declares nothing.

    Decoders allocate what the codestream asks for, and some die of numbers that make no sense, so it is compared with
    the header first.
    """
    start = frame.find(_J2K_START, 0, 4096)
    if start >= 0 and len(frame) >= start + 43:
        length, _, x_size, y_size, x_offset, y_offset, x_tile, y_tile = struct.unpack_from(">2H6I", frame, start + 4)
        num_components, bits = struct.unpack_from(">HB", frame, start + 40)
        if length != 38 + 3 * num_components or not x_tile or not y_tile:
            num_components = 0  # no such codestream
        return Codestream(y_size - y_offset, x_size - x_offset, num_components, (bits & 0x7F) + 1)
    for marker, at in _jpeg_segments(frame):
        if (marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC))) and at + 8 <= len(frame):
            bits, rows, columns, num_components = struct.unpack_from(">B2HB", frame, at + 2)
            return Codestream(rows, columns, num_components, bits)
    return None


def _jpeg_segments(frame: bytes) -> Iterator[tuple[int, int]]:
    """Marker and place of the length of every segment of a JPEG frame, up to its first scan."""
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        yield marker, at + 2
        if marker == _SCAN:
            return
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")


def is_plain_lossless(frame: bytes) -> bool:
    """True for JPEG lossless without restart intervals and without a point transform."""
    segments = dict(_jpeg_segments(frame))
    if _SCAN not in segments or _LOSSLESS not in segments or _RESTARTS in segments:
        return False
    at = segments[_SCAN]
    return frame[at + 7 : at + 8] == b"\0"  # a scan of one component: its last byte


def is_cut(frame: bytes) -> bool:
    """True where a JPEG-family frame lacks its end marker: decoders fill the rest with grey and say nothing."""
    return codestream(frame) is not None and b"\xff\xd9" not in frame[-16:]


def pixel_header_bytes(record: FileRecord) -> int:
    """Bytes before the first pixel of the pixel element: tag and length, and in explicit syntaxes the VR."""
    return 8 if record.transfer_syntax == IMPLICIT else 12


def num_pixel_bytes(record: FileRecord) -> int:
    """Bytes of uncompressed pixels that the header of a file promises."""
    return record.num_frames * record.rows * record.columns * record.bits_allocated // 8


def native_frames(record: FileRecord, indices: list[int]) -> Iterator[np.ndarray] | None:
    """Stored values of some frames of uncompressed pixels, each [H,W] in the machine's byte order.

    None where the pixels are compressed or packed in another way. Raises SeriesError(TRUNCATED) where the element or
    the file ends before the last frame that the header promises.
    """
    if record.transfer_syntax not in NATIVE_SYNTAXES or record.bits_allocated not in (8, 16, 32):
        return None
    is_big = record.transfer_syntax == BIG_ENDIAN
    with open(record.path, "rb") as file:
        file.seek(record.pixel_offset)
        head = file.read(pixel_header_bytes(record))
        length = int.from_bytes(head[-4:], "big" if is_big else "little")
        found = min(os.fstat(file.fileno()).st_size - file.tell(), length)
    is_pixel_data = head[:4] == (b"\x7f\xe0\x00\x10" if is_big else b"\xe0\x7f\x10\x00")
    if not is_pixel_data or length == 0xFFFFFFFF or (is_big and record.bits_allocated == 8):
        return None
    if found < num_pixel_bytes(record):
        raise SeriesError(Code.TRUNCATED, f"{found} of {num_pixel_bytes(record)} bytes of pixels")
    return _read_frames(record, indices, f"{'>' if is_big else '<'}{'i' if record.is_signed else 'u'}")


def _read_frames(record: FileRecord, indices: list[int], kind: str) -> Iterator[np.ndarray]:
    """Frame by frame, so that a multi-frame file is never in memory beside its volume."""
    num_bytes = num_pixel_bytes(record) // record.num_frames
    with open(record.path, "rb") as file:
        for index in indices:
            file.seek(record.pixel_offset + pixel_header_bytes(record) + index * num_bytes)
            content = file.read(num_bytes)
            if len(content) < num_bytes:
                raise SeriesError(Code.TRUNCATED, "the file became shorter while it was read")
            frame = np.frombuffer(content, f"{kind}{record.bits_allocated // 8}").reshape(record.rows, record.columns)
            yield frame.astype(frame.dtype.newbyteorder("="), copy=False)
