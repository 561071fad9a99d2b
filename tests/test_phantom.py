"""The digital phantom as an archive: the same bytes from the same seed, planned shares, truth that agrees with it."""

import csv
import hashlib
import math
import time
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from radnet.errors import UsageError
from radnet.shards.ledger import Code
from radnet.shards.phantom import plan_archive, write_archive, write_cases
from radnet.shards.phantom.anatomy import REGIONS
from radnet.shards.phantom.archive import write_series
from tests.phantoms import read_stack, write_one

NUM_PATIENTS = 3


def tree_hash(*folders: Path) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> tuple[Path, Path]:
    base = tmp_path_factory.mktemp("phantom")
    summary = write_archive(base / "archive", base / "truth", num_patients=NUM_PATIENTS, seed=3)
    files = [path for path in (base / "archive").rglob("*") if path.is_file()]
    assert summary.num_files == len(files) and summary.num_bytes == sum(path.stat().st_size for path in files)
    return base / "archive", base / "truth"


def test_same_seed_same_bytes_for_any_number_of_workers(archive, tmp_path):
    write_archive(tmp_path / "archive", tmp_path / "truth", num_patients=NUM_PATIENTS, seed=3, num_workers=2)
    assert tree_hash(*archive) == tree_hash(tmp_path / "archive", tmp_path / "truth")


def test_another_seed_is_another_archive():
    first, second = plan_archive(4, 0), plan_archive(4, 1)
    assert not {plan.series_uid for plan in first} & {plan.series_uid for plan in second}
    assert [plan.series_uid for plan in plan_archive(8, 0)][: len(first)] == [plan.series_uid for plan in first]


def test_shares_of_the_planned_archive(phantom_plans):
    volumes = [plan for plan in phantom_plans if plan.code is Code.OK]
    assert len(volumes) >= 130
    shares = Counter(plan.sequence for plan in volumes)
    assert 0.3 < shares["CT"] / len(volumes) < 0.4
    assert all(0.12 < shares[name] / len(volumes) < 0.18 for name in ("T1-SE", "T2-SE", "T1-FLAIR", "T2-FLAIR"))
    views = Counter(plan.view for plan in volumes if plan.modality == "MR")
    assert views["axial"] < 0.5 * views.total() and min(views.values()) > 0.2 * views.total()
    assert 0.25 < sum(plan.contrast for plan in volumes) / len(volumes) < 0.45
    regions = Counter(region for plan in volumes for region in plan.coverage)
    assert set(regions) == set(REGIONS) and min(regions.values()) > 0.05 * len(volumes)
    assert set(plan.code for plan in phantom_plans) >= {
        Code.LOCALIZER, Code.MISSING_SLICE, Code.TRUNCATED, Code.TOO_FEW_SLICES, Code.SECONDARY_CAPTURE,
        Code.NOT_AN_IMAGE, Code.NOT_DICOM, Code.NO_RESCALE, Code.DERIVED,
    }  # fmt: skip
    for plan in volumes:
        depth, *matrix = plan.grid.shape
        assert 24 <= depth <= 64 and 96 <= min(matrix) and max(matrix) <= 160
        assert 1.5 <= plan.grid.spacing_mm[0] <= 7.3 and plan.obliquity_deg <= 12.001


def test_thousands_of_series_are_planned_in_seconds():
    start = time.process_time()
    assert len(plan_archive(400, 1)) > 1400
    assert time.process_time() - start < 30  # 2 s on an idle core


def test_a_series_is_drawn_in_a_second(phantom_volumes, tmp_path):
    """64 × 128 × 128, with its file writing, on one core."""
    plan = min(phantom_volumes, key=lambda plan: abs(np.prod(plan.grid.shape) - 64 * 128 * 128))
    times = []
    for attempt in range(3):
        start = time.process_time()
        write_series(plan, tmp_path / str(attempt))
        times.append(time.process_time() - start)
    assert min(times) < 1  # 0.2 s on an idle core


def test_headers_parse_and_mr_tells_its_times(archive):
    headers = [pydicom.dcmread(path, force=True) for path in archive[0].rglob("*") if path.is_file()]
    images = [header for header in headers if header.get("Modality") in ("CT", "MR") and "SliceThickness" in header]
    with open(archive[1] / "truth.csv") as file:
        lies = {row["series_uid"]: row["lies"] for row in csv.DictReader(file)}
    assert {header.PatientID[:8] for header in images} == {"PHANTOM-"}
    for header in images:
        assert header.file_meta.MediaStorageSOPInstanceUID == header.SOPInstanceUID
        assert header.StudyInstanceUID.startswith("2.25.") and header.SOPInstanceUID.is_valid
        if header.Modality == "MR" and "times_empty" not in lies[header.SeriesInstanceUID]:
            assert header.RepetitionTime > 0 and header.EchoTime > 0 and header.ScanningSequence


def test_truth_lies_beside_and_matches(archive):
    folder, truth = archive
    with open(truth / "truth.csv") as file:
        rows = {row["series_uid"]: row for row in csv.DictReader(file)}
    found = Counter(
        pydicom.dcmread(path, stop_before_pixels=True).SeriesInstanceUID
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".TXT"
    )
    assert set(found) == set(rows) - {""}
    for uid, row in rows.items():
        if row["code"] == "ok":
            assert found[uid] == int(row["num_slices"]) and row["status"] == "sharded"
            mask = nibabel.load(truth / "masks" / f"{uid}.nii.gz")
            assert mask.shape[2] == found[uid] and mask.get_data_dtype() == np.uint8
            assert math.isclose(mask.header.get_zooms()[2], float(row["spacing_mm"]), abs_tol=1e-3)


@pytest.mark.parametrize(
    "code", sorted(set(Code) & {"missing_slice", "truncated", "no_rescale", "derived", "localizer"})
)
def test_spoiled_image_series(phantom_plans, tmp_path, code):
    plan = next(plan for plan in phantom_plans if plan.code == code)
    paths = write_one(plan, tmp_path / "series")
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    if code == Code.MISSING_SLICE:
        gaps = np.diff([one.ImagePositionPatient for one in read_stack(paths)], axis=0)
        steps = np.linalg.norm(gaps, axis=1) / plan.grid.spacing_mm[0]
        assert sorted(np.rint(steps).astype(int))[-2:] == [1, 2]
    elif code == Code.TRUNCATED:
        lengths = Counter(len(pydicom.dcmread(path).get("PixelData", b"")) for path in paths)
        assert len(lengths) == 2 and min(lengths.values()) == 1
    elif code == Code.NO_RESCALE:
        assert plan.modality == "CT" and not any("RescaleSlope" in header for header in headers)
    elif code == Code.DERIVED:
        assert all(header.ImageType[0] == "DERIVED" for header in headers)
    else:
        assert len(headers) == 1


def test_spoiled_files(phantom_plans, tmp_path):
    by_code = {plan.code: plan for plan in phantom_plans}
    (capture,) = write_one(by_code[Code.SECONDARY_CAPTURE], tmp_path / "capture")
    assert pydicom.dcmread(capture).pixel_array.shape == (128, 128, 3)
    (report,) = write_one(by_code[Code.NOT_AN_IMAGE], tmp_path / "report")
    assert pydicom.dcmread(report).Modality == "SR"
    (stray,) = write_one(by_code[Code.NOT_DICOM], tmp_path / "stray")
    with pytest.raises(pydicom.errors.InvalidDicomError):
        pydicom.dcmread(stray)
    assert len(write_one(by_code[Code.TOO_FEW_SLICES], tmp_path / "few")) == 8


def test_cases_follow_the_lits_layout(tmp_path):
    write_cases(tmp_path, num_cases=4, seed=2)
    codes = set()
    for case in range(4):
        volume = nibabel.load(tmp_path / f"volume-{case}.nii")
        mask = nibabel.load(tmp_path / f"segmentation-{case}.nii")
        assert volume.get_data_dtype() == np.int16 and np.allclose(volume.affine, mask.affine)
        voxels, labels = np.asarray(volume.dataobj), np.asarray(mask.dataobj)
        assert voxels.shape == labels.shape and 48 <= voxels.shape[2] <= 64 and 96 <= voxels.shape[0] <= 128
        assert 0.01 < (labels > 0).mean() < 0.2 and 100 < np.median(voxels[labels == 1]) < 125
        center = volume.affine @ [*np.argwhere(labels > 0).mean(axis=0), 1]
        assert center[0] > 30  # RAS: the patient's right
        codes.add("".join(nibabel.aff2axcodes(volume.affine)))
    assert len(codes) == 2


def test_wrong_use_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        write_archive(tmp_path, tmp_path / "truth", num_patients=1)
    with pytest.raises(UsageError, match="beside"):
        write_archive(tmp_path / "new", tmp_path / "new" / "truth", num_patients=1)
    with pytest.raises(UsageError, match="at least 1"):
        plan_archive(0, 0)
