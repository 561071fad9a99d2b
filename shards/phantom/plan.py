"""What an archive will hold: every series with its exact truth, before a voxel is drawn. Pure and seeded."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from radnet.errors import UsageError
from radnet.shards.ledger import STATUS, Code, Status
from radnet.shards.phantom.anatomy import Grid, Organ, Patient
from radnet.shards.phantom.body import sample_patient
from radnet.shards.phantom.dialects import VENDORS, describe
from radnet.shards.phantom.physics import TISSUES, Timing

# modality, regions (one is drawn), series: sequence, "+" with contrast, ":view" where it is not drawn.
# Twenty patients hold 18 CT volumes, 8 of each of the paper's MR sequences, and 3 others.
_STUDIES = (
    ("CT", ("head",), "CT CT+"),
    ("CT", ("head_neck",), "CT+ CT+:coronal"),
    ("CT", ("neck", "sinus", "larynx"), "CT CT+"),
    ("CT", ("chest",), "CT CT+:coronal"),
    ("CT", ("chest_abdomen",), "CT CT+ CT+:coronal"),
    ("CT", ("abdomen_pelvis",), "CT+ CT+:sagittal"),
    ("CT", ("abdomen_pelvis", "abdomen"), "CT CT+ CT:coronal"),
    ("CT", ("pelvis",), "CT CT+"),
    ("MR", ("head",), "T1-FLAIR T2-FLAIR DWI"),
    ("MR", ("head",), "T1-FLAIR+ T2-FLAIR T2-SE"),
    ("MR", ("head",), "T1-FLAIR T2-FLAIR+ T1-SE+"),
    ("MR", ("head",), "T2-FLAIR T1-FLAIR+ T2-SE"),
    ("MR", ("head",), "T2-FLAIR GRE T1-FLAIR+"),
    ("MR", ("head",), "T2-FLAIR T1-FLAIR T1-SE"),
    ("MR", ("head",), "T2-SE T2-FLAIR T1-FLAIR+"),
    ("MR", ("cspine", "lspine"), "T1-FLAIR:sagittal T2-SE:sagittal"),
    ("MR", ("head_neck", "neck"), "T2-SE T2-FLAIR T1-SE+"),
    ("MR", ("breast",), "T2-SE T1-SE T1-SE+"),
    ("MR", ("abdomen",), "T2-SE T1-SE T1-SE+"),
    ("MR", ("pelvis",), "T1-SE T2-SE STIR"),
)
# The study of _STUDIES that also gets a series of this kind.
_SPOILED = {
    1: Code.TRUNCATED, 4: Code.NO_RESCALE, 5: Code.DERIVED, 8: Code.SECONDARY_CAPTURE, 10: Code.NOT_AN_IMAGE,
    13: Code.TOO_FEW_SLICES, 17: Code.MISSING_SLICE, 19: Code.NOT_DICOM,
}  # fmt: skip
_FILES_ALONE = (Code.SECONDARY_CAPTURE, Code.NOT_AN_IMAGE, Code.NOT_DICOM)  # no volume stands behind these
# region: what the scan takes in from top to bottom, what it takes in across
_TRUNK = ("trunk", "breast")
_RANGES = {
    "head": (("brain",), ("head",)), "head_neck": (("brain", "lower_head_neck"), ("head", "lower_head_neck")),
    "neck": (("upper_head_neck", "lower_head_neck"), ("head", "lower_head_neck")), "chest": (("lung",), _TRUNK),
    "sinus": (("upper_head_neck",), ("head",)), "larynx": (("lower_head_neck",), ("head",)),
    "chest_abdomen": (("lung", "liver", "kidney"), _TRUNK), "abdomen": (("liver", "kidney"), _TRUNK),
    "abdomen_pelvis": (("liver", "kidney", "intestine", "pelvis"), _TRUNK), "pelvis": (("pelvis",), _TRUNK),
    "breast": (("breast",), _TRUNK), "cspine": (("carotids",), ("head",)), "lspine": (("kidney", "pelvis"), ("trunk",)),
}  # fmt: skip
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
    "T2-FLAIR": ("T2-FLAIR", "SE", (7600, 9000), (95, 140), (0, 0)),  # TI nulls CSF
    "DWI": ("DWI", "EPI", (5000, 8000), (75, 100), (0, 0)),
    "GRE": ("T1", "GRE", (150, 250), (2.2, 4.6), (0, 0)),
    "STIR": ("STIR", "SE", (3500, 6000), (40, 70), (140, 170)),
}


@dataclass(frozen=True, eq=False)
class SeriesPlan:
    """One series and its truth. Where `code` is not OK, the series is spoiled in just that way.

    seeds: archive seed, patient, series: what every generator of this series starts from. kind: CT, T1-SE, DWI …;
    sequence: the paper's class, or "". coverage: regions entirely inside the grid. text: header text by keyword.
    """

    seeds: tuple[int, int, int]
    patient_id: str
    study_uid: str
    series_uid: str
    sex: str
    vendor: str
    modality: str
    kind: str
    sequence: str
    family: str
    technique: str
    region: str
    view: str
    obliquity_deg: float
    contrast: bool
    phase: str
    coverage: tuple[str, ...]
    grid: Grid
    timing: Timing | None
    text: dict[str, str] = field(repr=False)
    code: Code = Code.OK

    @property
    def status(self) -> Status:
        return STATUS[self.code]

    @property
    def has_volume(self) -> bool:
        return self.code not in (*_FILES_ALONE, Code.LOCALIZER)

    def patient(self) -> Patient:
        """The body that was scanned; the same for every series of the patient."""
        return sample_patient(np.random.default_rng(self.seeds[:2]), self.sex)


def plan_archive(num_patients: int, seed: int) -> list[SeriesPlan]:
    """Every series of an archive of `num_patients` patients, grouped by patient; 3.65 a patient, 2.65 of them volumes.

    The first patients of a larger archive are those of a smaller one. UsageError: num_patients < 1, seed < 0.
    """
    if num_patients < 1 or seed < 0:
        raise UsageError(f"num_patients is {num_patients} and seed {seed}, expected at least 1 and at least 0")
    views = _deal(("axial",) * 5 + ("coronal",) * 3 + ("sagittal",) * 3, np.random.default_rng([seed, 1 << 20]))
    studies = _deal(tuple(range(len(_STUDIES))), np.random.default_rng([seed, 1 << 21]))
    plans = []
    for patient, study in zip(range(num_patients), studies, strict=False):
        plans += _plan_patient(seed, patient, study, views)
    return plans


def _deal(cards: tuple, rng: np.random.Generator) -> Iterator:
    """Cards of one shuffled deck after another: shares are exact over a deck and nearly so over any run."""
    while True:
        for index in rng.permutation(len(cards)):
            yield cards[index]


def _plan_patient(seed: int, index: int, study: int, views: Iterator[str]) -> list[SeriesPlan]:
    modality, regions, tokens = _STUDIES[study]
    rng = np.random.default_rng([seed, index, 1 << 22])
    region, vendor = regions[rng.integers(len(regions))], VENDORS[rng.integers(3)]
    sex = "F" if region == "breast" else "FM"[rng.integers(2)]
    patient = sample_patient(np.random.default_rng([seed, index]), sex)
    study_uid, field_t = _uid(seed, index), (1.5, 3.0)[rng.integers(2)]
    plans = []
    for number, token in enumerate(tokens.split(), 1):
        name, _, view = token.partition(":")
        kind, contrast = name.rstrip("+"), name.endswith("+")
        view = view or ("axial" if modality == "CT" else next(views))
        tilt = rng.uniform(3, 12) if modality == "MR" and rng.random() < 0.25 else 0.0
        grid, obliquity_deg = _lay_grid(patient, region, view, tilt, rng)
        phase = ("arterial" if rng.random() < 0.3 else "venous") if contrast else "plain"
        plan = SeriesPlan(
            (seed, index, number), f"PHANTOM-{seed:04d}-{index:05d}", study_uid, _uid(seed, index, number), sex, vendor,
            modality, kind, kind if kind in _PAPER else "", *_SEQUENCES[kind][:2], region, view, obliquity_deg,
            contrast, phase, patient.coverage(grid), grid,
            _draw_timing(kind, field_t, rng) if modality == "MR" else None,
            describe(vendor, modality, kind, region, view, contrast, rng),
        )  # fmt: skip
        plans.append(plan)
    if study in _SPOILED:
        plans.append(_spoil(plans[0], _SPOILED[study], len(plans) + 1))
    return [_scout(plans[0], patient)] * (index % 5 < 3) + plans


def _lay_grid(
    patient: Patient, region: str, view: str, tilt_deg: float, rng: np.random.Generator
) -> tuple[Grid, float]:
    """A grid around the region, 24–64 slices 1.5–7 mm apart, 96–160 rows and columns; and its obliquity in degrees.

    One scan in sixteen is cropped, so that the header promises an organ which is not entirely inside.
    """
    organs, across = _RANGES[region]
    direction = _tilt(tilt_deg, view, rng) @ _DIRECTIONS[view]
    dominant = np.abs(_DIRECTIONS[view]).argmax(axis=0)  # world axis of D, H, W
    margins = rng.uniform(4, 16, 2) if rng.random() > 1 / 16 else rng.uniform(-30, -10, 2)
    center, spans = np.zeros(3), np.zeros(3)
    for axis, world in enumerate(dominant):
        if world == 2:
            low, high = patient.extent(organs, direction[:, axis] * np.sign(direction[2, axis]))
            low, high = low - margins[0], high + margins[1]
        else:
            low, high = patient.extent(across, np.eye(3)[world])
            low, high = low - 8, high + 8
            if world == 0 and "spine" in region:
                low, high = -45.0, 45.0
        center[world], spans[axis] = (low + high) / 2, high - low
    fewest, most = max(24, int(np.ceil(spans[0] / 7))), min(64, int(spans[0] / 1.5))
    num_slices = int(rng.integers(fewest, max(most, fewest) + 1))
    spacing = max(1.5, np.ceil(spans[0] / num_slices * 20) / 20)
    pixel = round(float(spans[1:].max() / rng.integers(112, 157)), 4)
    shape = (num_slices, *(int(np.clip(2 * np.ceil(span / pixel / 2), 96, 160)) for span in spans[1:]))
    spacing_mm = (float(spacing), pixel, pixel)
    middle = (np.array(shape) - 1) / 2 * spacing_mm
    # Along the head-foot axis the extent was taken in the tilted frame, so the centre is placed there too.
    along = direction.T @ center
    upright = int(np.flatnonzero(dominant == 2)[0])
    along[upright] = center[2] * np.sign(direction[2, upright])
    obliquity_deg = float(np.rad2deg(np.arccos(min(1.0, np.abs(direction[:, 0]).max()))))
    return Grid(direction @ (along - middle), direction, spacing_mm, shape), round(obliquity_deg, 3)


def _tilt(tilt_deg: float, view: str, rng: np.random.Generator) -> np.ndarray:
    """Rotation by `tilt_deg` about an axis that lies in the slice plane."""
    angle, around = np.deg2rad(tilt_deg), rng.uniform(0, 2 * np.pi)
    x, y, z = _DIRECTIONS[view][:, 1] * np.cos(around) + _DIRECTIONS[view][:, 2] * np.sin(around)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _draw_timing(kind: str, field_t: float, rng: np.random.Generator) -> Timing:
    tr_ms, te_ms, ti_ms = (round(float(rng.uniform(*span)), 1) for span in _SEQUENCES[kind][2:])
    if kind == "STIR" and field_t > 2:
        ti_ms += 50
    if kind == "T2-FLAIR":
        csf_t1 = TISSUES[Organ.CSF, 3 + (field_t > 2)]
        ti_ms = round(csf_t1 * np.log(2 / (1 + np.exp(-tr_ms / csf_t1))) * rng.uniform(0.95, 1.01))
    flip = 70.0 if kind == "GRE" else 90.0
    fat_saturated = kind == "T2-SE" and rng.random() < 0.25
    return Timing(tr_ms, te_ms, float(ti_ms), flip, field_t, 1000.0 if kind == "DWI" else 0.0, bool(fat_saturated))


def _spoil(plan: SeriesPlan, code: Code, number: int) -> SeriesPlan:
    """A sibling of `plan`, spoiled as `code` says."""
    seeds = (*plan.seeds[:2], number)
    plan = replace(plan, seeds=seeds, series_uid=_uid(*seeds), code=code)
    if code in _FILES_ALONE:
        return replace(plan, coverage=(), text=plan.text | {"SeriesDescription": code.replace("_", " ")})
    if code is Code.TOO_FEW_SLICES:
        grid = replace(plan.grid, shape=(8, *plan.grid.shape[1:]))
        return replace(plan, grid=grid, coverage=plan.patient().coverage(grid))
    return plan


def _scout(plan: SeriesPlan, patient: Patient) -> SeriesPlan:
    """One coronal view of the scanned part, as scanners make before a scan."""
    low, high = patient.extent(_RANGES[plan.region][0], np.array([0.0, 0.0, 1.0]))
    grid = Grid(np.array([-190.0, 0.0, high + 40]), _DIRECTIONS["coronal"], (10.0, 3.0, 3.0), (1, 128, 128))
    names = {"CT": ("Topogram  0.6  T20s", "SCOUT", "Surview"), "MR": ("localizer", "3-Plane Loc", "Survey")}
    text = plan.text | {"SeriesDescription": names[plan.modality][VENDORS.index(plan.vendor)]}
    timing = plan.timing and Timing(8.6, 4.0, flip_deg=20.0, field_t=plan.timing.field_t)
    if plan.modality == "MR":
        text |= {"ScanningSequence": "GR", "SequenceVariant": "SP", "ProtocolName": text["SeriesDescription"]}
    seeds = (*plan.seeds[:2], 0)
    return replace(
        plan, seeds=seeds, series_uid=_uid(*seeds), code=Code.LOCALIZER, grid=grid, view="coronal", obliquity_deg=0.0,
        family="LOCALIZER", technique="GRE" if timing else "", sequence="", contrast=False, phase="plain", coverage=(),
        timing=timing, text=text,
    )  # fmt: skip


def _uid(*parts: int) -> str:
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return "2.25." + str(int.from_bytes(digest[:16], "big"))
