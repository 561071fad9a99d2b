"""Contrast: whether an intravenous agent was in the patient."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from radnet.labels import contrast_words as words
from radnet.labels.finding import Finding, abstain
from radnet.labels.sequence import is_prior
from radnet.labels.text import fold, number, split_capitals, text_of

_WEIGHTED = re.compile(r"\b(t[12]|pd)w\b")


@lru_cache(maxsize=1 << 15)
def mention(text: str, is_ct: bool) -> str | None:
    """ "yes" or "no" where a description says so; None where it says nothing or both ("W/WO", "pre and post")."""
    # The W of T2W is no "with".
    joined = fold(split_capitals(text)) if is_ct else _WEIGHTED.sub(r"\1", fold(split_capitals(text)))
    # Digits stand apart (5POST: 5 post; gad3: gad 3), and capitals (PostC: post c).
    folded = re.sub(r"(?<=\d)(?=[a-z])|(?<=[a-z]{2})(?=\d)|(?<=\b[cs]/c)(?=\d)", " ", joined)
    folded = re.sub(r"\b(pre|post) c\b", r"\1c", folded)
    folded = re.sub(r"\b(pre|post)(?=(?:ax|axial|sag|sagittal|cor|coronal|tra)\b)", r"\1 ", folded)
    if words.BOTH.search(folded) or is_ct and words.VIRTUAL.search(folded):
        return None
    rest = words.NOT_CONTRAST.sub(" ", folded)
    without = words.NO.sub(" ", rest)
    says_no = without != rest
    if words.WITH_ORAL.search(folded) and not says_no:
        return "yes"
    says_yes = bool(words.YES.search(without) or (words.YES_IN_CT if is_ct else words.YES_IN_MR).search(without))
    says_yes = says_yes or not says_no and bool(words.DYNAMIC.search(without))
    if not is_ct and words.UNENHANCED_FLOW.search(folded) and not words.AGENT_NAMED.search(without):
        says_yes = False
    return None if says_no == says_yes else "yes" if says_yes else "no"


def _agent(header: Mapping[str, Any]) -> tuple[str | None, float]:
    """What ContrastBolusAgent and its companions say, and how far to trust it."""
    agent = re.sub(r"\s+", " ", fold(text_of(header, "ContrastBolusAgent"))).strip(" .,;:")
    route = fold(text_of(header, "ContrastBolusRoute"))
    if words.NO_AGENT.fullmatch(agent):
        return "no", 0.89
    if words.INTRAVENOUS.search(agent) or words.INTRAVENOUS.search(route):
        return "yes", 0.87 if header.get("Modality") == "MR" else 0.89
    if words.ELSEWHERE.search(agent) or words.ELSEWHERE.search(route):
        return None, 0.0
    if words.NOT_SAID.fullmatch(agent):
        # A volume without an agent is how some injectors report.
        return ("yes", 0.8) if number(header, "ContrastBolusVolume") and not agent else (None, 0.0)
    # In MR the agent is often noted once for an exam that has series from before the injection.
    if header.get("Modality") == "MR" or not words.KNOWN_AGENT.search(agent):
        return "yes", 0.85
    return "yes", 0.89


def contrast(header: Mapping[str, Any]) -> Finding:
    """ "yes" or "no"; abstains where nothing is said, where only oral contrast is named, and where sources disagree.

    The nearer a source is to the series the more it counts: SeriesDescription, ContrastBolusAgent and -Route,
    ProtocolName, and what was asked for or performed as a whole. A description of the whole study is not heard where
    the series or its agent speaks, nor for a scout or a timing run, nor where it says "yes" of an MR study: these, and
    some series of every MR study, are from before the injection.
    """
    is_ct = header.get("Modality") == "CT"
    near = {
        "SeriesDescription": (mention(text_of(header, "SeriesDescription"), is_ct), 0.89),
        "ContrastBolusAgent": _agent(header),
    }
    far = {
        "ProtocolName": (mention(text_of(header, "ProtocolName"), is_ct), 0.75),
        "StudyDescription": (mention(text_of(header, "StudyDescription"), is_ct), 0.72),
    }
    for keyword in ("RequestedProcedureDescription", "PerformedProcedureStepDescription"):
        far[keyword] = mention(text_of(header, keyword), is_ct), 0.65
    if not is_ct:
        far = {source: said for source, said in far.items() if source == "ProtocolName" or said[0] == "no"}
    if is_prior(header):
        far = {}
    votes = {source: said for source, said in near.items() if said[0]}
    if not votes:
        votes = {source: said for source, said in far.items() if said[0]}
        far = {}
    if not votes:
        return abstain("no agent, and no description speaks of contrast")
    values = {vote for vote, _ in votes.values()}
    if len(values) > 1:
        return abstain("sources disagree: " + ", ".join(f"{source} {vote}" for source, (vote, _) in votes.items()))
    return _agreed(values.pop(), votes, {source: said[0] for source, said in far.items() if said[0]})


def _agreed(value: str, votes: dict[str, tuple[str | None, float]], far: dict[str, str | None]) -> Finding:
    """The common vote of the nearest sources, surer where farther ones agree and less so where they do not."""
    confidence = max(trust for _, trust in votes.values())
    others = [source for source, vote in far.items() if vote != value]
    evidence = f"{', '.join(votes)}: {value}"
    if len(votes) > 1 or any(vote == value for vote in far.values()):
        confidence = max(confidence, 0.95 if not others else confidence)
    if others and "SeriesDescription" not in votes and len(others) == len(far):
        return abstain(f"sources disagree: {evidence}; {', '.join(others)}: the opposite")
    if others:
        return Finding(value, min(confidence, 0.75), f"{evidence}; {', '.join(others)} disagree")
    return Finding(value, confidence, evidence)
