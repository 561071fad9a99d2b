"""View: which way the slices lie."""

import math
import re
from collections.abc import Mapping
from typing import Any

from radnet.labels.finding import Finding, abstain
from radnet.labels.text import name_of, phrase, tokens, words

MAX_OBLIQUITY_DEG = 30.0
_VIEW_OF_AXIS = ("sagittal", "coronal", "axial")
VIEWS = {
    "axial": words(
        "ax axi axl axial axials axiale axialer axiales axiaal axiais ax2d ax3d tra trans trs trv trav transv "
        "transversal transverse transversaal transversale trasversale trasversal transaxial transax transaxiale tranv "
        "assiale assiali assial"
    ),
    "coronal": words(
        "cor coronal coronals coronale coronales coronaal coronais coro corn koronar koronare koronal kor frontal "
        "frontale coronar"
    ),
    "sagittal": words(
        "sag sagittal sagittals sagittale sagital sagitale sagitales sagitais sagittaal saggital saggittal sagitaal "
        "sagitall sagi sagit sagitals sagg"
    ),
}
# "Cor" that is short for correction or for the heart's own arteries, and "trans" of a transplant.
_NO_VIEW = re.compile(
    r" (?:att?e?n\w*|ac|motion|mot|scatter|bias|field|distortion|dist|decay|baseline) cor(?= )"
    r"| cor(?= (?:calcium|ca score))| (?:liver|renal|kidney|lung) trans(?= )"
)
# T1/T/SE: weighting, plane, technique.
_PLANE_LETTER = re.compile(r"\b(?:t1|t2|pd)w?\*?/([tsc])/")
_LETTERS = {"t": "axial", "s": "sagittal", "c": "coronal"}
# The names of the National Lung Screening Trial: reader, then Original or Derived, Primary or Secondary, Axial.
_TRIAL_AXIAL = re.compile(r"\d,[od][ps]a,")


def slice_normal(header: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Unit normal (LPS) of the slices; None without two orthogonal unit vectors in ImageOrientationPatient."""
    orientation = header.get("ImageOrientationPatient")
    if not isinstance(orientation, list | tuple) or len(orientation) != 6:
        return None
    try:
        a, b, c, d, e, f = map(float, orientation)
    except (TypeError, ValueError):
        return None
    lengths = math.sqrt(a * a + b * b + c * c), math.sqrt(d * d + e * e + f * f)
    # Written so that a NaN fails too.
    if not (all(abs(length - 1) <= 0.01 for length in lengths) and abs(a * d + b * e + c * f) <= 0.01):
        return None
    normal = b * f - c * e, c * d - a * f, a * e - b * d
    length = math.sqrt(sum(part * part for part in normal))
    return normal[0] / length, normal[1] / length, normal[2] / length


def obliquity_deg(header: Mapping[str, Any]) -> float | None:
    """Angle in degrees between the slice normal and the nearest patient axis; None without a valid orientation."""
    normal = slice_normal(header)
    return None if normal is None else math.degrees(math.acos(min(1.0, max(map(abs, normal)))))


def view(header: Mapping[str, Any]) -> Finding:
    """axial, coronal or sagittal, by the dominant axis of the slice normal; abstains beyond 30 degrees of obliquity.

    Without ImageOrientationPatient the name of the series decides, if it names one view only.
    """
    normal, angle_deg = slice_normal(header), obliquity_deg(header)
    if normal is not None:
        sizes = [abs(part) for part in normal]
        name = _VIEW_OF_AXIS[sizes.index(max(sizes))]
        evidence = f"ImageOrientationPatient: {name}, {angle_deg:.1f} degrees oblique"
        if angle_deg > MAX_OBLIQUITY_DEG:
            return abstain(f"{evidence}, more than {MAX_OBLIQUITY_DEG:g}")
        return Finding(name, 1.0 if angle_deg < 20 else 0.9, evidence)
    if header.get("ImageOrientationPatient"):
        return abstain("ImageOrientationPatient is not two orthogonal unit vectors")
    named = _named(name_of(header), header.get("Modality"))
    if len(named) != 1:
        return abstain(f"no ImageOrientationPatient, and the name says {'no view' if not named else 'several views'}")
    value = next(iter(named))
    return Finding(value, 0.85, f"name of the series: {named[value]}")


def _named(text: str, modality: Any) -> dict[str, str]:
    """The views that a name speaks of, each with the word of our vocabulary that says so."""
    if match := _TRIAL_AXIAL.match(text.lower()):
        return {"axial": "trial code"} if match else {}
    if modality == "MR" and (match := _PLANE_LETTER.search(text.lower())):
        return {_LETTERS[match[1]]: "plane letter"}
    flat = phrase(text)
    found = tokens(_NO_VIEW.sub(" ", flat)) if _NO_VIEW.search(flat) else tokens(text)
    if modality == "CT" and not any(found & vocabulary for vocabulary in VIEWS.values()):
        # Reformats of CT come in pairs called CO and SA; in MR these are other words.
        return {name: word for word, name in (("co", "coronal"), ("sa", "sagittal")) if word in found}
    return {name: min(found & vocabulary) for name, vocabulary in VIEWS.items() if found & vocabulary}
