"""Write the planned archive as ordinary DICOM folders, and LiTS-style cases. The truth lies beside, never inside."""

import csv
import gzip
import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import nibabel
import numpy as np

from radnet.errors import UsageError
from radnet.shards.ledger import Code, Status
from radnet.shards.phantom.anatomy import Grid, Organ
from radnet.shards.phantom.body import sample_patient
from radnet.shards.phantom.headers import ct_intercept, place_slice, series_dataset, set_pixels
from radnet.shards.phantom.physics import ct_voxels, mr_voxels
from radnet.shards.phantom.plan import SeriesPlan, plan_archive

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Summary:
    """What was written. num_volumes counts series expected to be sharded; num_bytes those of the archive's files."""

    num_patients: int
    num_series: int
    num_volumes: int
    num_files: int
    num_bytes: int
    codes: dict[str, int]


def write_archive(
    folder: str | Path,
    truth_folder: str | Path,
    *,
    num_patients: int = 60,
    seed: int = 0,
    num_workers: int = 1,
    write_masks: bool = True,
) -> Summary:
    """Write a phantom archive: folder/PATIENT/STUDY/SERIES/files, and the truth into `truth_folder`.

    truth.csv has one row per series (a stray file has an empty series_uid); masks/SERIES_UID.nii.gz is the uint8 organ
    map (axes W,H,D, as DICOM converters write) of every series that stands for a volume. The same seed gives the same
    bytes for any `num_workers`. Raises UsageError where `folder` is not empty or holds `truth_folder`.
    """
    folder, truth_folder = Path(folder).resolve(), Path(truth_folder).resolve()
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; name a new folder for the phantom archive")
    if truth_folder.is_relative_to(folder):
        raise UsageError(f"the truth folder {truth_folder} lies inside the archive; name a folder beside it")
    plans = plan_archive(num_patients, seed)
    masks = truth_folder / "masks" if write_masks else None
    (masks or truth_folder).mkdir(parents=True, exist_ok=True)
    jobs = [(list(group), folder, masks) for _, group in groupby(plans, key=lambda plan: plan.patient_id)]
    if num_workers > 1:
        with ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn")) as pool:
            sizes = list(pool.map(_write_patient, jobs, chunksize=1))
    else:
        sizes = [_write_patient(job) for job in jobs]
    with open(truth_folder / "truth.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(truth_row(plans[0])))
        writer.writeheader()
        writer.writerows(truth_row(plan) for plan in plans)
    codes = Counter(str(plan.code) for plan in plans)
    num_files, num_bytes = (sum(column) for column in zip(*sizes, strict=True))
    return Summary(num_patients, len(plans), codes[Code.OK], num_files, num_bytes, dict(codes))


def truth_row(plan: SeriesPlan) -> dict[str, str]:
    """The row of truth.csv; columns that a stray file, a report or a capture does not have are empty."""
    is_image = plan.has_volume or plan.code is Code.LOCALIZER
    facts = {
        name: str(getattr(plan, name)) for name in ("family", "technique", "sequence", "view", "obliquity_deg")
    } | {
        "contrast": "yes" if plan.contrast else "no",
        "coverage": ";".join(plan.coverage),
        "spacing_mm": f"{plan.grid.spacing_mm[0]:.4f}",
        "num_slices": str(plan.grid.shape[0] - (plan.code is Code.MISSING_SLICE)),
    }
    return {
        "series_uid": "" if plan.code is Code.NOT_DICOM else plan.series_uid,
        "patient_id": plan.patient_id,
        "status": str(plan.status),
        "code": str(plan.code),
    } | {name: value if is_image else "" for name, value in facts.items()}


def render(plan: SeriesPlan) -> tuple[np.ndarray, np.ndarray]:
    """Stored voxels int16 [D,H,W] (HU for CT) and the uint8 organ map of a series that has images."""
    organs = plan.patient().rasterise(plan.grid)
    rng = np.random.default_rng(plan.seeds)
    if plan.modality == "CT":
        return ct_voxels(organs, plan.phase, rng), organs
    return mr_voxels(organs, plan.timing, plan.technique, plan.contrast, rng), organs


def _write_patient(job: tuple[list[SeriesPlan], Path, Path | None]) -> tuple[int, int]:
    plans, folder, masks = job
    num_files = num_bytes = 0
    for plan in plans:
        series = folder / plan.patient_id / f"ST{plan.study_uid[-6:]}" / f"SE{plan.seeds[2]:04d}"
        series.mkdir(parents=True)
        write_series(plan, series, masks)
        sizes = [path.stat().st_size for path in series.iterdir()]
        num_files, num_bytes = num_files + len(sizes), num_bytes + sum(sizes)
    return num_files, num_bytes


def write_series(plan: SeriesPlan, folder: Path, masks: Path | None = None) -> None:
    """Write one series into the existing `folder`, spoiled as its code says, and its organ map into `masks`."""
    if plan.code is Code.NOT_DICOM:
        (folder / "README.TXT").write_text("Burned by the phantom workstation. This file is no image.\n")
        return
    dataset = series_dataset(plan)
    name = {"SIEMENS": "IM{:04d}.dcm", "GE": "i{:07d}", "PHILIPS": "{:08d}.dcm"}[plan.vendor]
    if plan.status is Status.EXCLUDED and not (plan.has_volume or plan.code is Code.LOCALIZER):
        place_slice(dataset, plan, 0)
        if plan.code is Code.SECONDARY_CAPTURE:
            colour = np.random.default_rng(plan.seeds).integers(0, 256, (8, 8, 3), np.uint8)
            set_pixels(dataset, np.kron(colour, np.ones((16, 16, 1), np.uint8)))
        dataset.save_as(folder / name.format(1), enforce_file_format=True)
        return
    voxels, organs = render(plan)
    if plan.modality == "CT":
        voxels = voxels - np.int16(ct_intercept(plan))
    middle = plan.grid.shape[0] // 2
    for index, pixels in enumerate(voxels):
        if index == middle and plan.code is Code.MISSING_SLICE:
            continue
        place_slice(dataset, plan, index)
        set_pixels(dataset, pixels if plan.vendor == "GE" else pixels.astype(np.uint16))
        dataset.save_as(folder / name.format(dataset.InstanceNumber), enforce_file_format=True)
        if index == middle and plan.code is Code.TRUNCATED:
            path = folder / name.format(dataset.InstanceNumber)
            path.write_bytes(path.read_bytes()[: -pixels.nbytes // 2])
    if masks and plan.has_volume:
        image = nibabel.Nifti1Image(organs.transpose(2, 1, 0), _TO_RAS @ plan.grid.affine[:, [2, 1, 0, 3]])
        (masks / f"{plan.series_uid}.nii.gz").write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0))


def write_cases(folder: str | Path, *, num_cases: int, seed: int) -> None:
    """Write portal-venous abdomens in the LiTS layout, 48–64 slices of 96–128²; existing files are overwritten.

    volume-N.nii holds int16 HU, segmentation-N.nii uint8: 0 background, 1 liver, 2 lesion. Axes run to
    R, A, S, in every third case to L, P, I: the orientation is mixed, as in LiTS.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for case in range(num_cases):
        rng = np.random.default_rng([seed, case, 1 << 23])
        patient = sample_patient(rng, "FM"[case % 2])
        low, high = patient.extent(("liver", "kidney"), np.array([0.0, 0.0, 1.0]))
        low, high = low - rng.uniform(15, 60), high + rng.uniform(15, 60)
        num_slices, side = int(rng.integers(48, 65)), int(rng.integers(48, 65)) * 2
        spacing_mm = ((high - low) / num_slices, 430 / side, 430 / side)
        origin = np.array([-215 + spacing_mm[2] / 2, -225 + spacing_mm[1] / 2, low + spacing_mm[0] / 2])
        grid = Grid(origin, np.eye(3)[:, ::-1], spacing_mm, (num_slices, side, side))
        organs = patient.rasterise(grid)
        affine = _TO_RAS @ grid.affine[:, [2, 1, 0, 3]]
        flips = (-1, -1, 1) if case % 3 else (1, 1, -1)
        for name, array in (("volume", ct_voxels(organs, "venous", rng)), ("segmentation", _liver_labels(organs))):
            image = nibabel.Nifti1Image(array.transpose(2, 1, 0), affine)
            turn = np.column_stack([range(3), flips])
            nibabel.save(image.as_reoriented(turn), folder / f"{name}-{case}.nii")


def _liver_labels(organs: np.ndarray) -> np.ndarray:
    return (organs == Organ.LIVER).astype(np.uint8) + 2 * (organs == Organ.LIVER_LESION).astype(np.uint8)
