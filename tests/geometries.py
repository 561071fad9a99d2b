"""Random geometries for every implementation of the grid, where they look, and SimpleITK's answer to them."""

import numpy as np
import SimpleITK as sitk

from radnet.kernels.grid import grid

FILL = -7.0
TOLERANCE = 1e-3  # of the range, the bound between all implementations of the grid
Geometry = tuple[np.ndarray, np.ndarray, tuple[int, int, int]]


def random_geometry(seed: int, rotate: bool, *, shear: bool = False) -> Geometry:
    """Voxels [D,H,W] float32 in 0…1, a random out_to_in, and the shape of the output."""
    random = np.random.default_rng(seed)
    in_shape = tuple(int(n) for n in random.integers(1, 14, 3))
    out_shape = tuple(int(n) for n in random.integers(1, 14, 3))
    matrix = grid(
        in_shape,
        random.uniform(0.3, 6, 3),
        out_shape,
        random.uniform(0.3, 6, 3),
        offset_mm=random.uniform(-8, 8, 3),
        flip=random.integers(0, 2, 3).astype(bool),
        rotation_deg=random.uniform(-90, 90, 3) if rotate else (0, 0, 0),
    )
    voxels = random.random(in_shape, dtype=np.float32)
    if shear:
        matrix[:, :3] = matrix[:, :3] @ (np.eye(3) + np.triu(random.uniform(-1, 1, (3, 3)), 1))
    return voxels, matrix, out_shape


def input_positions(matrix: np.ndarray, out_shape: tuple[int, int, int]) -> np.ndarray:
    """[3,D,H,W] float64: input index of every output voxel, by the plain definition."""
    index = np.stack([*np.indices(out_shape), np.ones(out_shape)])
    return np.einsum("ij,jdhw->idhw", matrix, index)


def away_from_ties(matrix: np.ndarray, out_shape: tuple[int, int, int], distance: float = 1e-6) -> np.ndarray:
    """Output voxels whose input position is not within rounding of the edge of the field or of a nearest-voxel tie."""
    position = input_positions(matrix, out_shape)
    return (np.abs((position + 0.5) - np.round(position + 0.5)) > distance).all(axis=0)


def itk(voxels: np.ndarray, matrix: np.ndarray, out_shape: tuple[int, int, int], interpolator: int) -> np.ndarray:
    """SimpleITK on index coordinates: an affine transform of W,H,D points over unit-spaced images."""
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[::-1, 2::-1].ravel().tolist())
    transform.SetTranslation(matrix[::-1, 3].tolist())
    reference = sitk.Image([int(n) for n in out_shape[::-1]], sitk.sitkFloat32)
    return sitk.GetArrayFromImage(
        sitk.Resample(sitk.GetImageFromArray(voxels), reference, transform, interpolator, FILL, sitk.sitkFloat32)
    )
