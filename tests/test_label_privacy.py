"""No name leaves radnet label: canaries in every text element of the standard, private ones, files and folders."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet
import pytest
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from radnet.labels import read as read_labels
from tests.conftest import ROOT
from tests.series import write_series

TEXT_VRS = set("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())
WORD = "Kanarienvogel"
# By value representation, where a word would not be taken for a value at all.
CANARIES = {"DA": "19470913", "DT": "19470913131313.77", "TM": "131313.7787", "AS": "047Y", "UI": "1.2.987654321.123"}
NUMBERS = {"DS": "7654321.25", "IS": "76543219"}
# What an image is read by; spoiled, the file is refused, as in the other two series.
NEEDED = """
SOPClassUID SOPInstanceUID SeriesInstanceUID StudyInstanceUID Modality ImagePositionPatient ImageOrientationPatient
PixelSpacing RescaleSlope RescaleIntercept PhotometricInterpretation NumberOfFrames ImageType BurnedInAnnotation
AcquisitionNumber EchoNumbers EchoTime TemporalPositionIdentifier
""".split()
PROMPTS = f"{WORD} T1 T2 FLAIR chest brain +C native axial"  # words that rules take, around one that they must not


def _fill(dataset: Dataset, spared: set[str]) -> None:
    """Put a canary into every text element of the dictionary, in nested items and private blocks too."""
    for tag, (vr, *_) in DicomDictionary.items():
        kinds = set(vr.split(" or "))
        if tag >> 16 >= 0x0008 and kinds & TEXT_VRS and keyword_for_tag(tag) not in spared:
            text = CANARIES.get(vr, WORD) if vr not in NUMBERS else NUMBERS[vr]
            if keyword_for_tag(tag).endswith(("Description", "ProtocolName", "Agent", "Comments")):
                text = PROMPTS
            # In an implicit file no representation is written, so that any text can stand in any element.
            dataset[tag] = DataElement(tag, "UN", text.encode() + b" " * (len(text) % 2))
    item = Dataset()
    item.PatientName, item.RequestedProcedureDescription, item.InstitutionName = WORD, WORD, WORD
    for keyword in ("RequestAttributesSequence", "ReferencedPatientSequence", "SharedFunctionalGroupsSequence"):
        setattr(dataset, keyword, [item])
    for group in (0x0009, 0x0019, 0x0029, 0x0043, 0x2001):
        block = dataset.private_block(group, f"{WORD} {group}", create=True)
        for element in range(0x02, 0x0F):
            block.add_new(element, "LO", WORD)
    # Where vendors keep b-values and names of sequences.
    for tag in (0x0019100C, 0x00431039, 0x20011003, 0x0019109C, 0x20011020, 0x2005140F):
        dataset[tag] = DataElement(tag, "UN", WORD.encode() + b" ")


def _write(folder: Path, name: str, spared: set[str], vendor: str, modality: str) -> None:
    def edit(dataset: Dataset, number: int) -> None:
        kept = {keyword: dataset[keyword].value for keyword in spared if keyword in dataset}
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        _fill(dataset, spared | {"PixelData"})
        for keyword, value in kept.items():
            setattr(dataset, keyword, value)
        dataset.SeriesInstanceUID = f"1.2.987654321.{len(name)}"
        dataset.PatientID = WORD
        if vendor:
            dataset.Manufacturer = vendor

    write_series(folder / f"{WORD} {name}", 18, modality=modality, edit=edit)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("names") / "in"
    needed = set(NEEDED) | {"Rows", "Columns", "SamplesPerPixel"}
    _write(folder, "whole", needed, "SIEMENS", "CT")
    _write(folder, "magnetic", needed - {"EchoTime"} | {"ScanningSequence"}, "GE MEDICAL SYSTEMS", "MR")
    _write(folder, "spoiled", {"SOPClassUID", "SOPInstanceUID"}, "", "CT")
    (folder / f"{WORD}.txt").write_text(WORD)
    whole = next((folder / f"{WORD} whole").iterdir())
    (folder / f"{WORD} cut").mkdir()
    (folder / f"{WORD} cut" / f"{WORD}.dcm").write_bytes(whole.read_bytes()[:20_000])
    os.symlink(f"/nowhere/{WORD}", folder / f"{WORD} link")
    return folder


def _run(archive: Path, out: Path, *more: str) -> tuple[subprocess.CompletedProcess, str]:
    """The program as a user starts it, and all that Ray logged meanwhile."""
    ray = tempfile.mkdtemp(dir="/tmp")  # short, for sockets
    environment = os.environ | {"RAY_TMPDIR": ray, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "launch" / "label.py"), str(archive), "--out", str(out), "--workers", "2"]
    try:
        result = subprocess.run(
            [*command, "--key", str(out.parent / "key"), *more],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        logs = [path for path in Path(ray).rglob("*") if path.is_file() and not path.is_symlink()]
        assert any("worker" in path.name for path in logs)
        return result, "\n".join(path.read_text("utf-8", "replace") for path in logs)
    finally:
        shutil.rmtree(ray, ignore_errors=True)


def _leaks(text: str) -> set[str]:
    """Canaries in a text; pictures of the page are left out, for chance would find short ones in them."""
    text = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text).lower()
    canaries = {WORD.lower(), "1.2.987654321", *CANARIES.values(), *NUMBERS.values(), "7654321", "doe^jane", "20200101"}
    return {canary for canary in canaries if canary.lower() in text}


def test_the_canaries_are_where_names_are(archive):
    """The test itself: the archive is full of them, and a volume is read from among them."""
    found = {canary for file in archive.rglob("*.dcm") for canary in _leaks(file.read_bytes().decode("latin-1"))}
    assert found >= {WORD.lower(), "1.2.987654321", *CANARIES.values(), *NUMBERS.values()}


def test_no_name_leaves(archive, tmp_path):
    result, logs = _run(archive, tmp_path / "out")
    assert result.returncode == 8, result.stderr  # the cut file and the link
    assert not _leaks(result.stdout + result.stderr)
    assert not _leaks(logs)
    table = pyarrow.parquet.read_table(tmp_path / "out" / "labels.parquet")
    assert not _leaks(str(table.to_pylist()) + str(table.schema.metadata))
    for path in (tmp_path / "out").iterdir():
        assert not _leaks(path.name + path.read_bytes().decode("latin-1")), path.name
    rows = table.to_pylist()
    usable = [row for row in rows if row["status"] == "ok"]
    assert {row["modality"] for row in usable} == {"CT", "MR"}  # read and labelled in spite of it all
    assert all(row["coverage_confidence"] > 0 for row in usable)
    assert "<img" in (tmp_path / "out" / "index.html").read_text()


def test_kept_names_are_the_three_asked_for(archive, tmp_path):
    result, logs = _run(archive, tmp_path / "out", "--keep-uids", "--pictures", "0")
    assert not _leaks(result.stdout + result.stderr + logs)
    with io.StringIO((tmp_path / "out" / "labels.csv").read_text("utf-8"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert _leaks(str([row["folder"] for row in rows])) == {WORD.lower()}
    for name in rows[0].keys() - {"folder", "file", "series_uid"}:
        assert not _leaks(str([row[name] for row in rows])), name
    assert any(row["file"] == f"{WORD}.txt" for row in rows)


@pytest.mark.parametrize("keyword", ["SeriesDescription", "ProtocolName", "ContrastBolusAgent", "BodyPartExamined"])
def test_evidence_quotes_no_word_that_is_not_of_the_rules(keyword):
    for modality in ("CT", "MR"):
        row = read_labels({"Modality": modality, keyword: PROMPTS}).row()
        assert not _leaks(str(row))
