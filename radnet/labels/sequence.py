"""Sequence: the family of an image (what it is weighted by) and, apart from it, the technique (how it was echoed)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from radnet.labels import text
from radnet.labels.finding import Finding, abstain
from radnet.labels.text import number, tokens_of

FAMILIES = "CT T1 T2 T1-FLAIR T2-FLAIR PD STIR T2STAR DWI ADC DCE PERF-MAP MRA BSSFP PT LOCALIZER DERIVED OTHER".split()
TECHNIQUES = ("SE", "GRE", "EPI")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_LOCALIZER_TYPES = frozenset("localizer scout surview topogram survey".split())
_DERIVED_TYPES = frozenset("mip minip mpr projection vrt ssd subtract subtraction".split())
_DIFFUSION_TYPES = frozenset("diffusion tracew trace fa dti dwi".split())
_PERFUSION_TYPES = frozenset("perfusion asl cbf cbv mtt ttp relcbf relcbv tmax".split())


def is_localizer(header: Mapping[str, Any]) -> bool:
    """True for a scout of any modality, by ImageType, ScanOptions or SeriesDescription."""
    return bool(
        tokens_of(header, "ImageType", "ScanOptions") & _LOCALIZER_TYPES
        or tokens_of(header, "SeriesDescription") & text.LOCALIZER
    )


@dataclass(frozen=True)
class _Facts:
    words: frozenset[str]  # of SeriesDescription, or of ProtocolName where that is absent
    image_type: frozenset[str]
    scanning: frozenset[str]  # ScanningSequence: se ir gr ep rm
    pulse: frozenset[str]  # names of the vendor's sequence
    is_gradient: bool
    is_spin: bool
    tr_ms: float | None
    te_ms: float | None
    ti_ms: float | None
    b_value: float | None
    field_t: float | None
    is_angiography: bool
    technique: str | None


def _facts(header: Mapping[str, Any]) -> _Facts:
    echo = tokens_of(header, "EchoPulseSequence")
    return _Facts(
        words=tokens_of(header, "SeriesDescription" if header.get("SeriesDescription") else "ProtocolName"),
        image_type=tokens_of(header, "ImageType"),
        scanning=tokens_of(header, "ScanningSequence"),
        pulse=tokens_of(header, "SequenceName", "PulseSequenceName"),
        is_gradient="gradient" in echo,
        is_spin="spin" in echo,
        tr_ms=number(header, "RepetitionTime"),
        te_ms=number(header, "EchoTime"),
        ti_ms=number(header, "InversionTime"),
        b_value=number(header, "DiffusionBValue"),
        field_t=number(header, "MagneticFieldStrength"),
        is_angiography=header.get("AngioFlag") == "Y" or header.get("TimeOfFlightContrast") == "YES",
        technique=technique(header).value,
    )


def technique(header: Mapping[str, Any]) -> Finding:
    """SE, GRE or EPI from ScanningSequence, EchoPulseSequence and the names of the sequence.

    Abstains for CT, where nothing is said, and where the tags and the names disagree.
    """
    if header.get("Modality") != "MR":
        return abstain("not MR")
    scanning = tokens_of(header, "ScanningSequence")
    echo = tokens_of(header, "EchoPulseSequence")
    planar = "ep" in scanning or header.get("EchoPlanarPulseSequence") == "YES"
    names = tokens_of(header, "SequenceName", "PulseSequenceName", "SeriesDescription")
    if not header.get("SeriesDescription"):
        names |= tokens_of(header, "ProtocolName")
    if planar or names & text.ECHO_PLANAR:
        return Finding("EPI", 0.9, "ScanningSequence: EP" if planar else "name of the sequence: echo planar")
    if names & text.DIFFUSION:
        return abstain("diffusion is mostly echo planar, and is not named so")
    by_tag = {"GRE"} if "gr" in scanning or "gradient" in echo else set()
    by_tag |= {"SE"} if "se" in scanning or "spin" in echo else set()
    by_name = {"GRE"} if names & text.GRADIENT_ECHO else set()
    by_name |= {"SE"} if names & text.SPIN_ECHO else set()
    if not by_tag and not by_name and "ir" in scanning:
        return Finding("SE", 0.6, "ScanningSequence: IR alone")
    if len(by_tag | by_name) != 1:
        return abstain("spin and gradient echo are both named" if by_tag | by_name else "no echo type is named")
    value = next(iter(by_tag | by_name))
    evidence = [f"ScanningSequence: {value}"] if by_tag else []
    evidence += ["name of the sequence"] if by_name else []
    return Finding(value, 0.95 if by_tag else 0.8, f"{' and '.join(evidence)} → {value}")


def family(header: Mapping[str, Any]) -> Finding:
    """One of FAMILIES. Abstains where the header does not say, or says two things."""
    modality = header.get("Modality")
    if not modality:
        return abstain("no Modality")
    if is_localizer(header):
        return Finding("LOCALIZER", 0.95, "ImageType, ScanOptions or SeriesDescription: scout")
    if str(header.get("SOPClassUID", "")).startswith(_SECONDARY_CAPTURE):
        return Finding("DERIVED", 0.95, "SOPClassUID: secondary capture")
    if modality in ("CT", "PT"):
        maps = tokens_of(header, "SeriesDescription") & text.MAPS
        return (
            Finding("PERF-MAP", 0.8, f"SeriesDescription: {min(maps)}") if maps else Finding(modality, 1.0, "Modality")
        )
    if modality != "MR":
        return Finding("OTHER", 1.0, "Modality is neither CT, MR nor PT")
    facts = _facts(header)
    for rule in _RULES:
        finding = rule(facts)
        if finding is not None:
            return finding
    return abstain("descriptions, echo and repetition times say nothing")


def _by_words(name: str, words: frozenset[str], image_types: frozenset[str]) -> Callable[[_Facts], Finding | None]:
    def rule(facts: _Facts) -> Finding | None:
        if hits := facts.image_type & image_types:
            return Finding(name, 0.95, f"ImageType: {min(hits)}")
        if hits := facts.words & words:
            return Finding(name, 0.85, f"SeriesDescription: {min(hits)}")
        return None

    return rule


def _diffusion(facts: _Facts) -> Finding | None:
    if facts.b_value:
        return Finding("DWI", 0.95, f"DiffusionBValue {facts.b_value:g}")
    return None


def _angiography(facts: _Facts) -> Finding | None:
    return Finding("MRA", 0.9, "AngioFlag or TimeOfFlightContrast") if facts.is_angiography else None


def _echo_planar(facts: _Facts) -> Finding | None:
    return Finding("OTHER", 0.8, "echo planar, neither diffusion nor perfusion") if facts.technique == "EPI" else None


def _is_flair_named(facts: _Facts) -> bool:
    return "flair" in facts.words or {"dark", "fluid"} <= facts.words or "darkfluid" in facts.words


def _stir(facts: _Facts) -> Finding | None:
    is_inverted = "ir" in facts.scanning or facts.words & {"ir", "stir", "tirm", "tir"} or "tir" in facts.pulse
    is_gradient = facts.technique == "GRE"
    if facts.ti_ms and 80 <= facts.ti_ms <= 300 and is_inverted and not is_gradient:
        if _is_flair_named(facts):
            return abstain("SeriesDescription says FLAIR, InversionTime is that of STIR")
        return Finding("STIR", 0.95, f"InversionTime {facts.ti_ms:g} ms")
    if "stir" in facts.words or (facts.ti_ms is None and not _is_flair_named(facts) and facts.words & {"tirm", "ir"}):
        if facts.ti_ms and facts.ti_ms > 300:
            return abstain("SeriesDescription says STIR, InversionTime is too long for it")
        return None if is_gradient else Finding("STIR", 0.8, "SeriesDescription: stir, tirm or ir")
    return None


def _flair(facts: _Facts) -> Finding | None:
    is_named = _is_flair_named(facts)
    is_inverted = facts.ti_ms is not None and ("ir" in facts.scanning or is_named or facts.is_spin)
    if not is_named and not is_inverted:
        return None
    if facts.technique in ("GRE", "EPI"):
        return abstain("SeriesDescription says FLAIR, the technique is not spin echo") if is_named else None
    named = "T1-FLAIR" if "t1" in facts.words else "T2-FLAIR" if is_named else None
    if facts.ti_ms is not None:
        timed, evidence = _flair_by_time(facts)
    else:
        timed, evidence = named, "SeriesDescription: flair"
        is_long = facts.te_ms is not None and facts.te_ms >= 60
        if facts.te_ms is not None and is_long != (named == "T2-FLAIR"):
            return abstain(f"SeriesDescription says {named}, EchoTime {facts.te_ms:g} ms does not fit")
    if timed is None:
        return abstain(evidence)
    if (
        is_named
        and "t1" in facts.words
        and timed != "T1-FLAIR"
        or is_named
        and "t2" in facts.words
        and timed != "T2-FLAIR"
    ):
        return abstain(f"SeriesDescription says {named}, {evidence}")
    return Finding(timed, 0.95 if is_named and facts.ti_ms else 0.85, f"{evidence} → {timed}")


def _flair_by_time(facts: _Facts) -> tuple[str | None, str]:
    evidence = (
        f"InversionTime {facts.ti_ms:g} ms, EchoTime {facts.te_ms or 0:g} ms, RepetitionTime {facts.tr_ms or 0:g} ms"
    )
    te_ms, tr_ms = facts.te_ms, facts.tr_ms
    if 1200 <= facts.ti_ms <= 3200 and (te_ms is None or te_ms >= 60) and (tr_ms is None or tr_ms >= 3500):
        return "T2-FLAIR", evidence
    if 600 <= facts.ti_ms <= 1300 and (te_ms is None or te_ms < 60) and (tr_ms is None or tr_ms <= 4000):
        return "T1-FLAIR", evidence
    return None, f"{evidence}: neither T1-FLAIR nor T2-FLAIR"


def _gradient_echo(facts: _Facts) -> Finding | None:
    if facts.technique != "GRE":
        return None
    if hits := (facts.words | facts.pulse) & text.SUSCEPTIBILITY:
        return Finding("T2STAR", 0.85, f"name of the sequence: {min(hits)}")
    if "t1" in facts.words or facts.words & {"mprage", "memprage", "bravo", "vibe", "thrive", "lava", "vibrant"}:
        return Finding("T1", 0.85, "SeriesDescription names a T1-weighted gradient echo")
    if facts.te_ms is not None and facts.te_ms >= 12:
        return Finding("T2STAR", 0.7, f"gradient echo, EchoTime {facts.te_ms:g} ms")
    if facts.te_ms is not None and facts.te_ms < 8:
        return Finding("T1", 0.7, f"gradient echo, EchoTime {facts.te_ms:g} ms")
    return Finding("OTHER", 0.5, "gradient echo of unknown weighting")


def _weighted_by_time(facts: _Facts) -> tuple[str | None, str]:
    tr_ms, te_ms = facts.tr_ms, facts.te_ms
    if tr_ms is None or te_ms is None or facts.technique != "SE":
        return None, ""
    evidence = f"RepetitionTime {tr_ms:g} ms and EchoTime {te_ms:g} ms"
    is_high_field = facts.field_t is not None and facts.field_t > 2
    if tr_ms <= (1000 if is_high_field else 850) and te_ms <= 35:
        return "T1", evidence
    if tr_ms >= 1000 and te_ms >= 70:
        return "T2", evidence
    return ("PD", evidence) if tr_ms >= 1600 and te_ms <= 45 else (None, evidence)


def _weighted(facts: _Facts) -> Finding | None:
    timed, evidence = _weighted_by_time(facts)
    names = [name for name, word in (("T1", "t1"), ("T2", "t2"), ("PD", "pd")) if word in facts.words]
    if not names and facts.words & text.SINGLE_SHOT:
        names = ["T2"]
    named = names[0] if len(names) == 1 else None
    if timed and named and timed != named:
        return abstain(f"{evidence} → {timed}, SeriesDescription says {named}")
    if timed:
        return Finding(timed, 0.95 if named else 0.85, f"{evidence} → {timed}")
    if named and evidence and not _is_plausible(named, facts):
        return abstain(f"SeriesDescription says {named}, {evidence} does not fit")
    return Finding(named, 0.7, f"SeriesDescription names {named}") if named else None


def _is_plausible(named: str, facts: _Facts) -> bool:
    """Whether times between the thresholds leave room for what the description says."""
    if named == "T1":
        return facts.tr_ms <= 1600 and facts.te_ms <= 45
    return facts.te_ms >= 40 and facts.tr_ms >= 800 if named == "T2" else facts.te_ms <= 60 and facts.tr_ms >= 1000


_RULES: tuple[Callable[[_Facts], Finding | None], ...] = (
    _by_words("DERIVED", text.DERIVED, _DERIVED_TYPES),
    _by_words("ADC", text.ADC, text.ADC),
    _by_words("PERF-MAP", text.MAPS | text.PERFUSION, _PERFUSION_TYPES),
    _diffusion,
    _by_words("DWI", text.DIFFUSION, _DIFFUSION_TYPES),
    _by_words("DCE", text.DYNAMIC, frozenset()),
    _angiography,
    _by_words("MRA", text.ANGIOGRAPHY, frozenset()),
    _by_words("OTHER", text.FUNCTIONAL, frozenset({"phase", "fmri"})),
    _by_words("BSSFP", text.BALANCED, frozenset()),
    _echo_planar,
    _stir,
    _flair,
    _gradient_echo,
    _weighted,
)
