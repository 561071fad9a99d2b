"""Labels from a table of headers as scanners of many makes and countries write them (tests/golden/label_headers.csv).

Columns: make; modality; name (SeriesDescription); tags ("SS=SE+IR; TR=9000": short names below, "+" between values);
family and technique ("-" = not decided); view, contrast, coverage (empty = not asked, "?" = not decided, "none" = no
region). The labels come from knowledge of the scanners, not from what the rules say; the names are typical, and of no
patient.
"""

import csv
import random

import pytest

from radnet import labels
from radnet.labels import TAXONOMIES
from tests.conftest import ROOT

TAGS = {
    "SS": "ScanningSequence",
    "SV": "SequenceVariant",
    "SN": "SequenceName",
    "PN": "PulseSequenceName",
    "PV": "PrivateSequenceName",
    "TR": "RepetitionTime",
    "TE": "EchoTime",
    "TI": "InversionTime",
    "FA": "FlipAngle",
    "ETL": "EchoTrainLength",
    "B0": "MagneticFieldStrength",
    "IT": "ImageType",
    "AC": "AcquisitionContrast",
    "EPS": "EchoPulseSequence",
    "EPP": "EchoPlanarPulseSequence",
    "SSP": "SteadyStatePulseSequence",
    "CIC": "ComplexImageComponent",
    "BV": "DiffusionBValue",
    "BP": "BodyPartExamined",
    "ST": "StudyDescription",
    "PR": "ProtocolName",
    "AG": "ContrastBolusAgent",
    "RT": "ContrastBolusRoute",
    "SC": "ScanOptions",
    "CK": "ConvolutionKernel",
    "SOP": "SOPClassUID",
    "SITE": "collection_site",
    "N": "num_slices",
}
NUMBERS = {"TR", "TE", "TI", "FA", "ETL", "B0", "BV", "N"}
ROWS = list(csv.DictReader((ROOT / "tests/golden/label_headers.csv").open()))


def header_of(row: dict[str, str]) -> dict:
    """The header that a row of the table describes."""
    header = {"Modality": row["modality"], "SeriesDescription": row["name"]}
    for tag in filter(None, row["tags"].split("; ")):
        key, value = tag.split("=", 1)
        values = [float(value)] if key in NUMBERS else value.split("+")
        header[TAGS[key]] = values[0] if len(values) == 1 else values
    return header


def expected_sequence(row: dict[str, str]) -> str | None:
    """The class of the paper's five that family and technique of a row make."""
    if row["family"] in ("T1", "T2"):
        return f"{row['family']}-SE" if row["technique"] == "SE" else None
    return row["family"] if row["family"] in TAXONOMIES["paper"].sequence else None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['make']}-{row['name']}")
def test_headers_of_many_makes(row):
    found = labels.read(header_of(row))
    assert (found.family.value or "-") == row["family"], found.family.evidence
    assert (found.technique.value or "-") == row["technique"], found.technique.evidence
    assert TAXONOMIES["paper"].sequence_finding(found).value == expected_sequence(row)
    for label in ("view", "contrast"):
        if row[label]:
            assert (getattr(found, label).value or "?") == row[label], getattr(found, label).evidence
    if row["coverage"]:
        regions = found.coverage.value
        said = "?" if regions is None else " ".join(regions) or "none"
        assert said == row["coverage"], found.coverage.evidence


def test_the_table_is_wide():
    assert len(ROWS) >= 150 and len({row["make"] for row in ROWS}) >= 15
    decided = {row["family"] for row in ROWS}
    assert decided >= set(TAXONOMIES["extended"].sequence) - {"PT"}


def test_any_value_in_any_tag_is_read_without_an_error():
    """Rows with values that no standard allows: findings come back, and confidence stays within its bounds."""
    rng = random.Random(0)
    junk = [None, "", " ", "\\", "NONE", float("nan"), float("inf"), -1, 0, [], [None], ["", 3], {"a": 1}, b"x", True]
    for row in ROWS:
        header = header_of(row)
        for key in (*TAGS.values(), "SeriesDescription", "Modality", "ImageOrientationPatient", "PixelSpacing", "Rows"):
            if rng.random() < 0.3:
                header[key] = rng.choice(junk)
        header["extent_mm"] = rng.choice([*junk, 200.0])
        found = labels.read(header).row()
        for name in ("family", "technique", "view", "contrast", "coverage"):
            assert 0 <= found[f"{name}_confidence"] <= 1 and found[f"{name}_evidence"]
            assert (found[name] is None) == (found[f"{name}_confidence"] == 0)
