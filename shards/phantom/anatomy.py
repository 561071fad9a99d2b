"""Patients made of simple solids, in LPS mm from vertex to mid-thigh, rasterised on any grid.

The frame: x to the patient's left, y to the back, z to the head; z = 0 at the perineum, the vertex near z = 880.
Solids (rows of solids.yaml) are painted in order, later over earlier: shells and cavities need no boolean algebra.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from radnet.shards.phantom.physics import Organ, table

REGIONS = ("brain", "upper_head_neck", "lower_head_neck", "lung", "breast", "liver", "kidney", "intestine", "pelvis")


@lru_cache(256)
def rotation(axis: tuple[float, float, float], angle_deg: float) -> np.ndarray:
    """[3,3] float64: the right-handed turn by `angle_deg` about the unit vector `axis` (Rodrigues)."""
    (x, y, z), angle = axis, np.deg2rad(angle_deg)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


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
        rows = np.column_stack([self.direction * self.spacing_mm, self.origin_mm])
        return np.vstack([rows, [0, 0, 0, 1]])


@dataclass(frozen=True, eq=False)
class Solid:
    """An ellipsoid (K = 1) or a loft: K horizontal elliptic sections, upwards, joined linearly along z.

    center, semi: [K,3] mm, semi-axes of a section end in 0; tilt_deg turns the ellipsoid about the y axis.
    block: solids of one block move and grow together. region: the coverage region that needs this solid.
    ripple: folds the surface inwards; within: paint only over this organ; stripe: (period_mm, painted fraction).
    """

    organ: Organ
    block: str
    center: np.ndarray
    semi: np.ndarray
    tilt_deg: float = 0.0
    region: str = ""
    ripple: float = 0.0
    within: Organ | None = None
    stripe: tuple[float, float] | None = None

    @cached_property
    def axes(self) -> np.ndarray:
        """float64 [K,3,3]: rows x, y, z of every section's three semi-axes, mm."""
        return rotation((0, 1, 0), self.tilt_deg) * self.semi[:, None]

    def span(self, grid: Grid) -> np.ndarray:
        """float64 [2,3]: the lowest and highest index the solid reaches along D, H, W of `grid`, not rounded."""
        low, high = supports(self.center, self.axes, grid.direction)
        return (np.array([low.min(axis=0), high.max(axis=0)]) - grid.origin_mm @ grid.direction) / grid.spacing_mm

    def paint(self, organs: np.ndarray, grid: Grid) -> None:
        """Write the organ into the uint8 map `organs` [D,H,W] lying on `grid`."""
        low, high = self.span(grid)
        start, stop = np.maximum(np.ceil(low), 0).astype(int), np.minimum(np.floor(high) + 1, grid.shape).astype(int)
        if (start >= stop).any():
            return
        box = tuple(map(slice, start, stop))
        mask = self._inside_ellipsoid(grid, box) if len(self.center) == 1 else self._inside_loft(grid, box)
        if self.within is not None:
            mask = mask & (organs[box] == self.within)
        np.copyto(organs[box], np.uint8(self.organ), where=mask)

    def _inside_ellipsoid(self, grid: Grid, box: tuple[slice, ...]) -> np.ndarray:
        inverse = np.linalg.inv(self.axes[0])
        u, v, w = _linear(inverse @ grid.affine[:3, :3], inverse @ (grid.origin_mm - self.center[0]), box)
        limit = 1 - self.ripple * (1 + np.cos(17 * u) * np.cos(21 * v) * np.cos(15 * w)) if self.ripple else 1.0
        return u * u + v * v + w * w <= limit

    def _inside_loft(self, grid: Grid, box: tuple[slice, ...]) -> np.ndarray:
        x, y, z = _linear(grid.affine[:3, :3], grid.origin_mm, box)
        knots = self.center[:, 2]
        heights = np.linspace(knots[0], knots[-1], 1024)  # a table of sections: to look up is faster than to join
        sections = np.hstack([self.center, self.semi]).T[[0, 1, 3, 4]]
        row = np.clip((z - knots[0]) * (1023 / (knots[-1] - knots[0])), 0, 1023).astype(np.int16)
        cx, cy, a, b = (np.interp(heights, knots, column).astype(np.float32)[row] for column in sections)
        mask = (((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 <= 1) & (z >= knots[0]) & (z <= knots[-1])
        if self.stripe:
            mask &= (z + 0.35 * y) % self.stripe[0] < self.stripe[0] * self.stripe[1]
        return mask


def _linear(matrix: np.ndarray, offset: np.ndarray, box: tuple[slice, ...]) -> list[np.ndarray]:
    """Three float32 coordinates of the box of indices, each kept as small as broadcasting allows."""
    steps = [step.astype(np.float32) for step in np.ogrid[box]]
    return [
        sum((factor * step for factor, step in zip(row, steps, strict=True) if abs(factor) > 1e-9), start)
        for row, start in zip(matrix.astype(np.float32), offset.astype(np.float32), strict=True)
    ]


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

    @cached_property
    def _sections(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Names (block, region) [K,2], centres [K,3] and shapes [K,3,3] of the sections of all solids."""
        names = [(solid.block, solid.region) for solid in self.solids for _ in solid.center]
        centers, shapes = ([getattr(solid, name) for solid in self.solids] for name in ("center", "axes"))
        return np.array(names), np.concatenate(centers), np.concatenate(shapes)

    def extent(self, names: Sequence[str], normal: np.ndarray) -> tuple[float, float]:
        """Lowest and highest projection on `normal`, mm, of the solids whose region or block is in `names`."""
        owners, centers, shapes = self._sections
        chosen = np.isin(owners, names).any(axis=1)
        low, high = supports(centers[chosen], shapes[chosen], normal[:, None])
        return float(low.min()), float(high.max())

    def coverage(self, grid: Grid) -> tuple[str, ...]:
        """Regions all of whose solids lie inside the outer faces of `grid`; one this body lacks is not present."""
        owners, centers, shapes = self._sections
        ends = np.array(supports(centers, shapes, grid.direction))
        low, high = (ends - grid.origin_mm @ grid.direction) / grid.spacing_mm
        is_cut = ((low < -0.5) | (high > np.array(grid.shape) - 0.5)).any(axis=1)
        return tuple(name for name in REGIONS if name in owners[:, 1] and not is_cut[owners[:, 1] == name].any())


def supports(centers: np.ndarray, shapes: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest projection, each [K,N], of K sections (centers [K,3], shapes [K,3,3]) on normals [3,N], mm."""
    middle, reach = centers @ normals, np.linalg.norm(np.swapaxes(shapes, 1, 2) @ normals, axis=1)
    return middle - reach, middle + reach


def _pair(solid: Solid) -> list[Solid]:
    """The solid (drawn at +x, the patient's left) and its mirror image."""
    return [solid, replace(solid, center=solid.center * (-1, 1, 1), tilt_deg=-solid.tilt_deg)]


def _inset(solid: Solid, organ: Organ, thickness_mm: float | np.ndarray, **more) -> Solid:
    """The loft drawn `thickness_mm` (one, or [K,1]) further in (out, if negative)."""
    return replace(solid, organ=organ, semi=solid.semi - thickness_mm * np.array([1, 1, 0]), **more)


def _read(row: dict[str, Any]) -> list[Solid]:
    """One row of solids.yaml: a solid, or it and its mirror image."""
    row = row | {name: Organ[row[name]] for name in ("organ", "within") if name in row}
    if sections := row.pop("sections", None):
        z, x, y, a, b = np.array(sections, float).T
        row |= {"center": np.column_stack([x, y, z]), "semi": np.column_stack([a, b, 0 * z])}
    is_pair, center = row.pop("pair", False), np.array(row.pop("center"), float, ndmin=2)
    solid = Solid(center=center, semi=np.zeros_like(center) + row.pop("semi"), **row)
    return _pair(solid) if is_pair else [solid]


SOLIDS = {name: [solid for row in rows for solid in _read(row)] for name, rows in table("solids").items()}
TRUNK, LEG, RIBS, SPINE, VISCERAL_FAT = SOLIDS["lofts"]
_BEHIND = np.outer(SPINE.semi[:, 1] + 12, (0, 1, 0))  # from the middle of a disc to that of the canal
CANAL = replace(SPINE, organ=Organ.CSF, center=SPINE.center + _BEHIND, semi=np.zeros_like(SPINE.semi) + (10, 8, 0))
VERTEBRAE, CORD = replace(SPINE, organ=Organ.VERTEBRA, stripe=(31.0, 0.8)), _inset(CANAL, Organ.CORD, 3.5)
ORGANS = [*SOLIDS["organs"], SPINE, VERTEBRAE, CANAL, CORD, *SOLIDS["bones"]]


def sample_patient(rng: np.random.Generator, sex: str) -> Patient:
    """A patient of sex "F" or "M": frame ±8 %, 5–30 mm of fat, each block of organs moved and grown a little.

    Up to five liver lesions (none in about one patient of six) and, in half of the patients, one brain lesion.
    """
    fat_mm = rng.uniform(5, 30)
    breasts = [replace(solid, center=solid.center - (0, 0.6 * fat_mm, 0)) for solid in SOLIDS["breasts"]]
    wall, neck_mm = [TRUNK, *_pair(LEG)], 580  # above it the skin has less fat
    skin = [_inset(solid, Organ.FAT, -fat_mm * np.where(solid.center[:, 2:] > neck_mm, 0.35, 1.0)) for solid in wall]
    waist = np.array([[1], [1], [0.82 + 0.004 * fat_mm], [1]]) ** (1, 0, 0)  # a fatter patient has more around organs
    loops, liver, brain = ((0, -35, 137), (68, 27, 63)), ((-58, -6, 316), (43, 45, 42)), ((0, 0, 805), (36, 36, 36))
    bowel, tumour, stroke = Organ.BOWEL, Organ.LIVER_LESION, Organ.BRAIN_LESION
    body = [
        *skin, *wall, *(breasts if sex == "F" else []), RIBS, _inset(RIBS, Organ.MUSCLE, 9, stripe=None),
        replace(VISCERAL_FAT, semi=VISCERAL_FAT.semi * waist),
        *_scatter(rng, 14, *loops, (12, 28), organ=bowel, block="loops", region="intestine"),
        *_scatter(rng, 12, *loops, (6, 16), organ=Organ.AIR, block="loops", within=bowel), *ORGANS, *SOLIDS[sex],
        *_scatter(rng, rng.integers(6), *liver, (7, 19), organ=tumour, block="liver", within=Organ.LIVER),
        *_scatter(rng, rng.integers(2), *brain, (8, 17), organ=stroke, block="head", within=Organ.WHITE_MATTER),
    ]  # fmt: skip
    size = rng.uniform(0.95, 1.06) * (0.98 if sex == "F" else 1.01)
    frame = size * np.append(rng.uniform(0.97, 1.03, 2), 1)
    blocks: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    solids = []
    for solid in body:  # a block grows and moves about its own first solid
        if solid.block not in blocks:
            spread = 0.02 if solid.block in ("trunk", "spine", "neck", "carotids", "thorax", "head") else 0.05
            shift = rng.uniform(-3, 3, 3) * (spread > 0.02)  # what the rest hangs on stays where it is
            blocks[solid.block] = (solid.center.mean(axis=0), 1 + rng.uniform(-spread, spread, 3), shift)
        anchor, scale, shift = blocks[solid.block]
        center = (anchor + (solid.center - anchor) * scale + shift) * frame
        solids.append(replace(solid, center=center, semi=solid.semi * scale * frame))
    return Patient(tuple(solids))


def _scatter(rng: np.random.Generator, count: int, center: tuple, spread: tuple, semi: tuple, **more) -> list[Solid]:
    """`count` ellipsoids centred up to `spread` from `center`, semi-axes between the two numbers of `semi`, mm."""
    places = [center + rng.uniform(-1, 1, (1, 3)) * spread for _ in range(count)]
    return [Solid(center=place, semi=rng.uniform(*semi, (1, 3)), **more) for place in places]
