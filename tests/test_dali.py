"""DALI's own operators on the grid of radnet, mode by mode: resize with a region, warp_affine with a matrix."""

import numpy as np
import pytest

from radnet.kernels.resample import resample
from tests import gpu
from tests.geometries import TOLERANCE, Geometry, away_from_ties, input_positions, random_geometry

GEOMETRIES = 256
DEVICES = ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)]
RANGES = {"int16": (-2000, 30000), "uint16": (0, 60000), "float32": (0, 1)}  # of stored voxels


def run(operator, geometries: list[Geometry], dtype: str, device: str, arguments: dict[str, list[np.ndarray]]) -> list:
    """operator(volumes [D,H,W,1], **arguments) of DALI over all geometries at once; one [D,H,W] float32 for each."""
    if device == "gpu":
        gpu.driver()
    dali = pytest.importorskip("nvidia.dali")
    low, high = RANGES[dtype]
    volumes = [np.rint(low + one[0] * (high - low)).astype(dtype)[..., None] for one in geometries]
    if dtype == "float32":
        volumes = [one[0][..., None] for one in geometries]

    @dali.pipeline_def(batch_size=len(geometries), num_threads=1, device_id=0 if device == "gpu" else None)
    def graph():
        source = dali.fn.external_source(source=[volumes], layout="DHWC")
        given = {name: dali.fn.external_source(source=[rows]) for name, rows in arguments.items()}
        return operator(dali, source.gpu() if device == "gpu" else source, given)

    pipeline = graph()
    pipeline.build()
    (found,) = pipeline.run()
    found = found.as_cpu() if device == "gpu" else found
    return [np.asarray(found[i])[..., 0] for i in range(len(geometries))]


def compare(geometries: list[Geometry], found: list[np.ndarray], mode: str, dtype: str) -> None:
    """Inside the field of view, away from where rounding decides between two voxels."""
    low, high = RANGES[dtype]
    compared = 0
    for number, ((unit, matrix, out_shape), got) in enumerate(zip(geometries, found, strict=True)):
        voxels = unit if dtype == "float32" else np.rint(low + unit * (high - low)).astype(dtype)
        size = np.reshape(voxels.shape, (3, 1, 1, 1))
        position = input_positions(matrix, out_shape)
        inside = ((position > -0.5) & (position < size - 0.5)).all(axis=0)
        if mode == "nearest":
            inside &= away_from_ties(matrix, out_shape, 1e-4)
        expected = resample(voxels, matrix, out_shape, mode=mode)
        error = np.abs(got - expected)[inside].max(initial=0) / (high - low)
        assert error <= TOLERANCE, f"geometry {number}: {error}"
        compared += np.count_nonzero(inside)
    assert compared > 5000


def region(geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """What the output covers of the input, from its first corner to its last, as DALI counts: voxel 0 spans 0 to 1."""
    _, matrix, out_shape = geometry
    start = matrix[:, 3] + 0.5 - matrix.diagonal() / 2
    return start, start + matrix.diagonal() * out_shape


def overlaps(start: np.ndarray, end: np.ndarray, in_shape: tuple[int, ...]) -> bool:
    return bool(((np.maximum(start, end) > 0) & (np.minimum(start, end) < in_shape)).all())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", list(RANGES))
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_resize_with_a_region(mode: str, dtype: str, device: str):
    """Scaling, crops and flips. A region wholly outside the volume kills the process, so none is asked for."""
    geometries = [random_geometry(seed, rotate=False) for seed in range(2 * GEOMETRIES)]
    geometries = [one for one in geometries if overlaps(*region(one), one[0].shape)]
    assert len(geometries) > GEOMETRIES
    start, end = zip(*map(region, geometries), strict=True)
    arguments = {
        "size": [np.array(one[2], np.float32) for one in geometries],
        "roi_start": [one.astype(np.float32) for one in start],
        "roi_end": [one.astype(np.float32) for one in end],
    }

    def resize(dali, volumes, given):
        kind = dali.types.INTERP_LINEAR if mode == "linear" else dali.types.INTERP_NN
        return dali.fn.resize(volumes, **given, interp_type=kind, antialias=False, dtype=dali.types.FLOAT)

    compare(geometries, run(resize, geometries, dtype, device, arguments), mode, dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["int16", "float32"])  # it refuses uint16
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_warp_affine_with_a_matrix(mode: str, dtype: str, device: str):
    """Rotation and shear too. DALI counts x,y,z from the corner, so that centres lie at halves."""
    geometries = [random_geometry(seed, rotate=True, shear=seed % 2 == 0) for seed in range(GEOMETRIES)]
    from_corner = [np.column_stack([m[:, :3], m[:, 3] + 0.5 - m[:, :3].sum(axis=1) / 2]) for _, m, _ in geometries]
    arguments = {
        "matrix": [one[::-1, [2, 1, 0, 3]].astype(np.float32, order="C") for one in from_corner],
        "size": [np.array(one[2], np.float32) for one in geometries],
    }

    def warp(dali, volumes, given):
        kind = dali.types.INTERP_LINEAR if mode == "linear" else dali.types.INTERP_NN
        return dali.fn.warp_affine(volumes, **given, interp_type=kind, inverse_map=True, dtype=dali.types.FLOAT)

    compare(geometries, run(warp, geometries, dtype, device, arguments), mode, dtype)
