"""The page of an audit, and what radnet label refuses."""

import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pytest

from radnet.audit_page import is_conflict
from radnet.errors import UsageError
from radnet.launch import label
from radnet.shards import ledger
from tests.audits import audit, read_csv
from tests.series import write_series

pytestmark = pytest.mark.usefixtures("ray_session")


def _zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.dcm", "anything")
    return path


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nowhere", "does not exist"),
        ("file.txt", "is a file, expected a folder"),
        ("one.zip", "unpack it"),
        ("empty", "no file in"),
        ("texts", "no DICOM file in"),
        ("zips", "unpack them first"),
    ],
)
def test_what_is_no_archive_is_refused_in_one_line(tmp_path, given, words):
    for name in ("empty", "texts", "zips"):
        (tmp_path / name).mkdir()
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "texts" / "a.txt").write_text("x")
    _zip(_zip(tmp_path / "one.zip").with_name("zips") / "a.ZIP")
    with pytest.raises(UsageError, match=words) as caught:
        audit(tmp_path / given, tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_places_that_are_not_ours_are_left_alone(tmp_path):
    write_series(tmp_path / "in" / "a")
    for out in (tmp_path / "in", tmp_path / "in" / "out", tmp_path):
        with pytest.raises(UsageError, match="lie in each other"):
            audit(tmp_path / "in", out)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("somebody's page")
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "site", tmp_path / "file"):
        with pytest.raises(UsageError, match="--out"):
            audit(tmp_path / "in", out)
    assert (tmp_path / "site" / "index.html").read_text() == "somebody's page"
    (tmp_path / "site" / "labels.parquet").write_text("not an audit")
    with pytest.raises(UsageError, match="damaged or not"):
        audit(tmp_path / "in", tmp_path / "site")
    with pytest.raises(UsageError, match="no FOLDER"):
        label.main(["--out", str(tmp_path / "o")])
    with pytest.raises(UsageError, match="--min-slices"):
        audit(tmp_path / "in", tmp_path / "o", "--min-slices", "0")


class _Page(HTMLParser):
    """What a page reaches for, shows and names."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.pictures, self.tables, self.heads, self.words = [], [], 0, 0, ""
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.links += [attributes[name] for name in ("src", "href") if name in attributes]
        self.pictures += [attributes] if tag == "img" else []
        self.tables += tag == "table"
        self.heads += tag == "thead"
        assert tag != "script"

    def handle_data(self, data):
        self.words += f"{data} "


def test_the_page_stands_alone_and_says_what_the_table_says(small_audit):
    page, rows = _Page(small_audit / "index.html"), read_csv(small_audit)
    assert all(link.startswith("data:image/png;base64,") for link in page.links) and "url(" not in page.words
    assert 3 <= len(page.pictures) <= 72 and len(page.pictures) % 3 == 0
    assert all(picture["alt"].startswith("Middle ") for picture in page.pictures)
    assert page.tables == page.heads >= 6
    for code in {row["code"] for row in rows}:
        assert code in page.words and ledger.REMEDY[ledger.Code(code)] in page.words
    usable = [row for row in rows if row["status"] == "ok"]
    assert f"{len(usable):,} " in page.words and "Least certain series" in page.words
    for section in ("sequence", "view", "contrast", "coverage", "spacing, mm", "Conflicts between tags"):
        assert section in page.words
    shown = {re.search(r"series (\w+)", picture["alt"])[1] for picture in page.pictures}
    sure = {row["series_key"]: sum(float(row[f"{name}_confidence"]) for name in ("contrast", "view")) for row in usable}
    assert shown <= sure.keys()


def test_the_page_tells_of_what_contradicts_itself_and_of_what_is_least_certain(small_archive, small_audit):
    """The one series whose description says T1 and whose times say T2; it is the first in pictures."""
    (row,) = [row for row in read_csv(small_audit) if is_conflict(row["sequence_evidence"])]
    assert row["folder"] == "series4" and row["sequence"] == ""
    page = _Page(small_audit / "index.html")
    section = page.words.split("Conflicts between tags")[1]
    assert row["series_key"] in section and "sequence" in section
    assert page.pictures[0]["alt"] == f"Middle axial slice of series {row['series_key']}"
    assert "5 stacks of CT and MR" in page.words  # the text file is not counted among images


def test_names_are_text_on_the_page(tmp_path):
    write_series(tmp_path / "in" / "<img src=x onerror=alert(1)>")
    audit(tmp_path / "in", tmp_path / "out", "--keep-uids")
    page = _Page(tmp_path / "out" / "index.html")
    assert len(page.pictures) == 3 and all(link.startswith("data:") for link in page.links)
    assert "<img src=x onerror=alert(1)>" in page.words


def test_conflicts_are_told_from_other_evidence():
    assert is_conflict("sources disagree: ContrastBolusAgent no, SeriesDescription yes")
    assert is_conflict("SeriesDescription says T1, RepetitionTime 5000 ms and EchoTime 100 ms does not fit")
    assert is_conflict("SeriesDescription says FLAIR, InversionTime is that of STIR")
    for evidence in ("no agent, and no description speaks of contrast", "Modality", "StudyDescription: brain", None):
        assert not is_conflict(evidence)
