"""Three small pictures of a volume: its middle slices, laid out as radiologists hang them, in grey."""

from itertools import permutations

import numpy as np

from radnet.kernels.grid import grid
from radnet.volume import Volume

SIDE_PIXELS = 192
HU_WINDOW = (-200.0, 300.0)  # soft tissue, with lungs black and bones white
_NUM_SAMPLED = 200_000  # voxels that decide the window of an MR volume


def thumbnails(volume: Volume, modality: str) -> list[tuple[str, bytes]]:
    """(view, PNG of 8 bits) of the middle axial, coronal and sagittal slice.

    The patient's front, or head, is at the top, the patient's right on the left. Slices are those of the array: an
    oblique volume is not resampled. modality: "CT" takes a window in HU, any other the 0.5th to 99.5th percentile.
    """
    import imagecodecs

    voxels, spacing_mm = _hang(volume)
    low, high = HU_WINDOW if modality == "CT" else _percentiles(voxels)
    depth, height, width = (size // 2 for size in voxels.shape)
    planes = {
        "axial": (voxels[depth], spacing_mm[1:]),
        "coronal": (voxels[:, height], spacing_mm[::2]),
        "sagittal": (voxels[:, :, width], spacing_mm[:2]),
    }
    pictures = {name: _grey(plane, sides_mm, low, high) for name, (plane, sides_mm) in planes.items()}
    return [(name, bytes(imagecodecs.png_encode(picture))) for name, picture in pictures.items()]


def _hang(volume: Volume) -> tuple[np.ndarray, tuple[float, ...]]:
    """The voxels as a view whose axes run to the feet, to the back and to the left, and their spacing in mm."""
    # Rows: x, y, z of the world; columns: array axes. Each world axis takes the array axis that runs along it.
    along = np.abs(volume.direction)
    axes = max(permutations(range(3)), key=lambda axes: sum(along[world, axis] for world, axis in enumerate(axes)))[
        ::-1
    ]
    steps = []
    for world, axis, wanted in zip((2, 1, 0), axes, (-1, 1, 1), strict=True):
        steps.append(slice(None, None, 1 if volume.direction[world, axis] * wanted >= 0 else -1))
    return volume.voxels.transpose(axes)[tuple(steps)], tuple(volume.spacing_mm[axis] for axis in axes)


def _percentiles(voxels: np.ndarray) -> tuple[float, float]:
    flat = voxels.reshape(-1) if voxels.flags.c_contiguous else voxels.ravel(order="K")
    sample = flat[:: max(1, flat.size // _NUM_SAMPLED)]
    sample = sample[np.isfinite(sample)]
    low, high = np.percentile(sample, (0.5, 99.5)) if sample.size else (0.0, 1.0)
    return float(low), float(high)


def _grey(plane: np.ndarray, spacing_mm: tuple[float, ...], low: float, high: float) -> np.ndarray:
    """uint8 picture with square pixels, its longer side SIDE_PIXELS, of a plane [H,W]."""
    from radnet.kernels.resample import resample  # brings torch, which workers that make no picture do without

    extent_mm = np.asarray(plane.shape) * spacing_mm
    shape = (1, *(max(1, round(SIDE_PIXELS * side / extent_mm.max())) for side in extent_mm))
    matrix = grid((1, *plane.shape), (1.0, *spacing_mm), shape)
    values = resample(np.ascontiguousarray(plane)[None], matrix, shape, mode="area")[0]
    scaled = (np.nan_to_num(values) - low) / (high - low if high > low else 1.0)
    return np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
