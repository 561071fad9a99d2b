"""The digital phantom: same bytes from the same seed, geometry and truth that agree with the files, physics by hand."""

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
from radnet.shards.dicom import read_header, read_volume
from radnet.shards.ledger import Code
from radnet.shards.phantom import label_headers, plan_archive, write_archive, write_cases
from radnet.shards.phantom.anatomy import REGIONS, Grid, Organ, sample_patient, supports
from radnet.shards.phantom.archive import write_series
from radnet.shards.phantom.headers import STUDIES, VENDORS, WORDS
from radnet.shards.phantom.physics import Timing, bias_field, ct_voxels, mr_signal, mr_voxels, spoiled_gradient_echo
from radnet.shards.phantom.tags import label_header

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


@pytest.fixture(scope="module")
def plans() -> list:
    return plan_archive(60, 0)


@pytest.fixture(scope="module")
def many() -> list:
    """2,000 volumes, planned only."""
    return [plan for plan in plan_archive(730, 11) if plan.code is Code.OK][:2000]


def write_one(plan, folder: Path) -> list[Path]:
    write_series(plan, folder)
    return sorted(folder.iterdir())


def read_stack(paths) -> list[pydicom.Dataset]:
    slices = [pydicom.dcmread(path) for path in paths]
    normal = np.cross(slices[0].ImageOrientationPatient[:3], slices[0].ImageOrientationPatient[3:])
    return sorted(slices, key=lambda one: float(np.dot(one.ImagePositionPatient, normal)))


def test_same_seed_same_bytes_for_any_number_of_workers(archive, tmp_path):
    write_archive(tmp_path / "archive", tmp_path / "truth", num_patients=NUM_PATIENTS, seed=3, num_workers=2)
    assert tree_hash(*archive) == tree_hash(tmp_path / "archive", tmp_path / "truth")


def test_another_seed_is_another_archive():
    first, second = plan_archive(4, 0), plan_archive(4, 1)
    assert not {plan.series_uid for plan in first} & {plan.series_uid for plan in second}
    assert [plan.series_uid for plan in plan_archive(8, 0)][: len(first)] == [plan.series_uid for plan in first]


def test_shares_of_the_planned_archive(plans):
    volumes = [plan for plan in plans if plan.code is Code.OK]
    assert len(volumes) >= 130
    shares = Counter(plan.sequence for plan in volumes)
    assert 0.3 < shares["CT"] / len(volumes) < 0.4
    assert all(0.12 < shares[name] / len(volumes) < 0.18 for name in ("T1-SE", "T2-SE", "T1-FLAIR", "T2-FLAIR"))
    views = Counter(plan.view for plan in volumes if plan.modality == "MR")
    assert views["axial"] < 0.5 * views.total() and min(views.values()) > 0.2 * views.total()
    assert 0.25 < sum(plan.contrast for plan in volumes) / len(volumes) < 0.45
    regions = Counter(region for plan in volumes for region in plan.coverage)
    assert set(regions) == set(REGIONS) and min(regions.values()) > 0.05 * len(volumes)
    assert set(plan.code for plan in plans) >= {
        Code.LOCALIZER, Code.MISSING_SLICE, Code.TRUNCATED, Code.TOO_FEW_SLICES, Code.SECONDARY_CAPTURE,
        Code.NOT_AN_IMAGE, Code.NOT_DICOM, Code.NO_RESCALE, Code.DERIVED,
    }  # fmt: skip
    for plan in volumes:
        depth, *matrix = plan.grid.shape
        assert 24 <= depth <= 64 and 96 <= min(matrix) and max(matrix) <= 160
        assert 1.5 <= plan.grid.spacing_mm[0] <= 7.3 and plan.obliquity_deg <= 12.001


def test_thousands_of_series_are_planned_in_seconds():
    start = time.perf_counter()
    assert len(plan_archive(400, 1)) > 1400
    assert time.perf_counter() - start < 30  # 2 s on an idle core


def test_liver_lies_where_the_files_say(plans, tmp_path):
    scans = [plan for plan in plans if plan.modality == "CT" and plan.code is Code.OK and "liver" in plan.coverage]
    plan = next(plan for plan in scans if plan.phase == "venous" and plan.kernel == "soft")
    slices = read_stack(write_one(plan, tmp_path / "series"))
    hu = np.stack([one.pixel_array * one.RescaleSlope + one.RescaleIntercept for one in slices])
    organs = plan.patient.rasterise(plan.grid)
    assert abs(np.median(hu[organs == Organ.LIVER]) - 112) < 12 and np.median(hu[organs == Organ.AIR]) < -950
    points = []
    for depth, row, column in np.argwhere(organs == Organ.LIVER)[::50]:
        one = slices[depth]
        cosines = np.array(one.ImageOrientationPatient, float).reshape(2, 3)
        step = column * one.PixelSpacing[1] * cosines[0] + row * one.PixelSpacing[0] * cosines[1]
        points.append(np.array(one.ImagePositionPatient, float) + step)
    centroid = np.mean(points, axis=0)
    assert centroid[0] < -30  # the patient's right
    truth = next(solid for solid in plan.patient.solids if solid.organ is Organ.LIVER)
    assert np.linalg.norm(centroid - truth.center) < 35


@pytest.mark.parametrize("view", ["axial", "coronal", "sagittal"])
def test_slices_step_along_the_normal(plans, tmp_path, view):
    plan = next(plan for plan in plans if plan.view == view and plan.obliquity_deg > 3 and plan.code is Code.OK)
    slices = read_stack(write_one(plan, tmp_path / "series"))
    positions = np.array([one.ImagePositionPatient for one in slices], float)
    direction = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(*direction)
    assert np.allclose(np.diff(positions, axis=0), normal * plan.grid.spacing_mm[0], atol=1e-3)
    assert np.abs(normal).argmax() == {"sagittal": 0, "coronal": 1, "axial": 2}[view]
    assert math.isclose(np.degrees(np.arccos(np.abs(normal).max())), plan.obliquity_deg, abs_tol=0.01)
    assert np.allclose(plan.grid.affine[:3, 3], positions[0], atol=1e-4)


def test_coverage_is_what_a_larger_scan_proves(plans):
    """Draw each organ on a coarse grid of the whole body, and ask of every voxel whether the scan holds it."""
    organ_of = {"brain": Organ.GREY_MATTER, "liver": Organ.LIVER, "breast": Organ.BREAST, "kidney": Organ.KIDNEY}
    body = Grid(np.array([-240.0, -230.0, -40.0]), np.eye(3)[:, ::-1], (2.0, 4.0, 4.0), (500, 100, 120))
    for plan in [plan for plan in plans if plan.code is Code.OK][::7]:
        organs = plan.patient.rasterise(body)
        for region, organ in organ_of.items():
            index = np.argwhere(organs == organ)
            world = index @ body.affine[:3, :3].T + body.affine[:3, 3]
            scan = (world - plan.grid.origin_mm) @ plan.grid.direction / plan.grid.spacing_mm
            if not len(scan):
                assert (region, plan.sex) == ("breast", "M") and region not in plan.coverage
            elif region in plan.coverage:
                assert (scan >= -0.5).all() and (scan <= np.array(plan.grid.shape) - 0.5).all()
            else:  # half a voxel of the coarse grid, and the 2 mm of CSF around the cortex, are not proof
                slack = 7 / np.array(plan.grid.spacing_mm)
                assert (scan < -0.5 + slack).any() or (scan > np.array(plan.grid.shape) - 0.5 - slack).any()


def test_supports_bound_what_is_painted():
    patient = sample_patient(np.random.default_rng(5), "F")
    angle = np.deg2rad(11)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    grid = Grid(turn @ np.array([-240.0, -240.0, 180.0]), turn @ np.eye(3)[:, ::-1], (2.0, 3.0, 3.0), (130, 160, 160))
    for organ in (Organ.LIVER, Organ.SPLEEN):
        solids = [solid for solid in patient.solids if solid.organ is organ]
        index = np.argwhere(patient.rasterise(grid) == organ)
        for axis in range(3):
            along = (index @ grid.affine[:3, :3].T + grid.affine[:3, 3]) @ grid.direction[:, axis]
            spans = np.array(
                [np.ravel(supports(solid.center, solid.axes, grid.direction[:, [axis]])) for solid in solids]
            )
            assert spans[:, 0].min() <= along.min() and along.max() <= spans[:, 1].max()
            assert organ is Organ.LIVER or np.ptp(along) > 0.8 * np.ptp(spans)  # other organs cover parts of the liver


def test_signal_equations_by_hand():
    t1_weighted, t2_weighted = mr_signal(Timing(500, 12), "SE", False), mr_signal(Timing(4000, 100), "SE", False)
    grey = 0.84 * (1 - math.exp(-500 / 1188)) * math.exp(-12 / 95)
    assert math.isclose(t1_weighted[Organ.GREY_MATTER], grey, rel_tol=1e-12)
    assert t1_weighted[Organ.FAT] > t1_weighted[Organ.WHITE_MATTER] > t1_weighted[Organ.GREY_MATTER]
    assert t1_weighted[Organ.GREY_MATTER] > t1_weighted[Organ.CSF]
    assert t2_weighted[Organ.CSF] > 1.5 * t2_weighted[Organ.GREY_MATTER] > 1.5 * t2_weighted[Organ.WHITE_MATTER]
    null = 4200 * math.log(2 / (1 + math.exp(-9000 / 4200)))
    flair = mr_signal(Timing(9000, 120, null), "SE", False)
    assert flair[Organ.CSF] < 1e-9 and flair[Organ.GREY_MATTER] > flair[Organ.WHITE_MATTER] > 0.1
    t1_flair = mr_signal(Timing(2400, 12, 850), "SE", False)
    assert t1_flair[Organ.WHITE_MATTER] > t1_flair[Organ.GREY_MATTER] > t1_flair[Organ.CSF]
    e1 = math.exp(-20 / 800)
    ernst = spoiled_gradient_echo(800.0, 50.0, 1.0, Timing(20, 0, flip_deg=math.degrees(math.acos(e1))))
    assert math.isclose(ernst, math.sqrt((1 - e1) / (1 + e1)), rel_tol=1e-9)  # the signal at the Ernst angle
    enhanced = mr_signal(Timing(500, 12), "SE", True)
    assert enhanced[Organ.VESSEL] > 1.5 * t1_weighted[Organ.VESSEL]
    assert math.isclose(enhanced[Organ.WHITE_MATTER], t1_weighted[Organ.WHITE_MATTER], rel_tol=0.1)


def test_noise_is_rician_and_contrast_shows():
    rng = np.random.default_rng(0)
    air = mr_voxels(
        np.pad(np.full((8, 32, 32), 1, np.uint8), ((0, 0), (64, 0), (0, 0))), Timing(500, 12), "SE", False, rng
    )
    background = air[:, :60].astype(float)
    assert 1.8 < background.mean() / background.std() < 2.0  # Rayleigh: sqrt(pi / (4 - pi)) = 1.91
    vessel = np.full((8, 32, 32), Organ.VESSEL, np.uint8)
    means = [ct_voxels(vessel, phase, "soft", rng).mean() for phase in ("plain", "arterial", "venous")]
    assert means[1] > means[2] > means[0] + 90


def test_kernels_sharpen_edges_and_grain():
    """Soft: correlated noise, no overshoot; bone: white noise, an edge that overshoots both ways."""
    step = np.full((16, 64, 64), Organ.LIVER, np.uint8)
    step[:, 32:] = Organ.FAT
    noise, neighbours, overshoot = {}, {}, {}
    for kernel in ("soft", "lung", "bone"):
        hu = np.mean([ct_voxels(step, "plain", kernel, np.random.default_rng(seed)) for seed in range(8)], axis=0)
        profile = hu.mean(axis=(0, 2))
        overshoot[kernel] = profile[28:33].max() - profile[5:20].mean()
        one = ct_voxels(step, "plain", kernel, np.random.default_rng(0))[:, 4:28].astype(float)
        one -= one.mean()
        noise[kernel], neighbours[kernel] = one.std(), (one[:, 1:] * one[:, :-1]).mean() / one.var()
    assert noise["soft"] < 19 < noise["lung"] + 3 and noise["lung"] < noise["bone"] + 5 and noise["bone"] > 27
    assert neighbours["soft"] > 0.5 > neighbours["lung"] > 0.1 > abs(neighbours["bone"])
    assert overshoot["soft"] < 5 < overshoot["lung"] < overshoot["bone"]


def test_bias_field_is_smooth_and_strong():
    for seed in range(5):
        field = bias_field((40, 64, 96), np.random.default_rng(seed))
        assert field.shape == (40, 64, 96) and field.dtype == np.float32
        assert 1.29 < field.max() / field.min() < 2.51
        steps = [np.abs(np.diff(np.log(field), axis=axis)).max() for axis in range(3)]
        assert max(steps) < 0.12  # no edge that could be taken for anatomy
    muscle = np.full((24, 96, 96), Organ.MUSCLE, np.uint8)
    image = mr_voxels(muscle, Timing(500, 12), "SE", False, np.random.default_rng(1)).astype(float)
    blocks = image.reshape(4, 6, 8, 12, 8, 12).mean(axis=(1, 3, 5))
    assert blocks.max() / blocks.min() > 1.2


def test_vessels_enhance_by_phase():
    """Arteries first, portal and hepatic veins later; in the lungs and the liver they can be seen."""
    patient = sample_patient(np.random.default_rng(1), "M")
    grid = Grid(np.array([-200.0, -160.0, 180.0]), np.eye(3)[:, ::-1], (2.5, 2.0, 2.0), (160, 160, 200))
    organs = patient.rasterise(grid)
    rng = np.random.default_rng(0)
    mean = {
        phase: {organ: voxels[organs == organ].mean() for organ in (Organ.VESSEL, Organ.LIVER_VESSEL, Organ.LIVER)}
        for phase in ("plain", "arterial", "venous")
        for voxels in [ct_voxels(organs, phase, "soft", rng)]
    }
    assert mean["arterial"][Organ.VESSEL] > mean["venous"][Organ.VESSEL] > mean["plain"][Organ.VESSEL] + 80
    assert mean["venous"][Organ.LIVER_VESSEL] > mean["venous"][Organ.LIVER] + 25
    assert mean["arterial"][Organ.LIVER_VESSEL] < mean["arterial"][Organ.LIVER] + 20
    in_liver, in_lungs = (organs == Organ.LIVER_VESSEL).sum(), (organs == Organ.LUNG_VESSEL).sum()
    assert (
        0.005 < in_liver / (organs == Organ.LIVER).sum() < 0.1 and 0.005 < in_lungs / (organs == Organ.LUNG).sum() < 0.1
    )


def test_a_series_is_drawn_in_a_second(many, tmp_path):
    """64 × 128 × 128, with its file writing, on one core."""
    plan = min(many, key=lambda plan: abs(np.prod(plan.grid.shape) - 64 * 128 * 128))
    times = []
    for attempt in range(3):
        start = time.perf_counter()
        write_series(plan, tmp_path / str(attempt))
        times.append(time.perf_counter() - start)
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


def test_six_vendors_six_languages(many):
    texts = {vendor: [plan.text for plan in many if plan.vendor == vendor] for vendor in VENDORS}
    assert len(texts) == 6 and min(map(len, texts.values())) > 60
    assert any(text.get("SequenceName", "").startswith("*tir2d1") for text in texts["SIEMENS"])
    assert any(text.get("PulseSequenceName") == "FSE-XL" for text in texts["GE"])
    assert any(text.get("SeriesDescription", "").startswith("T2W_TSE") for text in texts["PHILIPS"])
    assert any(text.get("ScanningSequence") == "IR\\SE" for text in texts["TOSHIBA"])
    studies = " ".join(plan.text["StudyDescription"].lower() for plan in many)
    assert all(word in studies for word in ("brain", "schädel", "crâne", "hersenen", "cráneo", "encefalo"))
    assert len({plan.text.get("SeriesDescription") for plan in many}) > 600
    agents = Counter(plan.text.get("ContrastBolusAgent") for plan in many if not plan.contrast)
    assert {"NONE", "NO", "N/A", "", None, "ORAL"} <= set(agents)


def test_lies_are_told_as_often_as_stated(many):
    """Body part missing in 11.7 % of CT and 33.1 % of MR, wrong in 15 % of the rest; no description in 1.4 %, one
    of another sequence in 10 % of MR. 2,000 series: three standard errors are 3 % or less."""
    for modality, missing in (("CT", 0.117), ("MR", 0.331)):
        series = [plan for plan in many if plan.modality == modality]
        named = [plan for plan in series if "BodyPartExamined" in plan.text]
        assert 1 - len(named) / len(series) == pytest.approx(missing, abs=0.04)
        wrong = [plan for plan in named if plan.text["BodyPartExamined"] not in WORDS["body_parts"][plan.region]]
        assert len(wrong) / len(named) == pytest.approx(0.15, abs=0.04)
        assert {plan.series_uid for plan in wrong} == told("body_part_wrong", series)
        assert told("body_part_missing", series) == {p.series_uid for p in series} - {p.series_uid for p in named}
    silent = {plan.series_uid for plan in many if "SeriesDescription" not in plan.text}
    assert silent == told("description_missing", many) and 0.005 < len(silent) / len(many) < 0.025
    series = [plan for plan in many if plan.modality == "MR"]
    assert len(told("description_wrong", series)) / len(series) == pytest.approx(0.10, abs=0.025)
    assert not told("description_wrong", [plan for plan in many if plan.modality == "CT"])
    plain, enhanced = ([plan for plan in many if plan.contrast is given] for given in (False, True))
    assert len(told("agent_missing", enhanced)) / len(enhanced) == pytest.approx(0.15, abs=0.05)
    assert all(plan.modality == "CT" for plan in plain if "agent_oral" in plan.lies)


def told(lie: str, plans: list) -> set[str]:
    return {plan.series_uid for plan in plans if lie in plan.lies}


def test_a_wrong_description_leaves_the_times_right(many):
    """The equation of the image follows what the tags say, so a reader can see the conflict."""
    for plan in [plan for plan in many if "description_wrong" in plan.lies]:
        row, timing = STUDIES["kinds"][plan.kind], plan.timing
        assert row["tr"][0] <= timing.tr_ms <= row["tr"][1] and row["te"][0] <= timing.te_ms <= row["te"][1]
        assert "sequence" in plan.undecidable and "times_empty" not in plan.lies
        header = label_header(plan)
        assert header["RepetitionTime"] == timing.tr_ms and header["EchoTime"] == timing.te_ms


def test_truth_does_not_depend_on_the_lies(monkeypatch):
    """Without any lie the same patients, grids, times and classes are planned."""
    lying = plan_archive(40, 7)
    monkeypatch.setitem(WORDS, "rates", {name: [0, 0] for name in WORDS["rates"]})
    honest = plan_archive(40, 7)
    assert any(plan.lies for plan in lying) and not any(plan.lies for plan in honest)
    for one, other in zip(lying, honest, strict=True):
        assert (one.family, one.technique, one.view, one.contrast) == (
            other.family, other.technique, other.view, other.contrast
        )  # fmt: skip
        assert one.coverage == other.coverage and np.array_equal(one.grid.affine, other.grid.affine)
        assert one.timing == other.timing and one.kernel == other.kernel


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_headers_without_files_equal_those_of_the_files(modality, many, tmp_path):
    chosen = [plan for plan in many if plan.modality == modality and plan.code is Code.OK]
    chosen = [next(plan for plan in chosen if plan.vendor == vendor) for vendor in VENDORS]
    chosen += [plan for plan in many if "times_empty" in plan.lies and plan.modality == modality][:1]
    chosen += [plan for plan in many if plan.modality == modality and not str(plan.text).isascii()][:2]
    for number, plan in enumerate(chosen):
        files = [str(path) for path in write_one(plan, tmp_path / str(number))]
        found, expected = read_volume(files).header, label_header(plan)
        assert set(found) == set(expected)
        for name in ("slice_spacing_mm", "extent_mm"):
            assert found.pop(name) == pytest.approx(expected.pop(name), rel=1e-9)
        assert found == expected
    scout = next(plan for plan in plan_archive(30, 0) if plan.code is Code.LOCALIZER and plan.modality == modality)
    (file,) = write_one(scout, tmp_path / "scout")
    assert read_header(str(file)).header == label_header(scout)


def test_ten_thousand_headers_take_less_than_a_minute():
    start = time.perf_counter()
    assert sum("Modality" in header for header, _ in label_headers(1000, 3)) == 1000
    assert time.perf_counter() - start < 6  # 2 s on an idle core


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
def test_spoiled_image_series(plans, tmp_path, code):
    plan = next(plan for plan in plans if plan.code == code)
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


def test_spoiled_files(plans, tmp_path):
    by_code = {plan.code: plan for plan in plans}
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
