"""Slice spacing in mm."""

from collections.abc import Mapping
from typing import Any

from radnet.labels.finding import Finding, abstain


def spacing(header: Mapping[str, Any]) -> Finding:
    """Perpendicular distance between slices in mm, from their positions; never SliceThickness, another thing."""
    value = header.get("slice_spacing_mm")
    if not isinstance(value, int | float) or not value > 0:
        return abstain("slice positions give no even spacing")
    return Finding(float(value), 1.0, "ImagePositionPatient: (last - first) / (N - 1)")
