"""A volume: voxels and where they lie in the patient.

Axes are D,H,W (stack axis in ascending projected position, image rows, image columns); world is LPS in millimetres.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image checked on creation.

    voxels: [D,H,W] int16 or float32 (HU for CT).
    spacing_mm: distance between voxel centres along D,H,W; along D it is the length of the slice step, which under
        gantry tilt exceeds the perpendicular distance.
    origin_mm: x,y,z (LPS) of the centre of voxel 0,0,0.
    direction: [3,3]; column k is the unit vector (LPS) of array axis k. H and W are orthogonal; D may be sheared.

    Raises ValueError when shape, dtype or geometry do not hold together.
    """

    voxels: np.ndarray
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    direction: np.ndarray

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or 0 in self.voxels.shape:
            raise ValueError(f"voxels have shape {self.voxels.shape}, expected three non-empty axes D,H,W")
        if self.voxels.dtype not in (np.int16, np.float32):
            raise ValueError(f"voxels are {self.voxels.dtype}, expected int16 or float32")
        spacing = np.asarray(self.spacing_mm, dtype=np.float64)
        if spacing.shape != (3,) or not np.isfinite(spacing).all() or (spacing <= 0).any():
            raise ValueError(f"spacing_mm is {self.spacing_mm}, expected three positive numbers")
        direction = np.asarray(self.direction, dtype=np.float64)
        if direction.shape != (3, 3) or not np.isfinite(direction).all() or abs(np.linalg.det(direction)) < 1e-3:
            raise ValueError("direction is not an invertible 3x3 matrix")
        if not np.allclose(np.linalg.norm(direction, axis=0), 1, atol=1e-4):
            raise ValueError("the columns of direction are not unit vectors")
        if not np.isfinite(self.origin_mm).all():
            raise ValueError(f"origin_mm is {self.origin_mm}, expected three finite numbers")
        object.__setattr__(self, "spacing_mm", tuple(float(value) for value in spacing))
        object.__setattr__(self, "origin_mm", tuple(float(value) for value in self.origin_mm))
        object.__setattr__(self, "direction", direction)

    @property
    def affine(self) -> np.ndarray:
        """[4,4] float64: homogeneous index (d,h,w,1) → LPS position in mm."""
        affine = np.eye(4)
        affine[:3, :3] = self.direction * np.asarray(self.spacing_mm)
        affine[:3, 3] = self.origin_mm
        return affine
