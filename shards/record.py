"""What one DICOM file's header says: plain data that travels between processes, and the refusals it alone decides."""

import math
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from radnet.labels.sequence import is_localizer
from radnet.shards.ledger import Code

# The allow-list. What is not named here never leaves the file; no name, identifier, date or comment is. What of it may
# be stored outside private/ is decided in public.py.
CODE_KEYWORDS = """
ImageType PatientPosition ScanningSequence SequenceVariant ScanOptions MRAcquisitionType EchoPulseSequence
EchoPlanarPulseSequence AngioFlag TimeOfFlightContrast SteadyStatePulseSequence Spoiling ComplexImageComponent
VolumetricProperties PhotometricInterpretation BurnedInAnnotation LossyImageCompression
""".split()
FREE_TEXT_KEYWORDS = """
SeriesDescription ProtocolName StudyDescription RequestedProcedureDescription PerformedProcedureStepDescription
ContrastBolusAgent ContrastBolusRoute BodyPartExamined SequenceName PulseSequenceName AcquisitionContrast
ConvolutionKernel RescaleType ManufacturerModelName
""".split()
TEXT_KEYWORDS = ["Modality", "SOPClassUID", "Manufacturer", *CODE_KEYWORDS, *FREE_TEXT_KEYWORDS]
NUMBER_KEYWORDS = """
RepetitionTime EchoTime InversionTime FlipAngle EchoTrainLength EchoNumbers NumberOfAverages MagneticFieldStrength
DiffusionBValue NumberOfTemporalPositions ContrastBolusVolume KVP GantryDetectorTilt SliceThickness
SpacingBetweenSlices PixelSpacing ImageOrientationPatient ImagePositionPatient Rows Columns NumberOfFrames
SamplesPerPixel BitsAllocated BitsStored HighBit PixelRepresentation RescaleSlope RescaleIntercept PixelPaddingValue
PixelPaddingRangeLimit
""".split()

MODALITIES = ("CT", "MR")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_DICOMDIR = "1.2.840.10008.1.3.10"
# Image storage classes that may carry CT or MR: classic, enhanced, legacy converted. Others of these modalities hold no
# image of the patient (raw data, spectroscopy).
_IMAGE_CLASSES = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(2|2\.1|2\.2|4|4\.1|4\.3|4\.4)")
_NO_IMAGE_CLASSES = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(4\.2|9|11|30|66|67|88|104|481\.[3-9])(\..*)?")
# No patient is a kilometre long. Larger numbers are damage, and overflow in the arithmetic that follows.
MAX_POSITION_MM = 1e6
MAX_PIXEL_SPACING_MM = 1e4
_MAX_RESCALE = 1e12
_PROJECTION_WORDS = {"mip", "minip", "mpr", "projection", "reformatted", "reformat", "vrt", "ssd", "curved"}


class Frame(NamedTuple):
    """One slice: a classic file, or one frame of a multi-frame object.

    index: frame number from 0. position_mm, orientation: LPS, as in ImagePositionPatient and ImageOrientationPatient.
    pixel_spacing_mm: between rows, between columns. slope, intercept: None where the file gives no rescale.
    split: what may tell apart images at one position, in the order of `SPLITS`. own: header values in which a frame of
    a multi-frame object differs from the header of its file.
    """

    index: int
    position_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    slope: float | None
    intercept: float | None
    split: tuple[str, ...]
    own: dict[str, Any] = {}


SPLITS = ("acquisition", "echo", "temporal position", "b-value", "image type", "stack number")


@dataclass
class FileRecord:
    """One file's header. `code` is OK for an image that may be part of a volume, else why not; `detail` holds no name.

    padding: lowest and highest stored value that mean "no data", as written. pixel_offset: where the pixel element
    starts in the file, or what stands before it in its group; None for a deflated file. header: allow-listed values
    (see `radnet.labels.read`).
    """

    path: str
    num_bytes: int = 0
    mtime_ns: int = 0
    code: Code = Code.OK
    detail: str = ""
    series_uid: str = ""
    study_uid: str = ""
    patient_id: str = ""
    sop_class: str = ""
    transfer_syntax: str = ""
    rows: int = 0
    columns: int = 0
    num_frames: int = 1
    bits_allocated: int = 0
    bits_stored: int = 0
    high_bit: int = 0
    is_signed: bool = False
    photometric: str = ""
    padding: tuple[int, int] | None = None
    pixel_offset: int | None = None
    frames: list[Frame] = field(default_factory=list)
    header: dict[str, Any] = field(default_factory=dict)


def values(header: dict[str, Any], keyword: str) -> list[Any]:
    """The values of `keyword` as a list; empty where absent."""
    value = header.get(keyword, [])
    return value if isinstance(value, list) else [value]


def _words(header: dict[str, Any], keyword: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", " ".join(map(str, values(header, keyword))).lower()))


def refusal(record: FileRecord) -> tuple[Code, str]:
    """Why this header rules the file out of any volume, wherever its slices lie; (OK, "") if it does not."""
    header = record.header
    modality = header.get("Modality", "")
    image_words = _words(header, "ImageType")
    if record.sop_class == _DICOMDIR or _NO_IMAGE_CLASSES.fullmatch(record.sop_class):
        return Code.NOT_AN_IMAGE, ""
    if record.sop_class.startswith(_SECONDARY_CAPTURE):
        return Code.SECONDARY_CAPTURE, ""
    if modality not in MODALITIES:
        return Code.MODALITY, "" if modality else "no modality"
    if not _IMAGE_CLASSES.fullmatch(record.sop_class):
        return Code.NOT_AN_IMAGE, ""
    if not 1 <= record.bits_stored <= record.bits_allocated:
        return Code.BAD_NUMBER, f"BitsStored {record.bits_stored}, BitsAllocated {record.bits_allocated}"
    if record.rows < 1 or record.columns < 1:
        return Code.TRUNCATED, "the header ends before Rows and Columns"
    if header.get("SamplesPerPixel", 1) != 1 or not header.get("PhotometricInterpretation", "").startswith(
        "MONOCHROME"
    ):
        return Code.COLOUR, ""
    if is_localizer(header):
        return Code.LOCALIZER, ""
    if "mosaic" in image_words or "vframe" in image_words:
        return Code.TIME_SERIES, "mosaic: each file tiles the slices of one time point"
    if image_words & _PROJECTION_WORDS:
        return Code.DERIVED, ""
    if header.get("BurnedInAnnotation") == "YES":
        return Code.BURNED_IN, ""
    return Code.OK, ""


def bad_geometry(record: FileRecord) -> tuple[Code, str]:
    """Why the frames of a file that `refusal` let pass make no slices of a volume; (OK, "") if they do."""
    for frame in record.frames:
        numbers = [*(frame.position_mm or ()), *(frame.orientation or ()), *(frame.pixel_spacing_mm or ())]
        numbers += [number for number in (frame.slope, frame.intercept) if number is not None]
        if not all(map(math.isfinite, numbers)):
            return Code.BAD_NUMBER, "a position, orientation, pixel spacing or rescale is not a number"
        if not (frame.position_mm and frame.orientation and frame.pixel_spacing_mm):
            return Code.NO_GEOMETRY, ""
        if min(frame.pixel_spacing_mm) <= 0 or frame.slope == 0:
            return Code.BAD_NUMBER, "pixel spacing or rescale slope is not positive"
        rescale = [abs(number) for number in (frame.slope, frame.intercept) if number is not None]
        if max(map(abs, frame.position_mm)) > MAX_POSITION_MM or max(frame.pixel_spacing_mm) > MAX_PIXEL_SPACING_MM:
            return Code.BAD_NUMBER, "a position or pixel spacing is beyond any patient"
        if rescale and max(rescale) > _MAX_RESCALE:
            return Code.BAD_NUMBER, f"rescale slope or intercept is beyond {_MAX_RESCALE:g}"
        if record.header["Modality"] == "CT" and (frame.slope is None or frame.intercept is None):
            return Code.NO_RESCALE, ""
    if not record.frames or len(record.frames) != record.num_frames:
        return Code.NO_GEOMETRY, f"{record.num_frames} frames, geometry for {len(record.frames)}"
    return Code.OK, ""
