"""What an archive will hold: every series with its exact truth, before a voxel is drawn. Pure and seeded."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle
from uuid import NAMESPACE_OID, uuid5

import numpy as np

from radnet.errors import UsageError
from radnet.shards.ledger import Code
from radnet.shards.phantom.anatomy import Grid, Patient, rotation, sample_patient
from radnet.shards.phantom.headers import VENDORS, describe, describe_scout
from radnet.shards.phantom.physics import Timing

# modality, regions (one is drawn), series: sequence, "+" with contrast, ":view" where it is not drawn, "!code" spoiled;
# those behind the semicolon in every other round. Twenty patients: 18 CT volumes, 8 of each MR class, 3 other volumes.
_STUDIES = (
    ("CT", ("head", "head", "neck", "sinus", "larynx"), "CT CT+; !no_rescale"),
    ("CT", ("head_neck", "chest"), "CT+ CT+:coronal; !truncated"),
    ("CT", ("abdomen_pelvis", "chest_abdomen"), "CT CT+ CT+:coronal; !derived"),
    ("MR", ("pelvis", "cspine", "lspine"), "T1-FLAIR:sagittal T2-SE:sagittal; STIR !not_dicom"),
    ("MR", ("head",), "T1-FLAIR T2-FLAIR; DWI !secondary_capture"),
    ("MR", ("head",), "T1-FLAIR+ T2-FLAIR T2-SE; !not_an_image"),
    ("MR", ("head",), "T1-FLAIR T2-FLAIR+ T1-SE; GRE !missing_slice"),
    ("MR", ("head_neck", "neck"), "T2-SE T2-FLAIR T1-SE+"),
    ("MR", ("breast", "abdomen"), "T2-SE T1-SE T1-SE+; !too_few_slices"),
    ("CT", ("abdomen_pelvis", "pelvis"), "CT CT+:sagittal"),
)
FILES_ALONE = (Code.SECONDARY_CAPTURE, Code.NOT_AN_IMAGE, Code.NOT_DICOM)  # no volume stands behind these
# region: what the scan takes in from top to bottom
_RANGES = {
    "head": ("brain",), "sinus": ("upper_head_neck",), "larynx": ("lower_head_neck",), "cspine": ("carotids",),
    "head_neck": ("brain", "lower_head_neck"), "neck": ("upper_head_neck", "lower_head_neck"), "chest": ("lung",),
    "breast": ("breast",), "chest_abdomen": ("lung", "liver", "kidney"), "abdomen": ("liver", "kidney"),
    "abdomen_pelvis": ("liver", "kidney", "intestine", "pelvis"), "pelvis": ("pelvis",), "lspine": ("kidney", "pelvis"),
}  # fmt: skip
_HEAD_COILS = ("head", "sinus", "larynx", "cspine", "head_neck", "neck")  # as wide as the head; the others as the trunk
# columns: unit vectors (LPS) of D, H, W; D = row direction × column direction
_DIRECTIONS = {
    "axial": np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float),
    "coronal": np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], float),
    "sagittal": np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]], float),
}
_PAPER = ("CT", "T1-SE", "T2-SE", "T1-FLAIR", "T2-FLAIR")
# kind: family, technique, ranges of TR, TE, TI (ms)
_SEQUENCES = {
    "CT": ("CT", ""),
    "T1-SE": ("T1", "SE", (420, 720), (8, 14), (0, 0)),
    "T2-SE": ("T2", "SE", (2800, 6000), (85, 120), (0, 0)),
    "T1-FLAIR": ("T1-FLAIR", "SE", (2000, 2800), (8, 22), (760, 960)),
    "T2-FLAIR": ("T2-FLAIR", "SE", (7600, 9000), (95, 140), (2250, 2430)),  # nulls CSF
    "DWI": ("DWI", "EPI", (5000, 8000), (75, 100), (0, 0)),
    "GRE": ("T1", "GRE", (150, 250), (2.2, 4.6), (0, 0)),
    "STIR": ("STIR", "SE", (3500, 6000), (40, 70), (150, 220)),  # nulls fat
}


@dataclass(frozen=True, eq=False)
class SeriesPlan:
    """One series and its truth. Where `code` is not OK, the series is spoiled in just that way.

    seeds: archive seed, patient, series: what every generator of this series starts from.
    sequence: the paper's class, or "". coverage: regions entirely inside the grid. text: header text by keyword.
    """

    seeds: tuple[int, int, int]
    patient_id: str
    study_uid: str
    series_uid: str
    sex: str
    patient: Patient
    vendor: str
    modality: str
    sequence: str
    family: str
    technique: str
    view: str
    obliquity_deg: float
    contrast: bool
    phase: str
    coverage: tuple[str, ...]
    grid: Grid
    timing: Timing | None
    text: dict[str, str] = field(repr=False)
    code: Code = Code.OK


def plan_archive(num_patients: int, seed: int) -> list[SeriesPlan]:
    """Every series of an archive of `num_patients` patients, grouped by patient; 3.65 a patient, 2.65 of them volumes.

    The first patients of a larger archive are those of a smaller one. UsageError: num_patients < 1, seed < 0.
    """
    if num_patients < 1 or seed < 0:
        raise UsageError(f"num_patients is {num_patients} and seed {seed}, expected at least 1 and at least 0")
    rng = np.random.default_rng([seed, 1 << 20])
    studies = cycle(rng.permutation(len(_STUDIES)).tolist())  # shuffled once: shares hold over any run of patients
    views = cycle(rng.permutation(["axial"] * 5 + ["coronal"] * 3 + ["sagittal"] * 3).tolist())
    return [plan for patient in range(num_patients) for plan in _plan_patient(seed, patient, next(studies), views)]


def _plan_patient(seed: int, index: int, study: int, views: Iterator[str]) -> list[SeriesPlan]:
    modality, regions, series = _STUDIES[study]
    always, _, sometimes = series.partition(";")
    tokens = always.split() + sometimes.split() * ((index // len(_STUDIES) + study) % 2)
    rng = np.random.default_rng([seed, index, 1 << 22])
    region, vendor = regions[rng.integers(len(regions))], VENDORS[rng.integers(3)]
    sex = "F" if region == "breast" else "FM"[rng.integers(2)]
    patient = sample_patient(np.random.default_rng([seed, index]), sex)
    study_uid, field_t = _uid(seed, index), (1.5, 3.0)[rng.integers(2)]
    plans = []
    for number, token in enumerate(tokens, 1):
        if token.startswith("!"):
            plans.append(_spoil(plans[0], Code(token[1:]), number))
            continue
        name, _, view = token.partition(":")
        kind, contrast = name.rstrip("+"), name.endswith("+")
        view = view or ("axial" if modality == "CT" else next(views))
        tilt_deg = rng.uniform(3, 12) if modality == "MR" and rng.random() < 0.25 else 0.0
        grid = _lay_grid(patient, region, view, tilt_deg, rng)
        times = [round(float(rng.uniform(*span)), 1) for span in _SEQUENCES[kind][2:]]  # none for CT
        flip_deg, b_value = 70.0 if kind == "GRE" else 90.0, 1000.0 if kind == "DWI" else 0.0
        timing = Timing(*times, flip_deg, field_t, b_value) if times else None
        phase = ("arterial" if rng.random() < 0.3 else "venous") if contrast else "plain"
        plans += [SeriesPlan(
            (seed, index, number), f"PHANTOM-{seed:04d}-{index:05d}", study_uid, _uid(seed, index, number), sex,
            patient, vendor, modality, kind if kind in _PAPER else "", *_SEQUENCES[kind][:2], view,
            round(tilt_deg, 3), contrast, phase, patient.coverage(grid), grid, timing,
            describe(vendor, modality, kind, region, view, contrast, rng),
        )]  # fmt: skip
    return [_scout(plans[0], region)] * (index % 5 < 3) + plans


def _lay_grid(patient: Patient, region: str, view: str, tilt_deg: float, rng: np.random.Generator) -> Grid:
    """A grid around the region: 24–64 slices 1.5–7.3 mm apart, 96–160 rows and columns.

    One scan in sixteen is cropped, so that the header promises an organ which is not entirely inside.
    """
    across = ("head",) if region in _HEAD_COILS else ("trunk", "breast")
    upright = _DIRECTIONS[view]
    around = rng.uniform(0, 2 * np.pi)  # the axis of the tilt lies in the slice
    direction = rotation(upright[:, 1] * np.cos(around) + upright[:, 2] * np.sin(around), tilt_deg) @ upright
    margins = rng.uniform(4, 16, 2) if rng.random() > 1 / 16 else rng.uniform(-30, -10, 2)
    box = np.zeros((3, 2))  # lowest and highest, mm, along D, H, W
    for axis, (x, _, z) in enumerate(upright.T):
        if z:  # head-foot: exact in the tilted frame
            box[axis] = patient.extent(_RANGES[region], direction[:, axis]) + margins[:: int(z)] * (-1, 1)
        elif x and "spine" in region:
            box[axis] = -45, 45
        else:
            box[axis] = patient.extent(across, upright[:, axis]) + np.array((-8, 8))
    spans, middle = np.ptp(box, axis=1), box.mean(axis=1)
    fewest, most = int(np.clip(np.ceil(spans[0] / 7), 24, 64)), min(64, int(spans[0] / 1.5))
    num_slices = int(rng.integers(fewest, max(most, fewest) + 1))
    spacing = max(1.5, np.ceil(spans[0] / num_slices * 20) / 20)
    pixel = round(float(spans[1:].max() / rng.integers(112, 157)), 4)
    shape = (num_slices, *(int(np.clip(2 * np.ceil(span / pixel / 2), 96, 160)) for span in spans[1:]))
    spacing_mm = (float(spacing), pixel, pixel)
    center = np.where(upright[2], middle, direction.T @ upright @ middle)
    return Grid(direction @ (center - (np.array(shape) - 1) / 2 * spacing_mm), direction, spacing_mm, shape)


def _spoil(plan: SeriesPlan, code: Code, number: int) -> SeriesPlan:
    """A sibling of `plan`, spoiled as `code` says."""
    seeds, text, depth = (*plan.seeds[:2], number), plan.text, plan.grid.shape[0]
    if code in FILES_ALONE:
        text, depth = text | {"SeriesDescription": code.replace("_", " ")}, 1
    elif code is Code.TOO_FEW_SLICES:
        depth = 8
    grid = replace(plan.grid, shape=(depth, *plan.grid.shape[1:]))
    coverage = plan.patient.coverage(grid)
    return replace(plan, seeds=seeds, series_uid=_uid(*seeds), code=code, text=text, grid=grid, coverage=coverage)


def _scout(plan: SeriesPlan, region: str) -> SeriesPlan:
    """One coronal view of the scanned part, as scanners make before a scan."""
    _, top = plan.patient.extent(_RANGES[region], np.array([0.0, 0.0, 1.0]))
    seeds = (*plan.seeds[:2], 0)
    return replace(
        plan, seeds=seeds, series_uid=_uid(*seeds), code=Code.LOCALIZER, view="coronal", obliquity_deg=0.0,
        grid=Grid(np.array([-190.0, 0.0, top + 40]), _DIRECTIONS["coronal"], (10.0, 3.0, 3.0), (1, 128, 128)),
        family="LOCALIZER", technique="GRE" if plan.timing else "", sequence="", contrast=False, phase="plain",
        timing=plan.timing and Timing(8.6, 4.0, flip_deg=20.0, field_t=plan.timing.field_t), coverage=(),
        text=plan.text | describe_scout(plan.vendor, plan.modality),
    )  # fmt: skip


def _uid(*parts: int) -> str:
    return f"2.25.{uuid5(NAMESPACE_OID, '/'.join(map(str, parts))).int}"
