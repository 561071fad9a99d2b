"""Which field of each volume the network sees and how bright it is, and what its labels become by that.

Everything is per position of a list and computed ahead of reading: from the volume's stored geometry, the config and
random numbers that are a pure function of the position.
"""

from dataclasses import dataclass

import numpy as np
import torch

from radnet.config import DataConfig
from radnet.kernels.grid import grid, rotation
from radnet.kernels.resample import EDGE
from radnet.labels.view import MAX_OBLIQUITY_DEG

VIEW, COVERAGE, SPACING = 1, slice(3, 12), 12  # columns of a target row
PERCENTILES = (0, 0.5, 99.5, 100)  # that KEY.geometry.npy holds, from column 20 on
_FLIP, _PLACE, _TURN, _SCALE, _GAMMA, _NOISE = slice(0, 3), slice(3, 6), slice(6, 9), 9, 10, 11  # columns of draws


@dataclass(frozen=True, eq=False)
class Views:
    """The fields of n volumes, in array axes D,H,W.

    shape: int64 [n,3] of the volumes, spacing_mm: float64 [n,3]. start_mm, extent_mm: float64 [n,3], corner and size of
    the field before it turns about its centre. size: int64 [n,3], voxels of the field in the network's input, which are
    fewer than the grid's where a short volume is padded. flip: bool [n,3]. rotation_deg: float64 [n,3]. is_cut: bool
    [n], part of the volume is left out. low, high: float64 [n], what becomes 0 and 1. gamma, noise: float64 [n].
    """

    shape: np.ndarray
    spacing_mm: np.ndarray
    start_mm: np.ndarray
    extent_mm: np.ndarray
    size: np.ndarray
    flip: np.ndarray
    rotation_deg: np.ndarray
    is_cut: np.ndarray
    low: np.ndarray
    high: np.ndarray
    gamma: np.ndarray
    noise: np.ndarray

    @property
    def whole_mm(self) -> np.ndarray:
        """float64 [n,3]: size of the volumes."""
        return self.shape * self.spacing_mm

    @property
    def out_spacing_mm(self) -> np.ndarray:
        """float64 [n,3]: distance of the network's voxels."""
        return self.extent_mm / self.size

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last corner of the fields in voxels of the volume: float32 [n,3] each, swapped on flipped axes."""
        start, end = self.start_mm / self.spacing_mm, (self.start_mm + self.extent_mm) / self.spacing_mm
        return tuple(np.where(self.flip, *ends).astype(np.float32) for ends in ((end, start), (start, end)))

    def matrices(self) -> np.ndarray:
        """out_to_in of each field (see kernels.grid): float64 [n,3,4]."""
        rows = zip(
            *(self.shape, self.spacing_mm, self.size, self.out_spacing_mm, self.start_mm, self.flip, self.rotation_deg),
            strict=True,
        )
        made = [grid(a, b, c, d, offset_mm=e, flip=f, rotation_deg=g) for a, b, c, d, e, f, g in rows]
        return np.stack(made) if made else np.empty((0, 3, 4))


def views(geometry: np.ndarray, is_ct: np.ndarray, config: DataConfig, draws: np.ndarray | None) -> Views:
    """The fields of n volumes. geometry: float64 [n,24] as stored. is_ct: bool [n]. draws: [n,12] in [0,1) (see
    `order.draws`), or None for evaluation: the centre, unturned, unchanged."""
    augment = config.augment
    shape, spacing_mm = geometry[:, :3].astype(np.int64), geometry[:, 3:6]
    whole = shape * spacing_mm
    extent = np.minimum(whole, np.where(np.array(config.crop_mm or [0, 0, 0]) > 0, config.crop_mm or [0, 0, 0], np.inf))
    is_cut = (extent < whole * (1 - 1e-9)).any(axis=1)
    start = (whole - extent) * (0.5 if draws is None else draws[:, _PLACE])
    flip, turn = np.zeros(shape.shape, bool), np.zeros(shape.shape)
    gamma, noise = np.ones(len(shape)), np.zeros(len(shape))
    if draws is not None:
        flip = (draws[:, _FLIP] < 0.5) & augment.flip
        turn = (2 * draws[:, _TURN] - 1) * np.array(augment.rotation_deg)
        factor, gamma = (
            _between(draws[:, at], *bounds) for at, bounds in ((_SCALE, augment.scale), (_GAMMA, augment.gamma))
        )
        noise = draws[:, _NOISE] * augment.noise
        # The field grows until all of the upright one lies within it when it has turned: nothing leaves by turning.
        grown = extent * factor[:, None]
        if turn.any():
            grown = np.stack([np.abs(rotation(angles)).T @ size for angles, size in zip(turn, grown, strict=True)])
        start, extent, is_cut = start - (grown - extent) / 2, grown, is_cut | (factor < 1)
    size = np.tile(np.array(config.grid.shape), (len(shape), 1))
    if config.grid.pad_short:
        size[:, 0] = np.clip(np.rint(extent[:, 0] / spacing_mm[:, 0]), 1, size[:, 0])
    low, high = (geometry[:, 20 + PERCENTILES.index(wanted)] for wanted in config.intensity)
    if config.ct_window_hu:
        low, high = (np.where(is_ct, hu, value) for hu, value in zip(config.ct_window_hu, (low, high), strict=True))
    return Views(shape, spacing_mm, start, extent, size, flip, turn, is_cut, low, high, gamma, noise)


def _between(draw: np.ndarray, smallest: float, largest: float) -> np.ndarray:
    """Uniform in the logarithm, so that halving is as likely as doubling."""
    return smallest * (largest / smallest) ** draw


def adapt(target: np.ndarray, seen: Views, geometry: np.ndarray) -> np.ndarray:
    """Targets float32 [n,13] of whole volumes as they are true of the fields that are seen.

    Slice spacing is that of the network's input. A region that lay in the whole volume may not lie in a part of it:
    unknown. So is the view of a volume turned further than the rules of the view allow.
    """
    target = target.copy()
    spacing = target[:, SPACING]
    # Along the normal of the slices: of a tilted stack the D axis is longer. What was stored may be coarser than the
    # series was, so that the label is asked only whether it is known.
    stacked = geometry[:, 9:18].reshape(-1, 3, 3)
    normal = np.cross(stacked[:, :, 1], stacked[:, :, 2])
    across = np.abs((normal * stacked[:, :, 0]).sum(axis=1)) / np.linalg.norm(normal, axis=1)
    target[:, SPACING] = np.where(spacing < 0, -1, seen.out_spacing_mm[:, 0] * across)
    covered = target[:, COVERAGE]
    covered[seen.is_cut[:, None] & (covered == 1)] = -1
    for row in np.flatnonzero(seen.rotation_deg.any(axis=1)):
        direction = geometry[row, 9:18].reshape(3, 3)
        before, after = (
            np.cross(axes[:, 1], axes[:, 2]) for axes in (direction, direction @ rotation(seen.rotation_deg[row]))
        )
        axis = np.abs(before).argmax()
        tilt = np.degrees(np.arccos(min(1.0, np.abs(after[axis]) / np.linalg.norm(after))))
        if np.abs(after).argmax() != axis or tilt > MAX_OBLIQUITY_DEG:
            target[row, VIEW] = -1
    return target


def inside(matrix: np.ndarray, shape: np.ndarray, size: tuple[int, int, int], device: torch.device) -> torch.Tensor:
    """bool [D,H,W] of `size`: where an out_to_in [3,4] looks into a volume of `shape`, as kernels.resample means it."""
    axes = [torch.arange(n, device=device, dtype=torch.float64) for n in size]
    within = torch.ones(size, dtype=torch.bool, device=device)
    for row, voxels in zip(matrix, shape, strict=True):
        parts = [axis * float(step) for axis, step in zip(axes, row, strict=False)]
        at = parts[0][:, None, None] + parts[1][:, None] + (parts[2] + float(row[3]))
        within &= (at >= -0.5 - EDGE) & (at <= int(voxels) - 0.5 + EDGE)
    return within
