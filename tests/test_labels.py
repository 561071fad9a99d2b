"""Labels from headers: words, thresholds, refusals to guess, and a table of real series checked by hand."""

import csv
import math

import numpy as np
import pytest

from radnet import labels
from radnet.labels import TAXONOMIES
from radnet.labels.text import tokens
from radnet.shards.dicom import read_header
from radnet.shards.inventory import list_files
from radnet.shards.ledger import Code
from radnet.shards.privacy import PrivacyKey
from tests.series import grouped

PAPER = TAXONOMIES["paper"]


def paper_sequence(header: dict) -> str | None:
    number = int(PAPER.targets(labels.read(header).row())[0])
    return None if number < 0 else PAPER.sequence[number]


def mr(description: str = "", **values) -> dict:
    return {"Modality": "MR", "SeriesDescription": description} | values


def test_golden_oblique_header():
    found = labels.read({"ImageOrientationPatient": [1, 0, 0, 0, 0.987688, -0.156434]})
    assert found.view.value == "axial"
    assert found.view.evidence == "ImageOrientationPatient: axial, 9.0 degrees oblique"
    assert found.obliquity_deg == pytest.approx(9.0, abs=0.01)


@pytest.mark.parametrize(
    ("orientation", "view"),
    [
        ([1, 0, 0, 0, 1, 0], "axial"),
        ([-1, 0, 0, 0, -1, 0], "axial"),
        ([1, 0, 0, 0, 0, -1], "coronal"),
        ([0, 1, 0, 0, 0, -1], "sagittal"),
        ([math.cos(0.5), math.sin(0.5), 0, 0, 0, -1], "coronal"),
        ([math.cos(0.6), math.sin(0.6), 0, 0, 0, -1], None),
        ([1, 0, 0, 0, 2, 0], None),
        ([1, 0, 0, 1, 0, 0], None),
        ([0] * 6, None),
    ],
)
def test_view_is_the_dominant_axis_or_nothing(orientation, view):
    assert labels.read({"ImageOrientationPatient": orientation}).view.value == view


def test_view_from_words_only_without_orientation():
    assert labels.read(mr("AX T2 FSE")).view.value == "axial"
    assert labels.read(mr("AX and COR T2")).view.value is None
    assert labels.read(mr("AX T2", ImageOrientationPatient=[0, 1, 0, 0, 0, -1])).view.value == "sagittal"


def test_words_are_tokens_not_substrings():
    assert "b" not in tokens("Br") and "flair" not in tokens("flairing")
    assert {"t2", "flair"} <= tokens("2D_AX_T2FLAIR")
    assert {"fat", "sat"} <= tokens("FatSat")
    assert "tse" in tokens("*tse2d1_19") and "schadel" in tokens("SCHÄDEL")
    assert "t2star" in tokens("AX T2* GRE") and "t1" not in tokens("T10 spine T1rho T12")


@pytest.mark.parametrize(
    ("header", "sequence"),
    [
        ({"Modality": "CT"}, "CT"),
        (mr(ScanningSequence="SE", RepetitionTime=500, EchoTime=10), "T1-SE"),
        (mr(ScanningSequence="SE", RepetitionTime=4000, EchoTime=100), "T2-SE"),
        (mr(ScanningSequence=["SE", "IR"], RepetitionTime=9000, EchoTime=120, InversionTime=2500), "T2-FLAIR"),
        (mr(ScanningSequence=["SE", "IR"], RepetitionTime=2200, EchoTime=10, InversionTime=860), "T1-FLAIR"),
        (mr("cor ssfse"), "T2-SE"),
        (mr("t1_se_tra"), "T1-SE"),
        (mr("t2_tirm_tra_dark-fluid", ScanningSequence=["SE", "IR"]), "T2-FLAIR"),
        # none of the five
        (mr(ScanningSequence="SE", RepetitionTime=3000, EchoTime=15), None),
        (mr(ScanningSequence=["GR", "IR"], RepetitionTime=2300, EchoTime=2.9, InversionTime=900), None),
        (mr("t1_mprage_sag"), None),
        (mr(ScanningSequence=["SE", "IR"], RepetitionTime=4000, EchoTime=60, InversionTime=150), None),
        (mr(ScanningSequence="SE", RepetitionTime=9000, EchoTime=90, DiffusionBValue=1000), None),
        (mr(ScanningSequence="EP", RepetitionTime=9000, EchoTime=90), None),
        (mr("Ax T2 FSE", ImageType=["DERIVED", "SECONDARY", "MPR"]), None),
        ({"Modality": "CT", "SeriesDescription": "Scout"}, None),
        ({"Modality": "US"}, None),
        # says two things, or too little
        (mr("T1 SE", ScanningSequence="SE", RepetitionTime=4000, EchoTime=100), None),
        (mr("T2 FLAIR", ScanningSequence="GR"), None),
        (mr("AX FLAIR", ScanningSequence="SE", EchoTime=10), None),
        (mr("T1 SE", ScanningSequence="GR", RepetitionTime=20, EchoTime=4), None),
        (mr(ScanningSequence="SE", RepetitionTime=1300, EchoTime=50), None),
        (mr(ScanningSequence="SE", RepetitionTime=950, EchoTime=12, MagneticFieldStrength=3.0), "T1-SE"),
        (mr(ScanningSequence="SE", RepetitionTime=950, EchoTime=12, MagneticFieldStrength=1.5), None),
        (mr("T1"), None),
        (mr("3 plane"), None),
        ({}, None),
    ],
)
def test_paper_sequences(header, sequence):
    assert paper_sequence(header) == sequence


@pytest.mark.parametrize(
    ("header", "family", "technique"),
    [
        (mr("t1_mprage_sag"), "T1", "GRE"),
        (mr("AX STIR"), "STIR", None),
        (mr("ADC map"), "ADC", None),
        (mr("ep2d_diff"), "DWI", "EPI"),
        (mr("relCBF"), "PERF-MAP", None),
        (mr("3D TOF"), "MRA", None),
        (mr("SWI", ScanningSequence="GR"), "T2STAR", "GRE"),
        (mr("sag trufi"), "BSSFP", None),
        (mr("dyn post"), "DCE", None),
        (mr("DIN AXIAL"), "DCE", None),
        (mr("ISPY2: Ph6/AX VIBRANT-SERIES"), "DCE", "GRE"),
        (mr("(T1W Post contrast - T1W pre-contrast)"), "DERIVED", None),
        (mr("COR SShot BH"), "T2", "SE"),
        (mr("AX DIXON_in"), "T1", "GRE"),
        (mr("sSUBTRACAO AXI"), "DERIVED", None),
        (mr("Ax Vibrant PRE/POST"), "DCE", "GRE"),
        (mr("_T1_t1_mpr_tra_p2_iso_postGd"), "T1", "GRE"),
        (mr("t2_tse_tra_exacte_copy_diffusie"), "T2", "SE"),
        (mr(ScanningSequence="SE", RepetitionTime=2200, EchoTime=15), "PD", "SE"),
        (mr(ScanningSequence="SE", RepetitionTime=1300, EchoTime=15), None, "SE"),
        (mr("T1 SUB"), "DERIVED", None),
        (mr("localizer", ScanningSequence="GR"), "LOCALIZER", "GRE"),
        (mr("reference VOI mask"), "DERIVED", None),
        (mr("whole_spine/FLAIR16SL"), "T2-FLAIR", None),
        (mr("CORFSEIR JT TO JT"), "STIR", "SE"),
        ({"Modality": "PT"}, "PT", None),
        ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "DERIVED", None),
    ],
)
def test_extended_families(header, family, technique):
    found = labels.read(header)
    assert (found.family.value, found.technique.value) == (family, technique)
    assert found.family.evidence and (0 < found.family.confidence <= 1 or family is None)


@pytest.mark.parametrize(
    ("header", "regions"),
    [
        ({"BodyPartExamined": "HEAD"}, ("brain",)),
        ({"BodyPartExamined": "BREAST"}, ("breast",)),
        ({"StudyDescription": "CT CHEST/ABD/PEL"}, ("lung", "liver", "kidney", "intestine", "pelvis")),
        ({"ProtocolName": "Schädel"}, ("brain",)),
        ({"BodyPartExamined": "LSPINE"}, ()),
        ({"BodyPartExamined": "EXTREMITY"}, None),
        ({"SeriesDescription": "B70f"}, None),
        ({}, None),
    ],
)
def test_coverage_from_names(header, regions):
    assert labels.read(header).coverage.value == regions


def test_a_scan_too_short_for_its_region_does_not_cover_it():
    axial = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1.0, 1.0], "Rows": 256, "Columns": 256}
    header = axial | {"BodyPartExamined": "HEAD", "extent_mm": 150.0}
    assert labels.read(header).coverage.value == ("brain",)
    short = labels.read(header | {"extent_mm": 60.0})
    assert short.coverage.value == () and "60 mm" in short.coverage.evidence
    sagittal = header | {"extent_mm": 60.0, "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
    assert labels.read(sagittal).coverage.value == ("brain",)


def test_rows_and_targets():
    row = labels.read(
        mr("AX T1 SE +C", slice_spacing_mm=3.5, BodyPartExamined="BREAST", ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    ).row()
    assert (row["family"], row["coverage"], row["spacing_mm"], row["obliquity_deg"]) == ("T1", "breast", 3.5, 0.0)
    np.testing.assert_array_equal(PAPER.targets(row), np.float32([1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 3.5]))
    assert TAXONOMIES["extended"].targets(row)[0] == TAXONOMIES["extended"].sequence.index("T1")


def test_unknown_is_minus_one_and_known_to_hold_none_is_zero():
    targets = PAPER.targets(labels.read({}).row())
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, np.full(13, -1, np.float32))
    nan = dict.fromkeys(("family", "view", "contrast", "coverage", "spacing_mm"), float("nan"))
    np.testing.assert_array_equal(PAPER.targets(nan), targets)
    np.testing.assert_array_equal(PAPER.targets({"coverage": ""})[3:-1], np.zeros(9))
    with pytest.raises(ValueError, match="coverage names"):
        PAPER.targets({"coverage": "knee"})


def test_evidence_quotes_no_free_text():
    row = labels.read(
        mr("T1 SE of Mrs Doe post contrast", StudyDescription="Doe head", ContrastBolusAgent="Doe 5 ml")
    ).row()
    assert "doe" not in str(row).lower()


@pytest.fixture(scope="module")
def series_rows(real_data) -> dict:
    records = [read_header(path) for path in list_files(str(real_data))]
    rows = grouped(records, PrivacyKey(bytes(32), False))
    # The truth is of a series as a whole, so of its largest stack.
    return {row.private["series_uid"]: row for row in rows if row.stack == 0}


def test_series_checked_by_hand(real_data, series_rows):
    """44 series of ten vendors. Reached: every sequence right in the paper's five, none abstained, none of the others
    called one of the five where headers leave the series a candidate; no view wrong; no contrast wrong.

    View abstains on the two that truth calls oblique (35 and 39 degrees). The dose reports say Modality CT; they are
    secondary captures, so their family is DERIVED.
    """
    wrong, abstained, views, contrasts = [], [], [], []
    for truth in csv.DictReader((real_data / "truth.csv").open()):
        row = series_rows[truth["series_uid"]]
        said, found = paper_sequence(row.header), labels.read(row.header)
        is_one_of_five = truth["sequence"] in PAPER.sequence
        if said is None and is_one_of_five:
            abstained.append(truth["path_glob"])
        elif said is not None and said != truth["sequence"] and row.code is Code.OK:
            wrong.append((truth["path_glob"], said))
        views.append(found.view.value in (None, truth["view"]) or truth["view"] == "none")
        known = truth["contrast"] if truth["contrast"] in ("yes", "no") else truth["contrast_image"]
        contrasts.append(found.contrast.value in (None, known) or not known)
    assert (wrong, abstained) == ([], [])
    assert all(views) and all(contrasts)


def test_descriptions_checked_by_hand(real_data):
    """46 descriptions alone, without tags. Reached: no sequence wrong or missed; contrast and view never wrong.

    Missed: the contrast of "PRE+5POST" (both).
    """
    missed = []
    for truth in csv.DictReader((real_data / "text_truth.csv").open()):
        header = {"Modality": truth["modality"], "SeriesDescription": truth["series_description"]}
        names = {"StudyDescription": "study_description", "BodyPartExamined": "body_part"}
        header |= {keyword: truth[name] for keyword, name in names.items() if truth[name] != "nan"}
        found = labels.read(header)
        expected = truth["sequence"] if truth["sequence"] in PAPER.sequence else None
        assert paper_sequence(header) == expected, truth["series_description"]
        for finding, said in ((found.view, truth["view_from_text"]), (found.contrast, truth["contrast_from_text"])):
            assert finding.value is None or not said or finding.value == said, truth["series_description"]
            missed += [truth["series_description"]] if finding.value is None and said else []
    assert sorted(missed) == ["ISPY2: T1 FL3D DYN FS PRE+5POST"]
