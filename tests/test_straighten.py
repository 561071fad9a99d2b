"""Tilt resampled away: what stands at a place in the patient stands there afterwards."""

import numpy as np
import pytest

from radnet.shards.straighten import shear_deg, straighten
from radnet.volume import Volume


def _linear(volume: Volume) -> np.ndarray:
    """A linear function of the place in the patient: linear interpolation must keep it to the last digit."""
    index = np.stack(np.meshgrid(*map(np.arange, volume.voxels.shape), indexing="ij"), -1)
    places_mm = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return (places_mm @ [0.7, -1.3, 2.1] + 500).astype(np.float32)


def _tilted(degrees: float, dtype: type = np.float32) -> Volume:
    angle = np.deg2rad(degrees)
    direction = np.column_stack([[0, 0, 1], [0, np.cos(angle), np.sin(angle)], [1, 0, 0]])
    volume = Volume(np.zeros((12, 20, 24), dtype), (4.0, 0.8, 0.7), (-90.0, 30.0, 12.0), direction)
    return Volume(_linear(volume).astype(dtype), volume.spacing_mm, volume.origin_mm, direction)


@pytest.mark.parametrize("degrees", [18.5, -16.5, 3.0])
def test_places_keep_their_values(degrees):
    tilted = _tilted(degrees)
    straight = straighten(tilted)
    assert shear_deg(tilted) == pytest.approx(abs(degrees)) and shear_deg(straight) < 1e-4
    np.testing.assert_allclose(straight.direction.T @ straight.direction, np.eye(3), atol=1e-9)
    assert straight.spacing_mm[0] == pytest.approx(4 * np.cos(np.deg2rad(degrees)))
    inside = straight.voxels > tilted.voxels.min()
    assert inside.sum() > 0.9 * tilted.voxels.size
    corners = np.abs(straight.voxels - _linear(straight))[inside]
    # Half a voxel at the rim is clamped, not interpolated.
    assert np.mean(corners > 0.01) < 0.1 and corners.max() < 1.5


def test_an_untilted_volume_stays_itself():
    volume = _tilted(0.0)
    assert straighten(volume) is volume


def test_the_dtype_stays():
    assert straighten(_tilted(10, np.int16)).voxels.dtype == np.int16
