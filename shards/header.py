"""The elements of a data set into a FileRecord: identifiers, geometry of every frame, the allow-listed header.

Knows DICOM's keywords and vendors' habits, but no DICOM library: `Elements` is all it needs of one.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from radnet.shards.ledger import Code, SeriesError
from radnet.shards.record import (
    NUMBER_KEYWORDS,
    TEXT_KEYWORDS,
    FileRecord,
    Frame,
    refusal,
    values,
)

_IDENTIFIERS = ["SeriesInstanceUID", "StudyInstanceUID", "PatientID", "AcquisitionNumber", "TemporalPositionIdentifier"]
_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
KEYWORDS = [*TEXT_KEYWORDS, *NUMBER_KEYWORDS, *_IDENTIFIERS, _SHARED, _PER_FRAME]
# Scanners keep the b-value in a private element; the same tag means something else to another manufacturer.
PRIVATE_B_VALUE = {
    "SIEMENS": (0x0019100C, "IS"),
    "GE": (0x00431039, "IS"),
    "PHILIPS": (0x20011003, "FL"),
    "UIH": (0x00651009, "FD"),
}
# Enhanced objects keep these in functional groups, under (sequence, keyword).
_GROUP_VALUES = {
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "EchoTrainLength": ("MRTimingAndRelatedParametersSequence", "EchoTrainLength"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
    "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
    "TemporalPositionIdentifier": ("FrameContentSequence", "TemporalPositionIndex"),
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
}
_FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence")


class Elements(Protocol):
    """A data set as `describe` sees it; a keyword that is absent gives "", [] and []."""

    def text(self, keyword: str) -> str: ...

    def numbers(self, keyword: str) -> list[float | int]: ...

    def private_numbers(self, tag: int, vr: str) -> list[float | int]: ...

    def items(self, keyword: str) -> list["Elements"]: ...


def describe(record: FileRecord, dataset: Elements) -> None:
    """Fill `record` from the elements of its file; record.code says why the file is no part of a volume.

    Raises SeriesError(UNREADABLE) where there is no SOPClassUID, without which nothing else has a meaning.
    """
    record.sop_class = dataset.text("SOPClassUID") or record.sop_class
    if not record.sop_class:
        raise SeriesError(Code.UNREADABLE, "no SOPClassUID")
    record.series_uid = dataset.text("SeriesInstanceUID")
    record.study_uid = dataset.text("StudyInstanceUID")
    record.patient_id = dataset.text("PatientID")
    record.header = header = _header(dataset)
    record.rows, record.columns = int(_first(header, "Rows", 0)), int(_first(header, "Columns", 0))
    record.num_frames = int(_first(header, "NumberOfFrames", 1))
    record.bits_allocated = int(_first(header, "BitsAllocated", 16))
    record.bits_stored = int(_first(header, "BitsStored", record.bits_allocated))
    record.high_bit = int(_first(header, "HighBit", record.bits_stored - 1))
    record.photometric = str(_first(header, "PhotometricInterpretation", ""))
    record.is_signed = _first(header, "PixelRepresentation", 0) == 1
    if "PixelPaddingValue" in header:
        padding = int(_first(header, "PixelPaddingValue", 0))
        record.padding = (padding, int(_first(header, "PixelPaddingRangeLimit", padding)))
    record.frames = list(_frames(record, dataset))
    record.code, record.detail = refusal(record)
    if record.code is Code.OK and not record.series_uid:
        record.code, record.detail = Code.UNREADABLE, "no SeriesInstanceUID"


def _first(header: dict[str, Any], keyword: str, default: Any) -> Any:
    return (values(header, keyword) or [default])[0]


def _finite(numbers: list[float | int]) -> bool:
    return bool(numbers) and all(map(math.isfinite, numbers))


def _header(dataset: Elements) -> dict[str, Any]:
    header: dict[str, Any] = {}
    for keyword in TEXT_KEYWORDS:
        if text := dataset.text(keyword):
            parts = [part.strip() for part in text.split("\\")]
            header[keyword] = parts if len(parts) > 1 else parts[0]
    for keyword in NUMBER_KEYWORDS:
        if _finite(numbers := dataset.numbers(keyword)):
            header[keyword] = numbers if len(numbers) > 1 else numbers[0]
    manufacturer = str(header.get("Manufacturer", "")).upper()
    for name, (tag, vr) in PRIVATE_B_VALUE.items():
        if "DiffusionBValue" not in header and manufacturer.startswith(name):
            if _finite(numbers := dataset.private_numbers(tag, vr)):
                header["DiffusionBValue"] = numbers[0] % 1e9  # GE adds 1e9 as a flag
    return header


def _frames(record: FileRecord, dataset: Elements) -> Iterator[Frame]:
    per_frame = dataset.items(_PER_FRAME)
    if not per_frame:
        if record.num_frames == 1:
            yield _frame(
                0, dataset.numbers, values(record.header, "ImageType"), values(record.header, "DiffusionBValue")
            )
        return
    shared = dataset.items(_SHARED)[:1]
    middle = [per_frame[len(per_frame) // 2], *shared]
    for keyword in _GROUP_VALUES:
        if keyword in NUMBER_KEYWORDS and _finite(numbers := _group_numbers(middle, keyword)):
            record.header.setdefault(keyword, numbers if len(numbers) > 1 else numbers[0])
    for index, item in enumerate(per_frame):
        places = [item, *shared]
        b_value = _group_numbers(places, "DiffusionBValue")
        yield _frame(index, lambda keyword, at=places: _group_numbers(at, keyword), _frame_type(places), b_value)


def _frame(index: int, numbers: Callable[[str], list], image_type: list[str], b_value: list) -> Frame:
    def exactly(keyword: str, count: int) -> tuple[float, ...] | None:
        found = tuple(map(float, numbers(keyword)))
        return None if not found else found if len(found) == count else (math.nan,) * count

    echo = [*numbers("EchoNumbers"), *(round(time_ms, 2) for time_ms in numbers("EchoTime"))]
    split = (numbers("AcquisitionNumber"), echo, numbers("TemporalPositionIdentifier"), b_value)
    return Frame(
        index=index,
        position_mm=exactly("ImagePositionPatient", 3),
        orientation=exactly("ImageOrientationPatient", 6),
        pixel_spacing_mm=exactly("PixelSpacing", 2),
        slope=(exactly("RescaleSlope", 1) or (None,))[0],
        intercept=(exactly("RescaleIntercept", 1) or (None,))[0],
        split=(*map(str, split), "/".join(image_type)),
    )


def _group_numbers(places: list[Elements], keyword: str) -> list[float | int]:
    sequence, name = _GROUP_VALUES.get(keyword, ("", ""))
    for place in places if sequence else []:
        for item in place.items(sequence)[:1]:
            if found := item.numbers(name):
                return found
    return []


def _frame_type(places: list[Elements]) -> list[str]:
    for place in places:
        for sequence in _FRAME_TYPES:
            for item in place.items(sequence)[:1]:
                return item.text("FrameType").split("\\")
    return []
