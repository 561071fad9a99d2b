"""Contrast: whether an intravenous agent was in the patient."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from radnet.labels.finding import Finding, abstain
from radnet.labels.text import fold, number, split_capitals, text_of

_AGENT = (
    r"(?:(?:iv|i\.v\.?)\W*)?(?:contrast\w*|contr|cont|cte|con|kontr\w*|gad\w*|gd|km|inj\w*|mdc|mc|civ|pdc|iv|ic|c|"
    r"dye|enhance\w*|omni\w*|isovue|agente?|bolus)"
)
_WITHOUT = r"(?:without|w/o|wo|w\.o\.?|ohne|sans|zonder|sin|senza|sem|bez|no|non|not|minus)"
_BEFORE = r"(?:before|pre|vor|avant|voor|prima|antes|przed)"
_WITH = r"(?:with|w/?|mit|avec|met|con|com|post|after|nach|n\.|apres|na|dopo|despues|tras|plus)"
# A procedure, not an injection, is what came before or after.
_PROCEDURE = (
    r"(?:bx|biops\w*|proc\w*|op|operat\w*|surg\w*|treat\w*|therap\w*|tx|rx|rt|chemo\w*|ablat\w*|needle|clip|void\w*|"
    r"mort\w*|lumpect\w*|implant\w*|radiat\w*|transpl\w*|tace|embol\w*|drain\w*|mic\w*|stent|hd|exercise|stress|lavage|"
    r"processing|proces\w*|sat|sats|saturation|fa\d*|amp|filter|scan|test|monitoring|ct|mri|myelo\w*|nac|neo\w*|meno\w*|device)\b"
)
_BOTH = re.compile(
    rf"\b(?:without|w/?o|ohne|sans|zonder|sin|senza|sem|{_BEFORE})\b.{{0,12}}?(?<![a-z])(?:w|with|mit|avec|con|com|met|post|nach|apres|after)(?!\w|/?o\b)"
    rf"|\b(?:w|with|mit|avec|con|com|met|post)\b/?\s*(?:[-/&+,]|and|und|et|y|e|en|or)*\s*/?(?:w/?o|without|ohne|sans|sin|"
    rf"senza|sem|zonder|pre)\b|\bw\W{{0,2}}w/?o\b|\bwo\W{{0,2}}w\b|\bwwo\b|\bwow\b|\bc\+\W{{0,3}}c-|\bc-\W{{0,3}}c\+"
    r"|pre\b.{0,14}\bpost|\bpost\b.{0,6}\bpre\b|\+/-|±"
)
_NO = re.compile(
    rf"\b(?:{_WITHOUT})\W*{_AGENT}\b|\b{_BEFORE}\W*{_AGENT}\b|\bs/\s?(?:c|ci|civ|cte|contr\w*|iv|mdc|ev)\b|\bo\.?\s?km\b"
    r"|\b(?:without|w/o|w o|wo|woc|unenhanced|nonenhanced|non enhanced|noncontrast|noncon|nonc|ncct|nect|nc|nativ|native|nativo|"
    r"nativa|nativer|native phase|plain|precontrast|pregad|pregd|prec|precon|blanco|tnc|prekontrast|smdc|basal|basale|"
    r"diretta|vacio|unenh|nonenh|nce|sciv)\b"
    rf"|\bpre\b(?![\s-]*{_PROCEDURE})|(?:^|\s)-\s?c\b(?!\W*spine)|\b(?<!/)c-(?![\w-])|\bc minus\b|\biv\s?-(?![\w-])"
    r"|(?:^|\s)-\s?(?:km|ca|gd|civ)\b|\b[ki]-(?=\s|$)|\bagent\W+none\b|\b(?:ohne|sans|zonder|sin|senza|sem|bez)\s*$"
)
_YES = re.compile(
    rf"\b{_WITH}\W{{0,3}}{_AGENT}\b|\+\s?(?:c|k|km|cm|gd|gad\w*|iv|mdc|ci|civ|contrast\w*|kontrast\w*|k\s?\d)\b|\bc\s?\+(?!\s?\d)|"
    r"\bc/\s?(?:c|ci|civ|cte|contr\w*|iv|mdc|ev)\b(?!/)"
    rf"|\bpost\b(?![\s-]*{_PROCEDURE})|\b(?:postcontrast|postgad|postgd|postc|postcon|postkm|contrast|contraste|contrasto|"
    r"contrastado|contrastada|kontrast|kontrastmittel|km|gad|gado|gadolinium|gadavist|gadovist|gd|magnevist|dotarem|eovist|"
    r"primovist|multihance|omniscan|prohance|enh|enhanced|enhancement|enhancing|ce|cect|cemra|cmdc|mdc|injected|injecte|"
    r"injection|injektion|arterial|arteriell|arterielle|arteriel|arteriosa|arteriale|arterieel|arterienphase|portal|portale|"
    r"portalvenous|portovenous|portalvenos|portalvenose|portalvenoes\w*|portaal|portalfase|porto|portovenosa|portalveneus|venous|venos|venose|venosa|veineux|"
    r"venoso|veneus|nephrographic|nephro|nefrografica|nephrogram|corticomedullary|equilibrio|equilibrium|equil|kontrascie|hepatobiliary|zylna|zylne|tetnicza|wrotna|"
    r"parenchymal|washout)\b|\b(?<!\d )(?<!\d)cm\b(?!\W*\d)"
)
_DELAYED = re.compile(
    r"\b(?:delay|delays|delayed|dly|late|pozne|opoznione|opozn|tardif|tardive|tardiva|tardia|tardio|spat|spate|spaet|spaete|spatphase|spatvenos|excretory|"
    r"excretora|urographic|urographique)\b"
)
# In an MR description "W" means weighted and a study "with contrast" holds series from before the injection.
_YES_IN_CT = re.compile(
    r"\b(?:with(?!\W*(?:oral|po|locator|out))|cta|ctpa|angio\w*|angiotc|pe|pv|pvp|venography|runoff|urogram|urography|ctu|ctv|wc|aortogram|art|"
    r"arteries|thrombosis|embol\w*|[234]\s?-?\s?phase|multiphase|triphasic|biphasic|ven|parenchyme|rundoff|bolus|omnipaque|isovue|optiray|opti\s?\d*|ultravist|visipaque|iomeron|imeron|xenetix|omni)\b"
    r"|\b\d{2,3}\s?secs?\b|\b\d{1,3}\s?(?:cc|ml)\b|\b(?:i|iv)\s?\+(?=\s|$)"
    r"|(?<!lung )(?<!bone )(?<!lng )(?<!tissue )(?<!mediastinal )\bw\b(?!/?\s?(?:o\b|l\b|b\b|\d*\s?l\s?\d))"
    r"|\bp\.\s?v\.|\b(?:a|v|d)\s?-?phase\b"
)
_DYNAMIC = re.compile(r"\b(?:dce|dsc)\b")
_YES_IN_MR = re.compile(r"\b(?:bolus|art|ven|pvp|hbp)\b|\b\d{1,3}\s?(?:cc|ml)\b")
# Words that look like contrast and are not: phase contrast, a noise filter, an oral agent, flow without an agent.
_NOT_CONTRAST = re.compile(
    r"\bphase\W?contrast\w*|\bedge\W?enh\w*|\b(?:oral|po|enteric|rectal|positive|negative)\W*contrast\w*|\bno\W?delay\w*"
    r"|\bcontrast\W?(?:ratio|scale|resolution)|\bmulti\W?contrast|\blate\W*(?:effect|follow)\w*|\bw\W?spair\b|\bin\W?vivo"
    r"|\blung enh\w*|(?:^|\s)-\s?gad\w*|\bgating|\bc\W?/\W?a\W?/\W?p\b|\bc-a-p\b"
)
_UNENHANCED_FLOW = re.compile(r"\b(?:tof|2dtof|3dtof|swi|pc|venobold|qiss|native)\b")
_NO_IN_CT = re.compile(r"\bsimple\b")
_WITH_ORAL = re.compile(
    r"\b(?:iv|i\.v\.)\W*(?:and|und|et|y|e)?\W*(?:po|oral\w*)\b|\b(?:po|oral\w*)\W*(?:and|und|et|y|e)?\W*iv\b"
)
_VIRTUAL = re.compile(r"\b(?:vnc|virtual non|virtual unenhanced|vue)\b")
_NO_AGENT = re.compile(
    r"(?:none|no|nil|non|kein|keine|keins|nein|ohne|without|n|sans|sin|senza|negative|not used|none used|none given|not given|"
    rf"no agent|no iv|{_WITHOUT}\W*(?:iv\W*)?(?:contrast\w*|kontrast\w*|km|gad\w*|agent|mdc)|non\W?contrast|unenhanced|"
    r"nativ|native|0+|0+[.,]?0*\W*(?:ml|cc)|-+)"
)
_NOT_SAID = re.compile(r"(?:n/?a|n\.a\.?|unknown|unk|\?+|yes/no|other|see notes?|not specified|unspecified|null|nan|)")
_INTRAVENOUS = re.compile(r"\b(?:iv|i\.v|intravenous\w*|intraven\w*|endovenos\w*|infusion|vein|ev)")
_ELSEWHERE = re.compile(
    r"\b(?:oral\w*|po|p\.o|per os|rectal\w*|rektal\w*|enteric|enteral\w*|intrathecal|intra\W?articular\w*|gastro\w*|barium|"
    r"bario|readi\w*|volumen|breeza|water|wasser|eau|agua|acqua|telebrix gastro|colon\w*|air|co2|saline|nacl|mannitol|"
    r"lumirem|peritrast|micropaque|e-?z-?\w+|tagitol|arthro\w*|fdg|f-?18\w*|ga-?68\w*|dotatate|psma|tracer)"
)
_KNOWN_AGENT = re.compile(
    r"\b(?:omni\w*|isov\w*|ultravist|visip\w*|optiray|iop\w*|iom\w*|ioh\w*|iod\w*|iov\w*|xenetix|imeron|accupaque|"
    r"solutrast|oxilan|conray|hexabrix|hypaque|gad\w*|magnev\w*|multih\w*|dotarem|clariscan|prohance|eovist|primovist|ablavar|"
    r"feraheme|vueway|elucirem|artirem|cyclolux|dotagraf|non\W?ionic|nonionic|ionic|contrast\w*|kontrast\w*|km|applied|ce|"
    r"yes|ja|oui|si|scanlux|telebrix|ioversol|renografin|vasovist|resovist|endorem)"
)


@lru_cache(maxsize=1 << 15)
def mention(text: str, is_ct: bool) -> str | None:
    """ "yes" or "no" where a description says so; None where it says nothing or both ("W/WO", "pre and post")."""
    # Digits stand apart (5POST: 5 post; gad3: gad 3), and capitals (PostC: post c).
    folded = re.sub(r"(?<=\d)(?=[a-z])|(?<=[a-z]{2})(?=\d)", " ", fold(split_capitals(text)))
    folded = re.sub(r"\b(pre|post) c\b", r"\1c", folded)
    if is_ct and _VIRTUAL.search(folded):
        return None
    if _BOTH.search(folded):
        return None
    if _WITH_ORAL.search(folded) and not _NO.search(folded):
        return "yes"
    rest = _NOT_CONTRAST.sub(" ", folded)
    without = _NO.sub(" ", rest)
    says_no = without != rest or is_ct and bool(_NO_IN_CT.search(rest))
    says_yes = bool(_YES.search(without)) or bool(_DELAYED.search(without))
    says_yes = says_yes or bool((_YES_IN_CT if is_ct else _YES_IN_MR).search(without))
    says_yes = says_yes or not says_no and bool(_DYNAMIC.search(without))
    if says_yes and not is_ct and _UNENHANCED_FLOW.search(folded) and not re.search(r"post|gad|km|\+\s?c\b", without):
        says_yes = False
    return None if says_no == says_yes else "yes" if says_yes else "no"


def _agent(header: Mapping[str, Any]) -> tuple[str | None, float]:
    """What ContrastBolusAgent and its companions say, and how far to trust it."""
    agent = re.sub(r"\s+", " ", fold(text_of(header, "ContrastBolusAgent"))).strip(" .,;:")
    route = fold(text_of(header, "ContrastBolusRoute"))
    if _NO_AGENT.fullmatch(agent):
        return "no", 0.93
    if _INTRAVENOUS.search(agent) or _INTRAVENOUS.search(route):
        return "yes", 0.95
    if _ELSEWHERE.search(agent) or _ELSEWHERE.search(route):
        return None, 0.0
    if _NOT_SAID.fullmatch(agent):
        # A volume without an agent is how some injectors report.
        return ("yes", 0.8) if number(header, "ContrastBolusVolume") and not agent else (None, 0.0)
    return "yes", 0.93 if _KNOWN_AGENT.search(agent) else 0.85


def contrast(header: Mapping[str, Any]) -> Finding:
    """ "yes" or "no"; abstains where nothing is said, where only oral contrast is named, and where sources disagree.

    The nearer a source is to the series the more it counts: SeriesDescription, ContrastBolusAgent and -Route,
    ProtocolName, and what was asked for or performed as a whole. A description of the whole study is not heard where
    the series or its agent speaks, nor where it says "yes" of an MR study, which has series from before the injection.
    """
    is_ct = header.get("Modality") == "CT"
    near = {
        "SeriesDescription": (mention(text_of(header, "SeriesDescription"), is_ct), 0.89),
        "ContrastBolusAgent": _agent(header),
    }
    far = {
        "ProtocolName": (mention(text_of(header, "ProtocolName"), is_ct), 0.75),
        "StudyDescription": (mention(text_of(header, "StudyDescription"), is_ct), 0.72),
        "RequestedProcedureDescription": (mention(text_of(header, "RequestedProcedureDescription"), is_ct), 0.65),
        "PerformedProcedureStepDescription": (
            mention(text_of(header, "PerformedProcedureStepDescription"), is_ct),
            0.65,
        ),
    }
    if not is_ct:
        far = {source: said for source, said in far.items() if source == "ProtocolName" or said[0] == "no"}
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
