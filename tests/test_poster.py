"""The header that the paper's poster prints, as files: its view, its obliquity, its padding and its class are known."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from radnet import labels
from radnet.shards.dicom import read_volume
from tests.series import stored_voxels, write_series


def test_the_posters_header_is_an_axial_ct_of_nine_degrees(tmp_path):
    normal = np.cross([1, 0, 0], [0, 0.987688, -0.156434])

    def edit(dataset: Dataset, number: int) -> None:
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0.987688, -0.156434]
        dataset.ImagePositionPatient = [round(float(value), 5) for value in 2.0 * number * normal]
        dataset.PatientPosition, dataset.ConvolutionKernel = "HFS", "SOFT"
        pixels = stored_voxels(20)[number].copy()
        pixels[0] = -2000
        dataset.PixelData = pixels.tobytes()
        dataset.add_new("PixelPaddingValue", "US", 63536)  # beside PixelRepresentation 1

    reading = read_volume(write_series(tmp_path, edit=edit))
    found = labels.read(reading.header)
    assert reading.header["PixelRepresentation"] == 1 and reading.header["PixelPaddingValue"] == -2000
    assert (found.family.value, found.view.value) == ("CT", "axial")
    assert found.obliquity_deg == pytest.approx(9.0, abs=0.01) and "9.0 degrees" in found.view.evidence
    expected = stored_voxels(20) - 1024
    expected[:, 0] = expected[:, 1:].min()
    np.testing.assert_array_equal(reading.volume.voxels, expected)
