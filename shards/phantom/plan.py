"""What an archive will hold: every series with its exact truth, before a voxel is drawn. Pure and seeded."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count, cycle, islice
from uuid import NAMESPACE_OID, uuid5

import numpy as np

from radnet.errors import UsageError
from radnet.shards.ledger import Code
from radnet.shards.phantom.anatomy import Grid, Patient, rotation, sample_patient
from radnet.shards.phantom.headers import STUDIES, VENDORS, describe, draw_site, pick
from radnet.shards.phantom.physics import Timing

FILES_ALONE = (Code.SECONDARY_CAPTURE, Code.NOT_AN_IMAGE, Code.NOT_DICOM)  # no volume stands behind these
# Columns: unit vectors (LPS) of D, H, W; D = row direction × column direction.
_DIRECTIONS = {name: np.array(rows, float) for name, rows in STUDIES["directions"].items()}


@dataclass(frozen=True, eq=False)
class SeriesPlan:
    """One series and its truth. Where `code` is not OK, the series is spoiled in just that way.

    seeds: archive seed, patient, series: what every generator of this series starts from.
    region, kind: of studies.yaml. sequence: the paper's class, or "". coverage: regions entirely inside the grid.
    text: header text by keyword, with `lies` in it. undecidable: labels it does not settle, whoever reads it.
    """

    seeds: tuple[int, int, int]
    patient_id: str
    study_uid: str
    series_uid: str
    sex: str
    patient: Patient
    vendor: str
    modality: str
    region: str
    kind: str
    sequence: str
    family: str
    technique: str
    view: str
    obliquity_deg: float
    contrast: bool
    phase: str
    kernel: str
    coverage: tuple[str, ...]
    grid: Grid
    timing: Timing | None
    text: dict[str, str] = field(repr=False, default_factory=dict)
    lies: tuple[str, ...] = ()
    undecidable: tuple[str, ...] = ()
    code: Code = Code.OK


def plan_archive(num_patients: int, seed: int) -> list[SeriesPlan]:
    """Every series of an archive of `num_patients` patients, grouped by patient; 3.75 a patient, 2.75 of them volumes.

    The first patients of a larger archive are those of a smaller one. UsageError: num_patients < 1, seed < 0.
    """
    if num_patients < 1 or seed < 0:
        raise UsageError(f"num_patients is {num_patients} and seed {seed}, expected at least 1 and at least 0")
    return [plan for plans in islice(plan_patients(seed), num_patients) for plan in plans]


def plan_patients(seed: int) -> Iterator[list[SeriesPlan]]:
    """The series of one patient after another, without end."""
    rng = np.random.default_rng([seed, 1 << 20])
    # Shuffled once: shares hold over any run of patients.
    studies = cycle(rng.permutation(len(STUDIES["studies"])).tolist())
    views = cycle(rng.permutation(["axial"] * 5 + ["coronal"] * 3 + ["sagittal"] * 3).tolist())
    return (_plan_patient(seed, patient, next(studies), views) for patient in count())


def _plan_patient(seed: int, index: int, number: int, views: Iterator[str]) -> list[SeriesPlan]:
    study = STUDIES["studies"][number]
    rng = np.random.default_rng([seed, index, 1 << 22])
    turn = index // len(STUDIES["studies"]) + number
    tokens = study["always"].split() + study.get("sometimes", "").split() * (turn % 2)
    tokens = [pick(rng, STUDIES["others"]) if token == "*" else token for token in tokens]
    # By the golden ratio each region is taken equally often over any run of turns.
    modality, region = study["modality"], study["regions"][int(turn * 0.618034 % 1 * len(study["regions"]))]
    speech = np.random.default_rng([seed, index, 1 << 24])  # its own, so that no lie changes what is so
    site = draw_site(speech, modality, region, {"+" in token for token in tokens if token[0] != "!"})
    sex = "F" if region == "breast" else "FM"[rng.integers(2)]
    patient = sample_patient(np.random.default_rng([seed, index]), sex)
    study_uid, field_t = _uid(seed, index), (1.5, 3.0)[rng.integers(2)]
    plans: list[SeriesPlan] = []
    for place, token in enumerate(tokens, 1):
        if token.startswith("!"):
            plans.append(_spoil(plans[0], Code(token[1:]), place))
            continue
        name, _, view = token.partition(":")
        kind, contrast = name.rstrip("+"), name.endswith("+")
        view = view or ("axial" if modality == "CT" else next(views))
        tilt_deg = rng.uniform(3, 12) if modality == "MR" and rng.random() < 0.25 else 0.0
        grid = _lay_grid(patient, region, view, tilt_deg, rng)
        phase = ("arterial" if rng.random() < 0.3 else "venous") if contrast else "plain"
        sharp = "lung" if region in ("chest", "chest_abdomen") else "bone"
        kernel = "" if modality == "MR" else sharp if rng.random() < 0.3 else "soft"
        row = STUDIES["kinds"][kind]
        times = [round(float(rng.uniform(*row.get(name, (0, 0)))), 1) for name in ("tr", "te", "ti")]
        train = int(rng.integers(*row.get("train", (0, 0)), endpoint=True))
        plan = SeriesPlan(
            (seed, index, place), f"PHANTOM-{seed:04d}-{index:05d}", study_uid, _uid(seed, index, place), sex, patient,
            site.vendor, modality, region, kind, kind if kind in STUDIES["paper"] else "", row["family"],
            row["technique"], view, round(tilt_deg, 3), contrast, phase, kernel, patient.coverage(grid), grid,
            Timing(*times, row.get("flip", 90.0), field_t, row.get("b", 0), train) if modality == "MR" else None,
        )  # fmt: skip
        plans.append(replace(plan, **describe(plan, site, speech)))
    return [_scout(plans[0], region)] * (index % 5 < 3) + plans


def _lay_grid(patient: Patient, region: str, view: str, tilt_deg: float, rng: np.random.Generator) -> Grid:
    """A grid around the region: 24–64 slices 1.5–7.3 mm apart, 96–160 rows and columns.

    One scan in sixteen is cropped, so that the header promises an organ which is not entirely inside.
    """
    across = ("head",) if region in STUDIES["head_coils"] else ("trunk", "breast")
    upright = _DIRECTIONS[view]
    around = rng.uniform(0, 2 * np.pi)  # the axis of the tilt lies in the slice
    direction = rotation(tuple(upright[:, 1] * np.cos(around) + upright[:, 2] * np.sin(around)), tilt_deg) @ upright
    margins = rng.uniform(4, 16, 2) if rng.random() > 1 / 16 else rng.uniform(-30, -10, 2)
    box = np.zeros((3, 2))  # lowest and highest, mm, along D, H, W
    for axis, (x, _, z) in enumerate(upright.T):
        if z:  # head-foot: exact in the tilted frame
            box[axis] = patient.extent(STUDIES["ranges"][region], direction[:, axis]) + margins[:: int(z)] * (-1, 1)
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
    _, top = plan.patient.extent(STUDIES["ranges"][region], np.array([0.0, 0.0, 1.0]))
    seeds, name = (*plan.seeds[:2], 0), VENDORS[plan.vendor]["scouts"][plan.modality == "MR"]
    text = {"SeriesDescription": name} | ({"ProtocolName": name, "ScanningSequence": "GR"} if plan.timing else {})
    return replace(
        plan, seeds=seeds, series_uid=_uid(*seeds), code=Code.LOCALIZER, view="coronal", obliquity_deg=0.0,
        grid=Grid(np.array([-190.0, 0.0, top + 40]), _DIRECTIONS["coronal"], (10.0, 3.0, 3.0), (1, 128, 128)),
        family="LOCALIZER", technique="GRE" if plan.timing else "", sequence="", contrast=False, phase="plain", lies=(),
        undecidable=(), timing=plan.timing and Timing(8.6, 4.0, flip_deg=20.0, field_t=plan.timing.field_t),
        coverage=(), text=plan.text | text,
    )  # fmt: skip


def _uid(*parts: int) -> str:
    return f"2.25.{uuid5(NAMESPACE_OID, '/'.join(map(str, parts))).int}"
