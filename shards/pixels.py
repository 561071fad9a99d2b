"""Stored values out of files: our own reading of uncompressed pixels, pydicom and its decoders for the others."""

from collections.abc import Iterator

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder, iter_pixels

from radnet.shards import elements
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.public import transfer_syntax
from radnet.shards.record import FileRecord


def decode(record: FileRecord, indices: list[int]) -> Iterator[np.ndarray]:
    """The stored values of some frames of a file, each [H,W], in ascending frame order."""
    native = elements.native_frames(record, indices)
    if native is not None:
        yield from native
        return
    dataset = pydicom.dcmread(record.path, force=True)
    if not any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise SeriesError(Code.TRUNCATED, "the file ends before its pixels")
    if record.transfer_syntax not in (*elements.NATIVE_SYNTAXES, elements.DEFLATED):
        _check_frames(dataset, record)
    own = _OWN_DECODERS.get(record.transfer_syntax)
    if own:
        arrays = _decode_frames(dataset, record, indices, own)
    else:
        arrays = iter_pixels(dataset, indices=indices, raw=True, correct_unused_bits=False)
    for array in arrays:
        if array.shape != (record.rows, record.columns):
            raise SeriesError(Code.DECODE, f"decoded {array.shape}, the header says {record.rows} by {record.columns}")
        yield array


# What pydicom's decoders do not read: HTJ2K without a further package, JPEG of 12 bits (lossy) at all.
_OWN_DECODERS = dict.fromkeys((f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203)), "htj2k_decode")
_OWN_DECODERS["1.2.840.10008.1.2.4.51"] = "jpeg_decode"


def _decode_frames(dataset: Dataset, record: FileRecord, indices: list[int], name: str) -> Iterator[np.ndarray]:
    import imagecodecs

    function, kind = getattr(imagecodecs, name), f"{'i' if record.is_signed else 'u'}{record.bits_allocated // 8}"
    for number, frame in enumerate(generate_frames(dataset.PixelData, number_of_frames=record.num_frames)):
        if number in indices:
            yield function(frame).astype(kind)


def _check_frames(dataset: Dataset, record: FileRecord) -> None:
    """Refuse what a native decoder would choke on, die of or fill in silently, before it sees it."""
    if not _is_known(record.transfer_syntax):
        raise SeriesError(Code.UNSUPPORTED_SYNTAX, f"transfer syntax {transfer_syntax(record.transfer_syntax)}")
    for frame in generate_frames(dataset.PixelData, number_of_frames=record.num_frames):
        found = elements.codestream(frame)
        if found is not None and found[:3] != (record.rows, record.columns, 1):
            detail = f"codestream of {found.rows} by {found.columns}, {found.num_components} components"
            raise SeriesError(Code.DECODE, f"{detail}; the header says {record.rows} by {record.columns}")
        if found is not None and not 2 <= found.bits <= record.bits_allocated:
            raise SeriesError(Code.DECODE, f"codestream of {found.bits} bits, the header says {record.bits_allocated}")
        if elements.is_cut(frame):
            raise SeriesError(Code.TRUNCATED, "a compressed frame lacks its end")


def _is_known(uid: str) -> bool:
    if uid in _OWN_DECODERS:
        return True
    try:
        return get_decoder(uid).is_available
    except NotImplementedError:
        return False
