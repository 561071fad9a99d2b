"""The fused kernel on the GPU: one launch from stored voxels to what a network reads. The only door to CuPy.

What is computed is said by resample.py (the grid), noise.py (the noise) and resample.cu. The kernel is compiled for the
dtypes and the mode at hand when it is first needed; CuPy keeps the result on disk.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radnet.kernels.grid import Shape
from radnet.kernels.noise import COLUMN, Noise, words
from radnet.kernels.resample import Mode, check

SOURCE = Path(__file__).with_name("resample.cu")
OPTIONS = ("-std=c++17", "--fmad=false")
IN_TYPES = {"uint8": "unsigned char", "int16": "short", "uint16": "unsigned short", "float32": "float"}
OUT_TYPES = IN_TYPES | {"bfloat16": "bfloat16"}
BLOCK = (32, 8)  # threads over W and H: a warp lies along W
TASK = np.dtype(
    [
        ("matrix", np.float64, (3, 4)),
        ("in_shape", np.int32, 3),
        ("out_shape", np.int32, 3),
        ("noise_words", np.uint32, 4),
        ("slope", np.float32),
        ("offset", np.float32),
        ("low", np.float32),
        ("gain", np.float32),
        ("fill", np.float32),
        ("noise_std", np.float32),
    ],
    align=True,
)


def fused(
    voxels: Any,
    out_to_in: np.ndarray,
    out: Any,
    *,
    mode: Mode = "linear",
    slope: float = 1.0,
    offset: float = 0.0,
    fill: float = 0.0,
    window: tuple[float, float] | None = None,
    noise: Noise | None = None,
    stream: int | None = None,
) -> None:
    """Write voxels [D,H,W] into out [D',H',W'] on another grid: interpolated, rescaled, windowed, noisy, cast.

    voxels, out: contiguous CuPy arrays or torch CUDA tensors of one device. voxels: uint8, int16, uint16 or float32;
    out: one of these or bfloat16. out_to_in, mode: as for `resample`. voxel * slope + offset is the rescaled value, and
    `fill` is one, for what lies outside the field of view. window: rescaled (low, high) become 0 and 1, clamped. noise:
    added last and everywhere, not clamped. stream: a cudaStream_t as an integer; None is the current stream of the
    library that owns `out`. Returns when the kernel is queued; nothing is copied to or from the host.
    Raises ValueError for arrays, matrices or numbers other than these.
    """
    source, target = _array("voxels", voxels, IN_TYPES), _array("out", out, OUT_TYPES)
    if source.device != target.device:
        raise ValueError(f"voxels are on GPU {source.device}, out on GPU {target.device}; expected one device")
    task, scales = describe(
        source.shape, out_to_in, target.shape,
        mode=mode, slope=slope, offset=offset, fill=fill, window=window, noise=noise,
    )  # fmt: skip
    import cupy

    depth, height, width = target.shape
    blocks = (-(-width // BLOCK[0]), -(-height // BLOCK[1]), -(-depth // COLUMN))
    with cupy.cuda.Device(target.device), _stream(out, stream):
        kernel = _compiled(instance(source.dtype, target.dtype, mode, scales), target.device)
        kernel(blocks, (*BLOCK, 1), (np.uint64(source.pointer), np.uint64(target.pointer), task))


def resample(
    voxels: Any, out_to_in: np.ndarray, out_shape: Shape, *, mode: Mode, fill: float, out_dtype: np.typing.DTypeLike
) -> Any:
    """`resample.resample` for CuPy arrays of the dtypes `fused` takes, on CuPy's current stream: CuPy in, CuPy out.

    Raises as `resample` and `fused` do, and TypeError for what is no CuPy array.
    """
    if type(voxels).__module__.split(".")[0] != "cupy":
        raise TypeError(f"voxels are a {type(voxels).__name__}, expected a NumPy or a CuPy array")
    import cupy

    check(voxels.shape, out_to_in, out_shape, mode)
    voxels = voxels.view(cupy.uint8) if voxels.dtype == np.bool_ else voxels
    with voxels.device:
        out = cupy.empty(out_shape, out_dtype)
        fused(cupy.ascontiguousarray(voxels), out_to_in, out, mode=mode, fill=fill)
    return out


def describe(
    in_shape: Shape,
    out_to_in: np.ndarray,
    out_shape: Shape,
    *,
    mode: Mode,
    slope: float = 1.0,
    offset: float = 0.0,
    fill: float = 0.0,
    window: tuple[float, float] | None = None,
    noise: Noise | None = None,
) -> tuple[np.ndarray, bool]:
    """The Task of resample.cu, [1] of TASK, and whether its matrix only scales, flips and shifts. Raises as `fused`."""
    matrix, scales = check(in_shape, out_to_in, out_shape, mode)
    if max(np.prod(in_shape, dtype=float), np.prod(out_shape, dtype=float)) >= 1 << 31 or max(out_shape) > 1 << 17:
        raise ValueError(
            f"{in_shape} to {out_shape}: the kernel counts to 2^31 voxels, and to 2^17 along an output axis"
        )
    if window and not window[0] <= window[1]:
        raise ValueError(f"window is {window}, expected (low, high)")
    task = np.zeros(1, TASK)
    task["matrix"], task["in_shape"], task["out_shape"] = matrix, in_shape, out_shape
    task["slope"], task["offset"], task["fill"] = slope, offset, fill
    if window:  # a constant volume has no range; the floor turns it into zeros instead of nan
        task["low"], task["gain"] = window[0], 1 / max(window[1] - window[0], np.finfo(np.float32).tiny)
    if noise:
        task["noise_std"] = noise.std
        task["noise_words"] = words(noise.seed, noise.epoch, noise.position, out_shape)
    return task, scales


def instance(in_dtype: str, out_dtype: str, mode: Mode, scales: bool) -> str:
    """The C++ name of the kernel for names of dtypes in IN_TYPES and OUT_TYPES."""
    return f"resample<{IN_TYPES[in_dtype]}, {OUT_TYPES[out_dtype]}, {mode.upper()}, {str(scales).lower()}>"


@functools.cache
def _compiled(name: str, device: int) -> Any:
    """The kernel of this C++ name for the current device, whose index is part of the key."""
    import cupy

    return cupy.RawModule(code=SOURCE.read_text(), options=OPTIONS, name_expressions=[name]).get_function(name)


class _Array:
    """What a launch needs of a CuPy array or a torch tensor: pointer, dtype (name), shape, device (index)."""

    def __init__(self, array: Any) -> None:
        self.shape = tuple(array.shape)
        if isinstance(array, torch.Tensor):
            self.pointer, self.device = array.data_ptr(), array.device.index
            self.dtype, self.is_contiguous = str(array.dtype).removeprefix("torch."), array.is_contiguous()
        else:
            self.pointer, self.device = array.data.ptr, array.device.id
            self.dtype, self.is_contiguous = array.dtype.name, array.flags.c_contiguous


def _array(name: str, array: Any, dtypes: dict[str, str]) -> _Array:
    if not (array.is_cuda if isinstance(array, torch.Tensor) else hasattr(array, "__cuda_array_interface__")):
        raise ValueError(f"{name} is a {type(array).__name__} that is not on a GPU")
    found = _Array(array)
    if found.dtype not in dtypes or not found.is_contiguous:
        order = "contiguous" if found.is_contiguous else "strided"
        raise ValueError(f"{name} is {order} {found.dtype}, expected contiguous {', '.join(dtypes)}")
    return found


def _stream(out: Any, stream: int | None) -> Any:
    """A context in which CuPy launches on the wanted stream."""
    import cupy

    if stream is None and isinstance(out, torch.Tensor):
        stream = torch.cuda.current_stream(out.device).cuda_stream
    if stream is None:
        return cupy.cuda.get_current_stream()
    return cupy.cuda.Stream.from_external(_Handle(stream)) if stream else cupy.cuda.Stream.null


class _Handle:
    """A stream of another library, as the CUDA stream protocol wants it: (version, cudaStream_t)."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle
