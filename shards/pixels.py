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
