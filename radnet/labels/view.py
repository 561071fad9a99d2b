"""View: which way the slices lie."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from radnet.labels.finding import Finding, abstain
from radnet.labels.text import VIEWS, tokens_of

MAX_OBLIQUITY_DEG = 30.0
_VIEW_OF_AXIS = ("sagittal", "coronal", "axial")


def slice_normal(header: Mapping[str, Any]) -> np.ndarray | None:
    """[3] unit normal (LPS) of the slices; None without two orthogonal unit vectors in ImageOrientationPatient."""
    orientation = header.get("ImageOrientationPatient")
    if not isinstance(orientation, list) or len(orientation) != 6:
        return None
    row, column = np.asarray(orientation[:3], float), np.asarray(orientation[3:], float)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not all(abs(length - 1) <= 0.01 for length in lengths) or abs(row @ column) > 0.01:
        return None
    normal = np.cross(row, column)
    return normal / np.linalg.norm(normal)


def obliquity_deg(header: Mapping[str, Any]) -> float | None:
    """Angle in degrees between the slice normal and the nearest patient axis; None without a valid orientation."""
    normal = slice_normal(header)
    return None if normal is None else math.degrees(math.acos(min(1.0, float(np.abs(normal).max()))))


def view(header: Mapping[str, Any]) -> Finding:
    """axial, coronal or sagittal, by the dominant axis of the slice normal; abstains beyond 30 degrees of obliquity.

    Without ImageOrientationPatient the descriptions decide, if they name one view only.
    """
    normal, angle_deg = slice_normal(header), obliquity_deg(header)
    if normal is not None:
        name = _VIEW_OF_AXIS[int(np.abs(normal).argmax())]
        evidence = f"ImageOrientationPatient: {name}, {angle_deg:.1f} degrees oblique"
        if angle_deg > MAX_OBLIQUITY_DEG:
            return abstain(f"{evidence}, more than {MAX_OBLIQUITY_DEG:g}")
        return Finding(name, 1.0 if angle_deg < 20 else 0.9, evidence)
    if header.get("ImageOrientationPatient"):
        return abstain("ImageOrientationPatient is not two orthogonal unit vectors")
    words = tokens_of(header, "SeriesDescription")
    named = [name for name, vocabulary in VIEWS.items() if words & vocabulary]
    if len(named) != 1:
        return abstain(
            "no ImageOrientationPatient, and SeriesDescription names " + ("no view" if not named else "several")
        )
    return Finding(named[0], 0.6, f"SeriesDescription: {min(words & VIEWS[named[0]])}")
