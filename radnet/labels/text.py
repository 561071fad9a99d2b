"""From the text of a header to words: tokens, never substrings, so that "B" does not match "Br".

Descriptions repeat by the thousand, so each is taken apart once (an archive has some ten thousand different ones).
"""

import math
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_WEIGHTING = re.compile(
    r"(?:[23]d)?(?:(t1|t2|pd)(?:wi|wt|w)?(?:[23]d)?(?:([a-z]+)(?:[23]d)?\d*)?|(flair|stir|dwi|tse|fse)(?:wi|w)?\d{0,2}(?:sl)?)(?:[23]d)?"
)
_TRAILING_WEIGHTING = re.compile(r"([a-z]{2,})(t1|t2)(?:w|wi)?([a-z]*?)(?:\d[a-z]?)?")
_DIMENSION = re.compile(r"(?:[23]d)?([a-z]+?)(?:[23]d\d*r?\d*)?")
_NUMBERED = re.compile(r"\d{0,2}([a-z]{3,})\d+[a-z]?|\d{1,2}([a-z]{3,})")
# What stands joined to a weighting or to each other: t2fseidealarc, prefs, tsetra. A token is taken apart only if the
# whole of it is made of these.
_COMPOUND = re.compile(
    "frfse|ssfse|fspgr|fgre|spgr|mprage|propeller|blade|haste|space|cube|flash|ethrive|thrive|vibrant|vibe|lava|"
    "flair|stir|tirm|spair|spir|mdixon|dixon|ideal|arc|asset|fatsat|views|dyna|dyn|perf|diff|dwi|adc|trace|mip|sub|"
    "post|pre|gad|fast|turbo|sagittal|axial|tra|sag|cor|tse|fse|ffe|tfe|gre|swi|fs|ax|ir"
)
_NO_WEIGHTING = ("rho", "map", "maps", "mapping", "prep", "star", "star map", "value", "values", "time", "times")
_VERTEBRAE = re.compile(r"\b(?:[ctl]\d{1,2}\s?(?:-|to)|to)\s?[ctls]\d{1,2}\b")
_SPACED = re.compile(r"\bt-([12])\b(?!\s?(?:spine|wi\w))")
_PREPARED = re.compile(r"\bt2[\s-]?prep\w*")
# One word in two: venous BOLD, and the balanced sequences of Philips, which are also TFE and FFE.
_VENOUS = re.compile(r"\bven[\s-]bold\b")
_BALANCED = re.compile(r"\bb[\s-](ffe|tfe)\b")
_STAR = re.compile(r"\b([tr]2)\s?(?:\*|-?star\b)")
_CAPITALS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\d)(?=[A-Z][a-z])")


@lru_cache(maxsize=1 << 15)
def fold(text: str) -> str:
    """`text` in lower case without accents; underscores and carets, which separate words, as blanks."""
    text = unicodedata.normalize("NFKD", text.replace("_", " ").replace("^", " ").casefold())
    return "".join(letter for letter in text if not unicodedata.combining(letter))


def split_capitals(text: str) -> str:
    """`text` with a blank where a capital starts a word: "FatSat" → "Fat Sat", "T2Post" → "T2 Post"."""
    return _CAPITALS.sub(" ", text)


@lru_cache(maxsize=1 << 15)
def tokens(text: str) -> frozenset[str]:
    """The words of `text`, as written, split at capitals (FatSat: fat, sat), and with weighting, dimension and number
    apart (t2flair: t2, flair; tse2d1: tse; sub1: sub). T2* becomes t2star; a range of vertebrae (T1-T4) is left out."""
    folded = _VERTEBRAE.sub(" ", fold(f"{text} {split_capitals(text)}"))
    folded = _PREPARED.sub(" t2prep ", folded)
    folded = _BALANCED.sub(r" b\1 \1 ", _VENOUS.sub(" venbold ", folded))
    folded = _STAR.sub(r" \1star ", _SPACED.sub(r"t\1", folded))
    found = set(re.findall(r"[a-z0-9]+", folded))
    for token in list(found):
        found.update(_parts(token))
    return frozenset(found)


def _parts(token: str) -> list[str]:
    if match := _WEIGHTING.fullmatch(token):
        if match[2] in _NO_WEIGHTING:
            return []
        return [part for part in match.groups() if part] + _compound(match[2] or "")
    if (match := _TRAILING_WEIGHTING.fullmatch(token)) and _compound(match[1]):
        return [match[2], *_compound(match[1]), *_compound(match[3])]
    if match := _DIMENSION.fullmatch(token):
        return [match[1], *_compound(match[1])]
    if match := _NUMBERED.fullmatch(token):
        return [word for word in match.groups() if word]
    return []


def _compound(word: str) -> list[str]:
    parts = _COMPOUND.findall(word)
    return parts if parts and "".join(parts) == word else []


@lru_cache(maxsize=1 << 15)
def phrase(text: str) -> str:
    """The words of `text` in order between single blanks, one blank at each end: where more than one word matters."""
    words = re.findall(r"[a-z]+|\d+", fold(split_capitals(text)))
    return f" {' '.join(words)} "


def text_of(header: Mapping[str, Any], *keywords: str) -> str:
    """The values of some keywords of a header in one string; "" where all are absent or not a number (NaN)."""
    found = []
    for keyword in keywords:
        value = header.get(keyword)
        for item in value if isinstance(value, list | tuple) else (value,):
            if item is not None and not (isinstance(item, float) and math.isnan(item)):
                found.append(str(item))
    return " ".join(found)


def tokens_of(header: Mapping[str, Any], *keywords: str) -> frozenset[str]:
    """The tokens of some keywords of a header."""
    return tokens(text_of(header, *keywords))


def name_of(header: Mapping[str, Any]) -> str:
    """What the series is called: SeriesDescription, or ProtocolName where that is absent or blank."""
    return text_of(header, "SeriesDescription").strip() or text_of(header, "ProtocolName")


def number(header: Mapping[str, Any], keyword: str) -> float | None:
    """The first number of a keyword; None where it is absent, not finite, or zero, which scanners write for "does not
    apply"."""
    value = header.get(keyword)
    value = value[0] if isinstance(value, list | tuple) and value else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not value or not math.isfinite(value):
        return None
    return float(value)


def words(text: str) -> frozenset[str]:
    """A vocabulary from words between blanks."""
    return frozenset(text.split())
