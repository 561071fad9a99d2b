"""NIfTI cases: every storage order gives the same Volume, and what cannot be trusted is refused by code."""

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from radnet.errors import UsageError
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.nifti import list_cases, read_case

SHAPE = (3, 4, 5)  # x, y, z: odd on purpose
SPACING_MM = (0.7, 0.8, 5.0)
ORIGIN_RAS_MM = (-30.0, 12.5, -400.0)


def canonical() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RAS+ voxels [x,y,z] int16, mask uint8, affine with a slight tilt."""
    random = np.random.default_rng(0)
    tilt = np.deg2rad(7)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = turn * SPACING_MM
    affine[:3, 3] = ORIGIN_RAS_MM
    return random.integers(-1024, 3000, SHAPE).astype(np.int16), random.integers(0, 3, SHAPE).astype(np.uint8), affine


def stored_as(array: np.ndarray, affine: np.ndarray, order: tuple, signs: tuple) -> tuple[np.ndarray, np.ndarray]:
    """The same voxels at the same places, with array axes permuted and flipped."""
    index = np.zeros((4, 4))
    index[3, 3] = 1
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        index[old, new] = sign
        index[old, 3] = array.shape[old] - 1 if sign < 0 else 0
    return array.transpose(order)[tuple(slice(None, None, sign) for sign in signs)], affine @ index


def write(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def write_case(folder: Path, voxels=None, mask=None, affine=None, mask_affine=None) -> tuple[Path, Path]:
    default_voxels, default_mask, default_affine = canonical()
    affine = default_affine if affine is None else affine
    mask_affine = affine if mask_affine is None else mask_affine
    return (
        write(folder / "volume-0.nii", default_voxels if voxels is None else voxels, affine),
        write(folder / "segmentation-0.nii", default_mask if mask is None else mask, mask_affine),
    )


def test_canonical_case_in_patient_axes(tmp_path: Path):
    voxels, mask, affine = canonical()
    volume, labels = read_case(*write_case(tmp_path))
    # D superior, H posterior, W left: LPS, so x and y of RAS run backwards.
    assert np.array_equal(volume.voxels, voxels[::-1, ::-1].transpose(2, 1, 0))
    assert np.array_equal(labels, mask[::-1, ::-1].transpose(2, 1, 0))
    assert labels.dtype == np.uint8 and volume.voxels.dtype == np.int16
    assert np.allclose(volume.spacing_mm, SPACING_MM[::-1], atol=1e-5)
    assert (np.argmax(np.abs(volume.direction), axis=0) == [2, 1, 0]).all()
    assert (volume.direction[[2, 1, 0], [0, 1, 2]] > 0.9).all()
    # Voxel (d,h,w) lies where the file says it lies, in LPS.
    ras = affine @ [SHAPE[0] - 1 - 1, SHAPE[1] - 1 - 2, 3, 1]
    assert np.allclose(volume.affine @ [3, 2, 1, 1], [-ras[0], -ras[1], ras[2], 1], atol=1e-4)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_all_48_storage_orders_give_the_same_volume(tmp_path: Path, order: tuple):
    voxels, mask, affine = canonical()
    expected, expected_mask = read_case(*write_case(tmp_path))
    for signs in product((1, -1), repeat=3):
        stored, stored_affine = stored_as(voxels, affine, order, signs)
        stored_mask, _ = stored_as(mask, affine, order, signs)
        volume, labels = read_case(*write_case(tmp_path, stored, stored_mask, stored_affine))
        assert np.array_equal(volume.voxels, expected.voxels) and np.array_equal(labels, expected_mask)
        assert np.allclose(volume.affine, expected.affine, atol=1e-4)


def test_agrees_with_simpleitk_on_real_files(tmp_path: Path, real_data: Path):
    found = sorted(real_data.glob("TotalSegmentator/**/example_*.nii.gz"))
    if not found:
        pytest.skip("no real NIfTI in RADNET_TEST_DATA")
    for path in found:
        image = nibabel.load(path)
        mask = write(tmp_path / "mask.nii", np.zeros(image.shape, np.uint8), image.affine)
        volume, _ = read_case(path, mask)
        expected = sitk.DICOMOrient(sitk.ReadImage(path), "LPS")
        assert np.array_equal(volume.voxels, sitk.GetArrayFromImage(expected))
        assert np.allclose(volume.origin_mm, expected.GetOrigin(), atol=1e-3)
        assert np.allclose(volume.spacing_mm[::-1], expected.GetSpacing(), atol=1e-4)
        assert np.allclose(volume.direction[:, ::-1], np.reshape(expected.GetDirection(), (3, 3)), atol=1e-4)


def test_a_mask_with_an_identity_affine_takes_the_image_geometry(tmp_path: Path):
    expected, expected_mask = read_case(*write_case(tmp_path))
    volume, labels = read_case(*write_case(tmp_path, mask_affine=np.eye(4)))
    assert np.array_equal(labels, expected_mask) and np.allclose(volume.affine, expected.affine)


@pytest.mark.parametrize(
    "voxels, dtype",
    [
        (np.full(SHAPE, 0.5, np.float32), np.float32),
        (np.full(SHAPE, -1024.0, np.float64), np.int16),
        (np.full(SHAPE, 40000, np.uint16), np.float32),
        (np.full(SHAPE, 255, np.uint8), np.int16),
        (np.full(SHAPE, -70000, np.int32), np.float32),
    ],
)
def test_voxels_are_int16_only_where_nothing_is_lost(tmp_path: Path, voxels: np.ndarray, dtype: type):
    volume, _ = read_case(*write_case(tmp_path, voxels))
    assert volume.voxels.dtype == dtype and (volume.voxels == voxels.flat[0]).all()


def test_scaling_of_the_file_is_applied(tmp_path: Path):
    image = nibabel.Nifti1Image(np.full(SHAPE, 1024, np.int16), canonical()[2])
    image.header.set_slope_inter(1, -1024)
    nibabel.save(image, tmp_path / "scaled.nii")
    raw = bytearray((tmp_path / "scaled.nii").read_bytes())
    raw[112:120] = np.array([2.0, -1024.0], "<f4").tobytes()  # scl_slope, scl_inter
    raw[352:] = np.full(SHAPE, 512, "<i2").tobytes()
    (tmp_path / "scaled.nii").write_bytes(bytes(raw))
    volume, _ = read_case(tmp_path / "scaled.nii", write_case(tmp_path)[1])
    assert volume.voxels.dtype == np.int16 and (volume.voxels == 0).all()


def test_a_trailing_axis_of_one_is_dropped(tmp_path: Path):
    voxels, _, _ = canonical()
    expected, _ = read_case(*write_case(tmp_path))
    volume, _ = read_case(*write_case(tmp_path, voxels[..., None]))
    assert np.array_equal(volume.voxels, expected.voxels)


def no_codes(path: Path, affine: np.ndarray) -> Path:
    image = nibabel.Nifti1Image(canonical()[0], affine)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, path)
    return path


COLOURS = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    "code, change",
    [
        (Code.NO_GEOMETRY, {"affine": np.eye(4)}),
        (Code.NO_GEOMETRY, {"voxels": np.zeros((4, 4), np.int16)}),
        (Code.MIXED_GEOMETRY, {"mask": np.zeros((3, 4, 6), np.uint8)}),
        (Code.MIXED_GEOMETRY, {"mask_affine": np.diag([-0.7, 0.8, 5.0, 1.0])}),
        (Code.MIXED_GEOMETRY, {"mask_affine": canonical()[2] @ np.diag([2.0, 2.0, 2.0, 1.0])}),
        (Code.TIME_SERIES, {"voxels": np.zeros((*SHAPE, 2), np.int16)}),
        (Code.COLOUR, {"voxels": COLOURS}),
        (Code.BAD_NUMBER, {"voxels": np.full(SHAPE, np.nan, np.float32)}),
        (Code.BAD_NUMBER, {"mask": np.full(SHAPE, 0.5, np.float32)}),
        (Code.BAD_NUMBER, {"mask": np.full(SHAPE, -1, np.int16)}),
    ],
)
def test_refusals(tmp_path: Path, code: Code, change: dict):
    with pytest.raises(SeriesError) as refused:
        read_case(*write_case(tmp_path, **change))
    assert refused.value.code == code
    assert "volume-0" not in refused.value.detail and str(tmp_path) not in refused.value.detail


def test_a_mask_may_lie_half_a_voxel_away_and_no_more(tmp_path: Path):
    affine = canonical()[2]
    for shift, fits in ((0.4, True), (0.6, False)):
        moved = affine.copy()
        moved[:3, 3] += affine[:3, 0] * shift
        case = write_case(tmp_path, mask_affine=moved)
        if fits:
            assert np.allclose(read_case(*case)[0].affine, read_case(*write_case(tmp_path))[0].affine)
        else:
            with pytest.raises(SeriesError) as refused:
                read_case(*case)
            assert refused.value.code == Code.MIXED_GEOMETRY


def test_an_affine_without_a_code_is_no_geometry(tmp_path: Path):
    _, mask = write_case(tmp_path)
    with pytest.raises(SeriesError) as refused:
        read_case(no_codes(tmp_path / "volume-1.nii", canonical()[2]), mask)
    assert refused.value.code == Code.NO_GEOMETRY


def test_lits_cases_sort_by_number(tmp_path: Path):
    for number in (10, 2, 0):
        (tmp_path / f"volume-{number}.nii.gz").touch()
        (tmp_path / f"segmentation-{number}.nii").touch()
    (tmp_path / "._volume-3.nii").touch()
    (tmp_path / "readme.txt").touch()
    cases = list_cases(tmp_path)
    assert [case.name for case in cases] == ["0", "2", "10"]
    assert cases[1].image.name == "volume-2.nii.gz" and cases[1].mask.name == "segmentation-2.nii"


def test_decathlon_cases(tmp_path: Path):
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        for name in ("liver_10.nii.gz", "liver_9.nii.gz", "._liver_9.nii.gz"):
            (tmp_path / folder / name).touch()
    assert [case.name for case in list_cases(tmp_path)] == ["liver_9", "liver_10"]


def test_nnunet_cases_take_the_first_channel(tmp_path: Path):
    for name in ("imagesTr/a_2_0000.nii.gz", "imagesTr/a_2_0001.nii.gz", "labelsTr/a_2.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (case,) = list_cases(tmp_path)
    assert (case.name, case.image.name, case.mask.name) == ("a_2", "a_2_0000.nii.gz", "a_2.nii.gz")


def test_list_refusals(tmp_path: Path):
    with pytest.raises(UsageError, match="no case in"):
        list_cases(tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        list_cases(tmp_path / "absent")
    (tmp_path / "volume-3.nii").touch()
    with pytest.raises(UsageError, match="have no mask"):
        list_cases(tmp_path)
    (tmp_path / "segmentation-3.nii").touch()
    (tmp_path / "volume-3.nii.gz").touch()
    with pytest.raises(UsageError, match="same case"):
        list_cases(tmp_path)
