"""Where each output voxel looks in the input: affine index-to-index matrices, corner-fixed.

A matrix is [3,4] float64 and maps the index (d,h,w) of an output voxel's centre to an input index. For pure scaling
x_in = (i + 0.5)·out_spacing/spacing − 0.5 + offset/spacing: the corner of the field of view stays, not its first voxel.
"""

from collections.abc import Sequence

import numpy as np

Shape = tuple[int, int, int]
Triple = Sequence[float]


def grid(
    in_shape: Shape,
    in_spacing_mm: Triple,
    out_shape: Shape,
    out_spacing_mm: Triple | None = None,
    *,
    offset_mm: Triple = (0.0, 0.0, 0.0),
    flip: Sequence[bool] = (False, False, False),
    rotation_deg: Triple = (0.0, 0.0, 0.0),
) -> np.ndarray:
    """Build out_to_in [3,4] float64 for an output field of view laid over an input.

    in_shape, out_shape: D,H,W. in_spacing_mm, out_spacing_mm: mm along D,H,W; None resizes the whole input field.
    offset_mm: from the input's corner to the output's corner (a crop starts at a positive offset).
    flip: axes of the output that run backwards. rotation_deg: of the output field about its own centre, around D, H and
    W in array axes (positive around D turns H towards W, around H turns W towards D, around W turns D towards H).
    In output order: flip, rotate (W, then H, then D), offset. Raises ValueError for sizes that are not positive.
    """
    in_spacing = _positive("in_spacing_mm", in_spacing_mm)
    in_size, out_size = _positive("in_shape", in_shape), _positive("out_shape", out_shape)
    if out_spacing_mm is None:
        out_spacing = in_size * in_spacing / out_size
    else:
        out_spacing = _positive("out_spacing_mm", out_spacing_mm)
    sign = np.where(np.asarray(flip, dtype=bool), -1.0, 1.0)
    turn = rotation(rotation_deg)
    # mm from the output field's corner, and from its centre, to the centre of output voxel 0 before the turn.
    first_mm = np.where(sign > 0, out_spacing / 2, out_size * out_spacing - out_spacing / 2)
    arm_mm = first_mm - out_size * out_spacing / 2
    # The turn is an addition, so that without one the printed formula holds to the last bit and an identity is exact.
    first_mm = first_mm + (turn - np.eye(3)) @ arm_mm + np.asarray(offset_mm, dtype=np.float64)
    linear = turn * (sign * out_spacing) / in_spacing[:, None]
    return np.column_stack([linear, first_mm / in_spacing - 0.5])


def rotation(angles_deg: Triple) -> np.ndarray:
    """[3,3] float64 rotation R_D @ R_H @ R_W in array axes; exact identity for zero angles."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(np.asarray(angles_deg, dtype=float))):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[second, first], turn[first, second] = np.sin(angle), -np.sin(angle)
        matrix = matrix @ turn
    return matrix


def invert(out_to_in: np.ndarray) -> np.ndarray:
    """The way back, in_to_out [3,4] float64: pass it to `resample` to return to the input grid.

    Raises ValueError when the matrix is singular.
    """
    matrix = _homogeneous(out_to_in)
    if abs(np.linalg.det(matrix)) < 1e-12:
        raise ValueError("out_to_in is singular and has no inverse")
    return np.linalg.inv(matrix)[:3]


def _homogeneous(matrix: np.ndarray) -> np.ndarray:
    """A [3,4] map as [4,4] float64."""
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (3, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"an index map is a finite [3,4] matrix, got shape {matrix.shape}")
    return np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])


def _positive(name: str, values: Triple) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (3,) or not (np.isfinite(array) & (array > 0)).all():
        raise ValueError(f"{name} is {values}, expected three positive numbers for D,H,W")
    return array
