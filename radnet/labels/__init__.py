"""Labels that a DICOM header already carries. Pure: a header in, findings with evidence out.

A header is a dict keyed by DICOM keyword with plain Python values (a list where there are several), plus the derived
keys num_slices, slice_spacing_mm (perpendicular), extent_mm (along the normal), collection and collection_site
(the site of disease a collection is about, as its owner words it). Any may be absent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from radnet.labels.contrast import contrast
from radnet.labels.coverage import coverage
from radnet.labels.finding import Finding
from radnet.labels.sequence import family
from radnet.labels.spacing import spacing
from radnet.labels.taxonomy import TAXONOMIES, Taxonomy
from radnet.labels.technique import technique
from radnet.labels.view import obliquity_deg, view

__all__ = ["RULES_VERSION", "TAXONOMIES", "Finding", "Labels", "Taxonomy", "read"]

# Raised whenever any header may get another label.
RULES_VERSION = "6"


@dataclass(frozen=True)
class Labels:
    """The findings of one series. obliquity_deg: angle between slice normal and the nearest patient axis."""

    family: Finding
    technique: Finding
    view: Finding
    contrast: Finding
    coverage: Finding
    spacing_mm: Finding
    obliquity_deg: float | None

    def row(self) -> dict[str, Any]:
        """A flat table row: NAME, NAME_confidence, NAME_evidence per finding, and obliquity_deg.

        Unknown values are None; coverage is joined by ";", "" where the scan is known to hold no region.
        """
        row: dict[str, Any] = {}
        for name in (field.name for field in fields(self) if field.name != "obliquity_deg"):
            finding = getattr(self, name)
            value = ";".join(finding.value) if isinstance(finding.value, tuple) else finding.value
            row |= {name: value, f"{name}_confidence": finding.confidence, f"{name}_evidence": finding.evidence}
        return row | {"obliquity_deg": self.obliquity_deg}


def read(header: Mapping[str, Any]) -> Labels:
    """The labels of a series from one header; never raises for what a header holds, abstains instead."""
    return Labels(
        family=family(header),
        technique=technique(header),
        view=view(header),
        contrast=contrast(header),
        coverage=coverage(header),
        spacing_mm=spacing(header),
        obliquity_deg=obliquity_deg(header),
    )
