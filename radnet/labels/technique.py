"""Technique: how an MR image was echoed: spin echo, gradient echo or echo planar."""

from collections.abc import Mapping
from typing import Any

from radnet.labels import words
from radnet.labels.facts import Facts, facts_of
from radnet.labels.finding import Finding, abstain

TECHNIQUES = ("SE", "GRE", "EPI")


def technique(header: Mapping[str, Any]) -> Finding:
    """SE, GRE or EPI from ScanningSequence, EchoPulseSequence and the names of the sequence, else from times.

    Abstains for all but MR, where nothing is said, and where the tags and the names disagree.
    """
    if header.get("Modality") != "MR":
        return abstain("not MR")
    return technique_of(facts_of(header))


def technique_of(facts: Facts) -> Finding:
    """The technique from the facts of an MR series."""
    if facts.is_planar:
        return Finding("EPI", 0.95, "ScanningSequence: EP")
    if facts.words & words.ECHO_PLANAR or facts.pulse & words.ECHO_PLANAR:
        return Finding("EPI", 0.9, "name of the sequence: echo planar")
    if is_diffusion_named(facts):
        return abstain("diffusion is mostly echo planar, and is not named so")
    by_tag = {"GRE"} if facts.is_gradient else set()
    by_tag |= {"SE"} if facts.is_spin else set()
    by_name = _by_name(facts)
    said = by_tag | by_name
    if len(said) > 1:
        return abstain("spin and gradient echo are both named")
    if said:
        value = next(iter(said))
        evidence = [f"ScanningSequence: {value}"] if by_tag else []
        evidence += [f"name of the sequence: {_hit(facts, value)}"] if by_name else []
        return Finding(
            value, 0.97 if by_tag and by_name else 0.93 if by_tag else 0.88, f"{' and '.join(evidence)} → {value}"
        )
    return _by_times(facts)


def is_diffusion_named(facts: Facts) -> bool:
    """Whether the name of a series speaks of diffusion or of a b-value."""
    return bool(
        facts.words & words.DIFFUSION
        or any(map(words.B_VALUE.fullmatch, facts.words))
        or words.B_VALUE_PHRASE.search(facts.phrase)
    )


def _hit(facts: Facts, value: str) -> str:
    vocabulary = words.GRADIENT_ECHO if value == "GRE" else words.PULSE_SPIN_ECHO
    hits = (facts.words | facts.pulse) & vocabulary | facts.image_type & {"ffe", "se"}
    return min(hits) if hits else "in and opposed phase"


def _by_name(facts: Facts) -> set[str]:
    spin = facts.words & words.SPIN_ECHO or facts.pulse & words.PULSE_SPIN_ECHO or "se" in facts.image_type
    gradient = (facts.words | facts.pulse) & words.GRADIENT_ECHO or "ffe" in facts.image_type
    # In and opposed phase is a gradient echo, unless a spin echo with Dixon says its name.
    if not spin and not facts.is_spin and not facts.words & {"t2", "stir", "flair"}:
        gradient = gradient or words.IN_OPPOSED.search(facts.phrase) or facts.words & words.DIXON
    # "se" before a gradient echo's own name is a prefix of Philips (seTHRIVE).
    if spin == {"se"} and (facts.words | facts.pulse) & words.T1_GRADIENT and not facts.is_spin:
        spin = frozenset()
    if facts.words & {"grase", "tgse"}:
        return {"SE", "GRE"}
    return ({"SE"} if spin else set()) | ({"GRE"} if gradient else set())


def _by_times(facts: Facts) -> Finding:
    tr_ms, te_ms, flip_deg = facts.tr_ms, facts.te_ms, facts.flip_deg
    if facts.is_spoiled:
        return Finding("GRE", 0.88, "SequenceVariant: spoiled → GRE")
    if "ir" in facts.scanning and (tr_ms is None or tr_ms >= 1000) and not (flip_deg and flip_deg < 60):
        if te_ms is None or te_ms > 6:
            return Finding("SE", 0.7, "ScanningSequence: IR alone → SE")
    if tr_ms is not None and te_ms is not None:
        times = f"RepetitionTime {tr_ms:g} ms and EchoTime {te_ms:g} ms"
        if tr_ms < 80 or te_ms < 5 and tr_ms < 350:
            return Finding("GRE", 0.85, f"{times}: too short for a spin echo → GRE")
        if tr_ms >= 1000 and te_ms >= 60 or flip_deg and flip_deg >= 75 and tr_ms >= 300 and te_ms >= 7:
            return Finding("SE", 0.75, f"{times} → SE")
    # T2-weighted without another word is a spin echo: a gradient echo would say so, or be called T2*.
    is_balanced = facts.words & words.BALANCED or words.BALANCED_PHRASE.search(facts.phrase)
    if (
        facts.words & ({"t2"} | words.SINGLE_SHOT)
        and not is_balanced
        and "t1" not in facts.words
        and not (flip_deg and flip_deg < 60)
    ):
        if not (te_ms is not None and te_ms < 40 or tr_ms is not None and tr_ms < 800):
            return Finding("SE", 0.75, "the name says T2 and no echo type → SE")
    return abstain("no echo type is named")
