"""pydicom as an oracle: the pixels of every real file, and of every real series, are those pydicom makes of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pydicom.config
import pytest
from pydicom.dataset import Dataset

from radnet.shards.dicom import read_header, read_volume
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.privacy import PrivacyKey
from radnet.volume import Volume
from tests.copies import as_two_slices
from tests.series import grouped

KEY = PrivacyKey(bytes(32), is_public=False)


@pytest.mark.filterwarnings("ignore")
def test_pixels_of_all_real_files_are_those_of_pydicom(real_records, tmp_path):
    mistakes, syntaxes = [], set()
    for number, record in enumerate(real_records):
        if record.code is Code.NOT_DICOM:
            continue
        made = as_two_slices(record.path, tmp_path / str(number))
        if made is None:
            continue
        name = Path(record.path).name
        syntaxes.add(record.transfer_syntax)
        try:
            voxels = read_volume(made[0], min_slices=2).volume.voxels
        except SeriesError as error:
            mistakes.append(f"{name}: {error}")
            continue
        if not np.array_equal(voxels, made[1].astype(voxels.dtype)):
            mistakes.append(f"{name}: other pixels, transfer syntax {record.transfer_syntax}")
    assert mistakes == []
    assert len(syntaxes) >= 10


@pytest.mark.filterwarnings("ignore")
def test_volumes_of_all_real_series_are_what_pydicom_makes_of_their_files(real_records):
    """pixel_array, rescale and position of every slice from pydicom alone; padding is compared with the smallest."""
    by_uid: dict[str, list[str]] = {}
    for record in real_records:
        if record.series_uid and record.code is Code.OK:
            by_uid.setdefault(record.series_uid, []).append(record.path)
    num_volumes = 0
    for files in by_uid.values():
        rows = grouped([read_header(file) for file in files], KEY)
        if len(rows) > 1:  # several stacks; test_dcm2niix.py looks at each
            continue
        try:
            volume = read_volume(files, min_slices=2).volume
        except SeriesError:
            continue
        num_volumes += 1
        assert sorted(set(_place(volume, files))) == list(range(len(volume.voxels)))
    assert num_volumes >= 30


def _place(volume: Volume, files: list[str]) -> Iterator[int]:
    """Assert that every slice of the files is in the volume where its position says; yields the numbers of slices."""
    normal = np.cross(volume.direction[:, 2], volume.direction[:, 1])
    lowest = volume.voxels.min()
    for file in files:
        dataset = pydicom.dcmread(file, force=True)
        pixels = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        for frame, item in enumerate(dataset.get("PerFrameFunctionalGroupsSequence") or [dataset]):
            position = (item.get("PlanePositionSequence") or [item])[0].ImagePositionPatient
            step_mm = volume.affine[:3, 0] @ normal
            number = round((np.asarray(position, float) - volume.origin_mm) @ normal / step_mm)
            slope, intercept = 1.0, 0.0
            for place in (dataset, shared, item):
                values_of = (place.get("PixelValueTransformationSequence") or [place])[0]
                slope = float(values_of.get("RescaleSlope", slope))
                intercept = float(values_of.get("RescaleIntercept", intercept))
            expected = pixels[frame].astype(float) * slope + intercept
            padding = dataset.get("PixelPaddingValue")
            if padding is not None:
                bits = 2**dataset.BitsAllocated
                expected[pixels[frame].astype(np.int64) % bits == padding % bits] = lowest
            np.testing.assert_array_equal(volume.voxels[number], expected.astype(volume.voxels.dtype))
            yield number
