"""The elements of a data set into a FileRecord: identifiers, geometry of every frame, the allow-listed header.

Knows DICOM's keywords and vendors' habits, but no DICOM library: `Elements` is all it needs of one.
"""

import math
from collections.abc import Callable, Hashable, Iterator
from functools import cache
from typing import Any, NamedTuple, Protocol

from radnet.shards.ledger import Code, SeriesError
from radnet.shards.record import (
    NUMBER_KEYWORDS,
    TEXT_KEYWORDS,
    FileRecord,
    Frame,
    bad_geometry,
    refusal,
    values,
)

_IDENTIFIERS = ["SeriesInstanceUID", "StudyInstanceUID", "PatientID", "AcquisitionNumber", "TemporalPositionIdentifier"]
_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
# Text that some writers keep only as the meaning of a code: keyword → sequence of codes.
_CODED = {"BodyPartExamined": "AnatomicRegionSequence", "ContrastBolusAgent": "ContrastBolusAgentSequence"}
KEYWORDS = [*TEXT_KEYWORDS, *NUMBER_KEYWORDS, *_IDENTIFIERS, *_CODED.values(), _SHARED, _PER_FRAME]


class Private(NamedTuple):
    """An element of a vendor's own: it means this only below the text `creator` in the element `creator_tag`."""

    creator_tag: int
    creator: str
    tag: int
    vr: str


_B_VALUES = (
    Private(0x00190010, "SIEMENS MR HEADER", 0x0019100C, "IS"),
    Private(0x00430010, "GEMS_PARM_01", 0x00431039, "IS"),
    Private(0x20010010, "Philips Imaging DD 001", 0x20011003, "FL"),
    Private(0x00650010, "Image Private Header", 0x00651009, "FD"),
)
# The pulse sequence: GE's PSD name ("EFGRE3D"), Philips' scanning technique ("T1TFE").
_SEQUENCE_NAMES = (
    Private(0x00190010, "GEMS_ACQU_01", 0x0019109C, "LO"),
    Private(0x20010010, "Philips Imaging DD 001", 0x20011020, "LO"),
)
PRIVATE_TAGS = {tag for one in (*_B_VALUES, *_SEQUENCE_NAMES) for tag in (one.creator_tag, one.tag)}
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
    "StackID": ("FrameContentSequence", "StackID"),
}
_FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence")


class Elements(Protocol):
    """A data set as `describe` sees it; a keyword that is absent gives "", [] and []."""

    def text(self, keyword: str) -> str: ...

    def numbers(self, keyword: str) -> list[float | int]: ...

    def private_text(self, tag: int) -> str: ...

    def private_numbers(self, tag: int, vr: str) -> list[float | int]: ...

    def items(self, keyword: str) -> list["Elements"]: ...

    def fingerprint(self) -> Hashable | None:
        """Equal for data sets that differ in no more than ImagePositionPatient; None where that is not known."""


# What the slices of a series share is worked out once. A fingerprint is a few kilobytes.
_MAX_REMEMBERED = 64
_remembered: dict[Hashable, dict[str, Any]] = {}


def describe(record: FileRecord, dataset: Elements) -> None:
    """Fill `record` from the elements of its file; record.code says why the file is no part of a volume.

    Raises SeriesError(UNREADABLE) where there is no SOPClassUID, without which nothing else has a meaning.
    """
    fingerprint = dataset.fingerprint()
    name = None if fingerprint is None else (fingerprint, record.sop_class)
    shared = None if name is None else _remembered.get(name)
    if shared is None:
        plain = FileRecord(path="", sop_class=record.sop_class)
        _describe_shared(plain, dataset)
        shared = {field: getattr(plain, field) for field in _FROM_ELEMENTS}
        if name is not None:
            if len(_remembered) >= _MAX_REMEMBERED:
                _remembered.clear()
            _remembered[name] = shared
    vars(record).update(shared)
    position = dataset.numbers("ImagePositionPatient")
    if _finite(position):
        record.header = record.header | {"ImagePositionPatient": position if len(position) > 1 else position[0]}
    if len(record.frames) == 1 and record.frames[0].position_mm is None:
        record.frames = [record.frames[0]._replace(position_mm=_exactly(position, 3))]
    if record.code is Code.OK:
        record.code, record.detail = bad_geometry(record)


_FROM_ELEMENTS = """sop_class series_uid study_uid patient_id header rows columns num_frames bits_allocated bits_stored
high_bit photometric is_signed padding frames code detail""".split()


def _describe_shared(record: FileRecord, dataset: Elements) -> None:
    """All but ImagePositionPatient of a classic file."""
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
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):  # writers mistake its sign; its bits are right
        number = int(_first(header, keyword, 0))
        if record.is_signed and 0 < record.bits_allocated <= 64 and number >= 1 << (record.bits_allocated - 1):
            header[keyword] = number - (1 << record.bits_allocated)
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
        if keyword != "ImagePositionPatient" and _finite(numbers := dataset.numbers(keyword)):
            header[keyword] = numbers if len(numbers) > 1 else numbers[0]
    for keyword, sequence in _CODED.items():
        meanings = [] if keyword in header else [item.text("CodeMeaning") for item in dataset.items(sequence)]
        if text := " ".join(filter(None, meanings)):
            header[keyword] = text
    if "DiffusionBValue" not in header:
        for one in _own(dataset, _B_VALUES):
            if _finite(numbers := dataset.private_numbers(one.tag, one.vr)):
                header["DiffusionBValue"] = numbers[0] % 1e9  # GE adds 1e9 as a flag
    for one in _own(dataset, _SEQUENCE_NAMES):
        if text := dataset.private_text(one.tag):
            header["PrivateSequenceName"] = text
    return header


def _own(dataset: Elements, elements: tuple[Private, ...]) -> Iterator[Private]:
    return (one for one in elements if dataset.private_text(one.creator_tag).upper() == one.creator.upper())


def _frames(record: FileRecord, dataset: Elements) -> Iterator[Frame]:
    per_frame = dataset.items(_PER_FRAME)
    if not per_frame:
        if record.num_frames == 1:
            b_value = values(record.header, "DiffusionBValue")
            yield _frame(0, _but_position(dataset.numbers), values(record.header, "ImageType"), b_value)
        return
    shared = [_Once(item) for item in dataset.items(_SHARED)[:1]]
    for keyword, value in _own_values([_Once(per_frame[len(per_frame) // 2]), *shared]).items():
        record.header.setdefault(keyword, value)
    for index, item in enumerate(per_frame):
        places = [_Once(item), *shared]
        own = {name: value for name, value in _own_values(places).items() if record.header.get(name) != value}
        frame_type, b_value = values(record.header | own, "ImageType"), _group_numbers(places, "DiffusionBValue")
        frame = _frame(index, lambda keyword, at=places: _group_numbers(at, keyword), frame_type, b_value)
        yield frame._replace(own=own)


class _Once:
    """Functional groups, each parsed once, however often it is asked for."""

    def __init__(self, groups: Elements) -> None:
        self.items = cache(groups.items)


def _but_position(numbers: Callable[[str], list[float | int]]) -> Callable[[str], list[float | int]]:
    return lambda keyword: [] if keyword == "ImagePositionPatient" else numbers(keyword)


def _own_values(places: list[_Once]) -> dict[str, Any]:
    """What the functional groups say of a frame, by the keyword that classic files have for it."""
    found: dict[str, Any] = {}
    for keyword in _GROUP_VALUES:
        if keyword in NUMBER_KEYWORDS and _finite(numbers := _group_numbers(places, keyword)):
            found[keyword] = numbers if len(numbers) > 1 else numbers[0]
    if any(frame_type := _frame_type(places)):
        found["ImageType"] = frame_type
    return found


def _exactly(numbers: list[float | int], count: int) -> tuple[float, ...] | None:
    """`count` numbers, None for none, not numbers for another count."""
    found = tuple(map(float, numbers))
    return None if not found else found if len(found) == count else (math.nan,) * count


def _frame(
    index: int, numbers: Callable[[str], list[float | int]], image_type: list[str], b_value: list[float | int]
) -> Frame:
    echo = [*numbers("EchoNumbers"), *(round(time_ms, 2) for time_ms in numbers("EchoTime"))]
    split = (numbers("AcquisitionNumber"), echo, numbers("TemporalPositionIdentifier"), b_value)
    return Frame(
        index=index,
        position_mm=_exactly(numbers("ImagePositionPatient"), 3),
        orientation=_exactly(numbers("ImageOrientationPatient"), 6),
        pixel_spacing_mm=_exactly(numbers("PixelSpacing"), 2),
        slope=(_exactly(numbers("RescaleSlope"), 1) or (None,))[0],
        intercept=(_exactly(numbers("RescaleIntercept"), 1) or (None,))[0],
        split=(*map(str, split), "/".join(image_type), str(numbers("StackID"))),
    )


def _group_numbers(places: list[_Once], keyword: str) -> list[float | int]:
    sequence, name = _GROUP_VALUES.get(keyword, ("", ""))
    for place in places if sequence else []:
        for item in place.items(sequence)[:1]:
            if found := item.numbers(name):
                return found
    return []


def _frame_type(places: list[_Once]) -> list[str]:
    for place in places:
        for sequence in _FRAME_TYPES:
            for item in place.items(sequence)[:1]:
                return item.text("FrameType").split("\\")
    return []
