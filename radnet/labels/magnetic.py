"""Families of MR images, asked in order: what is computed, what is special, then how it is weighted."""

import re
from collections.abc import Callable

from radnet.labels import words
from radnet.labels.facts import Facts
from radnet.labels.finding import Finding, abstain
from radnet.labels.technique import is_diffusion_named, technique_of
from radnet.labels.weighting import flair, gradient_echo, stir, weighted

_DERIVED_TYPES = frozenset(
    "mip minip mnip mpr projection vrt ssd subtract subtraction sub reformatted rendering screen curved".split()
)
_DIFFUSION_TYPES = frozenset("diffusion tracew trace fa dti dwi tensor isotropic bvalue".split())
_PERFUSION_TYPES = frozenset("perfusion asl cbf cbv mtt ttp relcbf relcbv relmtt tmax pbp gbp".split())
# "SER" is the signal enhancement ratio, or short for series.
_SERIES_NUMBER = re.compile(r" ser \d")
_WEIGHTINGS = frozenset({"t1", "t2", "pd", "stir", "flair"})


def mr_family(facts: Facts) -> Finding:
    """The family of an MR series; abstains where no rule decides."""
    for rule in _RULES:
        finding = rule(facts)
        if finding is not None:
            return finding
    return abstain("the name, echo and repetition times say nothing")


def _derived(facts: Facts) -> Finding | None:
    if hits := facts.image_type & _DERIVED_TYPES:
        return Finding("DERIVED", 0.95, f"ImageType: {min(hits)}")
    # "t1_mpr" is short for MPRAGE, as its tags say too.
    is_mprage = facts.phrase.startswith(" t 1 mpr ") or facts.is_gradient and facts.ti_ms is not None
    if hits := facts.words & (words.DERIVED - {"mpr"} if is_mprage else words.DERIVED):
        return Finding("DERIVED", 0.88, f"name of the series: {min(hits)}")
    if words.DERIVED_PHRASE.search(facts.phrase) or words.ARITHMETIC.search(facts.text):
        return Finding("DERIVED", 0.88, "name of the series: computed from other series, or a saved screen")
    return None


def _adc(facts: Facts) -> Finding | None:
    if hits := facts.image_type & words.ADC:
        return Finding("ADC", 0.97, f"ImageType: {min(hits)}")
    if facts.words & words.ADC or words.ADC_PHRASE.search(facts.phrase):
        # "DWI and ADC" of one acquisition, or a b-value image that names the map it goes with.
        return Finding("ADC", 0.88, "name of the series: ADC")
    return None


def _perfusion(facts: Facts) -> Finding | None:
    if hits := facts.image_type & _PERFUSION_TYPES:
        return Finding("PERF-MAP", 0.95, f"ImageType: {min(hits)}")
    maps = words.MAPS - {"ser"} if _SERIES_NUMBER.search(facts.phrase) else words.MAPS
    if hits := facts.words & maps:
        return Finding("PERF-MAP", 0.88, f"name of the series: {min(hits)}")
    if hits := facts.words & words.PERFUSION:
        if facts.words & (words.DYNAMIC | {"vibe", "t1"}):
            return Finding("DCE", 0.8, f"name of the series: {min(hits)}, T1-weighted")
        return Finding("PERF-MAP", 0.75, f"name of the series: {min(hits)}")
    return None


def _diffusion(facts: Facts) -> Finding | None:
    if facts.b_value:
        return Finding("DWI", 0.97, f"DiffusionBValue {facts.b_value:g}")
    if hits := facts.image_type & _DIFFUSION_TYPES:
        return Finding("DWI", 0.95, f"ImageType: {min(hits)}")
    if is_diffusion_named(facts) or " fa map" in facts.phrase:
        hits = facts.words & words.DIFFUSION
        return Finding("DWI", 0.89, f"name of the series: {min(hits) if hits else 'a b-value'}")
    if facts.said == "" and facts.pulse & words.ECHO_PLANAR and any(map(words.B_VALUE.fullmatch, facts.pulse)):
        return Finding("DWI", 0.95, "SequenceName: echo planar with a b-value")
    if facts.b_value == 0 and technique_of(facts).value == "EPI":
        return Finding("DWI", 0.85, "DiffusionBValue 0, echo planar")
    return None


def _special(facts: Facts) -> Finding | None:
    """Maps, function, flow, spectra, phase images: nothing that one weighting describes."""
    if facts.is_phase:
        return Finding("OTHER", 0.9, "ImageType or ComplexImageComponent: phase, imaginary or velocity")
    if "map" in facts.image_type or "fmri" in facts.image_type:
        return Finding("OTHER", 0.95, "ImageType: map or fmri")
    if words.BOLUS_TIMING.search(facts.phrase) and not facts.words & (words.T1_GRADIENT | _WEIGHTINGS):
        return Finding("OTHER", 0.85, "name of the series: bolus timing")
    if words.FUNCTIONAL_PHRASE.search(facts.phrase):
        return Finding("OTHER", 0.88, "name of the series: a map, calibration, flow or function")
    hits = facts.words & words.FUNCTIONAL
    # "Cal" and "press" of a plain weighted series are other words.
    if hits and not (hits <= {"cal", "press", "csi"} and facts.words & _WEIGHTINGS):
        return Finding("OTHER", 0.88, f"name of the series: {min(hits)}")
    if "fieldmap" in facts.phrase or (facts.words & {"cine", "dir"} and not facts.words & words.BALANCED):
        return Finding("OTHER", 0.8, "name of the series: cine or double inversion")
    return None


def _angiography(facts: Facts) -> Finding | None:
    if facts.is_angiography:
        return Finding("MRA", 0.95, "AngioFlag, TimeOfFlightContrast or AcquisitionContrast")
    hits = facts.words & words.ANGIOGRAPHY
    if hits or words.ANGIOGRAPHY_PHRASE.search(facts.phrase) or facts.pulse & {"tof", "2dtof", "3dtof", "toff"}:
        return Finding("MRA", 0.88, f"name of the sequence: {min(hits) if hits else 'angiography'}")
    return None


def _dynamic(facts: Facts) -> Finding | None:
    hits = facts.words & words.DYNAMIC
    if hits == {"dyna"} and facts.words & {"t2", "flair", "stir"}:
        return None  # the name of a product, not of a dynamic series
    if hits or words.DYNAMIC_PHRASE.search(facts.phrase):
        return Finding("DCE", 0.85, f"name of the series: {min(hits) if hits else 'phases'}")
    return None


def _balanced(facts: Facts) -> Finding | None:
    hits = (facts.words | facts.pulse) & words.BALANCED
    if hits or words.BALANCED_PHRASE.search(facts.phrase):
        return Finding("BSSFP", 0.88, f"name of the sequence: {min(hits) if hits else 'balanced'}")
    if facts.is_steady:
        return Finding("BSSFP", 0.8, "SteadyStatePulseSequence: balanced")
    return None


def _echo_planar(facts: Facts) -> Finding | None:
    if technique_of(facts).value != "EPI" or "flair" in facts.words:
        return None
    return Finding("OTHER", 0.75, "echo planar, neither diffusion nor perfusion by name")


_RULES: tuple[Callable[[Facts], Finding | None], ...] = (
    _derived,
    _adc,
    _perfusion,
    _diffusion,
    _angiography,
    _dynamic,
    _special,
    _balanced,
    _echo_planar,
    stir,
    flair,
    gradient_echo,
    weighted,
)
