"""Three small pictures of a volume: its middle slices, laid out as radiologists hang them, in grey."""

from itertools import permutations

import numpy as np

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

    voxels, spacing_mm = hang(volume.voxels, volume)
    low, high = HU_WINDOW if modality == "CT" else _percentiles(voxels)
    pictures = {
        view: grey(plane, sides_mm, (low, high), SIDE_PIXELS / _longest(plane, sides_mm))
        for view, (plane, sides_mm) in middle_planes(voxels, spacing_mm).items()
    }
    return [(view, bytes(imagecodecs.png_encode(picture))) for view, picture in pictures.items()]


def hang(voxels: np.ndarray, volume: Volume) -> tuple[np.ndarray, tuple[float, ...]]:
    """voxels [D,H,W] on the grid of `volume` as a view whose axes run to the feet, to the back and to the left, and
    their spacing in mm."""
    # Rows: x, y, z of the world; columns: array axes. Each world axis takes the array axis that runs along it.
    along = np.abs(volume.direction)
    axes = max(permutations(range(3)), key=lambda axes: sum(along[world, axis] for world, axis in enumerate(axes)))[
        ::-1
    ]
    steps = []
    for world, axis, wanted in zip((2, 1, 0), axes, (-1, 1, 1), strict=True):
        steps.append(slice(None, None, 1 if volume.direction[world, axis] * wanted >= 0 else -1))
    return voxels.transpose(axes)[tuple(steps)], tuple(volume.spacing_mm[axis] for axis in axes)


def middle_planes(voxels: np.ndarray, spacing_mm: tuple[float, ...]) -> dict[str, tuple[np.ndarray, tuple[float, ...]]]:
    """View → middle plane [H,W] of voxels that hang (see `hang`), and the spacing of its rows and columns in mm."""
    depth, height, width = (size // 2 for size in voxels.shape)
    return {
        "axial": (voxels[depth], spacing_mm[1:]),
        "coronal": (voxels[:, height], spacing_mm[::2]),
        "sagittal": (voxels[:, :, width], spacing_mm[:2]),
    }


def _percentiles(voxels: np.ndarray) -> tuple[float, float]:
    flat = voxels.reshape(-1) if voxels.flags.c_contiguous else voxels.ravel(order="K")
    sample = flat[:: max(1, flat.size // _NUM_SAMPLED)]
    sample = sample[np.isfinite(sample)]
    low, high = np.percentile(sample, (0.5, 99.5)) if sample.size else (0.0, 1.0)
    return float(low), float(high)


def grey(plane: np.ndarray, spacing_mm: tuple[float, ...], window: tuple[float, float], scale: float) -> np.ndarray:
    """uint8 picture of a plane [H,W], `scale` square pixels for a millimetre. window: the values shown as 0 and 255."""
    low, high = window
    values = resize(np.nan_to_num(plane), spacing_mm, scale)
    return np.rint(np.clip((values - low) / (high - low if high > low else 1.0), 0, 1) * 255).astype(np.uint8)


def resize(plane: np.ndarray, spacing_mm: tuple[float, ...], scale: float) -> np.ndarray:
    """float64 picture of a plane [H,W], `scale` square pixels for a millimetre: linear between samples, averaged where
    pixels are larger than they."""
    rows, columns = (_weights(size, size * step * scale) for size, step in zip(plane.shape, spacing_mm, strict=True))
    return rows @ plane @ columns.T


def _weights(size: int, extent_pixels: float) -> np.ndarray:
    """[N,size]: how much each of N pixels takes of each of `size` samples over the same extent."""
    num = max(1, round(extent_pixels))
    centres = (np.arange(num) + 0.5) * size / num - 0.5
    distances = np.abs(np.clip(centres, 0, size - 1)[:, None] - np.arange(size))
    weights = np.maximum(0, 1 - distances / max(1.0, size / num))
    return weights / weights.sum(axis=1, keepdims=True)


def _longest(plane: np.ndarray, spacing_mm: tuple[float, ...]) -> float:
    return max(size * step for size, step in zip(plane.shape, spacing_mm, strict=True))
