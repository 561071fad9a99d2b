"""radnet label from end to end in a real Ray: every stack has its row, and the row is right."""

import csv
import io
import re
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from radnet.errors import FINISHED_WITH_FAILURES, OK
from radnet.labels import RULES_VERSION, TAXONOMIES
from radnet.shards import audit_table, ledger
from radnet.shards.build import build
from radnet.shards.config import PrivacyConfig, ShardConfig, SourceConfig
from radnet.shards.phantom import write_archive
from tests.audits import audit, read_csv
from tests.series import write_series

COLUMNS = """
series_key folder files slices status code reason modality sequence view obliquity_deg contrast coverage spacing_mm
sequence_confidence sequence_evidence view_confidence view_evidence contrast_confidence contrast_evidence
coverage_confidence coverage_evidence spacing_mm_confidence spacing_mm_evidence
""".split()


pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """Phantom DICOM in folder/in with a text, a zip and an empty file; its truth in folder/truth."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder / "in", folder / "truth", num_patients=8, seed=1, write_masks=False)
    (folder / "in" / "notes.txt").write_text("no image\n")
    (folder / "in" / "empty.dcm").write_bytes(b"")
    _zip(folder / "in" / "more.zip")
    return folder


def _zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.dcm", "anything")
    return path


@pytest.fixture(scope="module")
def audited(archive, tmp_path_factory) -> Path:
    """An audit of the phantom that keeps its UIDs."""
    out = tmp_path_factory.mktemp("audit") / "out"
    assert audit(archive / "in", out, "--keep-uids") == FINISHED_WITH_FAILURES
    return out


def _truth(archive: Path) -> dict[str, dict[str, str]]:
    with open(archive / "truth" / "truth.csv", newline="") as file:
        return {row["series_uid"]: row for row in csv.DictReader(file) if row["series_uid"]}


def test_both_tables_say_the_same_in_the_promised_columns(audited):
    table = pyarrow.parquet.read_table(audited / "labels.parquet")
    assert table.column_names[: len(COLUMNS)] == COLUMNS
    for name in table.column_names:
        expected = pyarrow.string()
        if name in ("files", "slices", "stack"):
            expected = pyarrow.int64()
        elif name == "obliquity_deg" or name == "spacing_mm" or name.endswith("_confidence"):
            expected = pyarrow.float64()
        assert table.schema.field(name).type == expected, name
    content = (audited / "labels.csv").read_bytes().decode("utf-8")
    lines = list(csv.reader(io.StringIO(content, newline="")))
    assert lines[0] == table.column_names and content.count("\r\n") == len(lines)
    shown = [["" if value is None else str(value) for value in row.values()] for row in table.to_pylist()]
    assert lines[1:] == shown
    assert set(table["rules_version"].to_pylist()) == {RULES_VERSION}
    assert len(set(table["series_key"].to_pylist())) == len(table)
    assert "" not in {value for row in table.to_pylist() for value in row.values()}  # unknown is null


def test_every_series_of_the_truth_is_there_and_right(archive, audited):
    rows = {row["series_uid"]: row for row in read_csv(audited) if row["series_uid"]}
    truth = _truth(archive)
    assert rows.keys() == truth.keys()
    num_files = sum(path.is_file() for path in (archive / "in").rglob("*"))
    assert sum(int(row["files"]) for row in read_csv(audited)) == num_files
    decided = right = 0
    for uid, expected in truth.items():
        row = rows[uid]
        status = "ok" if expected["status"] == "sharded" else expected["status"]
        assert (row["status"], row["code"]) == (status, expected["code"]), uid
        assert (row["reason"] == "") == (status == "ok")
        folder = archive / "in" / row["folder"]
        assert folder.is_dir() and len(list(folder.iterdir())) == int(row["files"])
        if status == "ok":
            assert row["view"] == expected["view"] and row["slices"] == expected["num_slices"]
            assert float(row["obliquity_deg"]) == pytest.approx(float(expected["obliquity_deg"]), abs=0.01)
            assert float(row["spacing_mm"]) == pytest.approx(float(expected["spacing_mm"]), abs=0.001)
            assert expected["sequence"] or not row["sequence"]
        if expected["code"] in ("no_rescale", "localizer", "secondary_capture"):
            assert row["slices"] == row["files"]
        if expected.get("family") and row["family"]:
            decided += 1
            right += row["family"] == expected["family"]
            assert row["sequence"] in ("", expected["sequence"]) or float(row["sequence_confidence"]) < 0.9
    assert decided > 20 and right >= 0.95 * decided


def test_files_that_are_no_series_have_rows(audited):
    alone = {row["file"]: row for row in read_csv(audited) if row["file"]}
    assert (alone["notes.txt"]["status"], alone["notes.txt"]["code"]) == ("excluded", "not_dicom")
    assert (alone["more.zip"]["status"], alone["more.zip"]["code"]) == ("excluded", "not_dicom")
    assert "unzip FILE" in alone["more.zip"]["reason"]
    assert (alone["empty.dcm"]["status"], alone["empty.dcm"]["code"]) == ("failed", "unreadable")
    assert alone["empty.dcm"]["folder"] == "." and alone["notes.txt"]["slices"] == "0"


def test_refused_series_keep_the_labels_of_their_headers(archive, audited):
    rows = {row["series_uid"]: row for row in read_csv(audited)}
    refused = [uid for uid, row in _truth(archive).items() if row["code"] in ("too_few_slices", "truncated")]
    assert refused
    for uid in refused:
        assert rows[uid]["view"] and float(rows[uid]["view_confidence"]) > 0 and rows[uid]["sequence_evidence"]


def test_an_audit_labels_as_a_shard_set_does(archive, audited, tmp_path):
    source = SourceConfig(str(archive / "in"), "dicom", "phantom", "CC0")
    build(
        ShardConfig(out=str(tmp_path / "set"), sources=[source], privacy=PrivacyConfig("public"), num_workers=2), print
    )
    rows = {row["series_key"]: row for row in pyarrow.parquet.read_table(audited / "labels.parquet").to_pylist()}
    codes = {row.series_key: str(row.code) for row in ledger.read(str(tmp_path / "set" / "ledger.parquet"))}
    assert {key: row["code"] for key, row in rows.items()} == codes
    samples = pyarrow.parquet.read_table(tmp_path / "set" / "labels.parquet").to_pylist()
    assert len(samples) == sum(row["status"] == "ok" for row in rows.values()) > 10
    for sample in samples:
        row = rows[sample["key"]]
        assert row["sequence"] == TAXONOMIES["paper"].sequence_name(sample)
        assert row["coverage"] == ("none" if sample["coverage"] == "" else sample["coverage"])
        for name in ("view", "contrast", "view_evidence", "contrast_evidence", "family", "technique"):
            assert row[name] == sample[name], name
        assert row["spacing_mm"] == pytest.approx(sample["spacing_mm"], abs=1e-6)
        assert row["slices"] == sample["num_slices"]


def test_names_are_hashed_unless_kept(archive, audited, tmp_path, capfd):
    assert audit(archive / "in", tmp_path / "out") == FINISHED_WITH_FAILURES
    hashed = read_csv(tmp_path / "out")
    assert "series_uid" not in hashed[0] and "file" not in hashed[0]
    assert all(re.fullmatch(r"[0-9a-f]{20}", row["folder"]) for row in hashed)
    kept = {row["series_key"]: row for row in read_csv(audited)}
    assert {row["series_key"] for row in hashed} == kept.keys()
    folders = {(row["folder"], kept[row["series_key"]]["folder"]) for row in hashed}
    assert len(folders) == len(dict(folders)) == len({folder for _, folder in folders})  # one hash for one folder
    captured = capfd.readouterr()
    assert "PHANTOM-" not in captured.out + captured.err and "2.25." not in captured.out + captured.err
    assert "volumes " in captured.err and "packed files are not looked into: 1;" in captured.err
    assert (audited / "labels.csv").stat().st_mode & 0o077 == 0  # names that were kept are their owner's
    for name in ("labels.csv", "index.html"):
        assert b"PHANTOM-" not in (tmp_path / "out" / name).read_bytes()


def test_the_extended_taxonomy_names_what_the_paper_leaves_out(archive, audited, tmp_path):
    audit(archive / "in", tmp_path / "out", "--taxonomy", "extended", "--pictures", "0")
    paper, extended = ({row["series_key"]: row for row in read_csv(out)} for out in (audited, tmp_path / "out"))
    assert all(row["sequence"] == row["family"] for row in extended.values())
    assert any(extended[key]["sequence"] and not paper[key]["sequence"] for key in paper)
    assert {row["sequence"] for row in paper.values()} <= {"", *TAXONOMIES["paper"].sequence}


def test_min_slices_decides_what_is_too_few(tmp_path):
    write_series(tmp_path / "in" / "a", 12)
    assert audit(tmp_path / "in", tmp_path / "one") == OK
    assert [row["code"] for row in read_csv(tmp_path / "one")] == ["too_few_slices"]
    assert "12 slices, min_slices is 16" in read_csv(tmp_path / "one")[0]["reason"]
    assert audit(tmp_path / "in", tmp_path / "two", "--min-slices", "12") == OK
    assert [row["status"] for row in read_csv(tmp_path / "two")] == ["ok"]


def test_pixels_decide_what_is_a_volume(tmp_path):
    """A compressed pixel stream that is rubbish under a perfect header is found only by decoding it."""
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless

    def spoil(dataset, number):
        if number == 7:
            dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
            dataset.PixelData = encapsulate([b"\xff\x4f rubbish, not a codestream" * 4])
            dataset["PixelData"].VR = "OB"
            dataset["PixelData"].is_undefined_length = True

    write_series(tmp_path / "in" / "a", edit=spoil)
    assert audit(tmp_path / "in", tmp_path / "out") == FINISHED_WITH_FAILURES
    (row,) = read_csv(tmp_path / "out")
    assert row["status"] == "failed" and row["code"] in ("decode", "truncated") and row["sequence"] == "CT"


def test_spreadsheets_find_no_formula(tmp_path):
    name = '=HYPERLINK("http:x","a,b")\nnext'
    write_series(tmp_path / "in" / name)
    audit(tmp_path / "in", tmp_path / "out", "--keep-uids")
    (row,) = read_csv(tmp_path / "out")
    assert row["folder"] == f"'{name}"
    assert pyarrow.parquet.read_table(tmp_path / "out" / "labels.parquet")["folder"].to_pylist() == [name]
    for start in "=+-@\t\r\uff1d":
        assert audit_table.to_csv([{"a": f"{start}1"}], ["a"]).decode().splitlines()[1].lstrip('"').startswith("'")


def test_every_stack_has_a_row(tmp_path):
    def edit(dataset, number):
        if number >= 20:
            dataset.ImageOrientationPatient = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]
            dataset.ImagePositionPatient = [2.0 * number, 0.0, 0.0]

    write_series(tmp_path / "in" / "a", 38, edit=edit)
    assert audit(tmp_path / "in", tmp_path / "out") == OK
    first, second = read_csv(tmp_path / "out")
    assert second["series_key"] == f"{first['series_key']}-1" and (first["stack"], second["stack"]) == ("0", "1")
    assert (first["view"], first["files"], first["slices"], first["status"]) == ("axial", "20", "20", "ok")
    assert (second["view"], second["files"], second["slices"], second["status"]) == ("sagittal", "18", "18", "ok")
