"""Every series of the real data beside dcm2niix: the same lattice, the same voxels, or a listed reason why not."""

import fnmatch
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from radnet.shards.dicom import Reading, read_header, read_volume
from radnet.shards.inventory import list_files
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.privacy import PrivacyKey
from tests import dcm2niix
from tests.series import AXIAL, grouped, write_series

pytest.importorskip("dcm2niix")
KEY = PrivacyKey(bytes(32), is_public=False)
TOLERANCE_MM = 1e-3
# A float32 slope and a float32 product, beside radnet's float64 arithmetic rounded once.
ROUNDING = 2.0**-22

# Patterns are over the path, below the data folder, of the first file of a series.
# 1. dcm2niix makes a volume, radnet refuses: pattern, code, reason.
REFUSED = [
    ("dcm_qa_ct/In/GE/*", Code.UNEVEN_SPACING, "4 then 7 mm between slices: dcm2niix interpolates"),
    ("dcm_qa_nih/In/20180918GE/mr_0004/*", Code.TIME_SERIES, "fMRI, ten time points: dcm2niix writes 4D"),
    ("dcm_qa_ts/In/*", Code.TIME_SERIES, "mosaic: dcm2niix takes the tiles apart by Siemens' private header"),
    ("dcm_qa_uih/In/DTI_132225/*", Code.TIME_SERIES, "mosaic with 17 diffusion directions"),
    ("fnndsc-data/dicom/adi_brain/*", Code.TIME_SERIES, "mosaic (ASL)"),
    ("fnndsc-data/dicom/adi_brain/*", Code.MISSING_SLICE, "a slice is missing: dcm2niix interpolates it"),
    ("dicom2nifti/tests/data/philips/dti/*", Code.TIME_SERIES, "four diffusion directions at each position"),
    ("dicom2nifti/tests/data/failing/sliceincrement/*", Code.MISSING_SLICE, "dcm2niix interpolates the missing slice"),
    ("pydicom-testfiles/dicomdirtests/77654033/CT2/*", Code.MISSING_SLICE, "4 of 165 slices: dcm2niix interpolates"),
    ("dcmqi/data/segmentations/*", Code.NOT_AN_IMAGE, "segmentation: dcm2niix converts its frames"),
    ("dcmqi/data/sr-example/*", Code.NOT_AN_IMAGE, "segmentation: dcm2niix converts its frames"),
]  # fmt: skip
# 2. Both make the volume, and it differs: pattern, kind, reason. `KINDS` says what must still hold.
DIFFERENT = [
    ("dcm_qa_ct/In/Philips/S21610/S3010/*", "shear", "gantry tilt of 16.5 degrees"),
    ("dicom2nifti/tests/data/failing/gantrytilting/*", "shear", "gantry tilt of 14 degrees"),
    ("dcmqi/data/segmentations/ct-3slice/*", "padding", "padding of -2000 outside the field of view"),
    ("dicom2nifti/tests/data/philips_enhanced/*", "slope", "slope 4.25885225885225"),
    ("dcm_qa_enh/In/Philips/*", "slope", "slopes 1.27985347985347 and 0.24420024420024"),
    ("ibsi/ibsi_validation/dicom/STS_*/*/image/*", "step", "positions beyond 500 mm, 28 to 85 slices"),
]
KINDS = {
    "shear": "dcm2niix drops the shear from the affine of the image it does not resample; voxels equal, in-plane axes "
    "equal, its step is radnet's perpendicular distance laid along the patient's axis; the files lie as radnet says",
    "padding": "dcm2niix keeps padding, radnet sets it to the smallest value; all other voxels equal",
    "slope": "NIfTI keeps slope and intercept as float32: equal within two roundings",
    "step": "dcm2niix takes the step from two float32 positions, an error that grows with every slice: below 1e-4 mm a "
    "slice, origin within 1e-3 mm; the files' positions are radnet's",
}


@dataclass
class Series:
    """One series as both read it. pairs: each radnet volume with dcm2niix's image on its axes, None where none fits."""

    name: str
    files: list[str]
    codes: set[Code] = field(default_factory=set)
    pairs: list[tuple[Reading, dcm2niix.Image | None]] = field(default_factory=list)
    num_unmatched: int = 0


def readings(files: list[str]) -> tuple[list[Reading], set[Code]]:
    """The volumes of a series, one for each stack that is one, and the codes of the others."""
    found, codes = [], set()
    for row in grouped([read_header(file) for file in files], KEY):
        try:
            found.append(read_volume(row.files, stack=row.part, min_slices=2))
        except SeriesError as error:
            codes.add(error.code)
    return found, codes


def compare(name: str, files: list[str], folder: Path) -> Series:
    """Read one series with both. Of several images that fit a volume, the one with the nearest voxels is its pair."""
    images, series = dcm2niix.convert(files, folder), Series(name, files)
    found, series.codes = readings(files)
    for reading in found:
        placed = [(number, dcm2niix.on_axes_of(reading.volume, image)) for number, image in enumerate(images)]
        fits = [(number, image) for number, image in placed if image is not None]
        if fits:
            number, image = min(fits, key=lambda fit: _distance(reading, fit[1]))
            images.pop(number)
        series.pairs.append((reading, image if fits else None))
    series.num_unmatched = len(images)
    return series


def _distance(reading: Reading, image: dcm2niix.Image) -> float:
    affine_mm = dcm2niix.corner_error_mm(image.voxels.shape, image.affine, reading.volume.affine)
    return affine_mm + float((image.voxels != reading.volume.voxels).mean())


@pytest.fixture(scope="module")
def all_series(real_data, tmp_path_factory) -> list[Series]:
    by_uid: dict[str, list[str]] = {}
    for path in list_files(str(real_data)):
        if uid := read_header(path).series_uid:
            by_uid.setdefault(uid, []).append(path)
    folder = tmp_path_factory.mktemp("dcm2niix")
    return [
        compare(str(Path(files[0]).relative_to(real_data)), files, folder / str(number))
        for number, files in enumerate(by_uid.values())
    ]


def _rows(table: list[tuple], series: Series) -> list[tuple]:
    return [row for row in table if fnmatch.fnmatch(series.name, row[0])]


def test_a_volume_only_dcm2niix_makes_is_refused_for_a_listed_reason(all_series):
    used, unlisted = set(), []
    for series in all_series:
        if series.num_unmatched:
            reasons = [row for row in _rows(REFUSED, series) if row[1] in series.codes]
            used.update(reasons)
            if not reasons:
                unlisted.append(f"{series.name}: {series.num_unmatched} images of dcm2niix, radnet: {series.codes}")
    assert unlisted == []
    assert set(REFUSED) - used == set(), "a listed refusal no longer happens"


def test_a_volume_only_radnet_makes_does_not_occur(all_series):
    assert [series.name for series in all_series if any(image is None for _, image in series.pairs)] == []


def test_affines_and_voxels_are_equal_or_differ_as_listed(all_series):
    used, num_equal = set(), 0
    pairs = [(series, *pair) for series in all_series for pair in series.pairs if pair[1] is not None]
    for series, reading, image in pairs:
        error_mm = dcm2niix.corner_error_mm(image.voxels.shape, image.affine, reading.volume.affine)
        if error_mm <= TOLERANCE_MM and np.array_equal(image.voxels, reading.volume.voxels):
            num_equal += 1
            continue
        rows = _rows(DIFFERENT, series)
        num_voxels = int((image.voxels != reading.volume.voxels).sum())
        assert rows, f"{series.name}: affine {error_mm:.2g} mm, {num_voxels} voxels differ"
        used.update(rows)
        CHECKS[rows[0][1]](series, reading, image)
    assert set(DIFFERENT) - used == set(), "a listed difference no longer occurs"
    assert num_equal >= 20


def _voxels_equal(reading: Reading, image: dcm2niix.Image) -> None:
    np.testing.assert_array_equal(reading.volume.voxels, image.voxels)


def _affine_equal(reading: Reading, image: dcm2niix.Image) -> None:
    assert dcm2niix.corner_error_mm(image.voxels.shape, image.affine, reading.volume.affine) <= TOLERANCE_MM


def _files_lie_on_the_lattice(series: Series, reading: Reading) -> None:
    """The corners of each file, from what pydicom says of it, are where the affine puts them."""
    affine, (_, height, width) = reading.volume.affine, reading.volume.voxels.shape
    for file in series.files:
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
        position = np.array([*map(float, dataset.ImagePositionPatient), 1])
        at = np.linalg.solve(affine, position)
        np.testing.assert_allclose(at, [round(at[0]), 0, 0, 1], atol=1e-6)
        row, column = np.reshape([*map(float, dataset.ImageOrientationPatient)], (2, 3))
        down_mm, along_mm = map(float, dataset.PixelSpacing)
        corner = position[:3] + row * along_mm * (width - 1) + column * down_mm * (height - 1)
        np.testing.assert_allclose((affine @ [round(at[0]), height - 1, width - 1, 1])[:3], corner, atol=1e-4)


def _check_shear(series: Series, reading: Reading, image: dcm2niix.Image) -> None:
    _voxels_equal(reading, image)
    _files_lie_on_the_lattice(series, reading)
    own = reading.volume.affine
    np.testing.assert_allclose(image.affine[:3, 1:3], own[:3, 1:3], atol=TOLERANCE_MM / 512)
    normal = np.cross(own[:3, 2], own[:3, 1])
    distance_mm = abs(own[:3, 0] @ normal) / np.linalg.norm(normal)
    np.testing.assert_allclose(image.affine[:3, 0], [0, 0, distance_mm], atol=1e-4)
    assert np.degrees(np.arccos(distance_mm / np.linalg.norm(own[:3, 0]))) > 10


def _check_padding(series: Series, reading: Reading, image: dcm2niix.Image) -> None:
    _affine_equal(reading, image)
    dataset = pydicom.dcmread(series.files[0], stop_before_pixels=True)
    padding = dataset.PixelPaddingValue * dataset.RescaleSlope + dataset.RescaleIntercept
    padded, voxels = image.voxels == padding, reading.volume.voxels
    assert padded.any()
    np.testing.assert_array_equal(voxels[~padded], image.voxels[~padded])
    np.testing.assert_array_equal(voxels[padded], image.voxels[~padded].min())


def _check_slope(series: Series, reading: Reading, image: dcm2niix.Image) -> None:
    _affine_equal(reading, image)
    assert not image.slope.is_integer()
    np.testing.assert_allclose(reading.volume.voxels, image.voxels, rtol=0, atol=ROUNDING * np.abs(image.voxels).max())


def _check_step(series: Series, reading: Reading, image: dcm2niix.Image) -> None:
    _voxels_equal(reading, image)
    _files_lie_on_the_lattice(series, reading)
    difference = image.affine - reading.volume.affine
    np.testing.assert_allclose(difference[:3, 0], 0, atol=1e-4)
    first_or_last = [difference[:3, 3], difference[:3, 3] + difference[:3, 0] * (image.voxels.shape[0] - 1)]
    assert min(np.abs(first_or_last).max(axis=1)) <= TOLERANCE_MM


CHECKS = {"shear": _check_shear, "padding": _check_padding, "slope": _check_slope, "step": _check_step}


def test_every_kind_of_difference_is_explained_and_checked():
    assert set(KINDS) == set(CHECKS) == {kind for _, kind, _ in DIFFERENT}


@pytest.mark.parametrize("step_mm", [(0, 0, 2.5), (0, 0, -2.5)])
@pytest.mark.parametrize(
    "orientation",
    [AXIAL, [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1], [-1, 0, 0, 0, 1, 0], [0.6, 0.8, 0, 0, 0, -1]],
    ids=["axial", "coronal", "sagittal", "mirrored", "oblique"],
)
def test_made_series_have_the_same_lattice_and_voxels(tmp_path, orientation, step_mm):
    """Also where there is no real data: every plane, both directions; and the comparison sees a shift of 0.1 mm."""
    normal = np.cross(orientation[:3], orientation[3:])

    def edit(dataset: Dataset, number: int) -> None:
        dataset.ImageOrientationPatient = orientation
        dataset.ImagePositionPatient = [*map(float, np.array([11, -7, 30]) + normal * step_mm[2] * number)]
        dataset.InstanceNumber = number + 1

    files = write_series(tmp_path / "dicom", edit=edit)
    (pair,) = compare("made", files, tmp_path / "oracle").pairs
    _voxels_equal(*pair)
    _affine_equal(*pair)
    pair[1].affine[0, 3] += 0.1
    with pytest.raises(AssertionError):
        _affine_equal(*pair)
