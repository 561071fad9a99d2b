"""radnet label on real DICOM: every series of the hand-checked table has a row, and none is called what it is not."""

import csv
import time

import pytest

from radnet.errors import FINISHED_WITH_FAILURES
from radnet.labels import TAXONOMIES
from tests.audits import audit, read_csv

PAPER = TAXONOMIES["paper"].sequence


@pytest.fixture(scope="module")
def rows(real_data, tmp_path_factory) -> dict[str, list[dict[str, str]]]:
    """The rows of an audit by series UID, made within the promised time."""
    out, start = tmp_path_factory.mktemp("audit") / "out", time.monotonic()
    files = {file.resolve() for file in real_data.rglob("*") if file.is_file()}
    code = audit(real_data, out, "--keep-uids", "--key", str(out.parent / "key"), "--workers", "2")
    assert code == FINISHED_WITH_FAILURES  # some of the files are damaged on purpose
    found: dict[str, list[dict[str, str]]] = {}
    for row in read_csv(out):
        found.setdefault(row["series_uid"], []).append(row)
    # One minute is for the start of Ray and for the pictures; then 60 series a minute.
    assert time.monotonic() - start < 60 + len(found)
    num_files = sum(int(row["files"]) for members in found.values() for row in members)
    assert 0.9 * len(files) <= num_files <= len(files)  # a damaged file may belong to no stack
    return found


@pytest.fixture(scope="module")
def truth(real_data) -> list[dict[str, str]]:
    with open(real_data / "truth.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_series_of_the_table_has_a_row_where_it_lies(rows, truth, real_data):
    for expected in truth:
        members = rows[expected["series_uid"]]
        place = real_data / expected["path_glob"].split("*")[0]
        place = place if place.is_dir() else place.parent
        folders = [real_data / row["folder"] for row in members]
        assert any(folder.is_relative_to(place) for folder in folders), expected["path_glob"]
        assert all(int(row["slices"]) > 0 for row in members if row["status"] == "ok")


def test_labels_agree_with_the_table(rows, truth):
    wrong, decided, abstained = [], 0, 0
    for expected in truth:
        row = rows[expected["series_uid"]][0]
        if expected["sequence"] == "EXCLUDE":
            assert row["status"] != "ok", expected["why"]
            continue
        if expected["sequence"] in PAPER:
            decided += row["sequence"] != ""
            abstained += row["sequence"] == ""
            wrong += [expected] if row["sequence"] not in ("", expected["sequence"]) else []
        else:
            assert row["status"] != "ok" or row["sequence"] == "", expected["why"]
        if row["view"] and expected["view"] in ("axial", "coronal", "sagittal"):
            assert row["view"] == expected["view"], expected["why"]
        if row["contrast"] and expected["contrast"] in ("yes", "no"):
            assert row["contrast"] == expected["contrast"], expected["why"]
        if row["status"] == "ok" and expected["measured_spacing"].replace(".", "", 1).isdigit():
            assert float(row["spacing_mm"]) == pytest.approx(float(expected["measured_spacing"]), abs=0.006)
    assert len(wrong) <= 1 and abstained <= 0.1 * (decided + abstained) and decided >= 20


def test_what_is_refused_says_why_and_keeps_its_labels(rows):
    for members in rows.values():
        for row in members:
            assert (row["reason"] == "") == (row["status"] == "ok") and row["code"]
            assert all(row[f"{name}_evidence"] for name in ("sequence", "view", "contrast", "coverage", "spacing_mm"))
    refused = [row for uid, members in rows.items() if uid for row in members if row["status"] == "excluded"]
    assert sum(row["sequence"] == "CT" and row["view"] != "" for row in refused) > 20
