"""What the rules for MR sequences look at, taken out of a header once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from radnet.labels import words
from radnet.labels.text import name_of, number, phrase, text_of, tokens, tokens_of

_CONTRAST_WORDS = {
    "T1": "t1",
    "T2": "t2",
    "PROTON_DENSITY": "pd",
    "FLUID_ATTENUATED": "flair",
    "STIR": "stir",
    "T2_STAR": "t2star",
}


# How vendors name sequences that invert: *tir2d1_16, tirB2d1, FIR2D, spcir, fse_ir, CubeT2FLAIR.
_INVERTING_PULSE = re.compile(r"tir\w*|\w*ir|\w*flair")


@dataclass(frozen=True)
class Facts:
    """words: of the series' name. image_type, scanning, pulse: tokens of ImageType, ScanningSequence and the names that
    vendors give their sequences. said: AcquisitionContrast as a word, "" where it says nothing. is_component: fat
    alone, or opposed phase, of a Dixon series. Times in ms, the field in tesla, flip in degrees; None where unknown.
    b_value: s/mm2, 0 where a header says so."""

    text: str
    phrase: str
    words: frozenset[str]
    image_type: frozenset[str]
    scanning: frozenset[str]
    pulse: frozenset[str]
    said: str
    is_gradient: bool
    is_spin: bool
    is_planar: bool
    is_spoiled: bool
    is_steady: bool
    is_angiography: bool
    is_phase: bool
    is_component: bool
    tr_ms: float | None
    te_ms: float | None
    ti_ms: float | None
    flip_deg: float | None
    echo_train: float | None
    b_value: float | None
    field_t: float | None

    @property
    def is_flair_named(self) -> bool:
        """Whether the series, or the vendor's sequence, is called FLAIR in one of its spellings."""
        return bool(
            (self.words | self.pulse) & words.FLAIR or words.FLAIR_PHRASE.search(self.phrase) or self.said == "flair"
        )

    @property
    def denies_inversion(self) -> bool:
        """Whether ScanningSequence names an echo and no inversion, and no other tag speaks of one."""
        is_tagged = (
            self.ti_ms is not None
            or bool(self.scanning & {"ir", "rm"} or "ir" in self.image_type or self.said in ("flair", "stir"))
            or any(map(_INVERTING_PULSE.fullmatch, self.pulse))
        )
        return bool(self.scanning & {"se", "gr", "ep"}) and not is_tagged

    @property
    def is_inverted(self) -> bool:
        """Whether tags or names speak of an inversion."""
        return bool(
            "ir" in self.scanning | self.image_type or self.pulse & {"tir", "ir", "fseir"} or self.words & _IR_WORDS
        )


# The fat image, or the one in opposed phase, of a Dixon series.
_COMPONENT = re.compile(
    r"^(?:\W*\w+:)?\s*(?:fat|op|outphase|opp\w*)\s*:|(?:dixon|ideal|flex|dix)\w*[\W_]+(?:fat|f|opp?)$", re.I
)
# How Siemens abbreviates MPRAGE in its own names.
_MPRAGE = re.compile(r"(?:^|(?<=_))t1_mpr_")
# Where the slices were copied from.
_COPIED = re.compile(r"[\W_]cop(?:y|ie|ia)(?:[\W_]+(?:of|from|van|von|de))?[\W_]+[a-z]+", re.I)
_IR_WORDS = {"ir", "stir", "tirm", "tir", "irfse", "fseir", "irtse", "tseir", "fir", "fstir", "tstir", "psir"}


def facts_of(header: Mapping[str, Any]) -> Facts:
    """The facts of a header of an MR series."""
    text = _MPRAGE.sub("t1_mprage_", _COPIED.sub(" ", name_of(header)))
    echo = tokens_of(header, "EchoPulseSequence")
    scanning = tokens_of(header, "ScanningSequence")
    variant = tokens_of(header, "SequenceVariant")
    image_type = tokens_of(header, "ImageType")
    steady = text_of(header, "SteadyStatePulseSequence").upper()
    b_value = header.get("DiffusionBValue")
    b_value = b_value[0] if isinstance(b_value, list | tuple) and b_value else b_value
    said = text_of(header, "AcquisitionContrast").upper().split()
    spoiling = text_of(header, "Spoiling").upper()
    return Facts(
        text=text,
        phrase=phrase(text),
        words=tokens(text),
        image_type=image_type,
        scanning=scanning,
        pulse=tokens_of(header, "SequenceName", "PulseSequenceName", "PrivateSequenceName"),
        said=_CONTRAST_WORDS.get(said[0], "") if said else "",
        is_gradient="gr" in scanning or "gradient" in echo,
        is_spin="se" in scanning or "spin" in echo,
        is_planar="ep" in scanning or text_of(header, "EchoPlanarPulseSequence").upper() == "YES",
        is_spoiled="sp" in variant or "mp" in variant and "gr" in scanning or spoiling in ("RF", "RF_AND_GRADIENT"),
        is_steady=steady in ("FREE_PRECESSION", "TRANSVERSE"),
        is_angiography=text_of(header, "AngioFlag").upper() == "Y"
        or text_of(header, "TimeOfFlightContrast").upper() == "YES"
        or "TOF" in said,
        is_phase=bool(image_type & {"p", "phase", "i", "imaginary", "velocity"})
        or text_of(header, "ComplexImageComponent").upper() in ("PHASE", "IMAGINARY"),
        is_component=bool(image_type & {"fat", "f", "opp", "op"} or _COMPONENT.search(text)),
        tr_ms=number(header, "RepetitionTime"),
        te_ms=number(header, "EchoTime"),
        ti_ms=number(header, "InversionTime"),
        flip_deg=number(header, "FlipAngle"),
        echo_train=number(header, "EchoTrainLength"),
        b_value=float(b_value) if isinstance(b_value, int | float) and b_value >= 0 else None,
        field_t=number(header, "MagneticFieldStrength"),
    )
