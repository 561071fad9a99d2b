"""Coverage from many sources and the height of the scan; words apart; evidence that quotes nobody."""

import time

import pytest

from radnet import labels
from radnet.labels.coverage import height_mm
from radnet.labels.text import name_of, number, phrase, tokens
from radnet.labels.view import VIEWS
from tests.test_label_headers import ROWS, TAGS, header_of

AXIAL = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.9, 0.9], "Rows": 512, "Columns": 512}
SAGITTAL = AXIAL | {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
ABDOMEN = ("liver", "kidney")
LOWER = (*ABDOMEN, "intestine", "pelvis")
TRUNK = ("lung", *LOWER)
NECK = ("upper_head_neck", "lower_head_neck")


def ct(extent_mm: float | None = None, **values) -> dict:
    return {"Modality": "CT"} | AXIAL | ({} if extent_mm is None else {"extent_mm": extent_mm}) | values


def mr(extent_mm: float, **values) -> dict:
    return ct(extent_mm, **values) | {"Modality": "MR"}


@pytest.mark.parametrize(
    ("header", "regions"),
    [
        # an abdomen as tall as this reaches the pelvis; a chest need not reach the abdomen
        (ct(250.0, BodyPartExamined="ABDOMEN"), ABDOMEN),
        (ct(600.0, BodyPartExamined="ABDOMEN"), LOWER),
        (ct(330.0, BodyPartExamined="CHEST"), ("lung",)),
        (ct(420.0, BodyPartExamined="CHEST"), ("lung",)),
        (ct(500.0, BodyPartExamined="CHEST"), ("lung", *ABDOMEN)),
        (ct(680.0, BodyPartExamined="CHEST"), TRUNK),
        (ct(250.0, BodyPartExamined="LIVER"), ABDOMEN),
        (ct(100.0, BodyPartExamined="CHEST"), ()),
        # an exam of three parts whose series is as tall as one
        (ct(320.0, BodyPartExamined="CHEST", StudyDescription="CT CHEST ABD PELVIS W CONTRAST"), ("lung",)),
        (ct(660.0, BodyPartExamined="CHEST", StudyDescription="CT CHEST ABD PELVIS W CONTRAST"), TRUNK),
        (ct(BodyPartExamined="CHEST", StudyDescription="CT CAP"), TRUNK),
        # the name of the series is nearest
        (ct(SeriesDescription="ABD CORONAL", BodyPartExamined="CHEST", StudyDescription="CT CAP"), ABDOMEN),
        (ct(SeriesDescription="CAP lung", BodyPartExamined="CHEST"), TRUNK),
        (ct(BodyPartExamined="WHOLEBODY"), TRUNK),
        (ct(1000.0, BodyPartExamined="WHOLEBODY"), ("lower_head_neck", *TRUNK)),
        (ct(1750.0, BodyPartExamined="WHOLEBODY"), ("brain", *NECK, *TRUNK)),
        (ct(StudyDescription="PET/CT SKULL BASE TO MID THIGH"), ("lower_head_neck", *TRUNK)),
        (ct(BodyPartExamined="HEADNECK"), NECK),
        (ct(StudyDescription="CT head & neck"), NECK),
        (ct(StudyDescription="CT Hals Thorax Abdomen"), (*NECK, "lung", *ABDOMEN)),
        (ct(SeriesDescription="PELVIS W/O"), ("pelvis",)),
        (ct(SeriesDescription="L-SPINE SAG", BodyPartExamined="ABDOMEN"), ()),
        (ct(SeriesDescription="recon A - P16"), None),
        # wrong or defaulted body parts
        (ct(BodyPartExamined="CHEST", StudyDescription="CT ABDOMEN"), ABDOMEN),
        (ct(BodyPartExamined="OVARY", StudyDescription="CT CHEST PE"), ("lung",)),
        (ct(BodyPartExamined="COLON", StudyDescription="CT ABDOMEN"), LOWER),
        ({"Modality": "CT", "BodyPartExamined": "CHEST", "collection_site": "Breast"}, ("lung",)),
        ({"Modality": "MR", "BodyPartExamined": "LIVER", "collection_site": "Breast"}, ("breast",)),
        ({"Modality": "MR", "BodyPartExamined": "HEADNECK", "collection_site": "Brain"}, ("brain",)),
        ({"Modality": "MR", "BodyPartExamined": "CHEST", "StudyDescription": "MRI BREAST BILAT"}, ("breast",)),
        ({"Modality": "MR", "StudyDescription": "MRI L Spine", "collection_site": "Breast"}, ()),
        ({"Modality": "MR", "StudyDescription": "MRCP pancreatic head"}, ABDOMEN),
        # sites, alone
        ({"Modality": "CT", "collection_site": "Colorectal"}, LOWER),
        ({"Modality": "MR", "collection_site": "Prostate"}, ("pelvis",)),
        ({"Modality": "CT", "collection_site": "Esophagus, Head-Neck, Lung, Pancreas, Rectum"}, None),
        ({"Modality": "CT", "collection_site": "Pelvis, Prostate, Anus"}, ("pelvis",)),
        ({"Modality": "CT", "collection_site": "Breast", "StudyDescription": "PET-CT STUDY"}, None),
        # of real archives
        ({"Modality": "CT", "StudyDescription": "CT ANGIO LIVER WITH CH/PEL"}, TRUNK),
        ({"Modality": "MR", "SeriesDescription": "LIVER-PELVIS/HASTE_AXIAL_P"}, LOWER),
        (ct(SeriesDescription="Ches Coronal Thin Mips", StudyDescription="CT ABDOMEN PELVIS W CONT"), ("lung",)),
        (ct(SeriesDescription="BLAD DELAY", StudyDescription="CT CHEST ABDOMEN PELVIS W"), ("pelvis",)),
        (ct(BodyPartExamined="LSPINE", StudyDescription="hrudnik a bricho nativ"), ("lung", *ABDOMEN)),
        (ct(StudyDescription="Abdomen^TRIO_TX_AS_AIVOL (Adult)"), TRUNK),
        (ct(StudyDescription="TX AS"), ("lung", *ABDOMEN)),
        ({"Modality": "MR", "SeriesDescription": "T2 COR FEET", "BodyPartExamined": "WHOLEBODY"}, ()),
        ({"Modality": "MR", "SeriesDescription": "feet first", "BodyPartExamined": "PELVIS"}, ("pelvis",)),
        (ct(SeriesDescription="ABD/PLVS W/O CONTRAST", BodyPartExamined="ADRENAL"), LOWER),
        (ct(StudyDescription="PET CT TUMOR, WHOLE BO", BodyPartExamined="BREAST"), TRUNK),
        ({"Modality": "MR", "SeriesDescription": "T2 CORONAL KNEES", "BodyPartExamined": "WHOLEBODY"}, ()),
        ({"Modality": "MR", "BodyPartExamined": "BREAST", "StudyDescription": "MR_Chest"}, ("breast",)),
        (ct(BodyPartExamined="BREAST", StudyDescription="CT_Chest"), ("lung",)),
        ({"Modality": "MR", "BodyPartExamined": "EAR", "StudyDescription": "MRI IAMS", "collection_site": "Brain"}, ()),
        (ct(StudyDescription="PC TX AS"), (*NECK, "lung", *ABDOMEN)),
        # codes, compounds and parts that only some texts name
        (ct(SeriesDescription="Coronal 2x2", StudyDescription="CTCAPC"), TRUNK),
        (ct(StudyDescription="CTNCAPW"), (*NECK, *TRUNK)),
        (ct(StudyDescription="CTAPWO", BodyPartExamined="CHEST"), LOWER),
        (ct(SeriesDescription="5mm", StudyDescription="CT C/A", BodyPartExamined="CHEST"), ("lung", *ABDOMEN)),
        (ct(StudyDescription="CT AB WITH", BodyPartExamined="OVARY"), ABDOMEN),
        (ct(StudyDescription="CT CHEST W CONTRAST=AB"), ("lung",)),
        (ct(StudyDescription="CT ANGIO AB W/WO AND CH/PEL W/"), TRUNK),
        (ct(StudyDescription="CT_CHESTABDOM"), ("lung", *ABDOMEN)),
        (ct(StudyDescription="RoutineChest", BodyPartExamined="ABDOMEN"), ("lung",)),
        (ct(StudyDescription="Leberprotokoll"), ("liver",)),
        (ct(StudyDescription="Manchester Delivery Oliver"), None),
        (ct(StudyDescription="CT pelvisbonebiopsy"), None),
        ({"Modality": "MR", "StudyDescription": "MRI lumbarspine", "BodyPartExamined": "BRAIN"}, ()),
        ({"Modality": "MR", "StudyDescription": "MRI BR UNILAT W&WO CONT"}, ("breast",)),
        ({"Modality": "MR", "StudyDescription": "TORSO coil T2"}, None),
        (ct(StudyDescription="FDG TORSO"), TRUNK),
        (ct(StudyDescription="PET/CT SKULL BASE TO M"), ("lower_head_neck", *TRUNK)),
        (ct(StudyDescription="PET CT Skull To Mid Th"), ("lower_head_neck", *TRUNK)),
        (ct(StudyDescription="PTCTSKTHPET / CT TUMOR", BodyPartExamined="LUNG"), ("lower_head_neck", *TRUNK)),
        ({"Modality": "MR", "SeriesDescription": "T1 LOWER TIB FIB"}, ()),
        (ct(StudyDescription="e+1 PET IMAGE W/CT, SKULL-"), ("lower_head_neck", *TRUNK)),
        (ct(StudyDescription="PET brain, skull base"), ("brain",)),
        (ct(SeriesDescription="Iliac Crest  2.0", StudyDescription="CT Abdomen wwo"), ("pelvis",)),
        (ct(StudyDescription="PET/CT Sk-Th"), ("lower_head_neck", *TRUNK)),
        (ct(SeriesDescription="T=10%,PR=2% 4D CT", StudyDescription="PET TORSO", BodyPartExamined="CHEST"), ("lung",)),
        (ct(StudyDescription="XR CHEST AP PORTABLE"), ("lung",)),
        (ct(StudyDescription="Outside read NEURO CT", BodyPartExamined="THYROID"), ("lower_head_neck",)),
        (ct(StudyDescription="Outside read NEURO CT"), ("brain",)),
        ({"Modality": "MR", "StudyDescription": "NEURO SPINE"}, ()),
        (ct(SeriesDescription="DELAY KIDS", StudyDescription="CT CAP"), ("kidney",)),
        (ct(SeriesDescription="HEAD KIDS"), ("brain",)),
        ({"Modality": "MR", "BodyPartExamined": "IAC", "collection_site": "Brain"}, ()),
        ({"Modality": "MR", "BodyPartExamined": "PROSTATE", "StudyDescription": "MR ABD IMAGE IMPORT"}, ("pelvis",)),
        ({"Modality": "MR", "BodyPartExamined": "PROSTATE", "StudyDescription": "MR ABD"}, ABDOMEN),
        (ct(StudyDescription="CT RENAL MASS-CT ABDOM"), ABDOMEN),
        (ct(StudyDescription="CT CHEST ABDOMEN PELVI"), TRUNK),
        (ct(SeriesDescription="live 5 min", BodyPartExamined="CHEST"), ("lung",)),
        (ct(SeriesDescription="NECK  TO PUBIC SYMPHYSIS", StudyDescription="CT ABD AND PEL"), (*NECK, *TRUNK)),
        (ct(SeriesDescription="Thorax bis Becken"), TRUNK),
        (ct(SeriesDescription="liver to pelvis"), LOWER),
        (ct(SeriesDescription="diaphragm to symphysis"), LOWER),
        (ct(SeriesDescription="I+ diagr/iliac crests", StudyDescription="CT RENAL MASS-CT ABDOM"), ABDOMEN),
        (ct(SeriesDescription="Neph phase thru pelvi", StudyDescription="CT ABDOMEN PELVIS WITH"), LOWER),
        (ct(SeriesDescription="delay thru pelvis", StudyDescription="CT CHEST"), ("lung",)),
        (ct(SeriesDescription="LOW DOSE THROUGH LUNGS"), ("lung",)),
        (ct(SeriesDescription="DELAY*from above diaphragm", StudyDescription="CT Chest"), ABDOMEN),
        (ct(SeriesDescription="CHEST/DELAYED PANC/BLA"), TRUNK),
        (ct(SeriesDescription="BREAST SHIELDS PLEASE", StudyDescription="CT THORAX"), ("lung",)),
        ({"Modality": "MR", "StudyDescription": "IRM BRAS GAUCHE C-C+"}, ()),
        (ct(SeriesDescription="lung apices to iliac crest"), ("lung", *ABDOMEN)),
        (ct(SeriesDescription="Range CT EXT", StudyDescription="PETCT Whole Body"), ()),
        (ct(StudyDescription="CT ureters"), ("kidney", "intestine", "pelvis")),
        # in other languages
        (ct(SeriesDescription="C/C 1.25mm", StudyDescription="AS AI", BodyPartExamined="STOMACH"), LOWER),
        (ct(SeriesDescription="AS S/C 2.5mm", StudyDescription="TX AS"), ABDOMEN),
        (ct(StudyDescription="Abdomen^KlpBrzuchMiednica (Adult)", BodyPartExamined="ABDOMEN"), TRUNK),
        (ct(SeriesDescription="KL/J.B/MM  1.5", StudyDescription="KT miednicy mniejszej"), TRUNK),
        (ct(StudyDescription="KLP/JB/M", BodyPartExamined="ABDOMEN"), TRUNK),
        (ct(StudyDescription="TK jamy brzusznej i miednicy"), LOWER),
        ({"Modality": "MR", "StudyDescription": "RESSONANCIA MAGNETICA DE ABDOME INFERIOR"}, ("pelvis",)),
        (ct(SeriesDescription="CTA Kopf/Hals"), ("brain", *NECK)),
        (ct(SeriesDescription="CCT nativ"), ("brain",)),
        (ct(SeriesDescription="TC toracoabdominopélvico con CIV"), TRUNK),
        (ct(SeriesDescription="TC abdominopélvico"), LOWER),
        (ct(SeriesDescription="Coloscanner à l'eau"), LOWER),
        (ct(SeriesDescription="TC massiccio facciale"), ("upper_head_neck",)),
        (ct(SeriesDescription="Schildklier"), ("lower_head_neck",)),
        (ct(SeriesDescription="Angio-TC polmonare"), ("lung",)),
        (ct(SeriesDescription="Bovenbuik arteriele fase"), ABDOMEN),
        (ct(SeriesDescription="Nierensteine low dose"), ("kidney",)),
        ({"Modality": "MR", "SeriesDescription": "IRM pelvienne T1"}, ("pelvis",)),
        ({"Modality": "MR", "SeriesDescription": "Kniegelenk PD"}, ()),
        # from the top of the head to the lungs, where both head and neck are named
        (ct(320.0, BodyPartExamined="HEADNECK"), ("brain", *NECK)),
        (ct(250.0, BodyPartExamined="HEADNECK"), NECK),
        (ct(320.0, BodyPartExamined="NECK"), NECK),
        (ct(320.0, SeriesDescription="Neck", StudyDescription="CT head & neck"), NECK),
        # a body part alone, and what speaks against it
        (mr(160.0, BodyPartExamined="BREAST", SeriesDescription="t2_tirm_tra_dark-fluid"), None),
        (mr(160.0, BodyPartExamined="HEAD", SeriesDescription="t2_tirm_tra_dark-fluid"), ("brain",)),
        (mr(250.0, BodyPartExamined="PELVIS", SeriesDescription="t1_tirm_sag_dark-fluid"), ("pelvis",)),
        (mr(145.0, BodyPartExamined="CHEST", SeriesDescription="DWI b1000"), None),
        (mr(145.0, BodyPartExamined="CHEST", StudyDescription="MRI CHEST"), ()),
        # sequences made for one part, where nothing else is said
        ({"Modality": "MR", "SeriesDescription": "AX VIBRANT +C"}, ("breast",)),
        ({"Modality": "MR", "SeriesDescription": "sag t1 mprage"}, ("brain",)),
    ],
)
def test_coverage(header, regions):
    found = labels.read(header).coverage
    assert found.value == regions, found.evidence


def test_conflicts_are_said_and_cost_confidence():
    agreed = labels.read(ct(300.0, BodyPartExamined="CHEST", StudyDescription="CT CHEST")).coverage
    split = labels.read(ct(300.0, BodyPartExamined="CHEST", StudyDescription="CT ABDOMEN")).coverage
    assert "disagree" in split.evidence and "disagree" not in agreed.evidence
    assert agreed.confidence == 0.88 and split.confidence <= 0.7
    assert labels.read({"Modality": "CT", "collection_site": "Lung"}).coverage.confidence < 0.5


def test_height_of_tilted_and_upright_slices():
    assert height_mm(AXIAL | {"extent_mm": 300.0}) == pytest.approx(300.0)
    assert height_mm(SAGITTAL | {"extent_mm": 60.0}) == pytest.approx(460.8)
    assert height_mm(SAGITTAL) == pytest.approx(460.8)  # one upright slice shows it
    assert height_mm(AXIAL) is None and height_mm({}) is None
    assert height_mm(AXIAL | {"extent_mm": 300.0, "PixelSpacing": ["a", 1]}) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("T2fseidealarc_BP", {"t2", "fse", "ideal", "arc"}),
        ("BreasTSET2FSSAG1B", {"tse", "t2", "fs", "sag"}),
        ("T13DFL AX", {"t1", "fl", "ax"}),
        ("dynaVIEWS", {"dyna", "views"}),
        ("sub1 mip3", {"sub", "mip"}),
        ("T2Post3", {"t2", "post"}),
        ("T-1 SAG", {"t1", "sag"}),
    ],
)
def test_joined_words_come_apart(text, found):
    assert found <= tokens(text)


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ("T1-T4 spine", "t1"),
        ("Foramen Magnum To T1", "t1"),
        ("C7-T1", "t1"),
        ("T2 prep", "t2"),
        ("T2 map", "map t2"),
        ("axilla", "ax"),
        ("B70f", "b"),
    ],
)
def test_what_is_no_word(text, absent):
    assert absent not in tokens(text)


def test_missing_values_are_no_text_and_no_number():
    nan = float("nan")
    assert name_of({"SeriesDescription": nan, "ProtocolName": "T1"}) == "T1"
    assert phrase("Head_First-Supine 3D") == " head first supine 3 d "
    assert number({"EchoTime": nan}, "EchoTime") is None and number({"EchoTime": [12, 90]}, "EchoTime") == 12
    assert not set.intersection(*map(set, VIEWS.values()))


def test_evidence_quotes_no_word_of_the_header():
    """A name that could be a person's, in every text of every row, never comes back."""
    texts = [*TAGS.values(), "SeriesDescription", "RequestedProcedureDescription", "PerformedProcedureStepDescription"]
    for row in ROWS:
        header = header_of(row)
        for key in texts:
            if isinstance(header.get(key, ""), str) and key not in ("SOPClassUID",):
                header[key] = f"{header.get(key, '')} rachis Qzunther spine Qzunther"
        assert "qzunther" not in str(labels.read(header).row()).lower()


def test_reading_a_repeated_description_is_quick():
    headers = [header_of(row) | AXIAL | {"extent_mm": 200.0} for row in ROWS]
    for header in headers:
        labels.read(header)
    best_s = min(_time_s(headers) for _ in range(5))
    assert best_s / len(headers) < 600e-6  # measured about 100e-6


def _time_s(headers: list[dict]) -> float:
    start = time.perf_counter()
    for header in headers:
        labels.read(header)
    return time.perf_counter() - start
