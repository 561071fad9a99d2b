"""What one text names: the parts of the body in it, and the regions that these hold."""

from functools import lru_cache
from typing import NamedTuple

from radnet.labels.phrases import (
    COIL,
    COMPOUNDS,
    CT_CHEST_ABDOMEN,
    CT_CODE,
    CT_CODES,
    CT_LETTERS,
    CT_SHORT,
    CUT,
    HEAD_AND_NECK,
    HEAD_FIRST,
    LIMIT,
    LUNG_WORDS,
    NO_COMPOUND,
    PANCREATIC_HEAD,
    PHRASES,
    RADIOGRAPH,
    SPINE_LEVELS,
    WEAK,
    WHOLE_BODY,
)
from radnet.labels.regions import ABDOMEN, CHEST, LOWER, NECK, PARTS, TRUNK
from radnet.labels.text import fold, phrase, tokens
from radnet.labels.words import LOCALIZER


class Named(NamedTuple):
    """The regions that one text names, and the words of our vocabulary that named them."""

    regions: frozenset[str]
    words: tuple[str, ...]


@lru_cache(maxsize=1 << 15)
def named(text: str, is_ct: bool) -> Named | None:
    """What a text names; None where it names no part. "Extremity" is no part: archives use it for hip and shoulder."""
    flat = PANCREATIC_HEAD.sub(r"\1", HEAD_FIRST.sub(" ", phrase(text)))
    regions, hits = set(), []
    if WHOLE_BODY.search(flat) and (is_ct or " gk " not in flat):
        regions.update(TRUNK)
        hits.append("whole body")
    for pattern, held in PHRASES:
        if pattern.search(flat):
            regions.update(held)
            hits.append("/".join(held) or "spine or limb")
            flat = pattern.sub("  ", flat)
    flat = LIMIT.sub("  ", flat)
    if HEAD_AND_NECK.search(flat):
        regions.update(NECK)
        hits.append("head and neck")
        flat = HEAD_AND_NECK.sub("  ", flat)
    found = tokens(text) & tokens(flat) if flat != phrase(text) else tokens(text)
    if is_ct:
        for held, hit in _letters(text, flat):
            regions.update(held)
            hits.append(hit)
    else:
        found = found - SPINE_LEVELS - COIL
    matches = {held: found & vocabulary for held, vocabulary in PARTS.items() if found & vocabulary}
    if (last := flat.split()[-1:]) and last[0] in CUT:
        matches[CUT[last[0]]] = matches.get(CUT[last[0]], frozenset()) | {last[0]}
    if regions or len(matches) > 1:
        matches = {held: hit - WEAK for held, hit in matches.items() if hit - WEAK}
    if not hits and not matches:
        matches = {ABDOMEN: frozenset({"ab"})} if is_ct and " ab " in flat else _compounds(found)
    # Beside another part "lung" is the window or the filter that the images were made with.
    if is_ct and (regions or len(matches) > 1) and matches.get(CHEST, frozenset()) <= LUNG_WORDS:
        matches.pop(CHEST, None)
    for held, matched in matches.items():
        regions.update(held)
        hits += sorted(matched)
    # A scan holds what lies between the parts it names.
    if "pelvis" in regions and regions & {"liver", "lung"}:
        regions.update(LOWER)
    if {"kidney", "pelvis"} <= regions:
        regions.add("intestine")
    return Named(frozenset(regions), tuple(hits)) if hits else None


def _letters(text: str, flat: str) -> list[tuple[tuple[str, ...], str]]:
    """What the letters and codes in a description of CT stand for, with the hit."""
    said: list[tuple[tuple[str, ...], str]] = []
    found, folded = tokens(text), fold(text)
    is_direction = " lat" in flat or RADIOGRAPH.search(flat) or found & LOCALIZER
    if CT_LETTERS.search(folded) and not is_direction:
        said.append((LOWER, "a/p"))
    if CT_CHEST_ABDOMEN.search(folded):
        said.append((("lung", *ABDOMEN), "c/a"))
    if CT_SHORT.search(flat):
        said.append((CHEST, "ch"))
    codes = {match[1] or match[2] for token in found if (match := CT_CODE.fullmatch(token))}
    return said + [(CT_CODES[code], code) for code in sorted(codes)]


def _compounds(found: frozenset[str]) -> dict[tuple[str, ...], frozenset[str]]:
    """The parts that words of no vocabulary open or close with; the hit is the part, not the word."""
    # A biopsy is of a corner of the part.
    found = {token for token in found - NO_COMPOUND if "biops" not in token}
    held = [held for form, held in COMPOUNDS if any(map(form.fullmatch, found))]
    return {one: frozenset({"compound of " + (" ".join(one) or "spine")}) for one in held}
