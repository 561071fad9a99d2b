"""What of a header leaves private/: codes of the standard, numbers, known vendors; no word that a person typed."""

import re
from typing import Any

from radnet.shards.record import CODE_KEYWORDS, NUMBER_KEYWORDS, values

DERIVED_KEYS = ("num_slices", "slice_spacing_mm", "extent_mm", "collection")
# Defined terms of Modality (0008,0060), retired ones included.
_MODALITIES = frozenset(
    """
ANN AR AS ASMT AU BDUS BI BMD CD CF CFM CP CR CS CT CTPROTOCOL DD DF DG DM DMS DOC DS DX EC ECG EEG EMG EOG EPS ES FA
FID FS GM HC HD IO IOL IVOCT IVUS KER KO LEN LP LS M3D MA MG MR MS NM OAM OCT OP OPM OPR OPT OPTBSV OPTENF OPV OSS OT
PA PLAN POS PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR
SRF ST STAIN TEXTUREMAP TG US VA VF XA XAPROTOCOL XC
""".split()
)
_VENDORS = (
    "SIEMENS GE PHILIPS CANON TOSHIBA HITACHI FUJIFILM UIH UNITED NEUSOFT SHIMADZU ESAOTE BRUKER ELSCINT MARCONI "
    "PICKER HOLOGIC SAMSUNG CARESTREAM VARIAN ELEKTA ACCURAY PARAVISION FONAR"
).split()
_CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")  # value representation CS
_UID = re.compile(r"1\.2\.840\.10008(\.\d{1,12}){1,12}")


def public_header(header: dict[str, Any]) -> dict[str, Any]:
    """The part of an allow-listed header that may be stored in shards: codes, numbers, UIDs of the standard, the vendor
    in one word, and what radnet derived."""
    kept = {name: header[name] for name in (*NUMBER_KEYWORDS, *DERIVED_KEYS) if name in header}
    for keyword in CODE_KEYWORDS:
        if keyword in header and all(_CODE_STRING.fullmatch(value) for value in values(header, keyword)):
            kept[keyword] = header[keyword]
    found = {
        "Modality": modality(header),
        "Manufacturer": _vendor(" ".join(values(header, "Manufacturer"))),
        "SOPClassUID": _known_uid(str(header.get("SOPClassUID", ""))),
    }
    return kept | {keyword: word for keyword, word in found.items() if word}


def modality(header: dict[str, Any]) -> str:
    """Modality if it is one of the standard's; "" where there is none, "other" for any other text."""
    found = header.get("Modality", "")
    return found if found in ("", *_MODALITIES) else "other"


def transfer_syntax(uid: str) -> str:
    """The UID of a transfer syntax if it is one of the standard's, else "unknown"."""
    return _known_uid(uid) or "unknown"


def _known_uid(uid: str) -> str:
    return uid if _UID.fullmatch(uid) else ""


def _vendor(text: str) -> str:
    words = re.findall(r"[A-Z]+", text.upper())
    return next((vendor for vendor in _VENDORS if vendor in words), "")
