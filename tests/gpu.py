"""The fused kernel on a GPU, with the calls of the tests that also run its body on the host."""

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
import torch

from radnet.kernels import fused


def driver() -> None:
    """Skips the test where the CUDA driver finds no GPU; asks the driver itself, so that any library may be tested."""
    try:
        library, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
    except OSError as error:
        pytest.skip(f"no GPU: {error}")
    if library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        pytest.skip("no GPU: the CUDA driver finds none")


def cupy():
    """CuPy with a GPU; skips the test with the reason where there is none."""
    module = pytest.importorskip("cupy", reason="no CuPy: pip install 'radnet[gpu]'")
    driver()
    return module


def torch_cuda() -> None:
    """Skips the test where torch sees no GPU."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU, or a torch without CUDA")


def run() -> Callable[..., np.ndarray]:
    """run(voxels, out_to_in, out_shape, out_dtype, ...) as `fused.fused`; bfloat16 goes through torch."""
    module = cupy()

    def on_the_gpu(voxels, out_to_in, out_shape, out_dtype="float32", **rest):
        if out_dtype == "bfloat16":
            torch_cuda()
            out = torch.full(out_shape, 99, dtype=torch.bfloat16, device="cuda")
            fused.fused(torch.from_numpy(voxels).cuda(), out_to_in, out, **rest)
            return out.float().cpu().numpy()
        out = module.full(out_shape, 99, out_dtype)
        fused.fused(module.asarray(voxels), out_to_in, out, **rest)
        return module.asnumpy(out)

    return on_the_gpu
