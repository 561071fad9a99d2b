"""What one text names: the parts of the body in it, and the regions that these hold."""

from functools import lru_cache
from typing import NamedTuple

from radnet.labels.regions import (
    CHEST,
    CT_LETTERS,
    CT_SHORT,
    HEAD_AND_NECK,
    HEAD_FIRST,
    LOWER,
    LUNG_WORDS,
    NECK,
    PANCREATIC_HEAD,
    PARTS,
    PHRASES,
    SPINE_LEVELS,
    TRUNK,
    WHOLE_BODY,
)
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
    if HEAD_AND_NECK.search(flat):
        regions.update(NECK)
        hits.append("head and neck")
        flat = HEAD_AND_NECK.sub("  ", flat)
    if is_ct and CT_LETTERS.search(fold(text)) and not tokens(text) & LOCALIZER and " lat" not in flat:
        regions.update(LOWER)
        hits.append("a/p")
    if is_ct and CT_SHORT.search(flat):
        regions.add("lung")
        hits.append("ch")
    found = tokens(text) & tokens(flat) if flat != phrase(text) else tokens(text)
    found = found if is_ct else found - SPINE_LEVELS
    matches = {held: found & vocabulary for held, vocabulary in PARTS.items() if found & vocabulary}
    # Beside another part "lung" is the window or the filter that the images were made with.
    if is_ct and (regions or len(matches) > 1) and matches.get(CHEST, frozenset()) <= LUNG_WORDS:
        matches.pop(CHEST, None)
    for held, matched in matches.items():
        regions.update(held)
        hits += sorted(matched)
    if {"liver", "pelvis"} <= regions:
        regions.update(LOWER)
    if {"kidney", "pelvis"} <= regions:
        regions.add("intestine")
    return Named(frozenset(regions), tuple(hits)) if hits else None
