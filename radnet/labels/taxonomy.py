"""Taxonomies: the facts of a label table into class numbers, at load time."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from radnet.errors import UsageError
from radnet.labels.coverage import COVERAGE
from radnet.labels.finding import Finding, abstain
from radnet.labels.sequence import FAMILIES

if TYPE_CHECKING:
    from radnet.labels import Labels

VIEW = ("axial", "coronal", "sagittal")
CONTRAST = ("no", "yes")


def _known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


@dataclass(frozen=True)
class Taxonomy:
    """Class names in the order of their numbers. `sequence_name` maps a table row to one of `sequence` or None."""

    name: str
    sequence: tuple[str, ...]
    sequence_name: Callable[[Mapping[str, Any]], str | None]
    view: tuple[str, ...] = VIEW
    contrast: tuple[str, ...] = CONTRAST
    coverage: tuple[str, ...] = COVERAGE

    def sequence_finding(self, labels: "Labels") -> Finding:
        """The class of `sequence` that a series' family and technique make, or an abstention; its confidence is that of
        the weaker of the two where both decide."""
        value = self.sequence_name({"family": labels.family.value, "technique": labels.technique.value})
        if value is None:
            known = labels.family.value or "family unknown"
            return abstain(f"{labels.family.evidence}: {known}, {labels.technique.value or 'technique unknown'}")
        if value == labels.family.value:
            return labels.family
        confidence = min(labels.family.confidence, labels.technique.confidence)
        return Finding(value, confidence, f"{labels.family.evidence}; {labels.technique.evidence}")

    def targets(self, row: Mapping[str, Any]) -> np.ndarray:
        """float32 [13] for one row of `Labels.row()`: sequence, view, contrast (class numbers), one 1/0 per region of
        coverage, spacing_mm; -1 where unknown. Raises ValueError for a value that no version of the rules writes."""
        targets = np.full(4 + len(self.coverage), -1, np.float32)
        named = (self.sequence_name(row), row.get("view"), row.get("contrast"))
        for number, (value, classes) in enumerate(zip(named, (self.sequence, self.view, self.contrast), strict=True)):
            if _known(value):
                targets[number] = classes.index(value)
        if _known(row.get("coverage")):
            present = set(filter(None, row["coverage"].split(";")))
            if not present <= set(self.coverage):
                raise ValueError(f"coverage names {sorted(present - set(self.coverage))}, expected of {self.coverage}")
            targets[3:-1] = [region in present for region in self.coverage]
        if _known(row.get("spacing_mm")):
            targets[-1] = row["spacing_mm"]
        return targets


def _paper_sequence(row: Mapping[str, Any]) -> str | None:
    """One of the paper's five. T1 and T2 need the spin echo: an MPRAGE is T1-weighted and none of the five."""
    family, technique = row.get("family"), row.get("technique")
    if family in ("T1", "T2"):
        return f"{family}-SE" if technique == "SE" else None
    return family if family in ("CT", "T1-FLAIR", "T2-FLAIR") else None


def _extended_sequence(row: Mapping[str, Any]) -> str | None:
    return row.get("family")


TAXONOMIES = {
    "paper": Taxonomy("paper", ("CT", "T1-SE", "T2-SE", "T1-FLAIR", "T2-FLAIR"), _paper_sequence),
    "extended": Taxonomy("extended", tuple(FAMILIES), _extended_sequence),
}


def taxonomy(name: str) -> Taxonomy:
    """The taxonomy of that name; UsageError, listing what there is, for another."""
    if name not in TAXONOMIES:
        raise UsageError(f"data.taxonomy={name!r} is unknown; expected one of {', '.join(TAXONOMIES)}")
    return TAXONOMIES[name]
