"""Writes small DICOM series for tests, one fault at a time."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from radnet.shards.dicom import read_volume
from radnet.shards.inventory import Archive, Row, group_all
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.privacy import PrivacyKey
from radnet.shards.record import FileRecord

AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
SHAPE = (6, 5)


def stored_voxels(num_slices: int) -> np.ndarray:
    """int16 [D,6,5], every voxel another value from 100 on."""
    return np.arange(num_slices * SHAPE[0] * SHAPE[1], dtype=np.int16).reshape(num_slices, *SHAPE) + 100


def image(pixels: np.ndarray, position_mm: Sequence[float], modality: str = "CT", uid: str = "1.2.3.4") -> Dataset:
    """A classic CT or MR image of int16 or uint16 `pixels` [H,W], axial, 0.5 by 0.25 mm, CT with intercept -1024."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = uid, "1.2.3"
    dataset.PatientID, dataset.PatientName, dataset.StudyDate = "PHANTOM-1", "Doe^Jane", "20200101"
    dataset.Modality, dataset.Manufacturer = modality, "SIEMENS"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = [float(value) for value in position_mm]
    dataset.ImageOrientationPatient = AXIAL
    dataset.PixelSpacing = [0.5, 0.25]
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(pixels.dtype.kind == "i")
    if modality == "CT":
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelData = pixels.tobytes()
    return dataset


def write(path: Path, dataset: Dataset) -> str:
    """Write a data set with preamble and meta group; pixels are swapped where its syntax is big endian."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        dataset["PixelData"].VR = "OW"
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return str(path)


def write_series(
    folder: Path,
    num_slices: int = 20,
    *,
    step_mm: Sequence[float] = (0.0, 0.0, 2.0),
    modality: str = "CT",
    edit: Callable[[Dataset, int], None] = lambda dataset, number: None,
    skip: Sequence[int] = (),
) -> list[str]:
    """A series of `stored_voxels` from the origin on along `step_mm`, in files whose names are in no order.

    edit: changes the data set of a slice before it is written. skip: slices that are missing.
    """
    files = []
    for number, pixels in enumerate(stored_voxels(num_slices)):
        dataset = image(pixels, [number * value for value in step_mm], modality)
        edit(dataset, number)
        if number not in skip:
            files.append(write(folder / f"{number * 7 % num_slices:03d}-{number}.dcm", dataset))
    return files


def grouped(records: list[FileRecord], key: PrivacyKey, collection: str = "toy", licence: str = "CC0") -> list[Row]:
    """The rows of an archive of one source."""
    return group_all([Archive(records, collection, licence)], key)


def code_of(files: list[str], **limits) -> Code:
    """The code with which the series is refused; its detail names no path."""
    with pytest.raises(SeriesError) as caught:
        read_volume(files, **limits)
    assert "/" not in caught.value.detail
    return caught.value.code
