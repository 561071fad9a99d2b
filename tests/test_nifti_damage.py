"""NIfTI files that are damaged, hostile or beyond the limits: a code, never an exception or an allocation."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from radnet.shards.ledger import Code, SeriesError
from radnet.shards.nifti import read_case
from tests.test_nifti import SHAPE, canonical, stored_as, write, write_case


def with_header(path: Path, shape: tuple, changes: dict[int, bytes]) -> Path:
    """A file without voxels whose header declares a shape; changes: offset → bytes."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.int16)
    header.set_sform(canonical()[2], 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    content = bytearray(header.binaryblock + bytes(4))
    for offset, values in changes.items():
        content[offset : offset + len(values)] = values
    path.write_bytes(gzip.compress(bytes(content)))
    return path


def test_a_header_bomb_is_refused_before_it_is_loaded(tmp_path: Path):
    bomb = with_header(tmp_path / "volume-1.nii.gz", (32000, 32000, 32000), {})
    with pytest.raises(SeriesError) as refused:
        read_case(bomb, bomb)
    assert refused.value.code == Code.TOO_LARGE


def test_damaged_headers_end_as_codes(tmp_path: Path):
    image, mask = write_case(tmp_path)
    whole = image.read_bytes()
    random = np.random.default_rng(2)
    for _ in range(300):
        content = bytearray(whole)
        for at in random.integers(0, 352, random.integers(1, 4)):
            content[at] = random.choice([0, 1, 127, 128, 255, random.integers(256)])
        image.write_bytes(content)
        try:
            volume, _ = read_case(image, mask)
        except SeriesError:
            continue
        assert np.isfinite(volume.affine).all()


def test_affines_and_voxels_beyond_any_patient_are_bad_numbers(tmp_path: Path):
    voxels, _, affine = canonical()
    far, coarse = affine.copy(), affine @ np.diag([1e5, 1, 1, 1])
    far[0, 3] = 1e30
    for change in ({"affine": far}, {"affine": coarse}, {"voxels": np.full(SHAPE, 1e300)}):
        with pytest.raises(SeriesError) as refused:
            read_case(*write_case(tmp_path, **change))
        assert refused.value.code == Code.BAD_NUMBER


@pytest.mark.parametrize(
    "limit, code",
    [
        ({"min_slices": 6}, Code.TOO_FEW_SLICES),
        ({"max_voxels": 59}, Code.TOO_LARGE),
        ({"max_spacing_mm": 4.9}, Code.SPACING_TOO_LARGE),
    ],
)
def test_limits_count_along_the_patient(tmp_path: Path, limit: dict, code: Code):
    voxels, mask, affine = canonical()
    voxels, turned = stored_as(voxels, affine, (2, 0, 1), (1, 1, 1))
    mask, _ = stored_as(mask, affine, (2, 0, 1), (1, 1, 1))
    case = write_case(tmp_path, voxels, mask, turned)
    assert read_case(*case, min_slices=5, max_voxels=60, max_spacing_mm=5.1)
    with pytest.raises(SeriesError) as refused:
        read_case(*case, **limit)
    assert refused.value.code == code


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_damaged_files(tmp_path: Path, suffix: str):
    _, mask = write_case(tmp_path)
    voxels = np.random.default_rng(1).integers(0, 999, (40, 40, 20)).astype(np.int16)
    whole = write(tmp_path / f"whole{suffix}", voxels, canonical()[2]).read_bytes()
    damaged = tmp_path / f"volume-9{suffix}"
    big_mask = write(tmp_path / "mask.nii", np.zeros(voxels.shape, np.uint8), canonical()[2])
    for content, code in [
        (whole[: len(whole) // 2], Code.TRUNCATED),
        (b"", Code.UNREADABLE),
        (b"not a NIfTI file" * 99, Code.UNREADABLE),
    ]:
        damaged.write_bytes(content)
        with pytest.raises(SeriesError) as refused:
            read_case(damaged, big_mask)
        assert refused.value.code == code
    with pytest.raises(FileNotFoundError):  # of the machine: the file was listed a moment ago
        read_case(tmp_path / "absent.nii", mask)
