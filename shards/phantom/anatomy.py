"""Patients made of simple solids, in LPS mm from vertex to mid-thigh, rasterised on any grid.

The frame: x to the patient's left, y to the back, z to the head; z = 0 at the perineum, the vertex near z = 880.
Solids are painted in the order of the table, later over earlier, so shells and cavities need no boolean algebra.
"""

from dataclasses import dataclass, replace

import numpy as np

from radnet.shards.phantom.physics import Organ

O = Organ  # noqa: E741  (the table below is read by columns)
REGIONS = ("brain", "upper_head_neck", "lower_head_neck", "lung", "breast", "liver", "kidney", "intestine", "pelvis")


def rotation(axis: np.ndarray | tuple[float, float, float], angle_deg: float) -> np.ndarray:
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

    def support(self, normal: np.ndarray) -> tuple[float, float]:
        """Lowest and highest projection of the solid on `normal` [3], exact, mm."""
        middle, reach = (
            self.center @ normal,
            np.linalg.norm(normal @ rotation((0, 1, 0), self.tilt_deg) * self.semi, axis=1),
        )
        return float((middle - reach).min()), float((middle + reach).max())

    def span(self, grid: Grid) -> np.ndarray:
        """float64 [2,3]: the lowest and highest index the solid reaches along D, H, W of `grid`, not rounded."""
        ends = np.array([self.support(axis) for axis in grid.direction.T])
        return (ends.T - grid.origin_mm @ grid.direction) / grid.spacing_mm

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
        inverse = np.linalg.inv(rotation((0, 1, 0), self.tilt_deg) * self.semi)
        u, v, w = _linear(inverse @ grid.affine[:3, :3], inverse @ (grid.origin_mm - self.center[0]), box)
        limit = 1.0
        if self.ripple:
            limit = 1 - self.ripple * (1 + np.cos(17 * u) * np.cos(21 * v) * np.cos(15 * w))
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
            period, fraction = self.stripe
            mask &= (z + 0.35 * y) % period < fraction * period
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

    def extent(self, names: tuple[str, ...], normal: np.ndarray) -> tuple[float, float]:
        """Lowest and highest projection on `normal`, mm, of the solids whose region or block is in `names`."""
        spans = [solid.support(normal) for solid in self.solids if solid.region in names or solid.block in names]
        return min(low for low, _ in spans), max(high for _, high in spans)

    def coverage(self, grid: Grid) -> tuple[str, ...]:
        """Regions all of whose solids lie inside the outer faces of `grid`; one this body lacks is not present."""
        faces = np.array([[-0.5] * 3, np.array(grid.shape) - 0.5])
        spans = [(solid.region, solid.span(grid)) for solid in self.solids if solid.region]
        cut = {region for region, (low, high) in spans if (low < faces[0]).any() or (high > faces[1]).any()}
        return tuple(name for name in REGIONS if name not in cut and name in dict(spans))


def _solid(organ: Organ, block: str, center: tuple, semi: tuple, **more) -> Solid:
    """An ellipsoid, or, where `center` is several points from below upwards, a tube."""
    center = np.array(center, float, ndmin=2)
    return Solid(organ, block, center, np.zeros_like(center) + semi, **more)


def _loft(organ: Organ, block: str, *sections: tuple, **more) -> Solid:
    """`sections`: rows z, x, y of the centre, semi-axes along x and y, mm."""
    z, x, y, a, b = np.array(sections, float).T
    return Solid(organ, block, np.column_stack([x, y, z]), np.column_stack([a, b, 0 * z]), **more)


def _pair(solid: Solid) -> list[Solid]:
    """The solid (drawn at +x, the patient's left) and its mirror image."""
    return [solid, replace(solid, center=solid.center * (-1, 1, 1), tilt_deg=-solid.tilt_deg)]


def _inset(solid: Solid, organ: Organ, thickness_mm: float | np.ndarray, **more) -> Solid:
    """The loft drawn `thickness_mm` (one, or [K,1]) further in (out, if negative)."""
    return replace(solid, organ=organ, semi=solid.semi - thickness_mm * np.array([1, 1, 0]), **more)


TRUNK = _loft(
    O.MUSCLE, "trunk", (-25, 0, 10, 160, 95), (60, 0, 5, 165, 100), (150, 0, 5, 155, 98), (230, 0, 0, 140, 95),
    (330, 0, 0, 150, 102), (440, 0, 2, 158, 106), (520, 0, 5, 172, 92), (565, 0, 12, 150, 72), (592, 0, 15, 80, 60),
    (615, 0, 15, 56, 57), (690, 0, 15, 54, 57),
)  # fmt: skip
LEGS = _pair(_loft(O.MUSCLE, "trunk", (-220, 88, 10, 70, 78), (-25, 88, 10, 78, 88)))
RIBS = _loft(
    O.BONE, "thorax", (300, 0, 0, 136, 90), (330, 0, 0, 140, 94), (440, 0, 2, 146, 96), (520, 0, 8, 132, 80),
    (585, 0, 20, 62, 45), stripe=(26.0, 0.45),
)  # fmt: skip
SPINE = _loft(
    O.DISC, "spine", (95, 0, 66, 27, 20), (200, 0, 50, 26, 19), (330, 0, 58, 20, 17), (450, 0, 64, 17, 15),
    (570, 0, 46, 13, 12), (690, 0, 30, 11, 10), (728, 0, 26, 10, 9),
)  # fmt: skip
_BEHIND = np.outer(SPINE.semi[:, 1] + 12, (0, 1, 0))  # from the middle of a disc to that of the canal
CANAL = replace(SPINE, organ=O.CSF, center=SPINE.center + _BEHIND, semi=np.zeros_like(SPINE.semi) + (10, 8, 0))
ORGANS = [
    _solid(O.FAT, "head", (0, 0, 790), (80, 100, 92)),
    _solid(O.FAT, "head", (0, -36, 712), (63, 60, 68)),
    _solid(O.MUSCLE, "head", (0, -30, 712), (58, 58, 64)),
    _solid(O.SKULL, "head", (0, 0, 795), (74, 93, 79)),
    _solid(O.CSF, "head", (0, 0, 797), (67, 86, 71), region="brain"),
    _solid(O.GREY_MATTER, "head", (0, 0, 797), (65, 84, 69), ripple=0.04),
    _solid(O.WHITE_MATTER, "head", (0, 0, 797), (61, 80, 65), ripple=0.2),
    _solid(O.CSF, "head", (0, 0, 834), (1.8, 80, 34)),
    _solid(O.GREY_MATTER, "head", (0, 34, 757), (46, 33, 25), ripple=0.02),
    _solid(O.WHITE_MATTER, "head", (0, 32, 757), (36, 23, 16), ripple=0.15),
    _solid(O.WHITE_MATTER, "head", ((0, 16, 724), (0, 2, 785)), (13, 13, 0)),
    *_pair(_solid(O.GREY_MATTER, "head", (22, -8, 788), (10, 20, 14))),
    *_pair(_solid(O.CSF, "ventricles", (11, 0, 806), (7, 34, 12), tilt_deg=12)),
    _solid(O.VESSEL, "head", (0, 84, 806), (5, 6, 42)),
    *_pair(_solid(O.CSF, "head", (32, -74, 760), (12, 12, 12))),
    _solid(O.AIR, "head", (0, -22, 716), (14, 12, 9), region="upper_head_neck"),
    *_pair(_solid(O.AIR, "head", (28, -62, 712), (14, 14, 15))),
    _solid(O.MUSCLE, "head", (0, -38, 668), (39, 38, 11)),
    _solid(O.AIR, "neck", (0, -8, 698), (12, 8, 13), region="upper_head_neck"),
    _solid(O.AIR, "neck", (0, -5, 666), (10, 7, 20), region="upper_head_neck"),
    *_pair(_solid(O.THYROID, "neck", (16, -8, 590), (10, 10, 20), region="lower_head_neck")),
    _solid(O.LARYNX, "neck", (0, -16, 620), (17, 18, 24), region="lower_head_neck"),
    _solid(O.AIR, "neck", ((0, 18, 508), (0, -8, 580), (0, -16, 645)), (8, 8, 0)),
    *_pair(_solid(O.VESSEL, "carotids", ((14, 8, 530), (29, 6, 600), (32, 8, 700)), (6, 6, 0))),
    *_pair(_solid(O.LUNG, "lungs", (70, 4, 450), (60, 84, 124), tilt_deg=-6, region="lung")),
    *_pair(_solid(O.LUNG, "lungs", (56, 14, 573), (5, 5, 5), region="lower_head_neck")),
    _solid(O.HEART, "heart", (22, -34, 428), (58, 48, 56), tilt_deg=25),
    _solid(O.VESSEL, "heart", (16, -36, 432), (28, 24, 34), tilt_deg=25),
    _solid(O.VESSEL, "heart", (8, 0, 508), (15, 42, 14)),
    _solid(O.VESSEL, "heart", ((14, 26, 150), (16, 24, 330), (24, 38, 420), (16, 36, 515)), (12, 12, 0)),
    _solid(O.VESSEL, "heart", ((-20, 28, 150), (-18, 24, 330), (-20, 0, 400)), (11, 11, 0)),
    _solid(O.LIVER, "liver", (-58, -6, 316), (72, 76, 70), region="liver"),
    _solid(O.LIVER, "liver", (12, -44, 338), (68, 34, 36), tilt_deg=-12, region="liver"),
    _solid(O.SPLEEN, "spleen", (96, 36, 318), (29, 42, 46), tilt_deg=10),
    _solid(O.STOMACH, "stomach", (56, -36, 306), (46, 34, 40), tilt_deg=30),
    *_pair(_solid(O.KIDNEY, "kidneys", (64, 46, 266), (27, 25, 54), tilt_deg=-12, region="kidney")),
    *_pair(_solid(O.FAT, "kidneys", (54, 42, 266), (9, 8, 22))),
    _solid(O.BOWEL, "colon", ((-98, 8, 72), (-100, 14, 225)), (20, 20, 0), region="intestine"),
    _solid(O.BOWEL, "colon", ((96, 20, 85), (102, 22, 250)), (18, 18, 0), region="intestine"),
    _solid(O.BOWEL, "colon", (0, -58, 226), (100, 18, 18), tilt_deg=-6, region="intestine"),
    SPINE,
    replace(SPINE, organ=O.VERTEBRA, stripe=(31.0, 0.8)),
    CANAL,
    _inset(CANAL, O.CORD, 3.5),
    *_pair(_solid(O.BONE, "bones", (92, 28, 128), (13, 52, 70), tilt_deg=28, region="pelvis")),
    _solid(O.BONE, "bones", (0, 74, 104), (48, 20, 58), region="pelvis"),
    *_pair(_solid(O.BONE, "bones", (36, -52, 34), (38, 11, 15), tilt_deg=-20, region="pelvis")),
    *_pair(_solid(O.BONE, "bones", (58, 34, 34), (17, 20, 38), region="pelvis")),
    *_pair(_solid(O.BONE, "bones", (86, 4, 66), (30, 30, 28), region="pelvis")),
    *_pair(_solid(O.BONE, "bones", ((92, 0, -220), (112, 6, 30), (104, 2, 58)), (15, 15, 0))),
    _solid(O.BOWEL, "rectum", ((0, 44, 4), (0, 52, 70), (22, 30, 110)), (16, 16, 0), region="intestine"),
    _solid(O.BLADDER, "bladder", (0, -34, 60), (42, 32, 30), region="pelvis"),
]


def sample_patient(rng: np.random.Generator, sex: str) -> Patient:
    """A patient of sex "F" or "M": frame ±8 %, 5–30 mm of fat, each block of organs moved and grown a little.

    Up to five liver lesions (none in about one patient of six) and, in half of the patients, one brain lesion.
    """
    fat_mm = rng.uniform(5, 30)
    breasts = [
        *_pair(_solid(O.FAT, "breast", (80, -100 - 0.6 * fat_mm, 435), (60, 54, 58))),
        *_pair(_solid(O.BREAST, "breast", (80, -106 - 0.6 * fat_mm, 435), (42, 38, 40), ripple=0.12, region="breast")),
    ]
    wall, neck_mm = [TRUNK, *LEGS], 580  # above it the skin has less fat
    skin = [_inset(solid, O.FAT, -fat_mm * np.where(solid.center[:, 2:] > neck_mm, 0.35, 1.0)) for solid in wall]
    waist = 132 * (0.82 + 0.004 * fat_mm)  # visceral fat, more of it in a fatter patient, for the organs to lie in
    sections = ((20, 0, -5, 95, 62), (60, 0, -5, 100, 68), (230, 0, -8, waist, 78), (345, 0, -8, 132, 84))
    genital = ((0, 6, 84), (32, 26, 26)) if sex == "F" else ((0, -6, 26), (24, 19, 20))
    loops = ((0, -35, 137), (68, 27, 63))  # where the small bowel lies
    table = [
        *skin, *wall, *(breasts if sex == "F" else []), RIBS, _inset(RIBS, O.MUSCLE, 9, stripe=None),
        _loft(O.FAT, "trunk", *sections), *_scatter(rng, 14, O.BOWEL, "loops", *loops, (12, 28), region="intestine"),
        *_scatter(rng, 12, O.AIR, "loops", *loops, (6, 16), within=O.BOWEL), *ORGANS,
        _solid(O.GENITAL, "bladder", *genital),
        *_scatter(rng, rng.integers(6), O.LIVER_LESION, "liver", (-58, -6, 316), (43, 45, 42), (7, 19), within=O.LIVER),
        *_scatter(rng, rng.integers(2), O.BRAIN_LESION, "head", (0, 0, 805), (36,), (8, 17), within=O.WHITE_MATTER),
    ]  # fmt: skip
    size = rng.uniform(0.95, 1.06) * (0.98 if sex == "F" else 1.01)
    frame = size * np.append(rng.uniform(0.97, 1.03, 2), 1)
    blocks: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    solids = []
    for solid in table:  # a block grows and moves about its own first solid
        if solid.block not in blocks:
            spread = 0.02 if solid.block in ("trunk", "spine", "neck", "carotids", "thorax", "head") else 0.05
            shift = rng.uniform(-3, 3, 3) * (spread > 0.02)  # what the rest hangs on stays where it is
            blocks[solid.block] = (solid.center.mean(axis=0), 1 + rng.uniform(-spread, spread, 3), shift)
        anchor, scale, shift = blocks[solid.block]
        center = (anchor + (solid.center - anchor) * scale + shift) * frame
        solids.append(replace(solid, center=center, semi=solid.semi * scale * frame))
    return Patient(tuple(solids))


def _scatter(
    rng: np.random.Generator, count: int, organ: Organ, block: str, center: tuple, spread: tuple, semi: tuple, **more
) -> list[Solid]:
    """`count` ellipsoids centred up to `spread` from `center`, semi-axes between the two numbers of `semi`, mm."""
    places = [center + rng.uniform(-1, 1, 3) * spread for _ in range(count)]
    return [_solid(organ, block, place, rng.uniform(*semi, 3), **more) for place in places]
