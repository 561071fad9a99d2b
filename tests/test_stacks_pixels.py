"""What is said of pixels, rescale, sign and photometric interpretation, is of each stack."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from radnet.shards.ledger import Code
from tests.series import stored_voxels, write_series
from tests.test_stacks import assert_accounted, put, read, rows_of, two_sets


def test_rescale_per_slice_inside_each_stack(tmp_path):
    def scale(dataset: Dataset, number: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 1 + number % 20, -number

    def second(dataset: Dataset, number: int) -> None:
        dataset.AcquisitionNumber = 2
        scale(dataset, number)

    write_series(tmp_path, 40, edit=two_sets(20, second, scale))
    expected = stored_voxels(40).astype(float) * (1 + np.arange(40) % 20)[:, None, None]
    expected -= np.arange(40)[:, None, None]
    found = [read(row).volume.voxels for row in rows_of(tmp_path)]
    assert len(found) == 2
    for part in np.split(expected, 2):
        assert any(np.array_equal(voxels, part) for voxels in found)


def test_monochrome1_and_tilt_are_of_each_stack(tmp_path):
    """What is decided per stack is decided by the stack's own slices: where it is brightest, how it is tilted."""

    def edit(dataset: Dataset, number: int) -> None:
        dataset.EchoTime, dataset.PhotometricInterpretation = 90.0 if number >= 20 else 10.0, "MONOCHROME1"
        if number >= 20:
            dataset.ImagePositionPatient = [0.0, 1.5 * (number - 20), 2.0 * (number - 20)]

    write_series(tmp_path, 40, modality="MR", edit=edit)
    rows = rows_of(tmp_path)
    assert_accounted(rows, 40)
    upright, tilted = (read(row) for row in rows)
    if upright.volume.spacing_mm[0] > tilted.volume.spacing_mm[0]:
        upright, tilted = tilted, upright
    stored = stored_voxels(40)
    np.testing.assert_array_equal(upright.volume.voxels, stored[:20].min() + stored[:20].max() - stored[:20])
    np.testing.assert_array_equal(tilted.volume.voxels, stored[20:].min() + stored[20:].max() - stored[20:])
    np.testing.assert_allclose(tilted.volume.direction[:, 0], [0, 0.6, 0.8])


def test_each_echo_has_its_own_sign_and_photometric_interpretation(tmp_path):
    """Magnitude and phase in one series: unsigned and signed, low and high bright."""
    second = put(EchoTime=90.0, PixelRepresentation=0, PhotometricInterpretation="MONOCHROME1")
    write_series(tmp_path, 40, modality="MR", edit=two_sets(20, second, put(EchoTime=10.0)))
    rows = rows_of(tmp_path)
    assert_accounted(rows, 40)
    assert [row.code for row in rows] == [Code.OK] * 2
    found, stored = sorted((read(row).volume.voxels for row in rows), key=np.min), stored_voxels(40)
    np.testing.assert_array_equal(found[0], stored[:20])
    np.testing.assert_array_equal(found[1], stored[20:].min() + stored[20:].max() - stored[20:])


@pytest.mark.parametrize("keyword, odd", [("PixelRepresentation", 0), ("PhotometricInterpretation", "MONOCHROME1")])
def test_one_slice_of_another_sort_spoils_its_own_stack_alone(tmp_path, keyword, odd):
    def second(dataset: Dataset, number: int) -> None:
        dataset.EchoTime = 90.0
        if number == 25:
            setattr(dataset, keyword, odd)

    write_series(tmp_path, 40, modality="MR", edit=two_sets(20, second, put(EchoTime=10.0)))
    rows = rows_of(tmp_path)
    assert_accounted(rows, 40)
    codes = {row.header["EchoTime"]: row.code for row in rows}
    assert codes == {10.0: Code.OK, 90.0: Code.MIXED_GEOMETRY}
    assert "varies between slices" in next(row.detail for row in rows if row.code is not Code.OK)
