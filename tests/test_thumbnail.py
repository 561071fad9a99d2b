"""Thumbnails: one anatomy acquired in three orientations hangs the same way."""

import imagecodecs
import numpy as np
import pytest

from radnet.shards.thumbnail import SIDE_PIXELS, thumbnails
from radnet.volume import Volume

SIZE_MM = 90


def _anatomy(points: np.ndarray) -> np.ndarray:
    """Three bright slabs: at the head's end, at the patient's left and, fainter, at the back. points [...,3], LPS."""
    x, y, z = np.moveaxis(points, -1, 0)
    return np.where(z > 70, 1000, np.where(x > 70, 700, np.where(y > 70, 400, 0))).astype(np.int16)


def _acquired(columns: list[list[float]]) -> Volume:
    """30 slices of 3 mm, pixels of 1.5 by 1 mm, with the given unit vectors of D,H,W, over the same cube."""
    direction = np.array(columns, float).T
    spacing_mm = np.array([3.0, 1.5, 1.0])
    shape = np.rint(SIZE_MM / spacing_mm).astype(int)
    # The corner where every index is 0 is the lower end of an axis that runs up, the upper end of one that runs down.
    corner = np.where(direction.sum(axis=1) > 0, 0, SIZE_MM)
    origin = corner + direction @ (spacing_mm / 2)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    voxels = _anatomy(index * spacing_mm @ direction.T + origin)
    return Volume(voxels, tuple(spacing_mm), tuple(origin), direction)


ORIENTATIONS = {
    "axial": [[0, 0, 1], [0, 1, 0], [1, 0, 0]],
    "axial from the head": [[0, 0, -1], [0, 1, 0], [-1, 0, 0]],
    "coronal": [[0, 1, 0], [0, 0, -1], [1, 0, 0]],
    "sagittal": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    "prone": [[0, 0, 1], [0, -1, 0], [-1, 0, 0]],
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_head_front_and_right_lie_where_radiologists_look_for_them(name):
    pictures = {view: imagecodecs.png_decode(png) for view, png in thumbnails(_acquired(ORIENTATIONS[name]), "MR")}
    assert list(pictures) == ["axial", "coronal", "sagittal"]
    for picture in pictures.values():
        assert picture.dtype == np.uint8 and picture.shape == (SIDE_PIXELS, SIDE_PIXELS)
    middle, edge = SIDE_PIXELS // 2, 12
    axial, coronal, sagittal = pictures.values()
    assert axial[middle, -edge] > axial[-edge, middle] > axial[middle, edge] == axial[edge, middle] == 0
    assert coronal[edge, middle] > coronal[middle, -edge] > coronal[middle, edge] == coronal[-edge, middle] == 0
    assert sagittal[edge, middle] > sagittal[middle, -edge] > sagittal[middle, edge] == sagittal[-edge, middle] == 0


def test_ct_has_a_window_of_its_own_and_flat_volumes_a_picture():
    voxels = np.full((4, 6, 8), -1000, np.int16)
    voxels[:, 3:] = 50
    volume = Volume(voxels, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.array(ORIENTATIONS["axial"], float).T)
    axial = imagecodecs.png_decode(thumbnails(volume, "CT")[0][1])
    assert axial.min() == 0 and axial.max() == 128 and axial.shape == (SIDE_PIXELS * 6 // 8, SIDE_PIXELS)
    flat = Volume(np.full((3, 4, 5), np.nan, np.float32), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    assert len(thumbnails(flat, "MR")) == 3
