"""Patients made of simple solids, in LPS mm from vertex to mid-thigh, rasterised on any grid.

The frame: x to the patient's left, y to the back, z to the head; z = 0 at the perineum, the vertex near z = 880.
Solids are painted in the order of the table, later over earlier, so shells and cavities need no boolean algebra.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

_ORGANS = """
AIR FAT MUSCLE BONE SKULL CSF GREY_MATTER WHITE_MATTER BRAIN_LESION SINUS PHARYNX LARYNX TRACHEA THYROID MUCOSA LUNG
HEART VESSEL BREAST LIVER LIVER_LESION SPLEEN KIDNEY STOMACH BOWEL BOWEL_GAS BLADDER GENITAL VERTEBRA DISC CORD PELVIS
"""
Organ = IntEnum("Organ", _ORGANS.split(), start=0)  # the values of an organ map
REGIONS = ("brain", "upper_head_neck", "lower_head_neck", "lung", "breast", "liver", "kidney", "intestine", "pelvis")


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie. origin_mm: LPS centre of voxel 0,0,0; spacing_mm and shape along D,H,W.

    direction [3,3]: orthonormal, column k is the unit vector (LPS) of array axis k.
    """

    origin_mm: np.ndarray
    direction: np.ndarray
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]

    @property
    def affine(self) -> np.ndarray:
        """[4,4] float64: homogeneous index (d,h,w,1) → LPS position in mm."""
        affine = np.eye(4)
        affine[:3, :3] = self.direction * np.asarray(self.spacing_mm)
        affine[:3, 3] = self.origin_mm
        return affine

    def contains(self, solid: "Solid") -> bool:
        """Whether the whole solid lies inside the voxels (their outer faces, not their centres)."""
        for axis in range(3):
            low, high = solid.support(self.direction[:, axis])
            face = self.direction[:, axis] @ self.origin_mm - self.spacing_mm[axis] / 2
            if low < face or high > face + self.shape[axis] * self.spacing_mm[axis]:
                return False
        return True


@dataclass(frozen=True, eq=False)
class Solid:
    """An ellipsoid (`knots` is None) or a loft: elliptic sections joined linearly along z.

    center, semi: mm; tilt_deg turns the ellipsoid about the y axis. knots: [K,5] mm, rows z, cx, cy, a, b, z ascending.
    block: solids of one block move and grow together. region: the coverage region that needs this solid.
    ripple: folds the surface inwards; within: paint only over this organ; stripe: (period_mm, painted fraction).
    """

    organ: Organ
    block: str
    center: np.ndarray | None = None
    semi: np.ndarray | None = None
    tilt_deg: float = 0.0
    knots: np.ndarray | None = None
    region: str = ""
    ripple: float = 0.0
    within: Organ | None = None
    stripe: tuple[float, float] | None = None

    def _axes(self) -> np.ndarray:
        tilt = np.deg2rad(self.tilt_deg)
        turn = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
        return turn * self.semi  # columns: semi-axes in LPS

    def support(self, normal: np.ndarray) -> tuple[float, float]:
        """Lowest and highest projection of the solid on `normal` [3], exact, mm."""
        if self.knots is None:
            middle, reach = self.center @ normal, np.linalg.norm(self._axes().T @ normal)
            return float(middle - reach), float(middle + reach)
        z, cx, cy, a, b = self.knots.T
        middle = cx * normal[0] + cy * normal[1] + z * normal[2]
        reach = np.hypot(a * normal[0], b * normal[1])
        return float((middle - reach).min()), float((middle + reach).max())

    def paint(self, organs: np.ndarray, grid: Grid) -> None:
        """Write the organ into the uint8 map `organs` [D,H,W] lying on `grid`."""
        ranges = []
        for axis, (step, count) in enumerate(zip(grid.spacing_mm, grid.shape, strict=True)):
            normal = grid.direction[:, axis]
            low, high = (np.array(self.support(normal)) - normal @ grid.origin_mm) / step
            start, stop = max(0, int(np.ceil(low))), min(count, int(np.floor(high)) + 1)
            if start >= stop:
                return
            ranges.append((start, stop))
        mask = self._inside_ellipsoid(grid, ranges) if self.knots is None else self._inside_loft(grid, ranges)
        target = organs[tuple(slice(*pair) for pair in ranges)]
        if self.within is not None:
            mask = mask & (target == self.within)
        np.copyto(target, np.uint8(self.organ), where=mask)

    def _inside_ellipsoid(self, grid: Grid, ranges: list) -> np.ndarray:
        inverse = np.linalg.inv(self._axes())
        u, v, w = _linear(inverse @ grid.affine[:3, :3], inverse @ (grid.origin_mm - self.center), ranges)
        limit = 1.0
        if self.ripple:
            limit = 1 - self.ripple * (1 + np.cos(17 * u) * np.cos(21 * v) * np.cos(15 * w))
        return u * u + v * v + w * w <= limit

    def _inside_loft(self, grid: Grid, ranges: list) -> np.ndarray:
        x, y, z = _linear(grid.affine[:3, :3], grid.origin_mm, ranges)
        bottom, top = self.knots[0, 0], self.knots[-1, 0]
        heights = np.linspace(bottom, top, 1024)
        cx, cy, a, b = (
            np.interp(heights, self.knots[:, 0], column).astype(np.float32) for column in self.knots[:, 1:].T
        )
        row = np.clip((z - bottom) * (1023 / (top - bottom)), 0, 1023).astype(np.int16)
        mask = ((x - cx[row]) / a[row]) ** 2 + ((y - cy[row]) / b[row]) ** 2 <= 1
        mask = mask & (z >= bottom) & (z <= top)
        if self.stripe:
            period, fraction = self.stripe
            mask &= (z + 0.35 * y) % period < fraction * period
        return mask


def _linear(matrix: np.ndarray, offset: np.ndarray, ranges: list) -> list[np.ndarray]:
    """Three float32 coordinates of the box of indices, each kept as small as broadcasting allows."""
    shapes = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
    steps = [np.arange(*pair, dtype=np.float32).reshape(shape) for pair, shape in zip(ranges, shapes, strict=True)]
    coordinates = []
    for row, start in zip(matrix, offset, strict=True):
        total = np.full((1, 1, 1), start, np.float32)
        for factor, step in zip(row, steps, strict=True):
            if abs(factor) > 1e-9:
                total = total + np.float32(factor) * step
        coordinates.append(total)
    return coordinates


@dataclass(frozen=True, eq=False)
class Patient:
    """One body: its solids in painting order."""

    solids: tuple[Solid, ...]

    def rasterise(self, grid: Grid) -> np.ndarray:
        """uint8 organ map [D,H,W] on `grid`: the organ at every voxel centre."""
        organs = np.zeros(grid.shape, np.uint8)
        for solid in self.solids:
            solid.paint(organs, grid)
        return organs

    def extent(self, names: tuple[str, ...], normal: np.ndarray) -> tuple[float, float]:
        """Lowest and highest projection on `normal`, mm, of the solids whose region or block is in `names`."""
        spans = [solid.support(normal) for solid in self.solids if solid.region in names or solid.block in names]
        return min(low for low, _ in spans), max(high for _, high in spans)

    def coverage(self, grid: Grid) -> tuple[str, ...]:
        """Regions all of whose solids lie entirely inside `grid`; a region this body does not have is not present."""
        needed = {region: [solid for solid in self.solids if solid.region == region] for region in REGIONS}
        return tuple(name for name in REGIONS if needed[name] and all(grid.contains(solid) for solid in needed[name]))
