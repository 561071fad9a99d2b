"""Files made to hurt a reader: each maker writes one case into a folder and returns its files."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from tests.series import AXIAL, image, stored_voxels, write

SMALL = (6, 5)


def two(folder: Path, change: Callable[[Dataset], None]) -> list[str]:
    """Two slices of a CT series, both changed."""
    files = []
    for number, pixels in enumerate(stored_voxels(2)):
        dataset = image(pixels, [0, 0, 2.0 * number])
        change(dataset)
        files.append(write(folder / f"{number}.dcm", dataset))
    return files


def compressed(syntax: str, frames: list[bytes], rows: int, columns: int) -> Callable[[Dataset], None]:
    """A change that puts compressed frames into a data set."""

    def change(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.Rows, dataset.Columns, dataset.PixelRepresentation = rows, columns, 0
        dataset.PixelData = encapsulate(frames)
        dataset["PixelData"].is_undefined_length = True

    return change


def deflated(folder: Path, num_bytes: int) -> list[str]:
    """Two deflated slices with a private element of zeros behind their pixels' header, `num_bytes` once inflated."""

    def change(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.add_new(0x00110010, "LO", "ZEROS")
        dataset.add_new(0x00111001, "OB", bytes(num_bytes))

    return two(folder, change)


def deflate_bomb(folder: Path) -> list[str]:
    """A deflated data set that inflates to 600 MB of nothing after its first element."""
    files = two(folder, lambda dataset: setattr(dataset.file_meta, "TransferSyntaxUID", DeflatedExplicitVRLittleEndian))
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(600)) + squeeze.flush()
    for file in files:
        content = Path(file).read_bytes()
        Path(file).write_bytes(content[: 144 + int.from_bytes(content[140:144], "little")] + bomb)
    return files


def jpeg2000(folder: Path, size: int, rows: int) -> list[str]:
    """Zeros of size by size in some hundred bytes of JPEG 2000, in a header that says rows by rows."""
    frame = imagecodecs.jpeg2k_encode(np.zeros((size, size), np.uint16), codecformat="j2k", reversible=True)
    return two(folder, compressed(JPEG2000Lossless, [frame], rows, rows))


def jpeg2000_claim(folder: Path) -> list[str]:
    """A codestream of 16 by 16 that says it is 65,535 by 65,535, as the header does."""
    frame = bytearray(imagecodecs.jpeg2k_encode(np.zeros((16, 16), np.uint16), codecformat="j2k", reversible=True))
    struct.pack_into(">2I", frame, 8, 65535, 65535)
    return two(folder, compressed(JPEG2000Lossless, [bytes(frame)], 65535, 65535))


def jpegls(folder: Path, size: int, rows: int) -> list[str]:
    """Zeros of size by size in JPEG-LS, in a header that says rows by rows."""
    frame = imagecodecs.jpegls_encode(np.zeros((size, size), np.uint16))
    return two(folder, compressed(JPEGLSLossless, [frame], rows, rows))


def jpegls_precision(folder: Path) -> list[str]:
    """A JPEG-LS frame of 255 bits a sample: GDCM 3.2 throws through its own wall and takes the process along."""
    frame = bytearray(imagecodecs.jpegls_encode(stored_voxels(1)[0].astype(np.uint16)))
    frame[frame.index(b"\xff\xf7") + 4] = 255
    return two(folder, compressed(JPEGLSLossless, [bytes(frame)], *SMALL))


def jpeg2000_head(folder: Path, num_components: int, precision: int) -> list[str]:
    """A JPEG 2000 frame whose header says so many components, and this byte of precision; 128 bits kill GDCM too."""
    pixels = stored_voxels(1)[0].astype(np.uint16)
    frame = bytearray(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True))
    struct.pack_into(">HB", frame, 40, num_components, precision)
    return two(folder, compressed(JPEG2000Lossless, [bytes(frame)], *SMALL))


def rle(folder: Path, *head: int) -> list[str]:
    """RLE frames whose 64-byte header holds these numbers: count of segments, then their offsets."""
    frame = struct.pack("<16I", *head, *[0] * (16 - len(head))) + b"\x81\x00" * 40
    return two(folder, compressed(RLELossless, [frame], *SMALL))


def rle_bomb(folder: Path) -> list[str]:
    """Runs for 100 MB in frames of 6 by 5."""
    frame = struct.pack("<16I", 2, 64, 64 + (1 << 19), *[0] * 13) + b"\x81\x00" * (1 << 19)
    return two(folder, compressed(RLELossless, [frame], *SMALL))


def few_fragments(folder: Path) -> list[str]:
    """100,000 frames promised, one fragment there."""

    def change(dataset: Dataset) -> None:
        compressed(RLELossless, [bytes(64) + b"\x81\0" * 40], *SMALL)(dataset)
        dataset.NumberOfFrames = 100_000

    return two(folder, change)


def nested(folder: Path, depth: int, is_undefined: bool, syntax: str = ExplicitVRLittleEndian) -> list[str]:
    """Sequences in sequences, before the pixels."""
    has_vr = syntax == ExplicitVRLittleEndian
    body = b""
    for _ in range(depth):
        size = 0xFFFFFFFF if is_undefined else len(body)
        body = (
            b"\xfe\xff\x00\xe0"
            + struct.pack("<I", size)
            + body
            + (b"\xfe\xff\x0d\xe0\0\0\0\0" if is_undefined else b"")
        )
        size = 0xFFFFFFFF if is_undefined else len(body)
        head = b"\x08\x00\x15\x11" + (b"SQ\0\0" if has_vr else b"") + struct.pack("<I", size)
        body = head + body + (b"\xfe\xff\xdd\xe0\0\0\0\0" if is_undefined else b"")
    return _insert(two(folder, lambda dataset: setattr(dataset.file_meta, "TransferSyntaxUID", syntax)), body, has_vr)


def _insert(files: list[str], elements: bytes, has_vr: bool = True) -> list[str]:
    """Put raw elements before StudyInstanceUID (0020,000D) of files of `two`."""
    for file in files:
        content = Path(file).read_bytes()
        at = content.index(b"\x20\x00\x0d\x00UI" if has_vr else b"\x20\x00\x0d\x00", 132)
        Path(file).write_bytes(content[:at] + elements + content[at:])
    return files


def long_element(folder: Path, vr: bytes, length: int, num_bytes: int = 0) -> list[str]:
    """An element (0011,1001) that claims `length` bytes and has `num_bytes`."""
    head = b"\x11\x00\x01\x10" + vr + b"\0\0" + struct.pack("<I", length)
    return _insert(two(folder, lambda dataset: None), head + bytes(num_bytes))


def long_text(folder: Path, num_bytes: int) -> list[str]:
    """A ProtocolName of many megabytes: implicit syntax has no limit of 64 KB."""
    files = two(folder, lambda dataset: setattr(dataset.file_meta, "TransferSyntaxUID", ImplicitVRLittleEndian))
    return _insert(
        files,
        b"\x18\x00\x30\x10" + struct.pack("<I", num_bytes) + b"T1 " * (num_bytes // 3) + b" " * (num_bytes % 3),
        False,
    )


def many_items(folder: Path, num_items: int, is_counted: bool) -> list[str]:
    """An enhanced file of 1 by 1 pixels with that many empty per-frame items; is_counted: and says so."""
    dataset = image(np.zeros((1, 1), np.int16), [0, 0, 0], "MR")
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = EnhancedMRImageStorage
    dataset.NumberOfFrames = num_items if is_counted else 2
    dataset.PixelData = bytes(2 * int(dataset.NumberOfFrames))
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(dataset, keyword)
    path = write(folder / "one.dcm", dataset)
    content = Path(path).read_bytes()
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * num_items
    group = b"\x00\x52\x30\x92SQ\0\0" + struct.pack("<I", len(items)) + items
    at = content.index(b"\xe0\x7f\x10\x00O")
    Path(path).write_bytes(content[:at] + group + content[at:])
    return [path]


def many_frames(folder: Path, num_frames: int) -> list[str]:
    """A file of one frame that promises many."""
    return two(folder, lambda dataset: setattr(dataset, "NumberOfFrames", num_frames))


def undefined_lengths(folder: Path) -> list[str]:
    """Every element of the data set with a length of 0xFFFFFFFF, and no delimiter anywhere."""
    files = two(folder, lambda dataset: setattr(dataset.file_meta, "TransferSyntaxUID", ImplicitVRLittleEndian))
    for file in files:
        dataset = pydicom.dcmread(file)
        content = Path(file).read_bytes()
        body = b"".join(
            struct.pack("<2HI", element.tag.group, element.tag.element, 0xFFFFFFFF) + bytes(8) for element in dataset
        )
        Path(file).write_bytes(content[: 144 + int.from_bytes(content[140:144], "little")] + body)
    return files


def odd_numbers(folder: Path, **values: object) -> list[str]:
    """Two slices whose elements hold these raw texts or numbers."""

    def change(dataset: Dataset) -> None:
        for keyword, value in values.items():
            if isinstance(value, bytes):
                dataset.add_new(keyword, "UN", value)
                dataset[keyword].VR = pydicom.datadict.dictionary_VR(keyword)
            else:
                setattr(dataset, keyword, value)

    return two(folder, change)


def empty_files(folder: Path, count: int) -> list[str]:
    """A folder of empty files."""
    folder.mkdir(parents=True)
    files = [folder / f"{number:05d}.dcm" for number in range(count)]
    for file in files:
        file.touch()
    return [str(file) for file in files]


def flat_orientation(folder: Path) -> list[str]:
    """Row and column direction the same."""
    return two(folder, lambda dataset: setattr(dataset, "ImageOrientationPatient", AXIAL[:3] * 2))


def large(folder: Path, slopes: Callable[[int], float], is_enhanced: bool = False) -> list[str]:
    """An honest series of 50 slices of 1024 by 1024, 100 MB: files of one slice, or one file of them all."""
    pixels = np.tile(np.arange(1024, dtype=np.int16), (1024, 1))
    if not is_enhanced:
        files = []
        for number in range(50):
            dataset = image(pixels, [0, 0, 2.0 * number])
            dataset.RescaleSlope, dataset.PixelPaddingValue = slopes(number), 1023
            files.append(write(folder / f"{number}.dcm", dataset))
        return files
    dataset = image(np.tile(pixels, (50, 1)), [0, 0, 0], "MR")
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = EnhancedMRImageStorage
    dataset.Rows, dataset.NumberOfFrames = 1024, 50
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, plane.ImageOrientationPatient = [1, 1], AXIAL
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], []
    for number in range(50):
        frame, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, 2.0 * number]
        values.RescaleSlope, values.RescaleIntercept = slopes(number), 0
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [values]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    return [write(folder / "one.dcm", dataset)]
