"""dcm2niix as an oracle: one series in, the NIfTI images it makes out, on radnet's axes."""

import itertools
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from radnet.volume import Volume

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Uncompressed, no merging across echoes or times, no cropping, and of Philips' two scalings the one that DICOM defines.
OPTIONS = ["-z", "n", "-b", "n", "-m", "n", "-x", "n", "-p", "n", "-f", "%s_%e"]
# Endings of the names of images that dcm2niix interpolated: shear resampled away, slices made up in gaps.
_RESAMPLED = ("_Tilt", "_Eq")


@dataclass(frozen=True)
class Image:
    """One 3D image that dcm2niix wrote. voxels: [i,j,k] float64 after its slope and intercept. affine: index to LPS mm.

    slope: of the NIfTI header, 1.0 where it has none; it is a float32.
    """

    voxels: np.ndarray
    affine: np.ndarray
    slope: float


def convert(files: Sequence[str], folder: Path) -> list[Image]:
    """What dcm2niix makes of the files of one series, several time points as several images; [] where it refuses.

    Interpolated images, single slices and colour are left out. Uses `folder`/in and `folder`/out, which must not exist.
    """
    import dcm2niix

    (folder / "in").mkdir(parents=True)
    (folder / "out").mkdir()
    for number, file in enumerate(files):
        (folder / "in" / f"{number:05d}.dcm").symlink_to(Path(file).resolve())
    words = [dcm2niix.bin, *OPTIONS, "-o", str(folder / "out"), str(folder / "in")]
    subprocess.run(words, capture_output=True, check=False, timeout=120)
    return [image for path in sorted((folder / "out").glob("*.nii")) for image in _images(path)]


def _images(path: Path) -> Iterator[Image]:
    image = nibabel.load(path)
    if any(mark in path.name for mark in _RESAMPLED) or len(image.shape) < 3 or 1 in image.shape[:3]:
        return
    if image.get_data_dtype().names:  # colour
        return
    voxels = image.get_fdata()
    for time in range(voxels.shape[3] if voxels.ndim == 4 else 1):
        one = voxels[..., time] if voxels.ndim == 4 else voxels
        yield Image(one, _RAS_TO_LPS @ image.affine, float(image.dataobj.slope))


def on_axes_of(volume: Volume, image: Image) -> Image | None:
    """`image` with axes permuted and flipped to those of `volume`; None where the shapes do not match then."""
    own = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    cosines = own.T @ volume.direction
    order = np.abs(cosines).argmax(axis=0)
    if len(set(order)) < 3 or tuple(np.take(image.voxels.shape, order)) != volume.voxels.shape:
        return None
    voxels, affine = image.voxels.transpose(order), image.affine.copy()
    affine[:, :3] = affine[:, order]
    for axis in range(3):
        if cosines[order[axis], axis] < 0:
            affine[:, 3] += affine[:, axis] * (voxels.shape[axis] - 1)
            affine[:, axis] *= -1
            voxels = np.flip(voxels, axis)
    return Image(voxels, affine, image.slope)


def corner_error_mm(shape: tuple[int, ...], one: np.ndarray, other: np.ndarray) -> float:
    """The largest distance along x, y or z, over the eight corner voxels, between where two affines put them."""
    corners = np.array([[*corner, 1] for corner in itertools.product(*((0, size - 1) for size in shape))])
    return float(np.abs(corners @ (one - other).T).max())
