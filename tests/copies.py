"""Pixels of any file, in whatever encoding, dressed as a small MR series that radnet reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, MRImageStorage

from tests.series import AXIAL


def as_two_slices(path: str, folder: Path) -> tuple[list[str], np.ndarray] | None:
    """The pixels of any grey file as a minimal MR series on an even grid, and pydicom's pixel_array [frames,H,W].

    The pixel element, its syntax and its description stay as they are, compressed frames bit by bit; geometry, modality
    and class are made up, so that files radnet would not call a volume prove their decoder too. None where pydicom has
    no pixels.
    """
    source = pydicom.dcmread(path, force=True)
    keyword = next((name for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if name in source), "")
    syntax = getattr(source, "file_meta", Dataset()).get("TransferSyntaxUID")
    if not keyword or not syntax or source.get("SamplesPerPixel", 1) != 1:
        return None
    try:
        expected = source.pixel_array
    except Exception:
        return None
    num_frames = int(source.get("NumberOfFrames") or 1)
    expected = expected.reshape(num_frames, source.Rows, source.Columns)
    for number in range(1 if num_frames > 1 else 2):
        _write_copy(source, keyword, [0.0, 0.0, 2.0 * number], num_frames, folder / f"{number}.dcm")
    return [str(file) for file in sorted(folder.iterdir())], expected if num_frames > 1 else expected[[0, 0]]


def _write_copy(source: Dataset, keyword: str, position_mm: list[float], num_frames: int, path: Path) -> None:
    """A classic MR image with the pixel element of `source`, or an enhanced one where it has several frames."""
    dataset = Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(source.file_meta.TransferSyntaxUID)
    described = "Rows Columns SamplesPerPixel BitsAllocated BitsStored HighBit PixelRepresentation NumberOfFrames"
    for name in (*described.split(), keyword):
        if name in source:
            dataset[name] = source[name]
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, f"1.2.3.{int(position_mm[2])}"
    dataset.Modality, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "MR", "1.2.3", "1.2"
    dataset.PhotometricInterpretation, dataset.PatientID = "MONOCHROME2", "PHANTOM-1"
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.PixelSpacing = position_mm, AXIAL, [1, 1]
    if num_frames > 1:
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
        dataset.SharedFunctionalGroupsSequence = [_group("PlaneOrientationSequence", ImageOrientationPatient=AXIAL)]
        measures = _group("PixelMeasuresSequence", PixelSpacing=[1, 1]).PixelMeasuresSequence
        dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = measures
        dataset.PerFrameFunctionalGroupsSequence = [
            _group("PlanePositionSequence", ImagePositionPatient=[0, 0, 2 * number]) for number in range(num_frames)
        ]
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def _group(sequence: str, **elements: Any) -> Dataset:
    group, item = Dataset(), Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    setattr(group, sequence, [item])
    return group
