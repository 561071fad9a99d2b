"""Words of the descriptions technologists type: tokens, never substrings, so that "B" does not match "Br".

English with the common German, French, Dutch, Spanish and Italian words, spelled without accents.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

_WEIGHTING = re.compile(r"(?:[23]d)?(?:(t1|t2)(?:wi|w)?([a-z]*)|(pd|flair|stir|dwi)(?:wi|w)?)(?:[23]d)?")
_DIMENSION = re.compile(r"(?:[23]d)?([a-z]+?)(?:[23]d\d*)?")


def fold(text: str) -> str:
    """`text` in lower case without accents; underscores and carets, which separate words, as blanks."""
    text = unicodedata.normalize("NFKD", text.replace("_", " ").replace("^", " ").casefold())
    return "".join(letter for letter in text if not unicodedata.combining(letter))


def tokens(text: str) -> frozenset[str]:
    """The words of `text`, as written, split at capitals (FatSat: fat, sat), and with weighting and dimension apart
    (t2flair: t2, flair; tse2d1: tse). T2* becomes t2star."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    found = set(re.findall(r"[a-z0-9]+", re.sub(r"t2\s?\*", " t2star ", fold(f"{text} {split}"))))
    for token in list(found):
        if match := _WEIGHTING.fullmatch(token):
            if match[2] not in ("rho", "map", "maps", "mapping", "star"):
                found.update(part for part in match.groups() if part)
        elif match := _DIMENSION.fullmatch(token):
            found.add(match[1])
    return frozenset(found)


def text_of(header: Mapping[str, Any], *keywords: str) -> str:
    """The values of some keywords of a header in one string; "" where all are absent."""
    found = []
    for keyword in keywords:
        value = header.get(keyword)
        found += map(str, value) if isinstance(value, list) else [] if value is None else [str(value)]
    return " ".join(found)


def tokens_of(header: Mapping[str, Any], *keywords: str) -> frozenset[str]:
    """The tokens of some keywords of a header."""
    return tokens(text_of(header, *keywords))


def number(header: Mapping[str, Any], keyword: str) -> float | None:
    """The first number of a keyword; None where it is absent or zero, which scanners write for "does not apply"."""
    value = header.get(keyword)
    value = value[0] if isinstance(value, list) and value else value
    return float(value) if isinstance(value, int | float) and value else None


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LOCALIZER = _words(
    "localizer localiser localizers localisers localizador localizzatore localizzazione locator locators lokalizer "
    "loc scout scouts survey surview topogram topogramm topograma scanogram scano pilot piloto pilote reperage "
    "ubersicht planscan centratura"
)
DERIVED = _words("sub subs subtraction subtracted subtr mip mips minip mpr mprs projection projected screenshot")
MAPS = _words("cbf cbv mtt ttp tmax rcbf rcbv relcbf relcbv relmtt ktrans kep iauc nei pei washin washout")
PERFUSION = _words("perf perfusion perfusie perfusione perfusio dsc asl pasl pcasl pwi")
ADC = _words("adc adcs dadc eadc adcmap")
DIFFUSION = _words(
    "dwi dw diff diffusion diffusie diffusione difusion dti dki dsi hardi noddi trace tracew dwibs dwssfse resolve "
    "ddwi edwi dwie dwise rdwi zoomit fa"
)
DYNAMIC = _words("dce dyn dynamic dynamics dynamisch dynamique dinamico dynaviews twist tricks disco mphase multiphase")
ANGIOGRAPHY = _words(
    "mra mrv angio angiography angiographie angiografie angiografia tof tofmra venogram venography inflow"
)
BALANCED = _words("fiesta fiestac trufi truefisp truesp bffe btfe bssfp tfi ciss balanced")
FUNCTIONAL = _words(
    "bold fmri rest resting rsfmri fieldmap fmap fieldmapping b0 b0map b1map shim phasemap calibration cal asset "
    "refscan spectroscopy svs csi press mrsi elastography mre t1map t2map t1mapping t2mapping t1rho mapping molli"
)
SUSCEPTIBILITY = _words("t2star swi swan swip medic merge hemo hemoflash venobold susceptibility")
GRADIENT_ECHO = _words(
    "gre fgre gradient flash fl tfl mprage memprage mp2rage rage spgr fspgr irspgr irfspgr efgre efgre3d bravo ffe tfe "
    "vibe starvibe lava thrive ethrive vibrant fame fisp psif dess medic merge swi swan me fspgr3d"
)
SPIN_ECHO = _words(
    "se tse fse frfse ssfse haste hst space spc spcir spcr cube vista brainview propeller blade multivane mvxd tir "
    "tirm rare sshtse uhste isofse fastse spin etse"
)
# A single shot of spin echoes is T2-weighted by nature, and seldom says so.
SINGLE_SHOT = _words("ssfse haste hst sshtse uhste")
ECHO_PLANAR = _words("epi ep epfid epse epb ep2d fmri bold")

AXIAL = _words("ax axial axials axiale axiales axiaal tra trans transv transversal transverse transversaal trasversale")
CORONAL = _words("cor coronal coronals coronale coronales coronaal koronar koronal kor")
SAGITTAL = _words("sag sagittal sagittals sagittale sagital sagitale sagittaal saggital sagitaal")
VIEWS = {"axial": AXIAL, "coronal": CORONAL, "sagittal": SAGITTAL}

# What a named body part holds. An empty list: a part that holds none of the regions.
REGIONS: dict[tuple[str, ...], frozenset[str]] = {
    ("brain",): _words(
        "brain head neuro cerebral cerebrum cranial kopf schadel hirn gehirn tete crane cerveau hoofd hersenen "
        "schedel cabeza craneo cerebro encefalo testa cranio cervello"
    ),
    ("upper_head_neck",): _words("nasopharynx oropharynx sinus sinuses pns nnh"),
    ("lower_head_neck",): _words("larynx thyroid kehlkopf"),
    ("upper_head_neck", "lower_head_neck"): _words("neck hals cou cuello collo headneck hns hn"),
    ("lung",): _words("chest thorax lung lungs thoracic torax torace lunge poumon poumons pulmon polmone longen cxr"),
    ("breast",): _words("breast breasts brst mamma mammae mammo brust sein seins seno mama mammella borsten breastuni"),
    ("liver",): _words("liver leber foie lever higado fegato hepatic hepatique hcc"),
    ("kidney",): _words("kidney kidneys renal niere nieren rein reins nier rinon rene kub"),
    ("intestine",): _words("colonoscopy colonography enterography enteroclysis bowel colon darm"),
    ("pelvis",): _words(
        "pelvis pelvic pel pelv prostate prostata becken bassin bekken pelvi bacino rectum rektum uterus bladder"
    ),
    ("liver", "kidney"): _words("abdomen abd abdominal bauch buik addome abdo ventre oberbauch"),
    ("liver", "kidney", "intestine", "pelvis"): _words("abdpel abdpelvis ap abdopelvis abdomenpelvis abdominopelvic"),
    ("lung", "liver", "kidney", "intestine", "pelvis"): _words("cap tap wholebody ctcap chestabdpelvis trunk"),
    (): _words(
        "knee shoulder elbow wrist hand foot ankle finger toe knie schulter hombro rodilla ginocchio spalla genou "
        "epaule cspine tspine lspine lsp spine lumbar femur tibia humerus thigh calf forearm"
    ),
}
