"""A volume sheared by gantry tilt onto an orthogonal grid."""

import math

import numpy as np

from radnet.volume import Volume

MIN_SHEAR_DEG = 0.1  # below it the far slices of an ordinary scan move by less than a pixel


def shear_deg(volume: Volume) -> float:
    """Angle in degrees between the slice step and the normal of the slices: 0 for an untilted volume."""
    return math.degrees(math.acos(min(1.0, abs(float(volume.direction[:, 0] @ _normal(volume))))))


def straighten(volume: Volume) -> Volume:
    """`volume` on the grid whose D axis is the normal of its slices; itself where it is hardly sheared.

    Slices stay where they are and are shifted within their plane by linear interpolation. The grid grows along H and W
    to hold all of them; where no slice was, voxels are the smallest value of the volume. dtype stays; spacing_mm[0]
    becomes the perpendicular distance.
    """
    if shear_deg(volume) < MIN_SHEAR_DEG:
        return volume
    from radnet.kernels.resample import resample  # brings torch, which few series need

    spacing_mm, normal = np.asarray(volume.spacing_mm), _normal(volume)
    step_mm = volume.direction[:, 0] * spacing_mm[0]
    depth = volume.voxels.shape[0]
    shifts = (step_mm - (step_mm @ normal) * normal) @ volume.direction[:, 1:] / spacing_mm[1:]  # indices a slice
    first = np.minimum(0, (depth - 1) * shifts)
    shape = (depth, *(np.array(volume.voxels.shape[1:]) + np.ceil(np.abs((depth - 1) * shifts)).astype(int)))
    out_to_in = np.array([[1, 0, 0, 0], [-shifts[0], 1, 0, first[0]], [-shifts[1], 0, 1, first[1]]], np.float64)
    voxels = resample(
        volume.voxels,
        out_to_in,
        tuple(map(int, shape)),
        mode="linear",
        fill=float(volume.voxels.min()),
        out_dtype=volume.voxels.dtype,
    )
    origin_mm = np.asarray(volume.origin_mm) + volume.direction[:, 1:] @ (first * spacing_mm[1:])
    direction = np.column_stack([normal, volume.direction[:, 1:]])
    return Volume(voxels, (float(step_mm @ normal), *volume.spacing_mm[1:]), tuple(origin_mm), direction)


def _normal(volume: Volume) -> np.ndarray:
    """[3] unit normal of the slices, on the side of ascending slices."""
    normal = np.cross(volume.direction[:, 2], volume.direction[:, 1])
    normal = normal / np.linalg.norm(normal)
    return normal if normal @ volume.direction[:, 0] > 0 else -normal
