"""Coverage: which of nine regions lie entirely inside the scan."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from radnet.labels.finding import Finding, abstain
from radnet.labels.text import REGIONS, tokens_of
from radnet.labels.view import slice_normal

COVERAGE = (
    "brain",
    "upper_head_neck",
    "lower_head_neck",
    "lung",
    "breast",
    "liver",
    "kidney",
    "intestine",
    "pelvis",
)
# A scan shorter than this from head to foot cannot hold the whole of an adult's region.
MIN_HEIGHT_MM = {
    "brain": 110,
    "upper_head_neck": 60,
    "lower_head_neck": 70,
    "lung": 180,
    "breast": 90,
    "liver": 110,
    "kidney": 90,
    "intestine": 200,
    "pelvis": 180,
}
_SOURCES = (
    ("BodyPartExamined", 0.7),
    ("SeriesDescription", 0.8),
    ("ProtocolName", 0.7),
    ("StudyDescription", 0.6),
    ("collection_site", 0.4),
)


def height_mm(header: Mapping[str, Any]) -> float | None:
    """Head-to-foot length in mm of the field of view through its centre; None where the header does not give it."""
    normal, extent_mm = slice_normal(header), header.get("extent_mm")
    pixel_mm, rows, columns = (header.get(keyword) for keyword in ("PixelSpacing", "Rows", "Columns"))
    if normal is None or extent_mm is None or not isinstance(pixel_mm, list) or not rows or not columns:
        return None
    orientation = np.asarray(header["ImageOrientationPatient"], float)
    along_z = np.abs([normal[2], orientation[5], orientation[2]])
    lengths_mm = np.array([extent_mm, rows * pixel_mm[0], columns * pixel_mm[1]])
    return float(np.min(lengths_mm / np.maximum(along_z, 1e-6)))


def coverage(header: Mapping[str, Any]) -> Finding:
    """Tuple of the regions named by BodyPartExamined and the descriptions and tall enough to be complete.

    () where a part is named that holds none of them (a knee), or the scan is too short for what is named. Abstains
    where no part is named; "extremity" alone is no part, for archives use it for hip and shoulder too.
    """
    found: set[str] = set()
    evidence, confidence = [], 0.0
    for keyword, weight in _SOURCES:
        words = tokens_of(header, keyword)
        named = [(regions, words & vocabulary) for regions, vocabulary in REGIONS.items() if words & vocabulary]
        if named:
            confidence = max(confidence, weight)
            evidence.append(f"{keyword}: {' '.join(sorted(set().union(*(hits for _, hits in named))))}")
            found.update(*(regions for regions, _ in named))
            if {"liver", "pelvis"} <= set().union(*(regions for regions, _ in named)):
                found.add("intestine")
    if not evidence:
        return abstain("no body part is named")
    height = height_mm(header)
    short = {region for region in found if height is not None and height < MIN_HEIGHT_MM[region]}
    if short:
        evidence.append(f"only {height:.0f} mm from head to foot, too short for {' '.join(sorted(short))}")
    return Finding(tuple(region for region in COVERAGE if region in found - short), confidence, "; ".join(evidence))
