"""The one table of organs, and how one patient differs from the next."""

from dataclasses import replace

import numpy as np

from radnet.shards.phantom.anatomy import Organ, Patient, Solid

O = Organ  # noqa: E741  (the table is read by columns)


def _ellipsoid(organ: Organ, block: str, center: tuple, semi: tuple, **more) -> Solid:
    return Solid(organ, block, np.array(center, float), np.array(semi, float), **more)


def _loft(organ: Organ, block: str, *knots: tuple, **more) -> Solid:
    return Solid(organ, block, knots=np.array(knots, float), **more)


def _tube(organ: Organ, block: str, radius: float, *points: tuple, **more) -> Solid:
    return _loft(organ, block, *[(z, x, y, radius, radius) for x, y, z in points], **more)


def _pair(solid: Solid) -> list[Solid]:
    """The solid (drawn at +x, the patient's left) and its mirror image."""
    flip = np.array([-1, 1, 1])
    if solid.knots is None:
        return [solid, replace(solid, center=solid.center * flip, tilt_deg=-solid.tilt_deg)]
    return [solid, replace(solid, knots=solid.knots * np.array([1, -1, 1, 1, 1]))]


def _inset(solid: Solid, organ: Organ, thickness_mm: float | np.ndarray, **more) -> Solid:
    """The loft drawn `thickness_mm` further in (out, if negative)."""
    return replace(solid, organ=organ, knots=solid.knots - np.array([0, 0, 0, 1, 1]) * thickness_mm, **more)


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
CANAL = _inset(SPINE, O.CSF, 0)
CANAL.knots[:, 2] += CANAL.knots[:, 4] + 12
CANAL.knots[:, 3:] = (10, 8)

HEAD = [
    _ellipsoid(O.FAT, "head", (0, 0, 790), (80, 100, 92)),
    _ellipsoid(O.FAT, "head", (0, -36, 712), (63, 60, 68)),
    _ellipsoid(O.MUSCLE, "head", (0, -30, 712), (58, 58, 64)),
    _ellipsoid(O.SKULL, "head", (0, 0, 795), (74, 93, 79)),
    _ellipsoid(O.CSF, "head", (0, 0, 797), (67, 86, 71), region="brain"),
    _ellipsoid(O.GREY_MATTER, "head", (0, 0, 797), (65, 84, 69), ripple=0.04),
    _ellipsoid(O.WHITE_MATTER, "head", (0, 0, 797), (61, 80, 65), ripple=0.2),
    _ellipsoid(O.CSF, "head", (0, 0, 834), (1.8, 80, 34)),
    _ellipsoid(O.GREY_MATTER, "head", (0, 34, 757), (46, 33, 25), ripple=0.02),
    _ellipsoid(O.WHITE_MATTER, "head", (0, 32, 757), (36, 23, 16), ripple=0.15),
    _tube(O.WHITE_MATTER, "head", 13, (0, 16, 724), (0, 2, 785)),
    *_pair(_ellipsoid(O.GREY_MATTER, "head", (22, -8, 788), (10, 20, 14))),
    *_pair(_ellipsoid(O.CSF, "ventricles", (11, 0, 806), (7, 34, 12), tilt_deg=12)),
    *_pair(_ellipsoid(O.CSF, "ventricles", (26, 34, 786), (6, 16, 9), tilt_deg=-25)),
    _ellipsoid(O.CSF, "ventricles", (0, 24, 754), (7, 6, 10)),
    _ellipsoid(O.VESSEL, "head", (0, 84, 806), (5, 6, 42)),
    *_pair(_ellipsoid(O.VESSEL, "head", (30, 72, 768), (26, 5, 5), tilt_deg=-8)),
    *_pair(_ellipsoid(O.CSF, "head", (32, -74, 760), (12, 12, 12))),
    _ellipsoid(O.SINUS, "head", (0, -22, 716), (14, 12, 9), region="upper_head_neck"),
    *_pair(_ellipsoid(O.SINUS, "head", (28, -62, 712), (14, 14, 15))),
    _ellipsoid(O.MUCOSA, "head", (0, -58, 714), (11, 30, 20)),
    _ellipsoid(O.SINUS, "head", (0, -60, 712), (4, 28, 14)),
    _ellipsoid(O.SKULL, "head", (0, -44, 668), (48, 44, 9)),
    _ellipsoid(O.MUSCLE, "head", (0, -38, 668), (39, 38, 11)),
    _ellipsoid(O.MUCOSA, "neck", (0, -6, 688), (18, 13, 26)),
    _ellipsoid(O.PHARYNX, "neck", (0, -8, 698), (12, 8, 13), region="upper_head_neck"),
    _ellipsoid(O.PHARYNX, "neck", (0, -5, 666), (10, 7, 20), region="upper_head_neck"),
]  # fmt: skip
NECK = [
    *_pair(_ellipsoid(O.THYROID, "neck", (16, -8, 590), (10, 10, 20), region="lower_head_neck")),
    _ellipsoid(O.LARYNX, "neck", (0, -16, 620), (17, 18, 24), region="lower_head_neck"),
    _tube(O.TRACHEA, "neck", 8, (0, 18, 508), (0, -8, 580), (0, -16, 645)),
    *_pair(_tube(O.VESSEL, "carotids", 6, (14, 8, 530), (29, 6, 600), (32, 8, 700))),
]
THORAX = [
    *_pair(_ellipsoid(O.LUNG, "lungs", (70, 4, 450), (60, 84, 124), tilt_deg=-6, region="lung")),
    *_pair(_ellipsoid(O.LUNG, "lungs", (56, 14, 573), (5, 5, 5), region="lower_head_neck")),
    _ellipsoid(O.HEART, "heart", (22, -34, 428), (58, 48, 56), tilt_deg=25),
    _ellipsoid(O.VESSEL, "heart", (16, -36, 432), (28, 24, 34), tilt_deg=25),
    _ellipsoid(O.VESSEL, "heart", (8, 0, 508), (15, 42, 14)),
    _tube(O.VESSEL, "heart", 12, (14, 26, 150), (16, 24, 330), (24, 38, 420), (16, 36, 515)),
    _tube(O.VESSEL, "heart", 11, (-20, 28, 150), (-18, 24, 330), (-20, 0, 400)),
]
ABDOMEN = [
    _ellipsoid(O.LIVER, "liver", (-58, -6, 316), (72, 76, 70), region="liver"),
    _ellipsoid(O.LIVER, "liver", (12, -44, 338), (68, 34, 36), tilt_deg=-12, region="liver"),
    _ellipsoid(O.SPLEEN, "spleen", (96, 36, 318), (29, 42, 46), tilt_deg=10),
    _ellipsoid(O.STOMACH, "stomach", (56, -36, 306), (46, 34, 40), tilt_deg=30),
    _ellipsoid(O.BOWEL_GAS, "stomach", (60, -52, 314), (24, 14, 20)),
    _ellipsoid(O.KIDNEY, "kidney_left", (64, 46, 272), (27, 25, 54), tilt_deg=-12, region="kidney"),
    _ellipsoid(O.FAT, "kidney_left", (54, 42, 272), (9, 8, 22)),
    _ellipsoid(O.KIDNEY, "kidney_right", (-64, 46, 260), (27, 25, 54), tilt_deg=12, region="kidney"),
    _ellipsoid(O.FAT, "kidney_right", (-54, 42, 260), (9, 8, 22)),
    _tube(O.BOWEL, "colon", 20, (-98, 8, 72), (-100, 14, 225), region="intestine"),
    _tube(O.BOWEL, "colon", 18, (96, 20, 85), (102, 22, 250), region="intestine"),
    _ellipsoid(O.BOWEL, "colon", (0, -58, 226), (100, 18, 18), tilt_deg=-6, region="intestine"),
]
PELVIS = [
    *_pair(_ellipsoid(O.PELVIS, "bones", (92, 28, 128), (13, 52, 70), tilt_deg=28, region="pelvis")),
    _ellipsoid(O.PELVIS, "bones", (0, 74, 104), (48, 20, 58), region="pelvis"),
    *_pair(_ellipsoid(O.PELVIS, "bones", (36, -52, 34), (38, 11, 15), tilt_deg=-20, region="pelvis")),
    *_pair(_ellipsoid(O.PELVIS, "bones", (58, 34, 34), (17, 20, 38), region="pelvis")),
    *_pair(_ellipsoid(O.PELVIS, "bones", (86, 4, 66), (30, 30, 28), region="pelvis")),
    *_pair(_ellipsoid(O.BONE, "bones", (92, -2, 60), (23, 23, 23))),
    *_pair(_tube(O.BONE, "bones", 15, (92, 0, -220), (112, 6, 30), (104, 2, 58))),
    _tube(O.BOWEL, "rectum", 16, (0, 44, 4), (0, 52, 70), (22, 30, 110), region="intestine"),
    _ellipsoid(O.BLADDER, "bladder", (0, -34, 60), (42, 32, 30), region="pelvis"),
]
BREASTS = [
    *_pair(_ellipsoid(O.FAT, "breast", (80, -100, 435), (60, 54, 58))),
    *_pair(_ellipsoid(O.BREAST, "breast", (80, -106, 435), (42, 38, 40), ripple=0.12, region="breast")),
]


def sample_patient(rng: np.random.Generator, sex: str) -> Patient:
    """A patient of sex "F" or "M": frame ±8 %, 5–30 mm of fat, each block of organs moved and grown a little."""
    fat_mm = rng.uniform(5, 30)
    breasts = [replace(solid, center=solid.center - [0, 0.6 * fat_mm, 0]) for solid in BREASTS] if sex == "F" else []
    wall = [TRUNK, *LEGS]
    genital = ((0, 6, 84), (32, 26, 26)) if sex == "F" else ((0, -6, 26), (24, 19, 20))
    table = [
        *(_inset(solid, O.FAT, _fat(solid, fat_mm)) for solid in wall), *breasts[:2], *wall, *breasts[2:],
        RIBS, _inset(RIBS, O.MUSCLE, 9, stripe=None), *_cavity(fat_mm), *HEAD[:3], *_spine(), *HEAD[3:], *NECK,
        *THORAX, *ABDOMEN, *_small_bowel(rng), *PELVIS, _ellipsoid(O.GENITAL, "bladder", *genital), *_lesions(rng),
    ]  # fmt: skip
    return Patient(_vary(table, sex, rng))


def _fat(solid: Solid, fat_mm: float) -> np.ndarray:
    """Minus the thickness of the skin's fat at every knot: less at the neck."""
    return -fat_mm * np.where(solid.knots[:, :1] > 580, 0.35, 1.0)


def _spine() -> list[Solid]:
    spinous = replace(CANAL, organ=O.VERTEBRA, stripe=(31.0, 0.6), knots=CANAL.knots + np.array([0, 0, 16, -4, 4]))
    return [SPINE, replace(SPINE, organ=O.VERTEBRA, stripe=(31.0, 0.8)), spinous, CANAL, _inset(CANAL, O.CORD, 3.5)]


def _cavity(fat_mm: float) -> list[Solid]:
    """Visceral fat, more of it in a fatter patient, for the abdominal organs to lie in."""
    width = 0.82 + 0.004 * fat_mm
    sections = [(20, 0, -5, 95, 62), (60, 0, -5, 100, 68), (230, 0, -8, 132 * width, 78), (345, 0, -8, 132, 84)]
    return [_loft(O.FAT, "trunk", *sections)]


def _small_bowel(rng: np.random.Generator) -> list[Solid]:
    loops = []
    for _ in range(14):
        center = rng.uniform((-68, -62, 75), (68, -8, 200))
        semi = rng.uniform((16, 12, 11), (32, 18, 18))
        loops.append(_ellipsoid(O.BOWEL, "loops", center, semi, tilt_deg=rng.uniform(-60, 60), region="intestine"))
        if rng.random() < 0.35:
            loops.append(_ellipsoid(O.BOWEL_GAS, "loops", center - [0, 4, 0], semi * 0.55, within=O.BOWEL))
    return loops


def _lesions(rng: np.random.Generator) -> list[Solid]:
    """Up to five liver lesions (none in about one patient of six) and, in half of the patients, one brain lesion."""
    lesions = []
    for _ in range(rng.integers(0, 6)):
        center = np.array((-58, -6, 316)) + rng.uniform(-0.6, 0.6, 3) * (72, 76, 70)
        lesions.append(_ellipsoid(O.LIVER_LESION, "liver", center, rng.uniform(7, 19, 3), within=O.LIVER))
    if rng.random() < 0.5:
        center = np.array((0, 0, 805)) + rng.uniform(-0.6, 0.6, 3) * (60, 75, 50)
        lesions.append(_ellipsoid(O.BRAIN_LESION, "head", center, rng.uniform(8, 17, 3), within=O.WHITE_MATTER))
    return lesions


def _vary(table: list[Solid], sex: str, rng: np.random.Generator) -> tuple[Solid, ...]:
    """Scale the frame, then grow and move every block about its own first solid."""
    size = rng.uniform(0.95, 1.06) * (0.98 if sex == "F" else 1.01)
    frame = size * rng.uniform(0.97, 1.03, 3)
    frame[2] = size
    growth: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    solids = []
    for solid in table:
        first = solid.center if solid.knots is None else solid.knots[:, [1, 2, 0]].mean(axis=0)
        if solid.block not in growth:
            spread = 0.02 if solid.block in ("trunk", "spine", "neck", "carotids", "thorax", "head") else 0.05
            shift = rng.uniform(-3, 3, 3) * (spread > 0.02)  # what the rest hangs on stays where it is
            growth[solid.block] = (first, 1 + rng.uniform(-spread, spread, 3), shift)
        solids.append(_grow(solid, *growth[solid.block], frame))
    return tuple(solids)


def _grow(solid: Solid, anchor: np.ndarray, scale: np.ndarray, shift: np.ndarray, frame: np.ndarray) -> Solid:
    if solid.knots is None:
        center = (anchor + (solid.center - anchor) * scale + shift) * frame
        return replace(solid, center=center, semi=solid.semi * scale * frame)
    center = (anchor + (solid.knots[:, [1, 2, 0]] - anchor) * scale + shift) * frame
    section = solid.knots[:, 3:] * (scale * frame)[:2]
    return replace(solid, knots=np.column_stack([center[:, 2], center[:, 0], center[:, 1], section]))
