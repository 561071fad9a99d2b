"""Voxels on another grid: NumPy in, NumPy out, torch inside. The reference for every other implementation of the grid.

CuPy arrays go to the fused kernel and stay on the GPU.

Inside the field of view, which ends half a voxel beyond the outermost centres, edge voxels are clamped; outside is
`fill`.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch

from radnet.kernels.grid import Shape

Mode = Literal["linear", "nearest", "area"]
EDGE = 1e-6  # of a voxel: a centre this far outside the field of view is rounding, not outside
CHUNK_VOXELS = 1 << 22  # output voxels whose coordinates are held at once
SLAB_VOXELS = 1 << 20  # input voxels filtered along all axes before the next, so that they stay in the cache


def resample(
    voxels: np.ndarray,
    out_to_in: np.ndarray,
    out_shape: Shape,
    *,
    mode: Mode = "linear",
    fill: float = 0.0,
    out_dtype: np.typing.DTypeLike = np.float32,
) -> np.ndarray:
    """Sample voxels [D,H,W] of any real dtype at the centres of another grid; returns out_shape of out_dtype.

    out_to_in: [3,4] from `grid`. mode: "nearest" copies values (halves round up); "linear" interpolates; "area"
    averages over a box of width max(1, out/in) voxels per axis, which equals linear where the output is finer.
    Arithmetic is float32; integer out_dtypes are rounded and clipped. fill: the value outside the field of view.
    Raises ValueError for a bad shape or mode, and for "area" with a matrix that does more than scale, flip and shift.
    """
    if not isinstance(voxels, np.ndarray):
        from radnet.kernels import fused  # where no voxels lie on a GPU, CuPy is not needed

        return fused.resample(voxels, out_to_in, out_shape, mode=mode, fill=fill, out_dtype=out_dtype)
    voxels = voxels.view(np.uint8) if voxels.dtype == np.bool_ else voxels
    matrix, scales = check(voxels.shape, out_to_in, out_shape, mode)
    if mode == "nearest":
        gather = _nearest_by_axis if scales else _nearest_anywhere
        return _cast(gather(voxels, matrix, out_shape, fill), out_dtype)
    if scales:
        return _cast(_filter_by_axis(voxels, matrix, out_shape, mode == "area", fill), out_dtype)
    return _cast(_linear_anywhere(voxels, matrix, out_shape, fill), out_dtype)


def check(
    in_shape: tuple[int, ...], out_to_in: np.ndarray, out_shape: tuple[int, ...], mode: str
) -> tuple[np.ndarray, bool]:
    """The matrix as [3,4] float64, and whether it only scales, flips and shifts. Raises as `resample` does."""
    matrix = np.asarray(out_to_in, dtype=np.float64)
    if len(in_shape) != 3 or 0 in in_shape or len(out_shape) != 3 or min(out_shape) < 1:
        raise ValueError(f"expected three non-empty axes D,H,W, got voxels {in_shape} and out_shape {out_shape}")
    if matrix.shape != (3, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"out_to_in has shape {matrix.shape}, expected a finite [3,4] matrix")
    if mode not in ("linear", "nearest", "area"):
        raise ValueError(f"mode {mode!r}, expected linear, nearest or area")
    scales = np.count_nonzero(matrix[:, :3] - np.diag(np.diagonal(matrix))) == 0
    if mode == "area" and not scales:
        raise ValueError("area mode takes scaling, flips and shifts only; use linear for rotation or shear")
    return matrix, scales


def _nearest_by_axis(voxels: np.ndarray, matrix: np.ndarray, out_shape: Shape, fill: float) -> np.ndarray:
    centres = [_centres(matrix, axis, out_shape[axis]) for axis in range(3)]
    nearest = [_round(x, size) for x, size in zip(centres, voxels.shape, strict=True)]
    return _fill_outside(voxels[np.ix_(*nearest)], centres, voxels.shape, fill)


def _filter_by_axis(voxels: np.ndarray, matrix: np.ndarray, out_shape: Shape, area: bool, fill: float) -> np.ndarray:
    """Separable box filter; with width 1 the box is linear interpolation. The axis that shrinks most goes first."""
    centres = [_centres(matrix, axis, out_shape[axis]) for axis in range(3)]
    widths = [max(1.0, abs(matrix[axis, axis])) if area else 1.0 for axis in range(3)]
    taps = [_taps(*given) for given in zip(centres, voxels.shape, widths, strict=True)]
    values, out = _tensor(voxels), torch.empty(out_shape)
    step = max(1, int(SLAB_VOXELS / (voxels[0].size * max(abs(matrix[0, 0]), 1 / out_shape[0]))))
    for start in range(0, out_shape[0], step):
        rows = slice(start, start + step)
        first, last = int(taps[0][0][:, rows].min()), int(taps[0][0][:, rows].max())
        slab = [(taps[0][0][:, rows] - first, taps[0][1][:, rows]), *taps[1:]]
        part = values[first : last + 1]
        for axis in np.argsort(np.asarray(out_shape) / voxels.shape).tolist():
            part = _filter(part, axis, *slab[axis])
        out[rows] = part
    return _fill_outside(out.numpy(), centres, voxels.shape, fill)


def _filter(values: torch.Tensor, axis: int, taps: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted sums of voxels along an axis: float32. taps, weights: [K,N]."""
    shape = [-1 if other == axis else 1 for other in range(3)]
    total = torch.zeros([taps.shape[1] if other == axis else values.shape[other] for other in range(3)])
    for tap, weight in zip(taps, weights, strict=True):
        total += values.index_select(axis, tap).float().mul_(weight.view(shape))
    return total


def _taps(centres: np.ndarray, size: int, width: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Input voxels under a box of `width` around each centre, and their shares: [K,N] int64 and [K,N] float32.

    A box that overhangs the field of view is averaged over the part inside, which for width 1 is clamping.
    """
    first = np.floor(centres - width / 2 + 0.5)
    index = first + np.arange(int(np.ceil(width)) + 1)[:, None]
    overlap = np.minimum(index + 0.5, centres + width / 2) - np.maximum(index - 0.5, centres - width / 2)
    share = np.where((index >= 0) & (index < size), np.maximum(overlap, 0), 0)
    total = share.sum(axis=0)
    share = np.divide(share, total, out=np.zeros_like(share), where=total > 0)  # no share: outside, filled later
    return torch.from_numpy(index.clip(0, size - 1).astype(np.int64)), torch.from_numpy(share.astype(np.float32))


def _linear_anywhere(voxels: np.ndarray, matrix: np.ndarray, out_shape: Shape, fill: float) -> np.ndarray:
    values = _tensor(voxels).float()[None, None]
    size = np.asarray(voxels.shape)
    out = np.empty(out_shape, np.float32)
    for rows, positions in _positions(matrix, out_shape):
        inside = _inside(positions, size)
        unit = (positions + 0.5) * 2 / size - 1  # grid_sample: -1 and 1 are the corners, order W,H,D
        where = torch.from_numpy(unit[..., ::-1].astype(np.float32))[None]
        taken = torch.nn.functional.grid_sample(values, where, padding_mode="border", align_corners=False)[0, 0]
        out[rows] = np.where(inside, taken.numpy(), np.float32(fill))
    return out


def _nearest_anywhere(voxels: np.ndarray, matrix: np.ndarray, out_shape: Shape, fill: float) -> np.ndarray:
    out = np.empty(out_shape, _room(voxels.dtype, fill))
    for rows, positions in _positions(matrix, out_shape):
        nearest = tuple(_round(positions[..., axis], voxels.shape[axis]) for axis in range(3))
        out[rows] = np.where(_inside(positions, np.asarray(voxels.shape)), voxels[nearest], fill)
    return out


def _positions(matrix: np.ndarray, out_shape: Shape) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (slice of D, input indices [d,H,W,3] float64) in chunks, so that memory stays bounded."""
    depth, height, width = out_shape
    plane = np.arange(height)[:, None, None] * matrix[:, 1] + np.arange(width)[:, None] * matrix[:, 2] + matrix[:, 3]
    step = max(1, CHUNK_VOXELS // (height * width))
    for start in range(0, depth, step):
        rows = slice(start, min(start + step, depth))
        yield rows, np.arange(start, rows.stop)[:, None, None, None] * matrix[:, 0] + plane


def _centres(matrix: np.ndarray, axis: int, count: int) -> np.ndarray:
    return np.arange(count) * matrix[axis, axis] + matrix[axis, 3]


def _round(positions: np.ndarray, size: int) -> np.ndarray:
    return np.floor(positions + 0.5).clip(0, size - 1).astype(np.int64)


def _inside(positions: np.ndarray, size: np.ndarray) -> np.ndarray:
    return ((positions >= -0.5 - EDGE) & (positions <= size - 0.5 + EDGE)).all(axis=-1)


def _fill_outside(values: np.ndarray, centres: list[np.ndarray], size: Shape, fill: float) -> np.ndarray:
    outside = [(x < -0.5 - EDGE) | (x > n - 0.5 + EDGE) for x, n in zip(centres, size, strict=True)]
    if any(mask.any() for mask in outside):
        values = values.astype(_room(values.dtype, fill), copy=False)
        values[outside[0]] = values[:, outside[1]] = values[:, :, outside[2]] = fill
    return values


def _room(dtype: np.dtype, fill: float) -> np.dtype:
    """The dtype that holds both the voxels and `fill`; an integer dtype stays where it can."""
    if dtype.kind == "f":
        return dtype
    whole = np.isfinite(fill) and fill == int(fill)
    return dtype if whole and np.can_cast(np.min_scalar_type(int(fill)), dtype) else np.result_type(dtype, np.float32)


def _tensor(voxels: np.ndarray) -> torch.Tensor:
    """A tensor over the voxels, copied only where torch cannot read them (strides, byte order, read-only, dtype)."""
    dtype = voxels.dtype if voxels.dtype.name in ("int16", "uint8", "int8", "int32") else np.dtype(np.float32)
    return torch.from_numpy(np.require(voxels, dtype.newbyteorder("="), requirements=["C", "W"]))


def _cast(values: np.ndarray, out_dtype: np.typing.DTypeLike) -> np.ndarray:
    dtype = np.dtype(out_dtype)
    if dtype.kind in "iu" and values.dtype != dtype:
        info = np.iinfo(dtype)
        values = np.rint(values).clip(info.min, info.max)
    return values.astype(dtype, copy=False)
