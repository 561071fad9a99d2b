"""Contrast: whether an intravenous agent was in the patient."""

import re
from collections.abc import Mapping
from typing import Any

from radnet.labels.finding import Finding, abstain
from radnet.labels.text import fold

_AGENT = r"(?:contrast\w*|cont|con|gad\w*|gd|km|kontrast\w*|injection|injektion|inj|mdc|civ|pdc|iv|c)"
_BOTH = re.compile(
    r"\b(?:w/?o|without|ohne|sans|sin|senza|pre)\b.{0,12}?(?<![a-z])(?:w|with|mit|avec|con|post)(?!\w|/?o\b)"
    r"|\b(?:w|with|mit|avec|con|post)\b\s*(?:[/&+,]|and|und|et|y|e)?\s*(?:w/?o|without|ohne|sans|sin|senza|pre)\b"
)
_NO = re.compile(
    rf"\b(?:without|w/o|wo|no|non|ohne|sans|zonder|sin|senza|pre)\b\W*(?:iv\W*)?{_AGENT}\b"
    r"|\b(?:without|w/o|wo|unenhanced|nonenhanced|noncontrast|noncon|ncct|nect|nativ|native|nativo|plain|precontrast"
    r"|blanco|prekontrast|pre|basal)\b|(?:^|\s)-c\b"
)
_YES = re.compile(
    r"\+\s?c\b|\bc\+|\b(?:post|postcontrast|postgad|postgd|contrast|contraste|contrasto|kontrast|kontrastmittel|km|gad"
    r"|gado|gadolinium|gadavist|gd|enh|enhanced|enhancement|ce|cect|mdc|injection|arterial|arteriell|arterielle|portal"
    r"|portovenous|portalvenos|venous|venos|veineux|nephrographic|nephro|injecte)\b"
)
# In an MR description "W" means weighted and a study "with contrast" holds series from before the injection.
_YES_IN_CT = re.compile(r"\b(?:w|with|cta|ctpa|angio|pe|delayed)\b")
_NO_AGENT = re.compile(r"(?:none|no|nil|non|kein|keine|ohne|without|no contrast|non contrast|0|-+)")
_NOT_SAID = re.compile(r"(?:n/?a|unknown|\?|yes/no|)")
_INTRAVENOUS = re.compile(r"\b(?:iv|i\.v|intravenous|intraven\w*|infusion)")
_ORAL = re.compile(r"\b(?:oral\w*|po|per os|rectal|enteric)\b")


def mention(text: str, is_ct: bool) -> str | None:
    """ "yes" or "no" where a description says so; None where it says nothing or both ("W/WO", "pre and post")."""
    folded = fold(text)
    rest = _BOTH.sub(" ", folded)
    if rest != folded:
        return None
    without = _NO.sub(" ", rest)
    says_no = without != rest
    says_yes = bool(_YES.search(without)) or (is_ct and bool(_YES_IN_CT.search(without)))
    return None if says_no == says_yes else "yes" if says_yes else "no"


def _agent(header: Mapping[str, Any]) -> str | None:
    agent = fold(str(header.get("ContrastBolusAgent", ""))).strip()
    route = fold(str(header.get("ContrastBolusRoute", "")))
    if _NO_AGENT.fullmatch(agent):
        return "no"
    if _INTRAVENOUS.search(route) or _INTRAVENOUS.search(agent):
        return "yes"
    if _NOT_SAID.fullmatch(agent) or _ORAL.search(route) or _ORAL.search(agent):
        return None
    return "yes"


def contrast(header: Mapping[str, Any]) -> Finding:
    """ "yes" or "no"; abstains where nothing is said, where only oral contrast is named, and where sources disagree.

    The nearer a source is to the series the more it counts: SeriesDescription, ContrastBolusAgent and -Route,
    ProtocolName, StudyDescription.
    """
    is_ct = header.get("Modality") == "CT"
    said = {
        "SeriesDescription": (mention(str(header.get("SeriesDescription", "")), is_ct), 0.9),
        "ContrastBolusAgent": (_agent(header), 0.95),
        "ProtocolName": (mention(str(header.get("ProtocolName", "")), is_ct), 0.75),
        "StudyDescription": (mention(str(header.get("StudyDescription", "")), is_ct), 0.7),
    }
    if not is_ct and said["StudyDescription"][0] == "yes":
        del said["StudyDescription"]
    votes = {source: vote for source, (vote, _) in said.items() if vote}
    if not votes:
        return abstain("no agent, and no description speaks of contrast")
    if len(set(votes.values())) > 1:
        return abstain("sources disagree: " + ", ".join(f"{source} {vote}" for source, vote in votes.items()))
    value = next(iter(votes.values()))
    return Finding(value, max(said[source][1] for source in votes), f"{', '.join(votes)}: {value}")
