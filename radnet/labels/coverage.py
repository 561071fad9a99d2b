"""Coverage: which of nine regions lie entirely inside the scan."""

import math
from collections.abc import Mapping
from typing import Any

from radnet.labels.finding import Finding, abstain
from radnet.labels.parts import Named, named
from radnet.labels.phrases import BY_SEQUENCE, DEPARTMENT, GATED, IMPORTED, IN_HEAD, LUNG_WORDS
from radnet.labels.regions import ABDOMEN, COVERAGE, LOWER, NECK
from radnet.labels.text import name_of, phrase, text_of, tokens, tokens_of, words
from radnet.labels.view import VIEWS, slice_normal
from radnet.labels.words import FLAIR, FLAIR_PHRASE

__all__ = ["COVERAGE", "MIN_HEIGHT_MM", "coverage", "height_mm"]

# No header proves that an organ lies inside the scan: of phantom scans named and sized right, one in nine is cut or
# holds more than its name says.
_MAX_CONFIDENCE = 0.88
# A scan shorter than this from head to foot cannot hold the whole of an adult's region.
MIN_HEIGHT_MM = {
    "brain": 110,
    "upper_head_neck": 60,
    "lower_head_neck": 70,
    "lung": 180,
    "breast": 90,
    "liver": 110,
    "kidney": 90,
    "intestine": 200,
    "pelvis": 180,
}
# Regions lie one below the other; a scan that names several must be this tall to hold them all. Liver and kidney share
# a level, and the intestine fills what lies between liver and pelvis.
_LEVELS_MM = (
    {"brain": 110},
    {"upper_head_neck": 60},
    {"lower_head_neck": 70},
    {"lung": 180},
    {"liver": 110},
    {"pelvis": 150},
)
_TRUSTS = {
    "SeriesDescription": 0.85,
    "ProtocolName": 0.75,
    "BodyPartExamined": 0.75,
    "StudyDescription": 0.7,
    "RequestedProcedureDescription": 0.6,
    "PerformedProcedureStepDescription": 0.6,
    "collection_site": 0.45,
}
# Cosine between the slice normal and the long axis of the body.
_UPRIGHT = 0.3
_EXAM = ("ProtocolName", "StudyDescription", "RequestedProcedureDescription", "PerformedProcedureStepDescription")
# A tumour site is one part or it is no evidence: a collection about six organs says nothing of one scan.
_MAX_SITE_PARTS = 2
# The CT of a PET is of the body, whatever the tumour.
_PET = words("pet petct ctac")
# From the top of the head to the top of the lungs; a neck alone, from the base of the skull, is 200 mm.
_HEAD_AND_NECK_MM = 290


def height_mm(header: Mapping[str, Any]) -> float | None:
    """Head-to-foot length in mm of the field of view through its centre; None where the header does not give it."""
    normal, extent_mm = slice_normal(header), header.get("extent_mm")
    pixel_mm, rows, columns = (header.get(keyword) for keyword in ("PixelSpacing", "Rows", "Columns"))
    if normal is None or not isinstance(pixel_mm, list | tuple) or len(pixel_mm) != 2:
        return None
    if extent_mm is None and abs(normal[2]) < _UPRIGHT:
        # Slices that stand upright show the height without their number.
        extent_mm = math.inf
    if not all(isinstance(value, int | float) and value > 0 for value in (extent_mm, rows, columns, *pixel_mm)):
        return None
    orientation = header["ImageOrientationPatient"]
    along_z = [abs(normal[2]), abs(float(orientation[5])), abs(float(orientation[2]))]
    lengths_mm = [extent_mm, rows * pixel_mm[0], columns * pixel_mm[1]]
    return min(length / max(cosine, 1e-6) for length, cosine in zip(lengths_mm, along_z, strict=True))


def coverage(header: Mapping[str, Any]) -> Finding:
    """Tuple of the regions that the sources name and the scan is tall enough to hold.

    The name of the series counts most; where it names no part the exam and BodyPartExamined do, and last the site of
    the collection's disease. () where a part is named that holds none of the regions (a knee), or the scan is too short
    for what is named. Abstains where no part is named.
    """
    is_ct = header.get("Modality") == "CT"
    sources = {keyword: named(text_of(header, keyword), is_ct) for keyword in _TRUSTS}
    sources = {keyword: said for keyword, said in sources.items() if said}
    is_pet = is_ct and tokens_of(header, "SeriesDescription", "StudyDescription") & _PET
    if is_pet or not _is_one_site(text_of(header, "collection_site")):
        sources.pop("collection_site", None)
    if is_ct and "BodyPartExamined" in sources and GATED.search(phrase(name_of(header))):
        sources = {keyword: said for keyword, said in sources.items() if keyword not in _EXAM}
    if not sources:
        return _by_sequence(header)
    if doubt := _doubt_alone(header, sources):
        return abstain(doubt)
    is_imported = bool(IMPORTED.search(phrase(text_of(header, *_EXAM))))
    regions, trust, evidence = _chosen(sources, header.get("Modality") == "MR", is_imported)
    height = height_mm(header)
    if height is None:
        return _finding(regions, min(trust, 0.85), evidence)
    regions, trust = _by_height(regions, sources, height, trust, evidence)
    return _finding(regions, trust, evidence)


def _finding(regions: set[str], trust: float, evidence: list[str]) -> Finding:
    confidence = min(trust, _MAX_CONFIDENCE)
    return Finding(tuple(region for region in COVERAGE if region in regions), confidence, "; ".join(evidence))


def _is_one_site(site: str) -> bool:
    parts = [named(part, is_ct=False) for part in site.split(",") if part.strip()]
    return len(parts) <= _MAX_SITE_PARTS or len({part and part.regions for part in parts}) == 1


def _doubt_alone(header: Mapping[str, Any], sources: dict[str, Named]) -> str:
    """Why BodyPartExamined, of an MR series and the only source, is likelier the scanner's default than the part; ""
    where nothing speaks against it."""
    if header.get("Modality") != "MR" or set(sources) != {"BodyPartExamined"}:
        return ""
    regions, height, name = sources["BodyPartExamined"].regions, height_mm(header), name_of(header)
    found = tokens(name)
    is_flair = bool(found & FLAIR or FLAIR_PHRASE.search(phrase(name))) and "t1" not in found
    if is_flair and regions and not regions & {"brain", *NECK}:
        return "BodyPartExamined is all that names a part, and FLAIR is a sequence for another"
    if regions and height is not None and height < min(MIN_HEIGHT_MM[region] for region in regions):
        return f"BodyPartExamined is all that names a part, and {height:.0f} mm from head to foot do not hold it"
    return ""


def _by_sequence(header: Mapping[str, Any]) -> Finding:
    found = tokens(name_of(header)) if header.get("Modality") == "MR" else frozenset()
    if {"t1", "flair"} <= found and found & VIEWS["sagittal"]:
        return abstain("no body part is named; a sagittal T1-FLAIR is made of the spine as often as of the head")
    for vocabulary, held in BY_SEQUENCE:
        if hits := found & vocabulary:
            return Finding(held, 0.5, f"no body part is named; {min(hits)} is a sequence for one")
    return abstain("no body part is named")


def _chosen(sources: dict[str, Named], is_mr: bool, is_imported: bool) -> tuple[set[str], float, list[str]]:
    """The regions of the nearest source that names any, how far to trust them, and what each source said."""
    evidence = [f"{keyword}: {' '.join(said.words)}" for keyword, said in sources.items()]
    series, body = sources.get("SeriesDescription"), sources.get("BodyPartExamined")
    exam = next((sources[keyword] for keyword in _EXAM if keyword in sources), None)
    site = sources.get("collection_site")
    others = [said.regions for keyword, said in sources.items() if keyword != "SeriesDescription"]
    if series:
        trust = _TRUSTS["SeriesDescription"]
        clashes = [said for said in others if not (said & series.regions) and said != series.regions]
        if clashes:
            evidence.append("sources disagree, the name of the series counts")
        if set(series.words) <= LUNG_WORDS and any(series.regions < said for said in others):
            evidence.append("of a larger exam: lung may be the window")
            trust = 0.7
        agree = any(said == series.regions for said in others)
        return (
            set(series.regions),
            0.93 if agree and not clashes and trust > 0.7 else trust if not clashes else 0.7,
            evidence,
        )
    if body and exam:
        return _body_and_exam(body, exam, is_mr, is_imported, evidence)
    nearest = body or exam
    if nearest is None:
        return set(site.regions), _TRUSTS["collection_site"], evidence
    is_of_site = site and (site.regions & nearest.regions or "brain" in site.regions and set(nearest.words) <= IN_HEAD)
    if exam is None and site and site.regions and not is_of_site:
        return _against_site(nearest, site, is_mr, evidence)
    return set(nearest.regions), 0.8 if site and site.regions & nearest.regions else 0.72, evidence


def _body_and_exam(
    body: Named, exam: Named, is_mr: bool, is_imported: bool, evidence: list[str]
) -> tuple[set[str], float, list[str]]:
    """BodyPartExamined is one of a short list and often the scanner's default; an exam says more, and may be of two
    scans. Where one holds the other the larger is taken, and the height decides whether it fits."""
    if body.regions == exam.regions:
        return set(body.regions), 0.92, evidence
    if set(exam.words) <= DEPARTMENT:
        evidence.append("the exam names a department, BodyPartExamined counts")
        return set(body.regions), 0.65, evidence
    if not body.regions or not exam.regions:
        # A spine or a limb, and a region: the exam is typed for this patient.
        evidence.append("BodyPartExamined and the exam disagree, the exam counts")
        return set(exam.regions), 0.6, evidence
    if body.regions & exam.regions:
        return set(body.regions | exam.regions), 0.72, evidence
    evidence.append("BodyPartExamined and the exam disagree")
    if is_mr and is_imported:
        return set(body.regions), 0.6, evidence
    if is_mr and "breast" in body.regions and exam.regions == {"lung"}:
        # A chest is what an MR of the breasts is ordered as; hardly one of the lungs is made.
        return set(body.regions), 0.65, evidence
    return set(exam.regions), 0.65, evidence


def _against_site(nearest: Named, site: Named, is_mr: bool, evidence: list[str]) -> tuple[set[str], float, list[str]]:
    """A part that is not the collection's: in MR, where a scan is of one organ, of a collection about breast or brain,
    BodyPartExamined is the likelier to be wrong; in CT the scan is of more than the tumour."""
    evidence.append("the part and the site of the collection disagree")
    if is_mr and site.regions in (frozenset({"breast"}), frozenset({"brain"})):
        return set(site.regions), 0.6, evidence
    return set(nearest.regions), 0.6, evidence


def _by_height(
    regions: set[str], sources: dict[str, Named], height: float, trust: float, evidence: list[str]
) -> tuple[set[str], float]:
    """Regions taken out that cannot fit into the scan, and put in that a scan this tall cannot leave out."""
    if any("whole body" in said.words for said in sources.values()):
        regions = regions | _whole_body(height)
    if height >= _HEAD_AND_NECK_MM and _is_head_and_neck(regions, sources):
        evidence.append(f"{height:.0f} mm from head to foot hold the whole head")
        regions, trust = regions | {"brain"}, min(trust, 0.6)
    if not _fit(regions, height) and (smaller := _smaller(regions, sources, height)) is not None:
        evidence.append(f"{height:.0f} mm from head to foot hold no more than the smaller of the parts named")
        regions, trust = smaller, min(trust, 0.6)
    if added := _reached(regions, sources, height) - regions:
        evidence.append(f"{height:.0f} mm from head to foot reach {' '.join(sorted(added))} too")
        regions, trust = regions | added, min(trust, 0.6)
    short = {region for region in regions if height < MIN_HEIGHT_MM[region]}
    if short:
        evidence.append(f"only {height:.0f} mm from head to foot, too short for {' '.join(sorted(short))}")
    elif regions:
        trust = min(0.95, trust + 0.03)
    return regions - short, trust


def _whole_body(height: float) -> set[str]:
    """What a scan of the whole body holds beyond the trunk, by where it must have begun."""
    beyond = {"lower_head_neck"} if height >= 850 else set()
    beyond |= {"upper_head_neck"} if height >= 1050 else set()
    return beyond | ({"brain"} if height >= 1400 else set())


def _is_head_and_neck(regions: set[str], sources: dict[str, Named]) -> bool:
    """Whether every source that names the neck names the head with it."""
    of_neck = [said.words for said in sources.values() if set(NECK) <= said.regions]
    return set(NECK) <= regions and bool(of_neck) and all("head and neck" in hits for hits in of_neck)


def _fit(regions: set[str], height: float) -> bool:
    return height >= 0.9 * sum(level_mm for level in _LEVELS_MM for name, level_mm in level.items() if name in regions)


def _smaller(regions: set[str], sources: dict[str, Named], height: float) -> set[str] | None:
    """The largest set that one source names alone and that fits; None where there is none."""
    fitting = [set(said.regions) for said in sources.values() if said.regions < regions and _fit(said.regions, height)]
    return max(fitting, key=len) if fitting else None


def _reached(regions: set[str], sources: dict[str, Named], height: float) -> set[str]:
    """Regions below that a scan this tall must reach: a chest is 350 mm, an abdomen with pelvis 450, all three 650."""
    torso = regions & {"lung", "liver", "kidney"}
    if not torso or regions & {*NECK, "brain", "breast"}:
        return set()
    reached: set[str] = set()
    if regions & {"liver", "kidney"} and height >= 220:
        reached |= set(ABDOMEN)
    if regions & {"liver", "kidney"} and "lung" not in regions and height >= 400:
        reached |= set(LOWER)
    if "lung" in regions and height >= 480:
        reached |= set(ABDOMEN)
    if "lung" in regions and height >= 600:
        reached |= set(LOWER)
    return reached
