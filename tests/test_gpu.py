"""What only a GPU shows: CuPy in and out, streams, a launch that waits for nobody. The arithmetic is in test_fused."""

import numpy as np
import pytest

from radnet.kernels import fused
from radnet.kernels.grid import grid
from radnet.kernels.noise import Noise, normal
from radnet.kernels.resample import resample
from tests import gpu

pytestmark = pytest.mark.gpu
SHAPE, OUT_SHAPE = (30, 64, 70), (12, 24, 33)
MATRIX = grid(SHAPE, (2, 1, 1), OUT_SHAPE, rotation_deg=(10, 5, 3))
STRAIGHT = grid(SHAPE, (2, 1, 1), OUT_SHAPE)


@pytest.fixture(scope="module")
def cupy():
    return gpu.cupy()


@pytest.fixture(scope="module")
def torch():
    gpu.cupy()
    gpu.torch_cuda()
    import torch

    return torch


def voxels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 2000, SHAPE).astype(np.int16)


@pytest.mark.parametrize("out_dtype", ["float32", "int16"])
@pytest.mark.parametrize("mode, matrix", [("linear", MATRIX), ("nearest", MATRIX), ("area", STRAIGHT)])
def test_resample_keeps_cupy_arrays_on_the_gpu(cupy, mode: str, matrix: np.ndarray, out_dtype: str):
    for view in (lambda v: v, lambda v: v[::-1, :, ::-1]):
        given = {"mode": mode, "fill": -7, "out_dtype": out_dtype}
        got = resample(view(cupy.asarray(voxels(0))), matrix, OUT_SHAPE, **given)
        assert isinstance(got, cupy.ndarray) and got.dtype == out_dtype
        difference = cupy.asnumpy(got).astype(np.float64) - resample(view(voxels(0)), matrix, OUT_SHAPE, **given)
        assert np.abs(difference).max() <= (0 if mode == "nearest" else 1 if out_dtype == "int16" else 0.06)


def test_boolean_masks(cupy):
    mask = voxels(1) > 500
    got = resample(cupy.asarray(mask), MATRIX, OUT_SHAPE, mode="nearest", out_dtype=np.uint8)
    assert np.array_equal(cupy.asnumpy(got), resample(mask, MATRIX, OUT_SHAPE, mode="nearest", out_dtype=np.uint8))


def test_refusals(cupy):
    out = cupy.empty(OUT_SHAPE, np.float32)
    with pytest.raises(ValueError, match="contiguous float64"):
        fused.fused(cupy.zeros(SHAPE), MATRIX, out)
    with pytest.raises(ValueError, match="strided float32"):
        fused.fused(cupy.zeros(SHAPE, np.float32), MATRIX, out.transpose(2, 1, 0))
    with pytest.raises(ValueError, match="out is contiguous float64"):
        resample(cupy.zeros(SHAPE, np.int16), MATRIX, OUT_SHAPE, out_dtype=np.float64)
    with pytest.raises(ValueError, match="voxels is a ndarray that is not on a GPU"):
        fused.fused(voxels(0), MATRIX, out)


def test_a_sample_of_a_batch_is_written_and_no_other(torch):
    out = torch.full((3, *OUT_SHAPE), 9, dtype=torch.bfloat16, device="cuda")
    given = {"window": (-1000.0, 2000.0), "noise": Noise(0.1, 1, 2, 3)}
    fused.fused(torch.from_numpy(voxels(2)).cuda(), MATRIX, out[1], fill=-1000.0, **given)
    expected = (resample(voxels(2), MATRIX, OUT_SHAPE, fill=-1000.0) + 1000) / 3000 + 0.1 * normal(1, 2, 3, OUT_SHAPE)
    assert np.abs(out[1].float().cpu().numpy() - expected).max() < 2**-7  # a unit of bfloat16 from 1 to 2
    assert (out[[0, 2]] == 9).all()


@pytest.mark.parametrize("by_handle", [True, False])
def test_a_launch_follows_its_stream_and_does_not_wait(torch, by_handle: bool):
    """The stream first sleeps, then gets the voxels; a launch elsewhere would read the zeros from before."""
    source, late = torch.zeros(SHAPE, dtype=torch.int16, device="cuda"), torch.from_numpy(voxels(3)).cuda()
    out = torch.zeros(OUT_SHAPE, dtype=torch.float32, device="cuda")
    fused.fused(source, MATRIX, out)  # compiles
    torch.cuda.synchronize()
    side, done = torch.cuda.Stream(), torch.cuda.Event()
    with torch.cuda.stream(side):
        torch.cuda._sleep(1_000_000_000)  # cycles: about half a second
        source.copy_(late)
        if not by_handle:
            fused.fused(source, MATRIX, out)
    if by_handle:
        fused.fused(source, MATRIX, out, stream=side.cuda_stream)
    done.record(side)
    assert not done.query()
    done.synchronize()
    assert np.abs(out.cpu().numpy() - resample(voxels(3), MATRIX, OUT_SHAPE)).max() < 0.06


def test_a_stream_of_cupy(cupy):
    source, late = cupy.zeros(SHAPE, np.int16), cupy.asarray(voxels(4))
    cupy.cuda.runtime.deviceSynchronize()
    with cupy.cuda.Stream(non_blocking=True) as stream:
        source[...] = late
        out = resample(source, MATRIX, OUT_SHAPE, mode="nearest")
        stream.synchronize()
    assert np.array_equal(cupy.asnumpy(out), resample(voxels(4), MATRIX, OUT_SHAPE, mode="nearest"))


def test_a_launch_can_be_captured(torch):
    """A CUDA graph takes kernels only: no allocation, no copy from the host, no waiting."""
    source = torch.zeros(SHAPE, dtype=torch.int16, device="cuda")
    out = torch.zeros(OUT_SHAPE, dtype=torch.float32, device="cuda")
    fused.fused(source, MATRIX, out)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        fused.fused(source, MATRIX, out)
    source.copy_(torch.from_numpy(voxels(5)))
    graph.replay()
    torch.cuda.synchronize()
    assert np.abs(out.cpu().numpy() - resample(voxels(5), MATRIX, OUT_SHAPE)).max() < 0.06
