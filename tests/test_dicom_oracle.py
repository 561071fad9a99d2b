"""pydicom as an oracle: every value radnet reads of a header of the real data is the one pydicom reads."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.config
import pytest
from pydicom.dataset import Dataset

from radnet.shards.ledger import Code
from radnet.shards.record import NUMBER_KEYWORDS, TEXT_KEYWORDS, FileRecord, values

# Another name, or another place, for the same fact in the functional groups of an enhanced object.
IN_GROUPS = {
    "EchoTime": "EffectiveEchoTime",
    "InversionTime": "InversionTimes",
    "ImageType": "FrameType",
    "ContrastBolusAgent": "ContrastBolusAgentSequence",
}
MUST_BE_FOUND = "EchoTime RepetitionTime FlipAngle InversionTime DiffusionBValue PixelSpacing RescaleSlope".split()
B_VALUES = [(0x0019, 0x100C), (0x0043, 0x1039), (0x2001, 0x1003), (0x0065, 0x1009)]
# Values pydicom gives and radnet does not: file, keyword, reason.
LEFT_OUT = {
    ("badVR.dcm", "NumberOfFrames"): "'1A' is no number",
    ("empty_charset_LEI.dcm", "ImageType"): "without SOPClassUID nothing else has a meaning",
}


def _plain(value: Any) -> list[Any]:
    """A pydicom value as a list of numbers or stripped texts; [] where it is empty."""
    if value is None or value == "":
        return []
    parts = list(value) if isinstance(value, list | tuple | pydicom.multival.MultiValue) else [value]
    return [part.strip() if isinstance(part, str) else part for part in parts]


def _text(value: Any) -> list[str]:
    parts = [str(part).strip() for part in _plain(value)]
    return parts if any(parts) else []


def _numbers(value: Any) -> list[float] | None:
    """None where a part is no finite number: radnet leaves such an element out."""
    try:
        found = [float(part) for part in _plain(value)[:16]]
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) else None


def _group_values(dataset: Dataset) -> dict[str, list[Any]]:
    """Every value of every keyword anywhere in the functional groups."""
    found: dict[str, list[Any]] = {}

    def walk(item: Dataset) -> None:
        for element in item:
            if element.VR == "SQ":
                found.setdefault(element.keyword, []).append("a sequence")
                for inner in element.value:
                    walk(inner)
            elif element.keyword:
                found.setdefault(element.keyword, []).append(element.value)

    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for item in dataset.get(keyword) or []:
            walk(item)
    return found


def _private_b_values(dataset: Dataset) -> list[float]:
    found = []
    for tag in B_VALUES:
        if tag in dataset:
            value = dataset[tag].value
            if isinstance(value, bytes):  # implicit syntax: the dictionary may not know the private element
                value = np.frombuffer(value, "<f4").tolist() if len(value) == 4 else value.decode("latin-1").split("\\")
            found.append(float(_plain(value)[0]) % 1e9 if _plain(value) else math.nan)
    return found


def _is_right(keyword: str, own: Any, dataset: Dataset, in_groups: dict[str, list[Any]]) -> bool:
    plain = _numbers if keyword in NUMBER_KEYWORDS else _text
    own_values = list(map(float, values({"x": own}, "x"))) if keyword in NUMBER_KEYWORDS else values({"x": own}, "x")
    there = plain(dataset.get(keyword))
    if own_values == there:
        return True
    if keyword.startswith("PixelPadding"):  # written as US where it means SS: compare the bits
        return [value % 65536 for value in own_values] == [value % 65536 for value in there]
    if there:
        return False
    if keyword == "DiffusionBValue" and own_values[0] in _private_b_values(dataset):
        return True
    candidates = in_groups.get(keyword, []) + in_groups.get(IN_GROUPS.get(keyword, ""), [])
    return any(plain(candidate) == own_values for candidate in candidates)


def _private_texts(dataset: Dataset) -> set[str]:
    found = (element.value for element in dataset.iterall() if element.tag.is_private)
    return {
        (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip("\0 ") for value in found if value
    }


def header_mistakes(record: FileRecord, dataset: Dataset) -> Iterator[str]:
    """What `record.header` says otherwise than pydicom, or does not say."""
    in_groups = _group_values(dataset)
    for keyword in (*TEXT_KEYWORDS, *NUMBER_KEYWORDS):
        own = record.header.get(keyword)
        if own is not None:
            if not _is_right(keyword, own, dataset, in_groups):
                yield f"{keyword} is {own!r}, pydicom says {dataset.get(keyword)!r}"
            continue
        plain = _numbers if keyword in NUMBER_KEYWORDS else _text
        if plain(dataset.get(keyword)) or (dataset.get(keyword) and plain(dataset.get(keyword)) is None):
            yield f"{keyword} is missing, pydicom says {dataset.get(keyword)!r}"
        elif keyword in MUST_BE_FOUND and any(map(_plain, in_groups.get(IN_GROUPS.get(keyword, keyword), []))):
            yield f"{keyword} is missing, it is in the functional groups"
    name = record.header.get("PrivateSequenceName")
    if name is not None and str(name) not in _private_texts(dataset):
        yield f"PrivateSequenceName {name!r} is in no private element"


def _one(dataset: Dataset, *keywords: str) -> Any:
    """dataset.A[0].B[0].C for keywords A, B, C; None where one is absent or empty."""
    for keyword in keywords[:-1]:
        sequence = dataset.get(keyword)
        if not sequence:
            return None
        dataset = sequence[0]
    return dataset.get(keywords[-1])


def frame_mistakes(record: FileRecord, dataset: Dataset) -> Iterator[str]:
    """Position, orientation, pixel spacing and rescale of every frame, against the functional groups or the file."""
    per_frame = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    wanted = {
        "position_mm": ("PlanePositionSequence", "ImagePositionPatient"),
        "orientation": ("PlaneOrientationSequence", "ImageOrientationPatient"),
        "pixel_spacing_mm": ("PixelMeasuresSequence", "PixelSpacing"),
        "slope": ("PixelValueTransformationSequence", "RescaleSlope"),
        "intercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
    }
    if per_frame and len(record.frames) != len(per_frame):
        yield f"{len(record.frames)} frames, pydicom has {len(per_frame)}"
    for index, frame in enumerate(record.frames):
        for name, (sequence, keyword) in wanted.items():
            places = [per_frame[index], *shared] if per_frame else []
            found = [_one(place, sequence, keyword) for place in places] or [dataset.get(keyword)]
            expected = next((_numbers(value) for value in found if value not in (None, "")), None)
            own = getattr(frame, name)
            own = [own] if isinstance(own, float) else own
            if expected is not None and (own is None or list(own) != expected):
                yield f"{name} of frame {index} is {own}, pydicom says {expected}"
        if per_frame:
            times = [_one(place, "MREchoSequence", "EffectiveEchoTime") for place in (per_frame[index], *shared)]
            echo_time = next((time for time in times if time is not None), None)
            if echo_time is not None and str(round(echo_time, 2)) not in " ".join(map(str, frame.split)):
                yield f"the echo time {echo_time} of frame {index} is not in {frame.split}"


def attribute_mistakes(record: FileRecord, dataset: Dataset) -> Iterator[str]:
    """The plain attributes of a record."""
    pairs = {
        "series_uid": "SeriesInstanceUID",
        "study_uid": "StudyInstanceUID",
        "patient_id": "PatientID",
        "rows": "Rows",
        "columns": "Columns",
        "bits_allocated": "BitsAllocated",
        "bits_stored": "BitsStored",
        "high_bit": "HighBit",
        "is_signed": "PixelRepresentation",
        "photometric": "PhotometricInterpretation",
    }
    for name, keyword in pairs.items():
        expected = dataset.get(keyword)
        if expected not in (None, "") and getattr(record, name) != expected:
            yield f"{name} is {getattr(record, name)!r}, pydicom says {expected!r}"
    syntax = dataset.file_meta.get("TransferSyntaxUID", "") if hasattr(dataset, "file_meta") else ""
    if syntax and record.transfer_syntax != syntax:
        yield f"transfer syntax {record.transfer_syntax}, pydicom says {syntax}"


@pytest.mark.filterwarnings("ignore")
def test_headers_of_all_real_files_say_what_pydicom_says(real_records):
    mistakes, num_compared = [], 0
    for record in real_records:
        name = Path(record.path).name
        if record.code is Code.NOT_DICOM:
            with pytest.raises(pydicom.errors.InvalidDicomError):
                pydicom.dcmread(record.path, stop_before_pixels=True)
            continue
        try:
            dataset = pydicom.dcmread(record.path, force=True, stop_before_pixels=True)
        except Exception as error:
            assert record.code is Code.UNREADABLE, f"{name}: {record.code}, pydicom raises {error!r}"
            continue
        checks = (header_mistakes, attribute_mistakes, frame_mistakes)
        found = [text for check in checks for text in check(record, dataset)]
        found = [text for text in found if (name, text.split()[0]) not in LEFT_OUT]
        mistakes += [f"{name}: {record.code}: {text}" for text in found]
        num_compared += 1
    assert mistakes == []
    assert num_compared > 2000
