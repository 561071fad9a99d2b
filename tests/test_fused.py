"""The fused kernel against the reference and SimpleITK: its body on the host everywhere, the kernel where a GPU is."""

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from radnet.kernels import fused, noise
from radnet.kernels.grid import grid
from radnet.kernels.resample import resample
from tests import gpu
from tests.geometries import FILL, TOLERANCE, away_from_ties, itk, random_geometry
from tests.hostbuild import KINDS, compiled_for_the_host, instances, registers_and_spills, runner

GEOMETRIES = 500
ROUNDING = 2e-5  # of the range: what float32 leaves between two orders of the same sums
RANGES = {"uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535), "float32": (-3000.0, 3000.0)}
NOISE = noise.Noise(0.25, 2**40 + 5, 3, 70)
Run = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def host_library(tmp_path_factory) -> ctypes.CDLL:
    return compiled_for_the_host(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module", params=["host_library", pytest.param("gpu", marks=pytest.mark.gpu)])
def run(request) -> Run:
    """run(voxels, out_to_in, out_shape, out_dtype, ...) as `fused`; bfloat16 comes back as float32."""
    if request.param == "gpu":
        return gpu.run()
    body = runner(request.getfixturevalue(request.param))

    def on_the_host(voxels, out_to_in, out_shape, out_dtype="float32", **rest):
        out = torch.full(out_shape, 99, dtype=getattr(torch, out_dtype))  # what is not written must show
        body(voxels, out_to_in, out, **rest)
        return out.float().numpy() if out_dtype == "bfloat16" else out.numpy()

    return on_the_host


def stored(unit: np.ndarray, dtype: str) -> np.ndarray:
    """Voxels in 0…1 spread over the range of a dtype; whole numbers, so that all dtypes can hold them."""
    low, high = RANGES[dtype]
    return np.rint(low + unit * (float(high) - low)).astype(dtype)


def reference(
    voxels, matrix, out_shape, *, mode="linear", slope=1.0, offset=0.0, fill=0.0, window=None, noise=None
) -> np.ndarray:
    """What `fused` promises, step by step in NumPy: float64, before the cast."""
    sampled = resample(voxels, matrix, out_shape, mode=mode, fill=np.nan).astype(np.float64)
    value = np.where(np.isnan(sampled), fill, sampled * slope + offset)
    if window:
        value = ((value - window[0]) / (window[1] - window[0])).clip(0, 1)
    if noise:
        value = value + noise.std * normal(noise, out_shape)
    return value


def normal(one: noise.Noise, shape: tuple[int, int, int]) -> np.ndarray:
    return noise.normal(one.seed, one.epoch, one.position, shape)


@pytest.mark.parametrize("dtype", list(RANGES))
@pytest.mark.parametrize("mode, scales", KINDS)
def test_agrees_with_the_reference(run: Run, mode: str, scales: bool, dtype: str):
    inside = 0
    for seed in range(GEOMETRIES):
        unit, matrix, out_shape = random_geometry(seed, rotate=not scales, shear=not scales)
        voxels = stored(unit, dtype)
        extent = RANGES[dtype][1] - RANGES[dtype][0]
        got = run(voxels, matrix, out_shape, mode=mode, fill=FILL)
        expected = reference(voxels, matrix, out_shape, mode=mode, fill=FILL)
        assert got.dtype == np.float32 and np.array_equal(got == FILL, expected == FILL), f"geometry {seed}"
        if mode == "nearest":
            assert np.array_equal(got, expected), f"geometry {seed}"
        assert np.abs(got - expected).max() <= ROUNDING * extent, f"geometry {seed}"
        inside += np.count_nonzero(expected != FILL)
    assert inside > 10000


@pytest.mark.parametrize("mode, interpolator", [("linear", sitk.sitkLinear), ("nearest", sitk.sitkNearestNeighbor)])
def test_agrees_with_simpleitk(run: Run, mode: str, interpolator: int):
    compared = 0
    for seed in range(GEOMETRIES):
        voxels, matrix, out_shape = random_geometry(seed, rotate=seed % 2 == 0, shear=seed % 4 == 0)
        sure = away_from_ties(matrix, out_shape, 1e-5)
        got = run(voxels, matrix, out_shape, mode=mode, fill=FILL)[sure]
        expected = itk(voxels, matrix, out_shape, interpolator)[sure]
        assert np.abs(got - expected).max(initial=0) < TOLERANCE, f"geometry {seed}"
        compared += np.count_nonzero(expected != FILL)
    assert compared > 20000


@pytest.mark.parametrize("mode", ["nearest", "linear", "area"])
@pytest.mark.parametrize("spacing_mm", [(1, 1, 1), (5, 0.1, 0.7), (1.1, 2.2, 3.3)])
def test_ties_and_edges_fall_as_in_the_reference(run: Run, mode: str, spacing_mm: tuple[float, float, float]):
    """Halves and the borders of the field of view, hit exactly but for the rounding of the spacing."""
    voxels = stored(np.random.default_rng(1).random((4, 6, 8)), "int16")
    spacing = np.asarray(spacing_mm)
    for factor in (0.5, 1, 2, 3):
        for shift in (-1, 0, 2):
            for flip in [(False, False, False), (True, True, True)]:
                matrix = grid(voxels.shape, spacing, (5, 7, 9), spacing * factor, offset_mm=spacing * shift, flip=flip)
                got = run(voxels, matrix, (5, 7, 9), "int16", mode=mode, fill=11)
                expected = resample(voxels, matrix, (5, 7, 9), mode=mode, fill=11, out_dtype=np.int16)
                # Halves of int16 may round either way where the sums have another order; nearest and fill may not.
                far = 0 if mode == "nearest" or factor == 1 else 1
                assert np.abs(got.astype(int) - expected).max() <= far


def test_shapes_that_fill_no_block_and_one_slice(run: Run):
    for in_shape, out_shape in [((1, 40, 37), (6, 33, 65)), ((9, 1, 70), (1, 9, 31)), ((1, 1, 1), (1, 1, 1))]:
        voxels = stored(np.random.default_rng(0).random(in_shape), "int16")
        matrix = grid(in_shape, (3, 1, 2), out_shape)
        for mode in ("nearest", "linear", "area"):
            got = run(voxels, matrix, out_shape, mode=mode)
            assert np.allclose(got, reference(voxels, matrix, out_shape, mode=mode), atol=ROUNDING * 65535)


@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32"])
@pytest.mark.parametrize("mode, scales", KINDS)
def test_rescale_window_and_noise_in_one_pass(run: Run, mode: str, scales: bool, dtype: str):
    for seed in range(40):
        unit, matrix, out_shape = random_geometry(seed, rotate=not scales)
        voxels = stored(unit, dtype)
        given = {"mode": mode, "slope": 0.03, "offset": -400.0, "fill": -1024.0, "window": (-1000.0, 300.0)}
        bare = {"mode": mode, "slope": -0.5, "offset": 7.25, "fill": 5000.0}
        for rest in (bare, given, given | {"noise": NOISE}):
            got = run(voxels, matrix, out_shape, **rest)
            scale = 65535 if "window" not in rest else 1
            assert np.abs(got - reference(voxels, matrix, out_shape, **rest)).max() <= ROUNDING * scale


def test_a_window_clamps_and_a_constant_volume_has_none(run: Run):
    voxels = np.array([[[-2000, -1000, -350, 300, 3000]]], np.int16)
    straight = grid(voxels.shape, (1, 1, 1), (1, 1, 6), (1, 1, 1))
    got = run(voxels, straight, (1, 1, 6), window=(-1000.0, 300.0), fill=-np.inf)
    assert np.allclose(got.ravel(), [0, 0, 0.5, 1, 1, 0], atol=1e-6)
    constant = np.full((2, 2, 2), 40, np.int16)
    got = run(constant, grid((2, 2, 2), (1, 1, 1), (2, 2, 2)), (2, 2, 2), window=(40.0, 40.0))
    assert not got.any()


@pytest.mark.parametrize("out_dtype", ["uint8", "int16", "uint16"])
def test_integers_are_rounded_and_clipped(run: Run, out_dtype: str):
    values = np.array([-1e9, -40000, -0.6, -0.5, 0.5, 1.5, 2.5, 254.6, 255.5, 32767.4, 65534.5, 65536, 1e9], np.float32)
    voxels = values.reshape(1, 1, -1)
    straight = grid(voxels.shape, (1, 1, 1), voxels.shape)
    got = run(voxels, straight, voxels.shape, out_dtype, mode="nearest")
    assert np.array_equal(got, resample(voxels, straight, voxels.shape, mode="nearest", out_dtype=out_dtype))


def test_bfloat16_is_rounded_to_nearest_even(run: Run):
    """Every upper half of a float32 beside lower halves at, below and above the tie, as torch rounds them."""
    bits = (np.arange(1 << 16, dtype=np.uint32) << 16)[:, None] + np.array([0, 0x7FFF, 0x8000, 0x8001], np.uint32)
    voxels = bits.view(np.float32).reshape(4, 256, 256)
    straight = grid(voxels.shape, (1, 1, 1), voxels.shape)
    got = run(voxels, straight, voxels.shape, "bfloat16", mode="nearest")
    expected = torch.from_numpy(voxels.copy()).bfloat16().float().numpy()
    assert np.array_equal(got, expected, equal_nan=True)


@pytest.mark.parametrize("shape", [(48, 20, 30), (1, 1, 1), (5, 3, 2), (7, 33, 9)])
def test_noise_is_that_of_the_cpu(run: Run, shape: tuple[int, int, int]):
    voxels = np.zeros(shape, np.int16)
    for one in (NOISE, noise.Noise(1.0, 0, 0, 0), noise.Noise(2.0, 2**64 - 1, 2**32 - 1, 2**32 - 1)):
        got = run(voxels, grid(shape, (1, 1, 1), shape), shape, noise=one)
        assert np.allclose(got, one.std * normal(one, shape), atol=1e-5)


def test_the_task_is_laid_out_as_the_compiler_does_and_philox_agrees(host_library):
    assert host_library.size_of_task() == fused.TASK.itemsize
    word, key = np.array([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], np.uint32), (0xA4093822, 0x299F31D0)
    expected = noise.philox(word, key)
    host_library.run_philox(word.ctypes, np.array(key, np.uint32).ctypes)
    assert np.array_equal(word, expected)


def test_the_rarest_words_give_numbers_too(host_library):
    """A word of zero is no logarithm of zero, here and in noise.py."""
    for first, radius in [(0, np.sqrt(66 * np.log(2))), (2**32 - 1, 0)]:
        for second in (0, 2**31, 2**32 - 1):
            got, expected = np.empty(2, np.float32), np.empty((1, 2, 1), np.float32)
            host_library.run_box_muller(ctypes.c_uint(first), ctypes.c_uint(second), got.ctypes)
            words = (np.full((1, 1), word, np.uint32) for word in (first, second))
            noise._box_muller(*words, expected)
            assert np.allclose(got, expected.ravel(), atol=1e-5) and np.hypot(*got) == pytest.approx(radius, abs=1e-5)


@pytest.mark.parametrize("arch", ["80", "90"])
def test_every_kernel_compiles_for_a_gpu_and_keeps_its_numbers_in_registers(arch: str, tmp_path):
    """Float outputs of all inputs, integers of themselves. 85 registers let three blocks of 256 live on a processor."""
    names = [name for name in instances() if name.split(", ")[1] in ("float", "bfloat16", name[9:].split(",")[0])]
    found = registers_and_spills(tmp_path, arch, names)
    assert len(found) == len(names) == 55
    for name, (registers, stack, spilled) in zip(names, sorted(found), strict=True):
        assert (stack, spilled) == (0, 0) and 24 <= registers <= 85, name


def test_refusals():
    straight, shape = np.eye(4)[:3], (2, 2, 2)
    turned = grid(shape, (1, 1, 1), shape, rotation_deg=(5, 0, 0))
    with pytest.raises(ValueError, match="area mode takes scaling"):
        fused.describe(shape, turned, shape, mode="area")
    with pytest.raises(ValueError, match="mode 'cubic'"):
        fused.describe(shape, straight, shape, mode="cubic")
    with pytest.raises(ValueError, match="three non-empty axes"):
        fused.describe(shape, straight, (2, 2), mode="linear")
    with pytest.raises(ValueError, match=r"2\^31 voxels"):
        fused.describe((2, 32768, 32768), straight, shape, mode="linear")
    with pytest.raises(ValueError, match=r"2\^31 voxels"):
        fused.describe(shape, straight, (1, (1 << 17) + 1, 1), mode="linear")
    with pytest.raises(ValueError, match="window is"):
        fused.describe(shape, straight, shape, mode="linear", window=(3.0, 2.0))
    with pytest.raises(ValueError, match="epoch is -1"):
        fused.describe(shape, straight, shape, mode="linear", noise=noise.Noise(1.0, 0, -1, 0))
    with pytest.raises(ValueError, match="voxels is a Tensor that is not on a GPU"):
        fused.fused(torch.zeros(shape), straight, torch.zeros(shape))
