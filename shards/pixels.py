"""Stored values out of files: our own reading of uncompressed pixels, pydicom and its decoders for the others."""

from collections.abc import Iterator

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filereader import read_dataset
from pydicom.pixels import get_decoder, iter_pixels
from pydicom.uid import RLELossless

from radnet.shards import elements
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.plain import Bounded, Budget, open_plain
from radnet.shards.public import transfer_syntax
from radnet.shards.record import FileRecord


def decode(record: FileRecord, indices: list[int]) -> Iterator[np.ndarray]:
    """The stored values of some frames of a file, each [H,W], in ascending frame order."""
    native = elements.native_frames(record, indices)
    if native is not None:
        yield from native
        return
    if record.transfer_syntax in (*elements.NATIVE_SYNTAXES, elements.DEFLATED):
        file, _ = open_plain(record.path)
        file.seek(0)
        with Bounded(file, Budget()) as bounded:
            dataset = pydicom.dcmread(bounded, force=True)
        arrays = iter_pixels(dataset, indices=indices, raw=True, correct_unused_bits=False)
    else:
        dataset = _pixel_group(record)
        arrays = _decompressed(dataset, record, indices)
    if not any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise SeriesError(Code.TRUNCATED, "the file ends before its pixels")
    for array in arrays:
        if array.shape != (record.rows, record.columns):
            raise SeriesError(Code.DECODE, f"decoded {array.shape}, the header says {record.rows} by {record.columns}")
        yield array


def _pixel_group(record: FileRecord) -> Dataset:
    """The compressed pixels and what stands beside them; all else of the header is known."""
    with Bounded(open(record.path, "rb", buffering=0), Budget()) as file:
        file.seek(record.pixel_offset)
        return read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 0x7FE0)


def _decompressed(dataset: Dataset, record: FileRecord, indices: list[int]) -> Iterator[np.ndarray]:
    if not _is_known(record.transfer_syntax):
        raise SeriesError(Code.UNSUPPORTED_SYNTAX, f"transfer syntax {transfer_syntax(record.transfer_syntax)}")
    offsets = None
    if "ExtendedOffsetTable" in dataset:
        offsets = dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths
    frames = generate_frames(dataset.PixelData, number_of_frames=record.num_frames, extended_offsets=offsets)
    wanted = set(indices)
    for number, frame in enumerate(frames):
        if number in wanted:
            _check(frame, record)
            yield _decode_frame(frame, record)
        if number == indices[-1]:
            return


def _check(frame: bytes, record: FileRecord) -> None:
    """Refuse what a native decoder would choke on, die of or fill in silently, before it sees it."""
    found = elements.codestream(frame)
    if found is None:
        if record.transfer_syntax == RLELossless:
            return
        raise SeriesError(Code.DECODE, "a compressed frame that declares no image")
    if found[:3] != (record.rows, record.columns, 1):
        detail = f"codestream of {found.rows} by {found.columns}, {found.num_components} components"
        raise SeriesError(Code.DECODE, f"{detail}; the header says {record.rows} by {record.columns}")
    if not 2 <= found.bits <= record.bits_allocated:
        raise SeriesError(Code.DECODE, f"codestream of {found.bits} bits, the header says {record.bits_allocated}")
    if elements.is_cut(frame):
        raise SeriesError(Code.TRUNCATED, "a compressed frame lacks its end")


# What pydicom's decoders do not read: HTJ2K without a further package, JPEG of 12 bits (lossy) at all.
_HTJ2K = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")
_JPEG_12_BITS = "1.2.840.10008.1.2.4.51"
# What kills GDCM 3.2, which reads it for pydicom: about one damaged frame in a hundred.
_JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
_OWN = (*_HTJ2K, _JPEG_12_BITS, *_JPEG_LOSSLESS)


def _is_known(uid: str) -> bool:
    if uid in _OWN:
        return True
    try:
        return get_decoder(uid).is_available
    except NotImplementedError:
        return False


def _decode_frame(frame: bytes, record: FileRecord) -> np.ndarray:
    if record.transfer_syntax not in _OWN:
        return _decode_by_pydicom(frame, record)
    import imagecodecs

    if record.transfer_syntax in _JPEG_LOSSLESS:
        stored = _decode_lossless(frame)
    elif record.transfer_syntax in _HTJ2K:
        stored = imagecodecs.htj2k_decode(frame)
    else:
        stored = imagecodecs.jpeg_decode(frame)
    return stored.astype(f"{'i' if record.is_signed else 'u'}{record.bits_allocated // 8}")


def _decode_lossless(frame: bytes) -> np.ndarray:
    """JPEG lossless by libjpeg, which puts something in place of damage and says nothing, so a second decoder must
    agree: where a stream is broken they differ. The second knows no restart intervals and no point transform."""
    import imagecodecs

    stored = imagecodecs.jpeg8_decode(frame)
    if elements.is_plain_lossless(frame) and not np.array_equal(imagecodecs.jpegsof3_decode(frame), stored):
        raise SeriesError(Code.DECODE, "a damaged JPEG frame: two decoders disagree")
    return stored


def _decode_by_pydicom(frame: bytes, record: FileRecord) -> np.ndarray:
    array, _ = get_decoder(record.transfer_syntax).as_array(
        encapsulate([frame]),
        raw=True,
        correct_unused_bits=False,
        rows=record.rows,
        columns=record.columns,
        number_of_frames=1,
        samples_per_pixel=1,
        photometric_interpretation=record.photometric,
        pixel_representation=int(record.is_signed),
        pixel_keyword="PixelData",
        bits_allocated=record.bits_allocated,
        bits_stored=record.bits_stored,
    )
    return array
