"""Write the planned archive as ordinary DICOM folders, and LiTS-style cases. The truth lies beside, never inside."""

import csv
import gzip
import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from radnet.errors import UsageError
from radnet.shards.ledger import STATUS, Code
from radnet.shards.phantom.anatomy import Grid, Organ, sample_patient
from radnet.shards.phantom.headers import STUDIES, VENDORS
from radnet.shards.phantom.physics import ct_voxels, mr_voxels
from radnet.shards.phantom.plan import FILES_ALONE, SeriesPlan, plan_archive
from radnet.shards.phantom.tags import position, series_tags


@dataclass(frozen=True)
class Summary:
    """What was written: files and bytes of the archive, series by code ("ok": expected to be sharded)."""

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
    folders = [folder / plan.patient_id / f"ST{plan.study_uid[-6:]}" / f"SE{plan.seeds[2]:04d}" for plan in plans]
    with ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn")) as pool:  # starts none until asked
        list((pool.map if num_workers > 1 else map)(write_series, plans, folders, [masks] * len(plans)))
    with open(truth_folder / "truth.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(_truth_row(plans[0])))
        writer.writeheader()
        writer.writerows(map(_truth_row, plans))
    sizes = [path.stat().st_size for series in folders for path in series.iterdir()]
    return Summary(len(sizes), sum(sizes), dict(Counter(str(plan.code) for plan in plans)))


def _truth_row(plan: SeriesPlan) -> dict[str, str | float]:
    """The row of truth.csv; the columns that a stray file, a report or a capture does not have are empty."""
    row = {"series_uid": plan.series_uid, "patient_id": plan.patient_id, "status": STATUS[plan.code], "code": plan.code}
    if plan.code in FILES_ALONE:
        return row | {"series_uid": "" if plan.code is Code.NOT_DICOM else plan.series_uid}
    names = ("family", "technique", "sequence", "view", "obliquity_deg")
    row |= {name: getattr(plan, name) for name in names} | {"contrast": "yes" if plan.contrast else "no"}
    row |= {name: ";".join(getattr(plan, name)) for name in ("coverage", "lies", "undecidable")}
    num_slices = plan.grid.shape[0] - (plan.code is Code.MISSING_SLICE)
    return row | {"spacing_mm": f"{plan.grid.spacing_mm[0]:.4f}", "num_slices": num_slices}


def write_series(plan: SeriesPlan, folder: Path, masks: Path | None = None) -> None:
    """Write one series into the new `folder`, spoiled as its code says, and its organ map into `masks`."""
    folder.mkdir(parents=True)
    if plan.code is Code.NOT_DICOM:
        (folder / "README.TXT").write_text("Burned by the phantom workstation. This file is no image.\n")
        return
    dataset, depth = _series_dataset(plan), plan.grid.shape[0]
    for index, pixels in enumerate(_draw(plan, masks)):
        if index == depth // 2 and plan.code is Code.MISSING_SLICE:
            continue
        number = depth - index if int(plan.series_uid[-1]) % 2 else index + 1  # half of the series count backwards
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{plan.series_uid}.{number}"
        dataset.ImagePositionPatient = place_mm = position(plan, index)
        dataset.SliceLocation = round(float(np.dot(place_mm, plan.grid.direction[:, 0])), 4)
        dataset.InstanceNumber = number
        if pixels is not None:
            photometric = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
            dataset.set_pixel_data(pixels, photometric, 8 * pixels.itemsize, generate_instance_uid=False)
        path = folder / VENDORS[plan.vendor]["file"].format(number)
        dataset.save_as(path, enforce_file_format=True)
        if index == depth // 2 and plan.code is Code.TRUNCATED:
            path.write_bytes(path.read_bytes()[: -pixels.nbytes // 2])


def _draw(plan: SeriesPlan, masks: Path | None) -> np.ndarray | list[np.ndarray | None]:
    """Stored pixels of every file of the series; a report has none, a capture is uint8 [H,W,3]."""
    rng = np.random.default_rng(plan.seeds)
    if plan.code is Code.NOT_AN_IMAGE:
        return [None]
    if plan.code is Code.SECONDARY_CAPTURE:
        return [np.kron(rng.integers(0, 256, (8, 8, 3), np.uint8), np.ones((16, 16, 1), np.uint8))]
    organs = plan.patient.rasterise(plan.grid)
    if masks and plan.code is not Code.LOCALIZER:
        data = gzip.compress(_nifti(organs, plan.grid).to_bytes(), 1, mtime=0)  # no time of day in the bytes
        (masks / f"{plan.series_uid}.nii.gz").write_bytes(data)
    if plan.timing is None:
        voxels = ct_voxels(organs, plan.phase, plan.kernel, rng) - np.int16(VENDORS[plan.vendor]["intercept"])
    else:
        signal = plan.technique if plan.code is Code.LOCALIZER else STUDIES["kinds"][plan.kind]["signal"]
        voxels = mr_voxels(organs, plan.timing, signal, plan.contrast, rng)
    return voxels if VENDORS[plan.vendor]["signed"] else voxels.astype(np.uint16)


def _series_dataset(plan: SeriesPlan) -> Dataset:
    """What all slices of the series share, with file meta."""
    dataset = Dataset()
    for keyword, value in series_tags(plan).items():
        setattr(dataset, keyword, value)
    if plan.code is Code.NOT_AN_IMAGE:
        dataset.SOPClassUID, dataset.Modality, dataset.CompletionFlag = uid.BasicTextSRStorage, "SR", "COMPLETE"
        dataset.ValueType, dataset.ContinuityOfContent, dataset.VerificationFlag = "CONTAINER", "SEPARATE", "UNVERIFIED"
    elif plan.code is Code.SECONDARY_CAPTURE:
        dataset.SOPClassUID, dataset.ImageType = uid.SecondaryCaptureImageStorage, ["DERIVED", "SECONDARY"]
    is_implicit = plan.vendor != "SIEMENS" and int(plan.series_uid[-2:]) % 4 == 0  # one series in four
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if is_implicit else uid.ExplicitVRLittleEndian
    return dataset


def _nifti(voxels: np.ndarray, grid: Grid) -> nibabel.Nifti1Image:
    """The image, axes W,H,D, of an array [D,H,W] on `grid`."""
    lps_to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    return nibabel.Nifti1Image(voxels.transpose(2, 1, 0), lps_to_ras @ grid.affine[:, [2, 1, 0, 3]])


def write_cases(folder: str | Path, *, num_cases: int, seed: int) -> None:
    """Write portal-venous abdomens in the LiTS layout, 48–64 slices of 96–128²; existing files are overwritten.

    volume-N.nii holds int16 HU, segmentation-N.nii uint8: 0 background, 1 liver, 2 lesion. Axes run to
    R, A, S, in every third case to L, P, I: the orientation is mixed, as in LiTS.
    """
    (folder := Path(folder)).mkdir(parents=True, exist_ok=True)
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
        labels = np.isin(organs, (Organ.LIVER, Organ.LIVER_VESSEL)) + np.uint8(2) * (organs == Organ.LIVER_LESION)
        turn = np.column_stack([range(3), (-1, -1, 1) if case % 3 else (1, 1, -1)])
        for name, voxels in (("volume", ct_voxels(organs, "venous", "soft", rng)), ("segmentation", labels)):
            nibabel.save(_nifti(voxels, grid).as_reoriented(turn), folder / f"{name}-{case}.nii")
