"""Enhanced multi-frame files of several stacks: frames told apart by echo, orientation and StackID."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage

from tests.series import AXIAL, SHAPE, image, stored_voxels, write
from tests.test_stacks import SAGITTAL, read, rows_of


def enhanced(folder: Path, groups: list[dict]) -> str:
    """One enhanced MR file. groups: per frame position_mm, orientation, echo time in ms and stack name."""
    dataset = image(stored_voxels(len(groups)).reshape(-1, SHAPE[1]), [0, 0, 0], "MR")
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = EnhancedMRImageStorage
    dataset.Rows, dataset.NumberOfFrames = SHAPE[0], len(groups)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(dataset, keyword)
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=[0.5, 0.25])]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], []
    for group in groups:
        frame = Dataset()
        frame.PlanePositionSequence = [_item(ImagePositionPatient=group["position_mm"])]
        frame.PlaneOrientationSequence = [_item(ImageOrientationPatient=group.get("orientation", AXIAL))]
        frame.MREchoSequence = [_item(EffectiveEchoTime=group.get("echo_ms", 10.0))]
        frame.FrameContentSequence = [_item(StackID=group.get("stack", "1"), InStackPositionNumber=1)]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    return write(folder / "one.dcm", dataset)


def _item(**elements: object) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


@pytest.mark.parametrize("what", ["echo", "orientation", "stack"])
def test_an_enhanced_file_of_two_stacks(tmp_path, what):
    """Told apart by echo time, by orientation, and by StackID alone (two slabs at other places, other phase)."""
    frames = [{"position_mm": [0.0, 0.0, 2.0 * number], "echo_ms": 10.0} for number in range(20)]
    other = {
        "echo": [{"position_mm": [0.0, 0.0, 2.0 * number], "echo_ms": 90.0} for number in range(20)],
        "orientation": [{"position_mm": [2.0 * number, 0.0, 0.0], "orientation": SAGITTAL} for number in range(18)],
        "stack": [{"position_mm": [0.0, 0.0, 2.0 * number + 1.1], "stack": "2"} for number in range(20)],
    }[what]
    path = enhanced(tmp_path, frames + other)
    rows = rows_of(tmp_path)
    assert [row.stack for row in rows] == [0, 1] and all(row.files == [path] for row in rows)
    assert [row.part for row in rows] == [0, 1] and [row.num_files for row in rows] == [1, 0]
    readings = sorted((read(row) for row in rows), key=lambda reading: reading.volume.voxels.min())
    stored = stored_voxels(len(frames + other))
    np.testing.assert_array_equal(readings[0].volume.voxels, stored[:20])
    np.testing.assert_array_equal(np.sort(readings[1].volume.voxels, axis=0), stored[20:])
    if what == "echo":
        assert [reading.header["EchoTime"] for reading in readings] == [10.0, 90.0]


def test_interleaved_frames_keep_their_pixels(tmp_path):
    """Echo 1, echo 2, echo 1, …: frame numbers, not runs of frames, decide which pixels belong to a stack."""
    frames = [
        {"position_mm": [0.0, 0.0, 2.0 * (number // 2)], "echo_ms": 10.0 + 80.0 * (number % 2)} for number in range(40)
    ]
    enhanced(tmp_path, frames)
    rows = rows_of(tmp_path)
    stored = stored_voxels(40)
    found = sorted((read(row).volume.voxels for row in rows), key=np.min)
    for voxels, expected in zip(found, (stored[::2], stored[1::2]), strict=True):
        np.testing.assert_array_equal(voxels, expected)
