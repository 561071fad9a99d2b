"""Grid and resample against SimpleITK, against SciPy, and against what the convention says."""

from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import map_coordinates

from radnet.kernels.grid import grid, invert, rotation
from radnet.kernels.resample import resample
from tests.geometries import FILL, TOLERANCE, away_from_ties, input_positions, itk, random_geometry

GEOMETRIES = 300


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("mode, interpolator", [("linear", sitk.sitkLinear), ("nearest", sitk.sitkNearestNeighbor)])
def test_agrees_with_simpleitk(mode: str, interpolator: int, rotate: bool):
    compared = inside = 0
    for seed in range(GEOMETRIES):
        voxels, matrix, out_shape = random_geometry(seed, rotate)
        sure = away_from_ties(matrix, out_shape)
        got = resample(voxels, matrix, out_shape, mode=mode, fill=FILL)[sure]
        expected = itk(voxels, matrix, out_shape, interpolator)[sure]
        assert np.abs(got - expected).max(initial=0) < TOLERANCE, f"geometry {seed}"
        compared, inside = compared + got.size, inside + np.count_nonzero(expected != FILL)
    assert inside > compared * 0.1 > 1000


def test_agrees_with_scipy_inside_the_field():
    for seed in range(100):
        voxels, matrix, out_shape = random_geometry(seed, rotate=True)
        position = input_positions(matrix, out_shape)
        expected = map_coordinates(voxels, position, order=1, mode="nearest", output=np.float64)
        size = np.reshape(voxels.shape, (3, 1, 1, 1))
        inside = ((position > -0.5) & (position < size - 0.5)).all(axis=0)
        got = resample(voxels, matrix, out_shape, fill=FILL)
        assert np.abs(got - expected)[inside].max(initial=0) < TOLERANCE
        assert (got[~inside] == np.float32(FILL)).all()


def brute_force_area(line: np.ndarray, scale: float, shift: float, count: int) -> np.ndarray:
    """The mean of `line` under each box, by counting many points of the box that lie on the line."""
    width, out = max(1.0, abs(scale)), []
    for i in range(count):
        x = i * scale + shift + np.linspace(-width / 2, width / 2, 20001)
        index = np.floor(x + 0.5).astype(int)
        out.append(line[index[(index >= 0) & (index < line.size)]].mean())
    return np.asarray(out)


@pytest.mark.parametrize("in_size, out_size", [(10, 3), (3, 10), (7, 7), (1, 4), (4, 1), (50, 48)])
def test_area_is_the_mean_under_the_box(in_size: int, out_size: int):
    line = np.random.default_rng(0).random(in_size)
    expected = brute_force_area(line, in_size / out_size, 0.5 * in_size / out_size - 0.5, out_size)
    for axis in range(3):
        in_shape, out_shape = [1, 1, 1], [1, 1, 1]
        in_shape[axis], out_shape[axis] = in_size, out_size
        got = resample(line.reshape(in_shape), grid(in_shape, (1, 1, 1), out_shape), out_shape, mode="area")
        assert np.allclose(got.ravel(), expected, atol=2e-4)


def test_area_equals_linear_where_the_output_is_finer():
    voxels = np.random.default_rng(1).random((4, 5, 6)).astype(np.float32)
    matrix = grid(voxels.shape, (1, 1, 1), (9, 10, 11))
    assert np.array_equal(resample(voxels, matrix, (9, 10, 11), mode="area"), resample(voxels, matrix, (9, 10, 11)))


def test_whole_field_resize_is_the_printed_formula():
    matrix = grid((140, 512, 512), (2.5, 0.7, 0.7), (48, 192, 192))
    position = input_positions(matrix, (48, 1, 192))
    scale = np.array([140 / 48, 512 / 192])
    assert np.allclose(position[0, :, 0, 0], (np.arange(48) + 0.5) * scale[0] - 0.5)
    assert np.allclose(position[2, 0, 0, :], (np.arange(192) + 0.5) * scale[1] - 0.5)


def test_a_crop_starts_at_its_offset():
    voxels = np.arange(6 * 8 * 10, dtype=np.int16).reshape(6, 8, 10)
    matrix = grid(voxels.shape, (5, 0.8, 0.8), (2, 3, 4), (5, 0.8, 0.8), offset_mm=(10, 2.4, 0.8))
    got = resample(voxels, matrix, (2, 3, 4), out_dtype=np.int16)
    assert np.array_equal(got, voxels[2:4, 3:6, 1:5])


@pytest.mark.parametrize("mode", ["linear", "nearest", "area"])
def test_identity_and_flip_are_exact(mode: str):
    voxels = np.random.default_rng(2).integers(-32768, 32768, (3, 5, 7)).astype(np.int16)
    for spacing_mm in [(1, 1, 1), (5, 0.1, 0.7)]:
        straight = grid(voxels.shape, spacing_mm, voxels.shape)
        same = resample(voxels, straight, voxels.shape, mode=mode, out_dtype=np.int16)
        assert np.array_equal(same, voxels)
        flipped = grid(voxels.shape, spacing_mm, voxels.shape, spacing_mm, flip=(True, False, True))
        got = resample(voxels, flipped, voxels.shape, mode=mode, out_dtype=np.int16)
        assert np.array_equal(got, voxels[::-1, :, ::-1])


@pytest.mark.parametrize("axis", range(3))
def test_a_quarter_turn_is_a_transpose(axis: int):
    """Around D, H towards W: the output's H axis walks along the input's W axis."""
    voxels = np.random.default_rng(3).random((4, 4, 4)).astype(np.float32)
    angles = [90.0 if other == axis else 0.0 for other in range(3)]
    matrix = grid(voxels.shape, (2, 2, 2), voxels.shape, (2, 2, 2), rotation_deg=angles)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    expected = np.flip(np.swapaxes(voxels, first, second), axis=second)
    assert np.allclose(resample(voxels, matrix, voxels.shape), expected, atol=1e-5)
    assert np.array_equal(resample(voxels, matrix, voxels.shape, mode="nearest"), expected)


def test_rotation_is_in_millimetres():
    """Under anisotropic spacing a turned field keeps its distances in mm."""
    spacing = np.array([5.0, 0.7, 1.3])
    matrix = grid((20, 40, 30), spacing, (9, 9, 9), (1, 1, 1), rotation_deg=(10, 20, 30))
    assert np.allclose(np.linalg.norm(matrix[:, :3] * spacing[:, None], axis=0), 1)
    assert np.isclose(np.linalg.det(rotation((10, 20, 30))), 1)


def test_the_way_back():
    """A mask on the output grid returns to where it was; the two maps cancel."""
    matrix = grid((30, 40, 50), (3, 1, 1), (18, 48, 48), (5, 0.8, 0.8), offset_mm=(1, -2, 3), rotation_deg=(4, 5, 6))
    row = np.array([[0, 0, 0, 1]])
    assert np.allclose(np.vstack([matrix, row]) @ np.vstack([invert(matrix), row]), np.eye(4), atol=1e-12)
    mask = np.zeros((12, 20, 20), np.uint8)
    mask[3:9, 5:15, 5:15] = 1
    there = grid(mask.shape, (2, 1, 1), (24, 40, 40))
    fine = resample(mask, there, (24, 40, 40), mode="nearest", out_dtype=np.uint8)
    back = resample(fine, invert(there), mask.shape, mode="nearest", out_dtype=np.uint8)
    assert np.array_equal(back, mask)


@pytest.mark.parametrize("mode", ["linear", "nearest", "area"])
@pytest.mark.parametrize("shape", [(1, 6, 7), (1, 1, 1), (6, 1, 7)])
def test_one_slice_volumes(mode: str, shape: tuple[int, int, int]):
    voxels = np.random.default_rng(4).random(shape).astype(np.float32)
    got = resample(voxels, grid(shape, (5, 1, 1), (5, 6, 7)), (5, 6, 7), mode=mode, fill=FILL)
    assert got.shape == (5, 6, 7) and got.min() >= voxels.min() and got.max() <= voxels.max()
    if shape[0] == 1:
        assert (got == got[0]).all()


def test_fill_reaches_every_voxel_outside():
    matrix = grid((4, 4, 4), (1, 1, 1), (6, 6, 6), (1, 1, 1), offset_mm=(-1, -1, -1))
    for mode in ("linear", "nearest", "area"):
        got = resample(np.ones((4, 4, 4), np.uint8), matrix, (6, 6, 6), mode=mode, fill=-1024.25)
        expected = np.full((6, 6, 6), -1024.25, np.float32)
        expected[1:5, 1:5, 1:5] = 1
        assert np.array_equal(got, expected)
    far = grid((4, 4, 4), (1, 1, 1), (2, 2, 2), (1, 1, 1), offset_mm=(99, 0, 0))
    assert (resample(np.ones((4, 4, 4)), far, (2, 2, 2), fill=3) == 3).all()


def test_integers_are_rounded_and_clipped():
    voxels = np.array([[[-5.0, 0.4, 0.6, 300.0]]])
    got = resample(voxels, grid((1, 1, 4), (1, 1, 1), (1, 1, 4)), (1, 1, 4), out_dtype=np.uint8)
    assert got.tolist() == [[[0, 0, 1, 255]]]


LAYOUTS = [lambda v: v[::-1, :, ::-1], lambda v: v.transpose(2, 0, 1), lambda v: v.astype(">i2")]


@pytest.mark.parametrize("view", LAYOUTS)
def test_any_memory_layout(view: Callable[[np.ndarray], np.ndarray]):
    voxels = view(np.random.default_rng(5).integers(0, 99, (4, 5, 6)).astype(np.int16))
    voxels.setflags(write=False)
    for rotation_deg in [(0, 0, 0), (0, 0, 1e-9)]:
        matrix = grid(voxels.shape, (1, 1, 1), voxels.shape, (1, 1, 1), rotation_deg=rotation_deg)
        for mode in ("linear", "nearest"):
            assert np.allclose(resample(voxels, matrix, voxels.shape, mode=mode), voxels, atol=1e-3)


def test_boolean_masks():
    mask = np.eye(3, dtype=bool)[None]
    assert np.array_equal(resample(mask, grid((1, 3, 3), (1, 1, 1), (1, 3, 3)), (1, 3, 3), mode="nearest"), mask)


def test_refusals():
    voxels, straight = np.zeros((2, 2, 2), np.float32), np.eye(4)[:3]
    turned = grid((2, 2, 2), (1, 1, 1), (2, 2, 2), rotation_deg=(5, 0, 0))
    with pytest.raises(ValueError, match="area mode takes scaling"):
        resample(voxels, turned, (2, 2, 2), mode="area")
    with pytest.raises(ValueError, match="mode 'cubic'"):
        resample(voxels, straight, (2, 2, 2), mode="cubic")
    with pytest.raises(ValueError, match="three non-empty axes"):
        resample(voxels[0], straight, (2, 2, 2))
    with pytest.raises(ValueError, match="three non-empty axes"):
        resample(voxels, straight, (2, 0, 2))
    with pytest.raises(TypeError, match="a Tensor, expected a NumPy or a CuPy array"):
        resample(torch.zeros(2, 2, 2), straight, (2, 2, 2))
    with pytest.raises(ValueError, match=r"\[3,4\]"):
        resample(voxels, np.eye(4), (2, 2, 2))
    with pytest.raises(ValueError, match="out_spacing_mm"):
        grid((2, 2, 2), (1, 1, 1), (2, 2, 2), (1, 0, 1))
    with pytest.raises(ValueError, match="singular"):
        invert(np.zeros((3, 4)))
