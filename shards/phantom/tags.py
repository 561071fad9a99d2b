"""The DICOM elements of a planned series as plain values, and the header that labels are read from, without a file."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from radnet.shards.ledger import Code
from radnet.shards.phantom.headers import VENDORS
from radnet.shards.phantom.plan import FILES_ALONE, SeriesPlan, plan_patients
from radnet.shards.record import NUMBER_KEYWORDS, TEXT_KEYWORDS

CT_IMAGE, MR_IMAGE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


def series_tags(plan: SeriesPlan) -> dict[str, Any]:
    """Values by keyword that all slices of the series share; those of an image only where the plan has one."""
    vendor = VENDORS[plan.vendor]
    tags: dict[str, Any] = {keyword: text.split("\\") if "\\" in text else text for keyword, text in plan.text.items()}
    tags |= {
        "PatientID": plan.patient_id, "PatientName": plan.patient_id, "PatientSex": plan.sex, "PatientBirthDate": "",
        "StudyInstanceUID": plan.study_uid, "SeriesInstanceUID": plan.series_uid, "StudyDate": "20200101",
        "FrameOfReferenceUID": plan.study_uid + ".1", "Modality": plan.modality, "PatientPosition": "HFS",
        "SeriesNumber": (plan.seeds[2] + 1) * vendor["number"],
    }  # fmt: skip
    if plan.code in FILES_ALONE:
        return tags
    (gap_mm, *pixel_mm), direction, timing = plan.grid.spacing_mm, plan.grid.direction, plan.timing
    kind = ["DERIVED", "PRIMARY"] if plan.kind in ("ADC", "PERF-MAP") else ["ORIGINAL", "PRIMARY"]
    kind = ["DERIVED", "SECONDARY", "REFORMATTED"] if plan.code is Code.DERIVED else kind
    tags["PixelSpacing"] = [round(side, 6) for side in pixel_mm]
    tags["ImageOrientationPatient"] = [round(float(v), 9) + 0.0 for v in (*direction[:, 2], *direction[:, 1])]
    if timing is None:
        kind.append("LOCALIZER" if plan.code is Code.LOCALIZER else "AXIAL")
        rescale = {"RescaleIntercept": vendor["intercept"], "RescaleSlope": 1, "RescaleType": "HU"}
        return tags | (rescale if plan.code is not Code.NO_RESCALE else {}) | {
            "SOPClassUID": CT_IMAGE, "ImageType": kind, "SliceThickness": round(gap_mm, 3), "KVP": 120,
            "XRayTubeCurrent": 220, "GantryDetectorTilt": 0,
        }  # fmt: skip
    family = "IR" if timing.ti_ms else "FFE" if plan.technique == "GRE" else "SE"
    times = {"RepetitionTime": timing.tr_ms, "EchoTime": timing.te_ms, "InversionTime": timing.ti_ms}
    given = times | {"EchoTrainLength": timing.train, "DiffusionBValue": timing.b_value}
    tags |= {keyword: value for keyword, value in given.items() if value}
    return tags | (dict.fromkeys(times, "") if "times_empty" in plan.lies else {}) | {
        "SOPClassUID": MR_IMAGE, "ImageType": kind + vendor["tail"].format(family).split("\\"),
        "SliceThickness": round(gap_mm * 0.8, 3), "SpacingBetweenSlices": gap_mm, "NumberOfAverages": 1,
        "FlipAngle": timing.flip_deg, "MagneticFieldStrength": timing.field_t,
    }  # fmt: skip


def position(plan: SeriesPlan, index: int) -> list[float]:
    """ImagePositionPatient of a slice, as written: x, y, z in mm."""
    return [round(float(value), 5) + 0.0 for value in plan.grid.affine[:3] @ (index, 0, 0, 1)]


def label_header(plan: SeriesPlan) -> dict[str, Any]:
    """What `radnet.labels.read` is given once the files of an image series are written and read again."""
    depth, rows, columns = plan.grid.shape
    tags = series_tags(plan) | {
        "ImagePositionPatient": position(plan, depth // 2), "Rows": rows, "Columns": columns, "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15,
        "PixelRepresentation": int(VENDORS[plan.vendor]["signed"]),
    }  # fmt: skip
    header = {keyword: tags[keyword] for keyword in (*TEXT_KEYWORDS, *NUMBER_KEYWORDS) if tags.get(keyword, "") != ""}
    if depth > 1:
        orientation, way_mm = tags["ImageOrientationPatient"], np.subtract(position(plan, depth - 1), position(plan, 0))
        normal = np.cross(orientation[:3], orientation[3:])
        spacing_mm = float(way_mm @ normal / np.linalg.norm(normal)) / (depth - 1)
        header |= {"num_slices": depth, "slice_spacing_mm": spacing_mm, "extent_mm": depth * spacing_mm}
    return header


def label_headers(num_series: int, seed: int) -> Iterator[tuple[dict[str, Any], SeriesPlan]]:
    """Headers and plans (the truth) of the first volumes and scouts of an archive, no voxel drawn, no file written."""
    plans = (plan for plans in plan_patients(seed) for plan in plans if plan.code in (Code.OK, Code.LOCALIZER))
    return islice(((label_header(plan), plan) for plan in plans), num_series)
