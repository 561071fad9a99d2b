"""Sequence: the family of an image, that is what it is weighted by or what kind of image it is."""

from collections.abc import Mapping
from typing import Any

from radnet.labels import words
from radnet.labels.facts import facts_of
from radnet.labels.finding import Finding, abstain
from radnet.labels.magnetic import mr_family
from radnet.labels.technique import TECHNIQUES, technique
from radnet.labels.text import name_of, phrase, text_of, tokens, tokens_of

__all__ = ["FAMILIES", "TECHNIQUES", "family", "is_localizer", "technique"]

FAMILIES = "CT T1 T2 T1-FLAIR T2-FLAIR PD STIR T2STAR DWI ADC DCE PERF-MAP MRA BSSFP PT LOCALIZER DERIVED OTHER".split()
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_LOCALIZER_TYPES = frozenset("localizer scout surview topogram survey scanogram".split())
_CT_DERIVED_TYPES = frozenset("mip minip vrt ssd projection rendering screen dose".split())
# Two images are not a volume; scouts come so, and a series of one or two slices may be anything.
_FEW_SLICES = 3


def is_localizer(header: Mapping[str, Any]) -> bool:
    """True for a scout of any modality, by ImageType, ScanOptions or the name of the series."""
    return _localizer(header) is not None


def is_prior(header: Mapping[str, Any]) -> bool:
    """True for a scout and for a run that times the bolus: what an exam makes before its agent is given."""
    return is_localizer(header) or bool(words.BOLUS_TIMING.search(phrase(name_of(header))))


def _localizer(header: Mapping[str, Any]) -> Finding | None:
    if hits := tokens_of(header, "ImageType", "ScanOptions") & _LOCALIZER_TYPES:
        return Finding("LOCALIZER", 0.99, f"ImageType or ScanOptions: {min(hits)}")
    name = text_of(header, "SeriesDescription")
    found, flat = tokens(name), phrase(name)
    if hits := found & words.LOCALIZER:
        if words.BOLUS_TIMING.search(flat) and hits <= {"locator", "locators"}:
            return None
        return Finding("LOCALIZER", 0.95, f"SeriesDescription: {min(hits)}")
    if (hits := found & words.LOCALIZER_SHORT) and not words.NO_LOCALIZER.search(flat):
        return Finding("LOCALIZER", 0.88, f"SeriesDescription: {min(hits)}")
    if words.LOCALIZER_PHRASE.search(flat) and not found & words.DERIVED:
        return Finding("LOCALIZER", 0.85, "SeriesDescription: three planes, or front and side")
    return None


def family(header: Mapping[str, Any]) -> Finding:
    """One of FAMILIES. Abstains where the header does not say, or says two things."""
    modality = header.get("Modality")
    if not modality:
        return abstain("no Modality")
    if localizer := _localizer(header):
        return localizer
    if text_of(header, "SOPClassUID").startswith(_SECONDARY_CAPTURE):
        return Finding("DERIVED", 0.95, "SOPClassUID: secondary capture")
    if modality == "CT":
        return _ct_family(header)
    if modality == "PT":
        hits = tokens_of(header, "SeriesDescription") & words.CT_DERIVED
        return (
            Finding("DERIVED", 0.85, f"SeriesDescription: {min(hits)}") if hits else Finding("PT", 0.95, "Modality: PT")
        )
    if modality != "MR":
        return Finding("OTHER", 0.95, "Modality is neither CT, MR nor PT")
    return mr_family(facts_of(header))


def _ct_family(header: Mapping[str, Any]) -> Finding:
    name = name_of(header)
    found, flat = tokens(name), phrase(name)
    types = tokens_of(header, "ImageType")
    if hits := types & _CT_DERIVED_TYPES:
        return Finding("DERIVED", 0.95, f"ImageType: {min(hits)}")
    if words.TRIAL_LOCALIZER.match(name.lower()):
        return _trial_localizer(header, found)
    if any(map(words.CT_TOPOGRAM_KERNEL.fullmatch, tokens_of(header, "SeriesDescription", "ConvolutionKernel"))):
        return Finding("LOCALIZER", 0.88, "the reconstruction filter of topograms")
    if words.BOLUS_TIMING.search(flat) or words.LONE_BOLUS.search(flat):
        return Finding("OTHER", 0.85, "name of the series: bolus tracking, one level over time")
    if words.CT_RAW.search(flat):
        return Finding("OTHER", 0.85, "name of the series: raw projections or tomosynthesis")
    if (hits := found & words.CT_DERIVED) or words.CT_DERIVED_PHRASE.search(flat):
        return Finding("DERIVED", 0.85, f"name of the series: {min(hits) if hits else 'a report, map or rendering'}")
    if (hits := found & words.CT_MAPS) or words.CT_MAPS_PHRASE.search(flat):
        return Finding("PERF-MAP", 0.85, f"name of the series: {min(hits) if hits else 'perfusion maps'}")
    slices = header.get("num_slices")
    if isinstance(slices, int | float) and slices <= _FEW_SLICES:
        return Finding("CT", 0.8, "Modality: CT; few slices")
    if {"original", "primary"} <= types:
        return Finding("CT", 0.99, "Modality: CT; ImageType: original, primary")
    return Finding("CT", 0.92 if slices is not None else 0.89, "Modality: CT")


def _trial_localizer(header: Mapping[str, Any], found: frozenset[str]) -> Finding:
    """NLST's code L. It is taken at its word only where a second witness says scout, for the letter is one of ten."""
    slices = header.get("num_slices")
    if any(map(words.CT_TOPOGRAM_KERNEL.fullmatch, found)):
        return Finding("LOCALIZER", 0.88, "SeriesDescription: trial code L and the reconstruction filter of topograms")
    if isinstance(slices, int | float) and slices <= _FEW_SLICES:
        return Finding("LOCALIZER", 0.95, f"SeriesDescription: trial code L, {slices:g} slices")
    return Finding("CT", 0.5, "Modality: CT; SeriesDescription: trial code L, perhaps a scout")
