"""How an MR image is weighted: STIR, FLAIR, T1, T2, PD and T2*, by name and by times, which must not disagree."""

from radnet.labels import words
from radnet.labels.facts import Facts
from radnet.labels.finding import Finding, abstain
from radnet.labels.technique import technique_of

# Inversion times in ms that null fat, by field in tesla up to which they hold: about 0.69 of fat's T1.
_FAT_NULL_MS = ((0.1, 40, 110), (0.6, 60, 150), (1.2, 90, 180), (2.4, 100, 235), (4.0, 150, 290), (20.0, 180, 350))
_ANY_FAT_NULL_MS = (80, 290)
_HEAD = frozenset("brain head skull neuro hirn schadel cerveau crane cerebro craneo encefalo cervello hersenen".split())


def _nulls_fat(facts: Facts) -> bool:
    if facts.ti_ms is None:
        return False
    low_ms, high_ms = _ANY_FAT_NULL_MS
    if facts.field_t is not None:
        low_ms, high_ms = next(((low, high) for top, low, high in _FAT_NULL_MS if facts.field_t <= top), (180, 350))
    return low_ms <= facts.ti_ms <= high_ms


def stir(facts: Facts) -> Finding | None:
    """STIR by a short inversion time or by name; None where neither, or where the technique is a gradient echo."""
    if technique_of(facts).value == "GRE" or facts.words & words.GRADIENT_ECHO:
        return None
    is_named = bool(facts.words & {"stir", "fstir", "tstir"}) or facts.said == "stir"
    if facts.ti_ms is not None:
        return _stir_by_time(facts, is_named)
    if is_named and facts.denies_inversion:
        return abstain("the name says STIR, ScanningSequence knows no inversion")
    if is_named:
        return Finding("STIR", 0.89, "name of the series: stir")
    is_t1 = "t1" in facts.words
    if facts.is_flair_named or is_t1 or not facts.words & {"tirm", "tir", "ir", "irfse", "fseir", "fir", "irtse"}:
        return None
    if facts.words & {"tirm", "tir"} and facts.words & _HEAD:
        return abstain("name of the series: tirm, which in the head may be STIR or FLAIR; no InversionTime")
    if facts.denies_inversion:
        return abstain("the name says inversion recovery, ScanningSequence knows no inversion")
    return Finding("STIR", 0.8, "name of the series: inversion recovery, no FLAIR")


def _stir_by_time(facts: Facts, is_named: bool) -> Finding | None:
    inverted = facts.is_inverted or is_named
    if _nulls_fat(facts) and inverted:
        if facts.is_flair_named:
            return abstain("the name says FLAIR, InversionTime is that of STIR")
        if "t1" in facts.words and not is_named:
            return abstain("the name says T1, InversionTime is that of STIR")
        return Finding("STIR", 0.97 if is_named else 0.93, f"InversionTime {facts.ti_ms:g} ms")
    if is_named and facts.ti_ms > 350:
        return abstain("the name says STIR, InversionTime is too long for it")
    return Finding("STIR", 0.85, "name of the series: stir") if is_named else None


def flair(facts: Facts) -> Finding | None:
    """T1-FLAIR or T2-FLAIR by name and by times; abstains where they disagree or the technique is not spin echo."""
    is_named = facts.is_flair_named
    is_inverted = facts.ti_ms is not None and (facts.is_inverted or is_named or facts.is_spin)
    if not is_named and not is_inverted:
        return None
    echo = technique_of(facts)
    if echo.value == "GRE" or echo.value == "EPI" or facts.is_gradient:
        return abstain("the name says FLAIR, the technique is not spin echo") if is_named else None
    named = "T1-FLAIR" if "t1" in facts.words | facts.pulse else "T2-FLAIR" if is_named else None
    if facts.ti_ms is None:
        return _flair_by_name(facts, named)
    timed, evidence = _flair_by_time(facts)
    if timed is None:
        return _other_inversion(facts, is_named, evidence)
    is_sure = is_named and bool(facts.words & {"t1", "t2"})
    if is_sure and named != timed:
        return abstain(f"the name says {named}, {evidence}")
    if not is_named and "t1" in facts.words and timed == "T2-FLAIR" or "pd" in facts.words:
        return abstain(f"the name says another weighting, {evidence}")
    is_t1_called_t2 = not is_named and "t2" in facts.words and timed == "T1-FLAIR"
    if is_t1_called_t2:
        return abstain(f"the name says T2, {evidence}")
    return Finding(timed, 0.97 if is_named else 0.88, f"{evidence} → {timed}")


def _flair_by_name(facts: Facts, named: str) -> Finding:
    if "t1" in facts.words and "t2" in facts.words:
        return abstain("the name says FLAIR and both T1 and T2")
    if facts.denies_inversion:
        return abstain(f"the name says {named}, ScanningSequence knows no inversion")
    te_ms = facts.te_ms
    if te_ms is not None and (te_ms >= 60) != (named == "T2-FLAIR"):
        return abstain(f"the name says {named}, EchoTime {te_ms:g} ms does not fit")
    if facts.tr_ms is not None and (facts.tr_ms >= 3500) != (named == "T2-FLAIR"):
        return abstain(f"the name says {named}, RepetitionTime {facts.tr_ms:g} ms does not fit")
    if facts.tr_ms is not None and facts.tr_ms < 1200:
        return abstain(f"the name says {named}, RepetitionTime {facts.tr_ms:g} ms leaves no time to invert")
    is_spelled_out = facts.words & {"t1", "t2"} or te_ms is not None
    return Finding(named, 0.93 if is_spelled_out else 0.89, f"name of the series: flair → {named}")


def _flair_by_time(facts: Facts) -> tuple[str | None, str]:
    te_ms, tr_ms, ti_ms = facts.te_ms, facts.tr_ms, facts.ti_ms
    evidence = f"InversionTime {ti_ms:g} ms, EchoTime {te_ms or 0:g} ms, RepetitionTime {tr_ms or 0:g} ms"
    if 1200 <= ti_ms <= 3300 and (te_ms is None or te_ms >= 60) and (tr_ms is None or tr_ms >= 3500):
        return "T2-FLAIR", evidence
    if 550 <= ti_ms <= 1300 and (te_ms is None or te_ms < 60) and (tr_ms is None or 1200 <= tr_ms <= 4000):
        return "T1-FLAIR", evidence
    return None, f"{evidence}: neither T1-FLAIR nor T2-FLAIR"


def _other_inversion(facts: Facts, is_named: bool, evidence: str) -> Finding | None:
    """Spin echoes after an inversion that nulls neither fat nor water: T1-weighted if so named and short."""
    is_short = facts.te_ms is None or facts.te_ms < 40
    if not is_named and "t1" in facts.words and "t2" not in facts.words and is_short and 150 <= facts.ti_ms <= 1300:
        return Finding("T1", 0.75, f"the name says T1, InversionTime {facts.ti_ms:g} ms")
    # Some scanners write an InversionTime into sequences that invert nothing.
    if not is_named and not facts.is_inverted:
        return None
    return abstain(evidence)


def gradient_echo(facts: Facts) -> Finding | None:
    """The weighting of a gradient echo; None for other techniques."""
    if technique_of(facts).value != "GRE":
        return None
    if (hits := (facts.words | facts.pulse) & words.SUSCEPTIBILITY) or facts.said == "t2star":
        return Finding("T2STAR", 0.88, f"name of the sequence: {min(hits) if hits else 't2star'}")
    named = [name for name in ("t1", "t2", "pd") if name in facts.words]
    if clash := _gradient_clash(facts, named):
        return abstain(clash)
    if named == ["pd"]:
        return Finding("PD", 0.75, "gradient echo named PD")
    if named == ["t2"]:
        return Finding("T2STAR", 0.8, "gradient echo named T2")
    if named == ["t1"] and not (facts.te_ms is not None and facts.te_ms >= 25):
        return Finding("T1", 0.89, "gradient echo named T1")
    if hits := (facts.words | facts.pulse) & words.T1_GRADIENT:
        return Finding("T1", 0.85, f"name of the sequence: {min(hits)}")
    return _gradient_by_times(facts)


def _gradient_clash(facts: Facts, named: list[str]) -> str:
    """Why the times of a gradient echo exclude the weighting of its name; "" where they do not."""
    te_ms, tr_ms, flip_deg = facts.te_ms, facts.tr_ms, facts.flip_deg
    if named == ["t2"] and te_ms is not None and te_ms < (4 if facts.field_t and facts.field_t > 4 else 8):
        return f"the name says T2, EchoTime {te_ms:g} ms is too short for a T2*-weighted gradient echo"
    if named == ["pd"] and flip_deg and tr_ms and flip_deg >= 40 and tr_ms < 350:
        return f"the name says PD, FlipAngle {flip_deg:g} and RepetitionTime {tr_ms:g} ms weight by T1"
    return ""


def _gradient_by_times(facts: Facts) -> Finding:
    te_ms, tr_ms, flip_deg = facts.te_ms, facts.tr_ms, facts.flip_deg
    if te_ms is not None and te_ms >= 12:
        return Finding("T2STAR", 0.75, f"gradient echo, EchoTime {te_ms:g} ms")
    if te_ms is not None and te_ms < 8 and (tr_ms is None or tr_ms < 350 or facts.ti_ms is not None):
        if flip_deg is None or flip_deg >= 8 or facts.ti_ms is not None:
            return Finding("T1", 0.75, f"gradient echo, EchoTime {te_ms:g} ms")
    if words.IN_OPPOSED.search(facts.phrase) or facts.words & words.DIXON:
        return Finding("T1", 0.75, "gradient echo, Dixon or in and opposed phase")
    if facts.words & {"fl", "flash"} and te_ms is None:
        return Finding("T1", 0.7, "name of the sequence: flash")
    return abstain("gradient echo of unknown weighting")


def weighted(facts: Facts) -> Finding | None:
    """T1, T2 or PD by repetition and echo time and by name; abstains where they disagree."""
    timed, evidence = _weighted_by_time(facts)
    named = _named(facts)
    if timed and named and timed != named:
        if _is_plausible(named, facts):
            return Finding(named, 0.7, f"the name says {named}, {evidence} leaves room for it")
        return abstain(f"{evidence} → {timed}, the name says {named}")
    if facts.is_component and (timed or named):
        return Finding(timed or named, 0.7, f"{evidence or 'the name'} → {timed or named}; fat or opposed phase alone")
    if timed:
        return Finding(timed, 0.97 if named else 0.89, f"{evidence} → {timed}")
    # Where tags and name disagree on the echo the times have no verdict of their own, but still exclude.
    is_timed = facts.tr_ms is not None and facts.te_ms is not None
    if named and is_timed and not _is_plausible(named, facts):
        evidence = evidence or f"RepetitionTime {facts.tr_ms:g} ms and EchoTime {facts.te_ms:g} ms"
        return abstain(f"the name says {named}, {evidence} does not fit")
    return Finding(named, 0.85, f"the name says {named}") if named else None


def _named(facts: Facts) -> str | None:
    names = [name for name, word in (("T1", "t1"), ("T2", "t2")) if word in facts.words]
    names += ["PD"] if facts.words & words.PROTON_DENSITY else []
    if not names and (facts.words & words.SINGLE_SHOT or words.SINGLE_SHOT_PHRASE.search(facts.phrase)):
        names = ["T2"]
    if not names and facts.said in ("t1", "t2", "pd"):
        names = [facts.said.upper()]
    return names[0] if len(names) == 1 else None


def _weighted_by_time(facts: Facts) -> tuple[str | None, str]:
    tr_ms, te_ms = facts.tr_ms, facts.te_ms
    if tr_ms is None or te_ms is None or technique_of(facts).value != "SE":
        return None, ""
    evidence = f"RepetitionTime {tr_ms:g} ms and EchoTime {te_ms:g} ms"
    if facts.ti_ms is not None and facts.is_inverted:
        return None, evidence
    is_high_field = facts.field_t is not None and facts.field_t > 2
    if tr_ms <= (1000 if is_high_field else 850) and te_ms <= 35:
        return "T1", evidence
    if te_ms >= 70 and (tr_ms >= 1000 or _is_single_shot(facts)):
        return "T2", evidence
    return ("PD", evidence) if tr_ms >= 1600 and te_ms <= 45 else (None, evidence)


def _is_single_shot(facts: Facts) -> bool:
    """Whether all echoes follow one excitation, so that the repetition time weights nothing."""
    return bool(facts.words & words.SINGLE_SHOT or facts.pulse & {"h", "ssfse", "haste", "fase2d", "fase"})


def _is_plausible(named: str, facts: Facts) -> bool:
    """Whether the times leave room for what the description says, though they lie between or near the thresholds."""
    if named == "T1":
        return facts.tr_ms <= 1600 and facts.te_ms <= 45
    if named == "T2":
        # Above 4 T, in animals, T2 is short.
        is_long = facts.te_ms >= (25 if facts.field_t and facts.field_t > 4 else 40)
        return is_long and (facts.tr_ms >= 800 or _is_single_shot(facts))
    return facts.te_ms <= 60 and facts.tr_ms >= 1000
