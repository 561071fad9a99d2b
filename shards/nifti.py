"""The only door that reads NIfTI: cases of an image and a mask, in the layouts of LiTS, nnU-Net and the Decathlon.

Cases are reoriented to patient axes, because a segmentation network should not have to learn how a volume was stored.
"""

import math
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radnet.errors import UsageError
from radnet.shards.guard import guard, status_of
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.record import MAX_PIXEL_SPACING_MM, MAX_POSITION_MM
from radnet.volume import Volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

MASK_TOLERANCE_VOXELS = 0.5
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# (folder of images, pattern of image, folder of masks, pattern of mask); group 1 names the case
_LAYOUTS = [
    (".", r"volume-(\d+)\.nii(?:\.gz)?", ".", r"segmentation-(\d+)\.nii(?:\.gz)?"),
    ("imagesTr", r"([^.].*)_0000\.nii(?:\.gz)?", "labelsTr", r"([^.].*?)\.nii(?:\.gz)?"),  # nnU-Net: channel 0
    ("imagesTr", r"([^.].*?)\.nii(?:\.gz)?", "labelsTr", r"([^.].*?)\.nii(?:\.gz)?"),
]


_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Case:
    """An image and its mask. name: what the layout calls the case ("12" in LiTS, "liver_12" in the Decathlon)."""

    name: str
    image: Path
    mask: Path


def list_cases(folder: str | Path) -> list[Case]:
    """Pair images with masks, sorted by number.

    Layouts: volume-N.nii(.gz) and segmentation-N.nii(.gz); or imagesTr/ and labelsTr/ as in the Medical Segmentation
    Decathlon, or as in nnU-Net (CASE_0000.nii.gz; further channels are not read).

    Raises UsageError when there is no case, when an image has no mask, or when a case is there twice.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; expected one with volume-N.nii and segmentation-N.nii")
    for images_in, image_pattern, masks_in, mask_pattern in _LAYOUTS:
        images = _by_name(folder / images_in, image_pattern)
        if not images:
            continue
        masks = _by_name(folder / masks_in, mask_pattern)
        if missing := sorted(images.keys() - masks.keys(), key=_natural):
            names = ", ".join(images[name].name for name in missing[:3])
            raise UsageError(
                f"{len(missing)} images in {folder} have no mask ({names}); add the masks or move the images"
            )
        return [Case(name, images[name], masks[name]) for name in sorted(images, key=_natural)]
    raise UsageError(f"no case in {folder}; expected volume-N.nii and segmentation-N.nii, or imagesTr/ and labelsTr/")


def read_case(
    image: str | Path,
    mask: str | Path,
    *,
    min_slices: int = 1,
    max_voxels: int = 1 << 30,
    max_spacing_mm: float = math.inf,
) -> tuple[Volume, np.ndarray]:
    """Read an image and its mask, reoriented so that D runs to superior, H to posterior and W to left.

    Returns (Volume, mask uint8 [D,H,W]). Geometry comes from the image alone: some published masks carry an identity
    affine. Voxels are int16 where all are whole numbers that fit, else float32. min_slices and max_spacing_mm count
    along D; max_voxels bounds what is allocated.
    Raises SeriesError: NO_GEOMETRY (identity or degenerate affine), MIXED_GEOMETRY (mask of another shape or, where it
    has a real affine, elsewhere by more than half a voxel), TOO_LARGE, TOO_FEW_SLICES, SPACING_TOO_LARGE, TIME_SERIES,
    COLOUR, BAD_NUMBER, TRUNCATED, UNREADABLE. Raises OSError or MemoryError where the machine is at fault.
    """
    with guard(Code.UNREADABLE):
        image_file, mask_file = _open(image), _open(mask)
        affine = _affine(image_file)
        if affine is None:
            raise SeriesError(Code.NO_GEOMETRY, "the affine of the image is missing, the identity or degenerate")
        shape = _shape(image_file)
        if math.prod(shape) > max_voxels:
            raise SeriesError(Code.TOO_LARGE, f"{math.prod(shape)} voxels, max_voxels is {max_voxels}")
        _check_mask(shape, affine, _shape(mask_file), _affine(mask_file))
        num_slices, spacing_mm = (values[_old_axes(affine)[0]] for values in (shape, _spacing_mm(affine)))
        if num_slices < min_slices:
            raise SeriesError(Code.TOO_FEW_SLICES, f"{num_slices} slices, min_slices is {min_slices}")
        if spacing_mm > max_spacing_mm:
            raise SeriesError(Code.SPACING_TOO_LARGE, f"{spacing_mm:.2f} mm, max_spacing_mm is {max_spacing_mm:g}")
        voxels, patient_affine = _reorient(_narrow(_voxels(image_file)), affine)
        labels, _ = _reorient(_labels(_voxels(mask_file)), affine)
    with guard(Code.NO_GEOMETRY):
        spacings_mm = _spacing_mm(patient_affine)
        direction = patient_affine[:3, :3] / spacings_mm
        return Volume(voxels, tuple(spacings_mm), tuple(patient_affine[:3, 3]), direction), labels


def middle_case(image: str) -> tuple[np.ndarray, int]:
    """Stored values of the slice in the middle of the last axis, and the length of that axis. Raises SeriesError."""
    image_file = _open(image)
    _refuse_colours(image_file)
    num_slices = _shape(image_file)[2]
    with guard(Code.TRUNCATED):
        return np.asanyarray(image_file.dataobj[:, :, num_slices // 2]).reshape(_shape(image_file)[:2]), num_slices


def _check_mask(
    shape: tuple[int, ...], affine: np.ndarray, mask_shape: tuple[int, ...], mask_affine: np.ndarray | None
) -> None:
    """Raise SeriesError(MIXED_GEOMETRY) unless the mask lies on the grid of the image."""
    if shape != mask_shape:
        raise SeriesError(Code.MIXED_GEOMETRY, f"image {shape}, mask {mask_shape}")
    if mask_affine is None:
        return
    corners = np.array([*product(*((0, size - 1) for size in shape))]) @ np.eye(3, 4) + [0, 0, 0, 1]
    shift = float(np.abs(corners @ (np.linalg.inv(affine) @ mask_affine - np.eye(4)).T).max())
    if not shift <= MASK_TOLERANCE_VOXELS:
        raise SeriesError(Code.MIXED_GEOMETRY, f"corners of image and mask lie {shift:.1f} voxels apart")


def _spacing_mm(affine: np.ndarray) -> np.ndarray:
    """[3] lengths in mm of one step along each array axis."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def _by_name(folder: Path, pattern: str) -> dict[str, Path]:
    """Files whose whole name matches, by case name; LiTS numbers lose leading zeros."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if match := re.fullmatch(pattern, path.name):
            name = str(int(match[1])) if match[1].isdigit() else match[1]
            if name in found:
                raise UsageError(f"{found[name].name} and {path.name} in {folder} are the same case; remove one")
            found[name] = path
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key under which 2 comes before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _open(path: str | Path) -> "Nifti1Image":
    import nibabel

    status_of(str(path))  # nibabel hides why a file cannot be opened
    with guard(Code.UNREADABLE):
        try:
            return nibabel.load(path)
        except EOFError:
            raise SeriesError(Code.UNREADABLE, "the file ends before its header does") from None


def _shape(file: "Nifti1Image") -> tuple[int, ...]:
    """Shape without the trailing axes of length one that some writers add."""
    shape = tuple(int(n) for n in file.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or 0 in shape:
        code = Code.TIME_SERIES if len(shape) > 3 else Code.NO_GEOMETRY
        raise SeriesError(code, f"the image has shape {shape}, expected three axes")
    return shape


def _affine(file: "Nifti1Image") -> np.ndarray | None:
    """[4,4] index (i,j,k) → LPS mm, or None where the file says nothing of use about where its voxels lie."""
    affine = np.asarray(file.affine, dtype=np.float64)
    coded = int(file.header["qform_code"]) or int(file.header["sform_code"])
    if not coded or not np.isfinite(affine).all() or np.allclose(affine, np.eye(4)):
        return None
    if np.abs(affine[:3, 3]).max() > MAX_POSITION_MM or _spacing_mm(affine).max() > MAX_PIXEL_SPACING_MM:
        raise SeriesError(Code.BAD_NUMBER, "an affine beyond any patient")
    return RAS_TO_LPS @ affine if abs(np.linalg.det(affine[:3, :3])) > 1e-6 else None


def _refuse_colours(file: "Nifti1Image") -> None:
    if file.get_data_dtype().fields is not None or file.get_data_dtype().kind == "c":
        raise SeriesError(Code.COLOUR, "voxels are colours or complex numbers")


def _voxels(file: "Nifti1Image") -> np.ndarray:
    """[I,J,K] with the file's own scaling applied."""
    _refuse_colours(file)
    with guard(Code.TRUNCATED):
        voxels = np.asanyarray(file.dataobj).reshape(_shape(file))
    # Also what is finite in float64 alone; "not" because a comparison with nan is false.
    if voxels.dtype.kind == "f" and not -_LARGEST <= voxels.min() <= voxels.max() <= _LARGEST:
        raise SeriesError(Code.BAD_NUMBER, "voxels that are not finite numbers")
    return voxels


def _narrow(voxels: np.ndarray) -> np.ndarray:
    """int16 where nothing is lost, else float32."""
    limits = np.iinfo(np.int16)
    fits = voxels.min() >= limits.min and voxels.max() <= limits.max
    whole = voxels.dtype.kind in "iu" or np.array_equal(voxels, np.rint(voxels))
    return voxels.astype(np.int16 if fits and whole else np.float32)


def _labels(voxels: np.ndarray) -> np.ndarray:
    """Mask values as uint8."""
    if voxels.min() < 0 or voxels.max() > 255 or not np.array_equal(voxels, np.rint(voxels)):
        raise SeriesError(Code.BAD_NUMBER, "the mask holds values other than whole numbers from 0 to 255")
    return voxels.astype(np.uint8)


def _orientation(affine: np.ndarray) -> np.ndarray:
    """[3,2]: for each array axis the closest world axis and the sign along it."""
    from nibabel.orientations import io_orientation

    return io_orientation(affine)


def _old_axes(affine: np.ndarray) -> list[int]:
    """The array axes that become D, H and W: those closest to z, y and x of the patient."""
    closest = _orientation(affine)[:, 0]
    return [int(np.flatnonzero(closest == world)[0]) for world in (2, 1, 0)]


def _reorient(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Permute and flip [I,J,K] to D,H,W = ascending z,y,x of LPS; returns (contiguous array, its affine [4,4])."""
    orientation, old_axes = _orientation(affine), _old_axes(affine)
    new_to_old = np.zeros((4, 4))
    new_to_old[3, 3] = 1
    for new, old in enumerate(old_axes):
        sign = orientation[old, 1]
        new_to_old[old, new] = sign
        new_to_old[old, 3] = voxels.shape[old] - 1 if sign < 0 else 0
    turned = voxels.transpose(old_axes)[tuple(slice(None, None, int(orientation[old, 1])) for old in old_axes)]
    return np.ascontiguousarray(turned), affine @ new_to_old


def to_nifti(voxels: np.ndarray, affine: np.ndarray) -> bytes:
    """An uncompressed .nii of voxels [D,H,W]; its axes are W,H,D, the fastest first, as other readers expect.

    affine: [4,4] index (d,h,w,1) → LPS mm; the file holds it as RAS, in float32. Voxels keep their type.
    """
    from nibabel.nifti1 import Nifti1Image

    turned = RAS_TO_LPS @ affine @ np.eye(4)[:, [2, 1, 0, 3]]
    image = Nifti1Image(voxels.transpose(2, 1, 0), turned)
    image.header.set_xyzt_units("mm")
    image.header.set_sform(turned, code="scanner")
    return image.to_bytes()
